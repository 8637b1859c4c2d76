/*
 * mime/convert.c - lines, boundaries and parts of a message that is converted; see mime/convert.h.
 *
 * The line end before a boundary belongs to the boundary (RFC 2046 5.1.1), so each line end of a
 * body is held back until it is seen what the next line is.  A line that begins with a dash is
 * held back until it is seen that it is no boundary; all others go through as they come.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "mime/convert-private.h"

#include <stdlib.h>

static void open_part(struct mime_convert *c, bool is_message)
{
	c->phase = PHASE_HEADER;
	c->is_message = is_message;
	buf_reset(&c->header);
}

static void start(struct mime_convert *c, bool converting)
{
	c->converting = converting;
	c->part = 0;
	c->bol = true;
	c->cr = c->probing = false;
	c->line_octets = 0;
	c->held = 0;
	c->frame_count = 0;
	c->depth = 0;
	c->is_sealed = false;
	open_part(c, true);
}

int mime_convert_new(enum mime_convert_to to, bool binary, struct mime_convert **c_r)
{
	struct mime_convert *c = calloc(1, sizeof(*c));

	if (!c)
		return -ERR_NOMEM;
	c->to = to;
	c->binary = binary;
	buf_init(&c->needs, CONVERT_PARTS_MAX);
	buf_init(&c->header, CONVERT_HEADER_MAX);
	start(c, false);
	*c_r = c;
	return 0;
}

void mime_convert_free(struct mime_convert **c)
{
	if (!*c)
		return;
	buf_done(&(*c)->needs);
	buf_done(&(*c)->header);
	free(*c);
	*c = NULL;
}

static void refuse(struct mime_convert *c, enum mime_convert_why why)
{
	if (!c->cannot)
		c->cannot = why;
}

static void lose(struct mime_convert *c)
{
	refuse(c, MIME_CONVERT_LIMIT);
	c->phase = PHASE_LOST;
}

/* ---- what must become something else ---- */

static bool is_foul_octet(const struct mime_convert *c, uint8_t o)
{
	return o == 0 || (o >= 0x80 && c->to == MIME_CONVERT_7BIT) ||
	    (c->binary && (o == '\r' || o == '\n'));
}

static bool is_foul(const struct mime_convert *c, struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (is_foul_octet(c, s.p[i]))
			return true;
	return false;
}

/* The open part holds what does not fit. */
static void need(struct mime_convert *c)
{
	if (c->is_sealed)
		refuse(c, MIME_CONVERT_SIGNED);
	else if (c->phase == PHASE_LEAF && c->info.kind == PART_FIXED)
		refuse(c, c->info.why);
	else if (c->phase == PHASE_LEAF)
		c->needs.data[c->needs.start + c->part] = 1;
}

static void look(struct mime_convert *c, struct span s)
{
	bool foul = is_foul(c, s), too_long = c->line_octets > CONVERT_LINE_MAX;

	c->must = c->must || foul || (c->binary && too_long);
	if ((foul || too_long) && c->phase != PHASE_HEADER)
		need(c);
}

/* ---- parts ---- */

static bool part_needs(const struct mime_convert *c)
{
	return buf_span(&c->needs).p[c->part] != 0;
}

/* What Content-Transfer-Encoding becomes; NULL: it stays. */
static const char *encoding_of(const struct mime_convert *c)
{
	bool leaf = c->info.kind != PART_MULTIPART && c->info.kind != PART_MESSAGE;

	if (c->is_sealed)
		return NULL;
	if (leaf && part_needs(c))
		return c->info.kind == PART_TEXT || c->info.kind == PART_QP ? "quoted-printable"
									    : "base64";
	if (c->to == MIME_CONVERT_7BIT)
		return c->info.is_declared ? "7bit" : NULL;
	return c->info.is_binary ? "8bit" : NULL;
}

/* A part of its own number begins to be known; 0 or an error. */
static int number_part(struct mime_convert *c)
{
	if (c->converting)
		return c->part < buf_len(&c->needs) ? 0 : -ERR_CORRUPT;
	if (buf_len(&c->needs) == CONVERT_PARTS_MAX) {
		lose(c);
		return 0;
	}
	return buf_add_char(&c->needs, 0);
}

static void push_frame(struct mime_convert *c)
{
	struct frame *f = &c->frames[c->frame_count++];

	memcpy(f->boundary, c->info.boundary, sizeof(f->boundary));
	f->boundary_n = strlen(f->boundary);
	f->is_digest = c->info.is_digest;
	f->is_sealed = c->is_sealed;
	f->depth = c->depth;
	f->seals = c->info.is_sealed;
	/* Its parts come with the first boundary. */
	c->phase = PHASE_BETWEEN;
}

