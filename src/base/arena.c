/*
 * base/arena.c - see base/arena.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* With malloc's own head this stays within one 4 KiB page. */
#define ARENA_BLOCK_OCTETS (4096 - 64)

struct arena_block {
	struct arena_block *older;
	size_t size; /* octets behind this head */
	size_t used;
	alignas(max_align_t) uint8_t data[];
};

void arena_init(struct arena *a, size_t max)
{
	*a = (struct arena){ .max = max };
}

void arena_done(struct arena *a)
{
	struct arena_block *b = a->head;

	while (b) {
		struct arena_block *older = b->older;
		free(b);
		b = older;
	}
	arena_init(a, a->max);
}

void arena_reset(struct arena *a)
{
	struct arena_block *keep = NULL;

	for (struct arena_block *b = a->head, *older; b; b = older) {
		older = b->older;
		if (!keep && b->size == ARENA_BLOCK_OCTETS)
			keep = b;
		else
			free(b);
	}
	a->head = keep;
	a->used = 0;
	if (keep) {
		keep->older = NULL;
		keep->used = 0;
		a->used = sizeof(*keep) + keep->size;
	}
}

static struct arena_block *grow(struct arena *a, size_t n)
{
	size_t size = n > ARENA_BLOCK_OCTETS ? n : ARENA_BLOCK_OCTETS;
	struct arena_block *b;

	if (size > a->max || a->used + sizeof(*b) + size > a->max)
		return NULL;
	b = malloc(sizeof(*b) + size);
	if (!b)
		return NULL;
	b->size = size;
	b->used = 0;
	b->older = a->head;
	a->head = b;
	a->used += sizeof(*b) + size;
	return b;
}

void *arena_alloc(struct arena *a, size_t n)
{
	struct arena_block *b = a->head;
	size_t need;

	if (n > SIZE_MAX / 2)
		return NULL;
	need = (n + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
	if (!b || b->size - b->used < need) {
		b = grow(a, need);
		if (!b)
			return NULL;
	}
	b->used += need;
	return b->data + b->used - need;
}

void *arena_zalloc(struct arena *a, size_t n)
{
	void *p = arena_alloc(a, n);

	if (p)
		memset(p, 0, n);
	return p;
}

struct span arena_span(struct arena *a, struct span s)
{
	return (struct span){ (const uint8_t *)arena_str(a, s), s.n };
}

char *arena_str(struct arena *a, struct span s)
{
	char *p = s.n == SIZE_MAX ? NULL : arena_alloc(a, s.n + 1);

	if (!p)
		return NULL;
	if (s.n)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	int n;
	char *p;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0)
		return NULL;
	p = arena_alloc(a, (size_t)n + 1);
	if (!p)
		return NULL;
	va_start(ap, fmt);
	vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return p;
}
