/*
 * tests/unit/test_smtp_extensions.c - STARTTLS, AUTH, BDAT, XCLIENT in the server machine.
 *
 * What each command earns in which state is in smtp_matrix.def; here is what goes wrong
 * between states: octets split anywhere, secrets that must not be seen, what a new
 * state must have forgotten.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/err.h"
#include "catalogue/reply_ids.h"
#include "smtp/server-private.h"
#include "tests/unit/smtp_host.h"

static struct smtp_server_options options(void)
{
	struct smtp_server_options o;

	smtp_server_options_init(&o, catalogue_builtin(), "mx.example.org");
	o.extensions = ~0u;
	o.auth_mechanisms = "PLAIN LOGIN SCRAM-SHA-256-PLUS";
	return o;
}

/* Play `in` in pieces of every size: log and last message must be these each time. */
static void play_in_pieces(
    const struct smtp_server_options *o, struct span in, const char *log, struct span message)
{
	for (size_t step = 0; step <= in.n; step++) {
		struct smtp_host h;
		smtp_host_init(&h, o);
		smtp_host_feed(&h, in, step);
		if (strcmp(smtp_host_log(&h), log) != 0)
			fail_msg("in pieces of %zu: %s", step, smtp_host_log(&h));
		if (!span_eq(buf_span(&h.message), message))
			fail_msg("in pieces of %zu: another message", step);
		smtp_host_done(&h);
	}
}

static void chunks_are_the_same_however_they_are_split(void **state)
{
	const struct span in =
	    SPAN_LIT("EHLO x\r\nMAIL FROM:<a@b> BODY=BINARYMIME\r\nRCPT TO:<c@d>\r\n"
		     "BDAT 7\r\nA: b\r\n\r"
		     "BDAT 8\r\n\n.\r\nQUIT"
		     "BDAT 4 LAST\r\n\0\r\n\n"
		     "QUIT\r\n");
	struct smtp_server_options o = options();

	(void)state;
	play_in_pieces(&o, in, "CONNECT EHLO(x) MAIL(a@b) RCPT(c@d) BDAT MESSAGE CLOSE(bye)",
	    SPAN_LIT("A: b\r\n\r\n.\r\nQUIT\0\r\n\n"));
}

static void a_line_end_may_be_split_between_chunks_and_is_judged_as_one(void **state)
{
	static const struct {
		const char *body[2], *log;
	} rows[] = {
		{ { "a\r", "\nb\r\n" }, "MESSAGE" },
		{ { "a\r\n", "b" }, "MESSAGE" },
		{ { "a", "\nb\r\n" }, "FAULT(bare_lf)" },
		{ { "a\r", "b\r\n" }, "FAULT(bare_cr)" },
		{ { "a\r\n", "b\r" }, "FAULT(bare_cr)" },
	};
	struct smtp_server_options o = options();

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		char in[200], log[200];
		snprintf(in, sizeof(in),
		    "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT %zu\r\n%sBDAT %zu "
		    "LAST\r\n%s",
		    strlen(rows[i].body[0]), rows[i].body[0], strlen(rows[i].body[1]),
		    rows[i].body[1]);
		snprintf(
		    log, sizeof(log), "CONNECT EHLO(x) MAIL(a@b) RCPT(c@d) BDAT %s", rows[i].log);
		for (size_t step = 0; step < strlen(in); step++) {
			struct smtp_host h;
			smtp_host_init(&h, &o);
			smtp_host_feed(&h, span_str(in), step);
			assert_string_equal(smtp_host_log(&h), log);
			smtp_host_done(&h);
		}
	}
}

static void a_refused_chunk_never_becomes_commands(void **state)
{
	const struct span in =
	    SPAN_LIT("EHLO x\r\nBDAT 32 LAST\r\nMAIL FROM:<evil@b>\r\nRSET\r\nNOOP\r\n"
		     "MAIL FROM:<a@b>\r\n");
	struct smtp_server_options o = options();

	(void)state;
	play_in_pieces(&o, in, "CONNECT EHLO(x) REFUSED(need_rcpt) MAIL(a@b)", SPAN_LIT(""));
}

static void the_refusal_of_a_chunk_waits_for_its_last_octet(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	smtp_host_init(&h, &o);
	smtp_host_say(&h, "EHLO x\r\n");
	smtp_host_forget(&h);
	smtp_host_say(&h, "BDAT 3\r\nab");
	assert_string_equal(smtp_host_output(&h), "");
	smtp_host_say(&h, "c");
	assert_true(smtp_host_said(&h, catalogue_reply(catalogue_builtin(), REPLY_NEED_RCPT)));
	smtp_host_done(&h);
}

