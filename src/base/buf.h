/*
 * base/buf.h - a growing run of octets with a maximum.
 *
 * A buffer gets its maximum at init, with the reason beside the number.  An
 * addition that fails sets `failed`, leaves the content as it was and makes all
 * later ones fail, so that a long text can be built and checked once at its end.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_BASE_BUF_H
#define POSTERN_BASE_BUF_H

#include "base/span.h"

struct buf {
	uint8_t *data;
	size_t start; /* octets consumed at the front */
	size_t end;   /* end of the content */
	size_t cap;
	size_t max;
	bool failed;
};

/* Set up in place; allocates nothing yet. */
void buf_init(struct buf *b, size_t max_octets);

/* Give the memory back; the buffer can be used again. */
void buf_done(struct buf *b);

/* Forget content and failure, keep the memory. */
void buf_reset(struct buf *b);

/* What is in it, until the next call that changes the buffer. */
static inline struct span buf_span(const struct buf *b)
{
	return (struct span){ b->data ? b->data + b->start : NULL, b->end - b->start };
}

static inline size_t buf_len(const struct buf *b)
{
	return b->end - b->start;
}

/* Room for n more octets at the end, or NULL (failed is set); pair with buf_commit(). */
uint8_t *buf_reserve(struct buf *b, size_t n);

/* n octets were written where buf_reserve() pointed. */
void buf_commit(struct buf *b, size_t n);

/* Add; each returns 0 or -ERR_NOMEM (the maximum counts as memory). */
int buf_add(struct buf *b, const void *p, size_t n);
int buf_add_span(struct buf *b, struct span s);
int buf_add_str(struct buf *b, const char *s);
int buf_add_char(struct buf *b, char c);
int buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Drop n octets at the front (n at most the length). */
void buf_consume(struct buf *b, size_t n);

/* Cut the content to n octets (n at most the length). */
void buf_truncate(struct buf *b, size_t n);

/* The content as a C string (a NUL is added, not counted); NULL when that fails. */
const char *buf_cstr(struct buf *b);

#endif
