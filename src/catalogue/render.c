/*
 * catalogue/render.c - a reply as it goes over the wire.
 *
 * A field is whatever a peer sent: it is made printable, and it is what gives way when a line
 * would be too long.  The literal octets of a text were checked to fit when the row was read.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "catalogue/rows-private.h"
#include "base/err.h"
#include "base/utf8.h"

#include <stdio.h>

#define LINE_TEXT_MAX (CAT_LINE_OCTETS_MAX - 2)

struct line {
	char lead[64]; /* "550 5.7.25 DNS-P3 "; the separator behind the code is lead[3] */
	size_t lead_n;
	const char *text; /* from here */
	const char *end;  /* to here: a LF or the end of the text */
	char help[256];   /* "; see https://..." or "" */
	size_t help_n;
	size_t len[REPLY_FIELD_COUNT]; /* octets of each field that go out */
};

/* The next piece of the line, cut at its end. */
static bool next(const struct line *l, const char **at, struct cat_token *t)
{
	if (*at >= l->end || !cat_text_next(at, t))
		return false;
	if (t->field < 0 && !t->bad && (const char *)t->literal.p + t->literal.n > l->end) {
		t->literal.n = (size_t)(l->end - (const char *)t->literal.p);
		*at = l->end;
	}
	return true;
}

static size_t length(const struct line *l, size_t times[REPLY_FIELD_COUNT])
{
	size_t n = l->lead_n + l->help_n;
	const char *at = l->text;
	struct cat_token t;

	memset(times, 0, REPLY_FIELD_COUNT * sizeof(*times));
	while (next(l, &at, &t)) {
		if (t.field >= 0) {
			n += l->len[t.field];
			times[t.field]++;
		} else {
			n += t.literal.n;
		}
	}
	return n;
}

/* What gives way next: the command, then the detail, then whatever is longest; -1: nothing left. */
static int victim(const struct line *l, const size_t times[REPLY_FIELD_COUNT])
{
	int longest = -1;

	if (times[REPLY_FIELD_command] && l->len[REPLY_FIELD_command])
		return REPLY_FIELD_command;
	if (times[REPLY_FIELD_detail] && l->len[REPLY_FIELD_detail])
		return REPLY_FIELD_detail;
	for (int f = 0; f < REPLY_FIELD_COUNT; f++)
		if (times[f] && l->len[f] && (longest < 0 || l->len[f] > l->len[longest]))
			longest = f;
	return longest;
}

static void fit(struct line *l)
{
	size_t times[REPLY_FIELD_COUNT];
	size_t n;

	while ((n = length(l, times)) > LINE_TEXT_MAX) {
		int f = victim(l, times);
		size_t cut;
		if (f < 0) {
			/* Only the help address is ours to drop; the rest was checked to fit. */
			l->help_n = 0;
			return;
		}
		cut = (n - LINE_TEXT_MAX + times[f] - 1) / times[f];
		l->len[f] -= cut < l->len[f] ? cut : l->len[f];
	}
}

/* Octets of a character beyond ASCII that may stand in a reply; 0: none, or a control of C1. */
static size_t letter_octets(struct span s)
{
	size_t n = utf8_char_octets(s);

	return n < 2 || (s.p[0] == 0xc2 && s.p[1] < 0xa0) ? 0 : n;
}

static void add_printable(struct buf *out, struct span s, bool utf8)
{
	uint8_t *to = buf_reserve(out, s.n);

	if (!to)
		return;
	for (size_t i = 0; i < s.n;) {
		size_t n = utf8 && s.p[i] > 0x7f ? letter_octets(span_skip(s, i)) : 0;
		if (n)
			memcpy(to + i, s.p + i, n);
		else
			to[i] = s.p[i] < 0x20 || s.p[i] > 0x7e ? '?' : s.p[i];
		i += n ? n : 1;
	}
	buf_commit(out, s.n);
}

static void put_line(struct line *l, const struct reply_args *args, bool utf8, struct buf *out)
{
	const char *at = l->text;
	struct cat_token t;

	fit(l);
	buf_add(out, l->lead, l->lead_n);
	while (next(l, &at, &t))
		add_printable(out,
		    t.field >= 0 ? span_of(args->field[t.field].p, l->len[t.field]) : t.literal,
		    utf8);
	buf_add(out, l->help, l->help_n);
	buf_add(out, "\r\n", 2);
}

