/*
 * tables/aliases.h - aliases: what a recipient's address stands for.
 *
 * Two kinds of table: names of local addresses, written as in aliases(5), and addresses of
 * any domain, written as in Postfix's virtual(5).  Parsing, look-up and expansion work on
 * memory as given; tables/alias-files.h reads the files and knows when they changed.
 *
 * A snapshot is filled by one thread, then never changes and is counted: many threads
 * may look into it.  No alias runs a program or writes a file; a table that asks for it is
 * refused.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_TABLES_ALIASES_H
#define POSTERN_TABLES_ALIASES_H

#include "base/arena.h"
#include "base/buf.h"

struct aliases; /* opaque: tables/aliases-private.h */

/* Addresses that one recipient may become, and aliases in aliases. */
#define ALIAS_RESULTS_MAX 1000
#define ALIAS_DEPTH_MAX   50
/* A table, or a list that it includes. */
#define ALIAS_FILE_OCTETS_MAX (64u << 20)

/* How a parser gets at lists (`:include:`), and where it says what is wrong. */
struct alias_reader {
	/* Append the file's content; 0 or a negative error.  NULL: there are no lists. */
	int (*include)(void *arg, const char *path, struct buf *to);
	/* "FILE:LINE: what is wrong", for each error */
	void (*report)(void *arg, const char *line);
	void *arg;
};

/* An empty snapshot with one reference, or -ERR_NOMEM. */
int aliases_new(struct aliases **a_r);
struct aliases *aliases_ref(struct aliases *a);
void aliases_unref(struct aliases **a); /* NULL is fine */

/*
 * Add the names of a file in the form of aliases(5): `name: target, target`.  `file` is what errors
 * name.  A name that an earlier file has stays as it is there.
 * Returns 0, -ERR_CONFIG (each error was reported), -ERR_NOMEM.
 */
int aliases_add_local(
    struct aliases *a, struct span text, const char *file, const struct alias_reader *reader);

/* Likewise in the form of virtual(5): `user@domain target, target`, `@domain target`, `user
 * target`. */
int aliases_add_virtual(
    struct aliases *a, struct span text, const char *file, const struct alias_reader *reader);

size_t aliases_count(const struct aliases *a);

/* What the tables need to know of the world. */
struct alias_world {
	const char *delimiters; /* between user and extension; "": there are no extensions */
	const char *origin;     /* domain of targets that name none */
	/* Is it a domain whose names the local table has? */
	bool (*is_local)(void *arg, struct span domain);
	void *arg;
};

/* Is there an alias for the address?  A catch-all counts. */
bool aliases_have(const struct aliases *a, const struct alias_world *world, struct span address);

struct alias_result {
	struct span address;
	struct span owner; /* who hears of failures instead of the sender; empty: the sender */
};

struct alias_results {
	struct alias_result *list; /* in the arena */
	size_t count;
	bool expanded; /* false: no alias, the one result is the address itself */
	/* after an error: the alias at which it was found; in the arena */
	struct span where;
};

/*
 * What an address stands for, each result once, in the order of the tables.  An alias that names
 * itself means the mailbox of that name.
 * Returns 0, -ERR_LOOP, -ERR_LIMIT (more than ALIAS_RESULTS_MAX, or deeper than ALIAS_DEPTH_MAX),
 * -ERR_NOMEM (the arena's maximum too).
 */
int aliases_expand(const struct aliases *a, const struct alias_world *world, struct span address,
    struct arena *arena, struct alias_results *results_r);

/*
 * The address without its extension, in the arena ("ann+list@example.org": "ann@example.org"), or
 * the address itself when it has none.  postmaster has none.
 */
struct span alias_bare(struct span address, const char *delimiters, struct arena *arena);

#endif
