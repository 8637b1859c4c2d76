/*
 * server/peer.c - who the client is: the connection's own word, PROXY, XCLIENT, XFORWARD, and which
 * keywords of EHLO it gets to see.
 *
 * Three steps of belief.  PROXY (a load balancer's header) replaces the connection's address
 * for everything.  XCLIENT replaces what PROXY or the connection said, for everything but the right
 * to say XCLIENT.  XFORWARD replaces nothing: it says where a message comes from, for the record.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "catalogue/reply_ids.h"
#include "net/tls.h"
#include "server/server-private.h"
#include "smtp/proxy.h"

#include <stdio.h>
#include <stdlib.h>

static const struct span no_key = { (const uint8_t *)"", 0 };

static void text_of(const struct ip *ip, char *to)
{
	if (ip->family)
		ip_text(ip, to);
	else
		snprintf(to, IP_TEXT_MAX, "unknown");
}

const char *peer_name(const struct session *s)
{
	return s->client_name ? s->client_name : "unknown";
}

/* The text of the client for replies and events: most sessions have a short one. */
static void name_client(struct session *s, const char *address)
{
	size_t n = strlen(peer_name(s)) + strlen(address) + 3;
	char *text = malloc(n);

	free(s->client_text);
	if (text)
		snprintf(text, n, "%s[%s]", peer_name(s), address);
	s->client_text = text;
	s->client = text ? text : "unknown[unknown]";
}

void peer_know(struct session *s)
{
	char address[IP_TEXT_MAX];

	facts_clear(&s->facts, FACT_SCOPE_CONNECTION);
	text_of(&s->client_ip, address);
	name_client(s, address);
	(void)facts_set(&s->facts, (struct fact_key){ FACT_client_address, no_key },
	    s->client_ip.family ? FACT_ANSWER : FACT_UNKNOWN, span_str(address));
	if (s->name_state != FACT_ABSENT)
		(void)facts_set(&s->facts, (struct fact_key){ FACT_client_name, no_key },
		    s->name_state, span_str(peer_name(s)));
	session_tls_facts(s);
}

void peer_connected(struct session *s)
{
	net_stream_peer(s->stream, &s->client_ip, &s->client_port);
	net_stream_local(s->stream, &s->dest_ip, &s->dest_port);
	s->peer_ip = s->client_ip;
	peer_know(s);
}

/* ---- PROXY ---- */

static void proxy_refused(struct session *s, const char *why)
{
	struct event ev = { .type = EVENT_PROXY_REFUSED,
		.session = span_str(s->id),
		.client = span_str(s->client),
		.text = span_str(why) };

	event_emit(s->worker->shared->events, &ev);
}

bool peer_may_connect(struct session *s)
{
	if (!s->listen->proxy.count)
		return true;
	if (!config_networks_have(&s->listen->proxy, &s->client_ip)) {
		proxy_refused(s, "this listener is for the load balancers in `proxy` only");
		return false;
	}
	s->phase = SESSION_PROXY;
	net_timer_set(s->timer, net_loop_now_ms(s->worker->loop) + SESSION_PROXY_MS);
	return true;
}

void peer_proxy_missing(struct session *s)
{
	proxy_refused(s, "no PROXY header came");
}

int peer_proxy(struct session *s, struct span octets, size_t *used_r)
{
	struct smtp_proxy p;
	int r = smtp_proxy_parse(octets, &p, used_r);

	if (r < 0)
		proxy_refused(s,
		    r == -ERR_PROTO ? "it sent something else than a PROXY header"
				    : "its PROXY header is malformed");
	if (r <= 0)
		return r;
	s->phase = SESSION_TALK;
	if (!p.local) {
		s->client_ip = s->peer_ip = p.source;
		s->client_port = p.source_port;
		s->dest_ip = p.dest;
		s->dest_port = p.dest_port;
	}
	peer_know(s);
	return 1;
}

/* ---- XCLIENT and XFORWARD ---- */

static void keep(char **to, struct span value)
{
	free(*to);
	*to = value.n ? strndup((const char *)value.p, value.n) : NULL;
}

/* Cut where no such thing is so long. */
static void copy(char *to, size_t n, struct span value)
{
	snprintf(to, n, "%.*s", SPAN_FMT(value));
}

/* Returns false when it is none. */
static bool read_address(const struct smtp_peer *peer, enum smtp_peer_attribute a, struct ip *to)
{
	const struct span v6 = SPAN_LIT("IPV6:");
	struct span value = peer->value[a];

	if (peer->state[a] != SMTP_PEER_VALUE) {
		*to = (struct ip){ .family = 0 };
		return true;
	}
	if (span_starts_nocase(value, v6))
		value = span_skip(value, v6.n);
	return ip_parse(value, to) == 0;
}

static void read_port(const struct smtp_peer *peer, enum smtp_peer_attribute a, uint16_t *to)
{
	uint64_t port = 0;

	if (peer->state[a] == SMTP_PEER_VALUE)
		(void)span_u64(peer->value[a], 65535, &port);
	*to = (uint16_t)port;
}

