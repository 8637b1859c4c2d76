/*
 * tests/unit/test_mime_convert.c - what a host without 8BITMIME or BINARYMIME is given.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/err.h"
#include "base/utf8.h"
#include "mime/convert.h"
#include "tests/unit/guard.h"

#include <stdlib.h>

#define COUNT(rows) (sizeof(rows) / sizeof(*(rows)))

/* In pieces of so many octets.  The result of the scan; what came of it in `out`. */
static int convert(struct span in, size_t by, enum mime_convert_to to, bool binary, struct buf *out,
    enum mime_convert_why *why)
{
	struct mime_convert *c;
	int r;

	assert_int_equal(mime_convert_new(to, binary, &c), 0);
	for (struct span rest = in; rest.n; rest = span_skip(rest, by))
		assert_int_equal(
		    mime_convert_scan(c, span_of(rest.p, rest.n < by ? rest.n : by)), 0);
	r = mime_convert_scan_end(c, why);
	if (r == 1) {
		for (struct span rest = in; rest.n; rest = span_skip(rest, by))
			assert_int_equal(
			    mime_convert_feed(c, span_of(rest.p, rest.n < by ? rest.n : by), out),
			    0);
		assert_int_equal(mime_convert_end(c, out), 0);
	}
	mime_convert_free(&c);
	return r;
}

static void check(struct span in, enum mime_convert_to to, bool binary, int want_r,
    struct span want, enum mime_convert_why want_why)
{
	struct guard g;
	struct span guarded = guard_copy(&g, in);
	size_t by[] = { in.n ? in.n : 1, 1, 2, 3, 7 };

	for (size_t i = 0; i < COUNT(by); i++) {
		enum mime_convert_why why = (enum mime_convert_why)0;
		struct buf out, again;
		int r;
		buf_init(&out, 1 << 20);
		buf_init(&again, 1 << 20);
		r = convert(guarded, by[i], to, binary, &out, &why);
		if (r != want_r || why != want_why || (r == 1 && !span_eq(buf_span(&out), want)))
			fail_msg("by %zu: %d why %d of\n%.*s\n->\n%.*s", by[i], r, (int)why,
			    SPAN_FMT(in), SPAN_FMT(buf_span(&out)));
		if (r == 1)
			assert_int_equal(convert(buf_span(&out), 5, to, binary, &again, &why), 0);
		buf_done(&out);
		buf_done(&again);
	}
	guard_free(&g);
}

#define H     "MIME-Version: 1.0\r\n"
#define QP    "Content-Transfer-Encoding: quoted-printable\r\n"
#define B64   "Content-Transfer-Encoding: base64\r\n"
#define MULTI H "Content-Type: multipart/mixed; boundary=b\r\n"

