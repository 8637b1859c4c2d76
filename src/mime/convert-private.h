/*
 * mime/convert-private.h - parts, encoders and the machine that reads a message.
 *
 *   convert.c         lines, boundaries, parts: the machine
 *   convert-header.c  what the header of a part says, and how it is rewritten
 *   convert-encode.c  quoted-printable and base64
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_MIME_CONVERT_PRIVATE_H
#define POSTERN_MIME_CONVERT_PRIVATE_H

#include "mime/convert.h"

#define CONVERT_DEPTH_MAX    64
#define CONVERT_HEADER_MAX   (256u << 10)
#define CONVERT_PARTS_MAX    65536u
#define CONVERT_BOUNDARY_MAX 180 /* RFC 2046 5.1.1 has 70 */
#define CONVERT_PROBE_MAX    256 /* a boundary, its dashes, and blanks behind it */
#define CONVERT_LINE_MAX     998

/* What is done with the octets of a part when they do not fit as they are. */
enum part_kind {
	PART_TEXT,      /* quoted-printable */
	PART_OCTETS,    /* base64 */
	PART_QP,        /* is quoted-printable, but for some octets */
	PART_BASE64,    /* is base64, in long lines or with something between */
	PART_FIXED,     /* nothing: the message cannot be converted */
	PART_MULTIPART, /* containers */
	PART_MESSAGE,
};

/* What the header of a part says. */
struct part_info {
	enum part_kind kind;
	enum mime_convert_why why; /* of PART_FIXED */
	char boundary[CONVERT_BOUNDARY_MAX + 1];
	bool is_digest;   /* its parts are messages unless they say otherwise */
	bool is_sealed;   /* its parts are signed or encrypted */
	bool is_declared; /* Content-Transfer-Encoding: 8bit or binary */
	bool is_binary;   /* of these: binary */
	bool has_type, has_version;
};

/* An encoder: quoted-printable or base64. */
struct encoder {
	enum part_kind kind;
	size_t column;
	uint8_t blank;     /* a blank held back: at the end of a line it must be encoded */
	bool soft;         /* this line goes on with the one before */
	unsigned escape;   /* PART_QP: octets left of an "=HH" of its own */
	uint8_t group[57]; /* a line of base64 */
	size_t group_n;
};

struct frame {
	char boundary[CONVERT_BOUNDARY_MAX + 1];
	size_t boundary_n;
	bool is_digest;
	bool is_sealed; /* it stands in something sealed */
	bool seals;     /* its parts are */
	unsigned depth;
};

enum phase {
	PHASE_HEADER,
	PHASE_LEAF,
	PHASE_BETWEEN, /* before the first part or behind the last one: for nobody's eyes */
	PHASE_LOST,    /* a bound was reached: only what must be converted is still looked for */
};

struct mime_convert {
	enum mime_convert_to to;
	bool binary, converting;
	bool must; /* be converted */
	enum mime_convert_why cannot;
	struct buf needs; /* by part: an octet, 1 when it has to be encoded */
	size_t part;      /* the number of the open one */
	/* lines */
	bool bol, cr, probing;
	uint8_t probe[CONVERT_PROBE_MAX];
	size_t probe_n;
	size_t line_octets;
	unsigned held; /* octets of a line end that a boundary may take with it */
	/* parts */
	struct frame frames[CONVERT_DEPTH_MAX];
	size_t frame_count;
	unsigned depth; /* containers that are open, messages too */
	enum phase phase;
	struct buf header;
	struct part_info info;
	bool is_message; /* the open header is a message's */
	bool is_sealed;  /* what is open is inside of something sealed */
	struct encoder encoder;
	struct buf *out;
};

/* convert-header.c: read a header (all lines, without the empty one). */
void part_info_read(struct span header, bool digest, struct part_info *info_r);
/* Written with another Content-Transfer-Encoding (NULL: as it is) and with lines that fit. */
void part_header_write(const struct mime_convert *c, const char *encoding);
/* Can it be written so?  0 or a reason. */
enum mime_convert_why part_header_check(const struct mime_convert *c);

/* convert-encode.c */
void encode_begin(struct encoder *e, enum part_kind kind);
void encode_octets(struct encoder *e, struct span octets, struct buf *out);
void encode_line_end(struct encoder *e, unsigned octets, struct buf *out);
void encode_end(struct encoder *e, struct buf *out); /* within a line */

#endif
