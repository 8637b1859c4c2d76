/*
 * base/arena.h - memory that is dropped all at once.
 *
 * Each session and each transaction has an arena with a maximum; whatever a
 * peer can make grow lives in one.  Reset keeps the first block, so that a
 * warmed-up session allocates nothing for the next message.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_BASE_ARENA_H
#define POSTERN_BASE_ARENA_H

#include "base/span.h"

struct arena_block;

struct arena {
	struct arena_block *head; /* newest block; the oldest stays over a reset */
	size_t used;              /* octets taken from the system */
	size_t max;               /* at most this many of them */
};

/* Set up in place; allocates nothing yet.  max: octets, blocks' heads included. */
void arena_init(struct arena *a, size_t max);

/* Give all memory back; the arena can be used again. */
void arena_done(struct arena *a);

/* Forget every allocation; keeps one block of the usual size. */
void arena_reset(struct arena *a);

/* n octets, aligned for any type, not cleared; NULL at the maximum or without memory. */
void *arena_alloc(struct arena *a, size_t n);

/* The same, cleared. */
void *arena_zalloc(struct arena *a, size_t n);

/* A copy with a NUL behind it (not counted); the empty span with p == NULL on failure of a copy. */
struct span arena_span(struct arena *a, struct span s);

/* A C string of the span's octets; NULL on failure. */
char *arena_str(struct arena *a, struct span s);

/* printf into the arena; NULL on failure. */
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
