/*
 * tests/unit/test_classify.c - replies and troubles to failure codes.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "classify/classify.h"

static struct classify_result of_reply(
    enum cat_stage stage, uint16_t code, const char *enhanced, const char *text)
{
	struct classify_input in = {
		.trouble = CLASSIFY_REPLY, .stage = stage, .code = code, .text = span_str(text)
	};
	struct classify_result r;

	if (enhanced[0])
		enhanced_status_parse(span_str(enhanced), &in.enhanced);
	classify(catalogue_builtin(), &in, &r);
	return r;
}

static const struct {
	enum cat_stage stage;
	uint16_t code;
	const char *enhanced, *text;
	uint16_t failure;
	bool permanent;
} replies[] = {
	{ CAT_STAGE_rcpt, 550, "5.1.1", "no such user here", 2001, true },
	{ CAT_STAGE_rcpt, 550, "", "what", 2001, true },
	{ CAT_STAGE_rcpt, 452, "4.2.2", "over quota", 3001, false },
	{ CAT_STAGE_rcpt, 552, "5.2.2", "over quota", 3001, true },
	{ CAT_STAGE_rcpt, 554, "5.7.1", "<a@b.c>: Relay access denied", 4006, true },
	{ CAT_STAGE_connect, 554, "", "go away", 1002, true },
	{ CAT_STAGE_connect, 421, "", "too busy", 4001, false },
	{ CAT_STAGE_mail, 550, "", "I do not like you", 3004, true },
	{ CAT_STAGE_rcpt, 556, "5.1.10", "null MX", 2002, true },
	{ CAT_STAGE_message, 550, "5.7.1", "POL-P5 something", 1007, true },
	{ CAT_STAGE_message, 552, "5.3.4", "too big", 1004, true },
	{ CAT_STAGE_rcpt, 501, "5.1.3", "bad address", 2003, true },
};

static void a_reply_gets_its_failure_code(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
		struct classify_result r = of_reply(
		    replies[i].stage, replies[i].code, replies[i].enhanced, replies[i].text);
		print_message("# %u %s %s: %u by %s\n", replies[i].code, replies[i].enhanced,
		    replies[i].text, r.failure_code, r.rule);
		assert_int_equal(r.failure_code, replies[i].failure);
		assert_int_equal(r.permanent, replies[i].permanent);
	}
}

static void a_trouble_without_reply_gets_what_the_design_says(void **state)
{
	static const struct {
		enum classify_trouble trouble;
		uint16_t failure;
		bool permanent;
	} rows[] = {
		{ CLASSIFY_DNS_NXDOMAIN, 2002, true },
		{ CLASSIFY_DNS_NULL_MX, 2002, true },
		{ CLASSIFY_DNS_UNKNOWN, 4003, false },
		{ CLASSIFY_CONNECT, 4003, false },
		{ CLASSIFY_TIMEOUT, 4002, false },
		{ CLASSIFY_LOST, 4002, false },
		{ CLASSIFY_GARBAGE, 4002, false },
		{ CLASSIFY_LOCAL, 4999, false },
		{ CLASSIFY_TLS_MISSING, 4002, false },
		{ CLASSIFY_TLS_FAILED, 4002, false },
		{ CLASSIFY_AUTH, 3004, false },
		{ CLASSIFY_UTF8, 4002, true },
		{ CLASSIFY_BINARY, 4002, true },
		{ CLASSIFY_8BIT, 4002, true },
		{ CLASSIFY_REQUIRETLS, 4002, true },
		{ CLASSIFY_REQUIRETLS_CLEAR, 4002, true },
		{ CLASSIFY_NO_MAILBOX, 2001, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct classify_input in = { .trouble = rows[i].trouble };
		struct classify_result r;
		classify(catalogue_builtin(), &in, &r);
		assert_int_equal(r.failure_code, rows[i].failure);
		assert_int_equal(r.permanent, rows[i].permanent);
		assert_int_equal(r.status.class_, rows[i].permanent ? 5 : 4);
	}
}

/* What we say, we understand: each refusal of the catalogue, sent and classified. */
static void every_reply_of_ours_comes_back_with_the_code_of_its_row(void **state)
{
	const struct catalogue *cat = catalogue_builtin();
	struct reply_args args = { 0 };
	size_t wrong = 0, seen = 0;

	(void)state;
	args.field[REPLY_FIELD_recipient] = SPAN_LIT("ann@example.org");
	args.field[REPLY_FIELD_sender] = SPAN_LIT("bob@example.net");
	args.field[REPLY_FIELD_client] = SPAN_LIT("unknown[192.0.2.1]");
	args.field[REPLY_FIELD_client_address] = SPAN_LIT("192.0.2.1");
	args.field[REPLY_FIELD_helo] = SPAN_LIT("mail.example.net");
	args.field[REPLY_FIELD_hostname] = SPAN_LIT("mx.example.org");
	args.field[REPLY_FIELD_domain] = SPAN_LIT("example.net");
	args.field[REPLY_FIELD_detail] = SPAN_LIT("some detail");
	args.field[REPLY_FIELD_blocklist] = SPAN_LIT("zen.example.org");
	for (size_t i = 0; i < catalogue_reply_count(cat); i++) {
		const struct cat_reply *row = catalogue_reply(cat, (int)i);
		struct reply_format postern = { REPLY_STYLE_POSTERN,
			"https://mx.example.org/codes/" };
		struct classify_result r;
		struct enhanced_status e = { 0, 0, 0 };
		enum cat_stage stage = CAT_STAGE_connect;
		struct span text;
		struct buf line;
		if (!row->failure_code || !row->code || row->artefact)
			continue;
		while (stage < CAT_STAGE_session && !(row->stages & (1u << stage)))
			stage++;
		buf_init(&line, 8192);
		assert_true(catalogue_render(cat, (int)i, &postern, &args, &line) > 0);
		text = span_skip(buf_span(&line), 4);
		text.n -= 2;
		if (row->enhanced.class_)
			text = span_skip(text, enhanced_status_parse(text, &e) + 1);
		{
			struct classify_input in = { CLASSIFY_REPLY, stage, row->code, e, text };
			classify(cat, &in, &r);
		}
		seen++;
		if (r.failure_code != row->failure_code) {
			print_message("# %s: row says %u, classified %u by %s\n", row->id,
			    row->failure_code, r.failure_code, r.rule);
			wrong++;
		}
		buf_done(&line);
	}
	print_message("# %zu replies, %zu come back wrong\n", seen, wrong);
	assert_true(seen > 100);
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reply_gets_its_failure_code),
		cmocka_unit_test(a_trouble_without_reply_gets_what_the_design_says),
		cmocka_unit_test(every_reply_of_ours_comes_back_with_the_code_of_its_row),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
