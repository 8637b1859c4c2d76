/*
 * smtp/client-reply.c - what the replies of a server mean to the client machine.
 *
 * Which reply answers which command, whether it may, and what becomes of the
 * recipients.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "smtp/client-private.h"

/* A pipelined group is written in pieces of about this size; RFC 2920 3.1. */
#define OUTPUT_GROUP (32 * 1024)

void smtp_client_state_set(struct smtp_client *c, enum smtp_client_state state)
{
	if (c->state != SMTP_CL_DEAD)
		c->state = state;
}

/* Account for what was added to the output since `before`. */
void smtp_client_wrote(struct smtp_client *c, size_t before)
{
	c->written += buf_len(&c->out) - before;
	if (c->out.failed)
		c->failed = true;
}

/*
 * Keep a reply.  Where the arena is full the texts are dropped, code and enhanced
 * status never are: a flood of words must not lose an outcome.
 */
struct smtp_reply smtp_client_keep(struct arena *arena, const struct smtp_reply *r)
{
	struct smtp_reply kept = *r;

	kept.raw = arena_span(arena, r->raw);
	if (!kept.raw.p)
		kept.raw.n = 0;
	kept.text = arena_span(arena, r->text);
	if (!kept.text.p)
		kept.text.n = 0;
	return kept;
}

void smtp_client_settle(struct smtp_client *c, size_t i, const struct smtp_outcome *o)
{
	struct client_rcpt *r = &c->rcpts[i];

	if (r->outcome.is_set)
		return;
	r->outcome = *o;
	r->outcome.is_set = true;
	c->open--;
}

void smtp_client_settle_all(struct smtp_client *c, const struct smtp_outcome *o)
{
	for (size_t i = 0; i < c->rcpt_count; i++)
		smtp_client_settle(c, i, o);
}

/* What waits for an answer, or is being done. */
static enum cat_stage stage_now(const struct smtp_client *c)
{
	/* clang-format off */
	switch (c->state) {
	case SMTP_CL_BANNER:
		return CAT_STAGE_connect;
	case SMTP_CL_EHLO:
	case SMTP_CL_HELO:
		return CAT_STAGE_helo;
	case SMTP_CL_STARTTLS:
	case SMTP_CL_TLS:
		return CAT_STAGE_starttls;
	case SMTP_CL_AUTH_WANTED:
	case SMTP_CL_AUTH:
	case SMTP_CL_CHALLENGE:
		return CAT_STAGE_auth;
	case SMTP_CL_COMMANDS:
		if (c->got <= CMD_MAIL)
			return CAT_STAGE_mail;
		return c->got < cmd_data(c) ? CAT_STAGE_rcpt : CAT_STAGE_data;
	case SMTP_CL_BODY:
	case SMTP_CL_END:
	case SMTP_CL_DRAIN:
		return CAT_STAGE_message;
	case SMTP_CL_READY:
	case SMTP_CL_DONE:
	case SMTP_CL_QUIT:
	case SMTP_CL_DEAD:
		break;
	}
	/* clang-format on */
	return CAT_STAGE_session;
}

/* The session ends with this; whoever has no outcome yet gets it. */
void smtp_client_die(struct smtp_client *c, int err, const struct smtp_reply *r)
{
	struct smtp_outcome o = { .stage = stage_now(c), .err = err, .is_set = true };

	if (c->state == SMTP_CL_DEAD)
		return;
	if (r)
		o.reply = smtp_client_keep(c->rcpt_count ? &c->arena : &c->session_arena, r);
	smtp_client_settle_all(c, &o);
	if (!c->session.is_set && c->state != SMTP_CL_QUIT) {
		c->session = o;
		if (r && c->rcpt_count) /* it outlives the message */
			c->session.reply = smtp_client_keep(&c->session_arena, r);
	}
	smtp_client_state_set(c, SMTP_CL_DEAD);
	c->deadline_ms = UINT64_MAX;
}

