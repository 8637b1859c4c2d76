/*
 * base/clock.c - see base/clock.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

uint64_t clock_mono_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int64_t clock_wall_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_wall_ms(void)
{
	return clock_wall_us() / 1000;
}

static int64_t split(int64_t wall_ms, struct tm *tm)
{
	int64_t ms = wall_ms % 1000;
	time_t sec;

	if (ms < 0)
		ms += 1000;
	sec = (time_t)((wall_ms - ms) / 1000);
	if (!gmtime_r(&sec, tm)) {
		sec = 0;
		gmtime_r(&sec, tm);
	}
	return ms;
}

void clock_rfc5322(int64_t wall_ms, char *to)
{
	/* strftime's %a and %b follow the locale; the RFC's names do not. */
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct tm tm;

	split(wall_ms, &tm);
	snprintf(to, CLOCK_RFC5322_MAX, "%.3s, %d %.3s %04d %02d:%02d:%02d +0000 (UTC)",
	    days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon, (tm.tm_year + 1900) % 10000,
	    tm.tm_hour, tm.tm_min, tm.tm_sec % 61);
}

void clock_iso8601(int64_t wall_ms, char *to)
{
	struct tm tm;
	int64_t ms = split(wall_ms, &tm);

	snprintf(to, CLOCK_ISO8601_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ",
	    (tm.tm_year + 1900) % 10000, (tm.tm_mon + 1) % 100, tm.tm_mday % 100, tm.tm_hour % 100,
	    tm.tm_min % 100, tm.tm_sec % 100, (int)(ms % 1000));
}

void clock_duration(int64_t ms, char *to, size_t n)
{
	static const struct {
		int64_t sec;
		const char *name;
	} units[] = { { 86400, "day" }, { 3600, "hour" }, { 60, "minute" }, { 1, "second" } };
	int64_t sec = (ms < 0 ? 0 : ms + 500) / 1000;

	for (size_t i = 0; i < 4; i++) {
		int64_t big = sec / units[i].sec, small;
		if (big == 0 && i < 3)
			continue;
		small = i < 3 ? sec % units[i].sec / units[i + 1].sec : 0;
		if (small)
			snprintf(to, n, "%lld %s%s %lld %s%s", (long long)big, units[i].name,
			    big == 1 ? "" : "s", (long long)small, units[i + 1].name,
			    small == 1 ? "" : "s");
		else
			snprintf(
			    to, n, "%lld %s%s", (long long)big, units[i].name, big == 1 ? "" : "s");
		return;
	}
}
