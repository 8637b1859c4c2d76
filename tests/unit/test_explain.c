/*
 * tests/unit/test_explain.c - what words mean, and how it is said.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "catalogue/explain.h"
#include "catalogue/reply_ids.h"

static struct arena arena;
static struct explain x;

static int ask(const char *words)
{
	arena_reset(&arena);
	return explain(catalogue_builtin(), span_str(words), &arena, &x);
}

static void codes_and_ids_are_told_apart(void **state)
{
	static const struct {
		const char *words;
		enum explain_kind kind;
		bool exact;
	} rows[] = {
		{ "550", EXPLAIN_BASIC, true },
		{ " 550\n", EXPLAIN_BASIC, true },
		{ "559", EXPLAIN_BASIC, false },
		{ "5.7.1", EXPLAIN_ENHANCED, true },
		{ "X.7.1", EXPLAIN_ENHANCED, true },
		{ "x.7.1", EXPLAIN_ENHANCED, true },
		{ "5.7.99", EXPLAIN_ENHANCED, false },
		{ "4.999.999", EXPLAIN_ENHANCED, false },
		{ "POL-T1", EXPLAIN_POLICY, true },
		{ "int-t12", EXPLAIN_POLICY, true },
		{ "3001", EXPLAIN_FAILURE, true },
		{ "rcpt_unknown", EXPLAIN_REPLY, true },
		{ "550 5.7.99", EXPLAIN_ENHANCED, false },
		{ "550-5.7.1", EXPLAIN_ENHANCED, true },
		{ "550 something that nobody says", EXPLAIN_BASIC, true },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (ask(rows[i].words) != 1 || x.reading[0].kind != rows[i].kind ||
		    x.reading[0].exact != rows[i].exact)
			fail_msg("\"%s\"", rows[i].words);
}

static void what_is_no_code_is_unknown(void **state)
{
	static const char *const rows[] = { "", " ", "999", "600", "1005", "0000", "foo", "POL-T9",
		"5.7", "6.1.1", "hello there", "\xff\xfe", "5", "-" };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (ask(rows[i]) != 0)
			fail_msg("\"%s\" is known", rows[i]);
}

static void whole_replies_find_their_row(void **state)
{
	static const struct {
		const char *line;
		int reply;
	} rows[] = {
		{ "550 5.1.1 <x@y>: Recipient address rejected: User unknown in local recipient "
		  "table",
		    REPLY_RCPT_UNKNOWN },
		{ "554 5.7.1 <x@y>: Relay access denied", REPLY_RELAY_DENIED },
		{ "454 4.7.1 <x@y>: Relay access denied", REPLY_RELAY_DENIED_TEMP },
		{ "454 4.7.1 <x@y>: relay access denied\r\n", REPLY_RELAY_DENIED_TEMP },
		{ "554 5.7.1 <x@y>: Sender address rejected: Access denied",
		    REPLY_SENDER_ACCESS_DENIED },
		{ "554 5.7.1 <x@y>: Sender address rejected: because", REPLY_ACCESS_SENDER },
		{ "421 4.4.2 mx.example.com Error: timeout exceeded", REPLY_TIMEOUT },
		{ "421 4.4.2 Error: timeout exceeded", REPLY_TIMEOUT },
		{ "550 5.7.25 DNS-P3 Your mail server has no reverse DNS record; see "
		  "https://h/DNS-P3?id=1",
		    REPLY_POLICY_DNS_P3 },
		{ "550-5.7.25 Your mail server\n550 5.7.25 has no reverse DNS record",
		    REPLY_POLICY_DNS_P3 },
		{ "550 5.1.8 <a@b>: Sender address rejected: Domain not found",
		    REPLY_SENDER_DOMAIN_NOT_FOUND },
		{ "450 4.1.8 <a@b>: Sender address rejected: Domain not found",
		    REPLY_SENDER_DOMAIN_NOT_FOUND_TEMP },
		{ "Oct  1 10:00:00 mx postfix/smtp[1]: A: to=<a@b>, relay=h[192.0.2.1]:25, "
		  "dsn=5.7.1, "
		  "status=bounced (host h[192.0.2.1] said: 554 5.7.1 <a@b>: Relay access denied "
		  "(in "
		  "reply to RCPT TO command))",
		    -1 },
		{ "Oct  1 10:00:00 mx postfix/smtpd[1]: NOQUEUE: reject: RCPT from h[192.0.2.1]: "
		  "450 "
		  "4.7.1 Client host rejected: cannot find your hostname, [192.0.2.1]",
		    REPLY_CLIENT_NO_PTR_TEMP },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (ask(rows[i].line) != 1)
			fail_msg("\"%s\" is unknown", rows[i].line);
		if (rows[i].reply < 0)
			continue;
		if (x.reading[0].kind != EXPLAIN_REPLY ||
		    x.reading[0].reply != catalogue_reply(catalogue_builtin(), rows[i].reply))
			fail_msg("\"%s\" is read as %s", rows[i].line,
			    x.reading[0].kind == EXPLAIN_REPLY ? x.reading[0].reply->id : "a code");
	}
}

static void fields_of_a_reply_are_read_back(void **state)
{
	struct reply_args a = { 0 };

	(void)state;
	ask("550 5.7.1 Client host rejected: cannot find your hostname, [192.0.2.7]");
	assert_true(
	    span_eq(x.reading[0].args.field[REPLY_FIELD_client_address], SPAN_LIT("192.0.2.7")));
	assert_int_equal(cat_text_match("{hostname} Error", SPAN_LIT("Error"), &a), 5);
	assert_int_equal(cat_text_match("a {client}", SPAN_LIT("a"), &a), 1);
	assert_int_equal(cat_text_match("a {client} b", SPAN_LIT("a x b"), &a), 4);
	assert_int_equal(cat_text_match("a {client} b", SPAN_LIT("a x b b"), &a), 4);
	assert_true(span_eq(a.field[REPLY_FIELD_client], SPAN_LIT("x b")));
	assert_int_equal(cat_text_match("ab", SPAN_LIT("abc"), &a), -1);
	assert_int_equal(cat_text_match("ab", SPAN_LIT("xab"), &a), -1);
	assert_int_equal(cat_text_match("ab", SPAN_LIT(""), &a), -1);
}

/* Every reply that we can send is read back as the row that sent it, in both styles. */
static void what_we_say_we_understand(void **state)
{
	const struct catalogue *cat = catalogue_builtin();
	struct reply_format f = { REPLY_STYLE_POSTERN, "https://mx.example.org/codes" };
	struct reply_args a;
	struct buf line;

	(void)state;
	buf_init(&line, 65536);
	for (int i = 0; i < REPLY_FIELD_COUNT; i++)
		a.field[i] = SPAN_LIT("value.example");
	a.field[REPLY_FIELD_code] = SPAN_LIT("554");
	a.field[REPLY_FIELD_enhanced] = SPAN_LIT("5.7.1");
	a.field[REPLY_FIELD_text] = SPAN_LIT("some words of the operator");
	for (int style = 0; style < 2; style++)
		for (int i = 0; i < REPLY_COUNT; i++) {
			const struct cat_reply *r = catalogue_reply(cat, i);
			f.style = (enum reply_style)style;
			buf_reset(&line);
			catalogue_render(cat, i, &f, &a, &line);
			/* A text that is one field says nothing by itself. */
			if (r->text[0] == '{' && r->text[strlen(r->text) - 1] == '}' &&
			    strchr(r->text, '}')[1] == '\0')
				continue;
			if (ask(buf_cstr(&line)) != 1 || x.reading[0].kind != EXPLAIN_REPLY ||
			    x.reading[0].reply != r)
				fail_msg("%s: \"%s\" is read as %s", r->id, buf_cstr(&line),
				    x.count && x.reading[0].kind == EXPLAIN_REPLY
					? x.reading[0].reply->id
					: "no reply");
		}
	buf_done(&line);
}

