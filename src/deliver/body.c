/*
 * deliver/body.c - the body as it goes over the wire.
 *
 * The one place that knows both what the message is and what the next host takes.  What MAIL
 * says of the body is decided here, and a body that a host cannot take (8-bit without 8BITMIME,
 * binary without BINARYMIME) is converted while it is read, if it can be (RFC 6152 3, 3030 3).
 * An 8-bit body that its sender did not declare is converted where that can be, and goes
 * as it is where not; so do our own notifications, which are better broken than lost.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "base/utf8.h"
#include "deliver/delivery-private.h"
#include "mime/convert.h"
#include "mime/header.h"
#include "smtp/server.h"

/* A header is looked at so far for characters beyond ASCII. */
#define HEADER_OCTETS_MAX (256u << 10)
#define PIECE             4096
/* The body is read for a conversion in such pieces. */
#define SCAN_PIECE 16384

/* Is there an octet in the header that only SMTPUTF8 allows (RFC 6532)? */
static int header_is_utf8(struct delivery_body *b, bool *utf8_r)
{
	struct buf head;
	ptrdiff_t end = -1;
	int r = 0;

	buf_init(&head, HEADER_OCTETS_MAX + PIECE);
	while (end < 0 && buf_len(&head) < HEADER_OCTETS_MAX) {
		uint8_t *to = buf_reserve(&head, PIECE);
		ssize_t got =
		    to ? spool_body_read(b->spool, buf_len(&head), to, PIECE) : -ERR_NOMEM;
		if (got <= 0) {
			r = (int)got;
			break;
		}
		buf_commit(&head, (size_t)got);
		end = mime_header_end(buf_span(&head));
	}
	*utf8_r = r == 0 &&
	    !ascii_valid(span_of(buf_span(&head).p, end < 0 ? buf_len(&head) : (size_t)end));
	buf_done(&head);
	return r;
}

static const char *why_text(enum mime_convert_why why)
{
	switch (why) {
	case MIME_CONVERT_SIGNED:
		return "it is signed or encrypted, which a conversion would break";
	case MIME_CONVERT_HEADER:
		return "a header has octets or a line that no header may have";
	case MIME_CONVERT_MESSAGE:
		return "a part of type message, which must be 7-bit, is not";
	case MIME_CONVERT_ENCODING:
		return "a part is in an encoding that is not known";
	case MIME_CONVERT_LIMIT:
		return "it has too many parts or too large a header";
	}
	return NULL;
}

/* Read it once: 1 to convert it, 0 to leave it, -ERR_UNSUPPORTED with b->why, or an error. */
static int scan(struct delivery_body *b, enum mime_convert_to to)
{
	enum mime_convert_why why = (enum mime_convert_why)0;
	uint8_t piece[SCAN_PIECE];
	uint64_t at = 0;
	ssize_t got;
	int r = mime_convert_new(to, b->is_binary, &b->convert);

	while (r == 0 && (got = spool_body_read(b->spool, at, piece, sizeof(piece))) != 0) {
		r = got < 0 ? (int)got : mime_convert_scan(b->convert, span_of(piece, (size_t)got));
		at += got < 0 ? 0 : (uint64_t)got;
	}
	if (r == 0)
		r = mime_convert_scan_end(b->convert, &why);
	if (r != 1)
		mime_convert_free(&b->convert);
	b->why = r == -ERR_UNSUPPORTED ? why_text(why) : NULL;
	return r;
}

/* What the host lacks for this body, if anything, is converted away. */
static int fit(struct delivery_body *b, const struct envelope *env, unsigned extensions)
{
	/* Who offers SMTPUTF8 must take 8-bit bodies, RFC 6531 3.1. */
	bool eight = extensions & (SMTP_EXT_8BITMIME | SMTP_EXT_SMTPUTF8);
	bool binary = (~extensions & (SMTP_EXT_BINARYMIME | SMTP_EXT_CHUNKING)) == 0;
	bool declared = b->is_8bit;
	int r;

	if (b->is_binary ? binary : eight)
		return 0;
	r = scan(b, eight ? MIME_CONVERT_8BIT : MIME_CONVERT_7BIT);
	if (r == -ERR_UNSUPPORTED) {
		b->needs_8bit = declared && !b->is_binary && !env->is_dsn;
		return 0;
	}
	b->is_binary = false;
	b->is_8bit = declared && eight;
	return r < 0 ? r : 0;
}

int delivery_body_open(
    struct delivery_body *b, struct spool *spool, const struct envelope *env, unsigned extensions)
{
	int r;

	*b = (struct delivery_body){ .is_8bit = env->body != ENVELOPE_BODY_7BIT,
		.is_binary = env->body == ENVELOPE_BODY_BINARYMIME };
	/* A piece threefold, and the header of a part. */
	buf_init(&b->converted, 1u << 20);
	r = spool_body_open(spool, env->id, &b->spool);
	/* Only a sender who said SMTPUTF8 may have written such a header. */
	if (r == 0 && env->smtputf8)
		r = header_is_utf8(b, &b->header_utf8);
	if (r == 0)
		r = fit(b, env, extensions);
	return r;
}

static ssize_t read_spool(struct delivery_body *b, void *to, size_t n)
{
	ssize_t got = spool_body_read(b->spool, b->at, to, n);

	if (got > 0)
		b->at += (uint64_t)got;
	return got;
}

ssize_t delivery_body_read(struct delivery_body *b, char *to, size_t n)
{
	if (!b->convert)
		return read_spool(b, to, n);
	while (buf_len(&b->converted) == 0 && !b->ended) {
		uint8_t piece[SCAN_PIECE];
		ssize_t got = read_spool(b, piece, sizeof(piece));
		int r = got < 0 ? (int)got
		    : got > 0
		    ? mime_convert_feed(b->convert, span_of(piece, (size_t)got), &b->converted)
		    : mime_convert_end(b->convert, &b->converted);
		if (r < 0)
			return r;
		b->ended = got == 0;
	}
	if (n > buf_len(&b->converted))
		n = buf_len(&b->converted);
	if (n)
		memcpy(to, buf_span(&b->converted).p, n);
	buf_consume(&b->converted, n);
	return (ssize_t)n;
}

void delivery_body_close(struct delivery_body *b)
{
	spool_body_close(&b->spool);
	mime_convert_free(&b->convert);
	buf_done(&b->converted);
	*b = (struct delivery_body){ 0 };
}
