/*
 * catalogue/snapshot.c - the compiled-in snapshot, loaded ones, and look-ups.
 *
 * The tables are sorted, so a look-up is a binary search and needs no memory of its own.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "catalogue/catalogue.h"
#include "catalogue/rows-private.h"
#include "base/err.h"

#include <stdatomic.h>
#include <stdlib.h>

extern const struct cat_tables catalogue_builtin_tables; /* generated */

struct catalogue {
	struct cat_tables tables;
	struct arena memory;
	atomic_uint refs;
};

/* The compiled-in snapshot is told by its address: it has no memory and its count is unused. */
static const struct catalogue builtin;

const struct catalogue *catalogue_builtin(void)
{
	return &builtin;
}

const struct cat_tables *catalogue_tables(const struct catalogue *cat)
{
	return cat == &builtin ? &catalogue_builtin_tables : &cat->tables;
}

/* A counted object is shared as const; counting is the one change that is allowed. */
static atomic_uint *refs_of(const struct catalogue *cat)
{
	return (atomic_uint *)(uintptr_t)&cat->refs;
}

const struct catalogue *catalogue_ref(const struct catalogue *cat)
{
	if (cat && cat != &builtin)
		atomic_fetch_add_explicit(refs_of(cat), 1, memory_order_relaxed);
	return cat;
}

void catalogue_unref(const struct catalogue **cat)
{
	const struct catalogue *c = *cat;

	*cat = NULL;
	if (!c || c == &builtin)
		return;
	if (atomic_fetch_sub_explicit(refs_of(c), 1, memory_order_acq_rel) == 1) {
		struct catalogue *mine = (struct catalogue *)(uintptr_t)c;
		arena_done(&mine->memory);
		free(mine);
	}
}

int catalogue_load(const char *dir, struct yaml_errors *errors, const struct catalogue **cat_r)
{
	struct catalogue *cat = calloc(1, sizeof(*cat));
	const struct catalogue *half = cat;
	struct cat_rows rows;
	size_t before = errors->count;
	int r;

	if (!cat)
		return -ERR_NOMEM;
	atomic_init(&cat->refs, 1);
	arena_init(&cat->memory, CAT_MEMORY_MAX);
	cat_rows_init(&rows, &cat->memory, errors);
	r = cat_rows_add_tables(&rows, &catalogue_builtin_tables);
	if (r == 0)
		r = cat_rows_read_dir(&rows, dir, NULL, NULL, NULL);
	if (r == 0) {
		cat_rows_check(&rows);
		if (errors->count > before)
			r = -ERR_CONFIG;
	}
	if (r == 0)
		r = cat_rows_tables(&rows, &cat->tables);
	cat_rows_done(&rows);
	if (r < 0) {
		catalogue_unref(&half);
		return r;
	}
	*cat_r = cat;
	return 0;
}

size_t catalogue_reply_count(const struct catalogue *cat)
{
	return catalogue_tables(cat)->replies_count;
}

const struct cat_reply *catalogue_reply(const struct catalogue *cat, int reply)
{
	const struct cat_tables *t = catalogue_tables(cat);

	return reply >= 0 && (size_t)reply < t->replies_count ? &t->replies[reply] : NULL;
}

static int span_cmp(struct span a, const char *b)
{
	size_t n = strlen(b);
	int r = memcmp(a.p, b, a.n < n ? a.n : n);

	return r ? r : (a.n > n) - (a.n < n);
}

int catalogue_reply_by_id(const struct catalogue *cat, struct span id)
{
	const struct cat_tables *t = catalogue_tables(cat);
	size_t low = 0, high = t->replies_count;

	if (id.n == 0)
		return -1;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int r = span_cmp(id, t->replies[t->by_id[mid]].id);
		if (r == 0)
			return t->by_id[mid];
		if (r < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return -1;
}

int catalogue_reply_by_policy(const struct catalogue *cat, struct span code)
{
	char id[32];

	cat_policy_reply_id(code, id);
	return catalogue_reply_by_id(cat, span_str(id));
}

const struct cat_failure *catalogue_failure(const struct catalogue *cat, uint16_t code)
{
	const struct cat_tables *t = catalogue_tables(cat);

	for (size_t i = 0; i < t->failures_count; i++)
		if (t->failures[i].code == code)
			return &t->failures[i];
	return NULL;
}

const struct cat_enhanced *catalogue_enhanced(
    const struct catalogue *cat, uint16_t subject, uint16_t detail)
{
	const struct cat_tables *t = catalogue_tables(cat);
	size_t low = 0, high = t->enhanced_count;
	uint32_t want = (uint32_t)subject << 16 | detail;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		uint32_t at = (uint32_t)t->enhanced[mid].subject << 16 | t->enhanced[mid].detail;
		if (at == want)
			return &t->enhanced[mid];
		if (want < at)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

const struct cat_basic *catalogue_basic(const struct catalogue *cat, uint16_t code)
{
	const struct cat_tables *t = catalogue_tables(cat);

	for (size_t i = 0; i < t->basics_count; i++)
		if (t->basics[i].code == code)
			return &t->basics[i];
	return NULL;
}

const struct cat_policy *catalogue_policy(const struct catalogue *cat, struct span code)
{
	const struct cat_tables *t = catalogue_tables(cat);

	for (size_t i = 0; i < t->policies_count; i++)
		if (span_eq_nocase(code, span_str(t->policies[i].code)))
			return &t->policies[i];
	return NULL;
}

const struct cat_digit *catalogue_digit(
    const struct catalogue *cat, enum cat_digit_of of, uint8_t place, uint16_t digit)
{
	const struct cat_tables *t = catalogue_tables(cat);
	const struct cat_digit *any = NULL;

	for (size_t i = 0; i < t->digits_count; i++) {
		const struct cat_digit *d = &t->digits[i];
		if (d->of != of || d->place != place)
			continue;
		if (d->digit == digit)
			return d;
		if (d->digit == CAT_DIGIT_ANY)
			any = d;
	}
	return any;
}
