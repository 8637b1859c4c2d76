/*
 * tests/unit/test_smtp_client_more.c - STARTTLS, AUTH, BDAT, LMTP and what else a server offers.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/err.h"
#include "smtp/client.h"
#include "smtp/params.h"
#include "smtp/server.h"
#include "tests/unit/smtp_talk.h"

#include <stdlib.h>

#define COUNT(rows) (sizeof(rows) / sizeof(*(rows)))

static const struct smtp_client_rcpt three[] = {
	{ .address = { (const uint8_t *)"a@x", 3 } },
	{ .address = { (const uint8_t *)"b@x", 3 } },
	{ .address = { (const uint8_t *)"c@x", 3 } },
};

static struct smtp_client_message message(size_t rcpts)
{
	return (struct smtp_client_message){
		.reverse_path = SPAN_LIT("s@y"), .rcpts = three, .rcpt_count = rcpts
	};
}

static struct smtp_client_options options(void)
{
	struct smtp_client_options o;

	smtp_client_options_init(&o, "out.example.net");
	return o;
}

/* Up to the answer to EHLO; the step that follows. */
static struct smtp_client *greeted(const struct smtp_client_options *o, const char *ehlo, int step)
{
	struct smtp_client *c = talk_new(o);

	hear(c, "220 mx\r\n");
	wrote_is(c, o->lmtp ? "LHLO out.example.net\r\n" : "EHLO out.example.net\r\n");
	assert_int_equal(hear(c, ehlo), step);
	return c;
}

/* ---- STARTTLS ---- */

#define TLS_EHLO "250-mx\r\n250-STARTTLS\r\n250-SIZE 10\r\n250-AUTH LOGIN\r\n250 PIPELINING\r\n"

static struct smtp_client *in_handshake(struct smtp_client_options o)
{
	struct smtp_client *c = greeted(&o, TLS_EHLO, SMTP_CLIENT_WAIT);

	wrote_is(c, "STARTTLS\r\n");
	assert_int_equal(hear(c, "220 2.0.0 go\r\n"), SMTP_CLIENT_TLS);
	return c;
}

static void after_the_handshake_all_is_asked_again_and_nothing_is_remembered(void **state)
{
	struct smtp_client_options o = options();
	struct smtp_client *c;

	(void)state;
	for (o.tls = SMTP_CLIENT_TLS_OFFERED; o.tls <= SMTP_CLIENT_TLS_REQUIRED; o.tls++) {
		c = in_handshake(o);
		assert_false(smtp_client_is_tls(c));
		assert_int_equal(smtp_client_deadline(c), o.timeouts.tls_ms);
		assert_int_equal(smtp_client_tls_active(c, false, 5), SMTP_CLIENT_WAIT);
		assert_true(smtp_client_is_tls(c));
		assert_int_equal(smtp_client_extensions(c), 0);
		assert_int_equal(smtp_client_size_max(c), 0);
		assert_int_equal(smtp_client_mechanisms(c).n, 0);
		wrote_is(c, "EHLO out.example.net\r\n");
		/* offered once more: it is not begun again */
		assert_int_equal(hear(c, "250-mx\r\n250 STARTTLS\r\n"), SMTP_CLIENT_READY);
		smtp_client_free(&c);
	}
	o = options();
	c = greeted(&o, TLS_EHLO, SMTP_CLIENT_READY); /* off: not begun at all */
	assert_int_equal(smtp_client_tls_active(c, true, 0), -ERR_INVAL);
	smtp_client_free(&c);
}

static void octets_in_clear_behind_the_go_ahead_end_the_session(void **state)
{
	struct smtp_client_options o = options();

	(void)state;
	o.tls = SMTP_CLIENT_TLS_OFFERED;
	for (unsigned how = 0; how < 3; how++) {
		struct smtp_client *c = greeted(&o, TLS_EHLO, SMTP_CLIENT_WAIT);
		flush(c);
		if (how == 0) {
			hear(c, "220 go\r\n250-injected\r\n250 SIZE 1\r\n");
		} else if (how == 1) {
			hear(c, "220 go\r\n2");
		} else {
			assert_int_equal(hear(c, "220 go\r\n"), SMTP_CLIENT_TLS);
			hear(c, "250 injected\r\n");
		}
		assert_int_equal(smtp_client_step(c), SMTP_CLIENT_DEAD);
		outcome_is(
		    smtp_client_session_outcome(c), CAT_STAGE_starttls, -ERR_PROTO, 0, false);
		assert_int_equal(smtp_client_tls_active(c, true, 0), -ERR_CLOSED);
		smtp_client_free(&c);
	}
}

