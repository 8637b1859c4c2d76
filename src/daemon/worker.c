/*
 * daemon/worker.c - a thread with its loop, its sessions and its deliveries.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "daemon/daemon-private.h"

#include <signal.h>

static void on_queued(void *arg, uint64_t id)
{
	struct worker *w = arg;

	/* Due at once: the worker that took it delivers it first. */
	deliver_agent_add(w->agent, id, 0);
}

static int on_flush(void *arg, struct span domain, bool below)
{
	struct worker *w = arg;

	return daemon_flush_domain(w->daemon, domain, below);
}

/* The simulator lives on the first worker; all of them deliver to it. */
static int find_lab_port(void *arg, struct span domain, uint16_t *port_r)
{
	struct daemon *d = arg;

	return d->workers[0].lab ? lab_port_for(d->workers[0].lab, domain, port_r) : -ERR_NOTFOUND;
}

int worker_init(struct daemon *d, struct worker *w)
{
	struct server_hooks hooks = { on_queued, on_flush, w };
	struct dns_options dns = { (const char *const *)d->cfg->dns_servers,
		(const char *const *)d->cfg->dns_stubs, d->cfg->dns_timeout_ms };
	struct deliver_deps deps;
	int r = net_loop_new(&w->loop);

	w->daemon = d;
	if (r == 0)
		r = dns_resolver_new(w->loop, &dns, &w->resolver);
	if (r == 0)
		r = server_worker_new(w->loop, d->cfg, &d->shared, &hooks, &w->server);
	if (r < 0)
		return r;
	deps = (struct deliver_deps){ .loop = w->loop,
		.cfg = d->cfg,
		.spool = d->spool,
		.events = d->events,
		.resolver = w->resolver,
		.mailbox_pool = d->mailbox_pool,
		.aliases = d->shared.aliases,
		.tls_client = d->tls_client,
		.lab_port = d->cfg->lab ? find_lab_port : NULL,
		.lab_arg = d };
	return deliver_agent_new(&deps, &w->agent);
}

static void *thread_main(void *arg)
{
	struct worker *w = arg;

	net_loop_run(w->loop);
	return NULL;
}

int worker_run(struct worker *w)
{
	sigset_t all, old;
	int r;

	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&w->thread, NULL, thread_main, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	w->running = r == 0;
	return r == 0 ? 0 : -ERR_LIMIT;
}

/*
 * Each stage of the stop begins on a turn of its own: what calls `stopped` is deep inside a
 * session or a delivery of the very thing that would be freed.
 */
static void next_stage(struct worker *w, void (*run)(struct net_task *task))
{
	w->stop_task = (struct net_task){ .run = run, .arg = w };
	net_loop_post(w->loop, &w->stop_task);
}

static void end(struct net_task *task)
{
	struct worker *w = task->arg;

	/* Timers and descriptors would keep the loop alive. */
	if (w->lab)
		lab_stop(w->lab);
	deliver_agent_free(&w->agent);
	server_worker_free(&w->server);
	dns_resolver_free(&w->resolver);
	net_loop_stop(w->loop);
	daemon_worker_stopped(w->daemon);
}

static void deliveries_stopped(void *arg)
{
	next_stage(arg, end);
}

static void stop_deliveries(struct net_task *task)
{
	struct worker *w = task->arg;

	deliver_agent_stop(w->agent, deliveries_stopped, w);
}

static void sessions_stopped(void *arg)
{
	next_stage(arg, stop_deliveries);
}

static void stop(struct net_task *task)
{
	struct worker *w = task->arg;

	server_worker_stop(w->server, sessions_stopped, w);
}

void worker_stop(struct worker *w)
{
	w->stop_task = (struct net_task){ .run = stop, .arg = w };
	net_loop_post(w->loop, &w->stop_task);
}

void worker_done(struct worker *w)
{
	if (w->running)
		pthread_join(w->thread, NULL);
	deliver_agent_free(&w->agent);
	server_worker_free(&w->server);
	dns_resolver_free(&w->resolver);
	lab_free(&w->lab);
	net_loop_free(&w->loop);
}

struct worker *worker_of(struct daemon *d, uint64_t id)
{
	return &d->workers[id % d->worker_count];
}