static void read_name(struct session *s, const struct smtp_peer *peer)
{
	switch (peer->state[SMTP_PEER_NAME]) {
	case SMTP_PEER_ABSENT:
		return;
	case SMTP_PEER_VALUE:
		keep(&s->client_name, peer->value[SMTP_PEER_NAME]);
		s->name_state = FACT_ANSWER;
		return;
	case SMTP_PEER_UNAVAILABLE:
		s->name_state = FACT_NONE;
		break;
	case SMTP_PEER_TEMPUNAVAIL:
		s->name_state = FACT_UNKNOWN;
		break;
	}
	keep(&s->client_name, SPAN_LIT(""));
}

static void emit_xclient(struct session *s, const char *before)
{
	struct event ev = { .type = EVENT_XCLIENT,
		.session = span_str(s->id),
		.client = span_str(s->client),
		.detail = span_str(before) };

	event_emit(s->worker->shared->events, &ev);
}

void peer_xclient(struct session *s, const struct smtp_peer *peer)
{
	char *before = strdup(s->client);
	struct ip ip;

	/* The old address has one session less; CONNECT, which follows, counts the new one. */
	if (s->counted)
		server_clients_leave(s->worker->shared->clients, &s->client_ip);
	s->counted = false;
	transaction_reset(s);
	peer_forward_reset(s);
	if (peer->state[SMTP_PEER_ADDR] != SMTP_PEER_ABSENT &&
	    read_address(peer, SMTP_PEER_ADDR, &ip))
		s->client_ip = ip;
	if (peer->state[SMTP_PEER_DESTADDR] != SMTP_PEER_ABSENT &&
	    read_address(peer, SMTP_PEER_DESTADDR, &ip))
		s->dest_ip = ip;
	if (peer->state[SMTP_PEER_PORT] != SMTP_PEER_ABSENT)
		read_port(peer, SMTP_PEER_PORT, &s->client_port);
	if (peer->state[SMTP_PEER_DESTPORT] != SMTP_PEER_ABSENT)
		read_port(peer, SMTP_PEER_DESTPORT, &s->dest_port);
	read_name(s, peer);
	keep(&s->login,
	    peer->state[SMTP_PEER_LOGIN] == SMTP_PEER_VALUE ? peer->value[SMTP_PEER_LOGIN]
							    : SPAN_LIT(""));
	peer_know(s);
	if (peer->state[SMTP_PEER_HELO] == SMTP_PEER_VALUE)
		(void)facts_set(&s->facts, (struct fact_key){ FACT_helo, no_key }, FACT_ANSWER,
		    peer->value[SMTP_PEER_HELO]);
	smtp_server_set_authenticated(s->smtp, s->login != NULL);
	emit_xclient(s, before);
	free(before);
}

void peer_forward_reset(struct session *s)
{
	free(s->forward);
	s->forward = NULL;
}

void peer_done(struct session *s)
{
	peer_forward_reset(s);
	free(s->client_name);
	free(s->client_text);
	free(s->login);
}

static void forward_value(
    const struct smtp_peer *peer, enum smtp_peer_attribute a, char *to, size_t n)
{
	if (peer->state[a] == SMTP_PEER_VALUE)
		copy(to, n, peer->value[a]);
	else if (peer->state[a] != SMTP_PEER_ABSENT)
		to[0] = '\0';
}

int peer_xforward(struct session *s, const struct smtp_peer *peer)
{
	struct forward *f = s->forward;

	if (!f && !(f = s->forward = calloc(1, sizeof(*f))))
		return REPLY_NO_RESOURCES;
	forward_value(peer, SMTP_PEER_NAME, f->name, sizeof(f->name));
	forward_value(peer, SMTP_PEER_ADDR, f->address, sizeof(f->address));
	forward_value(peer, SMTP_PEER_IDENT, f->ident, sizeof(f->ident));
	if (strncasecmp(f->address, "IPV6:", 5) == 0)
		memmove(f->address, f->address + 5, strlen(f->address + 5) + 1);
	snprintf(f->client, sizeof(f->client), "%s[%s]", f->name[0] ? f->name : "unknown",
	    f->address[0] ? f->address : "unknown");
	return REPLY_OK;
}

/* ---- keywords of EHLO ---- */

static unsigned bits_of(unsigned keywords)
{
	static const unsigned bits[] = {
#define X(id, name) [CONFIG_EHLO_##id] = SMTP_EXT_##id,
		CONFIG_EHLO_KEYWORDS(X)
#undef X
	};
	unsigned to = 0;

	for (unsigned i = 0; i < CONFIG_EHLO_COUNT; i++)
		if (keywords & 1u << i)
			to |= bits[i];
	return to;
}

void peer_extensions(struct session *s)
{
	const struct config *cfg = s->worker->cfg;
	unsigned on = s->extensions;

	if (s->listen->tls == CONFIG_TLS_STARTTLS)
		on |= SMTP_EXT_STARTTLS;
	if (s->listen->tls != CONFIG_TLS_NONE)
		on |= SMTP_EXT_REQUIRETLS;
	/* By the address before XCLIENT: it must not open or close its own door. */
	if (config_networks_have(&cfg->xclient_hosts, &s->peer_ip))
		on |= SMTP_EXT_XCLIENT;
	if (config_networks_have(&cfg->xforward_hosts, &s->peer_ip))
		on |= SMTP_EXT_XFORWARD;
	for (size_t i = 0; i < cfg->ehlo_discard_count; i++)
		if (config_networks_have(&cfg->ehlo_discards[i].networks, &s->client_ip))
			on &= ~bits_of(cfg->ehlo_discards[i].keywords);
	smtp_server_set_extensions(s->smtp, on);
}
