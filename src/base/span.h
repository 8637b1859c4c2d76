/*
 * base/span.h - a run of octets that somebody else owns.
 *
 * Everything that a peer sends is a span: a NUL is just an octet, a length is
 * never guessed.  A span does not own its memory; the function that returns
 * one says until when it stays good.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_BASE_SPAN_H
#define POSTERN_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const uint8_t *p;
	size_t n;
};

/* For printf: printf("%.*s", SPAN_FMT(s)).  Stops at a NUL, so for display only. */
#define SPAN_FMT(s) (int)(s).n, (const char *)(s).p

/* A literal, without its NUL. */
#define SPAN_LIT(lit)                                                                              \
	(struct span)                                                                              \
	{                                                                                          \
		(const uint8_t *)("" lit), sizeof(lit) - 1                                         \
	}

static inline struct span span_of(const void *p, size_t n)
{
	return (struct span){ p, n };
}

/* The octets of a C string; NULL gives the empty span. */
static inline struct span span_str(const char *s)
{
	return (struct span){ (const uint8_t *)s, s ? strlen(s) : 0 };
}

static inline bool span_eq(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* ASCII only: SMTP's verbs, domains and header names fold no other letters. */
static inline uint8_t ascii_lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

static inline uint8_t ascii_upper(uint8_t c)
{
	return c >= 'a' && c <= 'z' ? (uint8_t)(c & ~0x20) : c;
}

static inline bool ascii_is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static inline bool ascii_is_alpha(uint8_t c)
{
	c |= 0x20;
	return c >= 'a' && c <= 'z';
}

/* Equal but for the case of ASCII letters. */
bool span_eq_nocase(struct span a, struct span b);

/* Does `s` begin (end) with `part`, but for the case of ASCII letters? */
bool span_starts_nocase(struct span s, struct span part);
bool span_ends_nocase(struct span s, struct span part);

/* The span without the first n octets; n above the length gives the empty span at its end. */
struct span span_skip(struct span s, size_t n);

/* Without leading and trailing spaces and tabs. */
struct span span_trim(struct span s);

/* Place of the first (last) octet c, or -1. */
ptrdiff_t span_find(struct span s, uint8_t c);
ptrdiff_t span_rfind(struct span s, uint8_t c);

/*
 * A decimal number that fills the whole span, without sign.
 * Returns 0, -ERR_SYNTAX (empty, or not a digit) or -ERR_RANGE (above max); *v_r only on success.
 */
int span_u64(struct span s, uint64_t max, uint64_t *v_r);

#endif
