/*
 * daemon/daemon.c - start, run, stop.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "daemon/daemon-private.h"
#include "envelope/envelope.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Threads that fsync mailboxes. */
#define MAILBOX_THREADS 4
/* Passwords are hashed here, some ten milliseconds each. */
#define AUTH_THREADS 2
/* What may wait for the log's disk before lines are dropped. */
#define LOG_OCTETS_MAX (16u << 20)
/* How long sessions and deliveries may take to end after a request to stop. */
#define STOP_LIMIT_MS 30000

static char why_text[512];

static int failed(const char **why_r, const char *what, const char *detail, int err)
{
	snprintf(
	    why_text, sizeof(why_text), "%s %s: %s", what, detail ? detail : "", err_text(err));
	*why_r = why_text;
	return err;
}

static void read_log(void *arg, const struct event *ev, struct span json)
{
	(void)ev;
	event_file_line(arg, json);
}

static void read_words(void *arg, const struct event *ev, struct span json)
{
	struct buf line;

	(void)json;
	if (ev->type == EVENT_SESSION_OPENED || ev->type == EVENT_SESSION_CLOSED)
		return;
	buf_init(&line, 65536);
	event_words(ev, &line);
	if (buf_len(&line) && !line.failed)
		event_file_line(arg, span_of(buf_span(&line).p, buf_len(&line) - 1));
	buf_done(&line);
}

static int start_mail_log(struct daemon *d, const char **why_r)
{
	struct mail_log_options o = { .where = d->cfg->mail_log,
		.tag = d->cfg->mail_log_tag,
		.hostname = d->cfg->hostname,
		.journal_socket = d->cfg->journal_socket,
		.syslog_socket = d->cfg->syslog_socket };
	int r;

	if (!o.where || !o.where[0])
		return 0;
	r = mail_log_open(&o, &d->mail_log);
	if (r < 0)
		return failed(why_r, "cannot open log", o.where, r);
	return event_sink_add(d->events, mail_log_event, d->mail_log);
}

/* Any thread.  For logs that somebody renamed. */
void daemon_reopen_logs(struct daemon *d)
{
	if (d->log)
		event_file_reopen(d->log);
	if (d->mail_log)
		mail_log_reopen(d->mail_log);
}

static int start_events(struct daemon *d, bool words, const char **why_r)
{
	int r = event_sink_new(&d->events);

	if (r == 0 && d->cfg->events_log) {
		r = event_file_open(d->cfg->events_log, EVENT_FILE_JSON, LOG_OCTETS_MAX, &d->log);
		if (r < 0)
			return failed(why_r, "cannot open log", d->cfg->events_log, r);
		r = event_sink_add(d->events, read_log, d->log);
	}
	if (r == 0)
		r = start_mail_log(d, why_r);
	if (r < 0)
		return r;
	if (words)
		r = event_file_open("-", EVENT_FILE_TEXT, LOG_OCTETS_MAX, &d->words);
	if (r == 0 && words)
		r = event_sink_add(d->events, read_words, d->words);
	if (r < 0)
		return failed(why_r, "cannot start", "events", r);
	r = history_open(d->cfg->history_directory, d->cfg->history_keep_ms, &d->history);
	if (r < 0)
		return failed(why_r, "cannot open history", d->cfg->history_directory, r);
	return event_sink_add(d->events, history_event, d->history);
}

static void on_notice(void *arg, const char *what, const char *text, int err)
{
	struct daemon *d = arg;
	struct event ev = {
		.type = EVENT_NOTICE, .text = span_str(text), .detail = span_str(what)
	};

	(void)err;
	if (d->events)
		event_emit(d->events, &ev);
	else
		fprintf(stderr, "postern: %s: %s\n", what, text);
}

static int start_spool(struct daemon *d, const char **why_r)
{
	const struct config *cfg = d->cfg;
	struct spool_options o;
	int r;

	spool_options_init(&o, cfg->spool_directory);
	o.segment_octets = cfg->segment_octets;
	o.spill_octets = cfg->spill_octets;
	o.memory_octets = cfg->spool_memory_octets;
	o.queue_minfree = cfg->queue_minfree;
	o.reserve_octets = cfg->spool_reserve_octets;
	o.ack_before_commit = cfg->test_ack_before_commit;
	o.notice = on_notice;
	o.notice_arg = d;
	r = spool_open(&o, &d->spool);
	if (r == -ERR_LOCKED)
		return failed(
		    why_r, "another postern is running on spool", cfg->spool_directory, r);
	return r < 0 ? failed(why_r, "cannot open spool", cfg->spool_directory, r) : 0;
}

