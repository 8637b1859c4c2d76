/*
 * base/base64.c - see base/base64.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/base64.h"
#include "base/err.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int base64_encode(struct span s, struct buf *out)
{
	char *to = (char *)buf_reserve(out, base64_length(s.n));
	size_t at = 0;

	if (!to)
		return -ERR_NOMEM;
	for (size_t i = 0; i < s.n; i += 3) {
		size_t left = s.n - i;
		uint32_t group = (uint32_t)s.p[i] << 16;
		if (left > 1)
			group |= (uint32_t)s.p[i + 1] << 8;
		if (left > 2)
			group |= s.p[i + 2];
		to[at++] = alphabet[group >> 18];
		to[at++] = alphabet[group >> 12 & 63];
		to[at++] = left > 1 ? alphabet[group >> 6 & 63] : '=';
		to[at++] = left > 2 ? alphabet[group & 63] : '=';
	}
	buf_commit(out, at);
	return 0;
}

static int value_of(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (ascii_is_digit(c))
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(struct span text, uint8_t *to, size_t *n_r)
{
	size_t pad = 0, at = 0;

	if (text.n % 4)
		return -ERR_SYNTAX;
	while (pad < 2 && pad < text.n && text.p[text.n - 1 - pad] == '=')
		pad++;
	for (size_t i = 0; i < text.n; i += 4) {
		size_t digits = i + 4 == text.n ? 4 - pad : 4;
		uint32_t group = 0;
		for (size_t k = 0; k < 4; k++) {
			int v = k < digits ? value_of(text.p[i + k]) : 0;
			if (v < 0)
				return -ERR_SYNTAX;
			group = group << 6 | (uint32_t)v;
		}
		if ((digits == 3 && group & 0xff) || (digits == 2 && group & 0xffff))
			return -ERR_SYNTAX;
		to[at++] = (uint8_t)(group >> 16);
		if (digits > 2)
			to[at++] = (uint8_t)(group >> 8);
		if (digits > 3)
			to[at++] = (uint8_t)group;
	}
	*n_r = at;
	return 0;
}
