/*
 * tests/unit/test_smtp_client.c - the client machine of src/smtp, alone and against the server's.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/err.h"
#include "catalogue/reply_ids.h"
#include "smtp/client.h"
#include "smtp/params.h"
#include "tests/unit/smtp_host.h"
#include "tests/unit/smtp_talk.h"

#include <stdlib.h>

#define COUNT(rows) (sizeof(rows) / sizeof(*(rows)))

static const char full_ehlo[] = "250-mx.example.org hello\r\n250-PIPELINING\r\n250-SIZE 1000\r\n"
				"250-8bitmime\r\n250-AUTH=LOGIN\r\n250 DSN\r\n";

static struct smtp_client *client(bool no_pipelining)
{
	struct smtp_client_options o;

	smtp_client_options_init(&o, "out.example.net");
	o.no_pipelining = no_pipelining;
	return talk_new(&o);
}

static struct smtp_client *ready(bool no_pipelining, const char *ehlo)
{
	struct smtp_client *c = client(no_pipelining);

	assert_int_equal(hear(c, "220 mx.example.org ESMTP\r\n"), SMTP_CLIENT_WAIT);
	wrote_is(c, "EHLO out.example.net\r\n");
	assert_int_equal(hear(c, ehlo), SMTP_CLIENT_READY);
	return c;
}

static const struct smtp_client_rcpt two[] = {
	{ .address = { (const uint8_t *)"a@x", 3 } },
	{ .address = { (const uint8_t *)"b@x", 3 } },
};

static struct smtp_client_message message(size_t rcpts)
{
	return (struct smtp_client_message){
		.reverse_path = SPAN_LIT("s@y"), .rcpts = two, .rcpt_count = rcpts
	};
}

static struct smtp_client *sending(bool no_pipelining, const char *ehlo, size_t rcpts)
{
	struct smtp_client *c = ready(no_pipelining, ehlo);
	struct smtp_client_message m = message(rcpts);

	assert_int_equal(smtp_client_send(c, &m, 0), SMTP_CLIENT_WAIT);
	return c;
}

static void a_message_is_pipelined_and_delivered(void **state)
{
	struct smtp_client *c = sending(false, full_ehlo, 2);

	(void)state;
	assert_true(span_eq(smtp_client_server_name(c), SPAN_LIT("mx.example.org")));
	assert_int_equal(smtp_client_size_max(c), 1000);
	assert_int_equal(smtp_client_extensions(c),
	    SMTP_EXT_PIPELINING | SMTP_EXT_SIZE | SMTP_EXT_8BITMIME | SMTP_EXT_DSN);
	wrote_is(c, "MAIL FROM:<s@y>\r\nRCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n");
	assert_int_equal(hear(c, "250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n550 5.1.1 No\r\n354 Go\r\n"),
	    SMTP_CLIENT_BODY);
	assert_int_equal(smtp_client_body(c, SPAN_LIT("x\r\n.y\r\n"), 0), 0);
	assert_int_equal(smtp_client_body_end(c, 0), 0);
	wrote_is(c, "x\r\n..y\r\n.\r\n");
	assert_int_equal(hear(c, "250 2.0.0 queued as 1\r\n"), SMTP_CLIENT_DONE);
	outcome_is(smtp_client_outcome(c, 0), CAT_STAGE_message, 0, 250, true);
	outcome_is(smtp_client_outcome(c, 1), CAT_STAGE_rcpt, 0, 550, false);
	assert_true(span_eq(smtp_client_outcome(c, 1)->reply.text, SPAN_LIT("No")));
	assert_int_equal(smtp_client_outcome(c, 1)->reply.enhanced.subject, 1);
	assert_int_equal(smtp_client_quit(c, 0), SMTP_CLIENT_WAIT);
	wrote_is(c, "QUIT\r\n");
	assert_int_equal(hear(c, "221 Bye\r\n"), SMTP_CLIENT_DEAD);
	assert_false(smtp_client_session_outcome(c)->is_set);
	smtp_client_free(&c);
	assert_null(c);
}

static void without_pipelining_one_command_goes_at_a_time(void **state)
{
	struct smtp_client *c = sending(false, "250 mx\r\n", 2);

	(void)state;
	wrote_is(c, "MAIL FROM:<s@y>\r\n");
	hear(c, "250 ok\r\n");
	wrote_is(c, "RCPT TO:<a@x>\r\n");
	hear(c, "450 later\r\n");
	wrote_is(c, "RCPT TO:<b@x>\r\n");
	hear(c, "250 ok\r\n");
	wrote_is(c, "DATA\r\n");
	assert_int_equal(hear(c, "354 go\r\n"), SMTP_CLIENT_BODY);
	smtp_client_free(&c);
	c = sending(true, full_ehlo, 2);
	wrote_is(c, "MAIL FROM:<s@y>\r\n");
	/* all recipients refused: no DATA, and the next message begins with RSET */
	hear(c, "250 ok\r\n");
	flush(c);
	hear(c, "550 no\r\n");
	flush(c);
	assert_int_equal(hear(c, "551 no\r\n"), SMTP_CLIENT_DONE);
	outcome_is(smtp_client_outcome(c, 0), CAT_STAGE_rcpt, 0, 550, false);
	outcome_is(smtp_client_outcome(c, 1), CAT_STAGE_rcpt, 0, 551, false);
	struct smtp_client_message m = message(1);
	assert_int_equal(smtp_client_send(c, &m, 0), SMTP_CLIENT_WAIT);
	wrote_is(c, "RSET\r\n");
	hear(c, "250 ok\r\n");
	wrote_is(c, "MAIL FROM:<s@y>\r\n");
	smtp_client_free(&c);
}

