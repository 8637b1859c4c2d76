/*
 * queue/listing.h - queued messages as JSON, for the control socket and for a stopped spool.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_QUEUE_LISTING_H
#define POSTERN_QUEUE_LISTING_H

#include "queue/filter.h"
#include "spool/spool.h"

/*
 * Read one message and give each recipient in the queue that fits the filter, as one JSON object:
 * id, sender, recipient, status, age, next, attempts, size, and the last attempt.
 * json is good for the call.  Returns how many fitted, or a negative error of spool_read() or
 * envelope_decode().
 */
int queue_listing(struct spool *sp, const struct catalogue *cat, uint64_t id,
    const struct queue_filter *f, int64_t now_ms,
    void (*fn)(void *arg, const struct rcpt *r, struct span json), void *arg);

#endif
