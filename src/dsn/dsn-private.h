/*
 * dsn/dsn-private.h - the parts of a notification.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_DSN_DSN_PRIVATE_H
#define POSTERN_DSN_DSN_PRIVATE_H

#include "dsn/dsn.h"

/* Octets of a peer into a header: controls and what is not ASCII become '?', LF a space. */
void dsn_printable(struct buf *out, struct span s);

/* human.c: text/plain, from the catalogue. */
void dsn_write_human(const struct dsn_request *req, struct buf *out);

/* status.c: message/delivery-status, RFC 3464 2. */
void dsn_write_status(const struct dsn_request *req, struct buf *out);

#endif
