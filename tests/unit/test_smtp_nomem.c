/*
 * tests/unit/test_smtp_nomem.c - both machines while the n-th allocation fails, for every n.
 *
 * Nothing may crash or leak, and a failure is said as such: never half a reply, never
 * a delivery that did not happen.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/err.h"
#include "catalogue/reply_ids.h"
#include "mime/header.h"
#include "smtp/client.h"
#include "smtp/server.h"

#include <stdlib.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t m);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t m);

static long until = -1; /* allocations that still succeed; -1: all */
static bool failed;

static bool fails(void)
{
	if (until < 0)
		return false;
	if (until == 0) {
		failed = true;
		return true;
	}
	until--;
	return false;
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t m)
{
	return fails() ? NULL : __real_calloc(n, m);
}

static int yes_to(enum smtp_step_kind kind)
{
	static const int yes[] = {
		[SMTP_STEP_CONNECT] = REPLY_BANNER,
		[SMTP_STEP_HELO] = REPLY_EHLO_OK,
		[SMTP_STEP_MAIL] = REPLY_MAIL_OK,
		[SMTP_STEP_RCPT] = REPLY_RCPT_OK,
		[SMTP_STEP_DATA] = REPLY_DATA_GO,
		[SMTP_STEP_MESSAGE] = REPLY_QUEUED,
		[SMTP_STEP_VRFY] = REPLY_VRFY_OK,
	};

	return kind < sizeof(yes) / sizeof(*yes) ? yes[kind] : -1;
}

static bool wants_answer(enum smtp_step_kind kind)
{
	return kind != SMTP_STEP_BODY && kind != SMTP_STEP_RESET && kind != SMTP_STEP_REFUSED;
}

/* One dialogue; 0 when it came to its CLOSE, or the error. */
static int serve(struct span in)
{
	struct smtp_server_options o;
	struct smtp_server *s = NULL;
	struct reply_args args = { 0 };
	size_t used;
	int rc;

	smtp_server_options_init(&o, catalogue_builtin(), "mx.example.org");
	rc = smtp_server_new(&o, 0, &s);
	while (rc >= 0) {
		struct span part = span_of(in.p, in.n < 9 ? in.n : 9);
		const struct smtp_step *step = smtp_server_step(s);

		rc = smtp_server_feed(s, part.p, part.n, 0, &used);
		if (rc < 0 || step->kind == SMTP_STEP_CLOSE)
			break;
		in = span_skip(in, used);
		if (rc == 1 && wants_answer(step->kind))
			rc = smtp_server_answer(s, yes_to(step->kind), &args);
		if (s && buf_len(smtp_server_output(s)) > 200)
			buf_consume(smtp_server_output(s), buf_len(smtp_server_output(s)));
	}
	smtp_server_free(&s);
	return rc < 0 ? rc : 0;
}

static void a_server_without_memory_says_so(void **state)
{
	static const char in[] =
	    "EHLO client.example\r\nVRFY a\r\nFOO\r\nMAIL FROM:<a@b.example> ENVID=x\r\n"
	    "RCPT TO:<c@d.example> ORCPT=rfc822;x@y\r\nDATA\r\nSubject: x\r\n\r\n..\r\n.\r\n"
	    "HELP\r\nRSET\r\nQUIT\r\n";
	long n = 0;
	int rc;

	(void)state;
	do {
		until = n++;
		failed = false;
		rc = serve(span_of(in, sizeof(in) - 1));
		until = -1;
		if (failed && rc != -ERR_NOMEM)
			fail_msg("allocation %ld failed and the result is %d", n - 1, rc);
		if (!failed)
			assert_int_equal(rc, 0);
	} while (failed);
	assert_true(n > 6); /* the struct, output, line, spans of a step, HELP */
}

static int deliver(struct span in, bool *delivered_r)
{
	const struct smtp_client_rcpt rcpts[] = { { .address = SPAN_LIT("a@x") },
		{ .address = SPAN_LIT("b@x"), .orcpt = SPAN_LIT("rfc822;o@x") } };
	struct smtp_client_message m = {
		.reverse_path = SPAN_LIT("s@y"), .rcpts = rcpts, .rcpt_count = 2
	};
	struct smtp_client_options o;
	struct smtp_client *c = NULL;
	bool sent = false;
	int rc;

	*delivered_r = false;
	smtp_client_options_init(&o, "out.example.net");
	rc = smtp_client_new(&o, 0, &c);
	while (rc >= 0 && in.n) {
		size_t n = (size_t)span_find(in, '\n') + 1;
		rc = smtp_client_feed(c, in.p, n, 0);
		in = span_skip(in, n);
		if (rc == SMTP_CLIENT_READY && !sent) {
			rc = smtp_client_send(c, &m, 0);
			sent = rc >= 0;
		} else if (rc == SMTP_CLIENT_BODY) {
			rc = smtp_client_body(c, SPAN_LIT("x\r\n"), 0);
			if (rc >= 0)
				rc = smtp_client_body_end(c, 0);
		} else if (rc == SMTP_CLIENT_DONE) {
			*delivered_r = smtp_client_outcome(c, 0)->delivered;
			rc = smtp_client_quit(c, 0);
		}
		if (c)
			buf_consume(smtp_client_output(c), buf_len(smtp_client_output(c)));
	}
	smtp_client_free(&c);
	return rc < 0 ? rc : 0;
}

