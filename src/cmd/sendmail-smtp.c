/*
 * cmd/sendmail-smtp.c - `sendmail -bs`: SMTP on standard input and output.
 *
 * The same machine as the server's, answered here: each message goes into the submission
 * directory like one of `sendmail` itself, so that it works without a running server and the
 * user is known.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "catalogue/reply_ids.h"
#include "cmd/sendmail-private.h"
#include "smtp/server.h"

#include <errno.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#define MESSAGE_OCTETS_MAX (UINT64_C(1) << 30)

struct talk {
	const struct config *cfg;
	struct smtp_server *smtp;
	struct sendmail_message m;
	struct submission sub;
	bool too_large, over;
};

static void reset(struct talk *t)
{
	arena_reset(&t->m.arena);
	buf_reset(&t->m.text);
	t->m.rcpts = NULL;
	t->m.rcpt_count = t->m.rcpt_room = 0;
	t->sub = (struct submission){ .sender = { (const uint8_t *)"", 0 } };
}

static int on_mail(struct talk *t, const struct smtp_step *step)
{
	reset(t);
	t->sub.sender = arena_span(&t->m.arena, step->address.address);
	t->sub.envid = arena_span(&t->m.arena, step->envid);
	t->sub.ret = (enum envelope_ret)step->ret;
	t->sub.body = step->body_8bit ? ENVELOPE_BODY_8BITMIME : ENVELOPE_BODY_7BIT;
	return t->sub.sender.p && t->sub.envid.p ? REPLY_MAIL_OK : REPLY_NO_RESOURCES;
}

static int on_rcpt(struct talk *t, const struct smtp_step *step)
{
	if (sendmail_add_recipients(&t->m, step->address.address) < 0)
		return REPLY_TOO_MANY_RECIPIENTS;
	t->sub.notify |= step->notify;
	return REPLY_RCPT_OK;
}

static int on_message(struct talk *t, const struct smtp_step *step, char *name)
{
	int r;

	if (step->fault >= 0)
		return step->fault;
	if (t->m.text.failed)
		return REPLY_INSUFFICIENT_STORAGE;
	/* The wishes of several may not agree; to be told is the safe one. */
	if ((t->sub.notify & RCPT_NOTIFY_NEVER) && t->sub.notify != RCPT_NOTIFY_NEVER)
		t->sub.notify &= (uint8_t)~RCPT_NOTIFY_NEVER;
	t->sub.rcpts = t->m.rcpts;
	t->sub.rcpt_count = t->m.rcpt_count;
	r = sendmail_drop(t->cfg, &t->sub, buf_span(&t->m.text), name);
	return r == 0           ? REPLY_QUEUED
	    : r == -ERR_NOSPACE ? REPLY_INSUFFICIENT_STORAGE
				: REPLY_QUEUE_WRITE_ERROR;
}

static void step(struct talk *t)
{
	const struct smtp_step *step = smtp_server_step(t->smtp);
	struct reply_args args = { 0 };
	char name[32] = "";
	int reply = -1;

	switch (step->kind) {
	case SMTP_STEP_CONNECT:
		reply = REPLY_BANNER;
		break;
	case SMTP_STEP_HELO:
		args.field[REPLY_FIELD_client] = SPAN_LIT("localhost");
		reply = step->esmtp ? REPLY_EHLO_OK : REPLY_HELO_OK;
		break;
	case SMTP_STEP_MAIL:
		args.field[REPLY_FIELD_sender] = step->address.address;
		reply = on_mail(t, step);
		break;
	case SMTP_STEP_RCPT:
		args.field[REPLY_FIELD_recipient] = step->address.address;
		reply = on_rcpt(t, step);
		break;
	case SMTP_STEP_DATA:
		reply = REPLY_DATA_GO;
		break;
	case SMTP_STEP_BODY:
		(void)buf_add_span(&t->m.text, step->octets);
		break;
	case SMTP_STEP_MESSAGE:
		args = step->fault >= 0 ? step->args : args;
		reply = on_message(t, step, name);
		args.field[REPLY_FIELD_queue_id] = span_str(name);
		break;
	case SMTP_STEP_VRFY:
		args.field[REPLY_FIELD_recipient] = step->argument;
		reply = REPLY_VRFY_OK;
		break;
	case SMTP_STEP_CLOSE:
		t->over = true;
		break;
	case SMTP_STEP_RESET:
		reset(t);
		break;
	default: /* nothing else is offered, or it wants no answer */
		break;
	}
	if (reply >= 0)
		(void)smtp_server_answer(t->smtp, reply, &args);
	if (step->kind == SMTP_STEP_MESSAGE)
		reset(t);
}

/* All that follows from the octets at hand.  0, or a negative error. */
static int feed(struct talk *t, const uint8_t *octets, size_t n)
{
	struct buf *out = smtp_server_output(t->smtp);
	size_t used;
	int r;

	do {
		r = smtp_server_feed(t->smtp, octets, n, clock_mono_ms(), &used);
		octets += used;
		n -= used;
		if (r > 0)
			step(t);
	} while (!t->over && (r > 0 || (r == 0 && n)));
	if (r >= 0 && buf_len(out))
		r = file_write_all(STDOUT_FILENO, buf_span(out).p, buf_len(out));
	buf_consume(out, buf_len(out));
	return r < 0 ? r : 0;
}

static int talk(struct talk *t)
{
	uint8_t octets[8192] = { 0 };
	int r = feed(t, octets, 0);

	while (r == 0 && !t->over) {
		ssize_t n = read(STDIN_FILENO, octets, sizeof(octets));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			smtp_server_eof(t->smtp);
		r = feed(t, octets, n > 0 ? (size_t)n : 0);
	}
	return r;
}

int sendmail_smtp(const struct config *cfg, const char *sender)
{
	uint64_t most = cfg->message_octets_max ? cfg->message_octets_max : MESSAGE_OCTETS_MAX;
	struct talk t = { .cfg = cfg };
	struct smtp_server_options o;
	int r;

	(void)sender; /* MAIL says it */
	smtp_server_options_init(&o, cfg->catalogue, cfg->hostname);
	o.message_octets_max = cfg->message_octets_max;
	o.hops_max = cfg->hops_max;
	o.extensions = SMTP_EXT_PIPELINING | SMTP_EXT_SIZE | SMTP_EXT_8BITMIME | SMTP_EXT_DSN |
	    SMTP_EXT_ENHANCEDSTATUSCODES;
	arena_init(&t.m.arena, SENDMAIL_ARENA_MAX);
	buf_init(&t.m.text, most + 65536);
	r = smtp_server_new(&o, clock_mono_ms(), &t.smtp);
	if (r == 0) {
		reset(&t);
		r = talk(&t);
	}
	smtp_server_free(&t.smtp);
	buf_done(&t.m.text);
	arena_done(&t.m.arena);
	return r == 0 ? EX_OK : EX_IOERR;
}