/* Say QUIT and wait for its answer a short while. */
void smtp_client_say_quit(struct smtp_client *c, uint64_t now_ms)
{
	size_t before = buf_len(&c->out);

	buf_add_str(&c->out, "QUIT\r\n");
	smtp_client_wrote(c, before);
	c->ends_at = c->written;
	smtp_client_state_set(c, SMTP_CL_QUIT);
	c->deadline_ms = now_ms + c->o.timeouts.quit_ms;
}

/* Banner, greeting, STARTTLS or AUTH refused: keep it and leave politely. */
void smtp_client_refused(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms)
{
	c->session = (struct smtp_outcome){ .stage = stage_now(c), .is_set = true };
	c->session.reply = smtp_client_keep(&c->session_arena, r);
	smtp_client_say_quit(c, now_ms);
}

void smtp_client_unfit(
    struct smtp_client *c, enum cat_stage stage, int err, unsigned missing, uint64_t now_ms)
{
	c->session =
	    (struct smtp_outcome){ .stage = stage, .err = err, .missing = missing, .is_set = true };
	smtp_client_say_quit(c, now_ms);
}

void smtp_client_greet(
    struct smtp_client *c, const char *verb, enum smtp_client_state state, uint64_t now_ms)
{
	size_t before = buf_len(&c->out);

	buf_addf(&c->out, "%s %s\r\n", verb, c->o.hostname);
	smtp_client_wrote(c, before);
	c->ends_at = c->written;
	smtp_client_state_set(c, state);
	c->deadline_ms = now_ms + c->o.timeouts.helo_ms;
}

static void on_banner(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms)
{
	size_t n = 0;

	while (n < r->text.n && r->text.p[n] > 32)
		n++;
	c->server_name = arena_span(&c->session_arena, span_of(r->text.p, n));
	if (!c->server_name.p)
		c->server_name.n = 0;
	if (r->code == 220)
		smtp_client_greet(c, c->o.lmtp ? "LHLO" : "EHLO", SMTP_CL_EHLO, now_ms);
	else if (r->code >= 400)
		smtp_client_refused(c, r, now_ms);
	else
		smtp_client_die(c, -ERR_PROTO, r);
}

void smtp_client_ready(struct smtp_client *c)
{
	smtp_client_state_set(c, SMTP_CL_READY);
	c->deadline_ms = UINT64_MAX;
}

/* EHLO's answer: keywords; "500 what?": HELO instead; anything else ends it. */
static void on_ehlo(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms)
{
	if (r->code / 100 == 2) {
		smtp_client_keywords(c, r->text);
		smtp_client_greeted(c, now_ms);
	} else if (r->code / 100 == 5 && !c->o.lmtp) {
		smtp_client_greet(c, "HELO", SMTP_CL_HELO, now_ms);
	} else if (r->code >= 400) {
		smtp_client_refused(c, r, now_ms);
	} else {
		smtp_client_die(c, -ERR_PROTO, r);
	}
}

static void on_helo(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms)
{
	if (r->code / 100 == 2)
		smtp_client_greeted(c, now_ms);
	else if (r->code >= 400)
		smtp_client_refused(c, r, now_ms);
	else
		smtp_client_die(c, -ERR_PROTO, r);
}

void smtp_client_done(struct smtp_client *c)
{
	smtp_client_state_set(c, SMTP_CL_DONE);
	c->deadline_ms = UINT64_MAX;
}

static uint32_t timeout_of(const struct smtp_client *c, size_t command)
{
	if (command <= CMD_MAIL)
		return c->o.timeouts.mail_ms;
	return command < cmd_data(c) ? c->o.timeouts.rcpt_ms : c->o.timeouts.data_ms;
}

/* Which command may be written now: pipelined as far as DATA, else one at a time. */
static bool may_write(const struct smtp_client *c)
{
	if (c->state != SMTP_CL_COMMANDS || c->sent >= cmd_end(c) || c->open == 0 || c->failed)
		return false;
	if (c->sent == c->got)
		return true;
	return c->pipelining && buf_len(&c->out) < OUTPUT_GROUP;
}