static void a_client_without_memory_loses_words_but_no_outcome(void **state)
{
	static const char in[] =
	    "220 mx\r\n250-mx\r\n250-PIPELINING\r\n250 DSN\r\n250 a\r\n250 b\r\n"
	    "550 5.1.1 c\r\n354 d\r\n250 e\r\n221 f\r\n";
	bool delivered;
	long n = 0;
	int rc;

	(void)state;
	do {
		until = n++;
		failed = false;
		rc = deliver(span_of(in, sizeof(in) - 1), &delivered);
		until = -1;
		assert_true(rc == 0 || rc == -ERR_NOMEM);
		if (!failed)
			assert_true(delivered);
	} while (failed);
	assert_true(n > 5);
}

/* The same with TLS, AUTH (an initial response that waits) and a binary message in chunks. */
static int deliver_chunks(struct span in, bool *delivered_r)
{
	static const char body[70000];
	const struct smtp_client_rcpt rcpt = { .address = SPAN_LIT("a@x") };
	struct smtp_client_message m = { .reverse_path = SPAN_LIT("s@y"),
		.body_binary = true,
		.rcpts = &rcpt,
		.rcpt_count = 1 };
	const struct span initial = span_of(body, 500);
	struct smtp_client_options o;
	struct smtp_client *c = NULL;
	unsigned bodies = 0;
	int rc;

	*delivered_r = false;
	smtp_client_options_init(&o, "out.example.net");
	o.tls = SMTP_CLIENT_TLS_REQUIRED;
	o.auth = true;
	rc = smtp_client_new(&o, 0, &c);
	while (rc >= 0 && in.n) {
		size_t n = (size_t)span_find(in, '\n') + 1;
		rc = smtp_client_feed(c, in.p, n, 0);
		in = span_skip(in, n);
		if (rc == SMTP_CLIENT_TLS)
			rc = smtp_client_tls_active(c, true, 0);
		else if (rc == SMTP_CLIENT_AUTH)
			rc = smtp_client_auth(c, "PLAIN", &initial, 0);
		else if (rc == SMTP_CLIENT_CHALLENGE)
			rc = smtp_client_auth_response(c, SPAN_LIT("x"), 0);
		else if (rc == SMTP_CLIENT_READY)
			rc = smtp_client_send(c, &m, 0);
		else if (rc == SMTP_CLIENT_BODY)
			rc = bodies++ ? smtp_client_body_end(c, 0)
				      : smtp_client_body(c, span_of(body, sizeof(body)), 0);
		else if (rc == SMTP_CLIENT_DONE)
			*delivered_r = smtp_client_outcome(c, 0)->delivered;
		if (c)
			buf_consume(smtp_client_output(c), buf_len(smtp_client_output(c)));
	}
	smtp_client_free(&c);
	return rc < 0 ? rc : 0;
}

static void chunks_and_secrets_without_memory_lose_nothing_but_the_session(void **state)
{
	static const char in[] =
	    "220 mx\r\n250-mx\r\n250 STARTTLS\r\n220 go\r\n"
	    "250-mx\r\n250-BINARYMIME\r\n250-CHUNKING\r\n250 AUTH PLAIN\r\n334 \r\n334 eA==\r\n"
	    "235 a\r\n250 b\r\n250 c\r\n250 d\r\n250 e\r\n";
	bool delivered;
	long n = 0;
	int rc;

	(void)state;
	do {
		until = n++;
		failed = false;
		rc = deliver_chunks(span_of(in, sizeof(in) - 1), &delivered);
		until = -1;
		assert_true(rc == 0 || rc == -ERR_NOMEM);
		if (!failed)
			assert_true(delivered);
	} while (failed);
	assert_true(n > 7);
}

static void a_header_without_memory_says_so(void **state)
{
	struct mime_header_reader r;
	const struct mime_field *f;
	size_t used;

	(void)state;
	for (until = 0; until < 2;) {
		long n = until;
		mime_header_init(&r, 0);
		assert_int_equal(
		    mime_header_feed(&r, SPAN_LIT("A: b\r\n\r\n"), &used, &f), -ERR_NOMEM);
		mime_header_done(&r);
		until = n + 1;
	}
	until = -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_server_without_memory_says_so),
		cmocka_unit_test(a_client_without_memory_loses_words_but_no_outcome),
		cmocka_unit_test(chunks_and_secrets_without_memory_lose_nothing_but_the_session),
		cmocka_unit_test(a_header_without_memory_says_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