static const struct {
	const char *in, *out; /* NULL: nothing has to be done */
} rows[] = {
	{ "", NULL },
	{ H "\r\nabc\r\n", NULL },
	{ MULTI "\r\n--b\r\n\r\nabc\r\n--b--\r\n", NULL },
	/* a message that says nothing of itself */
	{ "A: b\r\n\r\n\xe9\r\n",
	    "A: b\r\n" H "Content-Type: text/plain; charset=unknown-8bit\r\n" QP "\r\n=E9\r\n" },
	{ H "Content-Type: text/plain\r\nContent-Transfer-Encoding:\r\n 8bit\r\nX: "
	    "y\r\n\r\n\xc3\xa9\r\n",
	    H "Content-Type: text/plain\r\nX: y\r\n" QP "\r\n=C3=A9\r\n" },
	/* lines that fit stay, "=" and blanks at their end cannot */
	{ H "Content-Type: text/plain\r\n\r\nplain a-b\r\n a=b \r\n\t\r\n\xe9 x",
	    H "Content-Type: text/plain\r\n" QP "\r\nplain a-b\r\n a=3Db=20\r\n=09\r\n=E9 x=\r\n" },
	/* soft line ends, and no boundary by chance behind one */
	{ H "Content-Type: text/plain\r\n\r\n\xe9"
	    "3456789012345678901234567890123456789012345678901234567890123456789012345--b\r\n",
	    H "Content-Type: text/plain\r\n" QP "\r\n=E9"
	      "345678901234567890123456789012345678901234567890123456789012345678901234=\r\n5--"
	      "b\r\n" },
	{ H "Content-Type: text/plain\r\n\r\n\xe9"
	    "345678901234567890123456789012345678901234567890123456789012345678901234--b\r\n",
	    H "Content-Type: text/plain\r\n" QP "\r\n=E9"
	      "345678901234567890123456789012345678901234567890123456789012345678901234=\r\n=2D-"
	      "b\r\n" },
	/* what is no text; the line end before a boundary is not its */
	{ MULTI "Content-Transfer-Encoding: 8bit\r\n\r\npre\xe9\r\n--b\r\nContent-Type: "
		"image/png\r\n\r\n\xff\xfe\r\n--b\r\n\r\nabc\r\n--b--\r\nepi\xe9\r\n",
	    MULTI
	    "Content-Transfer-Encoding: 7bit\r\n\r\npre?\r\n--b\r\nContent-Type: image/png\r\n" B64
	    "\r\n//4=\r\n--b\r\n\r\nabc\r\n--b--\r\nepi?\r\n" },
	/* a part without a body, without an end, of nothing but a boundary */
	{ MULTI "\r\n--b\r\nX: y\r\n--b\r\n\r\n--b\r\n--b\r\n\r\n\xe9\r\n",
	    MULTI "\r\n--b\r\nX: y\r\n--b\r\n\r\n--b\r\n--b\r\n" QP "\r\n=E9\r\n" },
	/* almost a boundary; one with blanks behind it */
	{ MULTI "\r\n--b\r\n\r\n--bx\xe9\r\n--\r\n-\r\n--b-\r\n--b  \r\n\r\nz\r\n--b--",
	    MULTI "\r\n--b\r\n" QP
		  "\r\n--bx=E9\r\n--\r\n-\r\n--b-\r\n--b  \r\n\r\nz\r\n--b--\r\n" },
	/* nested, and the inner one's end is missing */
	{ MULTI
	    "\r\n--b\r\nContent-Type: multipart/alternative;\r\n boundary=\"c \\\"\" (x)\r\n\r\n"
	    "--c \"\r\n\r\n\xe9\r\n--b\r\n\r\n\xe9\r\n--b--\r\n",
	    MULTI
	    "\r\n--b\r\nContent-Type: multipart/alternative;\r\n boundary=\"c \\\"\" (x)\r\n\r\n"
	    "--c \"\r\n" QP "\r\n=E9\r\n--b\r\n" QP "\r\n=E9\r\n--b--\r\n" },
	/* messages are converted within, in a digest also without a word */
	{ H "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nA: "
	    "b\r\n\r\n\xe9\r\n",
	    H "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nA: b\r\n" H
	      "Content-Type: text/plain; charset=unknown-8bit\r\n" QP "\r\n=E9\r\n" },
	{ H "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nA: b\r\n" H
	    "Content-Type: image/png\r\n\r\n\xe9\r\n--b--\r\n",
	    H "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nA: b\r\n" H
	      "Content-Type: image/png\r\n" B64 "\r\n6Q==\r\n--b--\r\n" },
	/* RFC 6532: this one may be encoded as a whole */
	{ H "Content-Type: message/global\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: "
	    "\xc3\xa9\r\n\r\nx\r\n",
	    H "Content-Type: message/global\r\n" QP "\r\nSubject: =C3=A9\r\n\r\nx\r\n" },
	/* quoted-printable and base64 that are not quite so */
	{ H QP "\r\na=3D\xe9 b=\r\nc \r\n", H QP "\r\na=3D=E9 b=\r\nc\r\n" },
	{ H B64 "\r\nQU\xe9JD\r\nREVG\r\n", H B64 "\r\nQUJDREVG\r\n" },
	/* sealed, and nothing in it has to be touched; the rest has */
	{ MULTI "\r\n--b\r\nContent-Type: multipart/signed; boundary=c\r\n"
		"Content-Transfer-Encoding: 8bit\r\n\r\n--c\r\nContent-Transfer-Encoding: "
		"8bit\r\n\r\nabc\r\n--c--\r\n--b\r\n\r\n\xe9\r\n--b--\r\n",
	    MULTI "\r\n--b\r\nContent-Type: multipart/signed; boundary=c\r\n"
		  "Content-Transfer-Encoding: 7bit\r\n\r\n--c\r\nContent-Transfer-Encoding: "
		  "8bit\r\n\r\nabc\r\n--c--\r\n--b\r\n" QP "\r\n=E9\r\n--b--\r\n" },
};

