/*
 * tests/unit/test_smtp_server.c - the server machine of src/smtp.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/err.h"
#include "catalogue/reply_ids.h"
#include "smtp/server-private.h"
#include "tests/unit/guard.h"
#include "tests/unit/smtp_host.h"

#include <stdlib.h>

#define COUNT(rows) (sizeof(rows) / sizeof(*(rows)))

static struct smtp_server_options options(void)
{
	struct smtp_server_options o;

	smtp_server_options_init(&o, catalogue_builtin(), "mx.example.org");
	return o;
}

static void start(struct smtp_host *h, const struct smtp_server_options *o)
{
	smtp_host_init(h, o);
	smtp_host_say(h, "");
	smtp_host_forget(h);
}

static void a_message_passes_and_its_dots_are_unstuffed(void **state)
{
	static const char in[] = "EHLO client.example\r\n"
				 "MAIL FROM:<a@b.example> SIZE=100\r\n"
				 "RCPT TO:<c@d.example>\r\nRCPT TO:<e@f.example>\r\nDATA\r\n"
				 "Subject: x\r\n\r\n..dot\r\n.. \r\na\r\n.\r\n"
				 "QUIT\r\n";
	struct smtp_server_options o = options();

	(void)state;
	for (size_t step = 0; step < sizeof(in); step++) {
		struct smtp_host h;
		smtp_host_init(&h, &o);
		smtp_host_feed(&h, span_str(in), step);
		assert_string_equal(smtp_host_log(&h),
		    "CONNECT EHLO(client.example) MAIL(a@b.example) RCPT(c@d.example) "
		    "RCPT(e@f.example) DATA MESSAGE CLOSE(bye)");
		assert_string_equal(buf_cstr(&h.message), "Subject: x\r\n\r\n.dot\r\n. \r\na\r\n");
		assert_int_equal(h.messages, 1);
		assert_non_null(strstr(smtp_host_output(&h),
		    "250-mx.example.org\r\n250-PIPELINING\r\n"
		    "250-SIZE 10240000\r\n250-VRFY\r\n"
		    "250-ETRN\r\n250-ENHANCEDSTATUSCODES\r\n"
		    "250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n"
		    "250-BINARYMIME\r\n250 LIMITS RCPTMAX=1000\r\n"));
		smtp_host_done(&h);
	}
}

static void ehlo_announces_what_is_on(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	o.extensions = 0;
	start(&h, &o);
	smtp_host_say(&h, "EHLO x\r\n");
	assert_string_equal(smtp_host_output(&h), "250 mx.example.org\r\n");
	smtp_host_done(&h);
	o.extensions = SMTP_EXT_SIZE;
	o.message_octets_max = 0;
	start(&h, &o);
	smtp_host_say(&h, "EHLO x\r\n");
	assert_string_equal(smtp_host_output(&h), "250-mx.example.org\r\n250 SIZE\r\n");
	smtp_host_done(&h);
}

static void verbs_are_read_in_either_case_and_with_blanks(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	start(&h, &o);
	smtp_host_say(&h, "ehlo  x \r\n mAiL fRoM: <a@b>  size=1 \r\nRcpt To:c@d\r\n\tnoop\t\r\n");
	assert_string_equal(smtp_host_log(&h), "EHLO(x) MAIL(a@b) RCPT(c@d)");
	smtp_host_done(&h);
}

static void bad_lines_have_their_replies(void **state)
{
	static const struct {
		const char *name, *in;
		int reply;
	} rows[] = {
		{ "8 bit, not UTF-8", "HELO \344\r\n", REPLY_BAD_UTF8 },
		{ "8 bit, UTF-8", "HELO \303\244\r\n", REPLY_BAD_SYNTAX },
		{ "a bare CR", "HELO a\rb\r\n", REPLY_BAD_SYNTAX },
		{ "CR CR LF", "HELO a\r\r\n", REPLY_BAD_SYNTAX },
		{ "escape", "HELO \033[2J\r\n", REPLY_BAD_SYNTAX },
		{ "DEL", "HELO a\177\r\n", REPLY_BAD_SYNTAX },
		{ "blanks alone", "  \t\r\n", REPLY_BAD_SYNTAX },
		{ "a header", "Subject: hello\r\n", REPLY_COMMAND_NON_SMTP },
		{ "a POST", "POST /x HTTP/1.0\r\n", REPLY_COMMAND_NON_SMTP },
		{ "no letter", "<html>\r\n", REPLY_COMMAND_NON_SMTP },
		{ "a bare LF", "HELO a\n", REPLY_BARE_LF },
		{ "an empty line, bare", "\n", REPLY_BARE_LF },
		{ "no colon", "MAIL FROM <a@b>\r\n", REPLY_SYNTAX_MAIL },
		{ "a blank before the colon", "MAIL FROM :<a@b>\r\n", REPLY_SYNTAX_MAIL },
		{ "nothing behind the colon", "MAIL FROM: \r\n", REPLY_SYNTAX_MAIL },
		{ "no path", "MAIL FROM:<a@b\r\n", REPLY_BAD_SENDER_SYNTAX },
		{ "glued parameter", "MAIL FROM:<a@b>SIZE=1\r\n", REPLY_BAD_SENDER_SYNTAX },
		{ "unknown parameter", "MAIL FROM:<a@b> X=1\r\n", REPLY_UNSUPPORTED_OPTION },
		{ "too large", "MAIL FROM:<a@b> SIZE=10240001\r\n", REPLY_SIZE_FIXED_LIMIT },
		{ "VRFY of no address", "VRFY a b c\r\n", REPLY_BAD_RECIPIENT_SYNTAX },
	};
	struct smtp_server_options o = options();

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		for (size_t step = 0; step < 3; step++) {
			struct smtp_host h;
			start(&h, &o);
			smtp_host_feed(&h, span_str(rows[i].in), step);
			if (!smtp_host_said(
				&h, catalogue_reply(catalogue_builtin(), rows[i].reply)))
				fail_msg("%s by %zu: %s", rows[i].name, step, smtp_host_output(&h));
			smtp_host_done(&h);
		}
	}
}

static void a_nul_is_only_a_bad_octet(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	start(&h, &o);
	smtp_host_feed(&h, SPAN_LIT("RSET\0x\r\nQUIT\r\n"), 0);
	assert_string_equal(smtp_host_log(&h), "REFUSED(bad_syntax) CLOSE(bye)");
	smtp_host_done(&h);
}

static void a_line_over_the_limit_is_eaten_with_one_reply(void **state)
{
	struct smtp_server_options o = options();
	struct buf in;

	(void)state;
	o.line_octets_max = 512;
	buf_init(&in, 1 << 20);
	for (int extra = 0; extra < 3; extra++) { /* 511, 512 and 513 octets */
		buf_reset(&in);
		buf_add_str(&in, "NOOP ");
		while (buf_len(&in) < 509 + (size_t)extra)
			buf_add_char(&in, 'x');
		buf_add_str(&in, "\r\n");
		for (size_t step = 0; step < 600; step += 97) {
			struct smtp_host h;
			start(&h, &o);
			smtp_host_feed(&h, buf_span(&in), step);
			assert_string_equal(
			    smtp_host_log(&h), extra < 2 ? "" : "REFUSED(line_too_long)");
			smtp_host_done(&h);
		}
	}
	buf_reset(&in);
	for (int i = 0; i < 100000; i++)
		buf_add_char(&in, 'x');
	buf_add_str(&in, "\r\nNOOP\r\n");
	for (size_t step = 0; step < 20000; step += 9999) {
		struct smtp_host h;
		start(&h, &o);
		smtp_host_feed(&h, buf_span(&in), step);
		assert_string_equal(smtp_host_log(&h), "REFUSED(line_too_long)");
		assert_non_null(strstr(smtp_host_output(&h), "250 2.0.0 "));
		smtp_host_done(&h);
	}
	buf_truncate(&in, 100000);
	buf_add_str(&in, "\nNOOP\r\n"); /* and a long line may not hide a bare LF */
	for (size_t step = 0; step < 20000; step += 9999) {
		struct smtp_host h;
		start(&h, &o);
		smtp_host_feed(&h, buf_span(&in), step);
		assert_string_equal(smtp_host_log(&h), "REFUSED(bare_lf) CLOSE(bare_lf)");
		smtp_host_done(&h);
	}
	buf_done(&in);
}

