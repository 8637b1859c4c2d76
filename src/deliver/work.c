/*
 * deliver/work.c - one message in work: read, grouped, tried, its new state written.
 *
 * The order at the end is what keeps mail: first the DSN is durable, then the state
 * that says "failed" is written.  A crash between the two sends the DSN twice.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/err.h"
#include "deliver/deliver-private.h"

#include <assert.h>
#include <stdlib.h>

/* A site had no free connection: look again after this, with jitter, without counting an attempt.
 */
#define PUT_OFF_MS 1000
/* The new state or the DSN could not be written (disk full): the message stays, try again. */
#define UNWRITTEN_WAIT_MS 30000

int work_load(struct deliver_agent *a, uint64_t id, struct work **w_r)
{
	struct work *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ERR_NOMEM;
	w->agent = a;
	w->cfg = config_ref(a->cfg);
	w->id = id;
	arena_init(&w->arena, WORK_OCTETS_MAX);
	buf_init(&w->record, WORK_OCTETS_MAX);
	buf_init(&w->state, WORK_OCTETS_MAX);
	r = spool_read(a->deps.spool, id, &w->record, &w->state);
	if (r == 0)
		r = envelope_decode(buf_span(&w->record), &w->arena, &w->env);
	if (r == 0 && buf_len(&w->state))
		r = envelope_decode_state(buf_span(&w->state), &w->arena, &w->env);
	if (r == 0) {
		size_t n = w->env.rcpt_count + 1;
		w->judged = arena_zalloc(&w->arena, n);
		w->failed_now = arena_zalloc(&w->arena, n);
		w->expired = arena_zalloc(&w->arena, n);
		w->success = arena_zalloc(&w->arena, n);
		w->delay_now = arena_zalloc(&w->arena, n);
		if (!w->judged || !w->failed_now || !w->expired || !w->success || !w->delay_now)
			r = -ERR_NOMEM;
	}
	if (r < 0) {
		arena_done(&w->arena);
		buf_done(&w->record);
		buf_done(&w->state);
		config_unref(&w->cfg);
		free(w);
		return r;
	}
	w->next = a->works;
	if (w->next)
		w->next->prev = w;
	a->works = w;
	a->work_count++;
	*w_r = w;
	return 0;
}

void work_free(struct work *w)
{
	struct deliver_agent *a = w->agent;

	if (w->prev)
		w->prev->next = w->next;
	else
		a->works = w->next;
	if (w->next)
		w->next->prev = w->prev;
	a->work_count--;
	arena_done(&w->arena);
	buf_done(&w->record);
	buf_done(&w->state);
	config_unref(&w->cfg);
	free(w);
	agent_work_over(a);
}

static struct group *group_for(struct work *w, const struct route *route)
{
	struct group *g;

	for (g = w->groups; g; g = g->next)
		/* Each mailbox is a delivery of its own: one may be full and the next not. */
		if (route->kind != ROUTE_MAILDIR && span_eq_nocase(g->route.site, route->site))
			return g;
	g = arena_zalloc(&w->arena, sizeof(*g));
	if (!g)
		return NULL;
	g->work = w;
	g->route = *route;
	g->rcpts = arena_alloc(&w->arena, w->env.rcpt_count * sizeof(*g->rcpts));
	g->next = w->groups;
	w->groups = g;
	return g->rcpts ? g : NULL;
}

static int make_groups(struct work *w)
{
	int64_t now = clock_wall_ms();

	for (size_t i = 0; i < w->env.rcpt_count; i++) {
		struct rcpt *rc = &w->env.rcpts[i];
		struct route route;
		struct group *g;
		int r;
		if ((rc->status != RCPT_PENDING && rc->status != RCPT_DEFERRED) ||
		    rc->next_ms > now)
			continue;
		r = route_find(w, rc->address, &route);
		if (r < 0)
			return r;
		g = group_for(w, &route);
		if (!g)
			return -ERR_NOMEM;
		g->rcpts[g->count++] = i;
	}
	return 0;
}

