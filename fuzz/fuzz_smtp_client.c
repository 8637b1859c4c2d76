/*
 * fuzz/fuzz_smtp_client.c - the client machine against a server that says anything.
 *
 * Octets: options (two of them), seed of the pieces, then what the server says.  Whatever
 * that is, a recipient counts as delivered only by a 2xx that came after the dot or the
 * last chunk, every recipient has an outcome at the end, what we write is whole lines and
 * whole chunks, and the secret leaves only over TLS or when that was allowed.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "fuzz/fuzz.h"

#include "base/err.h"
#include "smtp/client.h"
#include "smtp/server.h"

#include <string.h>

#define RCPTS 3

static const struct smtp_client_rcpt rcpts[RCPTS] = {
	{ .address = { (const uint8_t *)"a@x", 3 }, .notify = 6 },
	{ .address = { (const uint8_t *)"b@x", 3 },
	    .orcpt = { (const uint8_t *)"rfc822;c@x", 10 } },
	{ .address = { (const uint8_t *)"d@x", 3 } },
};

struct talk {
	struct smtp_client *c;
	struct smtp_client_options o;
	bool binary, smtputf8, require_tls;
	unsigned messages;
	bool ended; /* the host gave the end of the body */
	bool tls, authenticated;
};

static void check_outcomes(const struct talk *t)
{
	for (size_t i = 0; i < RCPTS; i++) {
		const struct smtp_outcome *o = smtp_client_outcome(t->c, i);
		FUZZ_CHECK(o->is_set);
		if (o->delivered) {
			FUZZ_CHECK(t->ended && o->err == 0 && o->stage == CAT_STAGE_message);
			FUZZ_CHECK(o->reply.code / 100 == 2);
			FUZZ_CHECK(t->tls || t->o.tls != SMTP_CLIENT_TLS_REQUIRED);
			FUZZ_CHECK(t->tls || !t->require_tls);
			FUZZ_CHECK(t->authenticated || !t->o.auth);
		}
		FUZZ_CHECK(o->err < 0 || o->reply.code != 0);
		FUZZ_CHECK(o->err < 0 || o->delivered || o->reply.code >= 400);
		FUZZ_CHECK(!o->missing || o->err == -ERR_UNSUPPORTED);
	}
}

static void send_message(struct talk *t)
{
	const struct smtp_client_message m = { .reverse_path = SPAN_LIT("s@y"),
		.size = 5,
		.envid = SPAN_LIT("e"),
		.ret = 1,
		.body_8bit = true,
		.body_binary = t->binary,
		.smtputf8 = t->smtputf8,
		.require_tls = t->require_tls,
		.has_auth = true,
		.rcpts = rcpts,
		.rcpt_count = RCPTS };
	int r;

	t->ended = false;
	t->authenticated = smtp_client_is_authenticated(t->c);
	if (t->messages++ < 3 && !smtp_client_is_used_up(t->c)) {
		r = smtp_client_send(t->c, &m, 0);
	} else {
		t->messages = 9; /* outcomes were looked at */
		r = smtp_client_quit(t->c, 0);
	}
	if (r == -ERR_INVAL) {
		FUZZ_CHECK(smtp_client_rcpt_max(t->c) && smtp_client_rcpt_max(t->c) < RCPTS);
		t->messages = 9; /* nothing of it was taken */
		FUZZ_CHECK(smtp_client_quit(t->c, 0) >= 0);
	} else {
		FUZZ_CHECK(r >= 0);
	}
}

/* Whole lines; a chunk has as many octets as it says. */
static void check_written(struct talk *t, struct span s)
{
	while (s.n) {
		ptrdiff_t lf = span_find(s, '\n');
		struct span line;
		uint64_t n;
		FUZZ_CHECK(lf > 0 && s.p[lf - 1] == '\r');
		line = span_of(s.p, (size_t)lf - 1);
		s = span_skip(s, (size_t)lf + 1);
		FUZZ_CHECK(
		    t->tls || t->o.auth_in_clear || !span_ends_nocase(line, SPAN_LIT("c2VjcmV0")));
		if (!span_starts_nocase(line, SPAN_LIT("BDAT ")))
			continue;
		line = span_skip(line, 5);
		if (span_ends_nocase(line, SPAN_LIT(" LAST")))
			line.n -= 5;
		FUZZ_CHECK(span_u64(line, s.n, &n) == 0);
		s = span_skip(s, (size_t)n);
	}
}

