/*
 * smtp/server.c - life, steps and answers of the server machine; see smtp/server.h.
 *
 * The order in which things become due is all in advance(): RESET before CLOSE,
 * too many errors before the next command.  A step that waits for its answer
 * stops everything else.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "smtp/server-private.h"
#include "base/err.h"
#include "catalogue/reply_ids.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * Replies to one pipelined group.  Refusals are few (errors are counted and end the
 * session), so the output is never much longer than what the host fed at once.
 */
#define OUTPUT_MAX (1024 * 1024)

/* Spans of one command: no more than a few copies of a line. */
#define STEP_MEMORY_MAX (256 * 1024)

/* One reply, kept until the chunk that it refuses is read away: eight lines of 512 octets. */
#define HELD_MAX 4096

#define LINE_OCTETS_MIN 512 /* RFC 5321 4.5.3.1.4 */

void smtp_server_options_init(
    struct smtp_server_options *o, const struct catalogue *cat, const char *hostname)
{
	*o = (struct smtp_server_options){
		.catalogue = cat,
		.hostname = hostname,
		.extensions = SMTP_EXT_PIPELINING | SMTP_EXT_SIZE | SMTP_EXT_8BITMIME |
		    SMTP_EXT_ENHANCEDSTATUSCODES | SMTP_EXT_DSN | SMTP_EXT_VRFY |
		    SMTP_EXT_CHUNKING | SMTP_EXT_BINARYMIME | SMTP_EXT_SMTPUTF8 | SMTP_EXT_LIMITS |
		    SMTP_EXT_ETRN,
		.message_octets_max = 10240000,
		.rcpt_max = 1000,
		.line_octets_max = 2048,
		.error_soft_limit = 10,
		.error_hard_limit = 20,
		.junk_limit = 100,
		.hops_max = 50,
		.timeout_ms = 300 * 1000,
		.helo_required = false,
	};
}

int smtp_server_new(const struct smtp_server_options *o, uint64_t now_ms, struct smtp_server **s_r)
{
	struct smtp_server *s = calloc(1, sizeof(*s));

	if (!s)
		return -ERR_NOMEM;
	s->o = *o;
	if (s->o.line_octets_max < LINE_OCTETS_MIN)
		s->o.line_octets_max = LINE_OCTETS_MIN;
	catalogue_ref(o->catalogue);
	s->tls = s->o.tls;
	buf_init(&s->line,
	    s->o.line_octets_max > SMTP_SASL_LINE_MAX ? s->o.line_octets_max : SMTP_SASL_LINE_MAX);
	buf_init(&s->out, OUTPUT_MAX);
	buf_init(&s->held, HELD_MAX);
	buf_init(&s->secret, SMTP_SASL_LINE_MAX);
	arena_init(&s->arena, STEP_MEMORY_MAX);
	s->txn.line_fault = s->txn.fault = s->step.fault = s->step.reply = -1;
	s->close_reply = -1;
	s->counted = -1;
	s->after = "CONNECT";
	s->deadline_ms = now_ms + s->o.timeout_ms;
	*s_r = s;
	return 0;
}

void smtp_server_free(struct smtp_server **sp)
{
	struct smtp_server *s = *sp;

	if (!s)
		return;
	catalogue_unref(&s->o.catalogue);
	smtp_server_wipe(&s->line);
	smtp_server_wipe(&s->secret);
	buf_done(&s->line);
	buf_done(&s->secret);
	buf_done(&s->held);
	buf_done(&s->out);
	arena_done(&s->arena);
	free(s->client);
	free(s);
	*sp = NULL;
}

/* The only place that changes the state. */
void smtp_server_state_set(struct smtp_server *s, enum smtp_server_state state)
{
	if (s->state != SMTP_ST_CLOSED) /* there is no way back from there */
		s->state = state;
}

void smtp_server_txn_reset(struct smtp_server *s, bool told)
{
	bool open = smtp_server_in_transaction(s);

	s->txn = (struct smtp_txn){ .line_fault = -1, .fault = -1 };
	if (!open)
		return;
	if (!told)
		s->want_reset = true;
	smtp_server_state_set(s, SMTP_ST_READY);
}

struct span smtp_server_number(struct smtp_server *s, unsigned which, uint64_t n)
{
	int len =
	    snprintf(s->numbers[which], sizeof(s->numbers[which]), "%llu", (unsigned long long)n);

