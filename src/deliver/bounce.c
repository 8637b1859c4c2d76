/*
 * deliver/bounce.c - the notification for what has failed or is late: written, committed, queued.
 *
 * Never one for a null reverse-path or for one of our own (RFC 5321 4.5.5, 6.1): then
 * an event says that nobody could be told.  NOTIFY without FAILURE means silence that
 * the sender asked for (RFC 3461 4.1).  NOTIFY=SUCCESS tells of what ended in a mailbox
 * here or went to a host that knows no DSN (RFC 3461 5.2.2, 5.2.6).  A delay is told once
 * for each recipient (RFC 3461 5.2.5), with the state that remembers it written behind.
 * The postmaster gets copies, and what nobody else can be told, where the operator asks.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/utf8.h"
#include "deliver/deliver-private.h"
#include "dsn/dsn.h"
#include "mime/convert.h"
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

/* Is it to be told that this one is late, once its time has come? */
static bool wants_delay(const struct work *w, size_t i)
{
	const struct rcpt *r = &w->env.rcpts[i];

	return w->agent->cfg->dsn_delay_ms > 0 && r->status == RCPT_DEFERRED && !r->delay_told &&
	    (r->notify == 0 || (r->notify & RCPT_NOTIFY_DELAY)) && !w->env.is_dsn &&
	    w->env.reverse_path.n;
}

