/*
 * deliver/auth.h - our side of AUTH (RFC 4954): which mechanism, and what to answer.
 *
 * Octets in, octets out; no I/O.  Responses hold the password: their buffer is the caller's
 * to wipe.  A mechanism is a row of the table in auth.c, best first.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_DELIVER_AUTH_H
#define POSTERN_DELIVER_AUTH_H

#include "auth/client.h"

struct deliver_auth_mechanism;

struct deliver_auth {
	const struct deliver_auth_mechanism *mechanism;
	const char *user, *password; /* the caller's, as long as the exchange */
	unsigned round;
	struct auth_client *scram; /* of SCRAM, until deliver_auth_done() */
};

/* The best mechanism of those offered (SCRAM-SHA-256, PLAIN, LOGIN) (names parted by spaces).  0 or
 * -ERR_UNSUPPORTED. */
int deliver_auth_choose(
    struct deliver_auth *x, struct span offered, const char *user, const char *password);
const char *deliver_auth_name(const struct deliver_auth *x);

/* The initial response.  1 with it in `out`, 0 when the mechanism has none, or -ERR_NOMEM. */
int deliver_auth_initial(struct deliver_auth *x, struct buf *out);

/* The response to a challenge.  0, -ERR_AUTH (it makes no sense: give up), -ERR_NOMEM. */
int deliver_auth_respond(struct deliver_auth *x, struct span challenge, struct buf *out);

/* Whatever it was at; afterwards another exchange may begin. */
void deliver_auth_done(struct deliver_auth *x);

#endif