	return span_of(s->numbers[which], (size_t)len);
}

static void fill(struct reply_args *args, enum reply_field field, struct span value)
{
	if (!args->field[field].p)
		args->field[field] = value;
}

/* What every reply may name, where the host named nothing else. */
static void fill_args(const struct smtp_server *s, struct reply_args *args)
{
	const struct smtp_step *step = &s->step;

	fill(args, REPLY_FIELD_hostname, span_str(s->o.hostname));
	fill(args, REPLY_FIELD_session, s->o.session);
	fill(args, REPLY_FIELD_command, step->command);
	fill(args, REPLY_FIELD_client, span_str(s->client));
	if (step->kind == SMTP_STEP_HELO)
		fill(args, REPLY_FIELD_helo, step->helo);
	if (step->kind == SMTP_STEP_MAIL)
		fill(args, REPLY_FIELD_sender, step->address.address);
	if (step->kind == SMTP_STEP_RCPT)
		fill(args, REPLY_FIELD_recipient, step->address.address);
	if (step->kind == SMTP_STEP_MESSAGE)
		fill(args, REPLY_FIELD_octets, step->args.field[REPLY_FIELD_octets]);
	if (step->kind == SMTP_STEP_VRFY)
		fill(args, REPLY_FIELD_address, step->address.address);
}

int smtp_server_say(struct smtp_server *s, int reply, const struct reply_args *args)
{
	struct reply_args all = args ? *args : (struct reply_args){ 0 };
	int code;

	fill_args(s, &all);
	s->o.format.utf8 = s->txn.smtputf8 || s->step.smtputf8;
	code = catalogue_render(s->o.catalogue, reply, &s->o.format, &all, &s->out);
	if (code < 0) {
		s->failed = true;
		return 0;
	}
	s->counted_code = code;
	return code;
}

/* ---- counts ---- */

/* How the command ended is what it was answered last: DATA by the reply to the message. */
static void settle(struct smtp_server *s)
{
	if (s->counted >= 0 && s->counted_code && s->counted_code < 400 &&
	    s->counts[s->counted].good < UINT16_MAX)
		s->counts[s->counted].good++;
	s->counted = -1;
}

void smtp_server_count(struct smtp_server *s, const struct smtp_command *row)
{
	settle(s);
	s->counted = row ? (int)(row - smtp_commands) : (int)smtp_command_count;
	assert(s->counted < SMTP_COUNTS_MAX);
	if (s->counts[s->counted].all < UINT16_MAX)
		s->counts[s->counted].all++;
	s->counted_code = 0;
	s->after = row ? row->verb : "UNKNOWN";
}

const char *smtp_server_after(const struct smtp_server *s)
{
	return s->after;
}

static void count_text(struct buf *out, const char *name, unsigned good, unsigned all)
{
	buf_add_char(out, ' ');
	for (; *name; name++)
		buf_add_char(out, (char)ascii_lower((uint8_t)*name));
	buf_addf(out, "=%u", good);
	if (good != all)
		buf_addf(out, "/%u", all);
}

void smtp_server_counts(const struct smtp_server *s, struct buf *out)
{
	unsigned good_sum = 0, all_sum = 0;

	for (size_t i = 0; i <= smtp_command_count; i++) {
		unsigned good = s->counts[i].good, all = s->counts[i].all;
		if ((int)i == s->counted && s->counted_code && s->counted_code < 400)
			good++;
		if (all)
			count_text(out, i < smtp_command_count ? smtp_commands[i].verb : "unknown",
			    good, all);
		good_sum += good;
		all_sum += all;
	}
	if (all_sum)
		count_text(out, "commands", good_sum, all_sum);
}

void smtp_server_refuse(struct smtp_server *s, int reply, const struct reply_args *args)
{
	int code = smtp_server_say(s, reply, args);

	s->errors++;
	s->step.kind = SMTP_STEP_REFUSED;
	s->step.reply = reply;
	s->step.args = args ? *args : (struct reply_args){ 0 };
	fill_args(s, &s->step.args);
	if (code == 421 || code == 521)
		smtp_server_close(s, reply);
}