void smtp_client_write_commands(struct smtp_client *c, uint64_t now_ms)
{
	smtp_client_chunks_write(c, now_ms);
	while (may_write(c)) {
		size_t before = buf_len(&c->out);
		if (c->sent == c->got)
			c->deadline_ms = now_ms + timeout_of(c, c->sent);
		smtp_client_write(c, c->sent);
		smtp_client_wrote(c, before);
		*ends_at(c, c->sent) = c->written;
		c->sent++;
	}
}

/* A command was refused: whoever has no outcome gets this one, and DATA will carry nothing. */
static void refuse_all(struct smtp_client *c, const struct smtp_reply *r, enum cat_stage stage)
{
	struct smtp_outcome o = { .stage = stage, .reply = smtp_client_keep(&c->arena, r) };

	smtp_client_settle_all(c, &o);
}

/* Nobody is left to deliver to: stop, unless commands are under way whose answers must come. */
static void stop_if_pointless(struct smtp_client *c)
{
	if (c->open > 0 || c->sent > c->got)
		return;
	smtp_client_done(c);
}

static void on_mail(struct smtp_client *c, const struct smtp_reply *r)
{
	if (r->code / 100 == 2)
		c->need_reset = true;
	else
		refuse_all(c, r, CAT_STAGE_mail);
}

static void on_rcpt(struct smtp_client *c, const struct smtp_reply *r, size_t i)
{
	struct smtp_outcome o = { .stage = CAT_STAGE_rcpt };

	if (r->code / 100 == 2 || c->rcpts[i].outcome.is_set)
		return; /* set already: MAIL was refused, and this is but its echo */
	o.reply = smtp_client_keep(&c->arena, r);
	smtp_client_settle(c, i, &o);
}

/* 354 although nobody is left: an empty message must be ended all the same; RFC 2920 3.1. */
static void on_data(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms)
{
	if (r->code == 354) {
		c->need_reset = false;
		smtp_client_state_set(c, SMTP_CL_BODY);
		c->deadline_ms = now_ms + c->o.timeouts.block_ms;
		c->body_bol = true;
		c->body_cr = false;
		c->end_at = 0;
		if (c->open == 0 && c->o.lmtp)
			smtp_client_die(c, -ERR_PROTO, r); /* nobody would answer the dot */
		else if (c->open == 0)
			smtp_client_body_end(c, now_ms);
	} else {
		refuse_all(c, r, CAT_STAGE_data);
		smtp_client_done(c);
	}
}

/*
 * The answer to the final dot (or the last chunk) is the only thing that makes a delivery.  SMTP
 * answers for all; LMTP once for each recipient that it has accepted, in their order (RFC 2033
 * 4.2): those have no outcome yet.
 */
void smtp_client_on_end(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms)
{
	struct smtp_outcome o = { .stage = CAT_STAGE_message };

	o.reply = smtp_client_keep(&c->arena, r);
	o.delivered = r->code / 100 == 2;
	if (!c->o.lmtp) {
		smtp_client_settle_all(c, &o);
	} else {
		while (c->end_at < c->rcpt_count && c->rcpts[c->end_at].outcome.is_set)
			c->end_at++;
		if (c->end_at < c->rcpt_count)
			smtp_client_settle(c, c->end_at, &o);
	}
	if (c->open == 0)
		smtp_client_done(c);
	else
		c->deadline_ms = now_ms + c->o.timeouts.end_ms;
}

/* What a command may be answered with at all. */
static bool code_fits(const struct smtp_client *c, uint16_t code)
{
	if (code >= 400)
		return true;
	if (c->state == SMTP_CL_COMMANDS && c->got == cmd_data(c))
		return code == 354;
	if (c->state == SMTP_CL_AUTH)
		return code == 235 || code == 334;
	return code / 100 == 2;
}

