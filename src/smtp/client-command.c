/*
 * smtp/client-command.c - what the client machine writes, and EHLO's keywords.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "base/utf8.h"
#include "smtp/client-private.h"
#include "smtp/params.h"

#include <stddef.h>

static void write_notify(struct buf *out, uint8_t notify)
{
	static const struct {
		uint8_t bit;
		const char *name;
	} words[] = {
		{ SMTP_NOTIFY_NEVER, "NEVER" },
		{ SMTP_NOTIFY_SUCCESS, "SUCCESS" },
		{ SMTP_NOTIFY_FAILURE, "FAILURE" },
		{ SMTP_NOTIFY_DELAY, "DELAY" },
	};
	const char *before = " NOTIFY=";

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		if (!(notify & words[i].bit))
			continue;
		buf_addf(out, "%s%s", before, words[i].name);
		before = ",";
	}
}

static void write_mail(struct smtp_client *c)
{
	const struct smtp_client_message *m = &c->message;
	struct buf *out = &c->out;

	buf_add_str(out, "MAIL FROM:<");
	buf_add_span(out, m->reverse_path);
	buf_add_char(out, '>');
	if ((c->extensions & SMTP_EXT_SIZE) && m->size)
		buf_addf(out, " SIZE=%llu", (unsigned long long)m->size);
	if (m->body_binary)
		buf_add_str(out, " BODY=BINARYMIME");
	else if ((c->extensions & SMTP_EXT_8BITMIME) && m->body_8bit)
		buf_add_str(out, " BODY=8BITMIME");
	if (m->smtputf8)
		buf_add_str(out, " SMTPUTF8");
	if (m->require_tls)
		buf_add_str(out, " REQUIRETLS");
	if (c->authenticated && m->has_auth) {
		buf_add_str(out, " AUTH=");
		if (m->auth.n)
			smtp_xtext_encode(m->auth, out);
		else
			buf_add_str(out, "<>");
	}
	if ((c->extensions & SMTP_EXT_DSN) && m->ret != SMTP_RET_NONE)
		buf_add_str(out, m->ret == SMTP_RET_FULL ? " RET=FULL" : " RET=HDRS");
	if ((c->extensions & SMTP_EXT_DSN) && m->envid.n) {
		buf_add_str(out, " ENVID=");
		smtp_xtext_encode(m->envid, out);
	}
	buf_add_str(out, "\r\n");
}

/*
 * An address of the type utf-8, RFC 6533 3: as it is (unitext) where the server takes UTF-8, else
 * its characters as \x{HEX}; what xtext would encode goes so either way.
 */
static void write_unitext(struct buf *out, struct span s, bool utf8)
{
	while (s.n) {
		size_t n = utf8_char_octets(s);
		uint32_t ch = n > 1 ? s.p[0] & (0xffu >> (n + 1)) : s.p[0];
		bool plain = s.p[0] > 0x20 && s.p[0] < 0x7f && !memchr("+=\\", s.p[0], 3);
		for (size_t i = 1; i < n; i++)
			ch = ch << 6 | (s.p[i] & 0x3f);
		if (plain || (n > 1 && utf8))
			buf_add(out, s.p, n);
		else
			buf_addf(out, "\\x{%02X}", (unsigned)ch);
		s = span_skip(s, n ? n : 1);
	}
}

/* The type of ORCPT goes as it is, its address as xtext; RFC 3461 4.2. */
static void write_orcpt(struct buf *out, struct span orcpt, bool utf8)
{
	ptrdiff_t semicolon = span_find(orcpt, ';');
	struct span address;

	if (semicolon <= 0)
		return;
	for (ptrdiff_t i = 0; i < semicolon; i++)
		if (!ascii_is_alpha(orcpt.p[i]) && !ascii_is_digit(orcpt.p[i]) && orcpt.p[i] != '-')
			return;
	buf_add_str(out, " ORCPT=");
	buf_add(out, orcpt.p, (size_t)semicolon + 1);
	address = span_skip(orcpt, (size_t)semicolon + 1);
	if (span_starts_nocase(orcpt, SPAN_LIT("utf-8;")))
		write_unitext(out, address, utf8);
	else
		smtp_xtext_encode(address, out);
}

static void write_rcpt(struct smtp_client *c, const struct smtp_client_rcpt *r)
{
	struct buf *out = &c->out;

	buf_add_str(out, "RCPT TO:<");
	buf_add_span(out, r->address);
	buf_add_char(out, '>');
	if (c->extensions & SMTP_EXT_DSN) {
		write_notify(out, r->notify);
		write_orcpt(out, r->orcpt, c->extensions & SMTP_EXT_SMTPUTF8);
	}
	buf_add_str(out, "\r\n");
}

void smtp_client_write(struct smtp_client *c, size_t command)
{
	if (command == CMD_RSET)
		buf_add_str(&c->out, "RSET\r\n");
	else if (command == CMD_MAIL)
		write_mail(c);
	else if (command == cmd_data(c))
		buf_add_str(&c->out, "DATA\r\n");
	else
		write_rcpt(c, &c->message.rcpts[command - CMD_MAIL - 1]);
}