/* Do what the step asks for. */
static void act(struct talk *t)
{
	struct smtp_client *c = t->c;
	struct span secret = SPAN_LIT("secret");
	struct buf *out = smtp_client_output(c);

	/* clang-format off */
	switch (smtp_client_step(c)) {
	case SMTP_CLIENT_TLS:
		t->tls = true;
		FUZZ_CHECK(smtp_client_tls_active(c, true, 0) >= 0);
		break;
	case SMTP_CLIENT_AUTH:
		FUZZ_CHECK(smtp_client_mechanisms(c).n < 65536);
		FUZZ_CHECK(smtp_client_auth(c, "PLAIN", t->binary ? &secret : NULL, 0) >= 0);
		break;
	case SMTP_CLIENT_CHALLENGE:
		if (smtp_client_challenge(c).n == 7)
			FUZZ_CHECK(smtp_client_auth_fail(c, 0) >= 0);
		else
			FUZZ_CHECK(smtp_client_auth_response(c, secret, 0) >= 0);
		break;
	case SMTP_CLIENT_DONE:
		check_outcomes(t);
		__attribute__((fallthrough));
	case SMTP_CLIENT_READY:
		send_message(t);
		break;
	case SMTP_CLIENT_BODY:
		if (t->binary && !t->ended && smtp_client_size_max(c) == 77) {
			static char big[65536];
			memset(big, 'x', sizeof(big));
			FUZZ_CHECK(smtp_client_body(c, span_of(big, sizeof(big)), 0) == 0);
			if (smtp_client_step(c) != SMTP_CLIENT_BODY)
				break;
		}
		FUZZ_CHECK(smtp_client_body(c, SPAN_LIT(".x\r\n"), 0) == 0);
		FUZZ_CHECK(smtp_client_body_end(c, 0) == 0);
		t->ended = true;
		break;
	case SMTP_CLIENT_WAIT:
	case SMTP_CLIENT_DEAD:
		break;
	}
	/* clang-format on */
	while (buf_len(out)) {
		struct span s = buf_span(out);
		check_written(t, s);
		buf_consume(out, s.n);
		smtp_client_sent(c, 0);
	}
}

static void set_options(struct talk *t, uint8_t how, uint8_t more)
{
	smtp_client_options_init(&t->o, "out.example.net");
	t->o.no_pipelining = how & 1;
	t->o.lmtp = how & 4;
	t->o.tls = (enum smtp_client_tls)((how >> 3 & 3) % 3);
	t->o.tls_active = t->o.tls_verified = t->tls = how & 32;
	t->o.auth = how & 64;
	t->o.auth_in_clear = how & 128;
	t->o.chunking = more & 1;
	t->binary = more & 2;
	t->smtputf8 = more & 4;
	t->require_tls = more & 8;
}

static size_t line_octets(struct span s)
{
	ptrdiff_t lf = span_find(s, '\n');

	return lf < 0 ? s.n : (size_t)lf + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span s = span_of(data, size);
	uint8_t how = fuzz_octet(&s), more = fuzz_octet(&s);
	uint32_t seed = fuzz_octet(&s);
	struct talk t = { 0 };

	set_options(&t, how, more);
	FUZZ_CHECK(smtp_client_new(&t.o, 0, &t.c) == 0);
	while (s.n && smtp_client_step(t.c) != SMTP_CLIENT_DEAD) {
		/* a line at a time is how servers mostly speak */
		size_t n = how & 2 ? line_octets(s) : fuzz_piece(&seed, s.n);
		FUZZ_CHECK(smtp_client_feed(t.c, s.p, n, 0) >= 0);
		act(&t);
		s = span_skip(s, n);
	}
	smtp_client_lost(t.c, -ERR_CLOSED);
	FUZZ_CHECK(smtp_client_step(t.c) == SMTP_CLIENT_DEAD);
	if (t.messages > 0 && t.messages < 4)
		check_outcomes(&t);
	smtp_client_free(&t.c);
	return 0;
}
