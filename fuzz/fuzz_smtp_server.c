/*
 * fuzz/fuzz_smtp_server.c - whole dialogues with the server machine, at once and in pieces.
 *
 * Octets: options, seed of the answers, seed of the pieces, then what the client sends.
 * The host answers by the number of the step, so that both runs hear the same answers;
 * then the steps, the bodies and every octet of the replies must be the same.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "fuzz/fuzz.h"

#include "base/buf.h"
#include "catalogue/reply_ids.h"
#include "smtp/server.h"

#define LOG_MAX (1 << 26)

struct run {
	struct smtp_server *server;
	uint32_t answers; /* seed */
	struct buf log, output, body;
	uint64_t body_octets;
	bool closed, utf8, binary;
};

static void note(struct run *r, const char *what, struct span s)
{
	buf_addf(&r->log, "%s(", what);
	buf_add_span(&r->log, s);
	buf_add_str(&r->log, ") ");
}

/* Mostly yes; sometimes a refusal, seldom one that closes. */
static void answer(struct run *r, int yes)
{
	struct reply_args args = { 0 };
	int reply = yes;

	args.field[REPLY_FIELD_detail] = SPAN_LIT("say more");

	r->answers = r->answers * 1664525 + 1013904223;
	if ((r->answers >> 24) % 16 == 0)
		reply = REPLY_QUEUE_WRITE_ERROR;
	else if ((r->answers >> 24) % 128 == 1)
		reply = REPLY_CLOSING;
	FUZZ_CHECK(smtp_server_answer(r->server, reply, &args) > 0);
}

/* Printable, and beyond ASCII only what MAIL declared. */
static void check_address(const struct run *r, const struct smtp_address *a)
{
	for (size_t i = 0; i < a->address.n; i++)
		FUZZ_CHECK(a->address.p[i] >= 32 &&
		    (a->address.p[i] < 127 || (r->utf8 && a->address.p[i] > 127)));
}

static void check_peer(struct run *r, const struct smtp_step *step)
{
	note(r, "PEER", step->command);
	for (int i = 0; i < SMTP_PEER_COUNT; i++)
		for (size_t k = 0; k < step->peer.value[i].n; k++)
			FUZZ_CHECK(step->peer.value[i].p[k] > 32 && step->peer.value[i].p[k] < 127);
}

static void on_message(struct run *r, const struct smtp_step *step)
{
	if (step->fault >= 0) {
		note(r, "FAULT", (struct span){ 0 });
		FUZZ_CHECK(smtp_server_answer(r->server, REPLY_QUEUED, NULL) < 0);
		FUZZ_CHECK(smtp_server_answer(r->server, step->fault, &step->args) >= 400);
	} else {
		struct span b = buf_span(&r->body);
		FUZZ_CHECK(step->size == b.n);
		FUZZ_CHECK(step->chunked || b.n == 0 ||
		    (b.n >= 2 && b.p[b.n - 2] == '\r' && b.p[b.n - 1] == '\n'));
		FUZZ_CHECK(step->chunked || !r->binary);
		for (size_t i = 0; i < b.n && !r->binary; i++) { /* never a bare CR or LF */
			FUZZ_CHECK(b.p[i] != '\n' || (i > 0 && b.p[i - 1] == '\r'));
			FUZZ_CHECK(b.p[i] != '\r' || (i + 1 < b.n && b.p[i + 1] == '\n'));
		}
		note(r, "MESSAGE", b);
		answer(r, step->chunked ? REPLY_BDAT_QUEUED : REPLY_QUEUED);
	}
	buf_reset(&r->body);
}

static void take(struct run *r, const uint8_t *from, size_t n)
{
	const struct smtp_step *step = smtp_server_step(r->server);
	bool utf8;

	/* clang-format off */
	switch (step->kind) {
	case SMTP_STEP_CONNECT: answer(r, REPLY_BANNER); break;
	case SMTP_STEP_HELO:
		note(r, "HELO", step->helo);
		answer(r, step->esmtp ? REPLY_EHLO_OK : REPLY_HELO_OK);
		break;
	case SMTP_STEP_MAIL:
		r->utf8 = step->smtputf8;
		r->binary = step->body_binary;
		check_address(r, &step->address);
		note(r, "MAIL", step->address.address);
		answer(r, REPLY_MAIL_OK);
		break;
	case SMTP_STEP_RCPT:
		check_address(r, &step->address);
		FUZZ_CHECK(step->address.address.n > 0);
		note(r, "RCPT", step->address.address);
		answer(r, REPLY_RCPT_OK);
		break;
	case SMTP_STEP_DATA: note(r, "DATA", step->command); answer(r, REPLY_DATA_GO); break;
	case SMTP_STEP_BODY: /* no copy: it lies in what was fed */
		FUZZ_CHECK(step->octets.n > 0 && step->octets.p >= from &&
		    step->octets.p + step->octets.n <= from + n);
		buf_add_span(&r->body, step->octets);
		break;
	case SMTP_STEP_MESSAGE: on_message(r, step); break;
	case SMTP_STEP_VRFY:
		utf8 = r->utf8; /* of the transaction around it */
		r->utf8 = step->smtputf8;
		check_address(r, &step->address);
		r->utf8 = utf8;
		note(r, "VRFY", step->command);
		answer(r, REPLY_VRFY_OK);
		break;
	case SMTP_STEP_RESET: note(r, "RESET", (struct span){ 0 }); buf_reset(&r->body); break;
	case SMTP_STEP_REFUSED:
		FUZZ_CHECK(step->reply >= 0);
		note(r, "REFUSED", step->command);
		break;
	case SMTP_STEP_CLOSE: note(r, "CLOSE", (struct span){ 0 }); r->closed = true; break;
	case SMTP_STEP_STARTTLS: note(r, "STARTTLS", (struct span){ 0 }); answer(r, REPLY_TLS_READY); break;
	case SMTP_STEP_TLS:
		note(r, "TLS", (struct span){ 0 });
		smtp_server_tls_active(r->server, 0);
		FUZZ_CHECK(!smtp_server_is_authenticated(r->server) && !smtp_server_in_transaction(r->server));
		break;
	case SMTP_STEP_AUTH:
		FUZZ_CHECK(span_find(step->command, ' ') < 0);
		note(r, "AUTH", step->argument);
		__attribute__((fallthrough));
	case SMTP_STEP_AUTH_RESPONSE:
		note(r, "RESPONSE", step->octets);
		answer(r, step->octets.n == 0        ? REPLY_AUTH_CHALLENGE
			: step->octets.p[0] & 1 ? REPLY_AUTH_OK
						: REPLY_AUTH_FAILED);
		break;
	case SMTP_STEP_AUTH_END: note(r, "AUTH_END", (struct span){ 0 }); break;
	case SMTP_STEP_ETRN: note(r, "ETRN", step->argument); answer(r, REPLY_ETRN_STARTED); break;
	case SMTP_STEP_XCLIENT: check_peer(r, step); break;
	case SMTP_STEP_XFORWARD: check_peer(r, step); answer(r, REPLY_OK); break;
	case SMTP_STEP_NONE: FUZZ_CHECK(!"a step of no kind"); break;
	}
	/* clang-format on */
}