/* The operator's route says so: taken, and gone. */
static void discard(struct group *g)
{
	struct judged j = { .trouble = CLASSIFY_LOCAL,
		.stage = CAT_STAGE_message,
		.transport = route_transport(&g->route),
		.host = SPAN_LIT("discard"),
		.text = "discarded, as the route says",
		.delivered = true };

	for (size_t i = 0; i < g->count; i++)
		rcpt_judge(g->work, &g->work->env.rcpts[g->rcpts[i]], &j);
	group_done(g);
}

static void no_mailbox(struct group *g)
{
	group_trouble(g, CLASSIFY_NO_MAILBOX, CAT_STAGE_message, "there is no such mailbox here");
	group_done(g);
}

static void start_group(struct group *g)
{
	if (g->route.kind == ROUTE_DISCARD)
		discard(g);
	else if (g->route.kind == ROUTE_NOBODY)
		no_mailbox(g);
	else if (g->route.kind == ROUTE_MAILDIR)
		maildir_start(g);
	else
		lookup_start(g);
}

int work_start(struct deliver_agent *a, uint64_t id)
{
	struct work *w;
	struct group *g, *next;
	int r = work_load(a, id, &w);

	if (r < 0)
		return r;
	w->started_ms = clock_wall_ms();
	r = make_groups(w);
	if (r < 0) {
		work_free(w);
		return r;
	}
	for (g = w->groups; g; g = g->next)
		w->open_groups++;
	/* One more than there are, so that a group which ends at once does not end the work under
	 * us. */
	w->open_groups++;
	for (g = w->groups; g; g = next) {
		next = g->next;
		start_group(g);
	}
	if (--w->open_groups == 0)
		work_settle(w);
	return 0;
}

void group_done(struct group *g)
{
	struct work *w = g->work;

	assert(w->open_groups > 0);
	if (--w->open_groups == 0)
		work_settle(w);
}

/* The next attempt, or the time to tell the sender that it is late. */
static int64_t due_of(const struct work *w)
{
	int64_t attempt = envelope_due(&w->env), late = bounce_due(w);

	/* A notification that could not be stored waits as everything else does. */
	if (w->notice_failed && late < clock_wall_ms() + UNWRITTEN_WAIT_MS)
		late = clock_wall_ms() + UNWRITTEN_WAIT_MS;
	return attempt < late ? attempt : late;
}

static void emit_finished(struct work *w)
{
	struct event ev = { .type = EVENT_FINISHED,
		.queue_id = w->id,
		.message_id = w->env.message_id,
		.delay_ms = clock_wall_ms() - w->env.received_ms };

	event_emit(w->agent->deps.events, &ev);
}

static void requeue(struct work *w, int64_t due_ms)
{
	struct deliver_agent *a = w->agent;

	if (queue_set(a->queue, w->id, due_ms) < 0) {
		struct event ev = { .type = EVENT_NOTICE,
			.queue_id = w->id,
			.text =
			    SPAN_LIT("no memory to queue it; it will be found at the next start") };
		event_emit(a->deps.events, &ev);
	}
	if (w->command_done)
		w->command_done(w->command_arg, w->op_err);
	work_free(w);
}

static void on_written(struct net_task *task)
{
	struct work *w = task->arg;
	struct deliver_agent *a = w->agent;

	if (w->op_err < 0 && w->op_err != -ERR_NOTFOUND) {
		requeue(w, clock_wall_ms() + UNWRITTEN_WAIT_MS);
		return;
	}
	if (envelope_finished(&w->env)) {
		emit_finished(w);
		(void)queue_remove(a->queue, w->id);
		if (w->command_done)
			w->command_done(w->command_arg, 0);
		work_free(w);
		return;
	}
	requeue(w, due_of(w));
}

static void on_spool_done(struct spool_op *op, int err)
{
	struct work *w = op->arg;

	w->op_err = err;
	net_loop_post(w->agent->deps.loop, &w->op_task);
}

