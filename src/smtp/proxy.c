/*
 * smtp/proxy.c - see smtp/proxy.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "smtp/proxy.h"
#include "base/err.h"

#define V2_HEAD 16

static const struct span v1_begin = { (const uint8_t *)"PROXY ", 6 };
static const struct span v2_begin = { (const uint8_t *)"\r\n\r\n\0\r\nQUIT\n", 12 };

/* Does one begin like the other, as far as both go? */
static bool agree(struct span s, struct span with)
{
	return memcmp(s.p, with.p, s.n < with.n ? s.n : with.n) == 0;
}

/* ---- version 1: one line ---- */

/* The next word; words are parted by one space.  Empty when there is none. */
static struct span word(struct span *rest)
{
	ptrdiff_t space = span_find(*rest, ' ');
	struct span w = span_of(rest->p, space < 0 ? rest->n : (size_t)space);

	*rest = span_skip(*rest, space < 0 ? rest->n : (size_t)space + 1);
	return w;
}

static bool read_address(struct span *rest, bool v6, struct ip *ip_r)
{
	struct span w = word(rest);

	/* A mapped address is written as IPv6 and kept as IPv4: so look at the text. */
	return ip_parse(w, ip_r) == 0 && (span_find(w, ':') >= 0) == v6;
}

static bool read_port(struct span w, uint16_t *port_r)
{
	uint64_t port;

	if (w.n > 5 || (w.n > 1 && w.p[0] == '0') || span_u64(w, 65535, &port) < 0)
		return false;
	*port_r = (uint16_t)port;
	return true;
}

static int parse_line(struct span line, struct smtp_proxy *p)
{
	struct span family, rest = span_skip(line, v1_begin.n);
	bool v6;

	family = word(&rest);
	if (span_eq(family, SPAN_LIT("UNKNOWN"))) {
		p->local = true; /* whatever follows */
		return 1;
	}
	v6 = span_eq(family, SPAN_LIT("TCP6"));
	if (!v6 && !span_eq(family, SPAN_LIT("TCP4")))
		return -ERR_SYNTAX;
	if (!read_address(&rest, v6, &p->source) || !read_address(&rest, v6, &p->dest) ||
	    !read_port(word(&rest), &p->source_port) || !read_port(rest, &p->dest_port))
		return -ERR_SYNTAX;
	return 1;
}

static int parse_v1(struct span s, struct smtp_proxy *p, size_t *used_r)
{
	ptrdiff_t lf =
	    span_find(span_of(s.p, s.n < SMTP_PROXY_V1_MAX ? s.n : SMTP_PROXY_V1_MAX), '\n');

	p->version = 1;
	if (lf < 0)
		return s.n >= SMTP_PROXY_V1_MAX ? -ERR_LIMIT : 0;
	if (s.p[lf - 1] != '\r')
		return -ERR_SYNTAX;
	*used_r = (size_t)lf + 1;
	return parse_line(span_of(s.p, (size_t)lf - 1), p);
}

/* ---- version 2: a head, addresses, TLVs ---- */

static uint16_t number(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void read_addresses(const uint8_t *at, size_t octets, struct smtp_proxy *p)
{
	char text[IP_TEXT_MAX];

	p->source = p->dest = (struct ip){ .family = octets == 4 ? 4 : 6 };
	memcpy(p->source.octets, at, octets);
	memcpy(p->dest.octets, at + octets, octets);
	p->source_port = number(at + 2 * octets);
	p->dest_port = number(at + 2 * octets + 2);
	/* By way of the text, which knows how a mapped address is kept. */
	ip_text(&p->source, text);
	(void)ip_parse(span_str(text), &p->source);
	ip_text(&p->dest, text);
	(void)ip_parse(span_str(text), &p->dest);
}

static int parse_v2(struct span s, struct smtp_proxy *p, size_t *used_r)
{
	size_t n;
	uint8_t command, family;

	p->version = 2;
	if (s.n > 12 && s.p[12] >> 4 != 2)
		return -ERR_VERSION;
	if (s.n < V2_HEAD)
		return 0;
	command = s.p[12] & 15;
	family = s.p[13];
	n = number(s.p + 14);
	if (command > 1)
		return -ERR_SYNTAX;
	if (n > SMTP_PROXY_V2_MAX - V2_HEAD)
		return -ERR_LIMIT;
	if (s.n < V2_HEAD + n)
		return 0;
	*used_r = V2_HEAD + n;
	if (command == 0 || family == 0x00 || family == 0x31) {
		p->local = true; /* a health check; or a client without an address */
		return 1;
	}
	if (family != 0x11 && family != 0x21)
		return -ERR_UNSUPPORTED;
	if (n < (family == 0x11 ? 12u : 36u))
		return -ERR_SYNTAX;
	read_addresses(s.p + V2_HEAD, family == 0x11 ? 4 : 16, p);
	return 1;
}

int smtp_proxy_parse(struct span octets, struct smtp_proxy *p_r, size_t *used_r)
{
	struct smtp_proxy p = { 0 };
	size_t used = 0;
	int r;

	if (octets.n == 0)
		return 0;
	if (agree(octets, v1_begin))
		r = octets.n < v1_begin.n ? 0 : parse_v1(octets, &p, &used);
	else if (agree(octets, v2_begin))
		r = octets.n < v2_begin.n ? 0 : parse_v2(octets, &p, &used);
	else
		r = -ERR_PROTO;
	if (r > 0) {
		*p_r = p;
		*used_r = used;
	}
	return r;
}
