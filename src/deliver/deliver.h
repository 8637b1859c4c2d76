/*
 * deliver/deliver.h - a worker's deliveries: from the queue to the next host or mailbox.
 *
 * One agent belongs to one loop and is touched on its thread only.  The way of a
 * message: the queue says that it is due -> work.c reads envelope and state, groups
 * the recipients by where they go -> each group is tried (smtp.c over a connection to
 * a site, by SMTP or LMTP, maildir.c into mailboxes) -> each recipient's outcome is judged
 * (outcome.c)
 * -> bounce.c writes a DSN for what failed -> the new state is written, or the message
 * is finished.  The DSN is durable before the failed recipient is forgotten.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_DELIVER_DELIVER_H
#define POSTERN_DELIVER_DELIVER_H

#include "config/config.h"
#include "dns/dns.h"
#include "events/events.h"
#include "net/tls.h"
#include "queue/queue.h"
#include "spool/spool.h"

struct deliver_agent; /* opaque: deliver/agent.c */

struct deliver_deps {
	struct net_loop *loop;
	struct config *cfg; /* the agent refs it */
	struct spool *spool;
	struct event_sink *events;
	struct dns_resolver *resolver;
	struct net_pool *mailbox_pool; /* fsync of maildirs */
	struct alias_files *aliases;   /* lives as long as the agent; NULL: none */
	struct net_tls *tls_client;    /* lives as long as the agent; NULL: there is no TLS */
	/* Where the simulator takes mail for a domain of its own; NULL: there is none. */
	int (*lab_port)(void *arg, struct span domain, uint16_t *port_r);
	void *lab_arg;
};

int deliver_agent_new(const struct deliver_deps *deps, struct deliver_agent **a_r);

/* A message of the spool is this agent's from now on. */
void deliver_agent_add(struct deliver_agent *a, uint64_t id, int64_t due_ms);

/* What an operator can do to a message.  `recipient` empty: all of them. */
enum deliver_command {
	DELIVER_RETRY,   /* due now */
	DELIVER_HOLD,    /* no more attempts until released */
	DELIVER_RELEASE, /* lift a hold; due now */
	DELIVER_DELETE,  /* end it, tell nobody */
	DELIVER_BOUNCE,  /* give up now, with a DSN */
};

/*
 * Returns 0, -ERR_NOTFOUND (not this agent's), -ERR_BUSY (an attempt is under way: try again),
 * -ERR_IO, -ERR_CORRUPT.  `done` is called on the loop once the change is on disk (only after 0).
 */
int deliver_agent_command(struct deliver_agent *a, uint64_t id, enum deliver_command command,
    struct span recipient, void (*done)(void *arg, int err), void *arg);

bool deliver_agent_has(const struct deliver_agent *a, uint64_t id);

/* Start nothing new; open deliveries go on to their end, then `stopped` is called on the loop. */
void deliver_agent_stop(struct deliver_agent *a, void (*stopped)(void *arg), void *arg);
void deliver_agent_free(struct deliver_agent **a);

struct deliver_stats {
	size_t queued, active, connections;
	uint64_t attempts, delivered, deferred, failed, bounced;
};
void deliver_agent_stats(const struct deliver_agent *a, struct deliver_stats *stats_r);

/* The invariant: each recipient of each message has exactly one next event.  Returns how many
 * known messages are in neither heap, nor active, nor held; 0 is right. */
size_t deliver_agent_stray(const struct deliver_agent *a);

#endif
