/*
 * deliver/bounce.c - the notification for what has failed: written, committed, queued.
 *
 * Never one for a null reverse-path or for one of our own (RFC 5321 4.5.5, 6.1): then
 * an event says that nobody could be told.  NOTIFY without FAILURE means silence that
 * the sender asked for (RFC 3461 4.1).  NOTIFY=SUCCESS tells of what ended in a mailbox
 * here or went to a host that knows no DSN (RFC 3461 5.2.2, 5.2.6).
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/err.h"
#include "deliver/deliver-private.h"
#include "dsn/dsn.h"
#include "mime/header.h"
#include "queue/recipients.h"

#include <stdlib.h>

/* Headers above this are cut in a notification. */
#define HEADER_OCTETS_MAX (64u << 10)

static bool wants_dsn(const struct work *w, size_t i)
{
	uint8_t notify = w->env.rcpts[i].notify;

	return w->failed_now[i] && (notify == 0 || (notify & RCPT_NOTIFY_FAILURE));
}

static bool wants_success(const struct work *w, size_t i)
{
	return w->success[i] != SUCCESS_SILENT && (w->env.rcpts[i].notify & RCPT_NOTIFY_SUCCESS) &&
	    !w->env.is_dsn && w->env.reverse_path.n;
}

static void emit_undeliverable(struct work *w, const struct rcpt *r)
{
	struct event ev = { .type = EVENT_DSN_UNDELIVERABLE,
		.queue_id = w->id,
		.has_sender = true,
		.sender = w->env.reverse_path,
		.recipient = r->address,
		.message_id = w->env.message_id,
		.code = r->last.code,
		.enhanced = r->last.enhanced,
		.failure_code = r->last.failure_code,
		.text = r->last.text };

	event_emit(w->agent->deps.events, &ev);
}

static struct enhanced_status status_of(const struct work *w, size_t i)
{
	const struct attempt *last = &w->env.rcpts[i].last;

	if (w->expired[i])
		return (struct enhanced_status){ 5, 4, 7 };
	if (last->enhanced.class_)
		return (struct enhanced_status){ 5, last->enhanced.subject, last->enhanced.detail };
	return (struct enhanced_status){ 5, 0, 0 };
}

/* What goes back of the original: all of it when asked for and small enough, else its header. */
static int read_original(struct work *w, struct dsn_request *req)
{
	uint64_t most = w->agent->cfg->dsn_return_octets_max;
	/* Who hears only of successes has the message: its header will do, RFC 3461 4.3. */
	bool whole = w->env.ret != ENVELOPE_RET_HDRS && w->env.size <= most &&
	    req->rcpts[0].action == DSN_ACTION_FAILED;
	size_t want = whole ? (size_t)w->env.size : HEADER_OCTETS_MAX, have = 0;
	struct spool_body *body;
	uint8_t *octets;
	ptrdiff_t end;
	int r;

	if (!whole && want > w->env.size)
		want = (size_t)w->env.size;
	octets = arena_alloc(&w->arena, want + 1);
	if (!octets)
		return -ERR_NOMEM;
	r = spool_body_open(w->agent->deps.spool, w->id, &body);
	if (r < 0)
		return r;
	while (have < want) {
		ssize_t got = spool_body_read(body, have, octets + have, want - have);
		if (got <= 0) {
			r = (int)got;
			break;
		}
		have += (size_t)got;
	}
	spool_body_close(&body);
	if (r < 0)
		return r;
	end = mime_header_end(span_of(octets, have));
	req->header = span_of(octets, end < 0 ? have : (size_t)end);
	req->header_cut = end < 0 && have < w->env.size;
	if (whole)
		req->whole = span_of(octets, have);
	return 0;
}

static int make_envelope(struct work *w, struct buf *record, uint64_t size)
{
	struct rcpt to = { .address = w->env.reverse_path, .notify = 0 };
	struct queue_recipients set;
	struct span where;
	int r;
	struct envelope env = { .id = w->dsn_id,
		.received_ms = clock_wall_ms(),
		.body = ENVELOPE_BODY_8BITMIME,
		.is_dsn = true,
		.size = size,
		.client_name = SPAN_LIT("localhost"),
		.protocol = SPAN_LIT("internal"),
		.rcpt_count = 1,
		.rcpts = &to };

	/* The sender may be an alias here, an owner of a list say. */
	queue_recipients_init(
	    &set, w->cfg, w->agent->deps.aliases, &w->arena, span_of((const uint8_t *)"", 0));
	r = queue_recipients_add(&set, &to, &where);
	if (r == 0 && set.first.count) {
		env.rcpts = set.first.rcpts;
		env.rcpt_count = set.first.count;
	}
	/* One that leads nowhere must not keep the notification from going out. */
	r = r == -ERR_NOMEM ? r : envelope_encode(&env, record);
	queue_recipients_done(&set);
	return r;
}

