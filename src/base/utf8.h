/*
 * base/utf8.h - is it UTF-8 (RFC 3629)?
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_BASE_UTF8_H
#define POSTERN_BASE_UTF8_H

#include "base/span.h"

/* Octets of the character at the start of s: 1 to 4; 0 when s is empty or does not begin with one
 * (overlong forms, surrogates and what lies above U+10FFFF are none). */
size_t utf8_char_octets(struct span s);

/* Is all of it UTF-8? */
bool utf8_valid(struct span s);

/* Is all of it ASCII? */
bool ascii_valid(struct span s);

#endif
