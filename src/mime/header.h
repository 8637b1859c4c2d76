/*
 * mime/header.h - the header of a message, field by field, with bounds (RFC 5322 2.2).
 *
 * Octets go in by any split; a field comes out when it is whole, that is, when the
 * octet behind its line end says that it is not folded.  Nothing is kept of a value
 * beyond its bound, whatever is sent.  A line ends with CR LF or LF: what comes from a
 * spool or a DSN has either.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_MIME_HEADER_H
#define POSTERN_MIME_HEADER_H

#include "base/buf.h"

#define MIME_NAME_MAX   78   /* longer names are cut; none of interest comes near */
#define MIME_VALUE_MAX  4096 /* default bound of an unfolded value */
#define MIME_FIELDS_MAX 2000 /* more fields than any header has */

struct mime_field {
	struct span name;  /* as written, without blanks before the colon */
	struct span value; /* unfolded (line ends gone, blanks kept), trimmed */
	bool cut;          /* name or value was longer than its bound */
	uint64_t offset;   /* of the field in the message */
};

struct mime_header_reader {
	struct buf name, value;
	size_t value_max;
	uint64_t offset, field_at; /* octets seen; where the open field begins */
	size_t fields;
	unsigned at; /* private */
	bool cut;
	bool cr; /* a CR is held back: with an LF behind it, it is a line end */
	struct mime_field field;
};

/* What mime_header_feed() came to. */
enum {
	MIME_HEADER_MORE = 0,
	MIME_HEADER_FIELD = 1,
	MIME_HEADER_END = 2 /* the body begins behind used_r */
};

/* Set up in place.  value_max: octets of a value to keep; 0: MIME_VALUE_MAX. */
void mime_header_init(struct mime_header_reader *r, size_t value_max);
void mime_header_done(struct mime_header_reader *r);

/*
 * Give octets.  A line that is no field ends the header, and is not taken: it is body.
 * Returns MIME_HEADER_FIELD with *field_r (good until the next call), MIME_HEADER_END (again for
 * every later call), MIME_HEADER_MORE, -ERR_LIMIT (too many fields), -ERR_NOMEM.  A line that turns
 * out to be no field only after a split has its first octets taken all the same.
 */
int mime_header_feed(struct mime_header_reader *r, struct span octets, size_t *used_r,
    const struct mime_field **field_r);

/* The message ended within its header: the last field, if one is open.  FIELD or END. */
int mime_header_finish(struct mime_header_reader *r, const struct mime_field **field_r);

/*
 * Where the body begins in a message that is here as a whole (or its first octets): behind the
 * first empty line.  Returns the offset, or -1 when there is no empty line.
 */
ptrdiff_t mime_header_end(struct span message);

/* What a server wants to know of a header. */
struct mime_summary {
	struct span message_id; /* without < > and blanks; in the arena; empty when none */
	struct span date;       /* value of Date; in the arena */
	uint32_t received;      /* Received fields */
	uint16_t
	    once[8]; /* how often each of mime_once_name() occurs; RFC 5322 3.6: at most once */
	bool whole;  /* the end of the header was seen */
};

/* "Date", "From", "Sender", "Reply-To", "To", "Message-ID", "Subject", "Return-Path". */
const char *mime_once_name(size_t i);

/*
 * Read the header at the start of `octets` (the first octets of a message are enough).
 * Returns 0, -ERR_LIMIT, -ERR_NOMEM.
 */
struct arena;
int mime_summary_read(struct span octets, struct arena *arena, struct mime_summary *summary_r);

#endif