int64_t bounce_due(const struct work *w)
{
	for (size_t i = 0; i < w->env.rcpt_count; i++)
		if (wants_delay(w, i))
			return w->env.received_ms + w->agent->cfg->dsn_delay_ms;
	return INT64_MAX;
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

/* A binary message has no place in a notification, which goes by ordinary lines.  Converted, or
 * -ERR_UNSUPPORTED. */
static int convert_binary(struct work *w, struct span *whole)
{
	enum mime_convert_why why;
	struct mime_convert *c;
	struct span converted;
	struct buf out;
	int r = mime_convert_new(MIME_CONVERT_8BIT, true, &c);

	if (r < 0)
		return r;
	buf_init(&out, whole->n * 4 + (64u << 10));
	r = mime_convert_scan(c, *whole);
	if (r == 0)
		r = mime_convert_scan_end(c, &why);
	if (r == 1) {
		r = mime_convert_feed(c, *whole, &out);
		if (r == 0)
			r = mime_convert_end(c, &out);
		converted = arena_span(&w->arena, buf_span(&out));
		if (r == 0 && !converted.p)
			r = -ERR_NOMEM;
		if (r == 0)
			*whole = converted;
	}
	buf_done(&out);
	mime_convert_free(&c);
	return r;
}

/* What goes back of the original: all of it when asked for and small enough, else its header. */
static int read_original(struct work *w, struct dsn_request *req)
{
	uint64_t most = w->agent->cfg->dsn_return_octets_max;
	/* Who hears only of successes has the message: its header will do, RFC 3461 4.3. */
	bool whole = w->env.ret != ENVELOPE_RET_HDRS && w->env.size <= most &&
	    req->kind == DSN_KIND_SENDER && req->rcpts[0].action == DSN_ACTION_FAILED;
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
	if (whole && w->env.body == ENVELOPE_BODY_BINARYMIME)
		r = convert_binary(w, &req->whole);
	if (r == -ERR_UNSUPPORTED) {
		req->whole = span_of(NULL, 0);
		r = 0;
	}
	return r;
}

static int make_envelope(
    struct work *w, const struct dsn_request *req, struct buf *record, struct span text)
{
	bool to_sender = req->kind == DSN_KIND_SENDER;
	struct rcpt to = { .address = to_sender ? w->env.reverse_path : req->to };
	struct queue_recipients set;
	struct span where;
	int r;
	struct envelope env = { .id = w->dsn_id,
		.received_ms = clock_wall_ms(),
		.body = ascii_valid(text) ? ENVELOPE_BODY_7BIT : ENVELOPE_BODY_8BITMIME,
		.smtputf8 = !ascii_valid(to.address),
		.is_dsn = true,
		.is_postmaster_notice = !to_sender,
		.size = text.n,
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

static const char *dsn_of(const struct dsn_request *req)
{
	enum dsn_action action = req->rcpts[0].action;

	switch (req->kind) {
	case DSN_KIND_SENDER:
		return action == DSN_ACTION_FAILED ? "failure"
		    : action == DSN_ACTION_DELAYED ? "delay"
						   : "success";
	case DSN_KIND_COPY:
		return action == DSN_ACTION_FAILED ? "copy of failure" : "copy of delay";
	case DSN_KIND_DOUBLE:
		return "double bounce";
	}
	return "";
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
		r = make_envelope(w, req, &record, buf_span(&text));
	if (r == 0)
		r = spool_draft_new(sp, &draft);
	if (r == 0)
		r = spool_draft_write(draft, buf_span(&text));
	if (r == 0) {
		w->op.done = on_committed;
		w->dsn_octets = buf_len(&text);
		w->dsn_of = dsn_of(req);
		w->dsn_to = req->kind == DSN_KIND_SENDER ? w->env.reverse_path : req->to;
		spool_commit(sp, w->dsn_id, buf_span(&record), span_of("", 0), &draft,
		    clock_wall_ms(), true, &w->op);
	}
	spool_draft_free(&draft);
	buf_done(&text);
	buf_done(&record);
	return r;
}

static struct enhanced_status late_status_of(const struct rcpt *r)
{
	struct enhanced_status status = r->last.enhanced;

	status.class_ = 4;
	return r->last.enhanced.class_ ? status : (struct enhanced_status){ 4, 0, 0 };
}

static size_t add_failures(struct work *w, struct dsn_rcpt *list, size_t n)
{
	for (size_t i = 0; i < w->env.rcpt_count; i++)
		if (wants_dsn(w, i))
			list[n++] = (struct dsn_rcpt){ .rcpt = &w->env.rcpts[i],
				.action = DSN_ACTION_FAILED,
				.status = status_of(w, i),
				.expired = w->expired[i] };
	return n;
}

static size_t add_delays(struct work *w, struct dsn_rcpt *list, size_t n)
{
	for (size_t i = 0; i < w->env.rcpt_count; i++)
		if (w->delay_now[i])
			list[n++] = (struct dsn_rcpt){ .rcpt = &w->env.rcpts[i],
				.action = DSN_ACTION_DELAYED,
				.status = late_status_of(&w->env.rcpts[i]),
				.will_retry_until_ms =
				    w->env.received_ms + w->agent->cfg->queue_lifetime_ms };
	return n;
}

static size_t add_successes(struct work *w, struct dsn_rcpt *list, size_t n)
{
	static const enum dsn_action actions[] = {
		[SUCCESS_DELIVERED] = DSN_ACTION_DELIVERED, [SUCCESS_RELAYED] = DSN_ACTION_RELAYED
	};

	for (size_t i = 0; i < w->env.rcpt_count; i++)
		if (wants_success(w, i))
			list[n++] = (struct dsn_rcpt){ .rcpt = &w->env.rcpts[i],
				.action = actions[w->success[i]],
				.status = { 2, 0, 0 } };
	return n;
}

/*
 * An alias became several recipients, whose own success nobody is told of (RFC 3461 5.2.7.3): the
 * sender hears of the alias, when the one that speaks for them has had its first attempt.
 */
static int add_expansions(struct work *w, struct dsn_rcpt *list, size_t *n)
{
	for (size_t i = 0; i < w->env.rcpt_count; i++) {
		const struct rcpt *r = &w->env.rcpts[i];
		ptrdiff_t type = span_find(r->orcpt, ';');
		struct rcpt *alias;
		if (!(r->aliased & RCPT_TELL_EXPANDED) || !w->judged[i] || r->attempts > 1 ||
		    type < 0)
			continue;
		alias = arena_zalloc(&w->arena, sizeof(*alias));
		if (!alias)
			return -ERR_NOMEM;
		alias->address = span_skip(r->orcpt, (size_t)type + 1);
		alias->orcpt = r->orcpt;
		list[(*n)++] = (struct dsn_rcpt){
			.rcpt = alias, .action = DSN_ACTION_EXPANDED, .status = { 2, 0, 0 }
		};
	}
	return 0;
}

/* Whom the sender hears of.  Failures first, since the notification as a whole is named after its
 * first recipient. */
static int choose(struct work *w, struct dsn_rcpt *list, size_t *n_r)
{
	/* What an operator does is answered for by what he asked alone. */
	bool late = !w->command_done && bounce_due(w) <= clock_wall_ms();
	size_t n = 0;

	for (size_t i = 0; i < w->env.rcpt_count; i++)
		w->delay_now[i] = late && wants_delay(w, i);
	n = add_failures(w, list, n);
	n = add_delays(w, list, n);
	*n_r = add_successes(w, list, n);
	return add_expansions(w, list, n_r);
}

static int notify(struct work *w, struct dsn_request *req, struct dsn_rcpt *list)
{
	int r;

	req->catalogue = w->agent->cfg->catalogue;
	req->hostname = w->agent->cfg->hostname;
	req->now_ms = clock_wall_ms();
	req->env = &w->env;
	req->rcpts = list;
	req->to = span_str(w->agent->cfg->postmaster);
	w->dsn_id = req->id = queue_id_new();
	w->copy_written = req->kind == DSN_KIND_COPY;
	r = read_original(w, req);
	if (r == -ERR_NOMEM)
		return r;
	/* A body that is lost must not keep its failure from being told, for ever. */
	req->unreadable = r < 0;
	return commit(w, req);
}

int bounce_start(struct work *w)
{
	bool no_sender = w->env.is_dsn || w->env.reverse_path.n == 0;
	struct dsn_request req = { .kind = no_sender ? DSN_KIND_DOUBLE : DSN_KIND_SENDER };
	/* one that failed may speak for an expansion as well */
	struct dsn_rcpt *list =
	    arena_zalloc(&w->arena, (2 * w->env.rcpt_count + 1) * sizeof(struct dsn_rcpt));

	if (!list)
		return -ERR_NOMEM;
	if (no_sender) {
		for (size_t i = 0; i < w->env.rcpt_count; i++)
			if (w->failed_now[i])
				emit_undeliverable(w, &w->env.rcpts[i]);
		if (w->agent->cfg->dsn_copy_double_bounce && !w->env.is_postmaster_notice)
			req.rcpt_count = add_failures(w, list, 0);
	} else if (choose(w, list, &req.rcpt_count) < 0) {
		return -ERR_NOMEM;
	}
	return req.rcpt_count ? notify(w, &req, list) : 1;
}

int bounce_copy(struct work *w)
{
	const struct config *cfg = w->agent->cfg;
	struct dsn_request req = { .kind = DSN_KIND_COPY };
	struct dsn_rcpt *list;

	if (w->env.is_dsn || w->env.reverse_path.n == 0)
		return 1;
	list = arena_zalloc(&w->arena, (w->env.rcpt_count + 1) * sizeof(struct dsn_rcpt));
	if (!list)
		return -ERR_NOMEM;
	if (cfg->dsn_copy_bounce)
		req.rcpt_count = add_failures(w, list, req.rcpt_count);
	if (cfg->dsn_copy_delay)
		req.rcpt_count = add_delays(w, list, req.rcpt_count);
	return req.rcpt_count ? notify(w, &req, list) : 1;
}

void bounce_stored(struct work *w)
{
	struct event ev = { .type = EVENT_BOUNCED,
		.queue_id = w->id,
		.recipient = w->dsn_to,
		.message_id = w->env.message_id,
		.other_id = w->dsn_id,
		.size = w->dsn_octets,
		.detail = span_str(w->dsn_of),
		.text = w->env.is_dsn || w->copy_written || !w->env.reverse_path.n
		    ? SPAN_LIT("a delivery status notification is on its way to the postmaster")
		    : SPAN_LIT("a delivery status notification is on its way to the sender") };

	for (size_t i = 0; i < w->env.rcpt_count; i++)
		if (w->delay_now[i])
			w->env.rcpts[i].delay_told = true;
	w->agent->stats.bounced++;
	event_emit(w->agent->deps.events, &ev);
}
