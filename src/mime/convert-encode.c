/*
 * mime/convert-encode.c - quoted-printable and base64, as a stream (RFC 2045 6.7, 6.8).
 *
 * No line of theirs can be taken for a boundary that the part had not: base64 has no dashes, and
 * a line of quoted-printable that goes on with the one before does not begin with one.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/base64.h"
#include "mime/convert-private.h"

/* Behind this column a line is broken; with the "=" it has 76 octets. */
#define QP_COLUMN_MAX  75
#define BASE64_COLUMNS 76

void encode_begin(struct encoder *e, enum part_kind kind)
{
	*e = (struct encoder){ .kind = kind };
}

static void qp_room(struct encoder *e, size_t n, struct buf *out)
{
	if (e->column + n <= QP_COLUMN_MAX)
		return;
	buf_add_str(out, "=\r\n");
	e->column = 0;
	e->soft = true;
}

static void qp_code(struct encoder *e, uint8_t c, struct buf *out)
{
	qp_room(e, 3, out);
	buf_addf(out, "=%02X", c);
	e->column += 3;
}

static void qp_plain(struct encoder *e, uint8_t c, struct buf *out)
{
	qp_room(e, 1, out);
	buf_add_char(out, (char)c);
	e->column++;
}

static void qp_blank(struct encoder *e, struct buf *out)
{
	if (e->blank)
		qp_plain(e, e->blank, out);
	e->blank = 0;
}

static void qp_octet(struct encoder *e, uint8_t c, struct buf *out)
{
	bool is_plain = c > 32 && c < 127 && (c != '=' || e->kind == PART_QP);

	if (e->escape && is_plain) {
		/* The digits behind a "=" that was there before stay with it. */
		e->escape--;
		buf_add_char(out, (char)c);
		e->column++;
		return;
	}
	e->escape = 0;
	qp_blank(e, out);
	if (c == ' ' || c == '\t') {
		e->blank = c;
		return;
	}
	if (is_plain && c == '=') {
		qp_room(e, 3, out);
		e->escape = 2;
	} else if (is_plain) {
		qp_room(e, 1, out);
	}
	if (is_plain && !(c == '-' && e->column == 0 && e->soft))
		qp_plain(e, c, out);
	else
		qp_code(e, c, out);
}

static void base64_line(struct encoder *e, struct buf *out)
{
	if (e->column)
		buf_add_str(out, "\r\n");
	base64_encode(span_of(e->group, e->group_n), out);
	e->column = e->group_n ? BASE64_COLUMNS : e->column;
	e->group_n = 0;
}

static void base64_octet(struct encoder *e, uint8_t c, struct buf *out)
{
	e->group[e->group_n++] = c;
	if (e->group_n == sizeof(e->group))
		base64_line(e, out);
}

/* Base64 that has to be put in order: what is not of its alphabet says nothing. */
static void base64_again(struct encoder *e, uint8_t c, struct buf *out)
{
	if (!ascii_is_alpha(c) && !ascii_is_digit(c) && (c == 0 || !memchr("+/=", c, 3)))
		return;
	if (e->column == BASE64_COLUMNS) {
		buf_add_str(out, "\r\n");
		e->column = 0;
	}
	buf_add_char(out, (char)c);
	e->column++;
}

void encode_octets(struct encoder *e, struct span octets, struct buf *out)
{
	for (size_t i = 0; i < octets.n; i++) {
		if (e->kind == PART_OCTETS)
			base64_octet(e, octets.p[i], out);
		else if (e->kind == PART_BASE64)
			base64_again(e, octets.p[i], out);
		else
			qp_octet(e, octets.p[i], out);
	}
}

/* A blank at the end of a line: encoded, or of no meaning in what was quoted-printable before. */
static void qp_last_blank(struct encoder *e, struct buf *out)
{
	if (e->blank && e->kind == PART_TEXT)
		qp_code(e, e->blank, out);
	e->blank = 0;
	e->escape = 0;
}

void encode_line_end(struct encoder *e, unsigned octets, struct buf *out)
{
	if (e->kind == PART_OCTETS) {
		encode_octets(e, octets == 2 ? SPAN_LIT("\r\n") : SPAN_LIT("\n"), out);
	} else if (e->kind != PART_BASE64) {
		qp_last_blank(e, out);
		buf_add_str(out, "\r\n");
		e->column = 0;
		e->soft = false;
	}
}

void encode_end(struct encoder *e, struct buf *out)
{
	if (e->kind == PART_OCTETS && e->group_n)
		base64_line(e, out);
	else if (e->kind == PART_TEXT || e->kind == PART_QP)
		qp_last_blank(e, out);
}
