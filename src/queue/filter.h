/*
 * queue/filter.h - one grammar to choose recipients of queued mail by any field.
 *
 *   filter  = { term }               all terms must hold; no term: everything
 *   term    = field op value { "," value }
 *   op      = "=" | "!=" | "<" | "<=" | ">" | ">="
 *
 * "=" with several values: any of them.  Text is matched without case; '*' stands for
 * any run of octets, '?' for one.  Reply codes and failure codes may end in 'x'
 * ("4xx", "30xx").  Times are durations ("10m", "2h"), sizes have units ("1M").
 * The table of fields is the documentation: queue_filter_fields().
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_QUEUE_FILTER_H
#define POSTERN_QUEUE_FILTER_H

#include "envelope/envelope.h"

#define QUEUE_FILTER_TERMS_MAX  32
#define QUEUE_FILTER_VALUES_MAX 32

struct queue_filter_term {
	int field; /* index into the table of fields */
	int op;
	struct span values[QUEUE_FILTER_VALUES_MAX];
	int64_t numbers[QUEUE_FILTER_VALUES_MAX];
	size_t count;
};

struct queue_filter {
	struct queue_filter_term terms[QUEUE_FILTER_TERMS_MAX];
	size_t count;
};

void queue_filter_init(struct queue_filter *f);

/*
 * Add one term.  Spans of the filter point into `term`, which must stay.
 * 0, or -ERR_SYNTAX, -ERR_LIMIT with a sentence in *why_r (static, or in the buffer of this
 * thread).
 */
int queue_filter_add(struct queue_filter *f, struct span term, const char **why_r);

/* Does a recipient of a message fit? */
bool queue_filter_match(
    const struct queue_filter *f, const struct envelope *env, const struct rcpt *r, int64_t now_ms);

/* Fields: name, kind of value, text; name NULL at the end. */
struct queue_filter_field {
	const char *name, *value, *text;
};
const struct queue_filter_field *queue_filter_fields(void);

const char *rcpt_status_name(enum rcpt_status status);

#endif
