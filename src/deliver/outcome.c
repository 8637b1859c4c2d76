/*
 * deliver/outcome.c - what an attempt means for a recipient: delivered, later, or never.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/random.h"
#include "deliver/deliver-private.h"

/* "Try later" and nothing else: the life time then ends with 3003, else with the last real cause.
 */
#define FAILURE_TRY_LATER 3003

static const char *const stage_names[] = {
#define X(name) #name,
	CAT_STAGES(X)
#undef X
};

static void note_attempt(
    struct work *w, struct rcpt *r, const struct judged *j, const struct classify_result *c)
{
	struct arena *a = &w->arena;

	r->attempts++;
	r->last = (struct attempt){ .at_ms = clock_wall_ms(),
		.host = arena_span(a, j->host),
		.address = arena_span(a, j->address),
		.stage = j->stage,
		.remote = j->reply != NULL,
		.failure_code = c->failure_code,
		.rule = arena_span(a, span_str(c->rule)) };
	if (j->reply) {
		r->last.code = j->reply->code;
		r->last.enhanced = j->reply->enhanced;
		r->last.text = arena_span(a, j->reply->text);
	} else {
		r->last.enhanced = c->status;
		r->last.text = arena_span(a, span_str(j->text ? j->text : ""));
	}
}

static void emit(struct work *w, enum event_type type, const struct rcpt *r, const struct judged *j,
    const struct classify_result *c)
{
	struct event ev = { .type = type,
		.queue_id = w->id,
		.session = w->env.session,
		.has_sender = true,
		.sender = w->env.reverse_path,
		.recipient = r->address,
		.original = rcpt_original(r),
		.message_id = w->env.message_id,
		.host = r->last.host,
		.address = r->last.address,
		.tls = j->tls,
		.transport = j->transport,
		.expired = w->expired[r - w->env.rcpts],
		.stage = stage_names[r->last.stage],
		.code = r->last.code,
		.enhanced = r->last.enhanced,
		.text = r->last.text,
		.attempts = r->attempts,
		.delay_ms = r->last.at_ms - w->env.received_ms,
		.spent_ms = r->last.at_ms - w->started_ms };

	if (type != EVENT_DELIVERED) {
		ev.failure_code = r->last.failure_code;
		ev.acts = cat_acts_name(c->acts);
		ev.rule = r->last.rule;
	}
	if (type == EVENT_DEFERRED)
		ev.next_ms = r->next_ms;
	event_emit(w->agent->deps.events, &ev);
}

static void defer(struct work *w, struct rcpt *r, size_t i, const struct judged *j,
    const struct classify_result *c)
{
	const struct config *cfg = w->agent->cfg;
	struct queue_backoff b = { cfg->retry_first_ms, cfg->retry_max_ms, cfg->queue_lifetime_ms,
		cfg->retry_jitter_pct };
	uint64_t random;
	int64_t next;

	random_fill(&random, sizeof(random));
	next = queue_next_attempt(&b, w->env.received_ms, r->attempts, r->last.at_ms, random);
	if (next >= 0) {
		r->status = RCPT_DEFERRED;
		r->next_ms = next;
		w->agent->stats.deferred++;
		emit(w, EVENT_DEFERRED, r, j, c);
		return;
	}
	w->expired[i] = true;
	w->failed_now[i] = true;
	r->status = RCPT_FAILED;
	if (r->last.failure_code == 0)
		r->last.failure_code = FAILURE_TRY_LATER;
	w->agent->stats.failed++;
	emit(w, EVENT_FAILED, r, j, c);
}

void rcpt_judge(struct work *w, struct rcpt *r, const struct judged *j)
{
	struct classify_input in = { .trouble = j->trouble, .stage = j->stage };
	struct classify_result c = { 0 };
	size_t i = (size_t)(r - w->env.rcpts);

	if (w->judged[i])
		return;
	w->judged[i] = true;
	w->agent->stats.attempts++;
	if (j->delivered) {
		note_attempt(w, r, j, &c);
		r->status = RCPT_DELIVERED;
		w->success[i] = (uint8_t)j->success;
		w->agent->stats.delivered++;
		emit(w, EVENT_DELIVERED, r, j, &c);
		return;
	}
	if (j->reply) {
		in.code = j->reply->code;
		in.enhanced = j->reply->enhanced;
		in.text = j->reply->text;
	} else {
		in.text = span_str(j->text ? j->text : "");
	}
	classify(w->agent->cfg->catalogue, &in, &c);
	note_attempt(w, r, j, &c);
	if (!c.permanent) {
		defer(w, r, i, j, &c);
		return;
	}
	r->status = RCPT_FAILED;
	w->failed_now[i] = true;
	w->agent->stats.failed++;
	emit(w, EVENT_FAILED, r, j, &c);
}

void group_trouble(
    struct group *g, enum classify_trouble trouble, enum cat_stage stage, const char *text)
{
	struct judged j = { .trouble = trouble,
		.stage = stage,
		.text = text,
		.transport = route_transport(&g->route) };

	/* The host of the last address tried, else the domain itself. */
	if (g->target_at < g->target_count)
		j.host = span_str(g->targets[g->target_at].host);
	else if (g->route.host)
		j.host = span_str(g->route.host);
	for (size_t i = 0; i < g->count; i++)
		rcpt_judge(g->work, &g->work->env.rcpts[g->rcpts[i]], &j);
}