void smtp_server_close(struct smtp_server *s, int reply)
{
	if (s->closing)
		return;
	smtp_server_txn_reset(s, false);
	s->want_auth_end |= s->state == SMTP_ST_AUTH;
	s->want_tls = false;
	s->closing = true;
	s->close_reply = reply;
	smtp_server_state_set(s, SMTP_ST_CLOSED);
}

void smtp_server_ask(struct smtp_server *s, enum smtp_step_kind kind)
{
	s->step.kind = kind;
	s->waiting = true;
}

/* Forget the step and all its spans. */
static void step_drop(struct smtp_server *s)
{
	if (s->step.kind == SMTP_STEP_NONE || s->step.kind == SMTP_STEP_CLOSE)
		return;
	s->step = (struct smtp_step){ .fault = -1, .reply = -1 };
	s->waiting = false;
	smtp_server_wipe(&s->secret);
	arena_reset(&s->arena);
}

/* The next step that is due without any octet more.  Is there one? */
static bool advance(struct smtp_server *s)
{
	if (s->step.kind != SMTP_STEP_NONE)
		return true;
	if (!s->closing && s->errors >= s->o.error_hard_limit && s->o.error_hard_limit) {
		settle(s);
		smtp_server_say(s, REPLY_TOO_MANY_ERRORS, NULL);
		smtp_server_close(s, REPLY_TOO_MANY_ERRORS);
	}
	if ((s->state == SMTP_ST_CHUNK && s->txn.chunk_left == 0) ||
	    (s->state == SMTP_ST_SKIP && s->skip_left == 0))
		smtp_server_chunk_end(s);
	if (s->step.kind != SMTP_STEP_NONE) {
		/* the chunk was the last: MESSAGE */
	} else if (s->want_reset) {
		s->want_reset = false;
		s->step.kind = SMTP_STEP_RESET;
	} else if (s->want_auth_end) {
		s->want_auth_end = false;
		s->step.kind = SMTP_STEP_AUTH_END;
	} else if (s->want_tls) {
		s->want_tls = false;
		smtp_server_ask(s, SMTP_STEP_TLS);
	} else if (s->closing) {
		s->step.kind = SMTP_STEP_CLOSE;
		s->step.reply = s->close_reply;
	} else if (s->state == SMTP_ST_CONNECT) {
		smtp_server_ask(s, SMTP_STEP_CONNECT);
	}
	return s->step.kind != SMTP_STEP_NONE;
}

/* Nothing is under way: an idle session keeps the struct and little else. */
static void idle(struct smtp_server *s)
{
	if (s->line_done || buf_len(&s->line) == 0) {
		smtp_server_wipe(&s->line);
		buf_done(&s->line);
		s->line_done = s->line_long = s->line_cr = false;
	}
	arena_done(&s->arena);
	smtp_server_trim(s);
}

/* Are octets on their way that are no command? */
static bool is_reading(const struct smtp_server *s)
{
	return s->state == SMTP_ST_BODY || s->state == SMTP_ST_CHUNK || s->state == SMTP_ST_SKIP;
}

void smtp_server_trim(struct smtp_server *s)
{
	if (buf_len(&s->out) == 0)
		buf_done(&s->out);
}

int smtp_server_feed(
    struct smtp_server *s, const uint8_t *buf, size_t len, uint64_t now_ms, size_t *used_r)
{
	size_t at = 0;
	bool found;

	*used_r = 0;
	if (s->failed)
		return -ERR_NOMEM;
	if (s->waiting)
		return 1;
	step_drop(s);
	while (!(found = advance(s)) && at < len && !s->failed) {
		if (s->state == SMTP_ST_BODY)
			at += smtp_server_body(s, buf + at, len - at);
		else if (s->state == SMTP_ST_CHUNK)
			at += smtp_server_chunk(s, buf + at, len - at);
		else if (s->state == SMTP_ST_SKIP)
			at += smtp_server_skip(s, len - at);
		else
			at += smtp_server_line(s, buf + at, len - at);
	}
	if (s->step.kind == SMTP_STEP_CLOSE)
		at = len; /* nobody will ever read it */
	*used_r = at;
	if (s->touched || (at && is_reading(s))) {
		s->touched = false;
		s->deadline_ms = now_ms + s->o.timeout_ms;
	}
	if (s->failed)
		return -ERR_NOMEM;
	if (!found && !is_reading(s))
		idle(s);
	return found;
}

const struct smtp_step *smtp_server_step(const struct smtp_server *s)
{
	return &s->step;
}

