/*
 * auth/client.h - our half of an exchange that needs more than words: SCRAM-SHA-256, RFC 7677.
 *
 * No I/O, no pool: a step that hashes takes as long as the other side's iterations say, so
 * their number has a maximum.  One exchange, one thread.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_AUTH_CLIENT_H
#define POSTERN_AUTH_CLIENT_H

#include "base/buf.h"

/* Some fifty milliseconds; RFC 7677 4 asks for 4096, servers have that to 15,000. */
#define AUTH_CLIENT_ITERATIONS_MAX 50000

struct auth_client; /* opaque: auth/client.c */

/* user and password stay the caller's, as long as the exchange.  0 or -ERR_NOMEM. */
int auth_client_new(const char *user, const char *password, struct auth_client **c_r);
void auth_client_free(struct auth_client **c);

/*
 * The server's challenge in (empty at first), our response appended to `out`.
 * 1: the server has proven that it knows the password too; 0: more is to come; -ERR_AUTH (the
 * challenge makes no sense, asks for too many iterations, or the server's proof is wrong),
 * -ERR_NOMEM.
 */
int auth_client_step(struct auth_client *c, struct span challenge, struct buf *out);

#endif
