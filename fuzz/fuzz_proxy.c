/*
 * fuzz/fuzz_proxy.c - PROXY headers: what a whole one says does not depend on what is behind it,
 * and no part of it is taken for a whole one.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "fuzz/fuzz.h"

#include "smtp/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct smtp_proxy p, again;
	size_t used = 0, used_again = 0;
	int r = smtp_proxy_parse(span_of(data, size), &p, &used);

	if (r == 0)
		FUZZ_CHECK(size < SMTP_PROXY_V2_MAX);
	if (r != 1)
		return 0;
	FUZZ_CHECK(used > 0 && used <= size);
	FUZZ_CHECK(used <= (p.version == 1 ? SMTP_PROXY_V1_MAX : SMTP_PROXY_V2_MAX));
	FUZZ_CHECK(smtp_proxy_parse(span_of(data, used), &again, &used_again) == 1);
	FUZZ_CHECK(used_again == used && again.local == p.local);
	FUZZ_CHECK(p.local || (p.source.family && p.dest.family));
	FUZZ_CHECK(ip_eq(&p.source, &again.source) && p.source_port == again.source_port);
	FUZZ_CHECK(smtp_proxy_parse(span_of(data, used - 1), &again, &used_again) == 0);
	return 0;
}
