/*
 * mime/convert-header.c - Content-Type and Content-Transfer-Encoding of a part; see
 * convert-private.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "mime/convert-private.h"

/* A value that is looked into is no longer than this without its line ends. */
#define VALUE_MAX 4096

/* The next field with the lines that go on with it, line ends included. */
static bool next_field(struct span *rest, struct span *field_r)
{
	size_t n = 0;

	if (!rest->n)
		return false;
	do {
		ptrdiff_t lf = span_find(span_skip(*rest, n), '\n');
		n = lf < 0 ? rest->n : n + (size_t)lf + 1;
	} while (n < rest->n && (rest->p[n] == ' ' || rest->p[n] == '\t'));
	*field_r = span_of(rest->p, n);
	*rest = span_skip(*rest, n);
	return true;
}

static bool is_named(struct span field, const char *name, struct span *value_r)
{
	ptrdiff_t colon = span_find(field, ':');

	if (colon < 0 ||
	    !span_eq_nocase(span_trim(span_of(field.p, (size_t)colon)), span_str(name)))
		return false;
	*value_r = span_skip(field, (size_t)colon + 1);
	return true;
}

/* Blanks, line ends and comments (RFC 5322 3.2.2) are skipped. */
static void skip_blank(struct span *s)
{
	unsigned comments = 0;

	while (s->n) {
		uint8_t c = s->p[0];
		if (comments && c == '\\' && s->n > 1)
			*s = span_skip(*s, 1);
		else if (c == '(')
			comments++;
		else if (c == ')' && comments)
			comments--;
		else if (!comments && !memchr(" \t\r\n", c, 4))
			return;
		*s = span_skip(*s, 1);
	}
}

static struct span take_token(struct span *s)
{
	struct span token = { s->p, 0 };

	while (token.n < s->n && s->p[token.n] > 32 && s->p[token.n] < 127 &&
	    !memchr("()<>@,;:\\\"/[]?=", s->p[token.n], 15))
		token.n++;
	*s = span_skip(*s, token.n);
	return token;
}

/* A token, or a string in quotes without them.  Octets written; -1: it does not fit. */
static int take_value(struct span *s, char *to, size_t room)
{
	size_t n = 0;
	bool quoted = s->n && s->p[0] == '"';

	if (quoted)
		*s = span_skip(*s, 1);
	while (s->n) {
		uint8_t c = s->p[0];
		/* unquoted values have more in them in the wild than a token may */
		if (quoted ? c == '"' : c <= 32 || c == ';' || c == '(')
			break;
		*s = span_skip(*s, 1);
		if (quoted && c == '\\' && s->n) {
			c = s->p[0];
			*s = span_skip(*s, 1);
		}
		if (c == '\r' || c == '\n')
			continue;
		if (n == room)
			return -1;
		to[n++] = (char)c;
	}
	if (quoted && s->n)
		*s = span_skip(*s, 1);
	return (int)n;
}

static void read_boundary(struct span rest, struct part_info *info)
{
	for (;;) {
		struct span name;
		char value[VALUE_MAX];
		int n;
		skip_blank(&rest);
		while (rest.n && rest.p[0] != ';')
			rest = span_skip(rest, 1);
		if (!rest.n)
			return;
		rest = span_skip(rest, 1);
		skip_blank(&rest);
		name = take_token(&rest);
		skip_blank(&rest);
		if (!rest.n || rest.p[0] != '=')
			continue;
		rest = span_skip(rest, 1);
		skip_blank(&rest);
		n = take_value(&rest, value, sizeof(value));
		if (!span_eq_nocase(name, SPAN_LIT("boundary")))
			continue;
		while (n > 0 && (value[n - 1] == ' ' || value[n - 1] == '\t'))
			n--;
		if (n <= 0 || n > CONVERT_BOUNDARY_MAX || memchr(value, 0, (size_t)n))
			return;
		memcpy(info->boundary, value, (size_t)n);
		info->boundary[n] = '\0';
		return;
	}
}

static bool is(struct span s, const char *word)
{
	return span_eq_nocase(s, span_str(word));
}

static void fix(struct part_info *info, enum mime_convert_why why)
{
	info->kind = PART_FIXED;
	info->why = why;
}

/* RFC 6532 3.5-3.7, 6533 4: these, unlike all other messages, may be encoded. */
static bool is_global(struct span subtype)
{
	return is(subtype, "global") || is(subtype, "global-headers") ||
	    is(subtype, "global-delivery-status") || is(subtype, "global-disposition-notification");
}

