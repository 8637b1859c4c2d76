/*
 * fuzz/fuzz_address.c - paths and xtext.  First octet: flags.
 *
 * A path that is read has a normal form, and the normal form of that is itself.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "fuzz/fuzz.h"

#include "base/buf.h"
#include "smtp/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span s = span_of(data, size), plain, again;
	unsigned flags = fuzz_octet(&s);
	struct smtp_address a, b;
	struct arena arena;
	struct buf text;
	size_t used;

	arena_init(&arena, 1 << 20);
	buf_init(&text, 1 << 20);
	if (smtp_path_parse(s, flags, &arena, &a, &used) == 0) {
		FUZZ_CHECK(used <= s.n);
		FUZZ_CHECK(a.address.n <= SMTP_LENIENT_MAX);
		FUZZ_CHECK(a.address.n == a.local.n + a.domain.n + (a.domain.n > 0));
		for (size_t i = 0; i < a.address.n; i++)
			FUZZ_CHECK(a.address.p[i] >= 32 && a.address.p[i] != 127);
		buf_addf(&text, "<%.*s>", SPAN_FMT(a.address));
		FUZZ_CHECK(smtp_path_parse(buf_span(&text), flags, &arena, &b, &used) == 0);
		FUZZ_CHECK(used == buf_len(&text));
		FUZZ_CHECK(span_eq(a.address, b.address));
		FUZZ_CHECK(span_eq(a.domain, b.domain));
	}
	smtp_mailbox_parse(s, flags, &arena, &a);
	smtp_domain_valid(s);
	smtp_literal_valid(s);
	buf_reset(&text);
	if (smtp_xtext_decode(s, &arena, &plain) == 0) {
		FUZZ_CHECK(plain.n <= s.n);
		FUZZ_CHECK(smtp_xtext_encode(plain, &text) == 0);
		FUZZ_CHECK(smtp_xtext_decode(buf_span(&text), &arena, &again) == 0);
		FUZZ_CHECK(span_eq(plain, again));
	}
	buf_done(&text);
	arena_done(&arena);
	return 0;
}
