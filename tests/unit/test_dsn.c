/*
 * tests/unit/test_dsn.c - notifications: every field of RFC 3464, nothing that a peer could inject.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "dsn/dsn.h"

static struct rcpt make_rcpt(void)
{
	struct rcpt r = { .address = SPAN_LIT("ann@example.org"),
		.orcpt = SPAN_LIT("rfc822;ann.old@example.org"),
		.status = RCPT_FAILED,
		.attempts = 1 };

	r.last = (struct attempt){ .at_ms = 784111777000,
		.host = SPAN_LIT("mx.example.org"),
		.address = SPAN_LIT("192.0.2.1:25"),
		.stage = CAT_STAGE_rcpt,
		.remote = true,
		.code = 550,
		.enhanced = { 5, 1, 1 },
		.text = SPAN_LIT("no such user\nat all"),
		.failure_code = 2001 };
	return r;
}

static const char *write(
    struct rcpt *r, struct envelope *env, struct dsn_request *req, struct buf *out)
{
	static struct dsn_rcpt d;

	d = (struct dsn_rcpt){ .rcpt = r, .action = DSN_ACTION_FAILED, .status = { 5, 1, 1 } };
	env->id = queue_id_new();
	env->received_ms = 784111000000;
	req->catalogue = catalogue_builtin();
	req->hostname = "mx.example.net";
	req->id = queue_id_new();
	req->now_ms = 784111777000;
	req->env = env;
	req->rcpts = &d;
	req->rcpt_count = 1;
	buf_init(out, 1 << 20);
	assert_int_equal(dsn_write(req, out), 0);
	return buf_cstr(out);
}

static void all_fields_are_there(void **state)
{
	static const char *const wanted[] = { "Reporting-MTA: dns; mx.example.net\r\n",
		"Original-Envelope-Id: QQ 314\r\n",
		"Arrival-Date: Sun, 6 Nov 1994 08:36:40 +0000 (UTC)\r\n",
		"Original-Recipient: rfc822; ann.old@example.org\r\n",
		"Final-Recipient: rfc822; ann@example.org\r\n", "Action: failed\r\n",
		"Status: 5.1.1\r\n", "Remote-MTA: dns; mx.example.org\r\n",
		"Diagnostic-Code: smtp; 550 5.1.1 no such user at all\r\n",
		"Last-Attempt-Date: Sun, 6 Nov 1994 08:49:37 +0000 (UTC)\r\n",
		"X-Postern-Failure-Code: 2001\r\n", "Auto-Submitted: auto-replied\r\n",
		"report-type=delivery-status", "Content-Type: text/rfc822-headers\r\n",
		"Subject: hello\r\n", "Who must act:", "What to do:" };
	struct rcpt r = make_rcpt();
	struct envelope env = { .reverse_path = SPAN_LIT("bob@example.net"),
		.envid = SPAN_LIT("QQ 314"),
		.helo = SPAN_LIT("client.example") };
	struct dsn_request req = { .header = SPAN_LIT("Subject: hello\r\n") };
	struct buf out;
	const char *text;

	(void)state;
	text = write(&r, &env, &req, &out);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		if (!strstr(text, wanted[i]))
			print_message("# missing: %s\n", wanted[i]);
		assert_non_null(strstr(text, wanted[i]));
	}
	buf_done(&out);
}

static void a_peer_cannot_inject_header_fields_or_parts(void **state)
{
	struct rcpt r = make_rcpt();
	struct envelope env = { .reverse_path = SPAN_LIT("bob@example.net"),
		.envid = SPAN_LIT("x\r\nAction: delivered"),
		.helo = SPAN_LIT("h\r\n\r\n--x") };
	struct dsn_request req = { .header = SPAN_LIT("Subject: hello\r\n") };
	struct buf out;
	const char *text;

	(void)state;
	r.last.text =
	    SPAN_LIT("no\r\nAction: delivered\r\n\r\nFinal-Recipient: rfc822; evil@x\xff\x01");
	text = write(&r, &env, &req, &out);
	assert_null(strstr(text, "\nAction: delivered"));
	assert_null(strstr(text, "\nFinal-Recipient: rfc822; evil"));
	for (size_t i = 0; i < buf_len(&out); i++) {
		uint8_t c = buf_span(&out).p[i];
		assert_true(c == '\r' || c == '\t' || c == '\n' || (c >= 0x20 && c < 0x7f));
	}
	buf_done(&out);
}

static void an_original_that_holds_the_boundary_gets_another(void **state)
{
	struct rcpt r = make_rcpt();
	struct envelope env = { .reverse_path = SPAN_LIT("bob@example.net") };
	struct dsn_request req = { .header = SPAN_LIT("A: b\r\n") };
	struct buf out, again;
	char boundary[200], id[QUEUE_ID_TEXT_MAX], *original;
	size_t count = 0;
	const char *text;

	(void)state;
	(void)write(&r, &env, &req, &out);
	queue_id_text(req.id, id);
	snprintf(boundary, sizeof(boundary), "%s.0/mx.example.net", id);
	original = test_malloc(400);
	snprintf(original, 400, "A: b\r\n\r\n--%s--\r\n", boundary);
	buf_done(&out);
	req.whole = span_str(original);
	buf_init(&again, 1 << 20);
	assert_int_equal(dsn_write(&req, &again), 0);
	text = buf_cstr(&again);
	assert_null(strstr(strstr(text, "boundary="), "boundary=\"\""));
	snprintf(boundary, sizeof(boundary), "--%s.1/mx.example.net", id);
	for (const char *p = text; (p = strstr(p, boundary)); p++)
		count++;
	assert_int_equal(count, 4); /* three parts and the end */
	buf_done(&again);
	test_free(original);
}

