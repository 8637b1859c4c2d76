/*
 * smtp/server-body.c - octets between 354 and the final dot, RFC 5321 4.1.1.4 and 4.5.2.
 *
 * The end is CR LF . CR LF and nothing that looks like it: other servers took LF . LF
 * or CR . CR for it, and the octets behind became commands of a second, forged
 * message (SMTP smuggling, 2023).  A message with a bare LF or a bare CR is read to
 * its true end and refused there, because no two programs agree on its lines.
 * NUL is let through unless the operator says otherwise, as in Postfix: it is only an
 * octet to us, moves no line end, and old programs do send it.  Some mail stores
 * refuse it, which is what the option is for.
 *
 * Spans of BODY point into the caller's buffer and are as long as they can be: they
 * break only where a dot is taken out.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "catalogue/reply_ids.h"
#include "smtp/server-private.h"

static const char received[] = "received";
#define RECEIVED_N (sizeof(received) - 1)

/*
 * The first fault of each kind stays, and one of the line ends goes before all others:
 * so the verdict does not hang on how the octets came in.
 */
static void fault(struct smtp_server *s, int reply)
{
	if (s->txn.fault < 0)
		s->txn.fault = reply;
}

static void line_fault(struct smtp_server *s, int reply)
{
	if (s->txn.line_fault < 0)
		s->txn.line_fault = reply;
}

/* A colon: this line is a field.  Was it Received? */
static void header_colon(struct smtp_server *s)
{
	struct smtp_txn *t = &s->txn;

	t->header = SMTP_HEADER_REST;
	if (t->maybe_hop && t->name_n == RECEIVED_N && ++t->hops > s->o.hops_max && s->o.hops_max)
		fault(s, REPLY_MAIL_LOOP);
}

/* One octet of a field's name.  What is no field ends the header. */
static void header_name(struct smtp_server *s, uint8_t c)
{
	struct smtp_txn *t = &s->txn;

	if (c == ':') {
		header_colon(s);
	} else if (c == ' ' || c == '\t') {
		t->header = SMTP_HEADER_BLANK;
	} else if (c < 33 || c > 126 || t->header == SMTP_HEADER_BLANK) {
		t->header = SMTP_HEADER_DONE;
	} else {
		t->maybe_hop &=
		    t->name_n < RECEIVED_N && ascii_lower(c) == (uint8_t)received[t->name_n];
		t->name_n += t->name_n < UINT8_MAX;
	}
}

/* Count Received fields in the header, whatever way it is split. */
static void header_scan(struct smtp_server *s, struct span piece)
{
	struct smtp_txn *t = &s->txn;

	while (piece.n && t->header != SMTP_HEADER_DONE) {
		uint8_t c = piece.p[0];
		if (t->header == SMTP_HEADER_REST) {
			ptrdiff_t lf = span_find(piece, '\n');
			if (lf < 0)
				return;
			t->header = SMTP_HEADER_BOL;
			piece = span_skip(piece, (size_t)lf + 1);
			continue;
		}
		if (t->header == SMTP_HEADER_BOL) {
			t->name_n = 0;
			t->maybe_hop = true;
			t->header = c == ' ' || c == '\t' ? SMTP_HEADER_REST
			    : c == '\r' || c == ':'       ? SMTP_HEADER_DONE
							  : SMTP_HEADER_NAME;
		}
		if (t->header == SMTP_HEADER_NAME || t->header == SMTP_HEADER_BLANK)
			header_name(s, c);
		piece = span_skip(piece, 1);
	}
}

/* Look at octets as far as the message may go: header and NUL, whichever is wrong first. */
static void check(struct smtp_server *s, struct span piece)
{
	const uint8_t *nul = s->o.nul_refused ? memchr(piece.p, 0, piece.n) : NULL;

	if (nul)
		piece.n = (size_t)(nul - piece.p);
	if (s->txn.header != SMTP_HEADER_DONE)
		header_scan(s, piece);
	if (nul)
		fault(s, REPLY_NUL_IN_DATA);
}

/* Hand out a run of the body unless a fault makes it worthless. */
static void emit(struct smtp_server *s, const uint8_t *from, const uint8_t *to)
{
	struct span piece = span_of(from, (size_t)(to - from)), good = piece;
	uint64_t room =
	    s->o.message_octets_max ? s->o.message_octets_max - s->txn.octets : UINT64_MAX;

	if (piece.n == 0 || s->txn.fault >= 0 || s->txn.line_fault >= 0)
		return;
	if (good.n > room)
		good.n = (size_t)room;
	if (good.n)
		check(s, good);
	if (good.n < piece.n)
		fault(s, REPLY_MESSAGE_TOO_BIG);
	if (s->txn.fault >= 0)
		return;
	s->txn.octets += piece.n;
	s->step.kind = SMTP_STEP_BODY;
	s->step.octets = piece;
}

