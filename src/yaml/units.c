/*
 * yaml/units.c - durations and sizes.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "yaml/yaml.h"
#include "base/err.h"

static const struct {
	const char *name;
	uint64_t ms;
} duration_units[] = {
	{ "w", 7 * 86400000ull },
	{ "d", 86400000ull },
	{ "h", 3600000 },
	{ "m", 60000 },
	{ "s", 1000 },
	{ "ms", 1 },
};

#define DURATION_UNITS (sizeof(duration_units) / sizeof(*duration_units))

/* Takes the run of octets at the front that are (or are not) digits. */
static struct span take(struct span *s, bool digits)
{
	struct span run = { s->p, 0 };

	while (run.n < s->n && ascii_is_digit(s->p[run.n]) == digits)
		run.n++;
	*s = span_skip(*s, run.n);
	return run;
}

int yaml_duration_parse(struct span s, uint64_t *ms_r)
{
	uint64_t sum = 0;
	size_t next = 0; /* units go from large to small, each at most once */

	if (span_eq(s, SPAN_LIT("0"))) {
		*ms_r = 0;
		return 0;
	}
	if (s.n == 0)
		return -ERR_SYNTAX;
	while (s.n > 0) {
		struct span digits = take(&s, true);
		struct span unit = take(&s, false);
		uint64_t v, ms;
		int r = span_u64(digits, UINT64_MAX, &v);
		if (r < 0)
			return r;
		while (next < DURATION_UNITS && !span_eq(unit, span_str(duration_units[next].name)))
			next++;
		if (next == DURATION_UNITS)
			return -ERR_SYNTAX;
		if (__builtin_mul_overflow(v, duration_units[next++].ms, &ms) ||
		    __builtin_add_overflow(sum, ms, &sum))
			return -ERR_RANGE;
	}
	*ms_r = sum;
	return 0;
}

int yaml_size_parse(struct span s, uint64_t *octets_r)
{
	static const char letters[] = "kmgt";
	struct span digits = take(&s, true);
	uint64_t v, factor = 1;
	int r = span_u64(digits, UINT64_MAX, &v);

	if (r < 0)
		return r;
	if (s.n > 0 && s.p[0] != 'B') {
		const char *at = s.p[0] ? strchr(letters, ascii_lower(s.p[0])) : NULL;
		if (!at)
			return -ERR_SYNTAX;
		factor = 1ull << (10 * (at - letters + 1));
		s = span_skip(s, 1);
		if (s.n > 0 && !span_eq(s, SPAN_LIT("iB")))
			return -ERR_SYNTAX;
	} else if (s.n > 1) {
		return -ERR_SYNTAX;
	}
	if (__builtin_mul_overflow(v, factor, &v))
		return -ERR_RANGE;
	*octets_r = v;
	return 0;
}

static int with_unit(struct yaml_errors *e, const struct yaml_node *n, uint64_t min, uint64_t max,
    uint64_t *r, int (*parse)(struct span, uint64_t *), const char *what)
{
	const char *text = NULL;
	uint64_t v;
	int got;

	if (!n)
		return 0;
	if (yaml_string(e, n, &text) < 0)
		return -ERR_CONFIG;
	got = parse(n->text, &v);
	if (got == -ERR_SYNTAX) {
		yaml_error(e, n, "\"%s\" is not a %s", text, what);
		return -ERR_CONFIG;
	}
	if (got < 0 || v < min || v > max) {
		yaml_error(e, n, "%s is too %s", text, got < 0 || v > max ? "large" : "small");
		return -ERR_CONFIG;
	}
	*r = v;
	return 0;
}

int yaml_duration(
    struct yaml_errors *e, const struct yaml_node *n, uint64_t min, uint64_t max, uint64_t *r)
{
	return with_unit(
	    e, n, min, max, r, yaml_duration_parse, "duration such as 30s, 5m, 1h30m or 4d");
}

int yaml_size(
    struct yaml_errors *e, const struct yaml_node *n, uint64_t min, uint64_t max, uint64_t *r)
{
	return with_unit(e, n, min, max, r, yaml_size_parse, "size such as 512, 10k or 64MiB");
}
