/*
 * fuzz/fuzz_mime.c - headers, whole and in pieces: the same fields.  First octet: seed.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "fuzz/fuzz.h"

#include "base/arena.h"
#include "base/buf.h"
#include "mime/header.h"

static void read_all(struct span s, uint32_t seed, bool pieces, struct buf *log)
{
	struct mime_header_reader r;
	const struct mime_field *f;
	int rc = 0;

	mime_header_init(&r, 100);
	while (s.n && rc != MIME_HEADER_END && rc >= 0) {
		size_t n = pieces ? fuzz_piece(&seed, s.n) : s.n, used;
		rc = mime_header_feed(&r, span_of(s.p, n), &used, &f);
		FUZZ_CHECK(used <= n);
		s = span_skip(s, used);
		if (rc == MIME_HEADER_FIELD) {
			FUZZ_CHECK(
			    f->name.n > 0 && f->name.n <= MIME_NAME_MAX && f->value.n <= 100);
			buf_add_span(log, f->name);
			buf_add_char(log, ':');
			buf_add_span(log, f->value);
			buf_add_char(log, f->cut ? '~' : '.');
			buf_add_char(log, '\n');
		}
	}
	mime_header_done(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span s = span_of(data, size);
	uint8_t seed = fuzz_octet(&s);
	struct mime_summary summary;
	struct buf whole, pieces;
	struct arena arena;

	buf_init(&whole, 1 << 26);
	buf_init(&pieces, 1 << 26);
	arena_init(&arena, 1 << 20);
	read_all(s, seed, false, &whole);
	read_all(s, seed, true, &pieces);
	if (mime_summary_read(s, &arena, &summary) == 0)
		FUZZ_CHECK(summary.message_id.n <= MIME_VALUE_MAX);
	FUZZ_CHECK(mime_header_end(s) <= (ptrdiff_t)s.n);
	FUZZ_CHECK(span_eq(buf_span(&whole), buf_span(&pieces)));
	buf_done(&whole);
	buf_done(&pieces);
	arena_done(&arena);
	return 0;
}
