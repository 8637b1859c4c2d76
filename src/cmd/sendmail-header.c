/*
 * cmd/sendmail-header.c - the header of a message that a program gives to `sendmail`.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/random.h"
#include "cmd/sendmail-private.h"
#include "smtp/address.h"

#include <unistd.h>

/* ---- lists of addresses, RFC 5322 3.4, as far as mail programs write them ---- */

static size_t quoted_octets(struct span s)
{
	size_t i = 1;

	while (i < s.n && s.p[i] != '"')
		i += s.p[i] == '\\' && i + 1 < s.n ? 2 : 1;
	return i < s.n ? i + 1 : s.n;
}

static size_t comment_octets(struct span s)
{
	size_t i = 0, depth = 0;

	do {
		if (s.p[i] == '\\' && i + 1 < s.n)
			i++;
		else if (s.p[i] == '(')
			depth++;
		else if (s.p[i] == ')')
			depth--;
		i++;
	} while (i < s.n && depth);
	return i;
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int add(struct sendmail_message *m, struct span s)
{
	struct smtp_address a;
	int r;

	while (s.n && is_blank(s.p[0]))
		s = span_skip(s, 1);
	while (s.n && is_blank(s.p[s.n - 1]))
		s.n--;
	if (s.n == 0)
		return 0;
	r = smtp_mailbox_parse(
	    s, SMTP_PATH_LENIENT | SMTP_PATH_UTF8 | SMTP_PATH_POSTMASTER_OK, &m->arena, &a);
	if (r < 0)
		return r == -ERR_NOMEM ? r : -ERR_SYNTAX;
	if (m->rcpt_count == m->rcpt_room) {
		size_t room = m->rcpt_room ? m->rcpt_room * 2 : 8;
		struct span *more = arena_alloc(&m->arena, room * sizeof(*more));
		if (!more)
			return -ERR_NOMEM;
		if (m->rcpt_count)
			memcpy(more, m->rcpts, m->rcpt_count * sizeof(*more));
		m->rcpts = more;
		m->rcpt_room = room;
	}
	m->rcpts[m->rcpt_count++] = a.address;
	return 0;
}

/* One address: what is between the angle brackets, else all of it without comments. */
struct mailbox {
	uint8_t *text;
	size_t n;
	struct span angle;
};

static int end_mailbox(struct sendmail_message *m, struct mailbox *b)
{
	int r = add(m, b->angle.p ? b->angle : span_of(b->text, b->n));

	b->n = 0;
	b->angle.p = NULL;
	return r;
}

int sendmail_add_recipients(struct sendmail_message *m, struct span list)
{
	struct mailbox b = { .text = arena_alloc(&m->arena, list.n + 1) };
	int r = b.text ? 0 : -ERR_NOMEM;

	while (r == 0 && list.n) {
		size_t n = 1;
		uint8_t c = list.p[0];
		if (c == '"' || c == '(') {
			n = c == '"' ? quoted_octets(list) : comment_octets(list);
		} else if (c == '<') {
			ptrdiff_t end = span_find(list, '>');
			if (end < 0)
				return -ERR_SYNTAX;
			b.angle = span_of(list.p + 1, (size_t)end - 1);
			n = (size_t)end + 1;
		} else if (c == ',' || c == ';') {
			r = end_mailbox(m, &b);
		} else if (c == ':') {
			b.n = 0; /* the name of a group */
		}
		if (c != '(' && c != '<' && c != ',' && c != ';' && c != ':') {
			memcpy(b.text + b.n, list.p, n);
			b.n += n;
		}
		list = span_skip(list, n);
	}
	return r < 0 ? r : end_mailbox(m, &b);
}

/* ---- fields ---- */

/* Octets of a line with its end. */
static size_t line_octets(struct span s)
{
	ptrdiff_t lf = span_find(s, '\n');

	return lf < 0 ? s.n : (size_t)lf + 1;
}

/* Octets of a field with the lines that go on with it; 0: here is none. */
static size_t field_octets(struct span s, struct span *name_r, struct span *value_r)
{
	size_t n = 0, end;

	while (n < s.n && s.p[n] > 32 && s.p[n] < 127 && s.p[n] != ':')
		n++;
	end = n;
	while (end < s.n && (s.p[end] == ' ' || s.p[end] == '\t'))
		end++;
	if (n == 0 || end >= s.n || s.p[end] != ':')
		return 0;
	*name_r = span_of(s.p, n);
	n = end + 1;
	end = line_octets(s);
	while (end < s.n && (s.p[end] == ' ' || s.p[end] == '\t'))
		end += line_octets(span_skip(s, end));
	*value_r = span_of(s.p + n, end - n);
	return end;
}

struct seen {
	bool resent, from, date, message_id;
};

static bool is(struct span name, const char *word)
{
	return span_eq_nocase(name, span_str(word));
}

static struct seen look(struct span in)
{
	struct seen seen = { .from = false };
	struct span name, value;
	size_t n;

	for (; (n = field_octets(in, &name, &value)); in = span_skip(in, n)) {
		seen.resent |=
		    is(name, "Resent-To") || is(name, "Resent-Cc") || is(name, "Resent-Bcc");
		seen.from |= is(name, "From");
		seen.date |= is(name, "Date");
		seen.message_id |= is(name, "Message-ID");
	}
	return seen;
}

static int take(struct sendmail_message *m, const struct sendmail_header *h, bool resent,
    struct span name, struct span value)
{
	static const char *const words[2][3] = { { "To", "Cc", "Bcc" },
		{ "Resent-To", "Resent-Cc", "Resent-Bcc" } };

	for (int i = 0; h->take_recipients && i < 3; i++)
		if (is(name, words[resent][i]))
			return sendmail_add_recipients(m, value);
	return 0;
}

/* A name as RFC 5322 3.2.5 has it: an atom or quoted. */
static void put_name(struct buf *out, const char *name)
{
	buf_add_char(out, '"');
	for (; *name; name++) {
		if (*name == '"' || *name == '\\')
			buf_add_char(out, '\\');
		if ((unsigned char)*name >= 32 && *name != 127)
			buf_add_char(out, *name);
	}
	buf_add_str(out, "\" ");
}

static void add_missing(
    struct sendmail_message *m, const struct sendmail_header *h, const struct seen *seen)
{
	char date[CLOCK_RFC5322_MAX];
	int64_t now = clock_wall_ms();

	if (!seen->from) {
		buf_add_str(&m->text, "From: ");
		if (h->name[0])
			put_name(&m->text, h->name);
		buf_addf(&m->text, "<%s>\n", h->from);
	}
	if (!seen->date) {
		clock_rfc5322(now, date);
		buf_addf(&m->text, "Date: %s\n", date);
	}
	if (!seen->message_id)
		buf_addf(&m->text, "Message-ID: <%llx.%lx.%llx@%s>\n", (unsigned long long)now,
		    (long)getpid(), (unsigned long long)random_below(UINT64_MAX), h->hostname);
}

int sendmail_header(struct sendmail_message *m, struct span in, const struct sendmail_header *h)
{
	struct span name, value;
	struct seen seen;
	size_t n;
	int r = 0;

	/* The line that parts letters in an mbox. */
	if (in.n > 5 && memcmp(in.p, "From ", 5) == 0)
		in = span_skip(in, line_octets(in));
	seen = look(in);
	for (; r == 0 && (n = field_octets(in, &name, &value)); in = span_skip(in, n)) {
		r = take(m, h, seen.resent, name, value);
		if (is(name, "Bcc") || is(name, "Resent-Bcc"))
			continue;
		buf_add(&m->text, in.p, n);
		if (in.p[n - 1] != '\n')
			buf_add_char(&m->text, '\n');
	}
	add_missing(m, h, &seen);
	/* A body that begins at once still has its empty line. */
	if (in.n == 0 || (in.p[0] != '\n' && !(in.n > 1 && in.p[0] == '\r' && in.p[1] == '\n')))
		buf_add_char(&m->text, '\n');
	buf_add_span(&m->text, in);
	return r < 0 ? r : m->text.failed ? -ERR_NOMEM : 0;
}
