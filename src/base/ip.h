/*
 * base/ip.h - IP addresses and networks.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_BASE_IP_H
#define POSTERN_BASE_IP_H

#include "base/span.h"

#include <sys/socket.h>

/* family 4 or 6, or 0 for none; IPv4 in the first 4 octets.  Mapped IPv4 is stored as IPv4. */
struct ip {
	uint8_t family;
	uint8_t octets[16];
};

struct ip_net {
	struct ip ip; /* bits behind the prefix are zero */
	uint8_t prefix_bits;
};

#define IP_TEXT_MAX 46

/* Parse without brackets or port.  Returns 0 or -ERR_SYNTAX. */
int ip_parse(struct span s, struct ip *ip_r);

/*
 * "192.0.2.0/24", "2001:db8::/32", Postfix's "[2001:db8::]/32", or an address alone.
 * Returns 0, -ERR_SYNTAX, or -ERR_INVAL when bits behind the prefix are set (as Postfix refuses).
 */
int ip_net_parse(struct span s, struct ip_net *net_r);

bool ip_eq(const struct ip *a, const struct ip *b);
bool ip_net_has(const struct ip_net *net, const struct ip *ip);

/* Text form; to holds IP_TEXT_MAX octets. */
void ip_text(const struct ip *ip, char *to);

/* From and to a socket address.  A family that is neither gives family 0. */
void ip_from_sockaddr(const struct sockaddr *sa, struct ip *ip_r, uint16_t *port_r);
socklen_t ip_to_sockaddr(const struct ip *ip, uint16_t port, struct sockaddr_storage *sa_r);

#endif
