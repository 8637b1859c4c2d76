/*
 * smtp/client-secure.c - STARTTLS (RFC 3207) and AUTH (RFC 4954) of the client machine.
 *
 * Nothing that came in clear survives the handshake, and what came in clear behind the
 * server's 220 was put there by somebody else: the session ends (the response injection
 * of CVE-2021-33515 and its kin).  Nothing secret leaves over a connection in clear,
 * unless the options say so.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/base64.h"
#include "base/err.h"
#include "smtp/client-private.h"

/* A command line of RFC 5321 4.5.3.1.4; a longer initial response waits for a challenge. */
#define COMMAND_LINE_MAX 512
/* No mechanism needs more rounds; a server that goes on has lost its way. */
#define CHALLENGES_MAX 16

static void say(struct smtp_client *c, enum smtp_client_state state, const char *line)
{
	size_t before = buf_len(&c->out);

	buf_add_str(&c->out, line);
	smtp_client_wrote(c, before);
	c->ends_at = c->written;
	smtp_client_state_set(c, state);
}

static void forget_secret(struct smtp_client *c)
{
	if (c->secret.data)
		explicit_bzero(c->secret.data, c->secret.cap);
	buf_reset(&c->secret);
	c->has_initial = false;
}

/* Authenticate before anything else is said, or see why that cannot be. */
static void begin_auth(struct smtp_client *c, uint64_t now_ms)
{
	if (!(c->extensions & SMTP_EXT_AUTH)) {
		smtp_client_unfit(c, CAT_STAGE_auth, -ERR_UNSUPPORTED, SMTP_EXT_AUTH, now_ms);
	} else if (!c->tls && !c->o.auth_in_clear) {
		smtp_client_unfit(c, CAT_STAGE_auth, -ERR_TLS, SMTP_EXT_STARTTLS, now_ms);
	} else {
		smtp_client_state_set(c, SMTP_CL_AUTH_WANTED);
		c->deadline_ms = UINT64_MAX;
	}
}

void smtp_client_greeted(struct smtp_client *c, uint64_t now_ms)
{
	bool wanted = c->o.tls != SMTP_CLIENT_TLS_OFF && !c->tls && !c->tls_refused;

	if (wanted && (c->extensions & SMTP_EXT_STARTTLS)) {
		say(c, SMTP_CL_STARTTLS, "STARTTLS\r\n");
		c->deadline_ms = now_ms + c->o.timeouts.tls_ms;
	} else if (wanted && c->o.tls == SMTP_CLIENT_TLS_REQUIRED) {
		smtp_client_unfit(
		    c, CAT_STAGE_starttls, -ERR_UNSUPPORTED, SMTP_EXT_STARTTLS, now_ms);
	} else if (c->o.auth && !c->authenticated) {
		begin_auth(c, now_ms);
	} else {
		smtp_client_ready(c);
	}
}

void smtp_client_on_starttls(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms)
{
	if (r->code == 220) {
		smtp_client_state_set(c, SMTP_CL_TLS);
		c->deadline_ms = now_ms + c->o.timeouts.tls_ms;
	} else if (r->code / 100 == 2) {
		smtp_client_die(c, -ERR_PROTO, r); /* is it, or is it not? */
	} else if (c->o.tls == SMTP_CLIENT_TLS_REQUIRED) {
		smtp_client_refused(c, r, now_ms);
	} else {
		c->tls_refused = true;
		smtp_client_greeted(c, now_ms);
	}
}

int smtp_client_tls_active(struct smtp_client *c, bool verified, uint64_t now_ms)
{
	if (c->state != SMTP_CL_TLS)
		return c->state == SMTP_CL_DEAD ? -ERR_CLOSED : -ERR_INVAL;
	c->tls = true;
	c->tls_verified = verified;
	c->extensions = 0;
	c->size_max = 0;
	c->mechanisms.n = 0;
	c->rcpt_max = c->rcpt_domain_max = c->mail_max = 0;
	smtp_client_greet(c, c->o.lmtp ? "LHLO" : "EHLO", SMTP_CL_EHLO, now_ms);
	return c->failed ? -ERR_NOMEM : (int)smtp_client_step(c);
}

static bool is_mechanism(const char *s)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++)
		if (!(s[i] >= 'A' && s[i] <= 'Z') && !ascii_is_digit((uint8_t)s[i]) &&
		    s[i] != '-' && s[i] != '_')
			return false;
	return n > 0 && n <= 20; /* RFC 4422 3.1 */
}

/* One line: base64 of the octets, "=" for none where the line would say nothing at all. */
static void add_response(struct smtp_client *c, struct span octets, const char *if_empty)
{
	if (octets.n == 0)
		buf_add_str(&c->out, if_empty);
	else if (base64_encode(octets, &c->out) < 0)
		c->out.failed = true;
}