static void read_type(struct span value, struct part_info *info)
{
	struct span type, subtype;

	skip_blank(&value);
	type = take_token(&value);
	skip_blank(&value);
	if (!type.n || !value.n || value.p[0] != '/')
		return; /* RFC 2045 5.2: as if it said nothing */
	value = span_skip(value, 1);
	skip_blank(&value);
	subtype = take_token(&value);
	info->kind = is(type, "text") ? PART_TEXT : PART_OCTETS;
	if (is(type, "multipart")) {
		read_boundary(value, info);
		info->kind = PART_MULTIPART;
		info->is_digest = is(subtype, "digest");
		info->is_sealed = is(subtype, "signed") || is(subtype, "encrypted");
		if (!info->boundary[0])
			fix(info, MIME_CONVERT_ENCODING);
	} else if (is(type, "message") && is_global(subtype)) {
		info->kind = PART_TEXT;
	} else if (is(type, "message")) {
		info->kind = PART_MESSAGE;
		if (!is(subtype, "rfc822"))
			fix(info, MIME_CONVERT_MESSAGE);
	} else if (is(type, "application") &&
	    (is(subtype, "pkcs7-mime") || is(subtype, "x-pkcs7-mime"))) {
		fix(info, MIME_CONVERT_SIGNED);
	}
}

static void read_encoding(struct span value, struct part_info *info)
{
	struct span word;
	bool container = info->kind == PART_MULTIPART || info->kind == PART_MESSAGE;

	skip_blank(&value);
	word = take_token(&value);
	info->is_binary = is(word, "binary");
	info->is_declared = info->is_binary || is(word, "8bit");
	if (!word.n || info->is_declared || is(word, "7bit"))
		return;
	if (container || (!is(word, "quoted-printable") && !is(word, "base64"))) {
		fix(info, MIME_CONVERT_ENCODING);
	} else {
		/* pkcs7-mime too: whatever it decodes to stays the same */
		info->kind = is(word, "base64") ? PART_BASE64 : PART_QP;
	}
}

void part_info_read(struct span header, bool digest, struct part_info *info_r)
{
	struct part_info info = { .kind = digest ? PART_MESSAGE : PART_TEXT };
	struct span rest = header, field, value, encoding = { 0 };

	while (next_field(&rest, &field)) {
		if (!info.has_type && is_named(field, "Content-Type", &value)) {
			info.has_type = true;
			read_type(value, &info);
		} else if (!encoding.p && is_named(field, "Content-Transfer-Encoding", &value)) {
			encoding = value;
		} else if (is_named(field, "MIME-Version", &value)) {
			info.has_version = true;
		}
	}
	if (encoding.p)
		read_encoding(encoding, &info);
	*info_r = info;
}

/* Where a line of more than 998 octets is folded: the last blank that has something before it. */
static size_t fold_at(struct span line)
{
	size_t at = CONVERT_LINE_MAX;

	while (at > 1 && line.p[at] != ' ' && line.p[at] != '\t')
		at--;
	/* not in the blanks that a line begins with, or the line before would be empty */
	for (size_t i = 0; i < at; i++)
		if (line.p[i] != ' ' && line.p[i] != '\t')
			return at > 1 ? at : 0;
	return 0;
}

static struct span next_line(struct span *rest)
{
	ptrdiff_t lf = span_find(*rest, '\n');
	struct span line = span_of(rest->p, lf < 0 ? rest->n : (size_t)lf);

	*rest = span_skip(*rest, line.n + 1);
	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	return line;
}

enum mime_convert_why part_header_check(const struct mime_convert *c)
{
	struct span rest = buf_span(&c->header);

	while (rest.n) {
		struct span line = next_line(&rest);
		for (size_t i = 0; i < line.n; i++)
			if (line.p[i] == 0 || line.p[i] == '\r' ||
			    (line.p[i] >= 0x80 && c->to == MIME_CONVERT_7BIT))
				return MIME_CONVERT_HEADER;
		while (line.n > CONVERT_LINE_MAX) {
			size_t at = c->is_sealed ? 0 : fold_at(line);
			if (!at)
				return c->is_sealed ? MIME_CONVERT_SIGNED : MIME_CONVERT_HEADER;
			line = span_skip(line, at);
		}
	}
	return (enum mime_convert_why)0;
}

static void write_field(struct span field, struct buf *out)
{
	while (field.n) {
		struct span line = next_line(&field);
		while (line.n > CONVERT_LINE_MAX) {
			size_t at = fold_at(line);
			if (!at)
				break; /* part_header_check() has seen that there is none */
			buf_add(out, line.p, at);
			buf_add_str(out, "\r\n");
			line = span_skip(line, at);
		}
		buf_add_span(out, line);
		buf_add_str(out, "\r\n");
	}
}

void part_header_write(const struct mime_convert *c, const char *encoding)
{
	struct span rest = buf_span(&c->header), field, value;

	while (next_field(&rest, &field))
		if (!encoding || !is_named(field, "Content-Transfer-Encoding", &value))
			write_field(field, c->out);
	if (!encoding)
		return;
	if (c->is_message && !c->info.has_version)
		buf_add_str(c->out, "MIME-Version: 1.0\r\n");
	/* RFC 1428 3: what nobody said anything of. */
	if (c->is_message && !c->info.has_type && c->info.kind == PART_TEXT && encoding[0] == 'q')
		buf_add_str(c->out, "Content-Type: text/plain; charset=unknown-8bit\r\n");
	buf_addf(c->out, "Content-Transfer-Encoding: %s\r\n", encoding);
}
