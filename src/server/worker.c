/*
 * server/worker.c - listeners and sessions of one loop, and their clean stop.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "catalogue/reply_ids.h"
#include "server/server-private.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

int server_lists_init(struct server_lists *lists, const struct config *cfg)
{
	int r = 0;

	*lists = (struct server_lists){ .recipient = { .count = 0 } };
	for (const char **name = cfg->recipient_restrictions; r == 0 && *name; name++)
		r = policy_list_add(&lists->recipient, span_str(*name));
	if (r == 0 && cfg->auth_sender_login)
		r = policy_list_add(&lists->submission, SPAN_LIT("reject_sender_login_mismatch"));
	/* As Postfix's smtpd_reject_unlisted_recipient: also for those that the list permits, for
	 * taking mail for nobody only makes a bounce. */
	if (r == 0)
		r = policy_list_add(&lists->recipient_last, SPAN_LIT("reject_unlisted_recipient"));
	return r;
}

int server_shared_init(struct server_shared *shared, const struct config *cfg, struct spool *spool,
    struct event_sink *events)
{
	int r = server_clients_new(&shared->clients);

	atomic_init(&shared->sessions, 0);
	atomic_init(&shared->admitted, 0);
	pthread_mutex_init(&shared->tls_lock, NULL);
	shared->spool = spool;
	shared->events = events;
	return r < 0 ? r : server_lists_init(&shared->lists, cfg);
}

void server_shared_done(struct server_shared *shared)
{
	if (!shared->clients)
		return; /* it was never begun */
	server_clients_free(&shared->clients);
	pthread_mutex_destroy(&shared->tls_lock);
	net_tls_unref(&shared->tls);
	auth_unref(&shared->auth);
}

struct net_tls *server_shared_tls(struct server_shared *shared)
{
	struct net_tls *tls;

	pthread_mutex_lock(&shared->tls_lock);
	tls = shared->tls ? net_tls_ref(shared->tls) : NULL;
	pthread_mutex_unlock(&shared->tls_lock);
	return tls;
}

void server_shared_set_tls(struct server_shared *shared, struct net_tls *tls)
{
	struct net_tls *old;

	pthread_mutex_lock(&shared->tls_lock);
	old = shared->tls;
	shared->tls = tls;
	pthread_mutex_unlock(&shared->tls_lock);
	net_tls_unref(&old);
}

int server_worker_new(struct net_loop *loop, struct config *cfg, struct server_shared *shared,
    const struct server_hooks *hooks, struct server_worker **w_r)
{
	struct server_worker *w = calloc(1, sizeof(*w));

	if (!w)
		return -ERR_NOMEM;
	w->loop = loop;
	w->cfg = config_ref(cfg);
	w->shared = shared;
	w->hooks = *hooks;
	if (shared->auth && auth_worker_new(shared->auth, loop, shared->auth_pool, &w->auth) < 0) {
		config_unref(&w->cfg);
		free(w);
		return -ERR_NOMEM;
	}
	*w_r = w;
	return 0;
}

static void on_client(void *arg, int fd)
{
	struct server_listener *ln = arg;

	session_start(ln->worker, fd, ln->listen);
}

int server_worker_listen(struct server_worker *w, int fd, const struct config_listen *listen)
{
	struct server_listener *ln = calloc(1, sizeof(*ln));
	int r;

	if (!ln) {
		close(fd);
		return -ERR_NOMEM;
	}
	ln->worker = w;
	ln->listen = listen;
	r = net_listener_start(w->loop, fd, on_client, ln, &ln->ln);
	if (r < 0) {
		free(ln);
		return r;
	}
	ln->next = w->listeners;
	w->listeners = ln;
	return 0;
}

void server_worker_stop(struct server_worker *w, void (*stopped)(void *arg), void *arg)
{
	struct session *s, *next;

	for (struct server_listener *ln = w->listeners; ln; ln = ln->next)
		net_listener_close(&ln->ln);
	/* The sessions end on their own answers; only then is `stopped` set, so that none of them
	 * calls it inside this loop. */
	w->stopping = true;
	for (s = w->sessions; s; s = next) {
		next = s->next;
		if (!s->committing && !smtp_server_in_transaction(s->smtp))
			session_abort(s, REPLY_CLOSING);
	}
	w->stopped = stopped;
	w->stopped_arg = arg;
	if (w->session_count == 0)
		stopped(arg);
}

void server_worker_free(struct server_worker **w)
{
	struct server_listener *ln, *next;

	if (!*w)
		return;
	assert((*w)->session_count == 0);
	for (ln = (*w)->listeners; ln; ln = next) {
		next = ln->next;
		net_listener_close(&ln->ln);
		free(ln);
	}
	auth_worker_free(&(*w)->auth);
	config_unref(&(*w)->cfg);
	free(*w);
	*w = NULL;
}

size_t server_worker_sessions(const struct server_worker *w)
{
	return w->session_count;
}
