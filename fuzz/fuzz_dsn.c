/*
 * fuzz/fuzz_dsn.c - a notification about anything: never a crash, never a foreign header field.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/utf8.h"
#include "dsn/dsn.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Cut the input at zero octets into the parts that peers have a hand in. */
static struct span next(struct span *rest)
{
	ptrdiff_t at = span_find(*rest, 0);
	struct span part = at < 0 ? *rest : span_of(rest->p, (size_t)at);

	*rest = span_skip(*rest, part.n + 1);
	return part;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span rest = span_of(data, size);
	struct rcpt r = { .status = RCPT_FAILED };
	struct envelope env = { .id = 1 };
	struct dsn_rcpt d = { .rcpt = &r, .action = DSN_ACTION_FAILED, .status = { 5, 0, 0 } };
	struct dsn_request req = { .catalogue = catalogue_builtin(),
		.hostname = "mx.example.org",
		.id = 2,
		.now_ms = 784111777000,
		.env = &env,
		.rcpts = &d,
		.rcpt_count = 1 };
	struct buf out;

	r.address = next(&rest);
	r.orcpt = next(&rest);
	env.reverse_path = next(&rest);
	env.envid = next(&rest);
	env.helo = next(&rest);
	env.message_id = next(&rest);
	r.last.host = next(&rest);
	r.last.text = next(&rest);
	r.last.remote = r.last.text.n & 1;
	r.last.code = 550;
	/* An address beyond ASCII travels by SMTPUTF8 alone. */
	env.smtputf8 = (r.last.text.n & 4) != 0 || !ascii_valid(env.reverse_path);
	r.last.failure_code = r.last.text.n & 2 ? 2001 : 0;
	req.header = rest;
	if (rest.n & 1)
		req.whole = rest;
	buf_init(&out, 64u << 20);
	if (dsn_write(&req, &out) == 0) {
		/* Header and report are ours alone: every line before the original is printable
		 * ASCII. */
		struct span s = buf_span(&out);
		size_t ours = s.n - (req.whole.n ? req.whole.n : req.header.n);
		if (ours > s.n)
			abort();
		for (size_t i = 0; i < s.n; i++) {
			if (req.header.n && i + req.header.n <= s.n &&
			    memcmp(s.p + i, req.header.p, req.header.n) == 0)
				break;
			if (env.smtputf8 && s.p[i] > 0x7f) {
				size_t n = utf8_char_octets(span_skip(s, i));
				if (n == 0)
					abort();
				i += n - 1;
				continue;
			}
			if (s.p[i] != '\r' && s.p[i] != '\t' && s.p[i] != '\n' &&
			    (s.p[i] < 0x20 || s.p[i] > 0x7e))
				abort();
		}
	}
	buf_done(&out);
	return 0;
}
