/*
 * smtp/client.c - the client half of an SMTP session; see smtp/client.h.
 *
 * Replies are read in client-reply.c, commands written in client-command.c, STARTTLS and AUTH
 * are in client-secure.c, BDAT is in client-chunk.c.
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
#include "base/utf8.h"
#include "smtp/client-private.h"

#include <stdlib.h>

/* The most a host may give as body before it sends, and a pipelined group besides. */
#define OUTPUT_MAX (8 * 1024 * 1024)

/* Texts of replies to one message: 10,000 recipients, 400 octets each; beyond, only codes. */
#define REPLIES_MAX (4 * 1024 * 1024)

/* Texts of banner, greeting and the end of a session. */
#define SESSION_MAX (256 * 1024)

/* What is decoded of a challenge (a reply has at most 64 KiB), or an initial response. */
#define SECRET_MAX (64 * 1024)

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
			.tls_ms = 120 * 1000,
			.auth_ms = 300 * 1000,
		},
	};
}

int smtp_client_new(const struct smtp_client_options *o, uint64_t now_ms, struct smtp_client **c_r)
{
	struct smtp_client *c = calloc(1, sizeof(*c));

	if (!c)
		return -ERR_NOMEM;
	c->o = *o;
	c->tls = o->tls_active;
	c->tls_verified = o->tls_active && o->tls_verified;
	buf_init(&c->out, OUTPUT_MAX);
	buf_init(&c->secret, SECRET_MAX);
	buf_init(&c->chunks.text, OUTPUT_MAX);
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
	if (c->secret.data)
		explicit_bzero(c->secret.data, c->secret.cap);
	buf_done(&c->secret);
	buf_done(&c->chunks.text);
	buf_done(&c->out);
	arena_done(&c->session_arena);
	arena_done(&c->arena);
	smtp_reply_parser_done(&c->parser);
	free(c->rcpts);
	free(c);
	*cp = NULL;
}

int smtp_client_feed(struct smtp_client *c, const uint8_t *buf, size_t len, uint64_t now_ms)
{
	struct span octets = span_of(buf, len);

	while (octets.n && c->state != SMTP_CL_DEAD && !c->failed) {
		const struct smtp_reply *r = NULL;
		size_t used = 0;
		int rc;

		if (c->state == SMTP_CL_TLS) { /* in clear, where only a handshake belongs */
			smtp_client_die(c, -ERR_PROTO, NULL);
			break;
		}
		if (!smtp_reply_pending(&c->parser)) /* what begins before we ask is no answer */
			c->expected = smtp_client_is_expected(c);
		rc = smtp_reply_feed(&c->parser, octets, &used, &r);
		octets = span_skip(octets, used);
		if (rc < 0)
			/* a reply without end is no limit of ours that a message could fit into */
			smtp_client_die(c, rc == -ERR_LIMIT ? -ERR_PROTO : rc, NULL);
		else if (rc > 0)
			smtp_client_on_reply(c, r, now_ms);
		else
			break;
		smtp_client_write_commands(c, now_ms);
	}
	smtp_client_write_commands(c, now_ms);
	return c->failed ? -ERR_NOMEM : (int)smtp_client_step(c);
}

