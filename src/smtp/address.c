/*
 * smtp/address.c - paths and mailboxes of the envelope; see smtp/address.h.
 *
 * The local part is read into its meaning (quotes and backslashes gone) and then
 * written in its shortest form, so that `"bob"@x` and `bob@x` are one address in
 * every table.  What is read is never longer than the line that held it.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "smtp/address.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/ip.h"
#include "base/utf8.h"

#define LABEL_MAX 63 /* RFC 1035 2.3.4 */

/* A cursor over what is parsed. */
struct cursor {
	struct span s;
	size_t at;
	unsigned flags;
};

static int peek(const struct cursor *c)
{
	return c->at < c->s.n ? c->s.p[c->at] : -1;
}

/* atext of RFC 5322 3.2.3, which RFC 5321 4.1.2 uses. */
static bool is_atext(uint8_t c)
{
	return ascii_is_alpha(c) || ascii_is_digit(c) ||
	    (c && memchr("!#$%&'*+-/=?^_`{|}~", c, 19) != NULL);
}

/* Octets of the atext at the cursor; 0 when there is none. */
static size_t atext_octets(const struct cursor *c)
{
	int ch = peek(c);

	if (ch < 0)
		return 0;
	if (ch < 0x80)
		return is_atext((uint8_t)ch) ? 1 : 0;
	return c->flags & SMTP_PATH_UTF8 ? utf8_char_octets(span_skip(c->s, c->at)) : 0;
}

static bool is_alnum(uint8_t c)
{
	return ascii_is_alpha(c) || ascii_is_digit(c);
}

static bool label_valid(struct span label, bool utf8)
{
	if (label.n == 0 || label.n > LABEL_MAX || label.p[0] == '-' || label.p[label.n - 1] == '-')
		return false;
	for (size_t i = 0; i < label.n; i++) {
		uint8_t c = label.p[i];
		if (!is_alnum(c) && c != '-' && c != '_' && !(c >= 0x80 && utf8))
			return false;
	}
	return true;
}

static bool all_digits(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!ascii_is_digit(s.p[i]))
			return false;
	return true;
}

/* The last label is never all digits (RFC 3696 2): "192.0.2.1" is no domain, its literal is. */
static bool domain_valid(struct span s, bool utf8)
{
	struct span label = s;

	if (s.n > 0 && s.p[s.n - 1] == '.')
		s.n--;
	if (s.n == 0 || s.n > SMTP_DOMAIN_MAX || (utf8 && !utf8_valid(s)))
		return false;
	for (;;) {
		ptrdiff_t dot = span_find(s, '.');
		label = span_of(s.p, dot < 0 ? s.n : (size_t)dot);
		if (!label_valid(label, utf8))
			return false;
		if (dot < 0)
			return !all_digits(label);
		s = span_skip(s, label.n + 1);
	}
}

bool smtp_domain_valid(struct span s)
{
	return domain_valid(s, false);
}

bool smtp_literal_valid(struct span s)
{
	const struct span tag = SPAN_LIT("IPv6:");
	struct ip ip;

	if (s.n < 3 || s.p[0] != '[' || s.p[s.n - 1] != ']')
		return false;
	s = span_of(s.p + 1, s.n - 2);
	if (span_starts_nocase(s, tag))
		return ip_parse(span_skip(s, tag.n), &ip) == 0 && span_find(s, '%') < 0 &&
		    memchr(s.p + tag.n, ':', s.n - tag.n) != NULL;
	return ip_parse(s, &ip) == 0 && ip.family == 4 && span_find(s, ':') < 0;
}

/* A quoted string at the cursor; its meaning goes to `out`, which has room. */
static int read_quoted(struct cursor *c, uint8_t *out, size_t *n_r)
{
	size_t n = 0;

	for (c->at++;; c->at++) {
		int ch = peek(c);
		if (ch == '"')
			break;
		if (ch == '\\') {
			c->at++;
			ch = peek(c);
		}
		if (ch < 0x20 || ch == 0x7f || (ch >= 0x80 && !(c->flags & SMTP_PATH_UTF8)))
			return -ERR_SYNTAX;
		out[n++] = (uint8_t)ch;
	}
	c->at++;
	if (!utf8_valid(span_of(out, n)))
		return -ERR_SYNTAX;
	*n_r = n;
	return 0;
}

/*
 * The local part at the cursor.  LENIENT takes dots at the ends and in a row, as
 * Postfix does: such addresses live on at providers that once gave them away.
 */
static int read_local(struct cursor *c, uint8_t *out, size_t *n_r)
{
	size_t n = 0;

	if (peek(c) == '"')
		return read_quoted(c, out, n_r);
	for (;;) {
		size_t step = peek(c) == '.' ? 1 : atext_octets(c);
		if (step == 0)
			break;
		if (peek(c) == '.' && !(c->flags & SMTP_PATH_LENIENT) &&
		    (n == 0 || out[n - 1] == '.'))
			return -ERR_SYNTAX;
		memcpy(out + n, c->s.p + c->at, step);
		n += step;
		c->at += step;
	}
	if (n == 0 || (out[n - 1] == '.' && !(c->flags & SMTP_PATH_LENIENT)))
		return -ERR_SYNTAX;
	*n_r = n;
	return 0;
}

