/*
 * auth/table.h - the table of passwords: one user a line, hashed.
 *
 *   NAME:SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY[:SENDER,SENDER ...]
 *
 * The hash is that of RFC 5803 (salt and keys in base64), which serves PLAIN, LOGIN and
 * SCRAM alike and gives no password away.  SENDERs are addresses that the user may
 * write as besides its own; "@example.org": any of the domain, "*": any at all.  Lines
 * with # and empty ones are remarks.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_AUTH_TABLE_H
#define POSTERN_AUTH_TABLE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/map.h"

#define AUTH_KEY_OCTETS         32
#define AUTH_SALT_OCTETS        16
#define AUTH_SALT_OCTETS_MAX    64
#define AUTH_ITERATIONS_MIN     4096 /* RFC 7677 4 */
#define AUTH_ITERATIONS_DEFAULT 10000
#define AUTH_ITERATIONS_MAX     1000000

struct auth_hash {
	uint32_t iterations;
	uint8_t salt[AUTH_SALT_OCTETS_MAX];
	size_t salt_n;
	uint8_t stored_key[AUTH_KEY_OCTETS], server_key[AUTH_KEY_OCTETS];
};

struct auth_user {
	struct span name;
	struct auth_hash hash;
	struct span senders; /* as written; empty: none but its own */
};

struct auth_table {
	struct arena arena;
	struct map users;    /* name -> struct auth_user; ASCII case does not count */
	uint32_t iterations; /* of the first user, for names that do not exist */
};

/*
 * Read a table.
 * Returns 0, -ERR_SYNTAX with the line in *line_r and a sentence in *why_r (static), -ERR_NOMEM.
 */
int auth_table_parse(
    struct span text, struct auth_table *t_r, unsigned *line_r, const char **why_r);
void auth_table_done(struct auth_table *t);
const struct auth_user *auth_table_user(const struct auth_table *t, struct span name);

/* May the user write as this sender?  See above; the null sender always. */
bool auth_user_may_send(const struct auth_user *u, struct span sender);

/* Hash a password with what `hash` has of salt and iterations; fills the keys.  Slow, on purpose.
 * 0, -ERR_SYNTAX (no UTF-8 that SASLprep takes, or empty, or a NUL), -ERR_NOMEM. */
int auth_hash_make(struct span password, struct auth_hash *hash);

/* Fresh salt, then as above. */
int auth_hash_new(struct span password, uint32_t iterations, struct auth_hash *hash_r);

/* Is it this password's?  In constant time once hashed.  1, 0, or as above. */
int auth_hash_check(const struct auth_hash *hash, struct span password);

/* "SCRAM-SHA-256$...": appended; 0 or -ERR_NOMEM. */
int auth_hash_text(const struct auth_hash *hash, struct buf *out);

/* May this be a user's name?  No colon, no controls, not empty, not above AUTH_USER_MAX. */
bool auth_name_valid(struct span name);

#endif
