/*
 * envelope/private.h - numbers and spans of the two records.
 *
 * Numbers are written seven bits at a time, low ones first, the eighth bit says
 * that more follow; a span is its length and its octets.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_ENVELOPE_PRIVATE_H
#define POSTERN_ENVELOPE_PRIVATE_H

#include "envelope/envelope.h"
#include "base/err.h"

/* First octets of the records.  A record has the lowest version that holds what is in it, so that
 * an older program reads on for as long as it can, and says why where it cannot. */
#define ENVELOPE_MAGIC         'E'
#define STATE_MAGIC            'S'
#define ENVELOPE_VERSION       1
#define ENVELOPE_VERSION_FLAGS 2 /* FLAG_POSTMASTER */
#define STATE_VERSION          1
#define STATE_VERSION_FLAGS    2 /* STATE_DELAY_TOLD */

/* Of a recipient in the state record. */
enum {
	STATE_HAS_ATTEMPT = 1,
	STATE_SAME_ATTEMPT = 2,
	STATE_REMOTE = 4,
	STATE_FLAGS = 7,
	STATE_DELAY_TOLD = 8, /* from STATE_VERSION_FLAGS on */
	STATE_FLAGS_2 = 15
};

/* What is left to read; `bad` stays set, and every later read gives nothing. */
struct reader {
	const uint8_t *p;
	size_t n;
	bool bad;
};

static inline void put_number(struct buf *out, uint64_t v)
{
	uint8_t octets[10];
	size_t n = 0;

	do {
		octets[n] = (uint8_t)(v & 127);
		v >>= 7;
		if (v)
			octets[n] |= 128;
		n++;
	} while (v);
	buf_add(out, octets, n);
}

static inline void put_span(struct buf *out, struct span s)
{
	put_number(out, s.n);
	if (s.n > 0)
		buf_add_span(out, s);
}

/* A number of at most max; the shortest form only, so that a record has one spelling. */
static inline uint64_t get_number(struct reader *r, uint64_t max)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 70 && r->n > 0 && !r->bad; shift += 7) {
		uint8_t c = *r->p++;
		r->n--;
		if ((shift == 63 && c > 1) || (c == 0 && shift > 0))
			break;
		v |= (uint64_t)(c & 127) << shift;
		if (!(c & 128)) {
			if (v > max)
				break;
			return v;
		}
	}
	r->bad = true;
	return 0;
}

static inline struct span get_span(struct reader *r)
{
	struct span s = { 0 };
	uint64_t n = get_number(r, r->n);

	if (!r->bad && n > r->n)
		r->bad = true;
	if (r->bad)
		return s;
	s = (struct span){ r->p, (size_t)n };
	r->p += n;
	r->n -= (size_t)n;
	return s;
}

#endif
