/*
 * catalogue/explain.h - what a code or a reply means: the engine of `postern explain`.
 *
 * Takes a reply code ("550"), an enhanced status code ("5.7.1", "X.7.1"), a policy code
 * ("POL-T1"), a failure code ("3001"), the id of a reply ("rcpt_unknown"), a whole reply of one or
 * several lines, or a log line that quotes one.  A whole reply is matched against the texts of all
 * rows, their fields standing for anything; the most specific row wins.  A code without a row is
 * explained as far as its digits say.
 *
 * No I/O.  Snapshots may be shared between threads; a struct explain belongs to one.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_CATALOGUE_EXPLAIN_H
#define POSTERN_CATALOGUE_EXPLAIN_H

#include "base/arena.h"
#include "catalogue/catalogue.h"

#define EXPLAIN_READINGS_MAX 8
#define EXPLAIN_INPUT_MAX    65536 /* octets that are looked at; a reply is far shorter */

enum explain_kind {
	EXPLAIN_REPLY,
	EXPLAIN_POLICY,
	EXPLAIN_FAILURE,
	EXPLAIN_ENHANCED,
	EXPLAIN_BASIC,
};

/* One way to read the input. */
struct explain_reading {
	enum explain_kind kind;
	bool exact;       /* false: no row, only digits */
	bool covers_line; /* REPLY: the input is a line of Postfix's list that it covers */
	struct enhanced_status status; /* ENHANCED: class 0 stands for any */
	uint16_t code;                 /* BASIC */
	union {
		const struct cat_reply *reply;
		const struct cat_policy *policy;
		const struct cat_failure *failure;
		const struct cat_enhanced *enhanced; /* NULL unless exact */
		const struct cat_basic *basic;       /* NULL unless exact */
	};
	const struct cat_digit *digit[3]; /* ENHANCED, BASIC: what the digits say; NULL: nothing */
	struct reply_args args; /* REPLY: what stands in the places of the fields; in the arena */
};

struct explain {
	struct span input;                                    /* in the arena, trimmed */
	size_t count;                                         /* 0: unknown */
	struct explain_reading reading[EXPLAIN_READINGS_MAX]; /* the best first */
};

/*
 * Explain an input.
 *
 * arena     gets the input and what was cut out of it; r is good as long as arena and snapshot
 * Returns 1 when there is a reading, 0 when the input is unknown, -ERR_NOMEM.
 */
int explain(const struct catalogue *cat, struct span input, struct arena *arena, struct explain *r);

/* For a terminal: lines of at most 80 columns.  0 or -ERR_NOMEM. */
int explain_text(const struct catalogue *cat, const struct explain *x, struct buf *out);

/* One JSON object without a line end.  0 or -ERR_NOMEM. */
int explain_json(const struct catalogue *cat, const struct explain *x, struct buf *out);

/*
 * Does a text with {fields} match a text?
 * Returns the number of literal octets that matched (more is more specific), or -1.  args_r gets
 * what stands at the fields: spans of `text`.
 */
int cat_text_match(const char *pattern, struct span text, struct reply_args *args_r);

#endif