static void nothing_behind_a_bare_lf_is_a_command(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	start(&h, &o);
	smtp_host_say(&h, "EHLO x\r\nMAIL FROM:<a@b>\nRCPT TO:<c@d>\r\nDATA\r\n");
	assert_string_equal(smtp_host_log(&h), "EHLO(x) REFUSED(bare_lf) CLOSE(bare_lf)");
	smtp_host_done(&h);
}

/* Every way to fake an end of data: none ends it, all are refused at the true end. */
static void no_false_end_of_data_is_taken(void **state)
{
	static const struct {
		const char *body;
		const char *fault;
	} rows[] = {
		{ "a\n.\n", "bare_lf" },
		{ "a\n.\r\n", "bare_lf" },
		{ "a\r\n.\n", "bare_lf" },
		{ "a\r.\r", "bare_cr" },
		{ "a\r.\r\n", "bare_cr" },
		{ "a\r\n.\r", "bare_cr" },
		{ "a\r.\n", "bare_cr" },
		{ "a\n.\r", "bare_lf" },
		{ "a\r\r\n.\r\r\n", "bare_cr" },
		{ "a\r\n.\r\r\n", "bare_cr" },
		{ "\n.\r\n", "bare_lf" },
		{ ".\n", "bare_lf" },
		{ ".\r", "bare_cr" },
		{ "a\r\n\n.\n\r\n", "bare_lf" },
	};
	static const char smuggled[] = "MAIL FROM:<evil@x>\r\nRCPT TO:<victim@y>\r\nDATA\r\nforged";
	struct smtp_server_options o = options();
	char in[512], want[256];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		snprintf(in, sizeof(in),
		    "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n%s%s\r\n.\r\nQUIT\r\n",
		    rows[i].body, smuggled);
		snprintf(want, sizeof(want),
		    "EHLO(x) MAIL(a@b) RCPT(c@d) DATA FAULT(%s) CLOSE(bye)", rows[i].fault);
		for (size_t step = 0; step < 40; step++) {
			struct smtp_host h;
			start(&h, &o);
			smtp_host_feed(&h, span_str(in), step);
			if (strcmp(smtp_host_log(&h), want) != 0)
				fail_msg("row %zu by %zu: %s", i, step, smtp_host_log(&h));
			assert_int_equal(h.messages, 0);
			smtp_host_done(&h);
		}
	}
}

