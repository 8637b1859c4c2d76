/*
 * tests/unit/smtp_host.c - see smtp_host.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/smtp_host.h"
#include "catalogue/reply_ids.h"

#include <assert.h>
#include <stdio.h>

#define LOG_MAX (64 * 1024 * 1024)

void smtp_host_init(struct smtp_host *h, const struct smtp_server_options *o)
{
	int rc;

	*h = (struct smtp_host){ .now_ms = 1000 };
	for (size_t i = 0; i < sizeof(h->answers) / sizeof(*h->answers); i++)
		h->answers[i] = -1;
	buf_init(&h->log, LOG_MAX);
	buf_init(&h->output, LOG_MAX);
	buf_init(&h->body, LOG_MAX);
	buf_init(&h->message, LOG_MAX);
	rc = smtp_server_new(o, h->now_ms, &h->server);
	assert(rc == 0);
}

void smtp_host_done(struct smtp_host *h)
{
	smtp_server_free(&h->server);
	buf_done(&h->log);
	buf_done(&h->output);
	buf_done(&h->body);
	buf_done(&h->message);
}

static void word(struct smtp_host *h, const char *name, struct span what)
{
	if (buf_len(&h->log))
		buf_add_char(&h->log, ' ');
	buf_add_str(&h->log, name);
	if (!what.p)
		return;
	buf_add_char(&h->log, '(');
	buf_add_span(&h->log, what);
	buf_add_char(&h->log, ')');
}

static struct span reply_name(int reply)
{
	const struct cat_reply *row = catalogue_reply(catalogue_builtin(), reply);

	return row ? span_str(row->id) : SPAN_LIT("-");
}

static void answer(struct smtp_host *h, int yes)
{
	const struct smtp_step *step = smtp_server_step(h->server);
	int reply = h->answers[step->kind] >= 0 ? h->answers[step->kind] : yes;
	struct reply_args args = { 0 };
	int rc;

	h->answers[step->kind] = -1;
	args.field[REPLY_FIELD_client] = SPAN_LIT("client.example[192.0.2.1]");
	args.field[REPLY_FIELD_client_address] = SPAN_LIT("192.0.2.1");
	args.field[REPLY_FIELD_queue_id] = SPAN_LIT("4Q");
	args.field[REPLY_FIELD_domain] =
	    step->kind == SMTP_STEP_ETRN ? step->argument : step->address.domain;
	args.field[REPLY_FIELD_detail] = SPAN_LIT("");
	rc = smtp_server_answer(h->server, reply, &args);
	assert(rc > 0);
}

/* LOGIN wants two responses, PLAIN one; the last of them must be or end in "secret". */
static void auth_round(struct smtp_host *h, struct span response)
{
	struct reply_args args = { 0 };
	int rc;

	if (h->answers[SMTP_STEP_AUTH] >= 0 || h->answers[SMTP_STEP_AUTH_RESPONSE] >= 0) {
		answer(h, REPLY_AUTH_OK);
		return;
	}
	args.field[REPLY_FIELD_detail] =
	    h->auth_rounds > 1 ? SPAN_LIT("Username:") : SPAN_LIT("Password:");
	if (h->auth_rounds-- > 0)
		rc = smtp_server_answer(h->server, REPLY_AUTH_CHALLENGE, &args);
	else if (span_ends_nocase(response, SPAN_LIT("secret")))
		rc = smtp_server_answer(h->server, REPLY_AUTH_OK, &args);
	else
		rc = smtp_server_answer(h->server, REPLY_AUTH_FAILED, &args);
	assert(rc > 0);
}

static void on_auth(struct smtp_host *h, const struct smtp_step *step)
{
	word(h, "AUTH", step->argument);
	h->auth_rounds = span_eq(step->argument, SPAN_LIT("LOGIN")) ? 2 : 1;
	if (step->has_initial) {
		word(h, "INITIAL", step->octets);
		h->auth_rounds--;
	}
	auth_round(h, step->octets);
}

static void on_peer(struct smtp_host *h, const char *verb, const struct smtp_step *step)
{
	static const char *const names[] = {
#define X(name, doc) #name,
		SMTP_PEER_ATTRIBUTES(X)
#undef X
	};

	word(h, verb, (struct span){ 0 });
	for (int i = 0; i < SMTP_PEER_COUNT; i++)
		if (step->peer.state[i] == SMTP_PEER_VALUE)
			word(h, names[i], step->peer.value[i]);
		else if (step->peer.state[i] != SMTP_PEER_ABSENT)
			word(h, names[i], SPAN_LIT("?"));
}

static void on_message(struct smtp_host *h)
{
	const struct smtp_step *step = smtp_server_step(h->server);

	if (step->fault >= 0) {
		int rc;
		word(h, "FAULT", reply_name(step->fault));
		assert(smtp_server_answer(h->server, REPLY_QUEUED, NULL) < 0); /* never */
		rc = smtp_server_answer(h->server, step->fault, &step->args);
		assert(rc >= 400);
	} else {
		word(h, "MESSAGE", (struct span){ 0 });
		assert(step->size == buf_len(&h->body));
		if (h->answers[SMTP_STEP_MESSAGE] < 0) {
			buf_reset(&h->message);
			buf_add_span(&h->message, buf_span(&h->body));
			h->messages++;
		}
		answer(h, step->chunked ? REPLY_BDAT_QUEUED : REPLY_QUEUED);
	}
	buf_reset(&h->body);
}