static int header_end(struct mime_convert *c, bool has_body)
{
	bool digest = !c->is_message && c->frame_count && c->frames[c->frame_count - 1].is_digest;
	int r = number_part(c);

	if (r < 0 || c->phase == PHASE_LOST)
		return r;
	part_info_read(buf_span(&c->header), digest, &c->info);
	if (!c->converting) {
		enum mime_convert_why why = part_header_check(c);
		if (why)
			refuse(c, why);
	} else {
		part_header_write(c, encoding_of(c));
		if (has_body)
			buf_add_str(c->out, "\r\n");
	}
	c->phase = PHASE_LEAF;
	if (c->converting && part_needs(c))
		encode_begin(&c->encoder, c->info.kind);
	if (!has_body || (c->info.kind != PART_MULTIPART && c->info.kind != PART_MESSAGE))
		return 0;
	if (c->depth == CONVERT_DEPTH_MAX) {
		c->info.kind = PART_FIXED;
		c->info.why = MIME_CONVERT_LIMIT;
		return 0;
	}
	c->depth++;
	if (c->info.kind == PART_MULTIPART) {
		push_frame(c);
		return 0;
	}
	c->part++;
	open_part(c, true);
	return 0;
}

/* ---- octets of a body ---- */

/* What stands between parts is for nobody's eyes: it is made to fit. */
static void write_between(struct mime_convert *c, struct span s)
{
	size_t before = c->line_octets - s.n;

	for (size_t i = 0; i < s.n && before + i < CONVERT_LINE_MAX; i++)
		buf_add_char(c->out,
		    !c->is_sealed && (is_foul_octet(c, s.p[i]) || s.p[i] == '\r') ? '?'
										  : (char)s.p[i]);
}

static void body_octets(struct mime_convert *c, struct span s)
{
	if (!c->converting)
		return;
	if (c->phase == PHASE_BETWEEN)
		write_between(c, s);
	else if (part_needs(c))
		encode_octets(&c->encoder, s, c->out);
	else
		buf_add_span(c->out, s);
}

static void flush_held(struct mime_convert *c)
{
	unsigned held = c->held;

	c->held = 0;
	if (!held || !c->converting)
		return;
	if (c->phase == PHASE_LEAF && part_needs(c))
		encode_line_end(&c->encoder, held, c->out);
	else
		buf_add_str(c->out, "\r\n");
}

static int content(struct mime_convert *c, struct span s)
{
	if (!s.n)
		return 0;
	c->bol = false;
	c->line_octets += s.n;
	if (!c->converting)
		look(c, s);
	if (c->phase == PHASE_LOST)
		return 0;
	if (c->phase == PHASE_HEADER) {
		if (buf_len(&c->header) + s.n + 2 > CONVERT_HEADER_MAX) {
			if (c->converting)
				return -ERR_CORRUPT;
			lose(c);
			return 0;
		}
		return buf_add_span(&c->header, s);
	}
	flush_held(c);
	body_octets(c, s);
	return 0;
}

/* ---- boundaries ---- */

static void leaf_end(struct mime_convert *c)
{
	if (c->phase == PHASE_LEAF && c->converting && part_needs(c))
		encode_end(&c->encoder, c->out);
}

/* Is the probed line a boundary of an open multipart?  The innermost that fits, or -1. */
static ptrdiff_t find_boundary(const struct mime_convert *c, bool *closes_r)
{
	struct span line = span_of(c->probe, c->probe_n);

	if (line.n < 3 || line.p[0] != '-' || line.p[1] != '-')
		return -1;
	line = span_skip(line, 2);
	while (line.n && (line.p[line.n - 1] == ' ' || line.p[line.n - 1] == '\t'))
		line.n--;
	for (size_t i = c->frame_count; i-- > 0;) {
		const struct frame *f = &c->frames[i];
		if (line.n < f->boundary_n || memcmp(line.p, f->boundary, f->boundary_n) != 0)
			continue;
		*closes_r =
		    line.n == f->boundary_n + 2 && memcmp(line.p + f->boundary_n, "--", 2) == 0;
		if (*closes_r || line.n == f->boundary_n)
			return (ptrdiff_t)i;
	}
	return -1;
}

static int on_boundary(struct mime_convert *c, size_t frame, bool closes)
{
	int r = c->phase == PHASE_HEADER ? header_end(c, false) : 0;

	if (r < 0 || c->phase == PHASE_LOST)
		return r;
	leaf_end(c);
	if (c->converting) {
		if (c->held)
			buf_add_str(c->out, "\r\n");
		buf_add(c->out, c->probe, c->probe_n);
		buf_add_str(c->out, "\r\n");
	}
	c->held = 0;
	/* All that is open within it is over. */
	c->frame_count = frame + 1;
	c->depth = c->frames[frame].depth;
	c->is_sealed = c->frames[frame].is_sealed;
	if (closes) {
		c->frame_count = frame;
		c->phase = PHASE_BETWEEN;
		return 0;
	}
	c->is_sealed = c->is_sealed || c->frames[frame].seals;
	c->part++;
	open_part(c, false);
	return 0;
}