static void true_ends_are_found_wherever_the_octets_are_split(void **state)
{
	static const struct {
		const char *body, *message;
	} rows[] = {
		{ ".\r\n", "" },
		{ "\r\n.\r\n", "\r\n" },
		{ "..\r\n.\r\n", ".\r\n" },
		{ "...\r\n.\r\n", "..\r\n" },
		{ ".a\r\n.\r\n", "a\r\n" },
		{ "a.\r\n.b.\r\n..c\r\n.\r\n", "a.\r\nb.\r\n.c\r\n" },
		{ ". \r\n.\r\n", " \r\n" },
	};
	struct smtp_server_options o = options();
	char in[512];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		snprintf(in, sizeof(in),
		    "HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<c@d>\r\nDATA\r\n%sNOOP\r\n", rows[i].body);
		for (size_t step = 0; step < sizeof(in); step = step * 2 + 1) {
			struct smtp_host h;
			struct guard g;
			start(&h, &o);
			smtp_host_feed(&h, guard_copy(&g, span_str(in)), step);
			assert_string_equal(
			    smtp_host_log(&h), "HELO(x) MAIL() RCPT(c@d) DATA MESSAGE");
			assert_string_equal(buf_cstr(&h.message), rows[i].message);
			guard_free(&g);
			smtp_host_done(&h);
		}
	}
}

static void a_nul_in_the_body_is_passed_on_unless_it_is_not_wanted(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	for (int refused = 0; refused < 2; refused++) {
		o.nul_refused = refused;
		start(&h, &o);
		smtp_host_feed(&h,
		    SPAN_LIT("HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<c@d>\r\nDATA\r\na\0b\r\n.\r\n"),
		    0);
		assert_int_equal(buf_len(&h.message), refused ? 0 : 5);
		if (!refused)
			assert_memory_equal(buf_span(&h.message).p, "a\0b\r\n", 5);
		smtp_host_done(&h);
	}
}

