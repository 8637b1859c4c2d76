/*
 * envelope/submission.c - see envelope/submission.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "envelope/submission.h"
#include "base/err.h"
#include "base/utf8.h"
#include "smtp/address.h"

static const struct span magic = { (const uint8_t *)"postern-submission ", 19 };

static const char *const notify_names[] = { "never", "success", "failure", "delay" };
static const char *const ret_names[] = { NULL, "full", "headers" };
static const char *const body_names[] = { "7bit", "8bit", "binary" };

/* The file under the parser. */
struct parser {
	struct arena *arena;
	struct submission *s;
	size_t room;
	bool has_sender;
	int err;
	const char *why;
};

static void wrong(struct parser *p, int err, const char *why)
{
	if (p->err == 0) {
		p->err = err;
		p->why = why;
	}
}

int submission_notify_parse(struct span s, uint8_t *notify_r)
{
	unsigned bits = 0;

	do {
		ptrdiff_t comma = span_find(s, ',');
		struct span word = span_of(s.p, comma < 0 ? s.n : (size_t)comma);
		unsigned i = 0;
		while (i < 4 && !span_eq_nocase(word, span_str(notify_names[i])))
			i++;
		if (i == 4)
			return -ERR_SYNTAX;
		bits |= 1u << i;
		s = span_skip(s, word.n + 1);
	} while (s.n);
	if ((bits & RCPT_NOTIFY_NEVER) && bits != RCPT_NOTIFY_NEVER)
		return -ERR_SYNTAX;
	*notify_r = (uint8_t)bits;
	return 0;
}

static struct span address(struct parser *p, struct span s, const char *why)
{
	struct smtp_address a = { .address = { s.p, 0 } };
	int r = smtp_mailbox_parse(
	    s, SMTP_PATH_LENIENT | SMTP_PATH_UTF8 | SMTP_PATH_POSTMASTER_OK, p->arena, &a);

	if (r < 0)
		wrong(p, r == -ERR_NOMEM ? r : -ERR_SYNTAX, why);
	return a.address;
}

static void sender(struct parser *p, struct span s)
{
	if (p->has_sender)
		wrong(p, -ERR_SYNTAX, "two senders");
	p->has_sender = true;
	if (s.n)
		p->s->sender = address(p, s, "the sender is not an address");
	if (!ascii_valid(p->s->sender))
		p->s->smtputf8 = true;
}

static void recipient(struct parser *p, struct span s)
{
	struct submission *to = p->s;

	if (to->rcpt_count == p->room) {
		size_t room = p->room ? p->room * 2 : 4;
		struct span *more = arena_alloc(p->arena, room * sizeof(*more));
		if (!more) {
			wrong(p, -ERR_NOMEM, "out of memory");
			return;
		}
		if (to->rcpt_count)
			memcpy(more, to->rcpts, to->rcpt_count * sizeof(*more));
		to->rcpts = more;
		p->room = room;
	}
	if (to->rcpt_count == SUBMISSION_RECIPIENTS_MAX) {
		wrong(p, -ERR_LIMIT, "too many recipients");
		return;
	}
	to->rcpts[to->rcpt_count] = address(p, s, "a recipient is not an address");
	if (!ascii_valid(to->rcpts[to->rcpt_count++]))
		to->smtputf8 = true;
}

static void notify(struct parser *p, struct span s)
{
	if (submission_notify_parse(s, &p->s->notify) < 0)
		wrong(p, -ERR_SYNTAX, "notify is not never, or some of success,failure,delay");
}

static void ret(struct parser *p, struct span s)
{
	if (span_eq(s, SPAN_LIT("full")))
		p->s->ret = ENVELOPE_RET_FULL;
	else if (span_eq(s, SPAN_LIT("headers")))
		p->s->ret = ENVELOPE_RET_HDRS;
	else
		wrong(p, -ERR_SYNTAX, "return is not full or headers");
}

static void envid(struct parser *p, struct span s)
{
	/* RFC 3461 4.4: 100 octets of what can be printed. */
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < 33 || s.p[i] > 126)
			wrong(p, -ERR_SYNTAX, "the envid has other characters than it may");
	if (s.n > 100)
		wrong(p, -ERR_SYNTAX, "the envid is longer than 100 characters");
	p->s->envid = arena_span(p->arena, s);
	if (!p->s->envid.p)
		wrong(p, -ERR_NOMEM, "out of memory");
}

