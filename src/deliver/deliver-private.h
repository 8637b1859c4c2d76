/*
 * deliver/deliver-private.h - messages in work, groups of recipients, sites.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_DELIVER_DELIVER_PRIVATE_H
#define POSTERN_DELIVER_DELIVER_PRIVATE_H

#include "classify/classify.h"
#include "deliver/deliver.h"
#include "envelope/envelope.h"
#include "smtp/client.h"

/* Envelope, state, and what is said of an attempt; a thousand recipients with their last replies.
 */
#define WORK_OCTETS_MAX (16u << 20)
/* Addresses of one site that one attempt tries, most preferred first. */
#define TARGETS_MAX 8

/* Hosts whose TLS failed not long ago are remembered in so many places. */
#define CLEAR_HOSTS 256

enum route_kind {
	ROUTE_MAILDIR,
	ROUTE_HOST,
	ROUTE_MX,
	ROUTE_UNIX,
	ROUTE_DISCARD,
	ROUTE_NOBODY /* no such mailbox here */
};

/* Where a recipient's domain goes. */
struct route {
	enum route_kind kind;
	struct span
	    site; /* key for limits: "mx:example.org", "host:mail.example.org:25", "maildir" */
	const char
	    *host; /* HOST: name or address; MX: the domain; NUL-terminated, arena of the work */
	uint16_t port;
	const char *mailbox;                /* MAILDIR: the address that it becomes (postmaster) */
	const struct config_route *options; /* how; NULL: nothing is said of it */
	bool require_tls;                   /* the message travels under verified TLS only */
};

/* One address to try. */
struct target {
	char host[DNS_NAME_MAX];
	struct ip ip;
	uint16_t port;
	const char *path; /* a unix socket instead; of the configuration */
};

/* What a delivery means for a sender who asked to be told, RFC 3461 5.2. */
enum success {
	SUCCESS_SILENT,    /* none, or the next host tells the sender */
	SUCCESS_DELIVERED, /* it is in its mailbox */
	SUCCESS_RELAYED,   /* it is with a host that confirms nothing */
};

struct work;

/* Recipients of one message that go the same way. */
struct group {
	struct work *work;
	struct route route;
	size_t *rcpts; /* indices into the envelope */
	size_t count;
	struct group *next;         /* of the work */
	struct group *next_waiting; /* at the site */
	struct site *site;          /* good while it waits or has a connection */
	bool is_waiting;            /* in the site's list */
	struct lookup *lookup;      /* under way */
	struct target targets[TARGETS_MAX];
	size_t target_count, target_at;
};

/* A message in work. */
struct work {
	struct deliver_agent *agent;
	struct config *cfg; /* a reference: its routes point into it */
	struct work *next, *prev;
	uint64_t id;
	struct arena arena;
	struct buf record, state;
	struct envelope env;
	struct group *groups;
	size_t open_groups;
	bool *judged;     /* by recipient: has an outcome of this round */
	bool *failed_now; /* by recipient: given up in this round, a DSN may be due */
	bool *expired;    /* by recipient: because its life time is over */
	uint8_t *success; /* by recipient: enum success of this round */
	bool put_off;     /* a site was busy: try again soon, no attempt was made */
	/* end of the work */
	struct spool_op op;
	struct net_task op_task;
	int op_err;
	uint64_t dsn_id, dsn_octets;
	bool *delay_now;    /* by recipient: the notification that is written tells of its delay */
	bool notice_failed; /* one could not be stored in this round */
	bool copy_written;  /* it is the postmaster's copy */
	const char *dsn_of; /* what it is of, and to whom, for its event */
	struct span dsn_to;
	int64_t started_ms; /* wall clock: this round of attempts */
	void (*command_done)(void *arg, int err);
	void *command_arg;
};

struct delivery; /* delivery-private.h */