/* The line began with a dash and is no boundary. */
static int give_probe(struct mime_convert *c)
{
	c->probing = false;
	return content(c, span_of(c->probe, c->probe_n));
}

/* ---- lines ---- */

static int octets_of_line(struct mime_convert *c, struct span s)
{
	if (c->bol && !c->probing && c->frame_count && s.p[0] == '-') {
		c->probing = true;
		c->probe_n = 0;
	}
	if (!c->probing)
		return content(c, s);
	if (c->probe_n + s.n <= sizeof(c->probe)) {
		memcpy(c->probe + c->probe_n, s.p, s.n);
		c->probe_n += s.n;
		return 0;
	}
	if (give_probe(c) < 0)
		return -ERR_NOMEM;
	return content(c, s);
}

/* The end of a line, of so many octets. */
static int line_end(struct mime_convert *c, unsigned octets)
{
	bool closes = false, empty;
	ptrdiff_t frame = -1;
	int r = 0;

	if (c->probing) {
		frame = find_boundary(c, &closes);
		if (frame < 0)
			r = give_probe(c);
		c->probing = false;
	}
	empty = c->bol && frame < 0;
	c->bol = true;
	c->line_octets = 0;
	if (r < 0 || c->phase == PHASE_LOST)
		return r;
	if (frame >= 0)
		return on_boundary(c, (size_t)frame, closes);
	if (c->phase == PHASE_HEADER)
		return empty ? header_end(c, true) : buf_add_str(&c->header, "\r\n");
	flush_held(c);
	c->held = octets;
	return 0;
}

static int feed(struct mime_convert *c, struct span s)
{
	int r = 0;

	while (s.n && r == 0) {
		size_t n = 0;
		if (c->cr) {
			c->cr = false;
			if (s.p[0] == '\n') {
				r = line_end(c, 2);
				s = span_skip(s, 1);
			} else {
				r = octets_of_line(c, SPAN_LIT("\r"));
			}
			continue;
		}
		while (n < s.n && s.p[n] != '\r' && s.p[n] != '\n')
			n++;
		if (n) {
			r = octets_of_line(c, span_of(s.p, n));
		} else {
			n = 1;
			if (s.p[0] == '\r')
				c->cr = true;
			else
				r = c->binary ? octets_of_line(c, SPAN_LIT("\n")) : line_end(c, 1);
		}
		s = span_skip(s, n);
	}
	return r;
}

static int finish(struct mime_convert *c)
{
	bool closes = false, leaf;
	ptrdiff_t frame = -1;
	int r = c->cr ? octets_of_line(c, SPAN_LIT("\r")) : 0;

	c->cr = false;
	if (r == 0 && c->probing) {
		frame = find_boundary(c, &closes);
		r = frame >= 0 ? on_boundary(c, (size_t)frame, closes) : give_probe(c);
		c->probing = false;
	}
	if (r == 0 && c->phase == PHASE_HEADER)
		r = header_end(c, false);
	if (r < 0 || c->phase == PHASE_LOST)
		return r;
	leaf = c->phase == PHASE_LEAF;
	/* A line end would be added on the way, and one more octet is another file. */
	if (!c->converting && c->binary && leaf && !c->bol && c->info.kind != PART_TEXT) {
		c->must = true;
		need(c);
	}
	flush_held(c);
	leaf_end(c);
	/* Quoted-printable can say that its last line has no end. */
	if (c->converting && leaf && part_needs(c) && c->encoder.column)
		buf_add_str(c->out, c->info.kind == PART_TEXT ? "=\r\n" : "\r\n");
	return 0;
}

int mime_convert_scan(struct mime_convert *c, struct span octets)
{
	return feed(c, octets) < 0 ? -ERR_NOMEM : 0;
}

int mime_convert_scan_end(struct mime_convert *c, enum mime_convert_why *why_r)
{
	if (finish(c) < 0)
		return -ERR_NOMEM;
	if (!c->must)
		return 0;
	if (c->cannot) {
		*why_r = c->cannot;
		return -ERR_UNSUPPORTED;
	}
	start(c, true);
	return 1;
}

int mime_convert_feed(struct mime_convert *c, struct span octets, struct buf *out)
{
	int r;

	c->out = out;
	r = feed(c, octets);
	return out->failed ? -ERR_NOMEM : r;
}

int mime_convert_end(struct mime_convert *c, struct buf *out)
{
	int r;

	c->out = out;
	r = finish(c);
	return out->failed ? -ERR_NOMEM : r;
}
