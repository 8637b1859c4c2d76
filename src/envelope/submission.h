/*
 * envelope/submission.h - a message on its way from a local program into the queue: a file.
 *
 * First a line with the version, then a line for each thing that the envelope says, an empty
 * line, and the message as the program wrote it (LF or CRLF):
 *
 *     postern-submission 1
 *     sender ann@example.org
 *     recipient bob@example.net
 *     notify failure,delay
 *     return headers
 *     envid x42
 *     body 8bit
 *     (empty line)
 *
 * `sender` stands once, alone for the null sender; `recipient` at least once; the others are
 * optional.  Whoever may write to the directory may write such a file, so it is read as any
 * stranger's input.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_ENVELOPE_SUBMISSION_H
#define POSTERN_ENVELOPE_SUBMISSION_H

#include "envelope/envelope.h"

/* Octets before the empty line: a thousand long addresses. */
#define SUBMISSION_HEAD_MAX       (2u << 20)
#define SUBMISSION_RECIPIENTS_MAX 100000

struct submission {
	struct span sender; /* empty: null */
	struct span envid;
	enum envelope_ret ret;
	enum envelope_body body;
	bool smtputf8;
	uint8_t notify; /* RCPT_NOTIFY_ bits, of all recipients */
	struct span *rcpts;
	size_t rcpt_count;
};

/*
 * Read the head at the start of a file; `text` holds all of it or its first octets.
 *
 * *s_r     spans and array are in the arena
 * *body_r  where the message begins
 * *why_r   a sentence, when it is wrong
 * Returns 0, -ERR_SYNTAX, -ERR_VERSION, -ERR_LIMIT, -ERR_NOMEM.
 */
int submission_parse(struct span text, struct arena *arena, struct submission *s_r, size_t *body_r,
    const char **why_r);

/* Write the head, its empty line included.  0, -ERR_NOMEM, -ERR_SYNTAX (an address with a line end
 * in it). */
int submission_write(const struct submission *s, struct buf *out);

/* "never", or some of "success,failure,delay": the bits in *notify_r.  0 or -ERR_SYNTAX. */
int submission_notify_parse(struct span s, uint8_t *notify_r);

/* A message with any line ends as RFC 5322 wants them: LF and CR alone become CR LF.  *cr: false at
 * first; carries over from piece to piece.  0 or -ERR_NOMEM. */
int submission_line_ends(struct span piece, bool *cr, struct buf *out);

#endif
