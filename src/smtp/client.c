/*
 * smtp/client.c - the client half of an SMTP session; see smtp/client.h.
 *
 * A message is a list of commands that nobody stores: [RSET] MAIL RCPT... DATA END.
 * `sent` is the next one to write, `got` the next one to be answered; with PIPELINING
 * `sent` runs ahead up to DATA.  For each command we remember where its last octet
 * stands in the stream of output.  A reply that comes before that octet left belongs
 * to no command of ours, and nothing that follows on this connection can be trusted.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "smtp/client.h"
#include "base/arena.h"
#include "base/err.h"
#include "smtp/client-private.h"

#include <stdlib.h>

/* The most a host may give as body before it sends, and a pipelined group besides. */
#define OUTPUT_MAX (8 * 1024 * 1024)

/* A pipelined group is written in pieces of about this size; RFC 2920 3.1. */
#define OUTPUT_GROUP (32 * 1024)

/* Texts of replies to one message: 10,000 recipients, 400 octets each; beyond, only codes. */
#define REPLIES_MAX (4 * 1024 * 1024)

/* Texts of banner, greeting and the end of a session. */
#define SESSION_MAX (256 * 1024)

void smtp_client_options_init(struct smtp_client_options *o, const char *hostname)
{
	*o = (struct smtp_client_options){
		.hostname = hostname,
		.timeouts = {
			.banner_ms = 300 * 1000,
			.helo_ms = 300 * 1000,
			.mail_ms = 300 * 1000,
			.rcpt_ms = 300 * 1000,
			.data_ms = 120 * 1000,
			.block_ms = 180 * 1000,
			.end_ms = 600 * 1000,
			.quit_ms = 10 * 1000, /* nothing hangs on its answer */
		},
	};
}

int smtp_client_new(const struct smtp_client_options *o, uint64_t now_ms, struct smtp_client **c_r)
{
	struct smtp_client *c = calloc(1, sizeof(*c));

	if (!c)
		return -ERR_NOMEM;
	c->o = *o;
	buf_init(&c->out, OUTPUT_MAX);
	arena_init(&c->session_arena, SESSION_MAX);
	arena_init(&c->arena, REPLIES_MAX);
	smtp_reply_parser_init(&c->parser);
	c->deadline_ms = now_ms + o->timeouts.banner_ms;
	*c_r = c;
	return 0;
}

void smtp_client_free(struct smtp_client **cp)
{
	struct smtp_client *c = *cp;

	if (!c)
		return;
	buf_done(&c->out);
	arena_done(&c->session_arena);
	arena_done(&c->arena);
	smtp_reply_parser_done(&c->parser);
	free(c->rcpts);
	free(c);
	*cp = NULL;
}

static void state_set(struct smtp_client *c, enum smtp_client_state state)
{
	if (c->state != SMTP_CL_DEAD)
		c->state = state;
}

/* Octets of output that the host has taken so far. */
static uint64_t octets_left(const struct smtp_client *c)
{
	return c->written - buf_len(&c->out);
}

/* Account for what was added to the output since `before`. */
static void wrote(struct smtp_client *c, size_t before)
{
	c->written += buf_len(&c->out) - before;
	if (c->out.failed)
		c->failed = true;
}

/*
 * Keep a reply.  Where the arena is full the texts are dropped, code and enhanced
 * status never are: a flood of words must not lose an outcome.
 */
static struct smtp_reply keep(struct arena *arena, const struct smtp_reply *r)
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

/* Give an outcome to a recipient that has none yet. */
static void settle(struct smtp_client *c, size_t i, const struct smtp_outcome *o)
{
	struct client_rcpt *r = &c->rcpts[i];

	if (r->outcome.is_set)
		return;
	r->outcome = *o;
	r->outcome.is_set = true;
	c->open--;
}

