/*
 * smtp/address.h - paths and mailboxes of the envelope, RFC 5321 4.1.2 and 4.1.3.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_SMTP_ADDRESS_H
#define POSTERN_SMTP_ADDRESS_H

#include "base/arena.h"

/*
 * A mailbox.  `address` is local part, '@' and domain in their shortest form: a quoted local part
 * loses quotes that it does not need, a source route is gone, a trailing dot of the domain is gone.
 */
struct smtp_address {
	struct span address; /* empty for the null path */
	struct span local;   /* with quotes where they are needed */
	struct span domain;  /* empty for <postmaster>; "[192.0.2.1]" for a literal */
};

#define SMTP_LOCAL_MAX  64  /* RFC 5321 4.5.3.1.1 */
#define SMTP_DOMAIN_MAX 255 /* 4.5.3.1.2 */
#define SMTP_PATH_MAX   256 /* 4.5.3.1.3, with the angle brackets */

/*
 * LENIENT takes longer local parts, as Postfix does: return addresses that hold
 * another address (VERP, SRS, BATV) pass 64 octets every day.  This still leaves
 * room for a command's parameters in a line of 1000.
 */
#define SMTP_LENIENT_MAX 900

enum {
	SMTP_PATH_NULL_OK = 1,
	SMTP_PATH_POSTMASTER_OK = 2,
	SMTP_PATH_UTF8 = 4,
	SMTP_PATH_LENIENT = 8
};

/*
 * Read a path "<...>" at the start of s.
 *
 * flags   NULL_OK: "<>" is allowed; POSTMASTER_OK: "<postmaster>" without domain; UTF8: RFC 6531;
 *         LENIENT: as Postfix takes it: also without angle brackets, without a domain (the address
 *         is then a local part alone, which policy judges), with dots at odd places in the local
 * part (the normal form has quotes around them), and up to SMTP_LENIENT_MAX arena   takes the
 * normal form used_r  octets read Returns 0, -ERR_SYNTAX, -ERR_RANGE (a part is too long),
 * -ERR_NOMEM.
 */
int smtp_path_parse(
    struct span s, unsigned flags, struct arena *arena, struct smtp_address *a_r, size_t *used_r);

/* A bare mailbox that fills the span ("user@example.org"), for configuration and command lines. */
int smtp_mailbox_parse(
    struct span s, unsigned flags, struct arena *arena, struct smtp_address *a_r);

/* Is it a domain name by RFC 5321 4.1.2 (letters, digits, hyphens, dots; `_` is let through, many
 * use it; one dot at its end may stand; the last label is not all digits, RFC 3696 2)? */
bool smtp_domain_valid(struct span s);

/* Is it an address literal, "[192.0.2.1]" or "[IPv6:2001:db8::1]"? */
bool smtp_literal_valid(struct span s);

/* xtext of RFC 3461 4: decode into the arena; -ERR_SYNTAX, -ERR_NOMEM.  The result may hold any
 * octet: the caller looks at it.  Encode appends. */
int smtp_xtext_decode(struct span s, struct arena *arena, struct span *out_r);
struct buf;
int smtp_xtext_encode(struct span s, struct buf *out);

#endif
