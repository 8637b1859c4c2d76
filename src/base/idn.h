/*
 * base/idn.h - domain names beyond ASCII, RFC 5891 and UTS 46, by libidn2.
 *
 * One domain has many spellings (case, composed and decomposed letters, A-labels); whoever
 * compares, looks up or makes a file name of one uses this form.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_BASE_IDN_H
#define POSTERN_BASE_IDN_H

#include "base/span.h"

#define IDN_NAME_MAX 256 /* RFC 1035: 253 and a NUL, with room */

/*
 * The domain in lower case ASCII, "xn--..." where it has to be; an ASCII domain is only folded, and
 * not judged.  An address literal comes out as it went in.
 * Returns the length (`to` holds IDN_NAME_MAX octets and gets a NUL), -ERR_SYNTAX (no name of
 * IDNA, or too long), -ERR_NOMEM.  Any thread.
 */
int idn_to_ascii(struct span domain, char *to);

/* Do two domains name the same?  What is no name is only equal to itself. */
bool idn_same(struct span a, struct span b);

#endif
