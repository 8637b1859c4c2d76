/*
 * smtp/reply.c - reading replies, RFC 5321 4.2; see smtp/reply.h.
 *
 * Lines gather in `raw`; a whole line adds its text to `text`.  Spans are made
 * only when the reply is whole, because the buffers move while they grow.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "smtp/reply.h"
#include "base/err.h"

enum {
	REPLY_TAKEN = 1, /* the reply was handed out: the next octet begins another */
	REPLY_BROKEN = 2 /* a protocol error: nothing after it can be trusted */
};

void smtp_reply_parser_init(struct smtp_reply_parser *p)
{
	*p = (struct smtp_reply_parser){ 0 };
	buf_init(&p->raw, SMTP_REPLY_MAX);
	/* never longer than what it was cut from, but for one LF a line */
	buf_init(&p->text, SMTP_REPLY_MAX);
}

void smtp_reply_parser_reset(struct smtp_reply_parser *p)
{
	buf_reset(&p->raw);
	buf_reset(&p->text);
	p->reply = (struct smtp_reply){ 0 };
	p->line_start = 0;
	p->flags = 0;
}

void smtp_reply_parser_done(struct smtp_reply_parser *p)
{
	buf_done(&p->raw);
	buf_done(&p->text);
	smtp_reply_parser_init(p);
}

bool smtp_reply_pending(const struct smtp_reply_parser *p)
{
	return !(p->flags & REPLY_TAKEN) && buf_len(&p->raw) > 0;
}

/* Without CR and LF at its end. */
static struct span chomp(struct span line)
{
	if (line.n && line.p[line.n - 1] == '\n')
		line.n--;
	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	return line;
}

/* The code at the start of a line: 200 to 599, followed by space, hyphen or nothing; else 0. */
static uint16_t line_code(struct span line, bool *last_r)
{
	if (line.n < 3 || line.p[0] < '2' || line.p[0] > '5' || !ascii_is_digit(line.p[1]) ||
	    !ascii_is_digit(line.p[2]))
		return 0;
	if (line.n > 3 && line.p[3] != ' ' && line.p[3] != '-')
		return 0;
	*last_r = line.n == 3 || line.p[3] == ' ';
	return (uint16_t)((line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + line.p[2] - '0');
}

/* Take an enhanced status code off the front, where it fits the reply code; RFC 2034 4. */
static struct span cut_enhanced(struct span text, uint16_t code, struct enhanced_status *status_r)
{
	struct enhanced_status status;
	size_t n = enhanced_status_parse(text, &status);

	if (n == 0 || status.class_ != code / 100 || (n < text.n && text.p[n] != ' '))
		return text;
	*status_r = status;
	text = span_skip(text, n);
	return text.n ? span_skip(text, 1) : text;
}

/* One line's text behind code and separator: the first one sets the enhanced status. */
static int add_text(struct span text, struct smtp_reply *r, struct buf *to, bool first)
{
	struct enhanced_status other = { 0 };

	text = cut_enhanced(text, r->code, first ? &r->enhanced : &other);
	if (!first)
		buf_add_char(to, '\n');
	return buf_add_span(to, text);
}

static int finish(struct smtp_reply_parser *p, const struct smtp_reply **reply_r)
{
	p->reply.raw = chomp(buf_span(&p->raw));
	p->reply.text = buf_span(&p->text);
	p->flags |= REPLY_TAKEN;
	*reply_r = &p->reply;
	return 1;
}

/* A whole line stands in `raw` from line_start on. */
static int take_line(struct smtp_reply_parser *p, const struct smtp_reply **reply_r)
{
	struct span line = chomp(span_skip(buf_span(&p->raw), p->line_start));
	bool last = true, first = p->reply.lines == 0;
	uint16_t code = line_code(line, &last);

	if (code == 0 || (!first && code != p->reply.code))
		return -ERR_PROTO;
	p->reply.code = code;
	if (add_text(span_skip(line, 4), &p->reply, &p->text, first) < 0)
		return -ERR_LIMIT;
	if (++p->reply.lines > SMTP_REPLY_LINES_MAX)
		return -ERR_LIMIT;
	p->line_start = buf_len(&p->raw);
	return last ? finish(p, reply_r) : 0;
}

/* Errors that can be told before the line is whole, so that garbage is not waited for. */
static int check_partial(struct span line)
{
	bool ignored;

	if (line.n > SMTP_REPLY_LINE_MAX)
		return -ERR_LINE_TOO_LONG;
	line = chomp(line);
	return line.n >= 4 && line_code(span_of(line.p, 4), &ignored) == 0 ? -ERR_PROTO : 0;
}

static int broken(struct smtp_reply_parser *p, int err)
{
	p->flags |= REPLY_BROKEN;
	return err;
}

int smtp_reply_feed(struct smtp_reply_parser *p, struct span octets, size_t *used_r,
    const struct smtp_reply **reply_r)
{
	*used_r = 0;
	if (p->flags & REPLY_BROKEN)
		return -ERR_PROTO;
	if (p->flags & REPLY_TAKEN)
		smtp_reply_parser_reset(p);
	while (octets.n) {
		ptrdiff_t lf = span_find(octets, '\n');
		size_t take = lf < 0 ? octets.n : (size_t)lf + 1;
		size_t line_n = buf_len(&p->raw) - p->line_start;
		int rc;

		if (take > SMTP_REPLY_LINE_MAX + 1 - line_n)
			take = SMTP_REPLY_LINE_MAX + 1 - line_n;
		if (buf_add(&p->raw, octets.p, take) < 0)
			return broken(p, -ERR_LIMIT);
		octets = span_skip(octets, take);
		*used_r += take;
		rc = check_partial(span_skip(buf_span(&p->raw), p->line_start));
		if (rc == 0 && lf >= 0)
			rc = take_line(p, reply_r);
		if (rc != 0)
			return rc < 0 ? broken(p, rc) : rc;
	}
	return 0;
}

int smtp_reply_parse(struct span s, struct buf *text_buf, struct smtp_reply *reply_r)
{
	struct smtp_reply r = { 0 };
	size_t start = buf_len(text_buf);
	bool last;

	r.raw = chomp(s);
	while (s.n) {
		ptrdiff_t lf = span_find(s, '\n');
		struct span line = span_of(s.p, lf < 0 ? s.n : (size_t)lf + 1);
		uint16_t code;

		s = span_skip(s, line.n);
		line = chomp(line);
		code = line_code(line, &last);
		if (r.lines == 0 && code == 0)
			return -ERR_SYNTAX;
		if (r.lines == 0)
			r.code = code;
		if (code == r.code)
			line = span_skip(line, 4);
		if (add_text(line, &r, text_buf, r.lines++ == 0) < 0)
			return -ERR_NOMEM;
	}
	if (r.lines == 0)
		return -ERR_SYNTAX;
	r.text = span_skip(buf_span(text_buf), start);
	*reply_r = r;
	return 0;
}
