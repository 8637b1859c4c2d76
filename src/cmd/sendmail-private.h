/*
 * cmd/sendmail-private.h - the parts of `sendmail`.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_CMD_SENDMAIL_PRIVATE_H
#define POSTERN_CMD_SENDMAIL_PRIVATE_H

#include "config/config.h"
#include "envelope/submission.h"

/* What a message from standard input lacks, and where it goes. */
struct sendmail_message {
	struct arena arena;
	struct buf text; /* header and body as they go into the file */
	struct span *rcpts;
	size_t rcpt_count, rcpt_room;
};

/* Limits of one message on the command line's side. */
#define SENDMAIL_ARENA_MAX (64u << 20)

/* Add an address that may have a name, a comment or angle brackets, or a list of them.  0,
 * -ERR_SYNTAX, -ERR_NOMEM. */
int sendmail_add_recipients(struct sendmail_message *m, struct span list);

struct sendmail_header {
	bool take_recipients; /* -t: of To, Cc, Bcc, or the Resent- ones when there are any */
	const char *from;     /* address for a From field when there is none */
	const char *name;     /* and its name; may be empty */
	const char *hostname; /* for Message-ID */
};

/* Bring `in` into m->text: Bcc goes, From, Date and Message-ID come when they are missing.  0,
 * -ERR_SYNTAX (an address of the header), -ERR_NOMEM. */
int sendmail_header(struct sendmail_message *m, struct span in, const struct sendmail_header *h);

/* Put a message into the submission directory, durable; `name_r` (32 octets) gets what it is called
 * there.  0 or a negative error. */
int sendmail_drop(
    const struct config *cfg, const struct submission *s, struct span message, char *name_r);

/* -bs: SMTP on standard input and output.  An exit code of sysexits.h. */
int sendmail_smtp(const struct config *cfg, const char *sender);

#endif
