/*
 * dsn/dsn-private.h - the parts of a notification.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_DSN_DSN_PRIVATE_H
#define POSTERN_DSN_DSN_PRIVATE_H

#include "dsn/dsn.h"

/* Octets of a peer into a header: controls and what is not ASCII (utf8: not UTF-8) become '?', LF a
 * space. */
void dsn_printable(struct buf *out, struct span s, bool utf8);

/* An address: characters beyond ASCII as they are, or as \x{HEX}.  With `unitext` also what RFC
 * 6533 3 wants so in the address type utf-8. */
void dsn_address(struct buf *out, struct span s, bool utf8, bool unitext);

/* human.c: text/plain, from the catalogue. */
void dsn_write_human(const struct dsn_request *req, struct buf *out);

/* status.c: message/delivery-status, RFC 3464 2. */
void dsn_write_status(const struct dsn_request *req, struct buf *out);

#endif
