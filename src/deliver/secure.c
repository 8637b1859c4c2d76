/*
 * deliver/secure.c - how a connection is encrypted, and what happens where it cannot be.
 *
 * `may` is opportunistic (RFC 7435): any certificate will do, and where the handshake
 * fails the message goes in clear, at once and for a while.  `encrypt` and `verify` put
 * the message off instead.  A message with REQUIRETLS is verified whatever the route says.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "deliver/delivery-private.h"

#include <stdio.h>

enum config_route_tls secure_level(const struct delivery *d)
{
	if (d->require_tls)
		return CONFIG_ROUTE_TLS_VERIFY;
	if (d->target.path)
		return CONFIG_ROUTE_TLS_NONE;
	return d->options ? d->options->tls : d->cfg->delivery_tls;
}

static struct clear_host *clear_place(struct deliver_agent *a, const struct target *t)
{
	uint64_t h = map_hash(span_of(t->ip.octets, sizeof(t->ip.octets)), false) ^ t->port;

	return &a->clear_hosts[h % CLEAR_HOSTS];
}

static bool is_clear_host(const struct delivery *d)
{
	const struct clear_host *c = clear_place(d->agent, &d->target);

	return ip_eq(&c->ip, &d->target.ip) && c->port == d->target.port &&
	    net_loop_now_ms(d->agent->deps.loop) < c->until_ms;
}

void secure_options(const struct delivery *d, struct smtp_client_options *o)
{
	enum config_route_tls level = secure_level(d);

	if (d->options && d->options->tls_implicit) {
		o->tls_active = true;
		o->tls_verified = level == CONFIG_ROUTE_TLS_VERIFY;
	} else if (level >= CONFIG_ROUTE_TLS_ENCRYPT) {
		o->tls = SMTP_CLIENT_TLS_REQUIRED;
	} else if (level == CONFIG_ROUTE_TLS_MAY && d->agent->deps.tls_client && !d->in_clear &&
	    !is_clear_host(d)) {
		o->tls = SMTP_CLIENT_TLS_OFFERED;
	}
}

/* The name that the certificate is asked for, when the host was reached by one. */
static const char *server_name(const struct delivery *d)
{
	struct ip ip;

	if (ip_parse(span_str(d->target.host), &ip) < 0)
		return d->target.host;
	return d->options && d->options->tls_names ? d->options->tls_names[0] : NULL;
}

int secure_begin(struct delivery *d)
{
	const char *own[] = { d->target.host, NULL };
	const char *const *verify =
	    d->options && d->options->tls_names ? d->options->tls_names : own;

	if (!d->agent->deps.tls_client) {
		snprintf(d->tls_why, sizeof(d->tls_why), "there is no TLS here");
		return -ERR_TLS;
	}
	if (secure_level(d) != CONFIG_ROUTE_TLS_VERIFY)
		verify = NULL;
	d->handshake = true;
	return net_stream_tls_connect(d->stream, d->agent->deps.tls_client, server_name(d), verify);
}

bool secure_is_verified(const struct delivery *d)
{
	const struct net_tls_info *info = d->stream ? net_stream_tls_info(d->stream) : NULL;

	return info && info->peer_verified;
}

void secure_done(struct delivery *d)
{
	const struct net_tls_info *info = net_stream_tls_info(d->stream);

	d->handshake = false;
	if (info)
		snprintf(d->tls, sizeof(d->tls), "%s %s, %s", info->version, info->cipher,
		    info->peer_verified ? "verified" : "not verified");
}

void secure_failed(struct delivery *d)
{
	const char *why = d->stream ? net_stream_tls_why(d->stream) : "";

	if (why && why[0])
		snprintf(d->tls_why, sizeof(d->tls_why), "%s", why);
}

bool secure_falls_back(struct delivery *d, const struct smtp_outcome *session)
{
	struct clear_host *c;
	struct event ev = { .type = EVENT_NOTICE,
		.host = span_str(d->target.host),
		.address = span_str(d->address),
		.detail = span_str(d->tls_why),
		.text = SPAN_LIT("TLS failed with a host; mail goes to it in clear for a while") };

	/* What came in clear behind the 220 is an attack or a broken server: no reason to give it
	 * the message in clear.  A handshake that failed is. */
	bool failed = session->err == -ERR_TLS ||
	    (session->stage == CAT_STAGE_starttls && d->handshake &&
		(session->err == -ERR_CLOSED || session->err == -ERR_TIMEOUT));

	if (!failed || d->in_clear || d->body_begun || secure_level(d) != CONFIG_ROUTE_TLS_MAY ||
	    session->stage == CAT_STAGE_auth)
		return false;
	if (!d->tls_why[0])
		ev.detail = span_str(err_text(session->err));
	c = clear_place(d->agent, &d->target);
	*c = (struct clear_host){ d->target.ip, d->target.port,
		net_loop_now_ms(d->agent->deps.loop) + d->cfg->tls_clear_ms };
	event_emit(d->agent->deps.events, &ev);
	return true;
}
