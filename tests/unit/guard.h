/*
 * tests/unit/guard.h - a copy of octets that ends at a page nobody may touch.
 *
 * A parser that reads one octet too many stops the test at once, with any compiler.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_TESTS_UNIT_GUARD_H
#define POSTERN_TESTS_UNIT_GUARD_H

#include "base/span.h"

#include <assert.h>
#include <sys/mman.h>
#include <unistd.h>

struct guard {
	uint8_t *base;
	size_t pages_octets; /* readable */
	size_t page;
};

static inline struct span guard_copy(struct guard *g, struct span s)
{
	g->page = (size_t)sysconf(_SC_PAGESIZE);
	g->pages_octets = (s.n / g->page + 1) * g->page;
	g->base = mmap(NULL, g->pages_octets + g->page, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(g->base != MAP_FAILED);
	assert(mprotect(g->base + g->pages_octets, g->page, PROT_NONE) == 0);
	if (s.n)
		memcpy(g->base + g->pages_octets - s.n, s.p, s.n);
	return span_of(g->base + g->pages_octets - s.n, s.n);
}

static inline void guard_free(struct guard *g)
{
	munmap(g->base, g->pages_octets + g->page);
}

#endif