/* Connections to a site, groups that wait for one, and connections that wait for a group. */
struct site {
	struct span key; /* owned */
	uint32_t connections;
	uint32_t waiting_count;
	struct group *waiting, **waiting_last;
	struct delivery *idle; /* the one that came last first */
};

/* A host that is talked to in clear for a while. */
struct clear_host {
	struct ip ip;
	uint16_t port;
	uint64_t until_ms; /* monotonic */
};

struct deliver_agent {
	struct deliver_deps deps;
	struct config *cfg;
	struct queue *queue;
	struct net_timer *due;
	struct map sites;
	struct work *works;
	size_t work_count;
	uint32_t connections; /* the idle ones too */
	struct delivery *oldest_idle, *newest_idle;
	struct clear_host clear_hosts[CLEAR_HOSTS]; /* by hash: one may push another out */
	struct deliver_stats stats;
	bool stopping;
	void (*stopped)(void *arg);
	void *stopped_arg;
};

/* agent.c */
void agent_arm(struct deliver_agent *a);
void agent_work_over(struct deliver_agent *a); /* one less: take more, or stop */

/* work.c */
int work_start(struct deliver_agent *a, uint64_t id);
int work_load(struct deliver_agent *a, uint64_t id, struct work **w_r);
void work_free(struct work *w);
void group_done(struct group *g); /* every recipient of the group was judged */
void work_settle(struct work *w); /* DSN first, then the new state */

/* route.c */
int route_find(struct work *w, struct span address, struct route *route_r);
/* "smtp", "lmtp", "virtual", "discard", for the record. */
const char *route_transport(const struct route *route);
/* The address that is said to the next host: a postmaster's becomes the operator's choice. */
struct span route_final_address(const struct config *cfg, struct span address);

/* lookup.c: fills g->targets; then group_targets_ready() or group_trouble() */
void lookup_start(struct group *g);
void lookup_cancel(struct group *g);

/* site.c */
void site_enter(struct group *g);           /* begin now, or wait for a slot */
struct group *site_next(struct site *site); /* a waiting group for a free connection, or NULL */
void site_leave(struct deliver_agent *a, struct site *site); /* a connection is gone */
void site_drop_waiting(struct work *w); /* stop: its waiting groups go back to the queue */
void group_targets_ready(struct group *g);
void site_idle_add(struct delivery *d);
void site_idle_remove(struct delivery *d);
void site_idle_quit_all(struct deliver_agent *a);

/* smtp.c */
void smtp_delivery_start(struct group *g);
/* An idle one goes on with the group; false: it does not lead where that goes. */
bool smtp_delivery_take(struct delivery *d, struct group *g);
void smtp_delivery_quit(struct delivery *d); /* an idle one ends at once */

/* maildir.c */
void maildir_start(struct group *g);

/* outcome.c: judge one recipient; emits its event */
struct judged {
	enum classify_trouble trouble;
	enum cat_stage stage;
	const struct smtp_reply *reply; /* CLASSIFY_REPLY */
	const char *text;               /* our own words otherwise */
	struct span host, address, tls;
	const char *transport; /* route_transport() */
	bool delivered;
	enum success success; /* with `delivered` */
};
void rcpt_judge(struct work *w, struct rcpt *r, const struct judged *j);
/* All recipients of the group that have no outcome yet. */
void group_trouble(
    struct group *g, enum classify_trouble trouble, enum cat_stage stage, const char *text);

/* bounce.c: the DSN of what has failed, is late, or was delivered to a sender who wants to know; 0
 * when one is under way, 1 when none is needed, negative when it could not be made (try again
 * later). */
int bounce_start(struct work *w);
/* It is durable: say so, and remember whom it told of.  Then the postmaster's copy, if one is
 * wanted: returns as bounce_start(). */
void bounce_stored(struct work *w);
int bounce_copy(struct work *w);
/* When the next recipient is late enough to be told of; INT64_MAX: none. */
int64_t bounce_due(const struct work *w);

#endif
