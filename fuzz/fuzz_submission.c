/*
 * fuzz/fuzz_submission.c - files of the submission directory, which every user may write.
 *
 * What is taken can be written and read again with the same meaning; no line of the result has
 * an end of another kind than CR LF.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "fuzz/fuzz.h"

#include "envelope/submission.h"

static void line_ends(struct span body)
{
	uint32_t seed = (uint32_t)body.n;
	bool cr = false;
	struct buf out;

	buf_init(&out, 2 * body.n + 2);
	while (body.n) {
		size_t n = fuzz_piece(&seed, body.n);
		FUZZ_CHECK(submission_line_ends(span_of(body.p, n), &cr, &out) == 0);
		body = span_skip(body, n);
	}
	for (size_t i = 0; i < buf_len(&out); i++) {
		const uint8_t *p = buf_span(&out).p;
		if (p[i] == '\n')
			FUZZ_CHECK(i > 0 && p[i - 1] == '\r');
		if (p[i] == '\r')
			FUZZ_CHECK(i + 1 < buf_len(&out) && p[i + 1] == '\n');
	}
	buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = span_of(data, size);
	struct submission s, again;
	const char *why = NULL;
	struct arena arena;
	struct buf out;
	size_t body, behind;
	int r;

	arena_init(&arena, 16u << 20);
	buf_init(&out, 16u << 20);
	r = submission_parse(text, &arena, &s, &body, &why);
	FUZZ_CHECK(body <= size);
	if (r == 0) {
		line_ends(span_skip(text, body));
		FUZZ_CHECK(submission_write(&s, &out) == 0);
		FUZZ_CHECK(submission_parse(buf_span(&out), &arena, &again, &behind, &why) == 0);
		FUZZ_CHECK(behind == buf_len(&out) && again.rcpt_count == s.rcpt_count);
		FUZZ_CHECK(span_eq(again.sender, s.sender) && again.notify == s.notify);
		for (size_t i = 0; i < s.rcpt_count; i++)
			FUZZ_CHECK(span_eq(again.rcpts[i], s.rcpts[i]));
	} else {
		FUZZ_CHECK(why != NULL);
	}
	buf_done(&out);
	arena_done(&arena);
	return 0;
}
