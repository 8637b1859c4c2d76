/*
 * base/clock.h - the time, as something that can be handed over and faked.
 *
 * Two clocks: monotonic milliseconds for deadlines, and wall-clock
 * milliseconds since 1970 UTC for what people read and what outlives a
 * restart.  Code below the event loop takes `now` as an argument.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_BASE_CLOCK_H
#define POSTERN_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* The system's clocks, in milliseconds. */
uint64_t clock_mono_ms(void);
int64_t clock_wall_ms(void);

/* Wall clock in microseconds; queue ids are made from it. */
int64_t clock_wall_us(void);

#define CLOCK_RFC5322_MAX 40
#define CLOCK_ISO8601_MAX 32

/* "Wed, 25 Nov 2026 20:31:00 +0000 (UTC)", RFC 5322 3.3, always in UTC; to holds CLOCK_RFC5322_MAX.
 */
void clock_rfc5322(int64_t wall_ms, char *to);

/* "2026-11-25T20:31:00.123Z"; to holds CLOCK_ISO8601_MAX. */
void clock_iso8601(int64_t wall_ms, char *to);

/* A duration for people: "45 seconds", "2 hours", "1 day 3 hours"; to holds n octets. */
void clock_duration(int64_t ms, char *to, size_t n);

#endif