/* Code and status of a row that leaves them to fields; see catalogue_render(). */
static void codes_from_fields(
    const struct reply_args *args, uint16_t *code_r, struct enhanced_status *enhanced_r)
{
	struct span enhanced = args->field[REPLY_FIELD_enhanced];
	uint64_t code;

	*enhanced_r = (struct enhanced_status){ 4, 3, 5 };
	*code_r = 451;
	if (args->field[REPLY_FIELD_code].n != 3 ||
	    span_u64(args->field[REPLY_FIELD_code], 599, &code) < 0 || code < 200)
		return;
	*code_r = (uint16_t)code;
	if (enhanced.n == 0 || enhanced_status_parse(enhanced, enhanced_r) != enhanced.n)
		*enhanced_r = (struct enhanced_status){ 0, 0, 0 };
	else if (*code_r / 100 == 3)
		enhanced_r->class_ = 0;
	else
		enhanced_r->class_ = (uint8_t)(*code_r / 100);
}

static bool is_url_safe(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_is_alpha(s.p[i]) && !ascii_is_digit(s.p[i]) && s.p[i] != '-' &&
		    s.p[i] != '_' && s.p[i] != '.')
			return false;
	return s.n > 0 && s.n <= 64;
}

static void make_help(struct line *l, const struct reply_format *format, const struct cat_reply *r,
    const struct reply_args *args)
{
	const char *url = format->help_url;
	size_t len = strlen(url);
	struct span session = args->field[REPLY_FIELD_session];
	int n;

	n = snprintf(l->help, sizeof(l->help), "; see %s%s%s%s%.*s", url,
	    len > 0 && url[len - 1] == '/' ? "" : "/", r->policy_code,
	    is_url_safe(session) ? "?id=" : "", is_url_safe(session) ? (int)session.n : 0,
	    (const char *)session.p);
	l->help_n = n > 0 && (size_t)n < sizeof(l->help) ? (size_t)n : 0;
}

int catalogue_render(const struct catalogue *cat, int reply, const struct reply_format *format,
    const struct reply_args *args, struct buf *out)
{
	static const struct reply_args no_args;
	const struct cat_reply *r = catalogue_reply(cat, reply);
	struct line l = { .help_n = 0 };
	struct enhanced_status enhanced;
	bool postern = format && format->style == REPLY_STYLE_POSTERN;
	const char *text;
	uint16_t code;
	size_t before = buf_len(out);

	if (!r)
		return -ERR_INVAL;
	if (!args)
		args = &no_args;
	code = r->code;
	enhanced = r->enhanced;
	if (code == 0)
		codes_from_fields(args, &code, &enhanced);
	text = r->text;
	for (bool first = true;; first = false) {
		bool last;
		int n;
		l.text = text;
		l.end = strchrnul(text, '\n');
		last = *l.end == '\0' || l.end[1] == '\0';
		n = snprintf(l.lead, sizeof(l.lead), "%u%c", code, last ? ' ' : '-');
		if (enhanced.class_ != 0)
			n += snprintf(l.lead + n, sizeof(l.lead) - (size_t)n, "%u.%u.%u ",
			    enhanced.class_, enhanced.subject, enhanced.detail);
		if (postern && r->policy_code && first)
			n +=
			    snprintf(l.lead + n, sizeof(l.lead) - (size_t)n, "%s ", r->policy_code);
		l.lead_n = (size_t)n;
		if (postern && r->policy_code && last && format->help_url && *format->help_url)
			make_help(&l, format, r, args);
		for (int f = 0; f < REPLY_FIELD_COUNT; f++)
			l.len[f] = args->field[f].n;
		put_line(&l, args, format && format->utf8, out);
		if (last)
			break;
		text = l.end + 1;
	}
	if (out->failed) {
		buf_truncate(out, before);
		return -ERR_NOMEM;
	}
	return code;
}

int catalogue_fill(const char *text, const struct reply_args *args, struct buf *out)
{
	struct cat_token t;

	while (text && cat_text_next(&text, &t)) {
		if (t.field < 0) {
			buf_add_span(out, t.literal);
		} else if (args && args->field[t.field].n > 0) {
			add_printable(out, args->field[t.field], false);
		} else {
			for (const char *c = reply_field_name((enum reply_field)t.field); *c; c++)
				buf_add_char(out, *c == '_' ? '-' : (char)ascii_upper((uint8_t)*c));
		}
	}
	return out->failed ? -ERR_NOMEM : 0;
}
