/*
 * fuzz/fuzz_params.c - parameters of MAIL and RCPT.  First octet: bit 0 the verb, bit 1 DSN.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "fuzz/fuzz.h"

#include "base/err.h"
#include "smtp/params.h"
#include "smtp/server.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span s = span_of(data, size), bad = { 0 };
	uint8_t how = fuzz_octet(&s);
	struct smtp_params p;
	struct arena arena;
	int reply = -1, rc;

	arena_init(&arena, 1 << 20);
	rc = smtp_params_parse(s, how & 1 ? SMTP_PARAMS_RCPT : SMTP_PARAMS_MAIL,
	    how & 2 ? SMTP_EXT_DSN : 0, &arena, &p, &reply, &bad);
	if (rc == -ERR_SYNTAX) {
		FUZZ_CHECK(reply >= 0 && bad.n > 0);
		FUZZ_CHECK(bad.p >= s.p && bad.p + bad.n <= s.p + s.n);
	} else if (rc == 0) {
		FUZZ_CHECK(!(p.notify & SMTP_NOTIFY_NEVER) || p.notify == SMTP_NOTIFY_NEVER);
		for (size_t i = 0; i < p.envid.n; i++)
			FUZZ_CHECK(p.envid.p[i] >= 32 && p.envid.p[i] < 127);
		for (size_t i = 0; i < p.orcpt.n; i++)
			FUZZ_CHECK(p.orcpt.p[i] >= 32 && p.orcpt.p[i] < 127);
		FUZZ_CHECK(p.orcpt.n == 0 || span_find(p.orcpt, ';') > 0);
	}
	arena_done(&arena);
	return 0;
}
