/*
 * base/random.c - see base/random.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/random.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

void random_fill(void *p, size_t n)
{
	uint8_t *to = p;

	while (n > 0) {
		ssize_t got = getrandom(to, n, 0);
		if (got < 0 && errno != EINTR)
			abort();
		if (got > 0) {
			to += got;
			n -= (size_t)got;
		}
	}
}

uint64_t random_below(uint64_t below)
{
	uint64_t v, top;

	if (below < 2)
		return 0;
	top = UINT64_MAX - UINT64_MAX % below; /* what lies above would favour small numbers */
	do
		random_fill(&v, sizeof(v));
	while (v >= top);
	return v % below;
}
