/*
 * fuzz/fuzz_explain.c - any words to the engine of `postern explain`.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "fuzz/fuzz.h"

#include "catalogue/explain.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct catalogue *cat = catalogue_builtin();
	struct arena arena;
	struct explain x;
	struct buf out;
	struct span s;

	arena_init(&arena, 1 << 20);
	buf_init(&out, 4 << 20);
	FUZZ_CHECK(explain(cat, span_of(data, size), &arena, &x) == (x.count > 0));
	FUZZ_CHECK(explain_text(cat, &x, &out) == 0);
	/* Whatever a peer wrote, the terminal gets nothing but printable octets and line ends. */
	s = buf_span(&out);
	for (size_t i = 0; i < s.n; i++)
		FUZZ_CHECK((s.p[i] >= 0x20 && s.p[i] <= 0x7e) || s.p[i] == '\n');
	buf_reset(&out);
	FUZZ_CHECK(explain_json(cat, &x, &out) == 0);
	buf_done(&out);
	arena_done(&arena);
	return 0;
}
