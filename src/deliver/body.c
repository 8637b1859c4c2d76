/*
 * deliver/body.c - the body as it goes over the wire.
 *
 * The one place that knows both what the message is and what the next host takes: what
 * MAIL says of the body is decided here, and whatever must become something else for a
 * host that lacks 8BITMIME or BINARYMIME is converted in delivery_body_read(), for which
 * `extensions` is at hand when it is opened.  Today 8-bit goes as it is, which every host
 * of these days takes; a binary message waits for no host that lacks BINARYMIME, it fails.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "base/utf8.h"
#include "deliver/delivery-private.h"
#include "mime/header.h"
#include "smtp/server.h"

/* A header is looked at so far for characters beyond ASCII. */
#define HEADER_OCTETS_MAX (256u << 10)
#define PIECE             4096

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

int delivery_body_open(
    struct delivery_body *b, struct spool *spool, const struct envelope *env, unsigned extensions)
{
	int r;

	(void)extensions; /* for a conversion; see above */
	*b = (struct delivery_body){ .is_8bit = env->body != ENVELOPE_BODY_7BIT,
		.is_binary = env->body == ENVELOPE_BODY_BINARYMIME };
	r = spool_body_open(spool, env->id, &b->spool);
	/* Only a sender who said SMTPUTF8 may have written such a header. */
	if (r == 0 && env->smtputf8)
		r = header_is_utf8(b, &b->header_utf8);
	return r;
}

ssize_t delivery_body_read(struct delivery_body *b, char *to, size_t n)
{
	ssize_t got = spool_body_read(b->spool, b->at, to, n);

	if (got > 0)
		b->at += (uint64_t)got;
	return got;
}

void delivery_body_close(struct delivery_body *b)
{
	spool_body_close(&b->spool);
	*b = (struct delivery_body){ 0 };
}