static void texts_keep_to_eighty_columns(void **state)
{
	const struct catalogue *cat = catalogue_builtin();
	struct buf text;

	(void)state;
	buf_init(&text, 1 << 20);
	for (size_t i = 0; i < catalogue_reply_count(cat); i++) {
		const char *at;
		ask(catalogue_reply(cat, (int)i)->id);
		buf_reset(&text);
		assert_int_equal(explain_text(cat, &x, &text), 0);
		for (at = buf_cstr(&text); *at; at += strcspn(at, "\n") + 1)
			if (strcspn(at, "\n") > 80)
				fail_msg("%s", at);
	}
	buf_done(&text);
}

static void text_says_meaning_who_acts_and_what_to_do(void **state)
{
	struct buf text;

	(void)state;
	buf_init(&text, 1 << 20);
	ask("451 4.7.1 POL-T1 Mail from your address [192.0.2.7] is deferred for 1 to 2 hours");
	explain_text(catalogue_builtin(), &x, &text);
	assert_non_null(strstr(buf_cstr(&text), "reply policy_pol_t1"));
	assert_non_null(strstr(buf_cstr(&text), "What it means:"));
	assert_non_null(
	    strstr(buf_cstr(&text), "Who must act:    the administrator of the sending"));
	assert_non_null(strstr(buf_cstr(&text), "What to do:"));
	assert_non_null(strstr(buf_cstr(&text), "It lasts:        1 hour to 2 hours"));
	assert_non_null(strstr(buf_cstr(&text), "Failure code:    1002 "));
	assert_non_null(strstr(buf_cstr(&text), "RFC 5321 4.2.2"));
	buf_reset(&text);
	ask("550 5.1.1 x\x1b[31m <a@b>: Recipient address rejected: no");
	explain_text(catalogue_builtin(), &x, &text);
	assert_null(strchr(buf_cstr(&text), 0x1b));
	buf_reset(&text);
	ask("450 4.2.0 <a@b>: Recipient address rejected: Greylisted, try again in 60 s");
	explain_json(catalogue_builtin(), &x, &text);
	assert_non_null(strstr(buf_cstr(&text), "\"id\":\"greylisted\""));
	assert_non_null(strstr(buf_cstr(&text), "\"failure_code\":3003"));
	buf_done(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(codes_and_ids_are_told_apart),
		cmocka_unit_test(what_is_no_code_is_unknown),
		cmocka_unit_test(whole_replies_find_their_row),
		cmocka_unit_test(fields_of_a_reply_are_read_back),
		cmocka_unit_test(what_we_say_we_understand),
		cmocka_unit_test(texts_keep_to_eighty_columns),
		cmocka_unit_test(text_says_meaning_who_acts_and_what_to_do),
	};
	int failed;

	arena_init(&arena, 1 << 20);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	arena_done(&arena);
	return failed;
}