enum smtp_client_step smtp_client_step(const struct smtp_client *c)
{
	/* clang-format off */
	switch (c->state) {
	case SMTP_CL_BANNER:
	case SMTP_CL_EHLO:
	case SMTP_CL_HELO:
	case SMTP_CL_STARTTLS:
	case SMTP_CL_AUTH:
	case SMTP_CL_COMMANDS:
	case SMTP_CL_END:
	case SMTP_CL_DRAIN:
	case SMTP_CL_QUIT:
		return SMTP_CLIENT_WAIT;
	case SMTP_CL_TLS:
		return SMTP_CLIENT_TLS;
	case SMTP_CL_AUTH_WANTED:
		return SMTP_CLIENT_AUTH;
	case SMTP_CL_CHALLENGE:
		return SMTP_CLIENT_CHALLENGE;
	case SMTP_CL_READY:
		return SMTP_CLIENT_READY;
	case SMTP_CL_BODY:
		return c->by_bdat && !smtp_client_chunks_room(c) ? SMTP_CLIENT_WAIT : SMTP_CLIENT_BODY;
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

/* An address that only SMTPUTF8 can carry, whatever the host says of the message. */
static bool has_utf8_address(const struct smtp_client_message *m)
{
	if (!ascii_valid(m->reverse_path))
		return true;
	for (size_t i = 0; i < m->rcpt_count; i++)
		if (!ascii_valid(m->rcpts[i].address))
			return true;
	return false;
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
	c->message.smtputf8 = m->smtputf8 || has_utf8_address(m);
	return 0;
}

/* Has the server what the message cannot be without? */
static bool is_possible(
    const struct smtp_client *c, const struct smtp_client_message *m, struct smtp_outcome *o)
{
	*o = (struct smtp_outcome){ .stage = CAT_STAGE_mail };
	if (m->smtputf8 && !(c->extensions & SMTP_EXT_SMTPUTF8))
		o->missing = SMTP_EXT_SMTPUTF8;
	else if (m->need_8bit && !(c->extensions & SMTP_EXT_8BITMIME))
		o->missing = SMTP_EXT_8BITMIME;
	else if (m->body_binary && (~c->extensions & (SMTP_EXT_BINARYMIME | SMTP_EXT_CHUNKING)))
		o->missing = SMTP_EXT_BINARYMIME;
	else if (m->require_tls && !c->tls_verified)
		o->err = -ERR_TLS;
	else if (m->require_tls && !(c->extensions & SMTP_EXT_REQUIRETLS))
		o->missing = SMTP_EXT_REQUIRETLS;
	else if (c->size_max && m->size > c->size_max)
		o->err = -ERR_LIMIT;
	if (o->missing)
		o->err = -ERR_UNSUPPORTED;
	return o->err == 0;
}

int smtp_client_send(struct smtp_client *c, const struct smtp_client_message *m, uint64_t now_ms)
{
	struct smtp_outcome o;
	int rc;

	if ((c->state != SMTP_CL_READY && c->state != SMTP_CL_DONE) || m->rcpt_count == 0 ||
	    (c->rcpt_max && m->rcpt_count > c->rcpt_max) || !is_message_clean(m))
		return -ERR_INVAL;
	rc = take_message(c, m);
	if (rc < 0)
		return rc;
	if (!is_possible(c, &c->message, &o)) {
		smtp_client_settle_all(c, &o);
		smtp_client_state_set(c, SMTP_CL_DONE);
		return (int)smtp_client_step(c);
	}
	c->sent = c->got = c->need_reset ? CMD_RSET : CMD_MAIL;
	c->need_reset = false;
	c->mails++;
	c->by_bdat = (c->extensions & SMTP_EXT_CHUNKING) && (m->body_binary || c->o.chunking);
	c->pipelining = (c->extensions & SMTP_EXT_PIPELINING) && !c->o.no_pipelining;
	smtp_client_state_set(c, SMTP_CL_COMMANDS);
	smtp_client_write_commands(c, now_ms);
	return c->failed ? -ERR_NOMEM : (int)smtp_client_step(c);
}

int smtp_client_body(struct smtp_client *c, struct span octets, uint64_t now_ms)
{
	size_t before = buf_len(&c->out);

	if (c->state != SMTP_CL_BODY)
		return c->state == SMTP_CL_DEAD ? -ERR_CLOSED : -ERR_INVAL;
	if (c->by_bdat) {
		smtp_client_chunks_take(c, octets, now_ms);
		return c->failed ? -ERR_NOMEM : 0;
	}
	smtp_client_stuff(c, &c->out, octets);
	smtp_client_wrote(c, before);
	if (before == 0)
		c->deadline_ms = now_ms + c->o.timeouts.block_ms;
	return c->failed ? -ERR_NOMEM : 0;
}

int smtp_client_body_end(struct smtp_client *c, uint64_t now_ms)
{
	size_t before = buf_len(&c->out);

	if (c->state != SMTP_CL_BODY)
		return c->state == SMTP_CL_DEAD ? -ERR_CLOSED : -ERR_INVAL;
	if (c->by_bdat) {
		smtp_client_chunks_end(c, now_ms);
		return c->failed ? -ERR_NOMEM : 0;
	}
	smtp_client_stuff_end(c, &c->out);
	buf_add_str(&c->out, ".\r\n");
	smtp_client_wrote(c, before);
	c->ends_at = c->written;
	smtp_client_state_set(c, SMTP_CL_END);
	c->deadline_ms = now_ms + c->o.timeouts.end_ms;
	return c->failed ? -ERR_NOMEM : 0;
}

void smtp_client_body_fail(struct smtp_client *c)
{
	smtp_client_die(c, -ERR_IO, NULL);
}

int smtp_client_quit(struct smtp_client *c, uint64_t now_ms)
{
	if (c->state != SMTP_CL_READY && c->state != SMTP_CL_DONE)
		return -ERR_INVAL;
	smtp_client_say_quit(c, now_ms);
	return c->failed ? -ERR_NOMEM : (int)smtp_client_step(c);
}

void smtp_client_lost(struct smtp_client *c, int err)
{
	smtp_client_die(c, err, NULL);
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
	smtp_client_write_commands(c, now_ms);
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

uint32_t smtp_client_rcpt_max(const struct smtp_client *c)
{
	return c->rcpt_max;
}

uint32_t smtp_client_rcpt_domain_max(const struct smtp_client *c)
{
	return c->rcpt_domain_max;
}

bool smtp_client_is_used_up(const struct smtp_client *c)
{
	return c->mail_max && c->mails >= c->mail_max;
}

struct span smtp_client_server_name(const struct smtp_client *c)
{
	return c->server_name;
}