static void a_refused_chunk_ends_the_transaction_and_the_host_is_told(void **state)
{
	const struct span in =
	    SPAN_LIT("EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 1\r\nxBDAT 0\r\n"
		     "BDAT 0 LAST\r\n");
	struct smtp_server_options o = options();

	(void)state;
	play_in_pieces(&o, in,
	    "CONNECT EHLO(x) MAIL(a@b) RCPT(c@d) BDAT REFUSED(null_bdat) RESET REFUSED(need_rcpt)",
	    SPAN_LIT(""));
}

/* What the machine shows of a step, of any kind, must not hold what stood behind AUTH. */
static void a_password_is_in_no_command_of_a_step(void **state)
{
	static const char *const lines[] = { "AUTH PLAIN AHVzZXIAc2VjcmV0\r\n",
		"AUTH PLAIN AHVzZXIAc2VjcmV0 x\r\n", "auth LOGIN c2VjcmV0*\r\n",
		"AUTH FOO c2VjcmV0\r\n", "\tAUTH PLAIN AHVzZXIAc2VjcmV0\r\n" };
	struct smtp_server_options o = options();

	(void)state;
	for (int tls = 0; tls < 2; tls++) {
		for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
			struct smtp_server *s;
			struct span in = span_str(lines[i]);
			const struct smtp_step *step;
			size_t used;
			o.tls = tls;
			assert_int_equal(smtp_server_new(&o, 0, &s), 0);
			assert_int_equal(smtp_server_feed(s, NULL, 0, 0, &used), 1);
			assert_true(smtp_server_answer(s, REPLY_BANNER, NULL) > 0);
			assert_int_equal(smtp_server_feed(s, in.p, in.n, 0, &used), 1);
			step = smtp_server_step(s);
			assert_true(step->command.n <= 5);
			assert_true(span_find(step->args.field[REPLY_FIELD_command], '0') < 0);
			smtp_server_free(&s);
		}
	}
}

static void a_response_is_wiped_when_its_step_ends(void **state)
{
	struct smtp_server_options o = options();
	struct reply_args args = { 0 };
	struct smtp_server *s;
	struct span in = SPAN_LIT("AUTH PLAIN AHVzZXIAc2VjcmV0\r\n");
	size_t used;

	(void)state;
	o.tls = true;
	args.field[REPLY_FIELD_detail] = SPAN_LIT("no");
	assert_int_equal(smtp_server_new(&o, 0, &s), 0);
	(void)smtp_server_feed(s, NULL, 0, 0, &used);
	assert_true(smtp_server_answer(s, REPLY_BANNER, NULL) > 0);
	assert_int_equal(smtp_server_feed(s, in.p, in.n, 0, &used), 1);
	assert_true(span_eq(smtp_server_step(s)->octets, SPAN_LIT("\0user\0secret")));
	assert_int_equal(smtp_server_answer(s, REPLY_AUTH_FAILED, &args), 535);
	assert_non_null(s->secret.data);
	for (size_t i = 0; i < s->secret.cap; i++)
		assert_int_equal(s->secret.data[i], 0);
	smtp_server_free(&s);
}

static void tls_forgets_who_had_greeted_and_authenticated(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	o.auth_without_tls = true;
	o.helo_required = true;
	smtp_host_init(&h, &o);
	smtp_host_say(&h, "EHLO x\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\n");
	assert_true(smtp_server_is_authenticated(h.server));
	assert_string_equal(smtp_server_protocol(h.server), "ESMTPA");
	smtp_host_say(&h, "MAIL FROM:<a@b>\r\nSTARTTLS\r\n");
	assert_true(smtp_server_is_tls(h.server));
	assert_false(smtp_server_is_authenticated(h.server));
	assert_false(smtp_server_in_transaction(h.server));
	assert_string_equal(smtp_server_protocol(h.server), "SMTP");
	smtp_host_forget(&h);
	smtp_host_say(&h, "MAIL FROM:<a@b>\r\n");
	assert_string_equal(smtp_host_log(&h), "REFUSED(helo_first)");
	smtp_host_say(&h, "EHLO x\r\n");
	assert_non_null(strstr(smtp_host_output(&h), "AUTH PLAIN LOGIN SCRAM-SHA-256-PLUS\r\n"));
	assert_null(strstr(smtp_host_output(&h), "STARTTLS"));
	smtp_host_done(&h);
}

static void nothing_is_read_between_starttls_and_the_handshake(void **state)
{
	struct smtp_server_options o = options();
	struct span in = SPAN_LIT("STARTTLS\r\nMAIL FROM:<evil@b>\r\n");
	struct smtp_server *s;
	size_t used, more;

	(void)state;
	assert_int_equal(smtp_server_new(&o, 0, &s), 0);
	(void)smtp_server_feed(s, NULL, 0, 0, &used);
	assert_true(smtp_server_answer(s, REPLY_BANNER, NULL) > 0);
	assert_int_equal(smtp_server_feed(s, in.p, in.n, 0, &used), 1);
	assert_int_equal(used, 10);
	assert_true(smtp_server_early(s)); /* who speaks on is told on, if not refused */
	assert_int_equal(smtp_server_answer(s, REPLY_TLS_READY, NULL), 220);
	assert_int_equal(smtp_server_feed(s, in.p + used, in.n - used, 0, &more), 1);
	assert_int_equal(more, 0);
	assert_int_equal(smtp_server_step(s)->kind, SMTP_STEP_TLS);
	assert_int_equal(smtp_server_answer(s, REPLY_OK, NULL), -ERR_INVAL);
	smtp_server_free(&s);
}