static void respond(struct smtp_client *c, struct span octets, uint64_t now_ms)
{
	size_t before = buf_len(&c->out);

	add_response(c, octets, "");
	buf_add_str(&c->out, "\r\n");
	smtp_client_wrote(c, before);
	c->ends_at = c->written;
	smtp_client_state_set(c, SMTP_CL_AUTH);
	c->deadline_ms = now_ms + c->o.timeouts.auth_ms;
}

int smtp_client_auth(
    struct smtp_client *c, const char *mechanism, const struct span *initial, uint64_t now_ms)
{
	size_t before = buf_len(&c->out);
	bool fits = initial &&
	    sizeof("AUTH ") + strlen(mechanism) + 2 + base64_length(initial->n) < COMMAND_LINE_MAX;

	if (c->state != SMTP_CL_AUTH_WANTED || !is_mechanism(mechanism))
		return c->state == SMTP_CL_DEAD ? -ERR_CLOSED : -ERR_INVAL;
	buf_addf(&c->out, "AUTH %s", mechanism);
	if (fits) {
		buf_add_char(&c->out, ' ');
		add_response(c, *initial, "=");
	} else if (initial) {
		c->has_initial = true;
		if (buf_add_span(&c->secret, *initial) < 0)
			c->failed = true;
	}
	buf_add_str(&c->out, "\r\n");
	smtp_client_wrote(c, before);
	c->ends_at = c->written;
	c->challenges = 0;
	smtp_client_state_set(c, SMTP_CL_AUTH);
	c->deadline_ms = now_ms + c->o.timeouts.auth_ms;
	return c->failed ? -ERR_NOMEM : (int)smtp_client_step(c);
}

int smtp_client_auth_response(struct smtp_client *c, struct span octets, uint64_t now_ms)
{
	if (c->state != SMTP_CL_CHALLENGE)
		return c->state == SMTP_CL_DEAD ? -ERR_CLOSED : -ERR_INVAL;
	respond(c, octets, now_ms);
	forget_secret(c);
	return c->failed ? -ERR_NOMEM : (int)smtp_client_step(c);
}

struct span smtp_client_challenge(const struct smtp_client *c)
{
	return c->state == SMTP_CL_CHALLENGE ? buf_span(&c->secret) : span_of(NULL, 0);
}

int smtp_client_auth_fail(struct smtp_client *c, uint64_t now_ms)
{
	if (c->state == SMTP_CL_AUTH_WANTED) {
		smtp_client_unfit(c, CAT_STAGE_auth, -ERR_AUTH, 0, now_ms);
	} else if (c->state == SMTP_CL_CHALLENGE) {
		/* RFC 4954 4: "*" cancels, and the server says 501 */
		c->session = (struct smtp_outcome){
			.stage = CAT_STAGE_auth, .err = -ERR_AUTH, .is_set = true
		};
		c->auth_given_up = true;
		forget_secret(c);
		say(c, SMTP_CL_AUTH, "*\r\n");
		c->deadline_ms = now_ms + c->o.timeouts.quit_ms;
	} else {
		return c->state == SMTP_CL_DEAD ? -ERR_CLOSED : -ERR_INVAL;
	}
	return c->failed ? -ERR_NOMEM : (int)smtp_client_step(c);
}

static void on_challenge(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms)
{
	struct span text = span_trim(r->text);
	uint8_t *to;
	size_t n = 0;

	if (++c->challenges > CHALLENGES_MAX) {
		smtp_client_die(c, -ERR_PROTO, r);
		return;
	}
	if (c->has_initial) {
		/* the first one asks for what did not fit; what is in it says nothing */
		respond(c, buf_span(&c->secret), now_ms);
		forget_secret(c);
		return;
	}
	forget_secret(c);
	if (text.n) {
		to = buf_reserve(&c->secret, text.n / 4 * 3 + 1);
		if (!to) {
			c->failed = true;
			return;
		}
		if (base64_decode(text, to, &n) < 0) {
			smtp_client_die(c, -ERR_PROTO, r);
			return;
		}
		buf_commit(&c->secret, n);
	}
	smtp_client_state_set(c, SMTP_CL_CHALLENGE);
	c->deadline_ms = UINT64_MAX;
}

void smtp_client_on_auth(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms)
{
	if (c->auth_given_up) {
		/* a yes to a cancelled exchange changes nothing */
		if (r->code >= 400)
			smtp_client_say_quit(c, now_ms);
		else
			smtp_client_die(c, -ERR_PROTO, r);
	} else if (r->code == 235) {
		forget_secret(c);
		c->authenticated = true;
		smtp_client_ready(c);
	} else if (r->code == 334) {
		on_challenge(c, r, now_ms);
	} else if (r->code >= 400) {
		forget_secret(c);
		smtp_client_refused(c, r, now_ms);
	} else {
		smtp_client_die(c, -ERR_PROTO, r);
	}
}

struct span smtp_client_mechanisms(const struct smtp_client *c)
{
	return c->mechanisms;
}

bool smtp_client_is_tls(const struct smtp_client *c)
{
	return c->tls;
}

bool smtp_client_is_authenticated(const struct smtp_client *c)
{
	return c->authenticated;
}