static void settle_all(struct smtp_client *c, const struct smtp_outcome *o)
{
	for (size_t i = 0; i < c->rcpt_count; i++)
		settle(c, i, o);
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
	case SMTP_CL_COMMANDS:
		if (c->got <= CMD_MAIL)
			return CAT_STAGE_mail;
		return c->got < cmd_data(c) ? CAT_STAGE_rcpt : CAT_STAGE_data;
	case SMTP_CL_BODY:
	case SMTP_CL_END:
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
static void die(struct smtp_client *c, int err, const struct smtp_reply *r)
{
	struct smtp_outcome o = { .stage = stage_now(c), .err = err, .is_set = true };

	if (c->state == SMTP_CL_DEAD)
		return;
	if (r)
		o.reply = keep(c->rcpt_count ? &c->arena : &c->session_arena, r);
	settle_all(c, &o);
	if (!c->session.is_set && c->state != SMTP_CL_QUIT) {
		c->session = o;
		if (r && c->rcpt_count) /* it outlives the message */
			c->session.reply = keep(&c->session_arena, r);
	}
	state_set(c, SMTP_CL_DEAD);
	c->deadline_ms = UINT64_MAX;
}

/* Say QUIT and wait for its answer a short while. */
static void say_quit(struct smtp_client *c, uint64_t now_ms)
{
	size_t before = buf_len(&c->out);

	buf_add_str(&c->out, "QUIT\r\n");
	wrote(c, before);
	c->ends_at = c->written;
	state_set(c, SMTP_CL_QUIT);
	c->deadline_ms = now_ms + c->o.timeouts.quit_ms;
}

/* Banner or greeting refused: keep it and leave politely. */
static void session_refused(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms)
{
	c->session = (struct smtp_outcome){ .stage = stage_now(c), .is_set = true };
	c->session.reply = keep(&c->session_arena, r);
	say_quit(c, now_ms);
}

static void greet(
    struct smtp_client *c, const char *verb, enum smtp_client_state state, uint64_t now_ms)
{
	size_t before = buf_len(&c->out);

	buf_addf(&c->out, "%s %s\r\n", verb, c->o.hostname);
	wrote(c, before);
	c->ends_at = c->written;
	state_set(c, state);
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
		greet(c, "EHLO", SMTP_CL_EHLO, now_ms);
	else if (r->code >= 400)
		session_refused(c, r, now_ms);
	else
		die(c, -ERR_PROTO, r);
}

static void ready(struct smtp_client *c)
{
	state_set(c, SMTP_CL_READY);
	c->deadline_ms = UINT64_MAX;
}

/* EHLO's answer: keywords; "500 what?": HELO instead; anything else ends it. */
static void on_ehlo(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms)
{
	if (r->code / 100 == 2) {
		smtp_client_keywords(c, r->text);
		ready(c);
	} else if (r->code / 100 == 5) {
		greet(c, "HELO", SMTP_CL_HELO, now_ms);
	} else if (r->code / 100 == 4) {
		session_refused(c, r, now_ms);
	} else {
		die(c, -ERR_PROTO, r);
	}
}

static void on_helo(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms)
{
	if (r->code / 100 == 2)
		ready(c);
	else if (r->code >= 400)
		session_refused(c, r, now_ms);
	else
		die(c, -ERR_PROTO, r);
}

/* The message came to its end; the connection can take another. */
static void done(struct smtp_client *c)
{
	state_set(c, SMTP_CL_DONE);
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
	if (c->state != SMTP_CL_COMMANDS || c->sent > cmd_data(c) || c->open == 0 || c->failed)
		return false;
	if (c->sent == c->got)
		return true;
	return c->pipelining && buf_len(&c->out) < OUTPUT_GROUP;
}

static void write_commands(struct smtp_client *c, uint64_t now_ms)
{
	while (may_write(c)) {
		size_t before = buf_len(&c->out);
		if (c->sent == c->got)
			c->deadline_ms = now_ms + timeout_of(c, c->sent);
		smtp_client_write(c, c->sent);
		wrote(c, before);
		*ends_at(c, c->sent) = c->written;
		c->sent++;
	}
}

/* A command was refused: whoever has no outcome gets this one, and DATA will carry nothing. */
static void refuse_all(struct smtp_client *c, const struct smtp_reply *r, enum cat_stage stage)
{
	struct smtp_outcome o = { .stage = stage, .reply = keep(&c->arena, r) };

	settle_all(c, &o);
}

/* Nobody is left to deliver to: stop, unless commands are under way whose answers must come. */
static void stop_if_pointless(struct smtp_client *c)
{
	if (c->open > 0 || c->sent > c->got)
		return;
	done(c);
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
	o.reply = keep(&c->arena, r);
	settle(c, i, &o);
}

/* 354 although nobody is left: an empty message must be ended all the same; RFC 2920 3.1. */
static void on_data(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms)
{
	if (r->code == 354) {
		c->need_reset = false;
		state_set(c, SMTP_CL_BODY);
		c->deadline_ms = now_ms + c->o.timeouts.block_ms;
		c->body_bol = true;
		c->body_cr = false;
		if (c->open == 0)
			smtp_client_body_end(c, now_ms);
	} else {
		refuse_all(c, r, CAT_STAGE_data);
		done(c);
	}
}

/* The answer to the final dot is the only thing that makes a delivery. */
static void on_end(struct smtp_client *c, const struct smtp_reply *r)
{
	struct smtp_outcome o = { .stage = CAT_STAGE_message, .reply = keep(&c->arena, r) };

	o.delivered = r->code / 100 == 2;
	settle_all(c, &o);
	done(c);
}

/* What a command may be answered with at all. */
static bool code_fits(const struct smtp_client *c, uint16_t code)
{
	if (code >= 400)
		return true;
	if (c->state == SMTP_CL_COMMANDS && c->got == cmd_data(c))
		return code == 354;
	return code / 100 == 2;
}

static void on_command(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms)
{
	size_t command = c->got;

	if (command == CMD_RSET && r->code / 100 != 2) {
		/* the server keeps half a transaction that we cannot end: no use to go on */
		die(c, -ERR_PROTO, r);
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
}

/* Is anything of ours waiting for a reply, and has it left us as a whole? */
static bool is_expected(struct smtp_client *c)
{
	/* clang-format off */
	switch (c->state) {
	case SMTP_CL_BANNER:
		return true;
	case SMTP_CL_EHLO:
	case SMTP_CL_HELO:
	case SMTP_CL_QUIT:
	case SMTP_CL_END:
		return octets_left(c) >= c->ends_at;
	case SMTP_CL_COMMANDS:
		return c->got < c->sent && octets_left(c) >= *ends_at(c, c->got);
	case SMTP_CL_READY:
	case SMTP_CL_BODY:
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
	bool midway = c->state == SMTP_CL_BODY || c->state == SMTP_CL_END;

	die(c, r->code == 421 || (midway && r->code >= 400) ? 0 : -ERR_PROTO, r);
}

static void on_reply(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms)
{
	if (c->state == SMTP_CL_QUIT) {
		die(c, 0, r);
		return;
	}
	if (!c->expected) {
		on_unexpected(c, r);
		return;
	}
	if (r->code == 421) {
		die(c, 0, r); /* RFC 5321 3.8: the server closes, whatever was asked */
		return;
	}
	if (c->state != SMTP_CL_BANNER && !code_fits(c, r->code)) {
		die(c, -ERR_PROTO, r);
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
	case SMTP_CL_COMMANDS:
		on_command(c, r, now_ms);
		break;
	case SMTP_CL_END:
		on_end(c, r);
		break;
	case SMTP_CL_QUIT:
	case SMTP_CL_READY:
	case SMTP_CL_BODY:
	case SMTP_CL_DONE:
	case SMTP_CL_DEAD:
		break;
	}
	/* clang-format on */
}

int smtp_client_feed(struct smtp_client *c, const uint8_t *buf, size_t len, uint64_t now_ms)
{
	struct span octets = span_of(buf, len);

	while (octets.n && c->state != SMTP_CL_DEAD && !c->failed) {
		const struct smtp_reply *r = NULL;
		size_t used = 0;
		int rc;

		if (!smtp_reply_pending(&c->parser)) /* what begins before we ask is no answer */
			c->expected = is_expected(c);
		rc = smtp_reply_feed(&c->parser, octets, &used, &r);
		octets = span_skip(octets, used);
		if (rc < 0)
			die(c, rc, NULL);
		else if (rc > 0)
			on_reply(c, r, now_ms);
		else
			break;
		write_commands(c, now_ms);
	}
	write_commands(c, now_ms);
	return c->failed ? -ERR_NOMEM : (int)smtp_client_step(c);
}

enum smtp_client_step smtp_client_step(const struct smtp_client *c)
{
	/* clang-format off */
	switch (c->state) {
	case SMTP_CL_BANNER:
	case SMTP_CL_EHLO:
	case SMTP_CL_HELO:
	case SMTP_CL_COMMANDS:
	case SMTP_CL_END:
	case SMTP_CL_QUIT:
		return SMTP_CLIENT_WAIT;
	case SMTP_CL_READY:
		return SMTP_CLIENT_READY;
	case SMTP_CL_BODY:
		return SMTP_CLIENT_BODY;
	case SMTP_CL_DONE:
		return SMTP_CLIENT_DONE;
	case SMTP_CL_DEAD:
		break;
	}
	/* clang-format on */
	return SMTP_CLIENT_DEAD;
}

/* An address with a control in it would be a command of somebody else's. */
static bool is_clean(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < 32 || s.p[i] == 127)
			return false;
	return true;
}

static bool is_message_clean(const struct smtp_client_message *m)
{
	if (!is_clean(m->reverse_path))
		return false;
	for (size_t i = 0; i < m->rcpt_count; i++)
		if (!is_clean(m->rcpts[i].address))
			return false;
	return true;
}

static int take_message(struct smtp_client *c, const struct smtp_client_message *m)
{
	struct client_rcpt *rcpts = calloc(m->rcpt_count, sizeof(*rcpts));

	if (!rcpts)
		return -ERR_NOMEM;
	free(c->rcpts);
	arena_reset(&c->arena);
	c->rcpts = rcpts;
	c->rcpt_count = c->open = m->rcpt_count;
	c->message = *m;
	return 0;
}

int smtp_client_send(struct smtp_client *c, const struct smtp_client_message *m, uint64_t now_ms)
{
	int rc;

	if ((c->state != SMTP_CL_READY && c->state != SMTP_CL_DONE) || m->rcpt_count == 0 ||
	    !is_message_clean(m))
		return -ERR_INVAL;
	rc = take_message(c, m);
	if (rc < 0)
		return rc;
	if (c->size_max && m->size > c->size_max) {
		struct smtp_outcome o = { .stage = CAT_STAGE_mail, .err = -ERR_LIMIT };
		settle_all(c, &o);
		state_set(c, SMTP_CL_DONE);
		return (int)smtp_client_step(c);
	}
	c->sent = c->got = c->need_reset ? CMD_RSET : CMD_MAIL;
	c->need_reset = false;
	c->pipelining = (c->extensions & SMTP_EXT_PIPELINING) && !c->o.no_pipelining;
	state_set(c, SMTP_CL_COMMANDS);
	write_commands(c, now_ms);
	return c->failed ? -ERR_NOMEM : (int)smtp_client_step(c);
}

int smtp_client_body(struct smtp_client *c, struct span octets, uint64_t now_ms)
{
	size_t before = buf_len(&c->out);

	if (c->state != SMTP_CL_BODY)
		return c->state == SMTP_CL_DEAD ? -ERR_CLOSED : -ERR_INVAL;
	smtp_client_stuff(c, octets);
	wrote(c, before);
	if (before == 0)
		c->deadline_ms = now_ms + c->o.timeouts.block_ms;
	return c->failed ? -ERR_NOMEM : 0;
}

int smtp_client_body_end(struct smtp_client *c, uint64_t now_ms)
{
	size_t before = buf_len(&c->out);

	if (c->state != SMTP_CL_BODY)
		return c->state == SMTP_CL_DEAD ? -ERR_CLOSED : -ERR_INVAL;
	smtp_client_stuff_end(c);
	wrote(c, before);
	c->ends_at = c->written;
	state_set(c, SMTP_CL_END);
	c->deadline_ms = now_ms + c->o.timeouts.end_ms;
	return c->failed ? -ERR_NOMEM : 0;
}

void smtp_client_body_fail(struct smtp_client *c)
{
	die(c, -ERR_IO, NULL);
}

int smtp_client_quit(struct smtp_client *c, uint64_t now_ms)
{
	if (c->state != SMTP_CL_READY && c->state != SMTP_CL_DONE)
		return -ERR_INVAL;
	say_quit(c, now_ms);
	return c->failed ? -ERR_NOMEM : (int)smtp_client_step(c);
}

void smtp_client_lost(struct smtp_client *c, int err)
{
	die(c, err, NULL);
}

struct buf *smtp_client_output(struct smtp_client *c)
{
	return &c->out;
}

void smtp_client_sent(struct smtp_client *c, uint64_t now_ms)
{
	if (c->state == SMTP_CL_BODY)
		c->deadline_ms = now_ms + c->o.timeouts.block_ms;
	else if (c->state == SMTP_CL_END)
		c->deadline_ms = now_ms + c->o.timeouts.end_ms;
	write_commands(c, now_ms);
}

uint64_t smtp_client_deadline(const struct smtp_client *c)
{
	return c->deadline_ms;
}

const struct smtp_outcome *smtp_client_outcome(const struct smtp_client *c, size_t i)
{
	return i < c->rcpt_count ? &c->rcpts[i].outcome : &c->session;
}

const struct smtp_outcome *smtp_client_session_outcome(const struct smtp_client *c)
{
	return &c->session;
}

unsigned smtp_client_extensions(const struct smtp_client *c)
{
	return c->extensions;
}

uint64_t smtp_client_size_max(const struct smtp_client *c)
{
	return c->size_max;
}

struct span smtp_client_server_name(const struct smtp_client *c)
{
	return c->server_name;
}