/* The last step: what became of every recipient is written, then the queue learns the next time. */
static void write_state(struct work *w)
{
	struct deliver_agent *a = w->agent;
	struct buf state;
	int r;

	w->op = (struct spool_op){ .done = on_spool_done, .arg = w };
	w->op_task = (struct net_task){ .run = on_written, .arg = w };
	if (envelope_finished(&w->env)) {
		spool_finish(a->deps.spool, w->id, &w->op);
		return;
	}
	buf_init(&state, WORK_OCTETS_MAX);
	r = envelope_encode_state(&w->env, &state);
	if (r == 0)
		spool_update(a->deps.spool, w->id, buf_span(&state), due_of(w),
		    w->command_done != NULL, &w->op);
	buf_done(&state);
	if (r < 0) {
		w->op_err = r;
		requeue(w, clock_wall_ms() + UNWRITTEN_WAIT_MS);
	}
}

/* Said of each recipient that was given up and now is not, so that its last event is true. */
static void emit_taken_back(struct work *w, const struct rcpt *r)
{
	struct event ev = { .type = EVENT_DEFERRED,
		.queue_id = w->id,
		.has_sender = true,
		.sender = w->env.reverse_path,
		.recipient = r->address,
		.message_id = w->env.message_id,
		.code = r->last.code,
		.enhanced = r->last.enhanced,
		.text = r->last.text,
		.failure_code = r->last.failure_code,
		.attempts = r->attempts,
		.next_ms = r->next_ms,
		.detail = SPAN_LIT("its notification could not be stored") };

	event_emit(w->agent->deps.events, &ev);
}

/*
 * The DSN could not be put on disk.  Who was delivered stays delivered; who was given up is not
 * forgotten untold: he waits, will fail again, and the sender is told then.  That one is late is
 * told later.  The notice of a success is given up for that.
 */
static void take_failures_back(struct work *w, int err)
{
	struct event ev = { .type = EVENT_NOTICE,
		.queue_id = w->id,
		.detail = span_str(err_text(err)),
		.text = SPAN_LIT(
		    "the notification to the sender could not be stored; it is tried again") };

	event_emit(w->agent->deps.events, &ev);
	w->notice_failed = true;
	for (size_t i = 0; i < w->env.rcpt_count; i++)
		if (w->failed_now[i]) {
			w->env.rcpts[i].status = RCPT_DEFERRED;
			w->env.rcpts[i].next_ms = clock_wall_ms() + UNWRITTEN_WAIT_MS;
			w->failed_now[i] = false;
			emit_taken_back(w, &w->env.rcpts[i]);
		}
	if (w->command_done) {
		/* Nothing else has changed: the old state stands, a hold too, and the operator is
		 * told so. */
		w->op_err = err;
		requeue(w, clock_wall_ms() + UNWRITTEN_WAIT_MS);
		return;
	}
	write_state(w);
}

/* The sender is told; the postmaster's copy is not worth telling him twice. */
static int write_copy(struct work *w)
{
	w->op = (struct spool_op){ .done = on_spool_done, .arg = w };
	return bounce_copy(w);
}

/* The DSN is on disk, or could not be put there. */
static void on_dsn_done(struct net_task *task)
{
	struct work *w = task->arg;
	struct deliver_agent *a = w->agent;

	if (w->op_err < 0 && !w->copy_written) {
		take_failures_back(w, w->op_err);
		return;
	}
	if (w->op_err == 0) {
		bounce_stored(w);
		deliver_agent_add(a, w->dsn_id, clock_wall_ms());
	}
	if (w->copy_written || write_copy(w) != 0)
		write_state(w);
}

void work_settle(struct work *w)
{
	bool any_judged = false;
	int r;

	for (size_t i = 0; i < w->env.rcpt_count; i++)
		any_judged = any_judged || w->judged[i] || w->failed_now[i];
	if (w->put_off && !any_judged && !w->command_done && bounce_due(w) > clock_wall_ms()) {
		requeue(w, clock_wall_ms() + PUT_OFF_MS + (int64_t)(w->id % 500));
		return;
	}
	w->op = (struct spool_op){ .done = on_spool_done, .arg = w };
	w->op_task = (struct net_task){ .run = on_dsn_done, .arg = w };
	r = bounce_start(w);
	if (r > 0)
		write_state(w);
	else if (r < 0)
		take_failures_back(w, r);
}
