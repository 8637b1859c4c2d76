/*
 * smtp/reply.h - reading replies, RFC 5321 4.2.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_SMTP_REPLY_H
#define POSTERN_SMTP_REPLY_H

#include "base/buf.h"
#include "catalogue/catalogue.h"

/* What a peer answered.  `text` has the lines without code, enhanced status and CRLF, joined by LF.
 */
struct smtp_reply {
	uint16_t code; /* 200 to 599 */
	struct enhanced_status enhanced;
	struct span text;
	struct span raw; /* all of it as received, without the last CRLF */
	unsigned lines;
};

#define SMTP_REPLY_LINE_MAX  4096  /* RFC 5321 says 512; servers in the field send more */
#define SMTP_REPLY_MAX       65536 /* a whole reply; a peer that goes on is a protocol error */
#define SMTP_REPLY_LINES_MAX 256

struct smtp_reply_parser {
	struct buf raw, text;
	struct smtp_reply reply;
	size_t line_start; /* in raw */
	unsigned flags;    /* private */
};

void smtp_reply_parser_init(struct smtp_reply_parser *p);
void smtp_reply_parser_reset(struct smtp_reply_parser *p);
void smtp_reply_parser_done(struct smtp_reply_parser *p);

/* Has a reply begun that is not whole yet? */
bool smtp_reply_pending(const struct smtp_reply_parser *p);

/*
 * Give octets; takes at most one reply.  A bare LF ends a line too: we judge what comes, not how.
 * An enhanced status code counts only when its class fits the reply code (RFC 2034).
 * Returns 1 with *reply_r (good until the next call), 0 when more is needed, -ERR_PROTO (no digits,
 * codes that differ between lines, other separators), -ERR_LINE_TOO_LONG, -ERR_LIMIT.
 */
int smtp_reply_feed(struct smtp_reply_parser *p, struct span octets, size_t *used_r,
    const struct smtp_reply **reply_r);

/*
 * A whole reply at once, as it stands in a log or a DSN: lines parted by LF or CRLF, the code may
 * be missing from later ones.  0, -ERR_SYNTAX (no reply code at its start).  Text goes to
 * `text_buf`.
 */
int smtp_reply_parse(struct span s, struct buf *text_buf, struct smtp_reply *reply_r);

#endif
