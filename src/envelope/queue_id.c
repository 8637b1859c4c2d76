/*
 * envelope/queue_id.c - queue ids: seconds, microseconds and a count, in 64 bits.
 *
 * seconds << 32 | microseconds << 12 | count.  As text they are Postfix's long ids:
 * six digits of seconds and four of microseconds in base 52, 'z', and the rest (an
 * inode there, the count here) in base 51, that is without 'z'.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "envelope/private.h"
#include "base/clock.h"

#include <stdatomic.h>

#define SECOND_DIGITS 6 /* 52^6 is above 2^32 */
#define MICRO_DIGITS  4
#define MICROS        1000000u
#define COUNT_MAX     4095u

static const char digits[] = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";

static atomic_ullong last_id;

static uint64_t id_make(uint64_t seconds, uint64_t micros, uint64_t count)
{
	return seconds << 32 | micros << 12 | count;
}

/* The next id, with carries: the microseconds do not fill their 20 bits. */
static uint64_t id_after(uint64_t id)
{
	id++;
	if ((id >> 12 & 0xfffff) >= MICROS)
		id = id_make((id >> 32) + 1, 0, 0);
	return id;
}

uint64_t queue_id_new(void)
{
	uint64_t us = (uint64_t)clock_wall_us();
	uint64_t id = id_make(us / MICROS & UINT32_MAX, us % MICROS, 0);
	unsigned long long last = atomic_load(&last_id);
	uint64_t next;

	/* A clock that stands still or was set back goes on from the last id. */
	do
		next = id > last ? id : id_after(last);
	while (!atomic_compare_exchange_weak(&last_id, &last, next));
	return next;
}

void queue_id_floor(uint64_t id)
{
	unsigned long long last = atomic_load(&last_id);

	while (last < id && !atomic_compare_exchange_weak(&last_id, &last, id))
		continue;
}

static void put_digits(char *to, uint64_t v, int n)
{
	while (n-- > 0) {
		to[n] = digits[v % 52];
		v /= 52;
	}
}

void queue_id_text(uint64_t id, char *to)
{
	uint64_t count = id & COUNT_MAX;
	char rest[4];
	int n = 0;

	put_digits(to, id >> 32, SECOND_DIGITS);
	put_digits(to + SECOND_DIGITS, id >> 12 & 0xfffff, MICRO_DIGITS);
	to += SECOND_DIGITS + MICRO_DIGITS;
	*to++ = 'z';
	do {
		rest[n++] = digits[count % 51];
		count /= 51;
	} while (count > 0);
	while (n > 0)
		*to++ = rest[--n];
	*to = '\0';
}

static bool get_digits(const uint8_t *p, size_t n, unsigned base, uint64_t max, uint64_t *v_r)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++) {
		const char *d = p[i] ? strchr(digits, p[i]) : NULL;
		if (!d || (unsigned)(d - digits) >= base)
			return false;
		v = v * base + (uint64_t)(d - digits);
	}
	*v_r = v;
	return v <= max;
}

int queue_id_parse(struct span s, uint64_t *id_r)
{
	const size_t head = SECOND_DIGITS + MICRO_DIGITS;
	uint64_t seconds, micros, count;
	size_t rest;

	/* One to three digits behind the 'z' hold 4,095; one id has one text. */
	if (s.n < head + 2 || s.n > head + 4 || s.p[head] != 'z')
		return -ERR_SYNTAX;
	rest = s.n - head - 1;
	if (rest > 1 && s.p[head + 1] == '0')
		return -ERR_SYNTAX;
	if (!get_digits(s.p, SECOND_DIGITS, 52, UINT32_MAX, &seconds) ||
	    !get_digits(s.p + SECOND_DIGITS, MICRO_DIGITS, 52, MICROS - 1, &micros) ||
	    !get_digits(s.p + head + 1, rest, 51, COUNT_MAX, &count))
		return -ERR_SYNTAX;
	*id_r = id_make(seconds, micros, count);
	return 0;
}
