/*
 * auth/auth-private.h - the two backends behind auth/auth.h.
 *
 *   auth.c     the backend, its table of passwords, what an exchange begins with
 *   sasl.c     mechanisms by GNU SASL and LOGIN by us, on the pool
 *   dovecot.c  Dovecot's auth-client protocol, on the loop
 *   table.c    the table's lines and hashes; dovecot-line.c: lines of Dovecot's protocol
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_AUTH_AUTH_PRIVATE_H
#define POSTERN_AUTH_AUTH_PRIVATE_H

#include "auth/auth.h"
#include "auth/table.h"

#include <gsasl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

/* A response of RFC 4954 4, decoded, with room. */
#define AUTH_RESPONSE_MAX 16384

/* The table as it was read; counted, so that a new one may take its place any time. */
struct auth_snapshot {
	atomic_uint refs;
	struct auth_table table;
	struct timespec changed;
	ino_t inode;
	off_t size;
};

struct auth {
	atomic_uint refs;
	char *password_file, *dovecot_socket;
	char mechanisms[160];
	Gsasl *gsasl;
	uint8_t secret[32]; /* salts of names that do not exist come from it */
	pthread_mutex_t lock;
	struct auth_snapshot *snapshot; /* under lock */
};

struct dovecot; /* dovecot.c: the connection of one loop */

struct auth_worker {
	struct auth *auth;
	struct net_loop *loop;
	struct net_pool *pool;
	struct dovecot *dovecot; /* NULL until it is needed */
};

struct auth_exchange {
	struct net_job job; /* first: the pool hands it back */
	struct auth_worker *worker;
	void (*answered)(void *arg, const struct auth_answer *a);
	void *arg;
	bool busy;     /* a job is under way: free when it comes back */
	bool orphan;   /* the owner is gone */
	struct buf in; /* the client's octets, secret */
	/* what the job found */
	enum auth_result result;
	struct buf out; /* a challenge */
	const char *why;
	char user[AUTH_USER_MAX + 1];
	/* sasl.c */
	Gsasl_session *session;
	struct auth_snapshot *snapshot;
	bool login, started, finished; /* finished: only the client's empty response is missing */
	unsigned login_round;
	char binding[64]; /* base64, or "" */
	/* dovecot.c */
	bool is_dovecot;
	uint32_t dovecot_id;
	struct auth_exchange *next; /* of those that wait for Dovecot */
	struct net_task task;       /* an answer that must not come from inside a call */
	bool task_posted;
};

/* auth.c.  The table as it stands in the file now; a reference, or NULL (cannot be read: *why_r).
 */
struct auth_snapshot *auth_snapshot_get(struct auth *a, const char **why_r);
void auth_snapshot_unref(struct auth_snapshot **s);
void auth_exchange_free(struct auth_exchange *x);
/* Tell the owner; x may be gone afterwards. */
void auth_exchange_answer(struct auth_exchange *x);

/* sasl.c */
int sasl_callback(Gsasl *gsasl, Gsasl_session *session, Gsasl_property property);
int sasl_begin(struct auth_exchange *x, const struct auth_request *request);
void sasl_step(struct auth_exchange *x); /* `in` is set: to the pool */
void sasl_work(struct auth_exchange *x); /* what the pool does: takes `in`, leaves the answer */
void sasl_done(struct auth_exchange *x);
/* The hash of a name that does not exist: always the same for it. */
void sasl_decoy(
    const struct auth *a, const struct auth_table *t, struct span name, struct auth_hash *hash_r);

/* dovecot.c */
int dovecot_begin(struct auth_exchange *x, const struct auth_request *request);
int dovecot_respond(struct auth_exchange *x, struct span response);
void dovecot_forget(struct auth_exchange *x);
void dovecot_free(struct dovecot **d);

/* dovecot-line.c */
enum dovecot_verb {
	DOVECOT_OTHER, /* of no interest: SPID, CUID, COOKIE, MECH ... */
	DOVECOT_VERSION,
	DOVECOT_DONE,
	DOVECOT_OK,
	DOVECOT_CONT,
	DOVECOT_FAIL
};

struct dovecot_line {
	enum dovecot_verb verb;
	uint32_t number;    /* id of the request; VERSION: the major version */
	struct span data;   /* CONT: base64 */
	struct span user;   /* OK, FAIL: user=; still with Dovecot's escapes */
	struct span reason; /* FAIL */
	bool temporary;     /* FAIL: temp */
};

/* Take a line (without LF) apart; spans point into it.  0 or -ERR_PROTO. */
int dovecot_line_parse(struct span line, struct dovecot_line *l_r);
/* Undo Dovecot's escapes (\001 and a digit or letter) into `to`; the length, or -ERR_PROTO. */
int dovecot_unescape(struct span s, char *to, size_t room);

#endif
