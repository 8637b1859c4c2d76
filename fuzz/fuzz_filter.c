/*
 * fuzz/fuzz_filter.c - words of an operator as filters of the queue.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "queue/filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span rest = span_of(data, size);
	struct envelope env = { .id = 77, .reverse_path = SPAN_LIT("a@b"), .size = 100 };
	struct rcpt r = { .address = SPAN_LIT("ann@example.org"), .attempts = 3 };
	struct queue_filter f;
	const char *why;

	queue_filter_init(&f);
	while (rest.n) {
		ptrdiff_t at = span_find(rest, '\n');
		struct span word = at < 0 ? rest : span_of(rest.p, (size_t)at);
		(void)queue_filter_add(&f, word, &why);
		rest = span_skip(rest, word.n + 1);
	}
	(void)queue_filter_match(&f, &env, &r, 1000);
	return 0;
}
