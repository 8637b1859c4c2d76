/*
 * smtp/server-auth.c - AUTH and the lines of its exchange, RFC 4954.
 *
 * The machine carries octets between client and host and knows no mechanism.  What a
 * client says here is secret: it is never the `command` of a step, and the buffers that
 * held it are wiped when the step ends.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/base64.h"
#include "base/err.h"
#include "catalogue/reply_ids.h"
#include "smtp/server-private.h"

void smtp_server_wipe(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	buf_reset(b);
}

/* Decode into the session's secret; false when it is no base64. */
static bool decode(struct smtp_server *s, struct span text, struct span *octets_r)
{
	uint8_t *to;
	size_t n = 0;

	smtp_server_wipe(&s->secret);
	to = buf_reserve(&s->secret, text.n + 1);
	if (!to) {
		s->failed = true;
		return true;
	}
	if (base64_decode(text, to, &n) < 0)
		return false;
	buf_commit(&s->secret, n);
	*octets_r = span_of(to, n);
	return true;
}

static struct span upper(struct smtp_server *s, struct span word)
{
	uint8_t *to = arena_alloc(&s->arena, word.n + 1);

	if (!to) {
		s->failed = true;
		return word;
	}
	for (size_t i = 0; i < word.n; i++)
		to[i] = ascii_upper(word.p[i]);
	return span_of(to, word.n);
}

void smtp_server_on_auth(struct smtp_server *s, struct span args)
{
	struct span mechanism = smtp_word(args);
	struct span initial = span_trim(span_skip(args, mechanism.n));
	struct reply_args fields = { 0 };
	int reply = -1;

	fields.field[REPLY_FIELD_mechanism] = mechanism;
	if (s->authenticated)
		reply = REPLY_ALREADY_AUTHENTICATED;
	else if (mechanism.n == 0 || smtp_word(initial).n != initial.n)
		reply = REPLY_SYNTAX_AUTH;
	else if (!s->tls && !s->o.auth_without_tls)
		reply = REPLY_ENCRYPTION_REQUIRED;
	else if (!smtp_server_has_mechanism(s, mechanism))
		reply = REPLY_AUTH_MECHANISM_UNKNOWN;
	/* "=" is an initial response of no octets */
	else if (!decode(
		     s, span_eq(initial, SPAN_LIT("=")) ? SPAN_LIT("") : initial, &s->step.octets))
		reply = REPLY_AUTH_BAD_BASE64;
	if (reply >= 0) {
		smtp_server_refuse(s, reply, &fields);
		return;
	}
	s->step.has_initial = initial.n > 0;
	s->step.argument = upper(s, mechanism);
	smtp_server_ask(s, SMTP_STEP_AUTH);
}

/* The machine itself ends the exchange. */
static void give_up(struct smtp_server *s, int reply)
{
	smtp_server_state_set(s, SMTP_ST_READY);
	s->want_auth_end = true;
	smtp_server_refuse(s, reply, NULL);
}

void smtp_server_auth_line(struct smtp_server *s, struct span line, bool too_long)
{
	if (too_long)
		give_up(s, REPLY_AUTH_LINE_TOO_LONG);
	else if (span_eq(line, SPAN_LIT("*")))
		give_up(s, REPLY_AUTH_ABORTED);
	else if (!decode(s, line, &s->step.octets))
		give_up(s, REPLY_AUTH_BAD_BASE64);
	else
		smtp_server_ask(s, SMTP_STEP_AUTH_RESPONSE);
}

/* Its length is the mechanism's, up to 12288 octets, so it is no text of the catalogue's. */
int smtp_server_auth_challenge(struct smtp_server *s, int code, struct span octets)
{
	buf_addf(&s->out, "%d ", code);
	base64_encode(octets, &s->out);
	buf_add_str(&s->out, "\r\n");
	s->failed |= s->out.failed;
	return code;
}
