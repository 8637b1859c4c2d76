/*
 * base/base64.h - base64 of RFC 4648 4, for AUTH, certificates' fingerprints and MIME.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_BASE_BASE64_H
#define POSTERN_BASE_BASE64_H

#include "base/buf.h"

/* Octets that n octets become, without line ends. */
static inline size_t base64_length(size_t n)
{
	return (n + 2) / 3 * 4;
}

/* Append, without line ends.  0 or -ERR_NOMEM. */
int base64_encode(struct span octets, struct buf *out);

/*
 * Decode strictly: no blanks, no line ends, padding where it belongs and its spare bits zero, so
 * that one value has one text.
 * `to` holds text.n / 4 * 3 octets; *n_r of them are used.  Returns 0 or -ERR_SYNTAX.
 */
int base64_decode(struct span text, uint8_t *to, size_t *n_r);

#endif
