/*
 * auth/auth.h - who is it?  SASL exchanges (RFC 4422) against a table of passwords or Dovecot.
 *
 * A backend is made once and shared by all threads; an exchange belongs to one loop.
 * Octets of the client go in, answers come back by a call on that loop, never from
 * inside a call of the owner's: hashing runs on a pool of its own, Dovecot is asked
 * over its socket.  A name that does not exist costs the same work and gives the
 * same answer as a wrong password; trouble of ours is TEMPORARY, never FAILED.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_AUTH_AUTH_H
#define POSTERN_AUTH_AUTH_H

#include "base/buf.h"
#include "base/ip.h"
#include "net/net.h"

/* What a name may be: an address of RFC 5321 fits. */
#define AUTH_USER_MAX 320

struct auth; /* opaque: auth/auth.c; counted */

struct auth_options {
	const char *password_file;  /* auth/table.h; or NULL */
	const char *dovecot_socket; /* Dovecot's auth-client socket; or NULL */
	const char *mechanisms;     /* what is offered, of those that the backend has; NULL: all */
};

/*
 * Make a backend; one of the two sources must be named.
 * Returns 0, -ERR_NOTFOUND or -ERR_ACCESS (the file), -ERR_SYNTAX (what it holds, or a mechanism
 * that nobody knows), -ERR_NOMEM; `why` (size n) then says what and where.
 */
int auth_new(const struct auth_options *o, struct auth **a_r, char *why, size_t n);
struct auth *auth_ref(struct auth *a);
void auth_unref(struct auth **a);

/* "PLAIN LOGIN SCRAM-SHA-256 ...": for EHLO; lives as long as the backend. */
const char *auth_mechanisms(const struct auth *a);

/* May this user write as this sender?  Own address, or one that the table lists for the user;
 * the null sender always.  Without a table: whatever the backend let in may. */
bool auth_may_send(struct auth *a, struct span user, struct span sender);

/* A loop's share of a backend; after its last exchange has ended. */
struct auth_worker;
int auth_worker_new(
    struct auth *a, struct net_loop *loop, struct net_pool *pool, struct auth_worker **w_r);
void auth_worker_free(struct auth_worker **w);

enum auth_result { AUTH_CHALLENGE, AUTH_OK, AUTH_FAILED, AUTH_TEMPORARY };

/* Good for the call only. */
struct auth_answer {
	enum auth_result result;
	struct span challenge; /* CHALLENGE: octets for the client, may be none */
	struct span user;      /* OK: who it is.  FAILED: who it said it is, as far as known */
	const char *why;       /* FAILED, TEMPORARY: a few words, no secret in them */
};

struct auth_request {
	struct span mechanism; /* upper case, one of auth_mechanisms() */
	struct span initial;
	bool has_initial;
	bool tls;
	const uint8_t *binding; /* 32 octets of tls-exporter (RFC 9266), or NULL */
	struct ip client, local;
	struct span session;                                      /* for Dovecot's log */
	void (*answered)(void *arg, const struct auth_answer *a); /* on the loop */
	void *arg;
};

struct auth_exchange;

/* Begin; `answered` follows.  Nothing of the request is kept but its call.  0 or -ERR_NOMEM. */
int auth_begin(
    struct auth_worker *w, const struct auth_request *request, struct auth_exchange **x_r);
/* After a CHALLENGE: the client's response; `answered` follows.  0 or -ERR_NOMEM. */
int auth_respond(struct auth_exchange *x, struct span response);
/* The end, at any time: no more calls.  NULL is fine; *x becomes NULL. */
void auth_end(struct auth_exchange **x);

#endif