static void fill_queues(struct daemon *d)
{
	struct spool_entry e;
	struct spool_stats st;
	uint64_t cursor = 0;

	/* No id that the spool has ever seen comes again, even when the clock was set back. */
	spool_stats(d->spool, &st);
	queue_id_floor(st.max_id);
	while (spool_next(d->spool, &cursor, &e)) {
		deliver_agent_add(worker_of(d, e.id)->agent, e.id, e.due_ms);
	}
}

static int start_workers(struct daemon *d, const char **why_r)
{
	int r;

	d->workers = calloc(d->cfg->workers, sizeof(*d->workers));
	if (!d->workers)
		return failed(why_r, "cannot start", "workers", -ERR_NOMEM);
	d->worker_count = d->cfg->workers;
	for (unsigned i = 0; i < d->worker_count; i++) {
		d->workers[i].number = i;
		r = worker_init(d, &d->workers[i]);
		if (r < 0)
			return failed(why_r, "cannot start", "a worker", r);
	}
	return 0;
}

static int start_lab(struct daemon *d, const char **why_r)
{
	int fd;

	if (!d->cfg->lab)
		return 0;
	/* On loopback and nowhere else; every worker's deliveries may come here. */
	fd = net_listen_socket(&(struct ip){ 4, { 127, 0, 0, 1 } }, 0, false, NULL);
	if (fd < 0)
		return failed(why_r, "cannot listen for", "the simulator", fd);
	d->lab_fd = fd;
	return 0;
}

static void keep_first(void *arg, const char *line)
{
	bool *has = arg;

	if (!*has)
		snprintf(why_text, sizeof(why_text), "%s", line);
	*has = true;
}

static int start_tls(struct daemon *d, const char **why_r)
{
	bool has = false;
	struct net_tls *server = NULL;
	int r = daemon_tls(d->cfg, &server, &d->tls_client, keep_first, &has);

	if (r < 0)
		*why_r = why_text;
	else
		server_shared_set_tls(&d->shared, server);
	return r;
}

static void emit_notice(struct daemon *d, const char *text, const char *detail)
{
	struct event ev = {
		.type = EVENT_NOTICE, .text = span_str(text), .detail = span_str(detail)
	};

	event_emit(d->events, &ev);
}

static void certificate_unfit(void *arg, const char *line)
{
	emit_notice(arg, "the certificates in use stay", line);
}

/* Main thread.  Handshakes that begin from here on get the certificates as the files are now. */
int daemon_reload_certificates(struct daemon *d)
{
	struct net_tls *server = NULL, *client = NULL;
	int r = daemon_tls(d->cfg, &server, &client, certificate_unfit, d);

	net_tls_unref(&client); /* deliveries keep theirs until the next start */
	if (r < 0 || !server)
		return r;
	server_shared_set_tls(&d->shared, server);
	emit_notice(d, "certificates were read anew", "");
	return 0;
}

static int start_auth(struct daemon *d, const char **why_r)
{
	bool has = false;
	int r = daemon_auth(d->cfg, &d->shared.auth, keep_first, &has);

	if (r < 0)
		*why_r = why_text;
	else if (d->shared.auth)
		r = net_pool_new(AUTH_THREADS, &d->shared.auth_pool);
	return r;
}

static int start_aliases(struct daemon *d, const char **why_r)
{
	bool has = false;
	int r = daemon_aliases(d->cfg, d->events, &d->shared.aliases, keep_first, &has);

	if (r < 0 && has)
		*why_r = why_text;
	return r;
}

static void on_signal(void *arg, int signum)
{
	struct daemon *d = arg;

	if (signum == SIGHUP) {
		daemon_reopen_logs(d);
		(void)daemon_reload_certificates(d);
		return;
	}
	if (d->stopping)
		_exit(0); /* asked twice: the spool is made to be left at any moment */
	daemon_stop(d);
}