/* The true end was seen. */
void smtp_server_message_end(struct smtp_server *s)
{
	struct smtp_txn *t = &s->txn;
	uint64_t limit = t->fault == REPLY_MAIL_LOOP ? s->o.hops_max : s->o.message_octets_max;

	if (t->at == SMTP_BODY_CR) /* of a last chunk: its LF never came */
		line_fault(s, REPLY_BARE_CR);
	s->step.fault = t->line_fault >= 0 ? t->line_fault : t->fault;
	s->step.size = t->octets;
	s->step.args.field[REPLY_FIELD_octets] = smtp_server_number(s, 1, t->octets);
	if (s->step.fault >= 0)
		s->step.args.field[REPLY_FIELD_limit] = smtp_server_number(s, 0, limit);
	smtp_server_state_set(s, SMTP_ST_END);
	s->after = "END-OF-MESSAGE";
	smtp_server_ask(s, SMTP_STEP_MESSAGE);
}

/*
 * The rest of a line up to its LF.  Leaves `at` as what the next octet meets; returns
 * where that is.  This loop is what the speed of DATA hangs on: two memchr() a line.
 * Behind a fault only the end matters: CRs are then no longer looked for, so that a
 * body of nothing but CR costs no more than another.
 */
static const uint8_t *scan_line(struct smtp_server *s, const uint8_t *p, const uint8_t *end)
{
	const uint8_t *lf = memchr(p, '\n', (size_t)(end - p));
	const uint8_t *stop = lf ? lf : end;
	bool cr_last = stop > p && stop[-1] == '\r';

	if (s->txn.line_fault < 0) {
		const uint8_t *text_end = cr_last ? stop - 1 : stop;
		if (text_end > p && memchr(p, '\r', (size_t)(text_end - p)))
			line_fault(s, REPLY_BARE_CR);
		else if (lf && !cr_last)
			line_fault(s, REPLY_BARE_LF);
	}
	if (cr_last)
		s->txn.at = lf ? SMTP_BODY_BOL : SMTP_BODY_CR;
	else
		s->txn.at = SMTP_BODY_MID;
	return lf ? lf + 1 : end;
}

size_t smtp_server_body(struct smtp_server *s, const uint8_t *buf, size_t len)
{
	const uint8_t *p = buf, *end = buf + len, *from = buf;
	struct smtp_txn *t = &s->txn;

	while (p < end) {
		/* clang-format off */
		switch (t->at) {
		case SMTP_BODY_BOL:
			if (*p != '.') {
				p = scan_line(s, p, end);
				break;
			}
			t->at = SMTP_BODY_DOT;
			emit(s, from, p);
			from = ++p;
			if (s->step.kind != SMTP_STEP_NONE)
				return (size_t)(p - buf);
			break;
		case SMTP_BODY_MID:
			p = scan_line(s, p, end);
			break;
		case SMTP_BODY_CR:
			t->at = *p == '\n' ? SMTP_BODY_BOL : SMTP_BODY_MID;
			if (*p == '\n')
				p++;
			else
				line_fault(s, REPLY_BARE_CR);
			break;
		case SMTP_BODY_DOT:
			if (*p == '\r') {
				t->at = SMTP_BODY_DOT_CR;
				from = ++p;
			} else {
				t->at = SMTP_BODY_MID; /* the dot was stuffed: it is gone */
			}
			break;
		case SMTP_BODY_DOT_CR:
			if (*p == '\n') {
				smtp_server_message_end(s);
				return (size_t)(p + 1 - buf);
			}
			t->at = SMTP_BODY_MID; /* the CR held back needs no hand-out: it is a fault */
			line_fault(s, REPLY_BARE_CR);
			break;
		}
		/* clang-format on */
	}
	emit(s, from, end);
	return len;
}

/* A chunk has no dots and no end but its size; unless it is binary its lines are judged as DATA's.
 */
size_t smtp_server_chunk(struct smtp_server *s, const uint8_t *buf, size_t len)
{
	struct smtp_txn *t = &s->txn;
	const uint8_t *p = buf, *end;

	if (len > t->chunk_left)
		len = (size_t)t->chunk_left;
	end = buf + len;
	while (p < end && !t->binary) {
		if (t->at == SMTP_BODY_CR) {
			t->at = *p == '\n' ? SMTP_BODY_BOL : SMTP_BODY_MID;
			if (*p == '\n')
				p++;
			else
				line_fault(s, REPLY_BARE_CR);
		} else {
			p = scan_line(s, p, end);
		}
	}
	t->chunk_left -= len;
	emit(s, buf, end);
	return len;
}
