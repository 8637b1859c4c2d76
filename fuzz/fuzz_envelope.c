/*
 * fuzz/fuzz_envelope.c - any octets as a message record and a state record.
 *
 * The first two octets say how long the message record is.  What decodes encodes to
 * the same octets: a record has one spelling.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "fuzz/fuzz.h"
#include "base/err.h"
#include "envelope/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = { data, size }, record;
	struct envelope env;
	struct arena arena;
	struct buf out;
	uint64_t id;
	char text[QUEUE_ID_TEXT_MAX];
	size_t n = fuzz_octet(&in);
	int r;

	n |= (size_t)fuzz_octet(&in) << 8;
	record = (struct span){ in.p, n < in.n ? n : in.n };
	in = span_skip(in, record.n);
	if (queue_id_parse(record, &id) == 0) {
		queue_id_text(id, text);
		FUZZ_CHECK(span_eq(record, span_str(text)));
	}
	arena_init(&arena, 1 << 22);
	buf_init(&out, 1 << 20);
	r = envelope_decode(record, &arena, &env);
	FUZZ_CHECK(r == 0 || r == -ERR_CORRUPT || r == -ERR_VERSION || r == -ERR_NOMEM);
	if (r == 0) {
		FUZZ_CHECK(envelope_encode(&env, &out) == 0);
		FUZZ_CHECK(span_eq(buf_span(&out), record));
		r = envelope_decode_state(in, &arena, &env);
		(void)envelope_finished(&env);
		(void)envelope_due(&env);
		buf_reset(&out);
		FUZZ_CHECK(envelope_encode_state(&env, &out) == 0);
		/* Two equal attempts may have been written one by one; then ours is shorter. */
		if (r == 0)
			FUZZ_CHECK(buf_len(&out) <= in.n);
	}
	buf_done(&out);
	arena_done(&arena);
	return 0;
}
