/*
 * queue/queue.h - when each message moves next: due heap, back-off, site state.  No sockets, no
 * clock.
 *
 * Each worker has a queue of its own with the messages it accepted (or was given at
 * start); nothing here is shared or locked.  The heap holds ids and times alone: what
 * the message is stands in the spool and is read when it is due.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_QUEUE_QUEUE_H
#define POSTERN_QUEUE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue; /* opaque: queue/queue.c */

/* Back-off: attempt n waits first_ms * 2^(n-1), at most max_ms, with +- jitter_pct; after
 * lifetime_ms since reception the message is given up. */
struct queue_backoff {
	int64_t first_ms;    /* 5 minutes */
	int64_t max_ms;      /* at least hourly */
	int64_t lifetime_ms; /* four days */
	unsigned jitter_pct; /* 10 */
};

/*
 * Next time after a failed attempt, or -1 when the life time is over before it (or has been).
 * The last attempt is moved to the end of the life time rather than skipped.
 * random: any 64-bit number; the same one gives the same answer (tests).
 */
int64_t queue_next_attempt(const struct queue_backoff *b, int64_t received_ms, uint32_t attempts,
    int64_t now_ms, uint64_t random);

int queue_new(struct queue **q_r);
void queue_free(struct queue **q);

/* Put a message in, or change its time.  due_ms INT64_MAX: known, but not due (held).  0 or
 * -ERR_NOMEM. */
int queue_set(struct queue *q, uint64_t id, int64_t due_ms);

/* Take a message out; false when it was not in. */
bool queue_remove(struct queue *q, uint64_t id);

/* The next message due at now_ms: marked active (no longer in the heap, still known).  False: none.
 */
bool queue_take(struct queue *q, int64_t now_ms, uint64_t *id_r);

/* Is it known at all? */
bool queue_has(const struct queue *q, uint64_t id);

/* Mark one active before its time: an operator's command works on it.  False: not known, or active.
 */
bool queue_activate(struct queue *q, uint64_t id);

/* When the next one is due; INT64_MAX: nothing waits. */
int64_t queue_due(const struct queue *q);

/* How many are known, and how many are active. */
size_t queue_count(const struct queue *q);
size_t queue_active(const struct queue *q);
bool queue_is_active(const struct queue *q, uint64_t id);

/* Memory that it takes. */
size_t queue_octets(const struct queue *q);

#endif
