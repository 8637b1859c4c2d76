/*
 * tests/unit/test_mime.c - src/mime: the header reader.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/arena.h"
#include "base/err.h"
#include "mime/header.h"
#include "tests/unit/guard.h"

#define COUNT(rows) (sizeof(rows) / sizeof(*(rows)))

/* "name=value;" for each field, "|" at the end of the header, the rest of the message behind it */
static void read_by(struct span in, size_t by, size_t value_max, struct buf *log)
{
	struct mime_header_reader r;
	const struct mime_field *f;
	int rc = MIME_HEADER_MORE;

	mime_header_init(&r, value_max);
	while (in.n && rc != MIME_HEADER_END) {
		struct span part = span_of(in.p, in.n < by ? in.n : by);
		size_t used;
		rc = mime_header_feed(&r, part, &used, &f);
		assert_true(rc >= 0 && used <= part.n);
		in = span_skip(in, used);
		if (rc == MIME_HEADER_FIELD) {
			buf_add_span(log, f->name);
			buf_add_char(log, f->cut ? '~' : '=');
			buf_add_span(log, f->value);
			buf_add_char(log, ';');
		}
	}
	if (rc != MIME_HEADER_END && mime_header_finish(&r, &f) == MIME_HEADER_FIELD) {
		buf_add_span(log, f->name);
		buf_add_char(log, f->cut ? '~' : '=');
		buf_add_span(log, f->value);
		buf_add_char(log, ';');
	}
	buf_add_char(log, '|');
	buf_add_span(log, in);
	mime_header_done(&r);
}

static const struct {
	const char *in, *out;
} rows[] = {
	{ "A: b\r\n\r\nbody", "A=b;|body" },
	{ "A: b\n\nbody", "A=b;|body" },
	{ "A: b\r\n c\r\n\td\r\nE:f\r\n\r\n", "A=b c\td;E=f;|" },
	{ "A : b\r\n\r\n", "A=b;|" },
	{ "A:\r\n b\r\n\r\n", "A=b;|" },
	{ "A:\r\nB:\r\n\r\n", "A=;B=;|" },
	{ "\r\nbody", "|body" },
	{ "A: b\r\n", "A=b;|" },
	{ "A: b", "A=b;|" },
	{ "A: b\r\n \r\n c\r\n\r\n", "A=b  c;|" },
	{ "", "|" },
};

static void fields_are_read_however_they_are_split(void **state)
{
	struct buf log;

	(void)state;
	buf_init(&log, 4096);
	for (size_t i = 0; i < COUNT(rows); i++) {
		for (size_t by = 1; by < 30; by++) {
			struct guard g;
			struct span in = guard_copy(&g, span_str(rows[i].in));
			buf_reset(&log);
			read_by(in, by, 0, &log);
			if (strcmp(buf_cstr(&log), rows[i].out) != 0)
				fail_msg("row %zu by %zu: %s", i, by, buf_cstr(&log));
			guard_free(&g);
		}
	}
	buf_done(&log);
}

static void a_line_that_is_no_field_is_body(void **state)
{
	struct buf log;

	(void)state;
	buf_init(&log, 4096);
	read_by(SPAN_LIT("A: b\r\nno field\r\nC: d\r\n\r\n"), 100, 0, &log);
	assert_string_equal(buf_cstr(&log), "A=b;|no field\r\nC: d\r\n\r\n");
	buf_reset(&log);
	read_by(SPAN_LIT(": b\r\n"), 100, 0, &log);
	assert_string_equal(buf_cstr(&log), "|: b\r\n");
	buf_done(&log);
}

static void values_are_cut_at_their_bound(void **state)
{
	struct buf log;

	(void)state;
	buf_init(&log, 4096);
	for (size_t by = 1; by < 30; by += 7) {
		buf_reset(&log);
		read_by(SPAN_LIT("A: 123456789\r\n x\r\nB: 1234\r\n\r\n"), by, 6, &log);
		assert_string_equal(buf_cstr(&log), "A~12345;B=1234;|");
	}
	buf_done(&log);
}

static void there_is_an_end_to_fields(void **state)
{
	struct mime_header_reader r;
	const struct mime_field *f;
	const struct span one = SPAN_LIT("A:b\r\n");
	size_t used, n = 0;
	int rc = 0;

	(void)state;
	mime_header_init(&r, 0);
	while (rc >= 0 && n++ <= 2 * MIME_FIELDS_MAX + 4)
		for (struct span in = one; in.n && rc >= 0; in = span_skip(in, used))
			rc = mime_header_feed(&r, in, &used, &f);
	assert_int_equal(rc, -ERR_LIMIT);
	assert_true(n <= MIME_FIELDS_MAX + 2);
	mime_header_done(&r);
}

static void the_body_begins_behind_the_first_empty_line(void **state)
{
	(void)state;
	assert_int_equal(mime_header_end(SPAN_LIT("A: b\r\n\r\nc")), 8);
	assert_int_equal(mime_header_end(SPAN_LIT("A: b\n\nc")), 6);
	assert_int_equal(mime_header_end(SPAN_LIT("\r\nc")), 2);
	assert_int_equal(mime_header_end(SPAN_LIT("\nc")), 1);
	assert_int_equal(mime_header_end(SPAN_LIT("A: b\r\n")), -1);
	assert_int_equal(mime_header_end(SPAN_LIT("A: b\r\n\r")), -1);
	assert_int_equal(mime_header_end(SPAN_LIT("")), -1);
}

static void a_summary_knows_ids_hops_and_doubles(void **state)
{
	struct mime_summary s;
	struct arena arena;

	(void)state;
	arena_init(&arena, 65536);
	assert_int_equal(
	    mime_summary_read(SPAN_LIT("Received: a\r\nreceived: b\r\nMessage-Id:\r\n < x@y >\r\n"
				       "Date: Mon\r\nFrom: a\r\nFROM: b\r\n\r\nFrom: c\r\n"),
		&arena, &s),
	    0);
	assert_int_equal(s.received, 2);
	assert_true(span_eq(s.message_id, SPAN_LIT("x@y")));
	assert_true(span_eq(s.date, SPAN_LIT("Mon")));
	assert_string_equal(mime_once_name(1), "From");
	assert_int_equal(s.once[1], 2);
	assert_int_equal(s.once[0], 1);
	assert_true(s.whole);
	/* the first octets of a longer header: half a line is not believed */
	assert_int_equal(
	    mime_summary_read(SPAN_LIT("Date: Mon\r\nMessage-ID: <x@"), &arena, &s), 0);
	assert_false(s.whole);
	assert_int_equal(s.message_id.n, 0);
	assert_true(span_eq(s.date, SPAN_LIT("Mon")));
	assert_int_equal(mime_summary_read(SPAN_LIT("Date: Mon\r\n"), &arena, &s), 0);
	assert_true(span_eq(s.date, SPAN_LIT("Mon")));
	arena_done(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_read_however_they_are_split),
		cmocka_unit_test(a_line_that_is_no_field_is_body),
		cmocka_unit_test(values_are_cut_at_their_bound),
		cmocka_unit_test(there_is_an_end_to_fields),
		cmocka_unit_test(the_body_begins_behind_the_first_empty_line),
		cmocka_unit_test(a_summary_knows_ids_hops_and_doubles),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