static void ehlo_refused_is_tried_as_helo(void **state)
{
	struct smtp_client *c = client(false);

	(void)state;
	hear(c, "220 old\r\n");
	flush(c);
	assert_int_equal(hear(c, "502 what?\r\n"), SMTP_CLIENT_WAIT);
	wrote_is(c, "HELO out.example.net\r\n");
	assert_int_equal(hear(c, "250 hi\r\n"), SMTP_CLIENT_READY);
	assert_int_equal(smtp_client_extensions(c), 0);
	smtp_client_free(&c);
}

static void sessions_that_never_start_have_an_outcome(void **state)
{
	static const struct {
		const char *name, *banner, *ehlo, *helo;
		enum cat_stage stage;
		int err;
		unsigned code;
		bool quits;
	} rows[] = {
		{ "554 banner", "554 no\r\n", NULL, NULL, CAT_STAGE_connect, 0, 554, true },
		{ "450 banner", "450 no\r\n", NULL, NULL, CAT_STAGE_connect, 0, 450, true },
		{ "421 banner", "421 no\r\n", NULL, NULL, CAT_STAGE_connect, 0, 421, false },
		{ "250 banner", "250 hi\r\n", NULL, NULL, CAT_STAGE_connect, -ERR_PROTO, 250,
		    false },
		{ "no SMTP", "SSH-2.0-OpenSSH\r\n", NULL, NULL, CAT_STAGE_connect, -ERR_PROTO, 0,
		    false },
		{ "450 to EHLO", "220 a\r\n", "450 no\r\n", NULL, CAT_STAGE_helo, 0, 450, true },
		{ "421 to EHLO", "220 a\r\n", "421 no\r\n", NULL, CAT_STAGE_helo, 0, 421, false },
		{ "354 to EHLO", "220 a\r\n", "354 go\r\n", NULL, CAT_STAGE_helo, -ERR_PROTO, 354,
		    false },
		{ "550 to both", "220 a\r\n", "550 no\r\n", "550 no!\r\n", CAT_STAGE_helo, 0, 550,
		    true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct smtp_client *c = client(false);
		int step = hear(c, rows[i].banner);
		if (rows[i].ehlo) {
			flush(c);
			step = hear(c, rows[i].ehlo);
		}
		if (rows[i].helo) {
			flush(c);
			step = hear(c, rows[i].helo);
		}
		if (step != (rows[i].quits ? SMTP_CLIENT_WAIT : SMTP_CLIENT_DEAD))
			fail_msg("%s: step %d", rows[i].name, step);
		if (rows[i].quits) {
			wrote_is(c, "QUIT\r\n");
			assert_int_equal(hear(c, "221 bye\r\n"), SMTP_CLIENT_DEAD);
		}
		outcome_is(smtp_client_session_outcome(c), rows[i].stage, rows[i].err, rows[i].code,
		    false);
		smtp_client_free(&c);
	}
}

/* One recipient or two, replies to the pipelined group, and what becomes of each. */
static void pipelined_groups_are_sorted_out(void **state)
{
	static const struct {
		const char *name, *replies;
		int step;
		enum cat_stage stage[2];
		int err[2];
		unsigned code[2];
	} rows[] = {
		{ "MAIL refused", "550 a\r\n503 b\r\n503 c\r\n503 d\r\n", SMTP_CLIENT_DONE,
		    { CAT_STAGE_mail, CAT_STAGE_mail }, { 0, 0 }, { 550, 550 } },
		{ "all RCPT refused", "250 a\r\n550 b\r\n450 c\r\n554 d\r\n", SMTP_CLIENT_DONE,
		    { CAT_STAGE_rcpt, CAT_STAGE_rcpt }, { 0, 0 }, { 550, 450 } },
		{ "DATA refused", "250 a\r\n250 b\r\n450 c\r\n451 d\r\n", SMTP_CLIENT_DONE,
		    { CAT_STAGE_data, CAT_STAGE_rcpt }, { 0, 0 }, { 451, 450 } },
		{ "DATA answered 250", "250 a\r\n250 b\r\n450 c\r\n250 d\r\n", SMTP_CLIENT_DEAD,
		    { CAT_STAGE_data, CAT_STAGE_rcpt }, { -ERR_PROTO, 0 }, { 250, 450 } },
		{ "RCPT answered 354", "250 a\r\n550 b\r\n354 c\r\n", SMTP_CLIENT_DEAD,
		    { CAT_STAGE_rcpt, CAT_STAGE_rcpt }, { 0, -ERR_PROTO }, { 550, 354 } },
		{ "421 to MAIL", "421 a\r\n", SMTP_CLIENT_DEAD, { CAT_STAGE_mail, CAT_STAGE_mail },
		    { 0, 0 }, { 421, 421 } },
		{ "421 to the second RCPT", "250 a\r\n250 b\r\n421 c\r\n", SMTP_CLIENT_DEAD,
		    { CAT_STAGE_rcpt, CAT_STAGE_rcpt }, { 0, 0 }, { 421, 421 } },
		{ "421 behind a refusal", "250 a\r\n550 b\r\n421 c\r\n", SMTP_CLIENT_DEAD,
		    { CAT_STAGE_rcpt, CAT_STAGE_rcpt }, { 0, 0 }, { 550, 421 } },
		{ "garbage", "250 a\r\n250 b\r\nhello\r\n", SMTP_CLIENT_DEAD,
		    { CAT_STAGE_rcpt, CAT_STAGE_rcpt }, { -ERR_PROTO, -ERR_PROTO }, { 0, 0 } },
		{ "one reply too many", "250 a\r\n250 b\r\n250 c\r\n354 d\r\n250 e\r\n",
		    SMTP_CLIENT_DEAD, { CAT_STAGE_message, CAT_STAGE_message },
		    { -ERR_PROTO, -ERR_PROTO }, { 250, 250 } },
		{ "552 before the body", "250 a\r\n250 b\r\n250 c\r\n354 d\r\n552 e\r\n",
		    SMTP_CLIENT_DEAD, { CAT_STAGE_message, CAT_STAGE_message }, { 0, 0 },
		    { 552, 552 } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		for (size_t by = 1; by < 40; by += 19) {
			struct smtp_client *c = sending(false, full_ehlo, 2);
			struct span in = span_str(rows[i].replies);
			int step = SMTP_CLIENT_WAIT;

			flush(c);
			for (; in.n; in = span_skip(in, by)) {
				step = smtp_client_feed(c, in.p, in.n < by ? in.n : by, 0);
				flush(c);
			}
			if (step != rows[i].step)
				fail_msg("%s by %zu: step %d", rows[i].name, by, step);
			for (size_t j = 0; j < 2; j++)
				outcome_is(smtp_client_outcome(c, j), rows[i].stage[j],
				    rows[i].err[j], rows[i].code[j], false);
			smtp_client_free(&c);
		}
	}
}

static void a_go_ahead_for_nobody_is_answered_with_a_lone_dot(void **state)
{
	struct smtp_client *c = sending(false, full_ehlo, 2);

	(void)state;
	flush(c);
	assert_int_equal(hear(c, "250 a\r\n550 b\r\n551 c\r\n354 d\r\n"), SMTP_CLIENT_WAIT);
	wrote_is(c, ".\r\n");
	assert_int_equal(hear(c, "250 thank you\r\n"), SMTP_CLIENT_DONE);
	outcome_is(smtp_client_outcome(c, 0), CAT_STAGE_rcpt, 0, 550, false);
	outcome_is(smtp_client_outcome(c, 1), CAT_STAGE_rcpt, 0, 551, false);
	smtp_client_free(&c);
}

static void a_reply_before_its_question_is_never_its_answer(void **state)
{
	struct smtp_client *c;
	struct smtp_client_message m = message(1);

	(void)state;
	/* while nothing was asked */
	c = ready(false, full_ehlo);
	assert_int_equal(hear(c, "250 spare\r\n"), SMTP_CLIENT_DEAD);
	outcome_is(smtp_client_session_outcome(c), CAT_STAGE_session, -ERR_PROTO, 250, false);
	smtp_client_free(&c);
	/* in the same packet as the answer to EHLO */
	c = client(false);
	hear(c, "220 a\r\n");
	flush(c);
	assert_int_equal(hear(c, "250 a\r\n250 spare\r\n"), SMTP_CLIENT_DEAD);
	smtp_client_free(&c);
	/* begun before MAIL was asked, ended after */
	c = ready(false, full_ehlo);
	assert_int_equal(hear(c, "250 sp"), SMTP_CLIENT_READY);
	assert_int_equal(smtp_client_send(c, &m, 0), SMTP_CLIENT_WAIT);
	flush(c);
	assert_int_equal(hear(c, "are\r\n"), SMTP_CLIENT_DEAD);
	outcome_is(smtp_client_outcome(c, 0), CAT_STAGE_mail, -ERR_PROTO, 250, false);
	smtp_client_free(&c);
	/* before MAIL has left the buffer */
	c = ready(false, full_ehlo);
	assert_int_equal(smtp_client_send(c, &m, 0), SMTP_CLIENT_WAIT);
	assert_int_equal(hear(c, "250 ok\r\n"), SMTP_CLIENT_DEAD);
	smtp_client_free(&c);
	/* before the dot has left the buffer: it is no acceptance */
	c = sending(false, full_ehlo, 1);
	flush(c);
	hear(c, "250 a\r\n250 b\r\n354 c\r\n");
	smtp_client_body(c, SPAN_LIT("x\r\n"), 0);
	smtp_client_body_end(c, 0);
	assert_int_equal(hear(c, "250 queued\r\n"), SMTP_CLIENT_DEAD);
	outcome_is(smtp_client_outcome(c, 0), CAT_STAGE_message, -ERR_PROTO, 250, false);
	smtp_client_free(&c);
	/* begun before the dot, ended after */
	c = sending(false, full_ehlo, 1);
	flush(c);
	hear(c, "250 a\r\n250 b\r\n354 c\r\n25");
	smtp_client_body_end(c, 0);
	flush(c);
	assert_int_equal(hear(c, "0 queued\r\n"), SMTP_CLIENT_DEAD);
	outcome_is(smtp_client_outcome(c, 0), CAT_STAGE_message, -ERR_PROTO, 250, false);
	smtp_client_free(&c);
}

static void an_idle_server_may_say_421(void **state)
{
	struct smtp_client *c = ready(false, full_ehlo);

	(void)state;
	assert_int_equal(hear(c, "421 4.4.2 idle too long\r\n"), SMTP_CLIENT_DEAD);
	outcome_is(smtp_client_session_outcome(c), CAT_STAGE_session, 0, 421, false);
	smtp_client_free(&c);
}

static void the_final_reply_decides(void **state)
{
	static const struct {
		const char *reply;
		int step, err;
		unsigned code;
		bool delivered;
	} rows[] = {
		{ "250 ok\r\n", SMTP_CLIENT_DONE, 0, 250, true },
		{ "251 ok\r\n", SMTP_CLIENT_DONE, 0, 251, true },
		{ "452 no\r\n", SMTP_CLIENT_DONE, 0, 452, false },
		{ "554-a\r\n554 b\r\n", SMTP_CLIENT_DONE, 0, 554, false },
		{ "421 no\r\n", SMTP_CLIENT_DEAD, 0, 421, false },
		{ "354 what\r\n", SMTP_CLIENT_DEAD, -ERR_PROTO, 354, false },
		{ "2x0 ok\r\n", SMTP_CLIENT_DEAD, -ERR_PROTO, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct smtp_client *c = sending(false, full_ehlo, 1);
		flush(c);
		hear(c, "250 a\r\n250 b\r\n354 c\r\n");
		smtp_client_body_end(c, 0);
		flush(c);
		assert_int_equal(hear(c, rows[i].reply), rows[i].step);
		outcome_is(smtp_client_outcome(c, 0), CAT_STAGE_message, rows[i].err, rows[i].code,
		    rows[i].delivered);
		smtp_client_free(&c);
	}
}

static void a_lost_connection_says_where(void **state)
{
	struct smtp_client *c = sending(false, full_ehlo, 2);

	(void)state;
	flush(c);
	hear(c, "250 a\r\n550 b\r\n250 c\r\n354 d\r\n");
	smtp_client_body_end(c, 0);
	flush(c);
	smtp_client_lost(c, -ERR_TIMEOUT);
	assert_int_equal(smtp_client_step(c), SMTP_CLIENT_DEAD);
	outcome_is(smtp_client_outcome(c, 0), CAT_STAGE_rcpt, 0, 550, false);
	outcome_is(smtp_client_outcome(c, 1), CAT_STAGE_message, -ERR_TIMEOUT, 0, false);
	outcome_is(smtp_client_session_outcome(c), CAT_STAGE_message, -ERR_TIMEOUT, 0, false);
	/* what comes late changes nothing */
	assert_int_equal(hear(c, "250 ok\r\n"), SMTP_CLIENT_DEAD);
	outcome_is(smtp_client_outcome(c, 1), CAT_STAGE_message, -ERR_TIMEOUT, 0, false);
	smtp_client_free(&c);
}

static void a_body_that_breaks_off_is_never_ended(void **state)
{
	struct smtp_client *c = sending(false, full_ehlo, 1);

	(void)state;
	flush(c);
	hear(c, "250 a\r\n250 b\r\n354 c\r\n");
	smtp_client_body(c, SPAN_LIT("half"), 0);
	smtp_client_body_fail(c);
	assert_int_equal(smtp_client_step(c), SMTP_CLIENT_DEAD);
	assert_int_equal(smtp_client_body_end(c, 0), -ERR_CLOSED);
	wrote_is(c, "half");
	outcome_is(smtp_client_outcome(c, 0), CAT_STAGE_message, -ERR_IO, 0, false);
	smtp_client_free(&c);
}

static void bodies_are_stuffed_however_they_are_split(void **state)
{
	static const struct {
		const char *body, *wire;
	} rows[] = {
		{ "", ".\r\n" },
		{ "a\r\n", "a\r\n.\r\n" },
		{ "a", "a\r\n.\r\n" },
		{ ".", "..\r\n.\r\n" },
		{ ".\r\n", "..\r\n.\r\n" },
		{ "a\r\n.\r\n..\r\nb.\r\n", "a\r\n..\r\n...\r\nb.\r\n.\r\n" },
		{ "a\n.\nb", "a\r\n..\r\nb\r\n.\r\n" },
		{ "a\r.\rb", "a\r\n..\r\nb\r\n.\r\n" },
		{ "a\r\r\n.", "a\r\n\r\n..\r\n.\r\n" },
		{ "a\r", "a\r\n.\r\n" },
		{ "\n\n", "\r\n\r\n.\r\n" },
		{ "a\r\n\r\n", "a\r\n\r\n.\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		for (size_t by = 1; by < 20; by++) {
			struct smtp_client *c = sending(false, full_ehlo, 1);
			struct span in = span_str(rows[i].body);

			flush(c);
			hear(c, "250 a\r\n250 b\r\n354 c\r\n");
			for (; in.n; in = span_skip(in, by))
				smtp_client_body(c, span_of(in.p, in.n < by ? in.n : by), 0);
			smtp_client_body_end(c, 0);
			wrote_is(c, rows[i].wire);
			smtp_client_free(&c);
		}
	}
}

static void parameters_go_only_to_those_who_offer_them(void **state)
{
	const struct smtp_client_rcpt rcpt = { .address = SPAN_LIT("a@x"),
		.orcpt = SPAN_LIT("rfc822;o+p@z"),
		.notify = SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_DELAY };
	struct smtp_client_message m = { .reverse_path = SPAN_LIT(""),
		.size = 7,
		.body_8bit = true,
		.envid = SPAN_LIT("e=1"),
		.ret = SMTP_RET_HDRS,
		.rcpts = &rcpt,
		.rcpt_count = 1 };
	struct smtp_client *c = ready(false, full_ehlo);

	(void)state;
	smtp_client_send(c, &m, 0);
	wrote_is(c,
	    "MAIL FROM:<> SIZE=7 BODY=8BITMIME RET=HDRS ENVID=e+3D1\r\n"
	    "RCPT TO:<a@x> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;o+2Bp@z\r\nDATA\r\n");
	smtp_client_free(&c);
	c = ready(false, "250-mx\r\n250 PIPELINING\r\n");
	smtp_client_send(c, &m, 0);
	wrote_is(c, "MAIL FROM:<>\r\nRCPT TO:<a@x>\r\nDATA\r\n");
	smtp_client_free(&c);
}

static void a_message_over_the_servers_size_is_not_offered(void **state)
{
	struct smtp_client *c = ready(false, full_ehlo);
	struct smtp_client_message m = message(1);

	(void)state;
	m.size = 1001;
	assert_int_equal(smtp_client_send(c, &m, 0), SMTP_CLIENT_DONE);
	wrote_is(c, "");
	outcome_is(smtp_client_outcome(c, 0), CAT_STAGE_mail, -ERR_LIMIT, 0, false);
	m.size = 1000;
	assert_int_equal(smtp_client_send(c, &m, 0), SMTP_CLIENT_WAIT);
	smtp_client_free(&c);
}

static void an_address_cannot_carry_a_command(void **state)
{
	const struct smtp_client_rcpt rcpt = { .address = SPAN_LIT("a@x>\r\nQUIT") };
	struct smtp_client *c = ready(false, full_ehlo);
	struct smtp_client_message m = message(1);

	(void)state;
	m.rcpts = &rcpt;
	assert_int_equal(smtp_client_send(c, &m, 0), -ERR_INVAL);
	m = message(1);
	m.reverse_path = SPAN_LIT("a\n@b");
	assert_int_equal(smtp_client_send(c, &m, 0), -ERR_INVAL);
	m = message(0);
	assert_int_equal(smtp_client_send(c, &m, 0), -ERR_INVAL);
	smtp_client_free(&c);
}

static void each_stage_has_its_time(void **state)
{
	struct smtp_client_options o;
	struct smtp_client_message m = message(1);
	struct smtp_client *c;

	(void)state;
	smtp_client_options_init(&o, "x");
	o.timeouts = (struct smtp_client_timeouts){ 1, 2, 3, 4, 5, 6, 7, 8 };
	assert_int_equal(smtp_client_new(&o, 100, &c), 0);
	assert_int_equal(smtp_client_deadline(c), 101);
	hear(c, "220 a\r\n");
	assert_int_equal(smtp_client_deadline(c), 2);
	flush(c);
	hear(c, "250 a\r\n");
	assert_true(smtp_client_deadline(c) == UINT64_MAX);
	smtp_client_send(c, &m, 1000);
	assert_int_equal(smtp_client_deadline(c), 1003);
	flush(c);
	hear(c, "250 a\r\n");
	assert_int_equal(smtp_client_deadline(c), 4);
	flush(c);
	hear(c, "250 a\r\n");
	assert_int_equal(smtp_client_deadline(c), 5);
	flush(c);
	hear(c, "354 a\r\n");
	assert_int_equal(smtp_client_deadline(c), 6);
	smtp_client_body(c, SPAN_LIT("x"), 10);
	assert_int_equal(smtp_client_deadline(c), 16);
	smtp_client_sent(c, 20);
	assert_int_equal(smtp_client_deadline(c), 26);
	smtp_client_body_end(c, 30);
	assert_int_equal(smtp_client_deadline(c), 37);
	flush(c);
	hear(c, "250 a\r\n");
	assert_true(smtp_client_deadline(c) == UINT64_MAX);
	smtp_client_quit(c, 50);
	assert_int_equal(smtp_client_deadline(c), 58);
	smtp_client_free(&c);
}

static void a_flood_of_words_costs_no_outcome(void **state)
{
	struct smtp_client *c = ready(false, full_ehlo);
	const size_t n = 3000;
	struct smtp_client_rcpt *rcpts = calloc(n, sizeof(*rcpts));
	struct smtp_client_message m = message(1);
	char reply[4200];

	(void)state;
	for (size_t i = 0; i < n; i++)
		rcpts[i].address = SPAN_LIT("someone@somewhere.example");
	m.rcpts = rcpts;
	m.rcpt_count = n;
	smtp_client_send(c, &m, 0);
	assert_true(buf_len(smtp_client_output(c)) < 40000); /* written in pieces */
	flush(c);
	hear(c, "250 ok\r\n");
	snprintf(reply, sizeof(reply), "550 5.1.1 %04000d\r\n", 0);
	for (size_t i = 0; i < n; i++) {
		hear(c, reply);
		flush(c);
	}
	hear(c, "554 5.5.1 none\r\n");
	assert_int_equal(smtp_client_step(c), SMTP_CLIENT_DONE);
	for (size_t i = 0; i < n; i++)
		outcome_is(smtp_client_outcome(c, i), CAT_STAGE_rcpt, 0, 550, false);
	free(rcpts);
	smtp_client_free(&c);
}

/* Octets both ways in pieces of random size until neither has more to say. */
struct loop {
	struct smtp_client *c;
	struct smtp_host h;
	unsigned seed;
};

static size_t some(struct loop *l, size_t max)
{
	l->seed = l->seed * 1103515245 + 12345;
	return 1 + (l->seed >> 16) % max;
}

static void pump(struct loop *l)
{
	for (bool moved = true; moved;) {
		struct buf *out = smtp_client_output(l->c);
		moved = false;
		while (buf_len(out) && !l->h.closed) {
			struct span s = buf_span(out);
			size_t n = some(l, s.n < 50 ? s.n : 50);
			smtp_host_feed(&l->h, span_of(s.p, n), some(l, 10));
			buf_consume(out, n);
			smtp_client_sent(l->c, 0);
			moved = true;
		}
		while (buf_len(&l->h.output)) {
			struct span s = buf_span(&l->h.output);
			size_t n = some(l, s.n);
			assert_true(smtp_client_feed(l->c, s.p, n, 0) >= 0);
			buf_consume(&l->h.output, n);
			moved = true;
		}
	}
}

static void client_and_server_understand_each_other(void **state)
{
	static const char body[] = "Subject: x\r\n\r\n.\r\n..\r\nlong line of text\r\n.end";
	struct smtp_server_options o;

	(void)state;
	smtp_server_options_init(&o, catalogue_builtin(), "mx.example.org");
	for (unsigned seed = 0; seed < 200; seed++) {
		struct loop l = { .c = client(seed & 1), .seed = seed };
		struct smtp_client_message m = message(2);

		smtp_host_init(&l.h, &o);
		smtp_host_say(&l.h, "");
		pump(&l);
		assert_int_equal(smtp_client_step(l.c), SMTP_CLIENT_READY);
		for (unsigned i = 0; i < 3; i++) {
			if (i == 1)
				l.h.answers[SMTP_STEP_RCPT] = REPLY_BAD_RECIPIENT_SYNTAX;
			assert_int_equal(smtp_client_send(l.c, &m, 0), SMTP_CLIENT_WAIT);
			pump(&l);
			assert_int_equal(smtp_client_step(l.c), SMTP_CLIENT_BODY);
			for (struct span in = span_of(body, sizeof(body) - 1); in.n;) {
				size_t n = some(&l, in.n);
				assert_int_equal(smtp_client_body(l.c, span_of(in.p, n), 0), 0);
				in = span_skip(in, n);
				pump(&l);
			}
			smtp_client_body_end(l.c, 0);
			pump(&l);
			assert_int_equal(smtp_client_step(l.c), SMTP_CLIENT_DONE);
			outcome_is(smtp_client_outcome(l.c, 1), CAT_STAGE_message, 0, 250, true);
			assert_int_equal(smtp_client_outcome(l.c, 0)->delivered, i != 1);
			assert_int_equal(buf_len(&l.h.message), sizeof(body) + 1);
			assert_memory_equal(buf_span(&l.h.message).p, body, sizeof(body) - 1);
		}
		smtp_client_quit(l.c, 0);
		pump(&l);
		assert_int_equal(smtp_client_step(l.c), SMTP_CLIENT_DEAD);
		assert_true(l.h.closed);
		smtp_client_free(&l.c);
		smtp_host_done(&l.h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_is_pipelined_and_delivered),
		cmocka_unit_test(without_pipelining_one_command_goes_at_a_time),
		cmocka_unit_test(ehlo_refused_is_tried_as_helo),
		cmocka_unit_test(sessions_that_never_start_have_an_outcome),
		cmocka_unit_test(pipelined_groups_are_sorted_out),
		cmocka_unit_test(a_go_ahead_for_nobody_is_answered_with_a_lone_dot),
		cmocka_unit_test(a_reply_before_its_question_is_never_its_answer),
		cmocka_unit_test(an_idle_server_may_say_421),
		cmocka_unit_test(the_final_reply_decides),
		cmocka_unit_test(a_lost_connection_says_where),
		cmocka_unit_test(a_body_that_breaks_off_is_never_ended),
		cmocka_unit_test(bodies_are_stuffed_however_they_are_split),
		cmocka_unit_test(parameters_go_only_to_those_who_offer_them),
		cmocka_unit_test(a_message_over_the_servers_size_is_not_offered),
		cmocka_unit_test(an_address_cannot_carry_a_command),
		cmocka_unit_test(each_stage_has_its_time),
		cmocka_unit_test(a_flood_of_words_costs_no_outcome),
		cmocka_unit_test(client_and_server_understand_each_other),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
