/*
 * base/ip.c - see base/ip.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/ip.h"
#include "base/err.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static const uint8_t mapped_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static void set_v6(const uint8_t *octets, struct ip *ip_r)
{
	memset(ip_r, 0, sizeof(*ip_r));
	if (memcmp(octets, mapped_prefix, 12) == 0) {
		ip_r->family = 4;
		memcpy(ip_r->octets, octets + 12, 4);
	} else {
		ip_r->family = 6;
		memcpy(ip_r->octets, octets, 16);
	}
}

int ip_parse(struct span s, struct ip *ip_r)
{
	char text[IP_TEXT_MAX];
	uint8_t octets[16];

	if (s.n == 0 || s.n >= sizeof(text) || memchr(s.p, 0, s.n))
		return -ERR_SYNTAX;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	if (inet_pton(AF_INET, text, octets) == 1) {
		memset(ip_r, 0, sizeof(*ip_r));
		ip_r->family = 4;
		memcpy(ip_r->octets, octets, 4);
		return 0;
	}
	if (inet_pton(AF_INET6, text, octets) == 1) {
		set_v6(octets, ip_r);
		return 0;
	}
	return -ERR_SYNTAX;
}

static bool host_bits_zero(const struct ip_net *net)
{
	size_t octets = net->ip.family == 4 ? 4 : 16;

	for (size_t bit = net->prefix_bits; bit < octets * 8; bit++)
		if (net->ip.octets[bit / 8] & (0x80 >> (bit % 8)))
			return false;
	return true;
}

int ip_net_parse(struct span s, struct ip_net *net_r)
{
	struct ip_net net;
	ptrdiff_t slash = span_rfind(s, '/');
	struct span host = slash < 0 ? s : span_of(s.p, (size_t)slash);
	uint64_t bits;

	if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = span_of(host.p + 1, host.n - 2);
	if (ip_parse(host, &net.ip) < 0)
		return -ERR_SYNTAX;
	bits = net.ip.family == 4 ? 32 : 128;
	if (slash >= 0 && span_u64(span_skip(s, (size_t)slash + 1), bits, &bits) < 0)
		return -ERR_SYNTAX;
	net.prefix_bits = (uint8_t)bits;
	if (!host_bits_zero(&net))
		return -ERR_INVAL;
	*net_r = net;
	return 0;
}

bool ip_eq(const struct ip *a, const struct ip *b)
{
	return a->family == b->family && memcmp(a->octets, b->octets, a->family == 4 ? 4 : 16) == 0;
}

bool ip_net_has(const struct ip_net *net, const struct ip *ip)
{
	size_t whole = net->prefix_bits / 8;
	uint8_t rest = net->prefix_bits % 8, mask;

	if (net->ip.family != ip->family || memcmp(net->ip.octets, ip->octets, whole) != 0)
		return false;
	if (rest == 0)
		return true;
	mask = (uint8_t)(0xff << (8 - rest));
	return ((net->ip.octets[whole] ^ ip->octets[whole]) & mask) == 0;
}

void ip_text(const struct ip *ip, char *to)
{
	if (ip->family == 4)
		inet_ntop(AF_INET, ip->octets, to, IP_TEXT_MAX);
	else if (ip->family == 6)
		inet_ntop(AF_INET6, ip->octets, to, IP_TEXT_MAX);
	else
		memcpy(to, "unknown", sizeof("unknown"));
}

void ip_from_sockaddr(const struct sockaddr *sa, struct ip *ip_r, uint16_t *port_r)
{
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;

	memset(ip_r, 0, sizeof(*ip_r));
	if (port_r)
		*port_r = 0;
	if (sa->sa_family == AF_INET) {
		memcpy(&in4, sa, sizeof(in4));
		ip_r->family = 4;
		memcpy(ip_r->octets, &in4.sin_addr, 4);
		if (port_r)
			*port_r = ntohs(in4.sin_port);
	} else if (sa->sa_family == AF_INET6) {
		memcpy(&in6, sa, sizeof(in6));
		set_v6((const uint8_t *)&in6.sin6_addr, ip_r);
		if (port_r)
			*port_r = ntohs(in6.sin6_port);
	}
}

socklen_t ip_to_sockaddr(const struct ip *ip, uint16_t port, struct sockaddr_storage *sa_r)
{
	struct sockaddr_in in4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	memset(sa_r, 0, sizeof(*sa_r));
	if (ip->family == 4) {
		memcpy(&in4.sin_addr, ip->octets, 4);
		memcpy(sa_r, &in4, sizeof(in4));
		return sizeof(in4);
	}
	memcpy(&in6.sin6_addr, ip->octets, 16);
	memcpy(sa_r, &in6, sizeof(in6));
	return sizeof(in6);
}
