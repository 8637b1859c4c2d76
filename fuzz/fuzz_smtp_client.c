/*
 * fuzz/fuzz_smtp_client.c - the client machine against a server that says anything.
 *
 * Octets: options, seed of the pieces, then what the server says.  Whatever that is, a
 * recipient counts as delivered only by a 2xx that came after the dot, every recipient
 * has an outcome at the end, and what we write is whole lines.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "fuzz/fuzz.h"

#include "base/err.h"
#include "smtp/client.h"

#define RCPTS 3

static const struct smtp_client_rcpt rcpts[RCPTS] = {
	{ .address = { (const uint8_t *)"a@x", 3 }, .notify = 6 },
	{ .address = { (const uint8_t *)"b@x", 3 },
	    .orcpt = { (const uint8_t *)"rfc822;c@x", 10 } },
	{ .address = { (const uint8_t *)"d@x", 3 } },
};

static void check_outcomes(struct smtp_client *c, bool dot_sent)
{
	for (size_t i = 0; i < RCPTS; i++) {
		const struct smtp_outcome *o = smtp_client_outcome(c, i);
		FUZZ_CHECK(o->is_set);
		if (o->delivered) {
			FUZZ_CHECK(dot_sent && o->err == 0 && o->stage == CAT_STAGE_message);
			FUZZ_CHECK(o->reply.code / 100 == 2);
		}
		FUZZ_CHECK(o->err < 0 || o->reply.code != 0);
		FUZZ_CHECK(o->err < 0 || o->delivered || o->reply.code >= 400);
	}
}

/* Do what the step asks for. */
static void act(struct smtp_client *c, unsigned *messages, bool *dot_sent)
{
	const struct smtp_client_message m = { .reverse_path = SPAN_LIT("s@y"),
		.size = 5,
		.envid = SPAN_LIT("e"),
		.ret = 1,
		.body_8bit = true,
		.rcpts = rcpts,
		.rcpt_count = RCPTS };
	struct buf *out = smtp_client_output(c);

	/* clang-format off */
	switch (smtp_client_step(c)) {
	case SMTP_CLIENT_DONE:
		check_outcomes(c, *dot_sent);
		__attribute__((fallthrough));
	case SMTP_CLIENT_READY:
		*dot_sent = false;
		if ((*messages)++ < 3)
			FUZZ_CHECK(smtp_client_send(c, &m, 0) >= 0);
		else
			FUZZ_CHECK(smtp_client_quit(c, 0) >= 0);
		break;
	case SMTP_CLIENT_BODY:
		FUZZ_CHECK(smtp_client_body(c, SPAN_LIT(".x\r\n"), 0) == 0);
		FUZZ_CHECK(smtp_client_body_end(c, 0) == 0);
		*dot_sent = true;
		break;
	case SMTP_CLIENT_WAIT:
	case SMTP_CLIENT_DEAD:
		break;
	}
	/* clang-format on */
	while (buf_len(out)) {
		struct span s = buf_span(out);
		FUZZ_CHECK(s.n >= 2 && s.p[s.n - 2] == '\r' && s.p[s.n - 1] == '\n');
		buf_consume(out, s.n);
		smtp_client_sent(c, 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span s = span_of(data, size);
	uint8_t how = fuzz_octet(&s);
	uint32_t seed = fuzz_octet(&s);
	struct smtp_client_options o;
	struct smtp_client *c;
	unsigned messages = 0;
	bool dot_sent = false;

	smtp_client_options_init(&o, "out.example.net");
	o.no_pipelining = how & 1;
	FUZZ_CHECK(smtp_client_new(&o, 0, &c) == 0);
	while (s.n && smtp_client_step(c) != SMTP_CLIENT_DEAD) {
		size_t n = how & 2 ? s.n : fuzz_piece(&seed, s.n);
		FUZZ_CHECK(smtp_client_feed(c, s.p, n, 0) >= 0);
		act(c, &messages, &dot_sent);
		s = span_skip(s, n);
	}
	smtp_client_lost(c, -ERR_CLOSED);
	FUZZ_CHECK(smtp_client_step(c) == SMTP_CLIENT_DEAD);
	if (messages > 0 && messages < 4)
		check_outcomes(c, dot_sent);
	smtp_client_free(&c);
	return 0;
}
