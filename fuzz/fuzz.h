/*
 * fuzz/fuzz.h - what every fuzz target shares.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_FUZZ_FUZZ_H
#define POSTERN_FUZZ_FUZZ_H

#include "base/span.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An invariant of the target; stays on in every build, unlike assert. */
#define FUZZ_CHECK(what)                                                                           \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what);         \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* Cut the first octet off; 0 when there is none. */
static inline uint8_t fuzz_octet(struct span *s)
{
	uint8_t c = s->n ? s->p[0] : 0;

	*s = span_skip(*s, 1);
	return c;
}

/* Sizes of pieces from a seed: the same seed cuts the same way. */
static inline size_t fuzz_piece(uint32_t *seed, size_t n)
{
	*seed = *seed * 1664525 + 1013904223;
	return n ? 1 + (*seed >> 16) % (n < 64 ? n : 64) : 0;
}

#endif