/* Take one step; false when it was the last. */
static bool take(struct smtp_host *h)
{
	const struct smtp_step *step = smtp_server_step(h->server);
	const struct span none = { 0 };

	/* clang-format off */
	switch (step->kind) {
	case SMTP_STEP_CONNECT: word(h, "CONNECT", none); answer(h, REPLY_BANNER); break;
	case SMTP_STEP_HELO:
		word(h, step->esmtp ? "EHLO" : "HELO", step->helo);
		answer(h, step->esmtp ? REPLY_EHLO_OK : REPLY_HELO_OK);
		break;
	case SMTP_STEP_MAIL:
		word(h, "MAIL", step->address.address.p ? step->address.address : SPAN_LIT(""));
		answer(h, REPLY_MAIL_OK);
		break;
	case SMTP_STEP_RCPT: word(h, "RCPT", step->address.address); answer(h, REPLY_RCPT_OK); break;
	case SMTP_STEP_DATA: word(h, step->chunked ? "BDAT" : "DATA", none); answer(h, REPLY_DATA_GO); break;
	case SMTP_STEP_BODY: buf_add_span(&h->body, step->octets); break;
	case SMTP_STEP_MESSAGE: on_message(h); break;
	case SMTP_STEP_VRFY: word(h, "VRFY", step->address.address); answer(h, REPLY_VRFY_OK); break;
	case SMTP_STEP_RESET: word(h, "RESET", none); buf_reset(&h->body); break;
	case SMTP_STEP_REFUSED: word(h, "REFUSED", reply_name(step->reply)); break;
	case SMTP_STEP_CLOSE:
		word(h, "CLOSE", reply_name(step->reply));
		h->closed = true;
		h->close_reply = step->reply;
		break;
	case SMTP_STEP_STARTTLS: word(h, "STARTTLS", none); answer(h, REPLY_TLS_READY); break;
	case SMTP_STEP_TLS:
		word(h, "TLS", none);
		smtp_server_tls_active(h->server, h->now_ms);
		break;
	case SMTP_STEP_AUTH: on_auth(h, step); break;
	case SMTP_STEP_AUTH_RESPONSE:
		word(h, "RESPONSE", step->octets);
		auth_round(h, step->octets);
		break;
	case SMTP_STEP_AUTH_END: word(h, "AUTH_END", none); break;
	case SMTP_STEP_ETRN: word(h, "ETRN", step->argument); answer(h, REPLY_ETRN_STARTED); break;
	case SMTP_STEP_XCLIENT: on_peer(h, "XCLIENT", step); break;
	case SMTP_STEP_XFORWARD:
		on_peer(h, "XFORWARD", step);
		answer(h, REPLY_OK);
		break;
	case SMTP_STEP_NONE: assert(!"a step of no kind"); break;
	}
	/* clang-format on */
	return !h->closed;
}

static void drain(struct smtp_host *h)
{
	struct buf *out = smtp_server_output(h->server);

	buf_add_span(&h->output, buf_span(out));
	buf_consume(out, buf_len(out));
	smtp_server_trim(h->server);
}

/* Feed one piece to its end, then what follows without octets. */
static void feed_piece(struct smtp_host *h, struct span in)
{
	int rc;
	size_t used;

	do {
		rc = smtp_server_feed(h->server, in.p, in.n, h->now_ms, &used);
		assert(rc >= 0 && used <= in.n);
		in = span_skip(in, used);
		if (rc == 1 && !take(h))
			break;
	} while (in.n || rc == 1);
	drain(h);
}

void smtp_host_feed(struct smtp_host *h, struct span in, size_t step)
{
	if (h->closed)
		return;
	feed_piece(h, (struct span){ 0 });
	while (in.n && !h->closed) {
		size_t n = step && step < in.n ? step : in.n;
		feed_piece(h, span_of(in.p, n));
		in = span_skip(in, n);
	}
	h->early = smtp_server_early(h->server);
}

void smtp_host_say(struct smtp_host *h, const char *lines)
{
	smtp_host_feed(h, span_str(lines), 0);
}

const char *smtp_host_log(struct smtp_host *h)
{
	return buf_cstr(&h->log);
}

const char *smtp_host_output(struct smtp_host *h)
{
	return buf_cstr(&h->output);
}

void smtp_host_forget(struct smtp_host *h)
{
	buf_reset(&h->log);
	buf_reset(&h->output);
}

bool smtp_host_said(struct smtp_host *h, const struct cat_reply *row)
{
	const char *output = smtp_host_output(h);
	char want[600];
	int n =
	    snprintf(want, sizeof(want), "%u%c", row->code, strlen(output) > 3 ? output[3] : ' ');

	if (row->enhanced.class_)
		n += snprintf(want + n, sizeof(want) - (size_t)n, "%u.%u.%u ", row->enhanced.class_,
		    row->enhanced.subject, row->enhanced.detail);
	snprintf(
	    want + n, sizeof(want) - (size_t)n, "%.*s", (int)strcspn(row->text, "{\n"), row->text);
	return strncmp(output, want, strlen(want)) == 0;
}
