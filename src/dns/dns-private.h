/*
 * dns/dns-private.h - reading the data of records.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_DNS_DNS_PRIVATE_H
#define POSTERN_DNS_DNS_PRIVATE_H

#include "dns/dns.h"

/*
 * Read RDATA (RFC 1035 3.3, names without compression, as libunbound gives them).
 * type     enum dns_type; of others nothing is read
 * Returns false when the data are not what the type wants; *r is then of no use.
 */
bool dns_record_read(int type, struct span rdata, struct dns_record *r);

#endif