static void parts_become_7bit_however_the_message_is_split(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		check(span_str(rows[i].in), MIME_CONVERT_7BIT, false, rows[i].out != NULL,
		    span_str(rows[i].out), (enum mime_convert_why)0);
}

static const struct {
	const char *in;
	enum mime_convert_why why;
} refused[] = {
	{ H "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xe9\r\n--b--\r\n",
	    MIME_CONVERT_SIGNED },
	{ H "Content-Type: multipart/encrypted; boundary=b\r\n\r\n--b\r\nContent-Type: "
	    "application/octet-stream\r\n\r\n\xe9\r\n--b--\r\n",
	    MIME_CONVERT_SIGNED },
	{ H "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\nContent-Type: "
	    "multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\n\xe9\r\n--c--\r\n--b--\r\n",
	    MIME_CONVERT_SIGNED },
	{ H "Content-Type: application/pkcs7-mime\r\n\r\n\xe9\r\n", MIME_CONVERT_SIGNED },
	{ "Subject: \xe9\r\n\r\nabc\r\n", MIME_CONVERT_HEADER },
	{ MULTI "\r\n--b\r\nX: \xe9\r\n\r\nabc\r\n--b--\r\n", MIME_CONVERT_HEADER },
	{ H "Content-Type: message/partial\r\n\r\n\xe9\r\n", MIME_CONVERT_MESSAGE },
	{ H "Content-Transfer-Encoding: x-uuencode\r\n\r\n\xe9\r\n", MIME_CONVERT_ENCODING },
	{ H "Content-Type: multipart/mixed\r\n\r\n\xe9\r\n", MIME_CONVERT_ENCODING },
	{ MULTI B64 "\r\n\xe9\r\n", MIME_CONVERT_ENCODING },
};

static void what_cannot_be_converted_says_why(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(refused); i++)
		check(span_str(refused[i].in), MIME_CONVERT_7BIT, false, -ERR_UNSUPPORTED,
		    span_of(NULL, 0), refused[i].why);
}

static void binary_becomes_8bit_or_7bit(void **state)
{
	const struct span nul = SPAN_LIT(MULTI "\r\n--b\r\nContent-Type: application/x\r\n\r\n"
					       "a\0b\n\r\n--b\r\n\r\n\xe9\r\n--b--\r\n");

	(void)state;
	check(nul, MIME_CONVERT_8BIT, true, 1,
	    SPAN_LIT(MULTI "\r\n--b\r\nContent-Type: application/x\r\n" B64
			   "\r\nYQBiCg==\r\n--b\r\n\r\n\xe9\r\n--b--\r\n"),
	    (enum mime_convert_why)0);
	check(nul, MIME_CONVERT_7BIT, true, 1,
	    SPAN_LIT(MULTI "\r\n--b\r\nContent-Type: application/x\r\n" B64
			   "\r\nYQBiCg==\r\n--b\r\n" QP "\r\n=E9\r\n--b--\r\n"),
	    (enum mime_convert_why)0);
	/* text keeps its bare CR and LF; a file without a line end at its end gets none */
	check(
	    SPAN_LIT(H
		"Content-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\na\nb\rc\r\n"),
	    MIME_CONVERT_8BIT, true, 1,
	    SPAN_LIT(H "Content-Type: text/plain\r\n" QP "\r\na=0Ab=0Dc\r\n"),
	    (enum mime_convert_why)0);
	check(SPAN_LIT(H "Content-Type: application/x\r\n\r\nabc"), MIME_CONVERT_8BIT, true, 1,
	    SPAN_LIT(H "Content-Type: application/x\r\n" B64 "\r\nYWJj\r\n"),
	    (enum mime_convert_why)0);
	check(SPAN_LIT(H "Content-Type: application/x\r\n\r\n\xe9\r\n"), MIME_CONVERT_8BIT, true, 0,
	    span_of(NULL, 0), (enum mime_convert_why)0);
}