/* The host said yes to the step. */
static void granted(struct smtp_server *s, int code)
{
	/* clang-format off */
	switch (s->step.kind) {
	case SMTP_STEP_CONNECT:
		smtp_server_state_set(s, s->o.helo_required ? SMTP_ST_START : SMTP_ST_READY);
		break;
	case SMTP_STEP_HELO:
		smtp_server_txn_reset(s, false);
		s->esmtp = s->step.esmtp;
		smtp_server_state_set(s, SMTP_ST_READY);
		break;
	case SMTP_STEP_MAIL:
		s->txn.binary = s->step.body_binary;
		s->txn.smtputf8 = s->step.smtputf8;
		smtp_server_state_set(s, SMTP_ST_MAIL);
		break;
	case SMTP_STEP_RCPT:
		s->txn.rcpts++;
		smtp_server_state_set(s, SMTP_ST_RCPT);
		break;
	case SMTP_STEP_DATA:
		smtp_server_state_set(s, s->step.chunked ? SMTP_ST_CHUNK : SMTP_ST_BODY);
		break;
	case SMTP_STEP_STARTTLS:
		smtp_server_txn_reset(s, false);
		s->want_tls = true;
		smtp_server_state_set(s, SMTP_ST_TLS);
		break;
	case SMTP_STEP_AUTH:
	case SMTP_STEP_AUTH_RESPONSE:
		s->authenticated = code / 100 == 2;
		smtp_server_state_set(s, s->authenticated ? SMTP_ST_READY : SMTP_ST_AUTH);
		break;
	case SMTP_STEP_MESSAGE: /* a good message makes up for earlier errors, as in Postfix */
		s->errors = s->junk = 0;
		smtp_server_txn_reset(s, true);
		break;
	case SMTP_STEP_TLS:
	case SMTP_STEP_AUTH_END:
	case SMTP_STEP_XCLIENT:
	case SMTP_STEP_XFORWARD:
	case SMTP_STEP_ETRN:
	case SMTP_STEP_VRFY:
	case SMTP_STEP_NONE:
	case SMTP_STEP_BODY:
	case SMTP_STEP_RESET:
	case SMTP_STEP_REFUSED:
	case SMTP_STEP_CLOSE:
		break;
	}
	/* clang-format on */
}

/* The host said no.  Whoever was refused at CONNECT stays refused. */
static void refused(struct smtp_server *s, const struct reply_args *args)
{
	if (s->step.kind == SMTP_STEP_CONNECT) {
		struct span client = args ? args->field[REPLY_FIELD_client] : (struct span){ 0 };
		if (client.p && (s->client = malloc(client.n + 1))) {
			memcpy(s->client, client.p, client.n);
			s->client[client.n] = '\0';
		}
		smtp_server_state_set(s, SMTP_ST_DENIED);
		return;
	}
	s->errors++;
	if (s->step.kind == SMTP_STEP_MESSAGE)
		smtp_server_txn_reset(s, true);
	if (s->step.kind == SMTP_STEP_AUTH_RESPONSE)
		smtp_server_state_set(s, SMTP_ST_READY);
}

/* 354 answers DATA and 334 AUTH, and nothing else does; 2xx ends AUTH as well. */
static bool is_fitting(const struct smtp_step *step, int code)
{
	bool data = step->kind == SMTP_STEP_DATA;
	bool auth = step->kind == SMTP_STEP_AUTH || step->kind == SMTP_STEP_AUTH_RESPONSE;

	if (!code || code >= 400)
		return true;
	return code / 100 == 3 ? (code == 354 ? data : auth) : !data;
}