/* LIMITS of RFC 9422: NAME=VALUE, parted by spaces; what we do not know is passed over. */
static void take_limits(struct smtp_client *c, struct span words)
{
	static const struct {
		const char *name;
		size_t member;
	} rows[] = {
		{ "RCPTMAX=", offsetof(struct smtp_client, rcpt_max) },
		{ "RCPTDOMAINMAX=", offsetof(struct smtp_client, rcpt_domain_max) },
		{ "MAILMAX=", offsetof(struct smtp_client, mail_max) },
	};

	while (words.n) {
		ptrdiff_t space = span_find(words, ' ');
		struct span word = span_of(words.p, space < 0 ? words.n : (size_t)space);
		uint64_t v;
		for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
			if (span_starts_nocase(word, span_str(rows[i].name)) &&
			    span_u64(span_skip(word, strlen(rows[i].name)), UINT32_MAX, &v) == 0)
				*(uint32_t *)(void *)((char *)c + rows[i].member) = (uint32_t)v;
		words = space < 0 ? span_of(NULL, 0) : span_skip(words, (size_t)space + 1);
	}
}

/* One line of EHLO's answer: a keyword and what belongs to it. */
static void take_keyword(struct smtp_client *c, struct span line)
{
	static const struct {
		const char *keyword;
		unsigned extension;
	} rows[] = {
		{ "PIPELINING", SMTP_EXT_PIPELINING },
		{ "SIZE", SMTP_EXT_SIZE },
		{ "8BITMIME", SMTP_EXT_8BITMIME },
		{ "ENHANCEDSTATUSCODES", SMTP_EXT_ENHANCEDSTATUSCODES },
		{ "DSN", SMTP_EXT_DSN },
		{ "VRFY", SMTP_EXT_VRFY },
		{ "STARTTLS", SMTP_EXT_STARTTLS },
		{ "AUTH", SMTP_EXT_AUTH },
		{ "CHUNKING", SMTP_EXT_CHUNKING },
		{ "BINARYMIME", SMTP_EXT_BINARYMIME },
		{ "SMTPUTF8", SMTP_EXT_SMTPUTF8 },
		{ "LIMITS", SMTP_EXT_LIMITS },
		{ "REQUIRETLS", SMTP_EXT_REQUIRETLS },
		{ "ETRN", SMTP_EXT_ETRN },
	};
	struct span word, rest;
	uint64_t size;

	line = span_trim(line);
	word = line;
	for (word.n = 0; word.n < line.n && line.p[word.n] != ' ';)
		word.n++;
	rest = span_trim(span_skip(line, word.n));
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (!span_eq_nocase(word, span_str(rows[i].keyword)))
			continue;
		c->extensions |= rows[i].extension;
		if (rows[i].extension == SMTP_EXT_SIZE && span_u64(rest, UINT64_MAX, &size) == 0)
			c->size_max = size;
		if (rows[i].extension == SMTP_EXT_LIMITS)
			take_limits(c, rest);
		if (rows[i].extension == SMTP_EXT_AUTH && c->mechanisms.n == 0) {
			c->mechanisms = arena_span(&c->session_arena, rest);
			if (!c->mechanisms.p)
				c->mechanisms.n = 0;
		}
	}
}

void smtp_client_keywords(struct smtp_client *c, struct span text)
{
	ptrdiff_t lf = span_find(text, '\n');

	/* the first line is the server's name and a greeting */
	while (lf >= 0) {
		text = span_skip(text, (size_t)lf + 1);
		lf = span_find(text, '\n');
		take_keyword(c, span_of(text.p, lf < 0 ? text.n : (size_t)lf));
	}
}

/*
 * The body.  Every line end goes out as CR LF, whatever stands in the spool: a bare CR
 * or LF of ours could be the end of data to a careless server (RFC 5321 2.3.8).  Runs
 * between dots are copied as a whole.
 */
void smtp_client_stuff(struct smtp_client *c, struct buf *out, struct span octets)
{
	const uint8_t *p = octets.p, *end = p + octets.n, *from = p;
	const uint8_t *lf = NULL, *cr;
	bool dots = !c->by_bdat;

	while (p < end) {
		if (c->body_cr) { /* the CR is out already */
			c->body_cr = false;
			c->body_bol = true;
			if (*p == '\n') {
				p++;
				continue;
			}
			buf_add(out, from, (size_t)(p - from));
			buf_add_char(out, '\n');
			from = p;
		}
		if (dots && c->body_bol && *p == '.') {
			buf_add(out, from, (size_t)(p - from));
			buf_add_char(out, '.');
			from = p;
		}
		c->body_bol = false;
		if (!lf || lf < p) { /* once a line, however many CRs are in it */
			lf = memchr(p, '\n', (size_t)(end - p));
			lf = lf ? lf : end;
		}
		cr = memchr(p, '\r', (size_t)(lf - p));
		if (cr) {
			c->body_cr = true;
			p = cr + 1;
		} else if (lf < end) {
			buf_add(out, from, (size_t)(lf - from));
			buf_add_char(out, '\r');
			from = lf;
			p = lf + 1;
			c->body_bol = true;
		} else {
			p = end;
		}
	}
	buf_add(out, from, (size_t)(end - from));
}

void smtp_client_stuff_end(struct smtp_client *c, struct buf *out)
{
	if (c->body_cr)
		buf_add_char(out, '\n');
	else if (!c->body_bol)
		buf_add_str(out, "\r\n");
}