static void lines_stay_within_998_octets_whatever_the_reply(void **state)
{
	static char huge[20000];
	struct rcpt r = make_rcpt();
	struct envelope env = { .reverse_path = SPAN_LIT("bob@example.net") };
	struct dsn_request req = { .header = SPAN_LIT("A: b\r\n") };
	struct buf out;
	const char *text, *end;

	(void)state;
	memset(huge, 'x', sizeof(huge) - 1);
	r.last.text = span_str(huge);
	text = write(&r, &env, &req, &out);
	for (; (end = strstr(text, "\r\n")); text = end + 2)
		assert_true(end - text <= 998);
	buf_done(&out);
}

/* What stands behind a name in the text, without its line end. */
static bool has_field(const char *text, const char *line)
{
	char whole[300];

	snprintf(whole, sizeof(whole), "\n%s\r\n", line);
	return strstr(text, whole) != NULL;
}

static void what_came_by_smtputf8_is_told_of_in_utf8(void **state)
{
	struct rcpt r = make_rcpt();
	struct envelope env = { .reverse_path = SPAN_LIT("j\xc3\xb6rg@example.net"),
		.smtputf8 = true };
	struct dsn_request req = { .header = SPAN_LIT("Subject: Gr\xc3\xbc\xc3\x9f\x65\r\n") };
	struct buf out;
	const char *text;

	(void)state;
	r.address = SPAN_LIT("\xc3\xa9ric+x@b\xc3\xbc\x63her.example");
	r.orcpt = SPAN_LIT("utf-8;\xe7\x94\xb2\\@example.org");
	r.last.text = SPAN_LIT("kein Postfach f\xc3\xbcr \xff");
	text = write(&r, &env, &req, &out);
	assert_true(has_field(text, "Content-Type: message/global-delivery-status"));
	assert_true(has_field(text, "Content-Type: message/global-headers"));
	assert_true(has_field(text, "Content-Type: text/plain; charset=utf-8"));
	assert_true(has_field(
	    text, "Final-Recipient: utf-8; \xc3\xa9ric\\x{2B}x@b\xc3\xbc\x63her.example"));
	assert_true(has_field(text, "Original-Recipient: utf-8; \xe7\x94\xb2\\x{5C}@example.org"));
	assert_true(has_field(text, "X-Postern-Sender: utf-8; j\xc3\xb6rg@example.net"));
	assert_true(has_field(text, "Diagnostic-Code: smtp; 550 5.1.1 kein Postfach f\xc3\xbcr ?"));
	assert_true(has_field(text, "To: <j\xc3\xb6rg@example.net>"));
	/* nothing but the address makes the header one that needs SMTPUTF8 */
	assert_non_null(
	    strstr(text, "Subject: Undelivered mail: \\x{E9}ric+x@b\\x{FC}cher.example\r\n"));
	buf_done(&out);
}