static void on_committed(struct spool_op *op, int err)
{
	struct work *w = op->arg;

	w->op_err = err;
	net_loop_post(w->agent->deps.loop, &w->op_task);
}

static int commit(struct work *w, const struct dsn_request *req)
{
	struct spool *sp = w->agent->deps.spool;
	struct spool_draft *draft = NULL;
	struct buf text, record;
	int r;

	/* The original that goes back, a page for each recipient, and room. */
	buf_init(&text, WORK_OCTETS_MAX + req->whole.n + (req->rcpt_count + 8) * 16384);
	buf_init(&record, 1u << 20);
	r = dsn_write(req, &text);
	if (r == 0)
		r = make_envelope(w, &record, buf_len(&text));
	if (r == 0)
		r = spool_draft_new(sp, &draft);
	if (r == 0)
		r = spool_draft_write(draft, buf_span(&text));
	if (r == 0) {
		w->op.done = on_committed;
		w->dsn_octets = buf_len(&text);
		w->dsn_of_failure = req->rcpts[0].action == DSN_ACTION_FAILED;
		spool_commit(sp, w->dsn_id, buf_span(&record), span_of("", 0), &draft,
		    clock_wall_ms(), true, &w->op);
	}
	spool_draft_free(&draft);
	buf_done(&text);
	buf_done(&record);
	return r;
}

/* Failures first, since the notification as a whole is named after its first recipient. */
static size_t choose(struct work *w, struct dsn_rcpt *list)
{
	size_t n = 0;

	for (size_t i = 0; i < w->env.rcpt_count; i++) {
		if (!w->failed_now[i])
			continue;
		if (w->env.is_dsn || w->env.reverse_path.n == 0)
			emit_undeliverable(w, &w->env.rcpts[i]);
		else if (wants_dsn(w, i))
			list[n++] = (struct dsn_rcpt){ .rcpt = &w->env.rcpts[i],
				.action = DSN_ACTION_FAILED,
				.status = status_of(w, i),
				.expired = w->expired[i] };
	}
	for (size_t i = 0; i < w->env.rcpt_count; i++)
		if (wants_success(w, i))
			list[n++] = (struct dsn_rcpt){ .rcpt = &w->env.rcpts[i],
				.action = w->success[i] == SUCCESS_DELIVERED ? DSN_ACTION_DELIVERED
									     : DSN_ACTION_RELAYED,
				.status = { 2, 0, 0 } };
	return n;
}

int bounce_start(struct work *w)
{
	struct dsn_request req = { .catalogue = w->agent->cfg->catalogue,
		.hostname = w->agent->cfg->hostname,
		.now_ms = clock_wall_ms(),
		.env = &w->env };
	struct dsn_rcpt *list =
	    arena_zalloc(&w->arena, (w->env.rcpt_count + 1) * sizeof(struct dsn_rcpt));
	int r;

	if (!list)
		return -ERR_NOMEM;
	req.rcpt_count = choose(w, list);
	if (req.rcpt_count == 0)
		return 1;
	w->dsn_id = req.id = queue_id_new();
	req.rcpts = list;
	r = read_original(w, &req);
	if (r == -ERR_NOMEM)
		return r;
	/* A body that is lost must not keep its failure from being told, for ever. */
	req.unreadable = r < 0;
	return commit(w, &req);
}

void bounce_emit(struct work *w)
{
	struct event ev = { .type = EVENT_BOUNCED,
		.queue_id = w->id,
		.recipient = w->env.reverse_path,
		.message_id = w->env.message_id,
		.other_id = w->dsn_id,
		.size = w->dsn_octets,
		.detail = w->dsn_of_failure ? SPAN_LIT("failure") : SPAN_LIT("success"),
		.text = SPAN_LIT("a delivery status notification is on its way to the sender") };

	w->agent->stats.bounced++;
	event_emit(w->agent->deps.events, &ev);
}