static void hops_are_counted_in_the_header_only(void **state)
{
	static const struct {
		const char *body;
		bool loop;
	} rows[] = {
		{ "Received: a\r\nReceived: b\r\nX: y\r\n\r\n", false },
		{ "Received: a\r\nreceived : b\r\nRECEIVED:c\r\n\r\n", true },
		{ "Received: a\r\nReceived: b\r\n\r\nReceived: c\r\n", false },
		{ "Received: a\r\n Received: b\r\n\tReceived: c\r\nReceived: d\r\n\r\n", false },
		{ "Received: a\r\nReceived-SPF: b\r\nX-Received: c\r\nReceive: d\r\nReceived: "
		  "e\r\n\r\n",
		    false },
		{ "no header\r\nReceived: a\r\nReceived: b\r\nReceived: c\r\n", false },
		{ "X: y\r\n ..\r\n..Received: a\r\nReceived: a\r\nReceived: b\r\n\r\n", false },
		{ "Received: a\r\nReceived: b\r\nX:\r\nReceived: c\r\n\r\n", true },
	};
	struct smtp_server_options o = options();
	char in[512];

	(void)state;
	o.hops_max = 2;
	for (size_t i = 0; i < COUNT(rows); i++) {
		snprintf(in, sizeof(in),
		    "HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<c@d>\r\nDATA\r\n%s.\r\n", rows[i].body);
		for (size_t step = 0; step < 60; step++) {
			struct smtp_host h;
			start(&h, &o);
			smtp_host_feed(&h, span_str(in), step);
			if ((strstr(smtp_host_log(&h), "FAULT(mail_loop)") != NULL) != rows[i].loop)
				fail_msg("row %zu by %zu: %s", i, step, smtp_host_log(&h));
			smtp_host_done(&h);
		}
	}
}

static void a_message_over_the_limit_is_read_and_refused(void **state)
{
	struct smtp_server_options o = options();

	(void)state;
	o.message_octets_max = 10;
	for (int extra = 0; extra < 2; extra++) {
		for (size_t step = 0; step < 9; step++) {
			struct smtp_host h;
			start(&h, &o);
			smtp_host_feed(
			    &h, span_str("HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<c@d>\r\nDATA\r\n"), 0);
			smtp_host_feed(&h,
			    span_str(extra ? "123456\r\n..\r\n.\r\nNOOP\r\n"
					   : "1234567\r\n.\r\nNOOP\r\n"),
			    step);
			assert_string_equal(smtp_host_log(&h),
			    extra ? "HELO(x) MAIL() RCPT(c@d) DATA FAULT(message_too_big)"
				  : "HELO(x) MAIL() RCPT(c@d) DATA MESSAGE");
			smtp_host_done(&h);
		}
	}
}

static void recipients_above_the_limit_wait_for_the_next_message(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	o.rcpt_max = 2;
	start(&h, &o);
	smtp_host_say(
	    &h, "HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@d>\r\nRCPT TO:<b@d>\r\nRCPT TO:<c@d>\r\n");
	assert_string_equal(
	    smtp_host_log(&h), "HELO(x) MAIL() RCPT(a@d) RCPT(b@d) REFUSED(too_many_recipients)");
	assert_int_equal(smtp_server_errors(h.server), 0);
	smtp_host_done(&h);
}

static void errors_slow_down_and_then_end_a_session(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	o.error_soft_limit = 2;
	o.error_hard_limit = 3;
	start(&h, &o);
	smtp_host_say(&h, "HELO x\r\nMAIL FROM:<>\r\nFOO\r\n");
	assert_int_equal(smtp_server_delay_ms(h.server), 0);
	h.answers[SMTP_STEP_RCPT] = REPLY_BAD_RECIPIENT_SYNTAX; /* the host's word counts as well */
	smtp_host_say(&h, "RCPT TO:<a@b>\r\n");
	assert_int_equal(smtp_server_errors(h.server), 2);
	assert_int_equal(smtp_server_delay_ms(h.server), 1000);
	smtp_host_say(&h, "DATA\r\nNOOP\r\n");
	assert_string_equal(smtp_host_log(&h),
	    "HELO(x) MAIL() REFUSED(command_unknown) RCPT(a@b) REFUSED(no_valid_recipients) RESET "
	    "CLOSE(too_many_errors)");
	smtp_host_done(&h);
}