static void a_server_that_will_not_encrypt_is_taken_as_the_option_says(void **state)
{
	static const struct {
		const char *ehlo, *answer; /* to STARTTLS, or NULL: not offered */
		enum smtp_client_tls tls;
		int step, err;
		unsigned code;
	} rows[] = {
		{ "250 mx\r\n", NULL, SMTP_CLIENT_TLS_OFFERED, SMTP_CLIENT_READY, 0, 0 },
		{ "250 mx\r\n", NULL, SMTP_CLIENT_TLS_REQUIRED, SMTP_CLIENT_WAIT, -ERR_UNSUPPORTED,
		    0 },
		{ TLS_EHLO, "454 4.7.0 not now\r\n", SMTP_CLIENT_TLS_OFFERED, SMTP_CLIENT_READY, 0,
		    0 },
		{ TLS_EHLO, "501 no\r\n", SMTP_CLIENT_TLS_OFFERED, SMTP_CLIENT_READY, 0, 0 },
		{ TLS_EHLO, "454 4.7.0 not now\r\n", SMTP_CLIENT_TLS_REQUIRED, SMTP_CLIENT_WAIT, 0,
		    454 },
		{ TLS_EHLO, "421 no\r\n", SMTP_CLIENT_TLS_OFFERED, SMTP_CLIENT_DEAD, 0, 421 },
		{ TLS_EHLO, "250 what\r\n", SMTP_CLIENT_TLS_OFFERED, SMTP_CLIENT_DEAD, -ERR_PROTO,
		    250 },
		{ TLS_EHLO, "334 what\r\n", SMTP_CLIENT_TLS_OFFERED, SMTP_CLIENT_DEAD, -ERR_PROTO,
		    334 },
		{ TLS_EHLO, "\x16\x03\x01 x\r\n", SMTP_CLIENT_TLS_OFFERED, SMTP_CLIENT_DEAD,
		    -ERR_PROTO, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct smtp_client_options o = options();
		struct smtp_client *c;
		o.tls = rows[i].tls;
		c = greeted(&o, rows[i].ehlo, rows[i].answer ? SMTP_CLIENT_WAIT : rows[i].step);
		if (rows[i].answer) {
			wrote_is(c, "STARTTLS\r\n");
			assert_int_equal(hear(c, rows[i].answer), rows[i].step);
		}
		assert_false(smtp_client_is_tls(c));
		if (rows[i].step == SMTP_CLIENT_READY) {
			assert_false(smtp_client_session_outcome(c)->is_set);
		} else {
			outcome_is(smtp_client_session_outcome(c), CAT_STAGE_starttls, rows[i].err,
			    rows[i].code, false);
		}
		if (rows[i].step == SMTP_CLIENT_WAIT)
			wrote_is(c, "QUIT\r\n");
		smtp_client_free(&c);
	}
}

static void a_handshake_that_fails_is_a_tls_failure(void **state)
{
	struct smtp_client_options o = options();
	struct smtp_client *c;

	(void)state;
	o.tls = SMTP_CLIENT_TLS_REQUIRED;
	c = in_handshake(o);
	smtp_client_lost(c, -ERR_TLS);
	outcome_is(smtp_client_session_outcome(c), CAT_STAGE_starttls, -ERR_TLS, 0, false);
	smtp_client_free(&c);
	/* after it nothing can be trusted that came before: HELO gives no extensions */
	c = in_handshake(o);
	smtp_client_tls_active(c, true, 0);
	flush(c);
	hear(c, "502 no EHLO\r\n");
	wrote_is(c, "HELO out.example.net\r\n");
	assert_int_equal(hear(c, "250 hi\r\n"), SMTP_CLIENT_READY);
	assert_int_equal(smtp_client_extensions(c), 0);
	smtp_client_free(&c);
}

/* ---- AUTH ---- */

static void credentials_are_given_and_challenges_answered(void **state)
{
	struct smtp_client_options o = options();
	struct span initial = SPAN_LIT("\0user\0pass"), none = SPAN_LIT("");
	struct smtp_client *c;

	(void)state;
	o.auth = o.tls_active = true;
	c = greeted(&o, "250-mx\r\n250-AUTH PLAIN LOGIN\r\n250 AUTH=PLAIN\r\n", SMTP_CLIENT_AUTH);
	assert_true(span_eq(smtp_client_mechanisms(c), SPAN_LIT("PLAIN LOGIN")));
	assert_int_equal(smtp_client_auth(c, "PL AIN", NULL, 0), -ERR_INVAL);
	assert_int_equal(smtp_client_auth(c, "PLAIN", &initial, 0), SMTP_CLIENT_WAIT);
	wrote_is(c, "AUTH PLAIN AHVzZXIAcGFzcw==\r\n");
	assert_false(smtp_client_is_authenticated(c));
	assert_int_equal(hear(c, "235 2.7.0 yes\r\n"), SMTP_CLIENT_READY);
	assert_true(smtp_client_is_authenticated(c));
	smtp_client_free(&c);

	c = greeted(&o, "250-mx\r\n250 AUTH LOGIN\r\n", SMTP_CLIENT_AUTH);
	smtp_client_auth(c, "LOGIN", NULL, 0);
	wrote_is(c, "AUTH LOGIN\r\n");
	assert_int_equal(hear(c, "334 VXNlcm5hbWU6\r\n"), SMTP_CLIENT_CHALLENGE);
	assert_true(span_eq(smtp_client_challenge(c), SPAN_LIT("Username:")));
	assert_int_equal(smtp_client_auth_response(c, SPAN_LIT("user"), 0), SMTP_CLIENT_WAIT);
	wrote_is(c, "dXNlcg==\r\n");
	assert_int_equal(hear(c, "334 \r\n"), SMTP_CLIENT_CHALLENGE);
	assert_int_equal(smtp_client_challenge(c).n, 0);
	smtp_client_auth_response(c, none, 0);
	wrote_is(c, "\r\n");
	assert_int_equal(hear(c, "235 yes\r\n"), SMTP_CLIENT_READY);
	smtp_client_free(&c);

	/* an initial response of no octets is "=" */
	c = greeted(&o, "250-mx\r\n250 AUTH EXTERNAL\r\n", SMTP_CLIENT_AUTH);
	smtp_client_auth(c, "EXTERNAL", &none, 0);
	wrote_is(c, "AUTH EXTERNAL =\r\n");
	smtp_client_free(&c);
}

static void an_initial_response_too_long_for_a_line_waits_for_its_challenge(void **state)
{
	struct smtp_client_options o = options();
	struct smtp_client *c;
	char big[600];
	struct span initial = span_of(big, sizeof(big));
	struct buf *out;

	(void)state;
	memset(big, 'x', sizeof(big));
	o.auth = o.auth_in_clear = true;
	c = greeted(&o, "250-mx\r\n250 AUTH PLAIN\r\n", SMTP_CLIENT_AUTH);
	smtp_client_auth(c, "PLAIN", &initial, 0);
	wrote_is(c, "AUTH PLAIN\r\n");
	assert_int_equal(hear(c, "334 \r\n"), SMTP_CLIENT_WAIT);
	out = smtp_client_output(c);
	assert_int_equal(buf_len(out), 802);
	flush(c);
	assert_int_equal(hear(c, "235 yes\r\n"), SMTP_CLIENT_READY);
	smtp_client_free(&c);
}

static void no_secret_leaves_when_it_must_not(void **state)
{
	static const struct {
		const char *name, *ehlo;
		bool in_clear;
		int err;
		unsigned missing;
	} rows[] = {
		{ "in clear", "250-mx\r\n250 AUTH PLAIN\r\n", false, -ERR_TLS, SMTP_EXT_STARTTLS },
		{ "not offered", "250 mx\r\n", true, -ERR_UNSUPPORTED, SMTP_EXT_AUTH },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct smtp_client_options o = options();
		struct smtp_client *c;
		o.auth = true;
		o.auth_in_clear = rows[i].in_clear;
		o.tls = SMTP_CLIENT_TLS_OFFERED;
		c = greeted(&o, rows[i].ehlo, SMTP_CLIENT_WAIT);
		wrote_is(c, "QUIT\r\n");
		outcome_is(smtp_client_session_outcome(c), CAT_STAGE_auth, rows[i].err, 0, false);
		assert_int_equal(smtp_client_session_outcome(c)->missing, rows[i].missing);
		assert_int_equal(hear(c, "221 bye\r\n"), SMTP_CLIENT_DEAD);
		smtp_client_free(&c);
	}
}

static void answers_to_auth_end_or_go_on(void **state)
{
	static const struct {
		const char *answer;
		int step, err;
		unsigned code;
	} rows[] = {
		{ "535 5.7.8 no\r\n", SMTP_CLIENT_WAIT, 0, 535 },
		{ "454 4.7.0 later\r\n", SMTP_CLIENT_WAIT, 0, 454 },
		{ "421 bye\r\n", SMTP_CLIENT_DEAD, 0, 421 },
		{ "250 ok\r\n", SMTP_CLIENT_DEAD, -ERR_PROTO, 250 },
		{ "354 go\r\n", SMTP_CLIENT_DEAD, -ERR_PROTO, 354 },
		{ "334 not base64\r\n", SMTP_CLIENT_DEAD, -ERR_PROTO, 334 },
		{ "334-YQ==\r\n334 YQ==\r\n", SMTP_CLIENT_DEAD, -ERR_PROTO, 334 },
		{ "hello\r\n", SMTP_CLIENT_DEAD, -ERR_PROTO, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct smtp_client_options o = options();
		struct smtp_client *c;
		o.auth = o.auth_in_clear = true;
		c = greeted(&o, "250-mx\r\n250 AUTH LOGIN\r\n", SMTP_CLIENT_AUTH);
		smtp_client_auth(c, "LOGIN", NULL, 0);
		flush(c);
		assert_int_equal(hear(c, rows[i].answer), rows[i].step);
		outcome_is(smtp_client_session_outcome(c), CAT_STAGE_auth, rows[i].err,
		    rows[i].code, false);
		assert_false(smtp_client_is_authenticated(c));
		if (rows[i].step == SMTP_CLIENT_WAIT)
			wrote_is(c, "QUIT\r\n");
		smtp_client_free(&c);
	}
}

static void authentication_is_given_up_politely(void **state)
{
	struct smtp_client_options o = options();
	struct smtp_client *c;

	(void)state;
	o.auth = o.auth_in_clear = true;
	c = greeted(&o, "250-mx\r\n250 AUTH STRANGE\r\n", SMTP_CLIENT_AUTH);
	assert_int_equal(smtp_client_auth_fail(c, 0), SMTP_CLIENT_WAIT);
	wrote_is(c, "QUIT\r\n");
	outcome_is(smtp_client_session_outcome(c), CAT_STAGE_auth, -ERR_AUTH, 0, false);
	smtp_client_free(&c);
	for (unsigned yes = 0; yes < 2; yes++) {
		c = greeted(&o, "250-mx\r\n250 AUTH X\r\n", SMTP_CLIENT_AUTH);
		smtp_client_auth(c, "X", NULL, 0);
		flush(c);
		hear(c, "334 YQ==\r\n");
		smtp_client_auth_fail(c, 0);
		wrote_is(c, "*\r\n");
		assert_int_equal(hear(c, yes ? "235 well done\r\n" : "501 5.7.0 as you wish\r\n"),
		    yes ? SMTP_CLIENT_DEAD : SMTP_CLIENT_WAIT);
		if (!yes)
			wrote_is(c, "QUIT\r\n");
		assert_false(smtp_client_is_authenticated(c));
		outcome_is(smtp_client_session_outcome(c), CAT_STAGE_auth, -ERR_AUTH, 0, false);
		smtp_client_free(&c);
	}
	/* a server that never has enough */
	c = greeted(&o, "250-mx\r\n250 AUTH X\r\n", SMTP_CLIENT_AUTH);
	smtp_client_auth(c, "X", NULL, 0);
	flush(c);
	while (hear(c, "334 YQ==\r\n") == SMTP_CLIENT_CHALLENGE) {
		smtp_client_auth_response(c, SPAN_LIT("b"), 0);
		flush(c);
	}
	outcome_is(smtp_client_session_outcome(c), CAT_STAGE_auth, -ERR_PROTO, 334, false);
	smtp_client_free(&c);
}

/* ---- what a message needs ---- */

static void a_message_is_not_given_to_a_server_that_lacks_what_it_needs(void **state)
{
	static const struct {
		const char *name, *ehlo;
		bool utf8, binary, require_tls, tls, verified;
		int err;
		unsigned missing;
		const char *mail; /* when it goes */
	} rows[] = {
		{ "no SMTPUTF8", "250 mx\r\n", true, false, false, false, false, -ERR_UNSUPPORTED,
		    SMTP_EXT_SMTPUTF8, NULL },
		{ "SMTPUTF8", "250-mx\r\n250 SMTPUTF8\r\n", true, false, false, false, false, 0, 0,
		    "MAIL FROM:<s@y> SMTPUTF8\r\n" },
		{ "no CHUNKING", "250-mx\r\n250 BINARYMIME\r\n", false, true, false, false, false,
		    -ERR_UNSUPPORTED, SMTP_EXT_BINARYMIME, NULL },
		{ "no BINARYMIME", "250-mx\r\n250 CHUNKING\r\n", false, true, false, false, false,
		    -ERR_UNSUPPORTED, SMTP_EXT_BINARYMIME, NULL },
		{ "BINARYMIME", "250-mx\r\n250-BINARYMIME\r\n250 CHUNKING\r\n", false, true, false,
		    false, false, 0, 0, "MAIL FROM:<s@y> BODY=BINARYMIME\r\n" },
		{ "REQUIRETLS in clear", "250-mx\r\n250 REQUIRETLS\r\n", false, false, true, false,
		    false, -ERR_TLS, 0, NULL },
		{ "REQUIRETLS unverified", "250-mx\r\n250 REQUIRETLS\r\n", false, false, true, true,
		    false, -ERR_TLS, 0, NULL },
		{ "no REQUIRETLS", "250 mx\r\n", false, false, true, true, true, -ERR_UNSUPPORTED,
		    SMTP_EXT_REQUIRETLS, NULL },
		{ "REQUIRETLS", "250-mx\r\n250 REQUIRETLS\r\n", false, false, true, true, true, 0,
		    0, "MAIL FROM:<s@y> REQUIRETLS\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct smtp_client_options o = options();
		struct smtp_client_message m = message(2);
		struct smtp_client *c;
		o.tls_active = rows[i].tls;
		o.tls_verified = rows[i].verified;
		c = greeted(&o, rows[i].ehlo, SMTP_CLIENT_READY);
		m.smtputf8 = rows[i].utf8;
		m.body_binary = rows[i].binary;
		m.require_tls = rows[i].require_tls;
		if (smtp_client_send(c, &m, 0) !=
		    (rows[i].mail ? SMTP_CLIENT_WAIT : SMTP_CLIENT_DONE))
			fail_msg("%s: step %d", rows[i].name, smtp_client_step(c));
		wrote_is(c, rows[i].mail ? rows[i].mail : "");
		if (!rows[i].mail) {
			outcome_is(
			    smtp_client_outcome(c, 1), CAT_STAGE_mail, rows[i].err, 0, false);
			assert_int_equal(smtp_client_outcome(c, 0)->missing, rows[i].missing);
			/* the connection is as good as before */
			m = message(1);
			assert_int_equal(smtp_client_send(c, &m, 0), SMTP_CLIENT_WAIT);
			wrote_is(c, "MAIL FROM:<s@y>\r\n");
		}
		smtp_client_free(&c);
	}
}

static void an_address_beyond_ascii_needs_smtputf8_whatever_the_host_says(void **state)
{
	const struct smtp_client_rcpt rcpt = { .address = SPAN_LIT("\xc3\xa9@x"),
		.orcpt = SPAN_LIT("utf-8;\xc3\xa9+@x") };
	struct smtp_client_options o = options();
	struct smtp_client_message m = message(1);
	struct smtp_client *c = greeted(&o, "250-mx\r\n250 DSN\r\n", SMTP_CLIENT_READY);

	(void)state;
	m.rcpts = &rcpt;
	assert_int_equal(smtp_client_send(c, &m, 0), SMTP_CLIENT_DONE);
	assert_int_equal(smtp_client_outcome(c, 0)->missing, SMTP_EXT_SMTPUTF8);
	smtp_client_free(&c);
	c = greeted(
	    &o, "250-mx\r\n250-SMTPUTF8\r\n250-PIPELINING\r\n250 DSN\r\n", SMTP_CLIENT_READY);
	smtp_client_send(c, &m, 0);
	wrote_is(c,
	    "MAIL FROM:<s@y> SMTPUTF8\r\n"
	    "RCPT TO:<\xc3\xa9@x> ORCPT=utf-8;\xc3\xa9\\x{2B}@x\r\nDATA\r\n");
	smtp_client_free(&c);
	/* an original recipient alone does not: it has a form in ASCII, RFC 6533 3 */
	const struct smtp_client_rcpt plain = { .address = SPAN_LIT("a@x"),
		.orcpt = SPAN_LIT("utf-8;\xc3\xa9\xe2\x82\xac@x") };
	c = greeted(&o, "250-mx\r\n250-PIPELINING\r\n250 DSN\r\n", SMTP_CLIENT_READY);
	m.rcpts = &plain;
	smtp_client_send(c, &m, 0);
	wrote_is(c, "MAIL FROM:<s@y>\r\nRCPT TO:<a@x> ORCPT=utf-8;\\x{E9}\\x{20AC}@x\r\nDATA\r\n");
	smtp_client_free(&c);
}

static void the_submitter_is_named_only_when_we_are_authenticated(void **state)
{
	struct smtp_client_options o = options();
	struct smtp_client_message m = message(1);
	struct span initial = SPAN_LIT("x");
	struct smtp_client *c;

	(void)state;
	m.has_auth = true;
	c = greeted(&o, "250-mx\r\n250 AUTH PLAIN\r\n", SMTP_CLIENT_READY);
	smtp_client_send(c, &m, 0);
	wrote_is(c, "MAIL FROM:<s@y>\r\n");
	smtp_client_free(&c);
	o.auth = o.auth_in_clear = true;
	for (unsigned i = 0; i < 2; i++) {
		c = greeted(&o, "250-mx\r\n250 AUTH PLAIN\r\n", SMTP_CLIENT_AUTH);
		smtp_client_auth(c, "PLAIN", &initial, 0);
		flush(c);
		hear(c, "235 yes\r\n");
		m.auth = i ? SPAN_LIT("e+m@x") : SPAN_LIT("");
		smtp_client_send(c, &m, 0);
		wrote_is(c, i ? "MAIL FROM:<s@y> AUTH=e+2Bm@x\r\n" : "MAIL FROM:<s@y> AUTH=<>\r\n");
		smtp_client_free(&c);
	}
}

static void limits_of_the_server_are_known(void **state)
{
	struct smtp_client_options o = options();
	struct smtp_client_message m = message(3);
	struct smtp_client *c = greeted(&o,
	    "250-mx\r\n250-SIZE 1000\r\n250 LIMITS mailmax=1 RCPTMAX=2 X=y RCPTDOMAINMAX=7 "
	    "RCPTMAX\r\n",
	    SMTP_CLIENT_READY);

	(void)state;
	assert_int_equal(smtp_client_rcpt_max(c), 2);
	assert_int_equal(smtp_client_rcpt_domain_max(c), 7);
	assert_false(smtp_client_is_used_up(c));
	assert_int_equal(smtp_client_send(c, &m, 0), -ERR_INVAL);
	m.rcpt_count = 2;
	m.size = 1001; /* what was never offered does not count */
	smtp_client_send(c, &m, 0);
	assert_false(smtp_client_is_used_up(c));
	m.size = 0;
	smtp_client_send(c, &m, 0);
	assert_true(smtp_client_is_used_up(c));
	smtp_client_free(&c);
}

/* ---- BDAT ---- */

#define BDAT_EHLO "250-mx\r\n250-PIPELINING\r\n250-BINARYMIME\r\n250 CHUNKING\r\n"
#define BDAT_SLOW "250-mx\r\n250-BINARYMIME\r\n250 CHUNKING\r\n"

static struct smtp_client *chunking(const char *ehlo, bool binary, bool lmtp, size_t rcpts)
{
	struct smtp_client_options o = options();
	struct smtp_client_message m = message(rcpts);
	struct smtp_client *c;

	o.chunking = true;
	o.lmtp = lmtp;
	m.body_binary = binary;
	c = greeted(&o, ehlo, SMTP_CLIENT_READY);
	assert_int_equal(smtp_client_send(c, &m, 0), SMTP_CLIENT_WAIT);
	flush(c);
	for (size_t i = 0; i <= rcpts; i++) {
		hear(c, "250 ok\r\n");
		flush(c);
	}
	assert_int_equal(smtp_client_step(c), SMTP_CLIENT_BODY);
	return c;
}

static void a_body_goes_as_one_chunk_when_it_fits(void **state)
{
	static const struct {
		bool binary;
		const char *body, *wire;
	} rows[] = {
		{ false, "a\r\n.b\r\n", "BDAT 7 LAST\r\na\r\n.b\r\n" },
		{ false, "a", "BDAT 3 LAST\r\na\r\n" },
		{ false, "a\nb\r", "BDAT 6 LAST\r\na\r\nb\r\n" },
		{ false, "", "BDAT 0 LAST\r\n" },
		{ true, "a\nb\rc", "BDAT 5 LAST\r\na\nb\rc" },
		{ true, "", "BDAT 0 LAST\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		for (size_t by = 1; by < 9; by += 7) {
			struct smtp_client *c = chunking(BDAT_EHLO, rows[i].binary, false, 1);
			for (struct span in = span_str(rows[i].body); in.n; in = span_skip(in, by))
				smtp_client_body(c, span_of(in.p, in.n < by ? in.n : by), 0);
			assert_int_equal(smtp_client_body_end(c, 0), 0);
			wrote_is(c, rows[i].wire);
			assert_int_equal(hear(c, "250 queued\r\n"), SMTP_CLIENT_DONE);
			outcome_is(smtp_client_outcome(c, 0), CAT_STAGE_message, 0, 250, true);
			/* no RSET: that transaction is over */
			struct smtp_client_message m = message(1);
			smtp_client_send(c, &m, 0);
			assert_true(
			    span_starts_nocase(buf_span(smtp_client_output(c)), SPAN_LIT("MAIL")));
			smtp_client_free(&c);
		}
	}
}

static void give(struct smtp_client *c, size_t n)
{
	char *octets = malloc(n);

	memset(octets, 'x', n);
	assert_int_equal(smtp_client_body(c, span_of(octets, n), 0), 0);
	free(octets);
}

static void chunks_go_one_at_a_time_without_pipelining(void **state)
{
	struct smtp_client *c = chunking(BDAT_SLOW, true, false, 1);

	(void)state;
	give(c, 65536);
	assert_int_equal(buf_len(smtp_client_output(c)), 12 + 65536);
	flush(c);
	assert_int_equal(smtp_client_step(c), SMTP_CLIENT_BODY);
	give(c, 70000);
	assert_int_equal(buf_len(smtp_client_output(c)), 0);
	assert_int_equal(smtp_client_step(c), SMTP_CLIENT_WAIT);
	assert_int_equal(hear(c, "250 more\r\n"), SMTP_CLIENT_BODY);
	assert_int_equal(buf_len(smtp_client_output(c)), 12 + 70000);
	flush(c);
	smtp_client_body_end(c, 0);
	assert_int_equal(buf_len(smtp_client_output(c)), 0);
	assert_int_equal(hear(c, "250 more\r\n"), SMTP_CLIENT_WAIT);
	wrote_is(c, "BDAT 0 LAST\r\n");
	assert_int_equal(hear(c, "250 queued\r\n"), SMTP_CLIENT_DONE);
	assert_true(smtp_client_outcome(c, 0)->delivered);
	smtp_client_free(&c);
}

static void chunks_are_pipelined_within_bounds(void **state)
{
	struct smtp_client *c = chunking(BDAT_EHLO, true, false, 1);
	unsigned given = 0;

	(void)state;
	for (; smtp_client_step(c) == SMTP_CLIENT_BODY; given++) {
		give(c, 65536);
		flush(c);
	}
	assert_int_equal(given, 9); /* eight under way, one that waits */
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(hear(c, "250 more\r\n"), SMTP_CLIENT_BODY);
	flush(c);
	smtp_client_body_end(c, 0);
	flush(c);
	assert_int_equal(hear(c, "250 more\r\n"), SMTP_CLIENT_WAIT);
	assert_false(smtp_client_outcome(c, 0)->is_set);
	assert_int_equal(hear(c, "250 queued\r\n"), SMTP_CLIENT_DONE);
	assert_true(smtp_client_outcome(c, 0)->delivered);
	smtp_client_free(&c);
}

static void a_refused_chunk_stops_the_message_and_rset_cleans_up(void **state)
{
	struct smtp_client_message m = message(1);
	struct smtp_client *c = chunking(BDAT_EHLO, true, false, 2);

	(void)state;
	give(c, 65536);
	give(c, 65536);
	smtp_client_body_end(c, 0);
	flush(c);
	assert_int_equal(hear(c, "250 a\r\n552 5.3.4 too much\r\n"), SMTP_CLIENT_WAIT);
	outcome_is(smtp_client_outcome(c, 1), CAT_STAGE_message, 0, 552, false);
	/* whatever is said to the last: it was not all of the message that could be taken */
	assert_int_equal(hear(c, "250 queued\r\n"), SMTP_CLIENT_DONE);
	outcome_is(smtp_client_outcome(c, 0), CAT_STAGE_message, 0, 552, false);
	smtp_client_send(c, &m, 0);
	wrote_is(c, "RSET\r\nMAIL FROM:<s@y>\r\nRCPT TO:<a@x>\r\n");
	smtp_client_free(&c);
	/* midway: the rest of the body is not asked for */
	c = chunking(BDAT_SLOW, true, false, 1);
	give(c, 65536);
	flush(c);
	assert_int_equal(hear(c, "452 full\r\n"), SMTP_CLIENT_DONE);
	assert_int_equal(smtp_client_body(c, SPAN_LIT("x"), 0), -ERR_INVAL);
	smtp_client_quit(c, 0);
	wrote_is(c, "QUIT\r\n");
	smtp_client_free(&c);
}

static void an_answer_before_its_chunk_has_left_delivers_nothing(void **state)
{
	static const struct {
		const char *answer;
		int err;
	} rows[] = { { "250 queued\r\n", -ERR_PROTO }, { "552 no\r\n", 0 }, { "421 no\r\n", 0 } };

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct smtp_client *c = chunking(BDAT_EHLO, true, false, 1);
		struct buf *out = smtp_client_output(c);
		give(c, 10);
		smtp_client_body_end(c, 0);
		buf_consume(out, buf_len(out) - 1);
		assert_int_equal(hear(c, rows[i].answer), SMTP_CLIENT_DEAD);
		assert_int_equal(smtp_client_outcome(c, 0)->err, rows[i].err);
		assert_false(smtp_client_outcome(c, 0)->delivered);
		smtp_client_free(&c);
	}
}

/* ---- LMTP ---- */

static void lmtp_answers_for_each_recipient(void **state)
{
	static const struct {
		const char *name, *rcpts, *end;
		int step;
		unsigned code[3];
		bool delivered[3];
		int err[3];
	} rows[] = {
		{ "all", "250 a\r\n250 b\r\n250 c\r\n", "250 a\r\n452 b\r\n550 c\r\n",
		    SMTP_CLIENT_DONE, { 250, 452, 550 }, { true, false, false }, { 0, 0, 0 } },
		{ "one refused before", "250 a\r\n550 b\r\n250 c\r\n", "451 a\r\n250 c\r\n",
		    SMTP_CLIENT_DONE, { 451, 550, 250 }, { false, false, true }, { 0, 0, 0 } },
		{ "421 midway", "250 a\r\n250 b\r\n250 c\r\n", "250 a\r\n421 b\r\n",
		    SMTP_CLIENT_DEAD, { 250, 421, 421 }, { true, false, false }, { 0, 0, 0 } },
		{ "one too many", "550 a\r\n550 b\r\n250 c\r\n", "250 c\r\n250 d\r\n",
		    SMTP_CLIENT_DEAD, { 550, 550, 250 }, { false, false, true }, { 0, 0, 0 } },
		{ "garbage", "250 a\r\n250 b\r\n250 c\r\n", "250 a\r\nhello\r\n", SMTP_CLIENT_DEAD,
		    { 250, 0, 0 }, { true, false, false }, { 0, -ERR_PROTO, -ERR_PROTO } },
	};

	(void)state;
	for (unsigned by_bdat = 0; by_bdat < 2; by_bdat++) {
		for (size_t i = 0; i < COUNT(rows); i++) {
			struct smtp_client_options o = options();
			struct smtp_client_message m = message(3);
			struct smtp_client *c;
			int step;
			o.lmtp = true;
			o.chunking = by_bdat;
			c = greeted(&o, BDAT_EHLO, SMTP_CLIENT_READY);
			smtp_client_send(c, &m, 0);
			flush(c);
			hear(c, "250 mail\r\n");
			hear(c, rows[i].rcpts);
			if (!by_bdat)
				hear(c, "354 go\r\n");
			assert_int_equal(smtp_client_step(c), SMTP_CLIENT_BODY);
			smtp_client_body_end(c, 0);
			flush(c);
			step = hear(c, rows[i].end);
			if (step != rows[i].step)
				fail_msg("%s: step %d", rows[i].name, step);
			for (size_t j = 0; j < 3; j++) {
				const struct smtp_outcome *r = smtp_client_outcome(c, j);
				assert_int_equal(r->reply.code, rows[i].code[j]);
				assert_int_equal(r->delivered, rows[i].delivered[j]);
				assert_int_equal(r->err, rows[i].err[j]);
			}
			smtp_client_free(&c);
		}
	}
}

static void lmtp_has_no_helo_and_no_dot_for_nobody(void **state)
{
	struct smtp_client_options o = options();
	struct smtp_client_message m = message(1);
	struct smtp_client *c;

	(void)state;
	o.lmtp = true;
	c = greeted(&o, "500 no\r\n", SMTP_CLIENT_WAIT);
	wrote_is(c, "QUIT\r\n");
	outcome_is(smtp_client_session_outcome(c), CAT_STAGE_helo, 0, 500, false);
	smtp_client_free(&c);
	c = greeted(&o, "250-mx\r\n250 PIPELINING\r\n", SMTP_CLIENT_READY);
	smtp_client_send(c, &m, 0);
	flush(c);
	assert_int_equal(hear(c, "250 a\r\n550 b\r\n354 c\r\n"), SMTP_CLIENT_DEAD);
	wrote_is(c, "");
	outcome_is(smtp_client_outcome(c, 0), CAT_STAGE_rcpt, 0, 550, false);
	smtp_client_free(&c);
}

static void lmtp_waits_for_the_answers_to_chunks_before_the_last(void **state)
{
	struct smtp_client *c = chunking(BDAT_EHLO, true, true, 2);

	(void)state;
	give(c, 65536);
	flush(c);
	smtp_client_body_end(c, 0);
	wrote_is(c, "");
	assert_int_equal(hear(c, "250 more\r\n"), SMTP_CLIENT_WAIT);
	wrote_is(c, "BDAT 0 LAST\r\n");
	assert_int_equal(hear(c, "250 a\r\n"), SMTP_CLIENT_WAIT);
	assert_int_equal(hear(c, "452 b\r\n"), SMTP_CLIENT_DONE);
	assert_true(smtp_client_outcome(c, 0)->delivered);
	assert_false(smtp_client_outcome(c, 1)->delivered);
	smtp_client_free(&c);
	/* refused before: one answer, and that is all there is */
	c = chunking(BDAT_EHLO, true, true, 2);
	give(c, 65536);
	flush(c);
	smtp_client_body_end(c, 0);
	assert_int_equal(hear(c, "552 no\r\n"), SMTP_CLIENT_DONE);
	wrote_is(c, "");
	smtp_client_free(&c);
}

/* ---- everything at once, cut anywhere ---- */

/* Answers by what was asked, as a server would; each step is done when it is asked for. */
static void play(struct smtp_client_options o, bool binary, size_t by, struct buf *log)
{
	static const char *const answers[] = { "220 mx\r\n", "250-mx\r\n250 STARTTLS\r\n",
		"220 go\r\n",
		"250-mx\r\n250-AUTH LOGIN\r\n250-PIPELINING\r\n250-BINARYMIME\r\n250 CHUNKING\r\n",
		"334 VQ==\r\n", "334 UA==\r\n", "235 ok\r\n",
		"250 m\r\n250 a\r\n550-b\r\n550 b\r\n250 c\r\n", "250 end\r\n", "221 bye\r\n" };
	struct smtp_client_message m = message(3);
	struct smtp_client *c = talk_new(&o);
	bool given = false;

	m.body_binary = binary;
	for (size_t i = 0; i < COUNT(answers); i++) {
		struct span in = span_str(answers[i]);
		for (; in.n; in = span_skip(in, by))
			assert_true(smtp_client_feed(c, in.p, in.n < by ? in.n : by, 0) >= 0);
		buf_addf(log, "[%d]", smtp_client_step(c));
		if (smtp_client_step(c) == SMTP_CLIENT_TLS) {
			smtp_client_tls_active(c, true, 0);
		} else if (smtp_client_step(c) == SMTP_CLIENT_AUTH) {
			smtp_client_auth(c, "LOGIN", NULL, 0);
		} else if (smtp_client_step(c) == SMTP_CLIENT_CHALLENGE) {
			buf_add_span(log, smtp_client_challenge(c));
			smtp_client_auth_response(c, SPAN_LIT("r"), 0);
		} else if (smtp_client_step(c) == SMTP_CLIENT_READY && !given) {
			given = true;
			smtp_client_send(c, &m, 0);
		} else if (smtp_client_step(c) == SMTP_CLIENT_BODY) {
			smtp_client_body(c, SPAN_LIT("x\ny"), 0);
			smtp_client_body_end(c, 0);
		} else if (smtp_client_step(c) == SMTP_CLIENT_DONE) {
			smtp_client_quit(c, 0);
		}
		buf_add_span(log, buf_span(smtp_client_output(c)));
		flush(c);
	}
	assert_int_equal(smtp_client_step(c), SMTP_CLIENT_DEAD);
	for (size_t i = 0; i < 3; i++)
		buf_addf(log, "%d", smtp_client_outcome(c, i)->reply.code);
	smtp_client_free(&c);
}

static void a_dialogue_means_the_same_however_it_is_cut(void **state)
{
	struct smtp_client_options o = options();
	struct buf whole, cut;

	(void)state;
	o.tls = SMTP_CLIENT_TLS_REQUIRED;
	o.auth = true;
	buf_init(&whole, 65536);
	buf_init(&cut, 65536);
	play(o, true, 1000, &whole);
	assert_non_null(strstr(buf_cstr(&whole), "BDAT 3 LAST\r\nx\ny"));
	assert_non_null(strstr(buf_cstr(&whole), "250550250"));
	for (size_t by = 1; by < 20; by++) {
		buf_reset(&cut);
		play(o, true, by, &cut);
		assert_string_equal(buf_cstr(&cut), buf_cstr(&whole));
	}
	buf_done(&whole);
	buf_done(&cut);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(after_the_handshake_all_is_asked_again_and_nothing_is_remembered),
		cmocka_unit_test(octets_in_clear_behind_the_go_ahead_end_the_session),
		cmocka_unit_test(a_server_that_will_not_encrypt_is_taken_as_the_option_says),
		cmocka_unit_test(a_handshake_that_fails_is_a_tls_failure),
		cmocka_unit_test(credentials_are_given_and_challenges_answered),
		cmocka_unit_test(an_initial_response_too_long_for_a_line_waits_for_its_challenge),
		cmocka_unit_test(no_secret_leaves_when_it_must_not),
		cmocka_unit_test(answers_to_auth_end_or_go_on),
		cmocka_unit_test(authentication_is_given_up_politely),
		cmocka_unit_test(a_message_is_not_given_to_a_server_that_lacks_what_it_needs),
		cmocka_unit_test(an_address_beyond_ascii_needs_smtputf8_whatever_the_host_says),
		cmocka_unit_test(the_submitter_is_named_only_when_we_are_authenticated),
		cmocka_unit_test(limits_of_the_server_are_known),
		cmocka_unit_test(a_body_goes_as_one_chunk_when_it_fits),
		cmocka_unit_test(chunks_go_one_at_a_time_without_pipelining),
		cmocka_unit_test(chunks_are_pipelined_within_bounds),
		cmocka_unit_test(a_refused_chunk_stops_the_message_and_rset_cleans_up),
		cmocka_unit_test(an_answer_before_its_chunk_has_left_delivers_nothing),
		cmocka_unit_test(lmtp_answers_for_each_recipient),
		cmocka_unit_test(lmtp_has_no_helo_and_no_dot_for_nobody),
		cmocka_unit_test(lmtp_waits_for_the_answers_to_chunks_before_the_last),
		cmocka_unit_test(a_dialogue_means_the_same_however_it_is_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
