/*
 * base/span.c - see base/span.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/span.h"
#include "base/err.h"

bool span_eq_nocase(struct span a, struct span b)
{
	return a.n == b.n && span_starts_nocase(a, b);
}

bool span_starts_nocase(struct span s, struct span part)
{
	if (part.n > s.n)
		return false;
	for (size_t i = 0; i < part.n; i++)
		if (ascii_lower(s.p[i]) != ascii_lower(part.p[i]))
			return false;
	return true;
}

bool span_ends_nocase(struct span s, struct span part)
{
	return part.n <= s.n && span_starts_nocase(span_skip(s, s.n - part.n), part);
}

struct span span_skip(struct span s, size_t n)
{
	if (n > s.n)
		n = s.n;
	return (struct span){ n ? s.p + n : s.p, s.n - n };
}

struct span span_trim(struct span s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = span_skip(s, 1);
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

ptrdiff_t span_find(struct span s, uint8_t c)
{
	const uint8_t *hit = s.n ? memchr(s.p, c, s.n) : NULL;
	return hit ? hit - s.p : -1;
}

ptrdiff_t span_rfind(struct span s, uint8_t c)
{
	for (size_t i = s.n; i > 0; i--)
		if (s.p[i - 1] == c)
			return (ptrdiff_t)i - 1;
	return -1;
}

int span_u64(struct span s, uint64_t max, uint64_t *v_r)
{
	uint64_t v = 0;

	if (s.n == 0)
		return -ERR_SYNTAX;
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_is_digit(s.p[i]))
			return -ERR_SYNTAX;
	for (size_t i = 0; i < s.n; i++) {
		uint64_t digit = s.p[i] - (uint64_t)'0';
		if (v > (max - digit) / 10 || digit > max)
			return -ERR_RANGE;
		v = v * 10 + digit;
	}
	*v_r = v;
	return 0;
}
