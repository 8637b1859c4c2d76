/*
 * deliver/route.c - where an address goes: a mailbox here, a static route, or the MX hosts.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "deliver/deliver-private.h"

static int site_key(struct work *w, struct route *r)
{
	char *key = r->kind == ROUTE_MX ? arena_printf(&w->arena, "mx:%s", r->host)
					: arena_printf(&w->arena, "host:%s:%u", r->host, r->port);

	r->site = span_str(key);
	return key ? 0 : -ERR_NOMEM;
}

static bool in_lab(const struct config *cfg, struct span domain)
{
	struct span lab = span_str(cfg->lab_domain);

	return cfg->lab &&
	    (span_eq_nocase(domain, lab) ||
		(domain.n > lab.n && span_ends_nocase(domain, lab) &&
		    domain.p[domain.n - lab.n - 1] == '.'));
}

int route_find(struct work *w, struct span address, struct route *route_r)
{
	const struct config *cfg = w->agent->cfg;
	const struct config_route *cr;
	ptrdiff_t at = span_rfind(address, '@');
	struct span domain = at < 0 ? span_of(address.p, 0) : span_skip(address, (size_t)at + 1);
	struct route r = { .kind = ROUTE_HOST, .port = 25 };
	const char *class_ = config_domain_class(cfg, domain);

	if (class_ && strcmp(class_, "local") == 0) {
		bool postmaster =
		    at < 0 || (at == 10 && span_starts_nocase(address, SPAN_LIT("postmaster@")));
		r.kind = ROUTE_MAILDIR;
		r.site = SPAN_LIT("maildir");
		r.mailbox = postmaster ? cfg->postmaster : arena_str(&w->arena, address);
		if (!r.mailbox)
			return -ERR_NOMEM;
		/* A postmaster elsewhere goes there; one of ours ends here. */
		ptrdiff_t other = span_rfind(span_str(r.mailbox), '@');
		struct span to = span_skip(span_str(r.mailbox), (size_t)(other + 1));
		if (!postmaster || !config_domain_class(cfg, to) ||
		    strcmp(config_domain_class(cfg, to), "local") == 0) {
			*route_r = r;
			return 0;
		}
		domain = to;
		r = (struct route){ .kind = ROUTE_HOST, .port = 25 };
	}
	cr = config_route(cfg, domain);
	if (in_lab(cfg, domain) || (cr && cr->lab)) {
		r.host = "127.0.0.1";
		/* A name that asks for nothing known still goes there, and is told so at RCPT. */
		if (!w->agent->deps.lab_port ||
		    (w->agent->deps.lab_port(w->agent->deps.lab_arg, domain, &r.port) < 0 &&
			w->agent->deps.lab_port(w->agent->deps.lab_arg, SPAN_LIT(""), &r.port) < 0))
			return -ERR_UNSUPPORTED;
	} else if (cr && cr->discard) {
		route_r->kind = ROUTE_DISCARD;
		route_r->site = SPAN_LIT("discard");
		return 0;
	} else if (cr) {
		r.kind = cr->mx ? ROUTE_MX : ROUTE_HOST;
		r.host = cr->host;
		r.port = cr->port;
	} else if (domain.n > 2 && domain.p[0] == '[') {
		/* An address literal is its own host, RFC 5321 5.1. */
		struct span ip = span_of(domain.p + 1, domain.n - 2);
		if (span_starts_nocase(ip, SPAN_LIT("IPv6:")))
			ip = span_skip(ip, 5);
		r.host = arena_str(&w->arena, ip);
	} else {
		r.kind = ROUTE_MX;
		r.host = arena_str(&w->arena, domain);
	}
	if (!r.host || site_key(w, &r) < 0)
		return -ERR_NOMEM;
	*route_r = r;
	return 0;
}
