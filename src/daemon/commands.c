/*
 * daemon/commands.c - the control socket's commands.
 *
 * `queue` walks the spool in bites on the main loop, so that a million messages
 * neither stop signals nor fill memory; what changes a message is handed to the worker
 * that owns it, one at a time.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "daemon/daemon-private.h"
#include "queue/listing.h"

#include <stdio.h>
#include <stdlib.h>

/* Messages looked at before the loop gets its turn. */
#define SCAN_BITE 128
/* Walks that clients asked for with ETRN at a time; each looks at the whole queue. */
#define FLUSHES_MAX 4

static const struct {
	const char *name;
	bool acts;
	enum deliver_command command;
} actions[] = {
	{ "list", false, 0 },
	{ "retry", true, DELIVER_RETRY },
	{ "hold", true, DELIVER_HOLD },
	{ "release", true, DELIVER_RELEASE },
	{ "delete", true, DELIVER_DELETE },
	{ "bounce", true, DELIVER_BOUNCE },
};

/* One `queue` request under way. */
struct scan {
	struct daemon *daemon;
	struct control_call *call; /* NULL: nobody hears of it (ETRN) */
	struct queue_filter filter;
	struct arena arena; /* the filter's words */
	struct arena words; /* addresses of the message at hand */
	int action;
	bool dry_run;
	bool closed; /* the caller left */
	bool pause;  /* much waits for the caller to read */
	uint64_t cursor, most;
	uint64_t messages, rcpts, changed, busy, failed;
	struct net_task task; /* on the main loop */
	/* the message that a worker is asked to change */
	uint64_t id;
	struct span *addresses;
	size_t address_count, address_at, address_room;
	unsigned asked; /* workers asked */
	int err;
	struct net_task worker_task;
};

static void scan_on(struct net_task *task);

static void scan_end(struct scan *s, const char *error)
{
	struct buf out;
	struct json_writer j;

	buf_init(&out, 4096);
	json_writer_init(&j, &out);
	json_put_object(&j, NULL);
	json_put_object(&j, "summary");
	json_put_int(&j, "messages", (int64_t)s->messages);
	json_put_int(&j, "recipients", (int64_t)s->rcpts);
	if (actions[s->action].acts) {
		json_put_int(&j, "changed", (int64_t)s->changed);
		json_put_int(&j, "busy", (int64_t)s->busy);
		json_put_int(&j, "failed", (int64_t)s->failed);
		json_put_bool(&j, "dry_run", s->dry_run);
	}
	json_put_object_end(&j);
	json_put_object_end(&j);
	if (!error && s->call)
		(void)control_answer(s->call, buf_span(&out));
	buf_done(&out);
	if (s->call)
		control_end(s->call, error);
	else
		atomic_fetch_sub(&s->daemon->flushes, 1);
	arena_done(&s->arena);
	arena_done(&s->words);
	free(s->addresses);
	free(s);
}

static void on_row(void *arg, const struct rcpt *r, struct span json)
{
	struct scan *s = arg;

	int sent = s->call ? control_answer(s->call, json) : 0;

	s->rcpts++;
	s->closed = s->closed || sent < 0;
	s->pause = s->pause || sent > 0;
	if (!actions[s->action].acts || s->dry_run)
		return;
	if (s->address_count == s->address_room) {
		size_t room = s->address_room ? s->address_room * 2 : 16;
		struct span *more = realloc(s->addresses, room * sizeof(*more));
		if (!more)
			return;
		s->addresses = more;
		s->address_room = room;
	}
	s->addresses[s->address_count].p = (const uint8_t *)arena_str(&s->words, r->address);
	s->addresses[s->address_count++].n = r->address.n;
}

/* ---- a change, on the worker that owns the message ---- */

static void change_next(struct scan *s);

static void change_answered(struct net_task *task)
{
	struct scan *s = task->arg;

	if (s->err == 0)
		s->changed++;
	else if (s->err == -ERR_BUSY)
		s->busy++;
	else
		s->failed++;
	s->address_at++;
	change_next(s);
}

static void answer_main(struct scan *s, int err)
{
	s->err = err;
	s->worker_task = (struct net_task){ .run = change_answered, .arg = s };
	net_loop_post(s->daemon->loop, &s->worker_task);
}

static void on_changed(void *arg, int err)
{
	answer_main(arg, err);
}

