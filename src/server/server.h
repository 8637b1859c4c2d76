/*
 * server/server.h - SMTP sessions on sockets: the machine, the checks and the spool put together.
 *
 * One server_worker is one loop's share: its listeners and sessions, touched on
 * that loop's thread only.  What all workers share (counts of sessions) is in
 * server_shared, in atomics.
 *
 * The way of a message: stream octets -> smtp/server.h steps -> session.c answers each
 * (recipients through policy/) -> receive.c gathers the body in a spool draft and
 * commits it -> the commit's answer comes back to the loop -> 250, and the id is
 * handed to `queued`.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_SERVER_SERVER_H
#define POSTERN_SERVER_SERVER_H

#include "auth/auth.h"
#include "config/config.h"
#include "envelope/envelope.h"
#include "events/events.h"
#include "net/tls.h"
#include "policy/policy.h"
#include "spool/spool.h"
#include "tables/alias-files.h"

#include <pthread.h>
#include <stdatomic.h>

/* Restriction lists made ready. */
struct server_lists {
	struct policy_list submission;     /* asked first of the service `submission` */
	struct policy_list recipient;      /* the operator's */
	struct policy_list recipient_last; /* asked of whom that list lets through */
};

/* From the configuration.  0, -ERR_NOTFOUND (a name that is no check), -ERR_LIMIT. */
int server_lists_init(struct server_lists *lists, const struct config *cfg);

/* Whose recipients they are. */
struct server_case {
	const struct config *cfg;
	const struct server_lists *lists;
	struct ip client;
	bool submission;             /* came to the service `submission` */
	struct alias_files *aliases; /* NULL: none */
	struct auth *auth;           /* NULL: nobody authenticates here */
	struct span user;            /* who authenticated; empty: nobody */
};

/*
 * May a recipient come in?  What a session does at RCPT, and `postern try`.
 *
 * facts    what is known; facts that are missing are fetched from the configuration and put in.
 *          A caller may put others in before: those stand
 * args_r   for the reply; spans live as long as the facts
 * trace_r  gets checks and facts as text
 * Returns a reply id: REPLY_RCPT_OK when it may.
 */
int server_judge_recipient(const struct server_case *c, struct facts *facts, struct span address,
    struct reply_args *args_r, struct buf *trace_r);

/* Over all workers. */
struct server_shared {
	_Atomic uint32_t sessions;      /* all that are open */
	_Atomic uint32_t admitted;      /* of these, who got one of the places that there are */
	struct server_clients *clients; /* sessions by client address; server/clients.c */
	struct server_lists lists;
	struct alias_files *aliases; /* NULL: none; set and freed by whoever runs the server */
	struct auth *auth; /* NULL: nobody authenticates; set after server_shared_init(), */
	struct net_pool *auth_pool; /* which takes a reference of `auth` only */
	struct spool *spool;
	struct event_sink *events;
	pthread_mutex_t tls_lock;
	struct net_tls *tls; /* under tls_lock: server_shared_tls(); NULL: none */
};

/* Prepare lists from the configuration (checked by config_load()).  0 or -ERR_NOMEM. */
int server_shared_init(struct server_shared *shared, const struct config *cfg, struct spool *spool,
    struct event_sink *events);
void server_shared_done(struct server_shared *shared);

/* The context for handshakes that begin now, a reference; NULL: there is none.  Any thread. */
struct net_tls *server_shared_tls(struct server_shared *shared);
/* Another one from here on (its certificates are new); the reference is taken over.  Any thread. */
void server_shared_set_tls(struct server_shared *shared, struct net_tls *tls);

struct server_worker; /* opaque: server/worker.c */

struct server_hooks {
	/* A message is durable and acknowledged; the queue of this worker takes it. */
	void (*queued)(void *arg, uint64_t id);
	/* ETRN: try what waits for the domain now; with `below` for its subdomains too.  0,
	 * -ERR_BUSY, -ERR_NOMEM. */
	int (*flush)(void *arg, struct span domain, bool below);
	void *arg;
};

int server_worker_new(struct net_loop *loop, struct config *cfg, struct server_shared *shared,
    const struct server_hooks *hooks, struct server_worker **w_r);

/* Take clients from a listening socket; the descriptor is taken over.  listen: of the
 * configuration. */
int server_worker_listen(struct server_worker *w, int fd, const struct config_listen *listen);

/*
 * Clean stop: no new clients; a session in a transaction may finish its message, the others get
 * 421 now.  `stopped` is called on the loop once the last is gone.
 */
void server_worker_stop(struct server_worker *w, void (*stopped)(void *arg), void *arg);

/* After `stopped`. */
void server_worker_free(struct server_worker **w);

size_t server_worker_sessions(const struct server_worker *w);

#endif
