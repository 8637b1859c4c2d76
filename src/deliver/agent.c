/*
 * deliver/agent.c - takes what is due from the queue, as much as may be active at a time.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/err.h"
#include "deliver/deliver-private.h"

#include <assert.h>
#include <stdlib.h>

/* A message that could not even be read is looked at again after this. */
#define UNREADABLE_WAIT_MS 60000

static void on_due(void *arg);

int deliver_agent_new(const struct deliver_deps *deps, struct deliver_agent **a_r)
{
	struct deliver_agent *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return -ERR_NOMEM;
	a->deps = *deps;
	map_init(&a->sites, true);
	r = queue_new(&a->queue);
	if (r == 0)
		r = net_timer_new(deps->loop, on_due, a, &a->due);
	if (r < 0) {
		queue_free(&a->queue);
		free(a);
		return r;
	}
	a->cfg = config_ref(deps->cfg);
	*a_r = a;
	return 0;
}

void deliver_agent_free(struct deliver_agent **a)
{
	if (!*a)
		return;
	assert((*a)->work_count == 0);
	net_timer_free(&(*a)->due);
	queue_free(&(*a)->queue);
	map_done(&(*a)->sites);
	config_unref(&(*a)->cfg);
	free(*a);
	*a = NULL;
}

void agent_arm(struct deliver_agent *a)
{
	int64_t due = queue_due(a->queue), now = clock_wall_ms();
	uint64_t mono = net_loop_now_ms(a->deps.loop);

	if (a->stopping || due == INT64_MAX || a->work_count >= a->cfg->connections_max) {
		net_timer_set(a->due, UINT64_MAX);
		return;
	}
	/* Never further than a minute ahead: the wall clock may be set meanwhile. */
	if (due > now + 60000)
		due = now + 60000;
	net_timer_set(a->due, due <= now ? mono : mono + (uint64_t)(due - now));
}

static void take_due(struct deliver_agent *a)
{
	int64_t now = clock_wall_ms();
	uint64_t id;

	while (!a->stopping && a->work_count < a->cfg->connections_max &&
	    queue_take(a->queue, now, &id)) {
		int r = work_start(a, id);
		if (r == -ERR_NOTFOUND) {
			(void)queue_remove(a->queue, id);
		} else if (r < 0) {
			struct event ev = { .type = EVENT_NOTICE,
				.queue_id = id,
				.detail = span_str(err_text(r)),
				.text = SPAN_LIT("a queued message cannot be read; it stays") };
			event_emit(a->deps.events, &ev);
			(void)queue_set(a->queue, id, now + UNREADABLE_WAIT_MS);
		}
	}
	agent_arm(a);
}

static void on_due(void *arg)
{
	take_due(arg);
}

void deliver_agent_add(struct deliver_agent *a, uint64_t id, int64_t due_ms)
{
	if (queue_set(a->queue, id, due_ms) < 0) {
		/* Durable all the same: the next start finds it in the spool. */
		struct event ev = { .type = EVENT_NOTICE,
			.queue_id = id,
			.text =
			    SPAN_LIT("no memory to queue it; it will be found at the next start") };
		event_emit(a->deps.events, &ev);
		return;
	}
	if (due_ms <= clock_wall_ms())
		take_due(a);
	else
		agent_arm(a);
}

void agent_work_over(struct deliver_agent *a)
{
	if (a->stopping) {
		if (a->work_count == 0 && a->connections == 0 && a->stopped) {
			void (*stopped)(void *arg) = a->stopped;
			a->stopped = NULL;
			stopped(a->stopped_arg);
		}
		return;
	}
	/* On the next turn: this is called deep inside the end of a delivery. */
	if (queue_due(a->queue) <= clock_wall_ms())
		net_timer_set(a->due, net_loop_now_ms(a->deps.loop));
	else
		agent_arm(a);
}

void deliver_agent_stop(struct deliver_agent *a, void (*stopped)(void *arg), void *arg)
{
	a->stopping = true;
	a->stopped = stopped;
	a->stopped_arg = arg;
	net_timer_set(a->due, UINT64_MAX);
	for (struct work *w = a->works, *next; w; w = next) {
		next = w->next;
		site_drop_waiting(w);
	}
	site_idle_quit_all(a);
	agent_work_over(a);
}

bool deliver_agent_has(const struct deliver_agent *a, uint64_t id)
{
	return queue_has(a->queue, id);
}

void deliver_agent_stats(const struct deliver_agent *a, struct deliver_stats *stats_r)
{
	*stats_r = a->stats;
	stats_r->queued = queue_count(a->queue);
	stats_r->active = a->work_count;
	stats_r->connections = a->connections;
}

size_t deliver_agent_stray(const struct deliver_agent *a)
{
	/* Known to the queue as active, but nobody works on it. */
	size_t active = queue_active(a->queue);

	return active > a->work_count ? active - a->work_count : 0;
}

static void change_rcpt(struct work *w, struct rcpt *r, size_t i, enum deliver_command command)
{
	struct event ev = { .queue_id = w->id, .recipient = r->address, .next_ms = 0 };
	int64_t now = clock_wall_ms();

	switch (command) {
	case DELIVER_RETRY:
		if (r->status != RCPT_PENDING && r->status != RCPT_DEFERRED)
			return;
		r->next_ms = now;
		ev.type = EVENT_RETRY;
		break;
	case DELIVER_HOLD:
		r->status = RCPT_HELD;
		ev.type = EVENT_HELD;
		break;
	case DELIVER_RELEASE:
		if (r->status != RCPT_HELD)
			return;
		r->status = r->attempts ? RCPT_DEFERRED : RCPT_PENDING;
		r->next_ms = now;
		ev.type = EVENT_RELEASED;
		break;
	case DELIVER_DELETE:
		r->status = RCPT_DELETED;
		ev.type = EVENT_DELETED;
		break;
	case DELIVER_BOUNCE:
		r->status = RCPT_FAILED;
		w->failed_now[i] = true;
		if (!r->last.at_ms)
			r->last = (struct attempt){ .at_ms = now,
				.text = SPAN_LIT("given up by the operator before any attempt") };
		ev.type = EVENT_FAILED;
		ev.text = SPAN_LIT("given up by the operator");
		ev.failure_code = r->last.failure_code;
		break;
	}
	event_emit(w->agent->deps.events, &ev);
}

int deliver_agent_command(struct deliver_agent *a, uint64_t id, enum deliver_command command,
    struct span recipient, void (*done)(void *arg, int err), void *arg)
{
	struct work *w;
	bool any = false;
	int r;

	if (!queue_has(a->queue, id))
		return -ERR_NOTFOUND;
	if (queue_is_active(a->queue, id) || a->stopping)
		return -ERR_BUSY;
	r = work_load(a, id, &w);
	if (r < 0)
		return r;
	queue_activate(a->queue, id);
	for (size_t i = 0; i < w->env.rcpt_count; i++) {
		struct rcpt *rc = &w->env.rcpts[i];
		if (rc->status >= RCPT_DELIVERED ||
		    (recipient.n && !span_eq_nocase(recipient, rc->address)))
			continue;
		any = true;
		change_rcpt(w, rc, i, command);
	}
	w->command_done = any ? done : NULL;
	w->command_arg = arg;
	work_settle(w);
	return any ? 0 : -ERR_NOTFOUND;
}
