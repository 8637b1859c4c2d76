/*
 * fuzz/fuzz_reply.c - replies, whole and in pieces: both read the same.  First octet: seed.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "fuzz/fuzz.h"

#include "base/buf.h"
#include "smtp/reply.h"

/* Everything that the parser says of the octets, as text. */
static void read_all(struct span s, uint32_t seed, bool pieces, struct buf *log)
{
	struct smtp_reply_parser p;
	const struct smtp_reply *r = NULL;
	int rc = 0;

	smtp_reply_parser_init(&p);
	while (s.n && rc >= 0) {
		size_t n = pieces ? fuzz_piece(&seed, s.n) : s.n, used;
		rc = smtp_reply_feed(&p, span_of(s.p, n), &used, &r);
		FUZZ_CHECK(used <= n);
		s = span_skip(s, used);
		if (rc > 0) {
			FUZZ_CHECK(r->code >= 200 && r->code <= 599 && r->lines > 0);
			FUZZ_CHECK(r->enhanced.class_ == 0 || r->enhanced.class_ == r->code / 100);
			FUZZ_CHECK(!smtp_reply_pending(&p));
			buf_addf(log, "%u %u.%u.%u %u ", r->code, r->enhanced.class_,
			    r->enhanced.subject, r->enhanced.detail, r->lines);
			buf_add_span(log, r->text);
			buf_add_char(log, '|');
			buf_add_span(log, r->raw);
			buf_add_char(log, '|');
		}
	}
	buf_addf(log, "%d", rc < 0 ? rc : 0);
	smtp_reply_parser_done(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span s = span_of(data, size);
	uint8_t seed = fuzz_octet(&s);
	struct buf whole, pieces, text;
	struct smtp_reply r;

	buf_init(&whole, 1 << 26);
	buf_init(&pieces, 1 << 26);
	buf_init(&text, 1 << 26);
	read_all(s, seed, false, &whole);
	read_all(s, seed, true, &pieces);
	FUZZ_CHECK(span_eq(buf_span(&whole), buf_span(&pieces)));
	if (smtp_reply_parse(s, &text, &r) == 0)
		FUZZ_CHECK(r.code >= 200 && r.code <= 599 && r.text.n <= s.n);
	buf_done(&whole);
	buf_done(&pieces);
	buf_done(&text);
	return 0;
}