static void without_smtputf8_characters_of_addresses_are_written_in_ascii(void **state)
{
	struct rcpt r = make_rcpt();
	struct envelope env = { .reverse_path = SPAN_LIT("bob@example.net") };
	struct dsn_request req = { .header = SPAN_LIT("Subject: hello\r\n") };
	struct buf out;
	const char *text;

	(void)state;
	r.address = SPAN_LIT("\xc3\xa9ric@example.org");
	r.orcpt = SPAN_LIT("UTF-8;\xf0\x9f\x93\xac@example.org");
	text = write(&r, &env, &req, &out);
	assert_true(has_field(text, "Content-Type: message/delivery-status"));
	assert_true(has_field(text, "Final-Recipient: utf-8; \\x{E9}ric@example.org"));
	assert_true(has_field(text, "Original-Recipient: utf-8; \\x{1F4EC}@example.org"));
	assert_non_null(strstr(text, "<\\x{E9}ric@example.org>"));
	for (const char *p = text; *p; p++)
		assert_true((uint8_t)*p < 0x80);
	buf_done(&out);
}

static void smtputf8_alone_changes_nothing(void **state)
{
	struct rcpt r = make_rcpt();
	struct envelope env = { .reverse_path = SPAN_LIT("bob@example.net"), .smtputf8 = true };
	struct dsn_request req = { .header = SPAN_LIT("Subject: hello\r\n") };
	struct buf out;
	const char *text;

	(void)state;
	text = write(&r, &env, &req, &out);
	assert_null(strstr(text, "message/global"));
	assert_null(strstr(text, "utf-8"));
	buf_done(&out);
}

static void every_action_has_its_word(void **state)
{
	static const char *const words[] = { "Action: failed", "Action: delayed",
		"Action: delivered", "Action: relayed", "Action: expanded" };
	struct rcpt r = make_rcpt();
	struct envelope env = { .reverse_path = SPAN_LIT("bob@example.net") };
	struct dsn_rcpt d = {
		.rcpt = &r, .status = { 2, 0, 0 }, .will_retry_until_ms = 784111777000
	};
	struct dsn_request req = { .catalogue = catalogue_builtin(),
		.hostname = "mx.example.net",
		.env = &env,
		.rcpts = &d,
		.rcpt_count = 1 };

	(void)state;
	for (unsigned i = 0; i < sizeof(words) / sizeof(*words); i++) {
		struct buf out;
		d.action = (enum dsn_action)i;
		buf_init(&out, 1 << 20);
		assert_int_equal(dsn_write(&req, &out), 0);
		assert_true(has_field(buf_cstr(&out), words[i]));
		assert_int_equal(has_field(buf_cstr(&out),
				     "Will-Retry-Until: Sun, 6 Nov 1994 08:49:37 +0000 (UTC)"),
		    d.action == DSN_ACTION_DELAYED);
		buf_done(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_fields_are_there),
		cmocka_unit_test(a_peer_cannot_inject_header_fields_or_parts),
		cmocka_unit_test(an_original_that_holds_the_boundary_gets_another),
		cmocka_unit_test(what_came_by_smtputf8_is_told_of_in_utf8),
		cmocka_unit_test(without_smtputf8_characters_of_addresses_are_written_in_ascii),
		cmocka_unit_test(smtputf8_alone_changes_nothing),
		cmocka_unit_test(every_action_has_its_word),
		cmocka_unit_test(lines_stay_within_998_octets_whatever_the_reply),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
