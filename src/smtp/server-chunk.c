/*
 * smtp/server-chunk.c - BDAT, RFC 3030 2.
 *
 * The octets of a chunk follow its command at once, whatever the command earns: a
 * refused one is read away to its last octet before the refusal is said, or its octets
 * would be taken for commands.  When the size itself cannot be read nobody knows where
 * the commands go on, and the session ends.  A refusal ends the transaction; chunks
 * that the client has sent ahead then find none and are refused in turn.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "catalogue/reply_ids.h"
#include "smtp/server-private.h"

/* A refused chunk above this (and above the message limit) is not worth its reading. */
#define SKIP_MAX (UINT64_C(64) << 20)

/* "count [LAST]": 0; -1: the size is there but not the rest; -2: no size. */
static int read_args(struct span args, uint64_t *count_r, bool *last_r)
{
	struct span count = smtp_word(args), rest = span_trim(span_skip(args, count.n));

	*count_r = 0;
	if (span_u64(count, INT64_MAX, count_r) < 0)
		return -2;
	*last_r = span_eq_nocase(rest, SPAN_LIT("LAST"));
	return rest.n == 0 || *last_r ? 0 : -1;
}

/* The reply that was just said waits until the chunk is read away; the transaction is over. */
static void skip(struct smtp_server *s, size_t from, uint64_t count, int reply)
{
	uint64_t most = s->o.message_octets_max > SKIP_MAX ? s->o.message_octets_max : SKIP_MAX;

	if (s->closing)
		return;
	smtp_server_txn_reset(s, false);
	if (count > most) {
		smtp_server_close(s, reply);
		return;
	}
	buf_reset(&s->held);
	if (buf_add_span(&s->held, span_skip(buf_span(&s->out), from)) < 0)
		s->failed = true;
	buf_truncate(&s->out, from);
	s->skip_back = s->state;
	s->skip_left = count;
	smtp_server_state_set(s, SMTP_ST_SKIP);
}

static void refuse(struct smtp_server *s, int reply, uint64_t count)
{
	size_t from = buf_len(&s->out);

	smtp_server_refuse(s, reply, NULL);
	skip(s, from, count, reply);
}

void smtp_server_refuse_bdat(struct smtp_server *s, struct span args, int reply)
{
	uint64_t count;
	bool last = false;
	int r = read_args(args, &count, &last);

	/* as in Postfix, the form comes before the sequence */
	if (r == 0 && count == 0 && !last &&
	    (reply == REPLY_NEED_RCPT || reply == REPLY_NO_VALID_RECIPIENTS))
		reply = REPLY_NULL_BDAT;
	if (r == -2)
		smtp_server_refuse(s, REPLY_SYNTAX_BDAT_CLOSING, NULL);
	else
		refuse(s, reply, count);
}

void smtp_server_chunk_refused(struct smtp_server *s, size_t from, int reply)
{
	skip(s, from, s->txn.chunk_left, reply);
}

void smtp_server_on_bdat(struct smtp_server *s, struct span args)
{
	struct smtp_txn *t = &s->txn;
	uint64_t count = 0;
	bool last = false;
	int r = read_args(args, &count, &last);

	if (r == -2) {
		smtp_server_refuse(s, REPLY_SYNTAX_BDAT_CLOSING, NULL);
	} else if (r < 0) {
		refuse(s, REPLY_SYNTAX_BDAT, count);
	} else if (count == 0 && !last) {
		refuse(s, REPLY_NULL_BDAT, count);
	} else if (s->o.message_octets_max && count > s->o.message_octets_max - t->octets) {
		refuse(s, REPLY_CHUNK_TOO_BIG, count);
	} else {
		t->chunk_octets = t->chunk_left = count;
		t->chunk_last = last;
		if (t->chunked) {
			smtp_server_state_set(s, SMTP_ST_CHUNK);
			return;
		}
		t->chunked = true;
		s->step.chunked = true;
		smtp_server_ask(s, SMTP_STEP_DATA);
	}
}

size_t smtp_server_skip(struct smtp_server *s, size_t len)
{
	size_t n = len < s->skip_left ? len : (size_t)s->skip_left;

	s->skip_left -= n;
	return n;
}

void smtp_server_chunk_end(struct smtp_server *s)
{
	struct reply_args args = { 0 };

	s->touched = true;
	if (s->state == SMTP_ST_SKIP) {
		if (buf_add_span(&s->out, buf_span(&s->held)) < 0)
			s->failed = true;
		buf_done(&s->held);
		smtp_server_state_set(s, s->skip_back);
	} else if (s->txn.chunk_last) {
		s->step.chunked = true;
		smtp_server_message_end(s);
	} else {
		args.field[REPLY_FIELD_octets] = smtp_server_number(s, 0, s->txn.chunk_octets);
		smtp_server_state_set(s, SMTP_ST_BDAT);
		smtp_server_say(s, REPLY_BDAT_OK, &args);
	}
}
