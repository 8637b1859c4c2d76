/*
 * dsn/status.c - the machine part, RFC 3464 section 2.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/utf8.h"
#include "dsn/dsn-private.h"

#include <stdio.h>

/* A field's value is folded behind this column; RFC 5322 2.1.1 wants 78, and never above 998. */
#define FOLD_COLUMN 76

static const char *const actions[] = { "failed", "delayed", "delivered", "relayed", "expanded" };

void dsn_printable(struct buf *out, struct span s, bool utf8)
{
	while (s.n) {
		size_t n = utf8_char_octets(s);
		uint8_t c = s.p[0];
		if (n > 1 && utf8)
			buf_add(out, s.p, n);
		else
			buf_add_char(out,
			    c == '\n' || c == '\t'     ? ' '
				: c < 0x20 || c > 0x7e ? '?'
						       : (char)c);
		s = span_skip(s, n > 1 && utf8 ? n : 1);
	}
}

void dsn_address(struct buf *out, struct span s, bool utf8, bool unitext)
{
	while (s.n) {
		size_t n = utf8_char_octets(s);
		uint32_t c = n > 1 ? s.p[0] & (0xffu >> (n + 1)) : s.p[0];
		bool escape = n == 1 && unitext && (c == ' ' || memchr("+=\\", (int)c, 3));
		for (size_t i = 1; i < n; i++)
			c = c << 6 | (s.p[i] & 0x3f);
		if (escape || (n > 1 && !utf8))
			buf_addf(out, "\\x{%02X}", (unsigned)c);
		else
			dsn_printable(out, span_of(s.p, n ? n : 1), utf8);
		s = span_skip(s, n ? n : 1);
	}
}

/* "Name: type; value", folded at blanks where there are some, anywhere where there are none. */
static void field(const struct dsn_request *req, struct buf *out, const char *name,
    const char *type, struct span value)
{
	struct buf line;
	struct span rest;
	size_t column = strlen(name) + strlen(type) + 2;

	buf_init(&line, value.n + 1);
	dsn_printable(&line, value, req->global);
	rest = span_trim(buf_span(&line));
	buf_addf(out, "%s: %s", name, type);
	while (rest.n) {
		size_t room = column < FOLD_COLUMN ? FOLD_COLUMN - column : 0, cut = rest.n;
		if (cut > room) {
			/* The last blank that fits, else the first one behind; a word of any length
			 * stays whole up to the hard limit. */
			for (cut = room; cut > 0 && rest.p[cut] != ' '; cut--)
				;
			for (size_t i = room; cut == 0 && i < rest.n && i < 900; i++)
				if (rest.p[i] == ' ')
					cut = i;
			if (cut == 0)
				cut = rest.n > 900 ? 900 : rest.n;
			while (cut < rest.n && cut > 1 && (rest.p[cut] & 0xc0) == 0x80)
				cut--;
		}
		buf_add(out, rest.p, cut);
		rest = span_trim(span_skip(rest, cut));
		if (rest.n)
			buf_add_str(out, "\r\n    ");
		column = 4;
	}
	buf_add_str(out, "\r\n");
	buf_done(&line);
}

static void date_field(
    const struct dsn_request *req, struct buf *out, const char *name, int64_t wall_ms)
{
	char date[CLOCK_RFC5322_MAX];

	if (!wall_ms)
		return;
	clock_rfc5322(wall_ms, date);
	field(req, out, name, "", span_str(date));
}

/* RFC 6533 3: the type utf-8 for what is beyond ASCII. */
static void address_field(const struct dsn_request *req, struct buf *out, const char *name,
    const char *type, struct span address)
{
	bool utf8 = strcmp(type, "utf-8; ") == 0 || !ascii_valid(address);
	struct buf text;

	buf_init(&text, address.n * 10 + 1);
	dsn_address(&text, address, req->global, utf8);
	field(req, out, name, utf8 ? "utf-8; " : type, buf_span(&text));
	buf_done(&text);
}

