/*
 * tests/unit/test_deliver_auth.c - our side of AUTH with a relay host.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/err.h"
#include "deliver/auth.h"

static void the_best_mechanism_of_those_offered_is_chosen(void **state)
{
	static const struct {
		const char *offered, *chosen; /* NULL: none will do */
	} rows[] = {
		{ "PLAIN LOGIN", "PLAIN" },
		{ "login plain", "PLAIN" },
		{ "CRAM-MD5 LOGIN", "LOGIN" },
		{ "  LOGIN  ", "LOGIN" },
		{ "XPLAIN PLAINX", NULL },
		{ "", NULL },
	};
	struct deliver_auth x;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		int r = deliver_auth_choose(&x, span_str(rows[i].offered), "u", "p");
		assert_int_equal(r, rows[i].chosen ? 0 : -ERR_UNSUPPORTED);
		assert_string_equal(deliver_auth_name(&x), rows[i].chosen ? rows[i].chosen : "");
	}
}

static void plain_says_all_at_once_and_nothing_more(void **state)
{
	struct deliver_auth x;
	struct buf out;

	(void)state;
	buf_init(&out, 1000);
	deliver_auth_choose(&x, SPAN_LIT("PLAIN"), "user", "pass word");
	assert_int_equal(deliver_auth_initial(&x, &out), 1);
	assert_true(span_eq(buf_span(&out), SPAN_LIT("\0user\0pass word")));
	assert_int_equal(deliver_auth_respond(&x, SPAN_LIT("again?"), &out), -ERR_AUTH);
	buf_done(&out);
	buf_init(&out, 5);
	assert_int_equal(deliver_auth_initial(&x, &out), -ERR_NOMEM);
	buf_done(&out);
}

static void login_answers_two_questions_whatever_their_words(void **state)
{
	struct deliver_auth x;
	struct buf out;

	(void)state;
	buf_init(&out, 1000);
	deliver_auth_choose(&x, SPAN_LIT("LOGIN"), "user", "pass");
	assert_int_equal(deliver_auth_initial(&x, &out), 0);
	assert_int_equal(buf_len(&out), 0);
	assert_int_equal(deliver_auth_respond(&x, SPAN_LIT("Benutzer:"), &out), 0);
	assert_true(span_eq(buf_span(&out), SPAN_LIT("user")));
	buf_reset(&out);
	assert_int_equal(deliver_auth_respond(&x, SPAN_LIT(""), &out), 0);
	assert_true(span_eq(buf_span(&out), SPAN_LIT("pass")));
	assert_int_equal(deliver_auth_respond(&x, SPAN_LIT("and?"), &out), -ERR_AUTH);
	buf_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_best_mechanism_of_those_offered_is_chosen),
		cmocka_unit_test(plain_says_all_at_once_and_nothing_more),
		cmocka_unit_test(login_answers_two_questions_whatever_their_words),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