int daemon_start(const struct daemon_options *o, struct daemon **d_r, const char **why_r)
{
	struct daemon *d = calloc(1, sizeof(*d));
	struct event ev = { .type = EVENT_SERVER_STARTED };
	int r;

	*why_r = "out of memory";
	if (!d)
		return -ERR_NOMEM;
	pthread_mutex_init(&d->lock, NULL);
	d->cfg = config_ref(o->cfg);
	d->say = o->say;
	d->started_ms = clock_wall_ms();
	signal(SIGPIPE, SIG_IGN);
	r = dir_make(d->cfg->run_directory);
	if (r < 0)
		r = failed(why_r, "cannot make run directory", d->cfg->run_directory, r);
	if (r == 0)
		r = start_spool(d, why_r);
	if (r == 0)
		r = start_events(d, o->words, why_r);
	if (r == 0)
		r = server_shared_init(&d->shared, d->cfg, d->spool, d->events);
	if (r == 0)
		r = start_tls(d, why_r);
	if (r == 0)
		r = start_auth(d, why_r);
	if (r == 0)
		r = start_aliases(d, why_r);
	if (r == 0)
		r = net_pool_new(MAILBOX_THREADS, &d->mailbox_pool);
	if (r == 0)
		r = start_lab(d, why_r);
	if (r == 0)
		r = start_workers(d, why_r);
	if (r == 0)
		r = net_loop_new(&d->loop);
	if (r == 0 && d->cfg->lab)
		r = lab_start(d->workers[0].loop, d->cfg, d->lab_fd, &d->workers[0].lab);
	if (r == 0)
		r = daemon_listen(d, why_r);
	if (r == 0)
		r = control_server_start(
		    d->loop, d->cfg->run_directory, daemon_control, d, &d->control);
	if (r == 0) {
		net_loop_on_signal(d->loop, SIGTERM, on_signal, d);
		net_loop_on_signal(d->loop, SIGINT, on_signal, d);
		net_loop_on_signal(d->loop, SIGHUP, on_signal, d);
		event_emit(d->events, &ev);
		fill_queues(d);
	}
	for (unsigned i = 0; r == 0 && i < d->worker_count; i++)
		r = worker_run(&d->workers[i]);
	if (r == 0 && (r = pickup_start(d, &d->pickup)) < 0)
		failed(why_r, "cannot take mail from", d->cfg->submission_directory, r);
	if (r < 0) {
		daemon_free(&d);
		return r;
	}
	*d_r = d;
	return 0;
}

static void on_stop_limit(void *arg)
{
	struct daemon *d = arg;
	struct event ev = { .type = EVENT_NOTICE,
		.text = SPAN_LIT("some sessions or deliveries did not end in time; they are cut "
				 "off, nothing is lost") };

	event_emit(d->events, &ev);
	event_file_close(&d->log);
	mail_log_close(&d->mail_log);
	event_file_close(&d->words);
	history_close(&d->history);
	_exit(0);
}

void daemon_stop(struct daemon *d)
{
	struct event ev = { .type = EVENT_SERVER_STOPPING };

	if (d->stopping)
		return;
	d->stopping = true;
	event_emit(d->events, &ev);
	control_server_stop(&d->control);
	pickup_stop(&d->pickup);
	if (net_timer_new(d->loop, on_stop_limit, d, &d->stop_timer) == 0)
		net_timer_set(d->stop_timer, net_loop_now_ms(d->loop) + STOP_LIMIT_MS);
	for (unsigned i = 0; i < d->worker_count; i++)
		worker_stop(&d->workers[i]);
}

static void all_stopped(struct net_task *task)
{
	struct daemon *d = task->arg;

	net_timer_free(&d->stop_timer);
	net_loop_stop(d->loop);
}

void daemon_worker_stopped(struct daemon *d)
{
	bool last;

	pthread_mutex_lock(&d->lock);
	last = ++d->workers_stopped == d->worker_count;
	pthread_mutex_unlock(&d->lock);
	if (!last)
		return;
	d->stopped_task = (struct net_task){ .run = all_stopped, .arg = d };
	net_loop_post(d->loop, &d->stopped_task);
}

void daemon_run(struct daemon *d)
{
	net_loop_run(d->loop);
}

void daemon_free(struct daemon **dp)
{
	struct daemon *d = *dp;
	struct event ev = { .type = EVENT_SERVER_STOPPED };

	if (!d)
		return;
	control_server_stop(&d->control);
	pickup_stop(&d->pickup);
	for (unsigned i = 0; i < d->worker_count; i++)
		worker_done(&d->workers[i]);
	free(d->workers);
	net_pool_free(&d->mailbox_pool);
	net_pool_free(&d->shared.auth_pool);
	net_loop_free(&d->loop);
	server_shared_done(&d->shared);
	alias_files_free(&d->shared.aliases);
	net_tls_unref(&d->tls_client);
	spool_close(&d->spool);
	if (d->events)
		event_emit(d->events, &ev);
	event_file_close(&d->log);
	mail_log_close(&d->mail_log);
	event_file_close(&d->words);
	history_close(&d->history);
	event_sink_free(&d->events);
	config_unref(&d->cfg);
	pthread_mutex_destroy(&d->lock);
	free(d);
	*dp = NULL;
}
