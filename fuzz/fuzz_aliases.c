/*
 * fuzz/fuzz_aliases.c - tables of aliases, and the expansion of what they hold.
 *
 * Up to a NUL: a table of names; behind it: a virtual one.  Every address that comes of an
 * expansion comes once, and within the bounds.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "fuzz/fuzz.h"

#include "base/err.h"
#include "tables/aliases.h"

static struct span whole;

/* A list is the input again: the worst that it could be. */
static int include(void *arg, const char *path, struct buf *to)
{
	(void)arg;
	(void)path;
	return buf_add_span(to, whole);
}

static bool is_local(void *arg, struct span domain)
{
	(void)arg;
	return span_eq_nocase(domain, SPAN_LIT("l.test"));
}

static void expand(const struct aliases *a, struct span address)
{
	struct alias_world world = { "+-", "l.test", is_local, NULL };
	struct alias_results r;
	struct arena arena;
	int err;

	arena_init(&arena, 1u << 20);
	err = aliases_expand(a, &world, address, &arena, &r);
	FUZZ_CHECK(err == 0 || err == -ERR_LOOP || err == -ERR_LIMIT || err == -ERR_NOMEM);
	FUZZ_CHECK(err < 0 || (r.count > 0 && r.count <= ALIAS_RESULTS_MAX));
	FUZZ_CHECK(err < 0 || r.expanded == aliases_have(a, &world, address));
	for (size_t i = 0; err == 0 && i < r.count; i++)
		for (size_t k = 0; k < i && k < 20; k++)
			FUZZ_CHECK(!span_eq_nocase(r.list[i].address, r.list[k].address));
	arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const words[] = { "a@l.test", "b@l.test", "a+x@l.test", "a", "a@v.test",
		"b+x@v.test", "@", "\"q q\"@l.test" };
	static const struct alias_reader reader = { include, NULL, NULL };
	struct aliases *a;
	ptrdiff_t nul;

	whole = span_of(data, size);
	nul = span_find(whole, 0);
	FUZZ_CHECK(aliases_new(&a) == 0);
	(void)aliases_add_local(a, span_of(data, nul < 0 ? size : (size_t)nul), "aliases", &reader);
	(void)aliases_add_virtual(
	    a, span_skip(whole, nul < 0 ? size : (size_t)nul + 1), "virtual", &reader);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		expand(a, span_str(words[i]));
	aliases_unref(&a);
	return 0;
}
