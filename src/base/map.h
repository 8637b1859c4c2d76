/*
 * base/map.h - a hash table from spans to pointers.
 *
 * Keys are borrowed: they must outlive their entry.  Keys may come from a
 * peer, so the hash is seeded with a secret of the process, and every table
 * that a peer can fill has a maximum of its own.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_BASE_MAP_H
#define POSTERN_BASE_MAP_H

#include "base/span.h"

struct map_slot;

struct map {
	struct map_slot *slots;
	size_t count;
	size_t used; /* with the graves of removed entries */
	size_t cap;  /* a power of two, or 0 */
	bool nocase; /* fold ASCII letters */
};

/* Set up in place.  nocase: ASCII letters of keys are equal in either case. */
void map_init(struct map *m, bool nocase);

/* Give the memory back; keys and values are the caller's. */
void map_done(struct map *m);

/* Value of a key, or NULL. */
void *map_get(const struct map *m, struct span key);

/* Set a key to a value (not NULL), replacing it.  Returns 0 or -ERR_NOMEM. */
int map_put(struct map *m, struct span key, void *value);

/* Remove a key; returns its value or NULL. */
void *map_del(struct map *m, struct span key);

/*
 * Walk: *at starts at 0; returns false at the end.  The order is none in
 * particular.  Removing the entry just returned is allowed, adding is not.
 */
bool map_next(const struct map *m, size_t *at, struct span *key_r, void **value_r);

/* The hash that the table uses: 64 bits, differs from process to process. */
uint64_t map_hash(struct span key, bool nocase);

#endif