static void ask_worker(struct net_task *task);

static void ask_next_worker(struct scan *s, int err)
{
	struct daemon *d = s->daemon;
	unsigned k = (unsigned)((s->id + s->asked) % d->worker_count);

	if (s->asked == d->worker_count) {
		answer_main(s, err);
		return;
	}
	s->worker_task = (struct net_task){ .run = ask_worker, .arg = s };
	net_loop_post(d->workers[k].loop, &s->worker_task);
}

static void ask_worker(struct net_task *task)
{
	struct scan *s = task->arg;
	struct daemon *d = s->daemon;
	struct worker *w = &d->workers[(s->id + s->asked) % d->worker_count];
	int r = -ERR_STOPPED;

	if (w->agent)
		r = deliver_agent_command(w->agent, s->id, actions[s->action].command,
		    s->addresses[s->address_at], on_changed, s);
	if (r == 0)
		return; /* on_changed() follows */
	s->asked++;
	if (r == -ERR_NOTFOUND || r == -ERR_STOPPED)
		ask_next_worker(s, r);
	else
		answer_main(s, r);
}

static void change_next(struct scan *s)
{
	if (s->address_at == s->address_count) {
		s->address_at = s->address_count = 0;
		arena_reset(&s->words);
		scan_on(&s->task);
		return;
	}
	s->asked = 0;
	ask_next_worker(s, -ERR_NOTFOUND);
}

/* ---- the walk ---- */

static void on_drained(void *arg)
{
	struct scan *s = arg;

	control_on_drained(s->call, NULL, NULL);
	scan_on(&s->task);
}

static void scan_on(struct net_task *task)
{
	struct scan *s = task->arg;
	struct daemon *d = s->daemon;
	struct spool_entry e;
	int64_t now = clock_wall_ms();

	for (int i = 0; i < SCAN_BITE; i++) {
		int n;
		if (s->closed || s->rcpts >= s->most || !spool_next(d->spool, &s->cursor, &e)) {
			scan_end(s, NULL);
			return;
		}
		n = queue_listing(d->spool, d->cfg->catalogue, e.id, &s->filter, now, on_row, s);
		if (n > 0)
			s->messages++;
		if (s->address_count) {
			s->id = e.id;
			change_next(s);
			return;
		}
	}
	s->task = (struct net_task){ .run = scan_on, .arg = s };
	if (s->pause)
		control_on_drained(s->call, on_drained, s);
	else
		net_loop_post(d->loop, &s->task);
	s->pause = false;
}

static int read_filter(struct scan *s, const char **why_r)
{
	const json_t *list = json_object_get(control_request(s->call), "filter");
	size_t i;
	const json_t *word;

	json_array_foreach(list, i, word)
	{
		const char *text = json_string_value(word);
		struct span copy = arena_span(&s->arena, span_str(text));
		int r;
		if (!text || !copy.p) {
			*why_r = "a filter is a list of strings";
			return -ERR_SYNTAX;
		}
		r = queue_filter_add(&s->filter, copy, why_r);
		if (r < 0)
			return r;
	}
	return 0;
}

static void command_queue(struct daemon *d, struct control_call *call)
{
	const char *name = control_string(call, "action"), *why;
	const json_t *most = json_object_get(control_request(call), "most");
	struct scan *s = calloc(1, sizeof(*s));

	if (!s) {
		control_end(call, "out of memory");
		return;
	}
	s->daemon = d;
	s->call = call;
	s->action = -1;
	s->most = json_is_integer(most) && json_integer_value(most) > 0
	    ? (uint64_t)json_integer_value(most)
	    : UINT64_MAX;
	s->dry_run = json_is_true(json_object_get(control_request(call), "dry_run"));
	arena_init(&s->arena, 65536);
	arena_init(&s->words, 16u << 20);
	queue_filter_init(&s->filter);
	s->task = (struct net_task){ .run = scan_on, .arg = s };
	for (int i = 0; name && i < (int)(sizeof(actions) / sizeof(actions[0])); i++)
		if (strcmp(name, actions[i].name) == 0)
			s->action = i;
	if (s->action < 0) {
		s->action = 0;
		scan_end(s, "no such action: list, retry, hold, release, delete, bounce");
		return;
	}
	if (read_filter(s, &why) < 0) {
		scan_end(s, why);
		return;
	}
	scan_on(&s->task);
}