/* A domain or literal at the cursor, without its trailing dot. */
static int read_domain(struct cursor *c, struct span *domain_r)
{
	size_t start = c->at;
	struct span d;

	if (peek(c) == '[') {
		ptrdiff_t end = span_find(span_skip(c->s, c->at), ']');
		if (end < 0)
			return -ERR_SYNTAX;
		d = span_of(c->s.p + start, (size_t)end + 1);
		if (!smtp_literal_valid(d))
			return -ERR_SYNTAX;
		c->at += d.n;
		*domain_r = d;
		return 0;
	}
	for (;;) {
		int ch = peek(c);
		if (ch < 0 ||
		    (!is_alnum((uint8_t)ch) && ch != '.' && ch != '-' && ch != '_' && ch < 0x80))
			break;
		c->at++;
	}
	d = span_of(c->s.p + start, c->at - start);
	if (d.n > SMTP_DOMAIN_MAX + 1)
		return -ERR_RANGE;
	if (!domain_valid(d, c->flags & SMTP_PATH_UTF8))
		return -ERR_SYNTAX;
	if (d.p[d.n - 1] == '.')
		d.n--;
	*domain_r = d;
	return 0;
}

/* "@a.example,@b.example:" is read and dropped, RFC 5321 4.1.1.3 and appendix C. */
static int skip_route(struct cursor *c)
{
	struct span ignored;

	if (peek(c) != '@')
		return 0;
	for (;;) {
		int rc;
		if (peek(c) != '@')
			return -ERR_SYNTAX;
		c->at++;
		rc = read_domain(c, &ignored);
		if (rc < 0)
			return rc;
		if (peek(c) == ':')
			break;
		if (peek(c) != ',')
			return -ERR_SYNTAX;
		c->at++;
	}
	c->at++;
	return 0;
}

/* May this local part stand without quotes?  (Dot-string of RFC 5321 4.1.2.) */
static bool is_dot_string(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '.' ? (i == 0 || i + 1 == s.n || s.p[i - 1] == '.')
				  : (s.p[i] < 0x80 && !is_atext(s.p[i])))
			return false;
	}
	return s.n > 0;
}

/* Local part in its shortest form; `to` has room for twice its octets and two. */
static size_t write_local(struct span meaning, uint8_t *to)
{
	size_t n = 0;

	if (is_dot_string(meaning)) {
		memcpy(to, meaning.p, meaning.n);
		return meaning.n;
	}
	to[n++] = '"';
	for (size_t i = 0; i < meaning.n; i++) {
		if (meaning.p[i] == '"' || meaning.p[i] == '\\')
			to[n++] = '\\';
		to[n++] = meaning.p[i];
	}
	to[n++] = '"';
	return n;
}

/* Put the parts together in the arena. */
static int compose(struct span meaning, struct span domain, unsigned flags, struct arena *arena,
    struct smtp_address *a_r)
{
	bool lenient = flags & SMTP_PATH_LENIENT;
	uint8_t *text = arena_alloc(arena, 2 * meaning.n + domain.n + 4);
	size_t local_n, n;

	if (!text)
		return -ERR_NOMEM;
	n = local_n = write_local(meaning, text);
	if (domain.n) {
		text[n++] = '@';
		memcpy(text + n, domain.p, domain.n);
		n += domain.n;
	}
	text[n] = '\0';
	if (n > (lenient ? SMTP_LENIENT_MAX : SMTP_PATH_MAX - 2) ||
	    (!lenient && local_n > SMTP_LOCAL_MAX))
		return -ERR_RANGE;
	a_r->address = span_of(text, n);
	a_r->local = span_of(text, local_n);
	a_r->domain = domain.n ? span_of(text + local_n + 1, domain.n) : span_of(text + n, 0);
	return 0;
}

/* Local part, '@', domain; the domain may be missing where the flags say so. */
static int read_mailbox(struct cursor *c, struct arena *arena, struct smtp_address *a_r)
{
	const struct span postmaster = SPAN_LIT("postmaster");
	uint8_t *out = arena_alloc(arena, c->s.n - c->at + 1);
	struct span domain = { 0 };
	size_t n = 0;
	int rc;

	if (!out)
		return -ERR_NOMEM;
	rc = read_local(c, out, &n);
	if (rc < 0)
		return rc;
	if (peek(c) == '@') {
		c->at++;
		rc = read_domain(c, &domain);
		if (rc < 0)
			return rc;
	} else if (!(c->flags & SMTP_PATH_LENIENT) &&
	    !((c->flags & SMTP_PATH_POSTMASTER_OK) &&
		span_eq_nocase(span_of(out, n), postmaster))) {
		return -ERR_SYNTAX;
	}
	return compose(span_of(out, n), domain, c->flags, arena, a_r);
}

int smtp_path_parse(
    struct span s, unsigned flags, struct arena *arena, struct smtp_address *a_r, size_t *used_r)
{
	struct cursor c = { s, 0, flags };
	struct smtp_address a = { 0 };
	bool angle = peek(&c) == '<';
	int rc;

	if (!angle && !(flags & SMTP_PATH_LENIENT))
		return -ERR_SYNTAX;
	if (angle) {
		c.at++;
		if (peek(&c) == '>') {
			if (!(flags & SMTP_PATH_NULL_OK))
				return -ERR_SYNTAX;
			*a_r = a;
			*used_r = 2;
			return 0;
		}
		rc = skip_route(&c);
		if (rc < 0)
			return rc;
	}
	rc = read_mailbox(&c, arena, &a);
	if (rc < 0)
		return rc;
	if (angle && peek(&c) != '>')
		return -ERR_SYNTAX;
	*a_r = a;
	*used_r = c.at + angle;
	return 0;
}

int smtp_mailbox_parse(struct span s, unsigned flags, struct arena *arena, struct smtp_address *a_r)
{
	struct cursor c = { s, 0, flags };
	struct smtp_address a = { 0 };
	int rc = read_mailbox(&c, arena, &a);

	if (rc < 0)
		return rc;
	if (c.at != s.n)
		return -ERR_SYNTAX;
	*a_r = a;
	return 0;
}
