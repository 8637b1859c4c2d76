/*
 * dsn/write.c - the message as a whole: header, human part, machine part, original.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/utf8.h"
#include "dsn/dsn-private.h"

#include <stdio.h>

/* Is the boundary somewhere in what goes back?  Then it would end the part too early. */
static bool occurs(struct span in, const char *what)
{
	return in.n && memmem(in.p, in.n, what, strlen(what)) != NULL;
}

static void make_boundary(const struct dsn_request *req, char *to, size_t n)
{
	char id[QUEUE_ID_TEXT_MAX];

	queue_id_text(req->id, id);
	for (unsigned i = 0;; i++) {
		snprintf(to, n, "%s.%u/%.64s", id, i, req->hostname);
		if (!occurs(req->whole, to) && !occurs(req->header, to))
			return;
	}
}

static bool is_8bit(struct span s)
{
	return !ascii_valid(s);
}

/* UTF-8 in the report: only who sent by SMTPUTF8 is known to understand it, RFC 6533 1. */
static bool is_global(const struct dsn_request *req)
{
	const struct envelope *env = req->env;
	bool beyond = is_8bit(env->reverse_path) || is_8bit(env->helo);

	for (size_t i = 0; i < req->rcpt_count; i++) {
		const struct rcpt *r = req->rcpts[i].rcpt;
		beyond =
		    beyond || is_8bit(r->address) || is_8bit(r->orcpt) || is_8bit(r->last.text);
	}
	return env->smtputf8 && beyond;
}

static void write_header(const struct dsn_request *req, const char *boundary, struct buf *out)
{
	char date[CLOCK_RFC5322_MAX], id[QUEUE_ID_TEXT_MAX];
	bool delayed = req->rcpts[0].action == DSN_ACTION_DELAYED;
	bool success = req->rcpts[0].action > DSN_ACTION_DELAYED;

	clock_rfc5322(req->now_ms, date);
	queue_id_text(req->id, id);
	buf_addf(out, "Date: %s\r\nFrom: Mail Delivery System <MAILER-DAEMON@%s>\r\nTo: <", date,
	    req->hostname);
	/* In UTF-8 only where the way to it must know SMTPUTF8 anyhow; nothing else in this header
	 * asks for that. */
	dsn_address(
	    out, req->kind == DSN_KIND_SENDER ? req->env->reverse_path : req->to, true, false);
	buf_add_str(out, ">\r\nSubject: ");
	if (req->kind != DSN_KIND_SENDER)
		buf_add_str(out,
		    req->kind == DSN_KIND_COPY ? "Postmaster copy: " : "Postmaster, no sender: ");
	buf_add_str(out,
	    delayed       ? "Delayed mail: "
		: success ? "Delivered mail: "
			  : "Undelivered mail: ");
	dsn_address(out,
	    span_of(req->rcpts[0].rcpt->address.p,
		req->rcpts[0].rcpt->address.n > 200 ? 200 : req->rcpts[0].rcpt->address.n),
	    false, false);
	if (req->rcpt_count > 1)
		buf_addf(out, " and %zu more", req->rcpt_count - 1);
	buf_addf(out,
	    "\r\nMessage-ID: <%s@%s>\r\n"
	    "Auto-Submitted: auto-replied\r\n"
	    "MIME-Version: 1.0\r\n"
	    "Content-Type: multipart/report; report-type=delivery-status;\r\n"
	    "\tboundary=\"%s\"\r\n"
	    "Content-Transfer-Encoding: %s\r\n",
	    id, req->hostname, boundary,
	    req->global || is_8bit(req->whole) || is_8bit(req->header) ? "8bit" : "7bit");
	if (req->env->message_id.n) {
		buf_add_str(out, "In-Reply-To: <");
		dsn_printable(out, req->env->message_id, false);
		buf_add_str(out, ">\r\n");
	}
	buf_add_str(out, "\r\nThis is a MIME-encapsulated message.\r\n");
}

static void write_original(const struct dsn_request *req, struct buf *out)
{
	struct span original = req->whole.n ? req->whole : req->header;
	bool failed = req->rcpts[0].action == DSN_ACTION_FAILED;
	bool global = req->env->smtputf8 && utf8_valid(req->header) && is_8bit(req->header);

	buf_addf(out,
	    "Content-Description: %s\r\n"
	    "Content-Type: %s\r\n"
	    "Content-Transfer-Encoding: %s\r\n\r\n",
	    req->whole.n ? "Undelivered message"
		: failed ? "Header of the undelivered message"
			 : "Header of the message",
	    global             ? req->whole.n ? "message/global" : "message/global-headers"
		: req->whole.n ? "message/rfc822"
			       : "text/rfc822-headers",
	    is_8bit(original) ? "8bit" : "7bit");
	buf_add_span(out, original);
	if (original.n && (original.n < 2 || memcmp(original.p + original.n - 2, "\r\n", 2) != 0))
		buf_add_str(out, "\r\n");
	if (req->unreadable)
		buf_add_str(out, "X-Postern-Note: the original could not be read\r\n");
	else if (!req->whole.n && req->header_cut)
		buf_add_str(
		    out, "X-Postern-Note: the rest of this header was too long to return\r\n");
}

int dsn_write(const struct dsn_request *given, struct buf *out)
{
	struct dsn_request copy = *given;
	const struct dsn_request *req = &copy;
	char boundary[128];

	copy.global = is_global(given);
	make_boundary(req, boundary, sizeof(boundary));
	write_header(req, boundary, out);
	buf_addf(out, "\r\n--%s\r\n", boundary);
	dsn_write_human(req, out);
	buf_addf(out, "\r\n--%s\r\n", boundary);
	dsn_write_status(req, out);
	buf_addf(out, "\r\n--%s\r\n", boundary);
	write_original(req, out);
	buf_addf(out, "\r\n--%s--\r\n", boundary);
	return out->failed ? -ERR_NOMEM : 0;
}