static void a_good_message_forgives_errors(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	start(&h, &o);
	smtp_host_say(&h, "FOO\r\nHELO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n.\r\n");
	assert_int_equal(smtp_server_errors(h.server), 0);
	h.answers[SMTP_STEP_MESSAGE] = REPLY_QUEUE_WRITE_ERROR;
	smtp_host_say(&h, "MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n.\r\n");
	assert_int_equal(smtp_server_errors(h.server), 1);
	assert_false(smtp_server_in_transaction(h.server));
	smtp_host_done(&h);
}

static void junk_commands_become_errors(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	o.junk_limit = 3;
	o.error_hard_limit = 2;
	start(&h, &o);
	smtp_host_say(&h, "NOOP\r\nRSET\r\nNOOP\r\nVRFY a\r\n");
	assert_int_equal(smtp_server_errors(h.server), 0);
	smtp_host_say(&h, "NOOP\r\nNOOP\r\nNOOP\r\nNOOP\r\n");
	assert_string_equal(smtp_host_log(&h), "VRFY(a) CLOSE(too_many_errors)");
	smtp_host_done(&h);
}

static void speaking_out_of_turn_is_noted(void **state)
{
	static const struct {
		const char *in;
		bool early;
	} rows[] = {
		{ "EHLO x\r\n", false },
		{ "EHLO x\r\nMAIL FROM:<>\r\n", true },
		{ "HELO x\r\n", false },
	};
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		start(&h, &o);
		smtp_host_say(&h, rows[i].in);
		assert_int_equal(h.early, rows[i].early);
		smtp_host_done(&h);
	}
	start(&h, &o);
	smtp_host_say(&h, "EHLO x\r\n");
	smtp_host_say(&h, "MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n");
	assert_false(h.early);
	smtp_host_say(&h, "x\r\n.\r\nQUIT\r\n");
	assert_false(h.early);
	smtp_host_done(&h);
	start(&h, &o);
	smtp_host_say(&h, "HELO x\r\n");
	smtp_host_say(&h, "MAIL FROM:<>\r\nRCPT TO:<a@b>\r\n"); /* pipelining is EHLO's */
	assert_true(h.early);
	smtp_host_done(&h);
}

static void resets_are_told_once(void **state)
{
	static const struct {
		const char *in, *log;
	} rows[] = {
		{ "RSET\r\n", "" },
		{ "MAIL FROM:<>\r\nRSET\r\nRSET\r\n", "MAIL() RESET" },
		{ "MAIL FROM:<>\r\nEHLO y\r\n", "MAIL() EHLO(y) RESET" },
		{ "MAIL FROM:<>\r\nQUIT\r\n", "MAIL() RESET CLOSE(bye)" },
		{ "MAIL FROM:<>\r\nGET /\r\n", "MAIL() RESET CLOSE(command_non_smtp)" },
		{ "MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nx\r\n.\r\nRSET\r\nQUIT\r\n",
		    "MAIL() RCPT(a@b) DATA MESSAGE CLOSE(bye)" },
	};
	struct smtp_server_options o = options();

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct smtp_host h;
		start(&h, &o);
		smtp_host_say(&h, "EHLO x\r\n");
		smtp_host_forget(&h);
		smtp_host_say(&h, rows[i].in);
		assert_string_equal(smtp_host_log(&h), rows[i].log);
		smtp_host_done(&h);
	}
}

static void a_refused_greeting_leaves_the_transaction_alone(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	start(&h, &o);
	smtp_host_say(&h, "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\n");
	h.answers[SMTP_STEP_HELO] = REPLY_SYNTAX_HELO;
	smtp_host_say(&h, "HELO y\r\n");
	assert_true(smtp_server_in_transaction(h.server));
	assert_string_equal(smtp_server_protocol(h.server), "ESMTP");
	smtp_host_say(&h, "DATA\r\n.\r\n");
	assert_int_equal(h.messages, 1);
	smtp_host_done(&h);
}