/* A chunk before STARTTLS must not be the beginning of the first message behind it. */
static void nothing_of_a_message_in_clear_is_part_of_one_under_tls(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	smtp_host_init(&h, &o);
	smtp_host_say(
	    &h, "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 3\r\na\r\nSTARTTLS\r\n");
	smtp_host_forget(&h);
	smtp_host_say(&h, "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 3 LAST\r\nb\r\n");
	assert_string_equal(smtp_host_log(&h), "EHLO(x) MAIL(a@b) RCPT(c@d) BDAT MESSAGE");
	assert_string_equal(buf_cstr(&h.message), "b\r\n");
	smtp_host_done(&h);
}

static void a_client_that_leaves_within_auth_ends_the_exchange(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	o.tls = true;
	smtp_host_init(&h, &o);
	smtp_host_say(&h, "EHLO x\r\nAUTH PLAIN\r\n");
	smtp_host_forget(&h);
	smtp_server_eof(h.server);
	smtp_host_say(&h, "");
	assert_string_equal(smtp_host_log(&h), "AUTH_END CLOSE(-)");
	smtp_host_done(&h);
}

static void xclient_makes_the_session_another_clients(void **state)
{
	struct smtp_server_options o = options();
	struct smtp_host h;

	(void)state;
	o.tls = true;
	smtp_host_init(&h, &o);
	smtp_host_say(&h, "EHLO x\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\n");
	smtp_host_forget(&h);
	smtp_host_say(
	    &h, "XCLIENT NAME=c.example ADDR=IPV6:2001:db8::1 LOGIN=[UNAVAILABLE] HELO=a+2Bb\r\n");
	assert_string_equal(smtp_host_log(&h),
	    "XCLIENT NAME(c.example) ADDR(IPV6:2001:db8::1) HELO(a+b) LOGIN(?) CONNECT");
	assert_false(smtp_server_is_authenticated(h.server));
	assert_string_equal(smtp_server_protocol(h.server), "SMTP");
	smtp_host_done(&h);
}

static void protocols_have_the_names_of_rfc_3848_and_6531(void **state)
{
	static const struct {
		bool tls;
		const char *in, *name;
	} rows[] = {
		{ false, "HELO x\r\nMAIL FROM:<a@b>\r\n", "SMTP" },
		{ false, "EHLO x\r\nMAIL FROM:<a@b>\r\n", "ESMTP" },
		{ true, "EHLO x\r\nMAIL FROM:<a@b>\r\n", "ESMTPS" },
		{ true, "EHLO x\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\nMAIL FROM:<a@b>\r\n", "ESMTPSA" },
		{ false, "EHLO x\r\nMAIL FROM:<a@b> SMTPUTF8\r\n", "UTF8SMTP" },
		{ true, "EHLO x\r\nMAIL FROM:<a@b> SMTPUTF8\r\n", "UTF8SMTPS" },
		{ true, "EHLO x\r\nAUTH PLAIN AHVzZXIAc2VjcmV0\r\nMAIL FROM:<a@b> SMTPUTF8\r\n",
		    "UTF8SMTPSA" },
	};
	struct smtp_server_options o = options();

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct smtp_host h;
		o.tls = rows[i].tls;
		smtp_host_init(&h, &o);
		smtp_host_say(&h, rows[i].in);
		assert_string_equal(smtp_server_protocol(h.server), rows[i].name);
		smtp_host_done(&h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chunks_are_the_same_however_they_are_split),
		cmocka_unit_test(a_line_end_may_be_split_between_chunks_and_is_judged_as_one),
		cmocka_unit_test(a_refused_chunk_never_becomes_commands),
		cmocka_unit_test(the_refusal_of_a_chunk_waits_for_its_last_octet),
		cmocka_unit_test(a_refused_chunk_ends_the_transaction_and_the_host_is_told),
		cmocka_unit_test(a_password_is_in_no_command_of_a_step),
		cmocka_unit_test(a_response_is_wiped_when_its_step_ends),
		cmocka_unit_test(tls_forgets_who_had_greeted_and_authenticated),
		cmocka_unit_test(nothing_is_read_between_starttls_and_the_handshake),
		cmocka_unit_test(nothing_of_a_message_in_clear_is_part_of_one_under_tls),
		cmocka_unit_test(a_client_that_leaves_within_auth_ends_the_exchange),
		cmocka_unit_test(xclient_makes_the_session_another_clients),
		cmocka_unit_test(protocols_have_the_names_of_rfc_3848_and_6531),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
