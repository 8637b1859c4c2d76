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
		{ "PLAIN SCRAM-SHA-1 SCRAM-SHA-256-PLUS SCRAM-SHA-256", "SCRAM-SHA-256" },
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

static void scram_hashes_no_longer_than_it_should_for_anybody(void **state)
{
	static const struct {
		const char *iterations;
		int result;
	} rows[] = { { "i=4096", 0 }, { "i=50001", -ERR_AUTH }, { "i=4294967296", -ERR_AUTH },
		{ "i=-1", -ERR_AUTH }, { "i=", -ERR_AUTH }, { "x=4096", -ERR_AUTH } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct deliver_auth x;
		struct buf out;
		char challenge[200];
		struct span nonce;
		buf_init(&out, 1000);
		assert_int_equal(
		    deliver_auth_choose(&x, SPAN_LIT("SCRAM-SHA-256"), "user", "pencil"), 0);
		assert_int_equal(deliver_auth_initial(&x, &out), 1);
		/* "n,,n=user,r=NONCE": the server's nonce begins with ours */
		nonce = span_skip(buf_span(&out), (size_t)span_rfind(buf_span(&out), '=') + 1);
		snprintf(challenge, sizeof(challenge), "r=%.*sserver,s=W22ZaJ0SNY7soEsUEjb6gQ==,%s",
		    SPAN_FMT(nonce), rows[i].iterations);
		buf_reset(&out);
		assert_int_equal(
		    deliver_auth_respond(&x, span_str(challenge), &out), rows[i].result);
		/* a server that cannot prove itself is not believed */
		if (rows[i].result == 0)
			assert_int_equal(
			    deliver_auth_respond(&x, SPAN_LIT("v=AAAA"), &out), -ERR_AUTH);
		deliver_auth_done(&x);
		buf_done(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_best_mechanism_of_those_offered_is_chosen),
		cmocka_unit_test(plain_says_all_at_once_and_nothing_more),
		cmocka_unit_test(login_answers_two_questions_whatever_their_words),
		cmocka_unit_test(scram_hashes_no_longer_than_it_should_for_anybody),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
