/*
 * mime/convert.h - a message for a host that lacks 8BITMIME or BINARYMIME (RFC 6152 3, 3030 3).
 *
 * The message is read twice, by any split.  The first time it is decided, part by part, what has
 * to become something else; the second time it is converted.  Only what needs it is encoded: text
 * as quoted-printable, all else as base64; message/rfc822 is converted within (RFC 2045 6.4).
 * What is signed or encrypted is never touched: then the message cannot go to that host.
 *
 * Bounds: containers nest 64 deep, a header has 256 KiB, a message has 65,536 parts; the octets
 * of a body are not kept.  Octets in, octets out; one thread.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_MIME_CONVERT_H
#define POSTERN_MIME_CONVERT_H

#include "base/buf.h"

enum mime_convert_to {
	MIME_CONVERT_7BIT,
	MIME_CONVERT_8BIT, /* lines of at most 998 octets, no NUL, no bare CR or LF */
};

/* Why it cannot be. */
enum mime_convert_why {
	MIME_CONVERT_SIGNED = 1, /* the parts of a multipart/signed or /encrypted, pkcs7-mime */
	MIME_CONVERT_HEADER,     /* an octet that no header may have, or a line without a blank */
	MIME_CONVERT_MESSAGE,    /* message/partial and its like must be 7bit, RFC 2046 5.2.2.1 */
	MIME_CONVERT_ENCODING,   /* an unknown encoding; a container that is encoded */
	MIME_CONVERT_LIMIT,      /* one of the bounds above */
};

struct mime_convert; /* opaque: mime/convert-private.h */

/* binary: it came by BODY=BINARYMIME: lines end with CR LF alone, and each octet counts.
 * Returns 0 or -ERR_NOMEM. */
int mime_convert_new(enum mime_convert_to to, bool binary, struct mime_convert **c_r);
void mime_convert_free(struct mime_convert **c);

/* The first time: all of it, then its end.  0 or -ERR_NOMEM. */
int mime_convert_scan(struct mime_convert *c, struct span octets);

/*
 * Returns 1 when it must be converted, 0 when it can go as it is (a message that says 8BITMIME may
 * be ASCII), -ERR_UNSUPPORTED with *why_r, -ERR_NOMEM.
 */
int mime_convert_scan_end(struct mime_convert *c, enum mime_convert_why *why_r);

/* The second time, after a 1: the same octets, and their end.  What comes out is appended.
 * 0, -ERR_NOMEM (also of `out`), -ERR_CORRUPT (these are other octets). */
int mime_convert_feed(struct mime_convert *c, struct span octets, struct buf *out);
int mime_convert_end(struct mime_convert *c, struct buf *out);

#endif
