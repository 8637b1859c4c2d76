/*
 * dns/record.c - the data of a record, as it came over the wire.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "dns/dns-private.h"

/* A domain name in wire form to text, lower case, labels' odd octets as '?'.  Octets used, 0: bad.
 */
static size_t name_text(const uint8_t *p, size_t n, char *to)
{
	size_t at = 0, len = 0;

	while (at < n && p[at]) {
		size_t label = p[at++];
		if (label > 63 || at + label > n || len + label + 1 >= DNS_NAME_MAX)
			return 0;
		if (len)
			to[len++] = '.';
		for (size_t i = 0; i < label; i++, at++)
			to[len++] = p[at] > 0x20 && p[at] < 0x7f && p[at] != '.'
			    ? (char)ascii_lower(p[at])
			    : '?';
	}
	if (at >= n)
		return 0;
	to[len] = '\0';
	return at + 1;
}

bool dns_record_read(int type, struct span rdata, struct dns_record *r)
{
	const uint8_t *p = rdata.p;
	size_t n = rdata.n;

	memset(r, 0, sizeof(*r));
	switch (type) {
	case DNS_A:
		r->ip.family = 4;
		memcpy(r->ip.octets, p, n == 4 ? 4 : 0);
		return n == 4;
	case DNS_AAAA:
		r->ip.family = 6;
		memcpy(r->ip.octets, p, n == 16 ? 16 : 0);
		return n == 16;
	case DNS_MX:
		if (n < 3)
			return false;
		r->preference = (uint16_t)(p[0] << 8 | p[1]);
		return name_text(p + 2, n - 2, r->name) > 0;
	case DNS_PTR:
		return name_text(p, n, r->name) > 0;
	default:
		return false;
	}
}