static void body(struct parser *p, struct span s)
{
	for (unsigned i = 0; i < 3; i++)
		if (span_eq(s, span_str(body_names[i]))) {
			p->s->body = (enum envelope_body)i;
			return;
		}
	wrong(p, -ERR_SYNTAX, "body is not 7bit, 8bit or binary");
}

static void line(struct parser *p, struct span s)
{
	static const struct {
		const char *word;
		void (*read)(struct parser *p, struct span s);
	} words[] = { { "sender", sender }, { "recipient", recipient }, { "notify", notify },
		{ "return", ret }, { "envid", envid }, { "body", body } };
	ptrdiff_t blank = span_find(s, ' ');
	struct span word = span_of(s.p, blank < 0 ? s.n : (size_t)blank);

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (span_eq(word, span_str(words[i].word))) {
			words[i].read(p, span_skip(s, word.n + (blank >= 0)));
			return;
		}
	wrong(p, -ERR_SYNTAX, "a line that begins with no known word");
}

int submission_parse(struct span text, struct arena *arena, struct submission *s_r, size_t *body_r,
    const char **why_r)
{
	struct span none = { (const uint8_t *)"", 0 }, rest = text;
	struct parser p = { .arena = arena, .s = s_r };
	bool first = true;

	*s_r = (struct submission){ .sender = none, .envid = none };
	for (;;) {
		ptrdiff_t lf = span_find(rest, '\n');
		struct span l = span_of(rest.p, lf < 0 ? 0 : (size_t)lf);
		if (lf < 0 || (size_t)(rest.p - text.p) + l.n > SUBMISSION_HEAD_MAX) {
			wrong(&p, -ERR_SYNTAX, "no empty line behind the envelope");
			break;
		}
		rest = span_skip(rest, l.n + 1);
		if (first && (l.n < magic.n || !span_eq(span_of(l.p, magic.n), magic)))
			wrong(&p, -ERR_SYNTAX, "not a submission");
		else if (first && !span_eq(span_skip(l, magic.n), SPAN_LIT("1")))
			wrong(&p, -ERR_VERSION, "a submission in the form of another version");
		else if (l.n && !first)
			line(&p, l);
		if (p.err < 0 || (l.n == 0 && !first))
			break;
		first = false;
	}
	if (!p.has_sender)
		wrong(&p, -ERR_SYNTAX, "no sender");
	if (s_r->rcpt_count == 0)
		wrong(&p, -ERR_SYNTAX, "no recipient");
	*body_r = (size_t)(rest.p - text.p);
	*why_r = p.why;
	return p.err;
}

static int put(struct buf *out, const char *word, struct span value)
{
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] == '\n' || value.p[i] == '\0')
			return -ERR_SYNTAX;
	buf_addf(out, "%s ", word);
	buf_add_span(out, value);
	return buf_add_char(out, '\n');
}

int submission_write(const struct submission *s, struct buf *out)
{
	int r = 0;

	buf_add_span(out, magic);
	buf_add_str(out, "1\n");
	r = put(out, "sender", s->sender);
	for (size_t i = 0; r == 0 && i < s->rcpt_count; i++)
		r = put(out, "recipient", s->rcpts[i]);
	if (r == 0 && s->envid.n)
		r = put(out, "envid", s->envid);
	if (s->notify) {
		const char *comma = "";
		buf_add_str(out, "notify ");
		for (unsigned i = 0; i < 4; i++)
			if (s->notify & 1u << i) {
				buf_addf(out, "%s%s", comma, notify_names[i]);
				comma = ",";
			}
		buf_add_char(out, '\n');
	}
	if (s->ret)
		buf_addf(out, "return %s\n", ret_names[s->ret]);
	if (s->body)
		buf_addf(out, "body %s\n", body_names[s->body]);
	buf_add_char(out, '\n');
	return r < 0 ? r : out->failed ? -ERR_NOMEM : 0;
}

int submission_line_ends(struct span piece, bool *cr, struct buf *out)
{
	for (size_t i = 0; i < piece.n;) {
		const uint8_t *p = piece.p + i;
		size_t n = 0;
		if (*p == '\r' || *p == '\n') {
			/* the LF of CR LF was written with its CR */
			if (*p == '\r' || !*cr)
				buf_add_str(out, "\r\n");
			*cr = *p == '\r';
			i++;
			continue;
		}
		*cr = false;
		while (i + n < piece.n && p[n] != '\r' && p[n] != '\n')
			n++;
		buf_add(out, p, n);
		i += n;
	}
	return out->failed ? -ERR_NOMEM : 0;
}