static void a_closing_refusal_closes_anywhere(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	smtp_host_init(&h, &o);
	h.answers[SMTP_STEP_CONNECT] = REPLY_NO_RESOURCES;
	smtp_host_say(&h, "EHLO x\r\n");
	assert_string_equal(smtp_host_log(&h), "CONNECT CLOSE(no_resources)");
	smtp_host_done(&h);
	start(&h, &o);
	h.answers[SMTP_STEP_MAIL] = REPLY_CLOSING;
	smtp_host_say(&h, "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\n");
	assert_string_equal(smtp_host_log(&h), "EHLO(x) MAIL() CLOSE(closing)");
	smtp_host_done(&h);
}

static void timeouts_start_afresh_with_whole_commands_only(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	o.timeout_ms = 1000;
	smtp_host_init(&h, &o);
	assert_int_equal(smtp_server_deadline(h.server), 2000);
	smtp_host_say(&h, "");
	h.now_ms = 1500;
	smtp_host_say(&h, "NOOP\r\n");
	assert_int_equal(smtp_server_deadline(h.server), 2500);
	h.now_ms = 1600;
	smtp_host_say(&h, "NO"); /* a trickle of octets is not progress */
	assert_int_equal(smtp_server_deadline(h.server), 2500);
	smtp_server_timeout(h.server, 2499);
	smtp_host_say(&h, "OP\r\n");
	assert_int_equal(smtp_server_deadline(h.server), 2600);
	smtp_host_say(&h, "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n");
	h.now_ms = 2000;
	smtp_host_say(&h, "x");
	assert_int_equal(smtp_server_deadline(h.server), 3000);
	smtp_host_forget(&h);
	smtp_server_timeout(h.server, 3000);
	smtp_host_say(&h, "x\r\n.\r\n");
	assert_string_equal(smtp_host_log(&h), "RESET CLOSE(timeout)");
	assert_true(smtp_host_said(&h, catalogue_reply(catalogue_builtin(), REPLY_TIMEOUT)));
	smtp_host_done(&h);
}

static void a_lost_client_ends_the_transaction(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	start(&h, &o);
	smtp_host_say(&h, "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\nhalf a mess");
	smtp_host_forget(&h);
	smtp_server_eof(h.server);
	smtp_host_say(&h, "");
	assert_string_equal(smtp_host_log(&h), "RESET CLOSE(-)");
	assert_int_equal(h.close_reply, -1);
	assert_string_equal(smtp_host_output(&h), "");
	smtp_host_done(&h);
}

static void an_abort_ends_a_step_that_waits(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_server *s;
	size_t used;

	(void)state;
	assert_int_equal(smtp_server_new(&o, 0, &s), 0);
	assert_int_equal(smtp_server_feed(s, NULL, 0, 0, &used), 1);
	assert_true(smtp_server_deadline(s) == UINT64_MAX); /* the host is slow, not the peer */
	assert_int_equal(smtp_server_abort(s, REPLY_CLOSING, NULL), 421);
	assert_int_equal(smtp_server_answer(s, REPLY_BANNER, NULL), -ERR_INVAL);
	assert_int_equal(smtp_server_feed(s, NULL, 0, 0, &used), 1);
	assert_int_equal(smtp_server_step(s)->kind, SMTP_STEP_CLOSE);
	assert_int_equal(smtp_server_step(s)->reply, REPLY_CLOSING);
	smtp_server_free(&s);
	assert_null(s);
	smtp_server_free(&s);
}

static void answers_that_make_no_sense_are_refused(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_server *s;
	size_t used;

	(void)state;
	assert_int_equal(smtp_server_new(&o, 0, &s), 0);
	assert_int_equal(smtp_server_answer(s, REPLY_BANNER, NULL), -ERR_INVAL); /* no step yet */
	assert_int_equal(smtp_server_feed(s, NULL, 0, 0, &used), 1);
	assert_int_equal(smtp_server_answer(s, REPLY_DATA_GO, NULL), -ERR_INVAL);
	assert_int_equal(smtp_server_answer(s, 1000000, NULL), -ERR_INVAL);
	assert_int_equal(smtp_server_answer(s, -1, NULL), -ERR_INVAL);
	assert_int_equal(smtp_server_answer(s, REPLY_BANNER, NULL), 220);
	smtp_server_free(&s);
}