static void write_message(const struct dsn_request *req, struct buf *out)
{
	const struct envelope *env = req->env;
	char id[QUEUE_ID_TEXT_MAX];

	field(req, out, "Reporting-MTA", "dns; ", span_str(req->hostname));
	if (env->envid.n)
		field(req, out, "Original-Envelope-Id", "", env->envid);
	queue_id_text(env->id, id);
	field(req, out, "X-Postern-Queue-ID", "", span_str(id));
	address_field(req, out, "X-Postern-Sender", "rfc822; ", env->reverse_path);
	if (env->helo.n)
		field(req, out, "Received-From-MTA", "dns; ", env->helo);
	date_field(req, out, "Arrival-Date", env->received_ms);
}

/* "smtp; 550 5.1.1 text" for what the other side said, "X-Postern; text" for our own words. */
static void diagnostic(const struct dsn_request *req, struct buf *out, const struct attempt *last)
{
	struct buf text;

	if (!last->text.n && !last->code)
		return;
	buf_init(&text, last->text.n + 64);
	if (last->remote) {
		buf_addf(&text, "%u ", last->code);
		if (last->enhanced.class_)
			buf_addf(&text, "%u.%u.%u ", last->enhanced.class_, last->enhanced.subject,
			    last->enhanced.detail);
	}
	buf_add_span(&text, last->text);
	field(
	    req, out, "Diagnostic-Code", last->remote ? "smtp; " : "X-Postern; ", buf_span(&text));
	buf_done(&text);
}

/*
 * "rfc822;ann@example.org" into "rfc822; " and the address behind it (RFC 3461 4.2).  A type that
 * is no atom of letters, digits and hyphens is not repeated: it came from a peer.
 */
static struct span address_type(struct span orcpt, char *type, size_t n)
{
	ptrdiff_t semi = span_find(orcpt, ';');
	bool good = semi > 0 && semi <= 40;

	for (ptrdiff_t i = 0; good && i < semi; i++)
		good =
		    ascii_is_alpha(orcpt.p[i]) || ascii_is_digit(orcpt.p[i]) || orcpt.p[i] == '-';
	snprintf(type, n, "%.*s; ", good ? (int)semi : 6, good ? (const char *)orcpt.p : "rfc822");
	if (span_eq_nocase(span_str(type), SPAN_LIT("utf-8; ")))
		snprintf(type, n, "utf-8; ");
	return span_skip(orcpt, (size_t)(semi + 1));
}

static void write_rcpt(const struct dsn_request *req, const struct dsn_rcpt *d, struct buf *out)
{
	const struct rcpt *rcpt = d->rcpt;
	const struct cat_failure *failure;
	char text[32];

	buf_add_str(out, "\r\n");
	if (rcpt->orcpt.n) {
		char type[64];
		struct span address = address_type(rcpt->orcpt, type, sizeof(type));
		address_field(req, out, "Original-Recipient", type, address);
	}
	address_field(req, out, "Final-Recipient", "rfc822; ", rcpt->address);
	field(req, out, "Action", "", span_str(actions[d->action]));
	snprintf(
	    text, sizeof(text), "%u.%u.%u", d->status.class_, d->status.subject, d->status.detail);
	field(req, out, "Status", "", span_str(text));
	if (rcpt->last.remote && rcpt->last.host.n)
		field(req, out, "Remote-MTA", "dns; ", rcpt->last.host);
	diagnostic(req, out, &rcpt->last);
	date_field(req, out, "Last-Attempt-Date", rcpt->last.at_ms);
	if (d->action == DSN_ACTION_DELAYED)
		date_field(req, out, "Will-Retry-Until", d->will_retry_until_ms);
	if (!rcpt->last.failure_code)
		return;
	failure = catalogue_failure(req->catalogue, rcpt->last.failure_code);
	snprintf(text, sizeof(text), "%u", rcpt->last.failure_code);
	field(req, out, "X-Postern-Failure-Code", "", span_str(text));
	if (failure)
		field(req, out, "X-Postern-Acts", "", span_str(cat_acts_name(failure->acts)));
}

void dsn_write_status(const struct dsn_request *req, struct buf *out)
{
	buf_add_str(out,
	    req->global ? "Content-Description: Delivery report\r\n"
			  "Content-Type: message/global-delivery-status\r\n"
			  "Content-Transfer-Encoding: 8bit\r\n\r\n"
			: "Content-Description: Delivery report\r\n"
			  "Content-Type: message/delivery-status\r\n\r\n");
	write_message(req, out);
	for (size_t i = 0; i < req->rcpt_count; i++)
		write_rcpt(req, &req->rcpts[i], out);
}
