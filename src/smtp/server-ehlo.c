/*
 * smtp/server-ehlo.c - what the answer to EHLO announces, RFC 5321 4.1.1.1.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "smtp/server-private.h"

/* Keywords in the order in which Postfix lists them, then those that it does not have. */
static const struct {
	unsigned extension;
	const char *keyword;
	const char *rfc;
} keywords[] = {
	{ SMTP_EXT_PIPELINING, "PIPELINING", "2920" },
	{ SMTP_EXT_SIZE, "SIZE", "1870" },
	{ SMTP_EXT_VRFY, "VRFY", "5321#4.1.1.1" },
	{ SMTP_EXT_ETRN, "ETRN", "1985" },
	{ SMTP_EXT_STARTTLS, "STARTTLS", "3207" },
	{ SMTP_EXT_AUTH, "AUTH", "4954" },
	{ SMTP_EXT_XCLIENT, "XCLIENT", "XCLIENT_README" },
	{ SMTP_EXT_XFORWARD, "XFORWARD", "XFORWARD_README" },
	{ SMTP_EXT_ENHANCEDSTATUSCODES, "ENHANCEDSTATUSCODES", "2034" },
	{ SMTP_EXT_8BITMIME, "8BITMIME", "6152" },
	{ SMTP_EXT_DSN, "DSN", "3461" },
	{ SMTP_EXT_SMTPUTF8, "SMTPUTF8", "6531" },
	{ SMTP_EXT_CHUNKING, "CHUNKING", "3030" },
	{ SMTP_EXT_BINARYMIME, "BINARYMIME", "3030" },
	{ SMTP_EXT_LIMITS, "LIMITS", "9422" },
	{ SMTP_EXT_REQUIRETLS, "REQUIRETLS", "8689" },
};

/* The next mechanism of the list that may be used now; false at its end. */
static bool next_mechanism(const struct smtp_server *s, struct span *rest, struct span *m_r)
{
	static const struct span plus = { (const uint8_t *)"-PLUS", 5 };

	for (*rest = span_trim(*rest); rest->n; *rest = span_trim(*rest)) {
		*m_r = smtp_word(*rest);
		*rest = span_skip(*rest, m_r->n);
		/* what binds to the channel needs one */
		if (s->tls || !span_ends_nocase(*m_r, plus))
			return true;
	}
	return false;
}

bool smtp_server_has_mechanism(const struct smtp_server *s, struct span mechanism)
{
	struct span rest = span_str(s->o.auth_mechanisms), m;

	while (next_mechanism(s, &rest, &m))
		if (span_eq_nocase(m, mechanism))
			return true;
	return false;
}

/* What stands behind a keyword; false: it is not announced now. */
static bool add_keyword(struct smtp_server *s, size_t i)
{
	struct span rest = span_str(s->o.auth_mechanisms), m;
	struct buf *out = &s->out;

	buf_add_str(out, keywords[i].keyword);
	switch (keywords[i].extension) {
	case SMTP_EXT_SIZE:
		if (s->o.message_octets_max)
			buf_addf(out, " %llu", (unsigned long long)s->o.message_octets_max);
		return true;
	case SMTP_EXT_LIMITS:
		buf_addf(out, " RCPTMAX=%u", s->o.rcpt_max);
		return s->o.rcpt_max > 0;
	case SMTP_EXT_AUTH:
		while (next_mechanism(s, &rest, &m)) {
			buf_add_char(out, ' ');
			buf_add_span(out, m);
		}
		return s->o.auth_mechanisms && (s->tls || s->o.auth_without_tls);
	case SMTP_EXT_XCLIENT:
		buf_add_str(out, " NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT");
		return true;
	case SMTP_EXT_XFORWARD:
		buf_add_str(out, " NAME ADDR PROTO HELO SOURCE PORT IDENT");
		return true;
	default:
		return true;
	}
}

void smtp_server_add_keywords(struct smtp_server *s, int code, size_t from)
{
	struct buf *out = &s->out;
	struct span said = span_skip(buf_span(out), from);
	unsigned offered = smtp_server_offered(s);
	size_t last_line;
	ptrdiff_t lf;

	if (said.n < 6)
		return;
	lf = span_rfind(span_of(said.p, said.n - 1), '\n');
	last_line = from + (lf < 0 ? 0 : (size_t)lf + 1);
	for (size_t i = 0; i < sizeof(keywords) / sizeof(*keywords) && !out->failed; i++) {
		size_t before = buf_len(out);
		if (!(offered & keywords[i].extension))
			continue;
		buf_addf(out, "%d ", code);
		if (!add_keyword(s, i)) {
			buf_truncate(out, before);
			continue;
		}
		buf_add_str(out, "\r\n");
		if (out->failed)
			break;
		out->data[out->start + last_line + 3] = '-';
		last_line = before;
	}
	s->failed |= out->failed;
}