int smtp_server_answer(struct smtp_server *s, int reply, const struct reply_args *args)
{
	const struct cat_reply *row = catalogue_reply(s->o.catalogue, reply);
	struct reply_args all = args ? *args : (struct reply_args){ 0 };
	size_t from = buf_len(&s->out);
	int code;

	if (!s->waiting || s->step.kind == SMTP_STEP_TLS || !row ||
	    !is_fitting(&s->step, row->code))
		return -ERR_INVAL;
	/* a message with a fault is never taken, whatever the host thinks of it */
	if (s->step.fault >= 0 && row->code && row->code < 400)
		return -ERR_INVAL;
	if (row->code == 334)
		code = smtp_server_auth_challenge(s, row->code, all.field[REPLY_FIELD_detail]);
	else
		code = smtp_server_say(s, reply, &all);
	if (s->failed)
		return -ERR_NOMEM;
	if (code < 400) {
		if (s->step.kind == SMTP_STEP_HELO && s->step.esmtp)
			smtp_server_add_keywords(s, code, from);
		if (s->step.kind == SMTP_STEP_DATA && s->step.chunked)
			buf_truncate(&s->out, from); /* the octets are on their way already */
		granted(s, code);
	} else {
		refused(s, args);
		if (s->step.kind == SMTP_STEP_DATA && s->step.chunked && code != 421 && code != 521)
			smtp_server_chunk_refused(s, from, reply);
	}
	step_drop(s);
	s->touched = true;
	if (code == 421 || code == 521)
		smtp_server_close(s, reply);
	return s->failed ? -ERR_NOMEM : code;
}

int smtp_server_abort(struct smtp_server *s, int reply, const struct reply_args *args)
{
	int code;

	if (s->closing)
		return 0;
	settle(s);
	code = smtp_server_say(s, reply, args); /* args may point into the step */
	step_drop(s);
	smtp_server_close(s, reply);
	return s->failed ? -ERR_NOMEM : code;
}

void smtp_server_eof(struct smtp_server *s)
{
	if (s->closing)
		return;
	step_drop(s);
	smtp_server_close(s, -1);
}

struct buf *smtp_server_output(struct smtp_server *s)
{
	return &s->out;
}

uint64_t smtp_server_deadline(const struct smtp_server *s)
{
	return s->waiting || s->closing ? UINT64_MAX : s->deadline_ms;
}

void smtp_server_timeout(struct smtp_server *s, uint64_t now_ms)
{
	if (!s->waiting && now_ms >= s->deadline_ms)
		smtp_server_abort(s, REPLY_TIMEOUT, NULL);
}

void smtp_server_set_extensions(struct smtp_server *s, unsigned extensions)
{
	s->o.extensions = extensions;
}

unsigned smtp_server_extensions(const struct smtp_server *s)
{
	return s->o.extensions;
}

void smtp_server_tls_active(struct smtp_server *s, uint64_t now_ms)
{
	if (s->step.kind != SMTP_STEP_TLS)
		return;
	step_drop(s);
	s->tls = true;
	s->esmtp = s->authenticated = false;
	smtp_server_state_set(s, s->o.helo_required ? SMTP_ST_START : SMTP_ST_READY);
	s->deadline_ms = now_ms + s->o.timeout_ms;
}

void smtp_server_set_authenticated(struct smtp_server *s, bool authenticated)
{
	s->authenticated = authenticated;
}

unsigned smtp_server_offered(const struct smtp_server *s)
{
	return s->o.extensions & ~(unsigned)(s->tls ? SMTP_EXT_STARTTLS : SMTP_EXT_REQUIRETLS);
}

bool smtp_server_is_tls(const struct smtp_server *s)
{
	return s->tls;
}

bool smtp_server_is_authenticated(const struct smtp_server *s)
{
	return s->authenticated;
}

bool smtp_server_early(const struct smtp_server *s)
{
	return s->early;
}

void smtp_server_set_early(struct smtp_server *s)
{
	s->early = true;
}

uint32_t smtp_server_errors(const struct smtp_server *s)
{
	return s->errors;
}

uint32_t smtp_server_delay_ms(const struct smtp_server *s)
{
	return s->o.error_soft_limit && s->errors >= s->o.error_soft_limit ? 1000 : 0;
}

bool smtp_server_in_transaction(const struct smtp_server *s)
{
	return s->state >= SMTP_ST_MAIL && s->state <= SMTP_ST_END;
}

bool smtp_server_in_body(const struct smtp_server *s)
{
	return s->state == SMTP_ST_BODY || s->state == SMTP_ST_CHUNK;
}

const char *smtp_server_protocol(const struct smtp_server *s)
{
	static const char *const names[2][2][2] = { { { "ESMTP", "ESMTPA" },
							{ "ESMTPS", "ESMTPSA" } },
		{ { "UTF8SMTP", "UTF8SMTPA" }, { "UTF8SMTPS", "UTF8SMTPSA" } } };

	if (!s->esmtp)
		return "SMTP";
	return names[s->txn.smtputf8][s->tls][s->authenticated];
}
