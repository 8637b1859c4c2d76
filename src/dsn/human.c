/*
 * dsn/human.c - the part for people: what happened, who must act, what to do.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "dsn/dsn-private.h"

#include <stdio.h>

#define WRAP_COLUMN 74

/* Words wrapped behind a label, later lines indented by four. */
static void wrapped(
    const struct dsn_request *req, struct buf *out, const char *label, struct span text)
{
	size_t column = strlen(label) + 4;

	buf_addf(out, "    %s", label);
	while (text.n) {
		struct span word;
		ptrdiff_t blank;
		while (text.n && (text.p[0] == ' ' || text.p[0] == '\n'))
			text = span_skip(text, 1);
		for (blank = 0;
		     (size_t)blank < text.n && text.p[blank] != ' ' && text.p[blank] != '\n';
		     blank++)
			;
		if (blank > 900)
			for (blank = 900; blank > 1 && (text.p[blank] & 0xc0) == 0x80; blank--)
				;
		word = span_of(text.p, (size_t)blank);
		text = span_skip(text, word.n);
		if (!word.n)
			break;
		if (column + word.n + 1 > WRAP_COLUMN && column > 8) {
			buf_add_str(out, "\r\n       ");
			column = 7;
		}
		buf_add_char(out, ' ');
		dsn_printable(out, word, req->global);
		column += word.n + 1;
	}
	buf_add_str(out, "\r\n");
}

static const char *lead(enum dsn_action action)
{
	switch (action) {
	case DSN_ACTION_FAILED:
		return "Your message could not be delivered to the recipients below. They will\r\n"
		       "not get it, and no further attempt will be made.";
	case DSN_ACTION_DELAYED:
		return "Your message is on its way but has not reached the recipients below "
		       "yet.\r\n"
		       "You need do nothing: delivery is tried again.";
	case DSN_ACTION_DELIVERED:
		return "Your message was delivered to the recipients below, as you asked to be "
		       "told.";
	case DSN_ACTION_RELAYED:
		return "Your message for the recipients below was passed on to systems that "
		       "send\r\n"
		       "no confirmations.";
	case DSN_ACTION_EXPANDED:
		return "Your message went to a list of addresses; its members are not confirmed.";
	}
	return "";
}

static const char *preface(const struct dsn_request *req)
{
	switch (req->kind) {
	case DSN_KIND_SENDER:
		break;
	case DSN_KIND_COPY:
		return "A copy for the postmaster. What the sender was told:\r\n\r\n";
	case DSN_KIND_DOUBLE:
		return "For the postmaster: the message below failed, and there is no sender who "
		       "could\r\nbe told. It would have said:\r\n\r\n";
	}
	return "";
}

static void happened(const struct dsn_request *req, const struct dsn_rcpt *d, struct buf *out)
{
	const struct attempt *last = &d->rcpt->last;
	struct buf text;

	buf_init(&text, last->text.n + last->host.n + last->address.n + 256);
	if (d->expired)
		buf_add_str(&text, "It was tried until its time in the queue was over. At last: ");
	if (last->remote) {
		buf_add_str(&text, "the mail server ");
		buf_add_span(&text, last->host);
		if (last->address.n) {
			buf_add_str(&text, " (");
			buf_add_span(&text, last->address);
			buf_add_str(&text, ")");
		}
		buf_addf(&text, " answered: %u ", last->code);
		if (last->enhanced.class_)
			buf_addf(&text, "%u.%u.%u ", last->enhanced.class_, last->enhanced.subject,
			    last->enhanced.detail);
	}
	buf_add_span(&text, last->text);
	if (buf_len(&text))
		wrapped(req, out, "What happened:", buf_span(&text));
	buf_done(&text);
}

static void write_rcpt(const struct dsn_request *req, const struct dsn_rcpt *d, struct buf *out)
{
	const struct cat_failure *failure =
	    catalogue_failure(req->catalogue, d->rcpt->last.failure_code);
	char label[64];

	buf_add_str(out, "\r\n<");
	dsn_address(out, d->rcpt->address, req->global, false);
	buf_add_str(out, ">\r\n");
	happened(req, d, out);
	if (!failure)
		return;
	snprintf(label, sizeof(label), "What it means (code %u):", failure->code);
	wrapped(req, out, label, span_str(failure->cause));
	wrapped(req, out, "Who must act:", span_str(cat_acts_text(failure->acts)));
	wrapped(req, out, "What to do:", span_str(failure->remedy));
}

void dsn_write_human(const struct dsn_request *req, struct buf *out)
{
	char id[QUEUE_ID_TEXT_MAX], date[CLOCK_RFC5322_MAX];

	queue_id_text(req->env->id, id);
	clock_rfc5322(req->env->received_ms, date);
	buf_addf(out,
	    "Content-Description: Notification\r\n"
	    "Content-Type: text/plain; charset=%s\r\n\r\n"
	    "This is the mail system at %s.\r\n\r\n%s%s\r\n\r\n"
	    "It came in on %s\r\nand had the queue id %s.\r\n",
	    req->global ? "utf-8\r\nContent-Transfer-Encoding: 8bit" : "us-ascii", req->hostname,
	    preface(req), lead(req->rcpts[0].action), date, id);
	for (size_t i = 0; i < req->rcpt_count; i++) {
		/* Recipients of another fate, each kind under its own words. */
		if (i > 0 && req->rcpts[i].action != req->rcpts[i - 1].action)
			buf_addf(out, "\r\n%s\r\n", lead(req->rcpts[i].action));
		write_rcpt(req, &req->rcpts[i], out);
	}
	buf_addf(out,
	    "\r\nQuestions? Write to postmaster@%s and quote the queue id. Behind this\r\n"
	    "text come a report for programs and %s.\r\n",
	    req->hostname, req->whole.n ? "your message" : "the header of your message");
}
