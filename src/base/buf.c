/*
 * base/buf.c - see base/buf.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/buf.h"
#include "base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_init(struct buf *b, size_t max_octets)
{
	*b = (struct buf){ .max = max_octets };
}

void buf_done(struct buf *b)
{
	free(b->data);
	buf_init(b, b->max);
}

void buf_reset(struct buf *b)
{
	b->start = b->end = 0;
	b->failed = false;
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
	size_t len = buf_len(b), cap;
	uint8_t *data;

	if (b->failed || n > b->max || len > b->max - n) {
		b->failed = true;
		return NULL;
	}
	if (b->data && b->cap - b->end >= n)
		return b->data + b->end;
	if (b->start && b->cap - len >= n) {
		memmove(b->data, b->data + b->start, len);
		b->start = 0;
		b->end = len;
		return b->data + b->end;
	}
	cap = b->cap ? b->cap : 256;
	while (cap < len + n)
		cap *= 2;
	data = malloc(cap);
	if (!data) {
		b->failed = true;
		return NULL;
	}
	if (len)
		memcpy(data, b->data + b->start, len);
	free(b->data);
	b->data = data;
	b->cap = cap;
	b->start = 0;
	b->end = len;
	return b->data + b->end;
}

void buf_commit(struct buf *b, size_t n)
{
	assert(n <= b->cap - b->end);
	b->end += n;
}

int buf_add(struct buf *b, const void *p, size_t n)
{
	uint8_t *to = buf_reserve(b, n);

	if (!to)
		return -ERR_NOMEM;
	if (n)
		memcpy(to, p, n);
	b->end += n;
	return 0;
}

int buf_add_span(struct buf *b, struct span s)
{
	return buf_add(b, s.p, s.n);
}

int buf_add_str(struct buf *b, const char *s)
{
	return buf_add(b, s, strlen(s));
}

int buf_add_char(struct buf *b, char c)
{
	return buf_add(b, &c, 1);
}

int buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;
	uint8_t *to;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || !(to = buf_reserve(b, (size_t)n + 1))) {
		b->failed = true;
		return -ERR_NOMEM;
	}
	va_start(ap, fmt);
	vsnprintf((char *)to, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->end += (size_t)n;
	return 0;
}

void buf_consume(struct buf *b, size_t n)
{
	assert(n <= buf_len(b));
	b->start += n;
	if (b->start == b->end)
		b->start = b->end = 0;
}

void buf_truncate(struct buf *b, size_t n)
{
	assert(n <= buf_len(b));
	b->end = b->start + n;
}

const char *buf_cstr(struct buf *b)
{
	if (!buf_reserve(b, 1))
		return NULL;
	b->data[b->end] = '\0';
	return (const char *)b->data + b->start;
}
