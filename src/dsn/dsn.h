/*
 * dsn/dsn.h - writes delivery status notifications, RFC 3461, 3464, 6522.
 *
 * The human part comes from the catalogue: what happened, who must act, what to
 * do.  The machine part has every field of RFC 3464 and our failure code as
 * X-Postern-Failure-Code.  What came by SMTPUTF8 and has characters beyond ASCII in it is told of
 * in UTF-8, with the types of RFC 6533; all else in ASCII, such characters of an address as
 * \x{HEX}. No I/O.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_DSN_DSN_H
#define POSTERN_DSN_DSN_H

#include "envelope/envelope.h"

enum dsn_action {
	DSN_ACTION_FAILED,
	DSN_ACTION_DELAYED,
	DSN_ACTION_DELIVERED,
	DSN_ACTION_RELAYED,
	DSN_ACTION_EXPANDED
};

/* To whom it goes. */
enum dsn_kind {
	DSN_KIND_SENDER,
	DSN_KIND_COPY,   /* our postmaster: the sender got one too */
	DSN_KIND_DOUBLE, /* our postmaster: there is no sender to tell */
};

struct dsn_rcpt {
	const struct rcpt *rcpt; /* last attempt in rcpt->last */
	enum dsn_action action;
	struct enhanced_status status;
	bool expired;                /* the queue life time ended: status X.4.7, text says so */
	int64_t will_retry_until_ms; /* DELAYED only */
};

struct dsn_request {
	enum dsn_kind kind;
	struct span to; /* the postmaster; SENDER: not used */
	const struct catalogue *catalogue;
	const char *hostname; /* Reporting-MTA, From: MAILER-DAEMON@hostname */
	uint64_t id; /* queue id of the notification itself; Message-ID and boundary come from it */
	int64_t now_ms;             /* wall clock */
	const struct envelope *env; /* the message it is about */
	const struct dsn_rcpt *rcpts;
	size_t rcpt_count;
	struct span header; /* header of the original, up to and without the blank line */
	struct span whole;  /* all of the original; empty: only the header goes back */
	bool header_cut;    /* it is not all of the header */
	bool unreadable;    /* nothing of the original could be read, header and whole are empty */
	bool global;        /* private: the report is in UTF-8 */
};

/* Append the whole message, CRLF line ends.  0 or -ERR_NOMEM. */
int dsn_write(const struct dsn_request *req, struct buf *out);

#endif
