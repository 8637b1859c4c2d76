/*
 * smtp/client-command.c - what the client machine writes, and EHLO's keywords.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "smtp/client-private.h"
#include "smtp/params.h"

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
	if ((c->extensions & SMTP_EXT_8BITMIME) && m->body_8bit)
		buf_add_str(out, " BODY=8BITMIME");
	if ((c->extensions & SMTP_EXT_DSN) && m->ret != SMTP_RET_NONE)
		buf_add_str(out, m->ret == SMTP_RET_FULL ? " RET=FULL" : " RET=HDRS");
	if ((c->extensions & SMTP_EXT_DSN) && m->envid.n) {
		buf_add_str(out, " ENVID=");
		smtp_xtext_encode(m->envid, out);
	}
	buf_add_str(out, "\r\n");
}

/* The type of ORCPT goes as it is, its address as xtext; RFC 3461 4.2. */
static void write_orcpt(struct buf *out, struct span orcpt)
{
	ptrdiff_t semicolon = span_find(orcpt, ';');

	if (semicolon <= 0)
		return;
	for (ptrdiff_t i = 0; i < semicolon; i++)
		if (!ascii_is_alpha(orcpt.p[i]) && !ascii_is_digit(orcpt.p[i]) && orcpt.p[i] != '-')
			return;
	buf_add_str(out, " ORCPT=");
	buf_add(out, orcpt.p, (size_t)semicolon + 1);
	smtp_xtext_encode(span_skip(orcpt, (size_t)semicolon + 1), out);
}

static void write_rcpt(struct smtp_client *c, const struct smtp_client_rcpt *r)
{
	struct buf *out = &c->out;

	buf_add_str(out, "RCPT TO:<");
	buf_add_span(out, r->address);
	buf_add_char(out, '>');
	if (c->extensions & SMTP_EXT_DSN) {
		write_notify(out, r->notify);
		write_orcpt(out, r->orcpt);
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
	};
	struct span word;
	uint64_t size;

	line = span_trim(line);
	word = line;
	for (word.n = 0; word.n < line.n && line.p[word.n] != ' ';)
		word.n++;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		if (!span_eq_nocase(word, span_str(rows[i].keyword)))
			continue;
		c->extensions |= rows[i].extension;
		if (rows[i].extension == SMTP_EXT_SIZE &&
		    span_u64(span_trim(span_skip(line, word.n)), UINT64_MAX, &size) == 0)
			c->size_max = size;
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
void smtp_client_stuff(struct smtp_client *c, struct span octets)
{
	const uint8_t *p = octets.p, *end = p + octets.n, *from = p;
	const uint8_t *lf = NULL, *cr;
	struct buf *out = &c->out;

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
		if (c->body_bol && *p == '.') {
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

void smtp_client_stuff_end(struct smtp_client *c)
{
	if (c->body_cr)
		buf_add_char(&c->out, '\n');
	else if (!c->body_bol)
		buf_add_str(&c->out, "\r\n");
	buf_add_str(&c->out, ".\r\n");
}
