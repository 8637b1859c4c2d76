/*
 * fuzz/fuzz_dns.c - any octets as the data of a record.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "dns/dns-private.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum dns_type types[] = { DNS_A, DNS_AAAA, DNS_MX, DNS_PTR, DNS_TXT };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct dns_record r;
		if (!dns_record_read(types[i], span_of(data, size), &r))
			continue;
		/* A name that is taken is a C string of printable octets. */
		if (!memchr(r.name, 0, sizeof(r.name)))
			abort();
		for (const char *c = r.name; *c; c++)
			if (*c <= 0x20 || *c >= 0x7f)
				abort();
	}
	return 0;
}