static void feed(struct run *r, struct span s)
{
	const uint8_t *from = s.p;
	size_t n = s.n, used;
	int rc;

	do {
		rc = smtp_server_feed(r->server, s.p, s.n, 0, &used);
		FUZZ_CHECK(rc >= 0 && used <= s.n);
		FUZZ_CHECK(rc == 1 || used == s.n);
		s = span_skip(s, used);
		if (rc == 1)
			take(r, from, n);
	} while (!r->closed && (s.n || rc == 1));
	buf_add_span(&r->output, buf_span(smtp_server_output(r->server)));
	buf_consume(smtp_server_output(r->server), buf_len(smtp_server_output(r->server)));
}

/* Lines of "250 text" or "250-text", at most 512 octets, nothing else. */
static void check_output(struct span out)
{
	while (out.n) {
		ptrdiff_t lf = span_find(out, '\n');
		FUZZ_CHECK(lf >= 5 && lf < 512 && out.p[lf - 1] == '\r');
		FUZZ_CHECK(
		    out.p[0] >= '2' && out.p[0] <= '5' && (out.p[3] == ' ' || out.p[3] == '-'));
		for (ptrdiff_t i = 0; i < lf - 1; i++)
			FUZZ_CHECK(out.p[i] >= 32 && out.p[i] != 127);
		out = span_skip(out, (size_t)lf + 1);
	}
}

static void play(
    struct run *r, uint8_t how, uint8_t answers, struct span s, bool pieces, uint32_t seed)
{
	struct smtp_server_options o;

	*r = (struct run){ .answers = answers };
	buf_init(&r->log, LOG_MAX);
	buf_init(&r->output, LOG_MAX);
	buf_init(&r->body, LOG_MAX);
	smtp_server_options_init(&o, catalogue_builtin(), "mx.example.org");
	o.helo_required = how & 1;
	o.extensions = how & 2 ? ~0u : how & 1 ? o.extensions : 0;
	o.auth_mechanisms = "PLAIN LOGIN SCRAM-SHA-256-PLUS";
	o.auth_without_tls = how & 8;
	o.tls_required = (how & 24) == 24;
	o.auth_required = (how & 48) == 48;
	o.message_octets_max = how & 4 ? 100 : 0;
	o.rcpt_max = how & 8 ? 2 : 100;
	o.hops_max = how & 16 ? 1 : 50;
	o.nul_refused = how & 32;
	o.error_hard_limit = how & 64 ? 3 : 20;
	FUZZ_CHECK(smtp_server_new(&o, 0, &r->server) == 0);
	while (s.n && !r->closed) {
		size_t n = pieces ? fuzz_piece(&seed, s.n) : s.n;
		feed(r, span_of(s.p, n));
		s = span_skip(s, n);
	}
	if (how & 128)
		smtp_server_eof(r->server);
	else
		smtp_server_timeout(r->server, UINT64_MAX);
	if (!r->closed)
		feed(r, (struct span){ 0 });
	FUZZ_CHECK(r->closed);
	check_output(buf_span(&r->output));
}

static void done(struct run *r)
{
	smtp_server_free(&r->server);
	buf_done(&r->log);
	buf_done(&r->output);
	buf_done(&r->body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span s = span_of(data, size);
	uint8_t how = fuzz_octet(&s), answers = fuzz_octet(&s), seed = fuzz_octet(&s);
	struct run whole, pieces;

	if (s.n == 0)
		return 0;
	play(&whole, how, answers, s, false, 0);
	play(&pieces, how, answers, s, true, seed);
	FUZZ_CHECK(span_eq(buf_span(&whole.log), buf_span(&pieces.log)));
	FUZZ_CHECK(span_eq(buf_span(&whole.output), buf_span(&pieces.output)));
	done(&whole);
	done(&pieces);
	return 0;
}
