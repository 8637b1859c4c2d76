/*
 * smtp/xtext.c - xtext of RFC 3461 4: "+HH" for what a parameter cannot hold.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/buf.h"
#include "base/err.h"
#include "smtp/address.h"

static int hex_digit(uint8_t c)
{
	if (ascii_is_digit(c))
		return c - '0';
	c = ascii_upper(c); /* RFC 3461 has upper case only; others send lower case as well */
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int smtp_xtext_decode(struct span s, struct arena *arena, struct span *out_r)
{
	uint8_t *out = arena_alloc(arena, s.n + 1);
	size_t n = 0;

	if (!out)
		return -ERR_NOMEM;
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];
		if (c == '+') {
			int high = i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
			int low = i + 2 < s.n ? hex_digit(s.p[i + 2]) : -1;
			if (high < 0 || low < 0)
				return -ERR_SYNTAX;
			c = (uint8_t)(high << 4 | low);
			i += 2;
		} else if (c < 33 || c > 126) {
			return -ERR_SYNTAX;
		}
		out[n++] = c;
	}
	out[n] = '\0';
	*out_r = span_of(out, n);
	return 0;
}

int smtp_xtext_encode(struct span s, struct buf *out)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];
		if (c > 32 && c < 127 && c != '+' && c != '=') {
			buf_add_char(out, (char)c);
		} else {
			char code[3] = { '+', hex[c >> 4], hex[c & 15] };
			buf_add(out, code, 3);
		}
	}
	return out->failed ? -ERR_NOMEM : 0;
}
