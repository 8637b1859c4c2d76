/*
 * base/utf8.c - see base/utf8.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/utf8.h"

size_t utf8_char_octets(struct span s)
{
	uint8_t lo = 0x80, hi = 0xbf;
	size_t len;

	if (s.n == 0)
		return 0;
	if (s.p[0] < 0x80)
		return 1;
	if (s.p[0] >= 0xc2 && s.p[0] <= 0xdf)
		len = 2;
	else if (s.p[0] >= 0xe0 && s.p[0] <= 0xef)
		len = 3;
	else if (s.p[0] >= 0xf0 && s.p[0] <= 0xf4)
		len = 4;
	else
		return 0;
	if (s.n < len)
		return 0;
	/* The second octet has a narrower range after these four, RFC 3629 section 4. */
	if (s.p[0] == 0xe0)
		lo = 0xa0;
	else if (s.p[0] == 0xed)
		hi = 0x9f;
	else if (s.p[0] == 0xf0)
		lo = 0x90;
	else if (s.p[0] == 0xf4)
		hi = 0x8f;
	if (s.p[1] < lo || s.p[1] > hi)
		return 0;
	for (size_t i = 2; i < len; i++)
		if ((s.p[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

bool utf8_valid(struct span s)
{
	while (s.n > 0) {
		size_t len = utf8_char_octets(s);
		if (len == 0)
			return false;
		s = span_skip(s, len);
	}
	return true;
}

bool ascii_valid(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] >= 0x80)
			return false;
	return true;
}