static void an_idle_session_is_small(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	start(&h, &o);
	smtp_host_say(&h, "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\nx\r\n.\r\n");
	assert_null(h.server->line.data);
	assert_null(h.server->out.data);
	assert_null(h.server->arena.head);
	assert_true(sizeof(*h.server) < 2048);
	smtp_host_done(&h);
}

static void steps_of_mail_and_rcpt_carry_their_parameters(void **state)
{
	struct smtp_server_options o = options();
	const struct smtp_step *step;
	struct smtp_server *s;
	const char *in = "EHLO x\r\n";
	size_t used;

	(void)state;
	assert_int_equal(smtp_server_new(&o, 0, &s), 0);
	smtp_server_feed(s, NULL, 0, 0, &used);
	smtp_server_answer(s, REPLY_BANNER, NULL);
	smtp_server_feed(s, (const uint8_t *)in, strlen(in), 0, &used);
	smtp_server_answer(s, REPLY_EHLO_OK, NULL);
	in = "MAIL FROM:<a@b> SIZE=9 BODY=8BITMIME RET=HDRS ENVID=x+2By\r\n";
	assert_int_equal(smtp_server_feed(s, (const uint8_t *)in, strlen(in), 0, &used), 1);
	step = smtp_server_step(s);
	assert_int_equal(step->kind, SMTP_STEP_MAIL);
	assert_int_equal(step->size, 9);
	assert_true(step->body_8bit);
	assert_int_equal(step->ret, 2);
	assert_true(span_eq(step->envid, SPAN_LIT("x+y")));
	assert_true(span_eq(step->command, span_of(in, strlen(in) - 2)));
	smtp_server_answer(s, REPLY_MAIL_OK, NULL);
	in = "RCPT TO:<c@d> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;e@f\r\n";
	assert_int_equal(smtp_server_feed(s, (const uint8_t *)in, strlen(in), 0, &used), 1);
	step = smtp_server_step(s);
	assert_int_equal(step->notify, 2 | 8);
	assert_true(span_eq(step->orcpt, SPAN_LIT("rfc822;e@f")));
	assert_true(span_eq(step->address.local, SPAN_LIT("c")));
	/* while it waits nothing is taken */
	assert_int_equal(smtp_server_feed(s, (const uint8_t *)in, strlen(in), 0, &used), 1);
	assert_int_equal(used, 0);
	smtp_server_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_passes_and_its_dots_are_unstuffed),
		cmocka_unit_test(ehlo_announces_what_is_on),
		cmocka_unit_test(verbs_are_read_in_either_case_and_with_blanks),
		cmocka_unit_test(bad_lines_have_their_replies),
		cmocka_unit_test(a_nul_is_only_a_bad_octet),
		cmocka_unit_test(a_line_over_the_limit_is_eaten_with_one_reply),
		cmocka_unit_test(nothing_behind_a_bare_lf_is_a_command),
		cmocka_unit_test(no_false_end_of_data_is_taken),
		cmocka_unit_test(true_ends_are_found_wherever_the_octets_are_split),
		cmocka_unit_test(a_nul_in_the_body_is_passed_on_unless_it_is_not_wanted),
		cmocka_unit_test(hops_are_counted_in_the_header_only),
		cmocka_unit_test(a_message_over_the_limit_is_read_and_refused),
		cmocka_unit_test(recipients_above_the_limit_wait_for_the_next_message),
		cmocka_unit_test(errors_slow_down_and_then_end_a_session),
		cmocka_unit_test(a_good_message_forgives_errors),
		cmocka_unit_test(junk_commands_become_errors),
		cmocka_unit_test(speaking_out_of_turn_is_noted),
		cmocka_unit_test(resets_are_told_once),
		cmocka_unit_test(a_refused_greeting_leaves_the_transaction_alone),
		cmocka_unit_test(a_closing_refusal_closes_anywhere),
		cmocka_unit_test(timeouts_start_afresh_with_whole_commands_only),
		cmocka_unit_test(a_lost_client_ends_the_transaction),
		cmocka_unit_test(an_abort_ends_a_step_that_waits),
		cmocka_unit_test(answers_that_make_no_sense_are_refused),
		cmocka_unit_test(an_idle_session_is_small),
		cmocka_unit_test(steps_of_mail_and_rcpt_carry_their_parameters),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
