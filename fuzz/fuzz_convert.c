/*
 * fuzz/fuzz_convert.c - what is converted is 7bit, in lines that fit, the same by any split, and
 * needs no second conversion.  First octet: seed and options.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "fuzz/fuzz.h"

#include "base/buf.h"
#include "base/err.h"
#include "mime/convert.h"

static int convert(struct span in, uint32_t seed, bool pieces, enum mime_convert_to to, bool binary,
    struct buf *out)
{
	enum mime_convert_why why = (enum mime_convert_why)0;
	struct mime_convert *c;
	int r;

	if (mime_convert_new(to, binary, &c) < 0)
		return -ERR_NOMEM;
	for (struct span s = in; s.n;) {
		size_t n = pieces ? fuzz_piece(&seed, s.n) : s.n;
		FUZZ_CHECK(mime_convert_scan(c, span_of(s.p, n)) == 0);
		s = span_skip(s, n);
	}
	r = mime_convert_scan_end(c, &why);
	FUZZ_CHECK(r != -ERR_UNSUPPORTED || why != 0);
	for (struct span s = in; r == 1 && s.n;) {
		size_t n = pieces ? fuzz_piece(&seed, s.n) : s.n;
		FUZZ_CHECK(mime_convert_feed(c, span_of(s.p, n), out) == 0);
		s = span_skip(s, n);
	}
	if (r == 1)
		FUZZ_CHECK(mime_convert_end(c, out) == 0);
	mime_convert_free(&c);
	return r;
}

static void check_fits(struct span s, bool seven)
{
	size_t column = 0;

	for (size_t i = 0; i < s.n; i++) {
		FUZZ_CHECK(s.p[i] != 0 && (!seven || s.p[i] < 0x80));
		column = s.p[i] == '\n' ? 0 : column + 1;
		FUZZ_CHECK(column <= 999); /* 998 and the CR */
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span s = span_of(data, size);
	uint8_t seed = fuzz_octet(&s);
	bool binary = seed & 1;
	enum mime_convert_to to = seed & 2 ? MIME_CONVERT_8BIT : MIME_CONVERT_7BIT;
	struct buf whole, pieces, again;
	int r;

	buf_init(&whole, 1 << 26);
	buf_init(&pieces, 1 << 26);
	buf_init(&again, 1 << 26);
	r = convert(s, seed, false, to, binary, &whole);
	FUZZ_CHECK(r == convert(s, seed, true, to, binary, &pieces));
	FUZZ_CHECK(span_eq(buf_span(&whole), buf_span(&pieces)));
	if (r == 1) {
		check_fits(buf_span(&whole), to == MIME_CONVERT_7BIT);
		FUZZ_CHECK(convert(buf_span(&whole), seed, false, to, binary, &again) == 0);
	}
	buf_done(&whole);
	buf_done(&pieces);
	buf_done(&again);
	return 0;
}