static void long_lines_are_broken(void **state)
{
	enum mime_convert_why why = (enum mime_convert_why)0;
	struct buf in, out;

	(void)state;
	buf_init(&in, 1 << 20);
	buf_init(&out, 1 << 20);
	buf_add_str(&in, "X:");
	for (int i = 0; i < 500; i++)
		buf_add_str(&in, " abc");
	buf_add_str(&in, "\r\n" MULTI "\r\n\xe9");
	for (int i = 0; i < 3000; i++)
		buf_add_char(&in, 'x');
	buf_add_str(&in, "\r\n--b\r\n\r\n");
	for (int i = 0; i < 3000; i++)
		buf_add_char(&in, 'y');
	buf_add_str(&in, "\r\n--b--\r\n");
	assert_int_equal(convert(buf_span(&in), 100, MIME_CONVERT_7BIT, false, &out, &why), 1);
	for (struct span rest = buf_span(&out); rest.n;) {
		ptrdiff_t lf = span_find(rest, '\n');
		assert_true(lf > 0 && lf <= 999);
		rest = span_skip(rest, (size_t)lf + 1);
	}
	assert_true(ascii_valid(buf_span(&out)));
	buf_done(&in);
	buf_done(&out);
}

static void there_are_bounds(void **state)
{
	enum mime_convert_why why = (enum mime_convert_why)0;
	struct buf in, out;

	(void)state;
	buf_init(&in, 8 << 20);
	buf_init(&out, 8 << 20);
	for (int deep = 64; deep <= 65; deep++) {
		buf_reset(&in);
		buf_reset(&out);
		for (int i = 0; i < deep; i++)
			buf_add_str(&in, "Content-Type: message/rfc822\r\n\r\n");
		buf_add_str(&in, "\r\n\xe9\r\n");
		why = (enum mime_convert_why)0;
		assert_int_equal(convert(buf_span(&in), 1000, MIME_CONVERT_7BIT, false, &out, &why),
		    deep == 64 ? 1 : -ERR_UNSUPPORTED);
		assert_int_equal(why, deep == 64 ? 0 : MIME_CONVERT_LIMIT);
	}
	buf_reset(&in);
	buf_add_str(&in, MULTI "\r\n");
	for (int i = 0; i < 70000; i++)
		buf_add_str(&in, "--b\r\n\r\n");
	buf_add_str(&in, "\xe9\r\n");
	assert_int_equal(
	    convert(buf_span(&in), 65536, MIME_CONVERT_7BIT, false, &out, &why), -ERR_UNSUPPORTED);
	assert_int_equal(why, MIME_CONVERT_LIMIT);
	buf_reset(&in);
	for (int i = 0; i < 30000; i++)
		buf_add_str(&in, "Name: value\r\n");
	buf_add_str(&in, "\r\nabc\r\n");
	assert_int_equal(convert(buf_span(&in), 65536, MIME_CONVERT_7BIT, false, &out, &why), 0);
	buf_add_str(&in, "\xe9\r\n");
	assert_int_equal(
	    convert(buf_span(&in), 65536, MIME_CONVERT_7BIT, false, &out, &why), -ERR_UNSUPPORTED);
	assert_int_equal(why, MIME_CONVERT_LIMIT);
	buf_done(&in);
	buf_done(&out);
}

static void other_octets_the_second_time_are_an_error(void **state)
{
	enum mime_convert_why why;
	struct mime_convert *c;
	struct buf out;

	(void)state;
	buf_init(&out, 1 << 20);
	assert_int_equal(mime_convert_new(MIME_CONVERT_7BIT, false, &c), 0);
	assert_int_equal(mime_convert_scan(c, SPAN_LIT("\r\n\xe9\r\n")), 0);
	assert_int_equal(mime_convert_scan_end(c, &why), 1);
	assert_int_equal(
	    mime_convert_feed(c, SPAN_LIT(MULTI "\r\n--b\r\n\r\n"), &out), -ERR_CORRUPT);
	mime_convert_free(&c);
	buf_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_become_7bit_however_the_message_is_split),
		cmocka_unit_test(what_cannot_be_converted_says_why),
		cmocka_unit_test(binary_becomes_8bit_or_7bit),
		cmocka_unit_test(long_lines_are_broken),
		cmocka_unit_test(there_are_bounds),
		cmocka_unit_test(other_octets_the_second_time_are_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
