/*
 * smtp/proxy.h - the header of the PROXY protocol, versions 1 and 2: whom a load balancer connects
 * for (HAProxy's proxy-protocol.txt).
 *
 * It comes before the first octet of SMTP or TLS, and only from peers that were told to send it:
 * anybody could claim any address with it.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_SMTP_PROXY_H
#define POSTERN_SMTP_PROXY_H

#include "base/ip.h"

/* Version 1 ends its line within 107 octets (its section 2.1); version 2 is a head of 16 octets,
 * addresses and TLVs, which with a client's certificate in them stay below this. */
#define SMTP_PROXY_V1_MAX 107
#define SMTP_PROXY_V2_MAX 4096

struct smtp_proxy {
	unsigned version;
	/* LOCAL, UNKNOWN, UNSPEC, a unix socket: no addresses, those of the connection count. */
	bool local;
	struct ip source, dest;
	uint16_t source_port, dest_port;
};

/*
 * Read a header at the start of `octets`.
 * Returns 1 with *p_r and *used_r (octets of the header), 0 when more octets are needed (never
 * more than SMTP_PROXY_V2_MAX in all), -ERR_PROTO (no header of this protocol), -ERR_SYNTAX (one,
 * but malformed), -ERR_LIMIT (too long), -ERR_VERSION, -ERR_UNSUPPORTED (not a stream).  Outputs
 * are set on 1 only.
 */
int smtp_proxy_parse(struct span octets, struct smtp_proxy *p_r, size_t *used_r);

#endif