/* ETRN, from a worker's thread: "queue retry domain=DOMAIN" without anybody to tell. */
int daemon_flush_domain(struct daemon *d, struct span domain, bool below)
{
	struct scan *s;
	const char *why;
	char term[2 * 256 + 64];
	int n;

	if (domain.n > 255)
		return -ERR_INVAL;
	if (atomic_fetch_add(&d->flushes, 1) >= FLUSHES_MAX || !(s = calloc(1, sizeof(*s)))) {
		atomic_fetch_sub(&d->flushes, 1);
		return -ERR_BUSY;
	}
	s->daemon = d;
	s->most = UINT64_MAX;
	arena_init(&s->arena, 65536);
	arena_init(&s->words, 16u << 20);
	queue_filter_init(&s->filter);
	while (strcmp(actions[s->action].name, "retry") != 0)
		s->action++;
	n = snprintf(term, sizeof(term), "domain=%.*s", SPAN_FMT(domain));
	if (below)
		snprintf(term + n, sizeof(term) - (size_t)n, ",*.%.*s", SPAN_FMT(domain));
	if (queue_filter_add(&s->filter, arena_span(&s->arena, span_str(term)), &why) < 0 ||
	    queue_filter_add(&s->filter, SPAN_LIT("status=deferred,pending"), &why) < 0) {
		scan_end(s, why);
		return -ERR_INVAL;
	}
	s->task = (struct net_task){ .run = scan_on, .arg = s };
	net_loop_post(d->loop, &s->task);
	return 0;
}

static void command_stats(struct daemon *d, struct control_call *call)
{
	struct spool_stats st;
	struct buf out;
	struct json_writer j;

	spool_stats(d->spool, &st);
	buf_init(&out, 65536);
	json_writer_init(&j, &out);
	json_put_object(&j, NULL);
	json_put_ms(&j, "uptime", clock_wall_ms() - d->started_ms);
	json_put_int(&j, "sessions", atomic_load(&d->shared.sessions));
	json_put_int(&j, "queued", (int64_t)st.messages);
	json_put_int(&j, "spool_segments", (int64_t)st.segments);
	json_put_int(&j, "spool_disk_octets", (int64_t)st.disk_octets);
	json_put_int(&j, "spool_live_octets", (int64_t)st.live_octets);
	json_put_int(&j, "spool_commits", (int64_t)st.commits);
	json_put_int(&j, "spool_batches", (int64_t)st.batches);
	json_put_int(&j, "spool_syncs", (int64_t)st.syncs);
	json_put_int(&j, "spool_damaged", (int64_t)st.damaged);
	json_put_int(&j, "history_dropped", (int64_t)history_dropped(d->history));
	json_put_object_end(&j);
	(void)control_answer(call, buf_span(&out));
	buf_done(&out);
	control_end(call, NULL);
}

/* What was emitted before this can be found in the history after it; `why` asks for that first. */
static void command_flush(struct daemon *d, struct control_call *call)
{
	history_flush(d->history);
	control_end(call, NULL);
}

static void command_reload_certificates(struct daemon *d, struct control_call *call)
{
	control_end(call,
	    daemon_reload_certificates(d) < 0
		? "a certificate is unfit, those in use stay; `postern check-config` names it"
		: NULL);
}

static void command_reopen_logs(struct daemon *d, struct control_call *call)
{
	daemon_reopen_logs(d);
	control_end(call, NULL);
}

static void command_stop(struct daemon *d, struct control_call *call)
{
	control_end(call, NULL);
	daemon_stop(d);
}

static const struct {
	const char *name;
	void (*run)(struct daemon *d, struct control_call *call);
} commands[] = {
	{ "queue", command_queue },
	{ "stats", command_stats },
	{ "history-flush", command_flush },
	{ "newaliases", daemon_command_aliases },
	{ "reopen-logs", command_reopen_logs },
	{ "reload-certificates", command_reload_certificates },
	{ "stop", command_stop },
};

void daemon_control(void *arg, struct control_call *call)
{
	const char *name = control_string(call, "command");

	for (size_t i = 0; name && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(name, commands[i].name) == 0) {
			commands[i].run(arg, call);
			return;
		}
	control_end(call, "no such command");
}