static void on_command(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms)
{
	size_t command = c->got;

	if (command == CMD_RSET && r->code / 100 != 2) {
		/* the server keeps half a transaction that we cannot end: no use to go on */
		smtp_client_die(c, -ERR_PROTO, r);
		return;
	}
	c->got++;
	c->deadline_ms = now_ms + timeout_of(c, c->got);
	if (command == CMD_MAIL)
		on_mail(c, r);
	else if (command == cmd_data(c))
		on_data(c, r, now_ms);
	else if (command > CMD_MAIL)
		on_rcpt(c, r, command - CMD_MAIL - 1);
	if (c->state == SMTP_CL_COMMANDS)
		stop_if_pointless(c);
	if (c->state == SMTP_CL_COMMANDS && c->by_bdat && c->got == cmd_end(c))
		smtp_client_chunks_begin(c, now_ms);
}

/* Is anything of ours waiting for a reply, and has it left us as a whole? */
bool smtp_client_is_expected(struct smtp_client *c)
{
	/* clang-format off */
	switch (c->state) {
	case SMTP_CL_BANNER:
		return true;
	case SMTP_CL_EHLO:
	case SMTP_CL_HELO:
	case SMTP_CL_STARTTLS:
	case SMTP_CL_AUTH:
	case SMTP_CL_QUIT:
		return octets_left(c) >= c->ends_at;
	case SMTP_CL_END:
		return c->by_bdat ? smtp_client_chunk_expected(c) : octets_left(c) >= c->ends_at;
	case SMTP_CL_BODY:
	case SMTP_CL_DRAIN:
		return c->by_bdat && smtp_client_chunk_expected(c);
	case SMTP_CL_COMMANDS:
		return c->got < c->sent && octets_left(c) >= *ends_at(c, c->got);
	case SMTP_CL_TLS:
	case SMTP_CL_AUTH_WANTED:
	case SMTP_CL_CHALLENGE:
	case SMTP_CL_READY:
	case SMTP_CL_DONE:
	case SMTP_CL_DEAD:
		break;
	}
	/* clang-format on */
	return false;
}

/*
 * A reply that answers nothing.  A refusal is believed (servers say 421 and leave, or
 * 552 in the middle of a body); a yes to what was never asked is a broken peer.
 */
static void on_unexpected(struct smtp_client *c, const struct smtp_reply *r)
{
	bool midway =
	    c->state == SMTP_CL_BODY || c->state == SMTP_CL_END || c->state == SMTP_CL_DRAIN;

	smtp_client_die(c, r->code == 421 || (midway && r->code >= 400) ? 0 : -ERR_PROTO, r);
}

void smtp_client_on_reply(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms)
{
	if (c->state == SMTP_CL_QUIT) {
		smtp_client_die(c, 0, r);
		return;
	}
	if (!c->expected) {
		on_unexpected(c, r);
		return;
	}
	if (r->code == 421) {
		smtp_client_die(c, 0, r); /* RFC 5321 3.8: the server closes, whatever was asked */
		return;
	}
	if (c->state != SMTP_CL_BANNER && !code_fits(c, r->code)) {
		smtp_client_die(c, -ERR_PROTO, r);
		return;
	}
	/* clang-format off */
	switch (c->state) {
	case SMTP_CL_BANNER:
		on_banner(c, r, now_ms);
		break;
	case SMTP_CL_EHLO:
		on_ehlo(c, r, now_ms);
		break;
	case SMTP_CL_HELO:
		on_helo(c, r, now_ms);
		break;
	case SMTP_CL_STARTTLS:
		smtp_client_on_starttls(c, r, now_ms);
		break;
	case SMTP_CL_AUTH:
		smtp_client_on_auth(c, r, now_ms);
		break;
	case SMTP_CL_COMMANDS:
		on_command(c, r, now_ms);
		break;
	case SMTP_CL_BODY:
	case SMTP_CL_DRAIN:
		smtp_client_on_chunk(c, r, now_ms);
		break;
	case SMTP_CL_END:
		if (c->by_bdat)
			smtp_client_on_chunk(c, r, now_ms);
		else
			smtp_client_on_end(c, r, now_ms);
		break;
	case SMTP_CL_QUIT:
	case SMTP_CL_TLS:
	case SMTP_CL_AUTH_WANTED:
	case SMTP_CL_CHALLENGE:
	case SMTP_CL_READY:
	case SMTP_CL_DONE:
	case SMTP_CL_DEAD:
		break;
	}
	/* clang-format on */
}
