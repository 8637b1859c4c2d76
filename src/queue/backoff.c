/*
 * queue/backoff.c - when to try again.
 *
 * Twice as long after each failure up to a maximum, give or take some per cent, so
 * that messages which failed together do not all come back together.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "queue/queue.h"

int64_t queue_next_attempt(const struct queue_backoff *b, int64_t received_ms, uint32_t attempts,
    int64_t now_ms, uint64_t random)
{
	int64_t wait = b->first_ms > 0 ? b->first_ms : 1, spread, next, end;
	int64_t max = b->max_ms > wait ? b->max_ms : wait;

	if (__builtin_add_overflow(received_ms, b->lifetime_ms, &end))
		end = INT64_MAX;
	if (now_ms >= end)
		return -1;
	for (uint32_t i = 1; i < attempts && wait < max; i++)
		wait = wait > max / 2 ? max : wait * 2;
	spread = wait / 100 * (b->jitter_pct > 100 ? 100 : b->jitter_pct);
	if (spread > 0)
		wait += (int64_t)(random % ((uint64_t)spread * 2 + 1)) - spread;
	if (wait < 1)
		wait = 1;
	if (__builtin_add_overflow(now_ms, wait, &next) || next > end)
		next = end;
	return next;
}
