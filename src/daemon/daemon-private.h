/*
 * daemon/daemon-private.h - a worker thread and what all of them share.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_DAEMON_DAEMON_PRIVATE_H
#define POSTERN_DAEMON_DAEMON_PRIVATE_H

#include "control/control.h"
#include "daemon/daemon.h"
#include "deliver/deliver.h"
#include "events/mail-log.h"
#include "history/history.h"
#include "lab/lab.h"
#include "server/server.h"

#include <pthread.h>

struct worker {
	struct daemon *daemon;
	unsigned number;
	struct net_loop *loop;
	struct server_worker *server;
	struct deliver_agent *agent;
	struct dns_resolver *resolver;
	struct lab *lab;
	pthread_t thread;
	bool running;
	struct net_task stop_task;
};

struct pickup; /* daemon/pickup.c */

struct daemon {
	struct config *cfg;
	struct spool *spool;
	struct event_sink *events;
	struct event_file *log;
	struct mail_log *mail_log;
	struct event_file *words;
	struct history *history;
	struct pickup *pickup;
	struct server_shared shared;
	struct net_tls *tls_client;
	struct net_pool *mailbox_pool;
	struct worker *workers;
	unsigned worker_count;
	struct net_loop *loop; /* of the main thread: signals and control */
	struct control_server *control;
	struct net_timer *stop_timer;
	int lab_fd; /* handed to the simulator */
	int64_t started_ms;
	_Atomic unsigned flushes; /* walks for ETRN that are under way */
	bool stopping;
	unsigned workers_stopped;
	pthread_mutex_t lock;
	struct net_task stopped_task;
	void (*say)(const char *text);
};

/* worker.c */
int worker_init(struct daemon *d, struct worker *w);
int worker_run(struct worker *w);   /* start its thread */
void worker_stop(struct worker *w); /* any thread */
void worker_done(struct worker *w); /* joins */
/* Which worker has a message found in the spool at start. */
struct worker *worker_of(struct daemon *d, uint64_t id);

/* listen.c */
int daemon_listen(struct daemon *d, const char **why_r);

/* commands.c: the control socket's commands */
void daemon_control(void *arg, struct control_call *call);
int daemon_flush_domain(struct daemon *d, struct span domain, bool below); /* any thread */

/* pickup.c: after the workers are ready.  An error needs pickup_stop() too.  Stopping waits for the
 * letter at hand; NULL is fine.  Main thread. */
int pickup_start(struct daemon *d, struct pickup **p_r);
void pickup_stop(struct pickup **p);
void pickup_all(struct pickup *p); /* look again at what could not be taken */

/* aliases.c: `newaliases` */
void daemon_command_aliases(struct daemon *d, struct control_call *call);

void daemon_reopen_logs(struct daemon *d); /* any thread */
/* Main thread; -ERR_CONFIG: they are unfit, and the old ones stay (events say why). */
int daemon_reload_certificates(struct daemon *d);
void daemon_stop(struct daemon *d);           /* main thread */
void daemon_worker_stopped(struct daemon *d); /* any thread */

#endif
