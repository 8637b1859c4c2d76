/*
 * tests/unit/test_submission.c - files of the submission directory: written, read, refused; line
 * ends.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/err.h"
#include "envelope/submission.h"

static int parse(const char *text, struct submission *s, struct arena *arena, const char **why)
{
	size_t body;

	arena_init(arena, 1u << 20);
	return submission_parse(span_str(text), arena, s, &body, why);
}

static void what_was_written_is_read(void **state)
{
	struct span rcpts[] = { SPAN_LIT("bob@example.org"), SPAN_LIT("\"a b\"@example.org") };
	struct submission s = { .sender = SPAN_LIT("ann@example.org"),
		.envid = SPAN_LIT("x42"),
		.ret = ENVELOPE_RET_HDRS,
		.body = ENVELOPE_BODY_8BITMIME,
		.notify = RCPT_NOTIFY_FAILURE | RCPT_NOTIFY_DELAY,
		.rcpts = rcpts,
		.rcpt_count = 2 };
	struct submission t;
	struct arena arena;
	struct buf out;
	const char *why;
	size_t body;

	(void)state;
	buf_init(&out, 4096);
	arena_init(&arena, 65536);
	assert_int_equal(submission_write(&s, &out), 0);
	buf_add_str(&out, "Subject: x\n");
	assert_int_equal(submission_parse(buf_span(&out), &arena, &t, &body, &why), 0);
	assert_true(span_eq(t.sender, s.sender));
	assert_true(span_eq(t.envid, s.envid));
	assert_int_equal(t.ret, s.ret);
	assert_int_equal(t.body, s.body);
	assert_int_equal(t.notify, s.notify);
	assert_false(t.smtputf8);
	assert_int_equal(t.rcpt_count, 2);
	assert_true(span_eq(t.rcpts[1], rcpts[1]));
	assert_true(span_eq(span_skip(buf_span(&out), body), SPAN_LIT("Subject: x\n")));
	s.sender = SPAN_LIT("a\nrecipient b@c.test");
	assert_int_equal(submission_write(&s, &out), -ERR_SYNTAX);
	buf_done(&out);
	arena_done(&arena);
}

static void what_is_wrong_is_said(void **state)
{
	static const struct {
		const char *text;
		int err;
		const char *why;
	} rows[] = {
		{ "", -ERR_SYNTAX, "no empty line behind the envelope" },
		{ "\n", -ERR_SYNTAX, "not a submission" },
		{ "postern-submission 2\n\n", -ERR_VERSION,
		    "a submission in the form of another version" },
		{ "postern-submission 1\n\n", -ERR_SYNTAX, "no sender" },
		{ "postern-submission 1\nsender \n\n", -ERR_SYNTAX, "no recipient" },
		{ "postern-submission 1\nsender \nrecipient a@b.test\n", -ERR_SYNTAX,
		    "no empty line behind the envelope" },
		{ "postern-submission 1\nsender \nsender \n\n", -ERR_SYNTAX, "two senders" },
		{ "postern-submission 1\nsender \nrecipient \n\n", -ERR_SYNTAX,
		    "a recipient is not an address" },
		{ "postern-submission 1\nsender a b\n\n", -ERR_SYNTAX,
		    "the sender is not an address" },
		{ "postern-submission 1\nsender \nother x\n\n", -ERR_SYNTAX,
		    "a line that begins with no known word" },
		{ "postern-submission 1\nsender \nnotify never,delay\n\n", -ERR_SYNTAX,
		    "notify is not never, or some of success,failure,delay" },
		{ "postern-submission 1\nsender \nenvid a b\n\n", -ERR_SYNTAX,
		    "the envid has other characters than it may" },
		{ "postern-submission 1\nsender \nbody 9bit\n\n", -ERR_SYNTAX,
		    "body is not 7bit, 8bit or binary" },
		{ "postern-submission 1\nsender \nrecipient \xc3\xa4@b.test\n\n", 0, NULL },
	};
	struct submission s;
	struct arena arena;
	const char *why;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(parse(rows[i].text, &s, &arena, &why), rows[i].err);
		if (rows[i].why)
			assert_string_equal(why, rows[i].why);
		else
			assert_true(s.smtputf8);
		arena_done(&arena);
	}
}

static void line_ends_become_whole_however_they_are_cut(void **state)
{
	const struct span in = SPAN_LIT("a\nb\r\nc\rd\r\r\n\n.\r\n");
	const struct span want = SPAN_LIT("a\r\nb\r\nc\r\nd\r\n\r\n\r\n.\r\n");

	(void)state;
	for (size_t step = 1; step <= in.n; step++) {
		struct buf out;
		bool cr = false;
		buf_init(&out, 4096);
		for (size_t at = 0; at < in.n; at += step)
			assert_int_equal(
			    submission_line_ends(
				span_of(in.p + at, in.n - at < step ? in.n - at : step), &cr, &out),
			    0);
		assert_true(span_eq(buf_span(&out), want));
		buf_done(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_written_is_read),
		cmocka_unit_test(what_is_wrong_is_said),
		cmocka_unit_test(line_ends_become_whole_however_they_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
