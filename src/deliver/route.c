/*
 * deliver/route.c - where an address goes: a mailbox here, a route of the table, or the MX hosts.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "base/idn.h"
#include "deliver/deliver-private.h"
#include "tables/aliases.h"

#include <stdio.h>

/* Groups with the same key share connections: so all that makes one different is in it. */
static int site_key(struct work *w, struct route *r)
{
	const struct config_route *o = r->options;
	char own[16] = "";
	char *key;

	if (o && o->number)
		snprintf(own, sizeof(own), "#%u", o->number);
	if (r->kind == ROUTE_UNIX)
		key = arena_printf(&w->arena, "lmtp:unix:%s%s", o->path, own);
	else if (r->kind == ROUTE_MX)
		key = arena_printf(&w->arena, "mx:%s:%u%s%s", r->host, r->port, own,
		    r->require_tls ? "#requiretls" : "");
	else
		key = arena_printf(&w->arena, "%s:%s:%u%s%s%.*s", o && o->lmtp ? "lmtp" : "host",
		    r->host, r->port, own, r->require_tls ? "#requiretls" : "", SPAN_FMT(r->site));
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

static struct span domain_of(struct span address)
{
	ptrdiff_t at = span_rfind(address, '@');

	return at < 0 ? span_of(address.p, 0) : span_skip(address, (size_t)at + 1);
}

static bool is_local(const struct config *cfg, struct span domain)
{
	const char *class_ = config_domain_class(cfg, domain);

	return class_ && strcmp(class_, "local") == 0;
}

/* <postmaster>, or that of a domain of ours, has no mailbox of its own: the operator says whose. */
static bool is_postmaster(const struct config *cfg, struct span address)
{
	ptrdiff_t at = span_rfind(address, '@');

	return is_local(cfg, domain_of(address)) &&
	    (at < 0 || (at == 10 && span_starts_nocase(address, SPAN_LIT("postmaster@"))));
}

const char *route_transport(const struct route *route)
{
	if (route->kind == ROUTE_MAILDIR)
		return "virtual";
	if (route->kind == ROUTE_DISCARD)
		return "discard";
	if (route->kind == ROUTE_NOBODY)
		return "error";
	return route->options && route->options->lmtp ? "lmtp" : "smtp";
}

struct span route_final_address(const struct config *cfg, struct span address)
{
	return is_postmaster(cfg, address) ? span_str(cfg->postmaster) : address;
}

static int simulator(struct work *w, struct span domain, struct route *r)
{
	struct deliver_deps *deps = &w->agent->deps;

	r->host = "127.0.0.1";
	/* A name that asks for nothing known still goes there, and is told so at RCPT. */
	if (!deps->lab_port ||
	    (deps->lab_port(deps->lab_arg, domain, &r->port) < 0 &&
		deps->lab_port(deps->lab_arg, SPAN_LIT(""), &r->port) < 0))
		return -ERR_UNSUPPORTED;
	return 0;
}

static void by_row(const struct config_route *row, struct route *r)
{
	r->options = row;
	r->kind = row->path ? ROUTE_UNIX : row->mx ? ROUTE_MX : ROUTE_HOST;
	r->host = row->path ? row->path : row->host;
	r->port = row->port;
}

static void by_domain(struct work *w, struct span domain, struct route *r)
{
	if (domain.n > 2 && domain.p[0] == '[') {
		/* An address literal is its own host, RFC 5321 5.1. */
		struct span ip = span_of(domain.p + 1, domain.n - 2);
		if (span_starts_nocase(ip, SPAN_LIT("IPv6:")))
			ip = span_skip(ip, 5);
		r->host = arena_str(&w->arena, ip);
	} else {
		char name[IDN_NAME_MAX];
		int n = idn_to_ascii(domain, name);
		r->kind = ROUTE_MX;
		r->host = arena_str(&w->arena, n < 0 ? domain : span_of(name, (size_t)n));
	}
}

/*
 * Into a mailbox here, by file or LMTP.  RCPT has asked whether the address is listed; mail of
 * this machine's users, and what an alias stands for, has not come by RCPT, and must not vanish in
 * a mailbox that nobody reads.
 */
static int to_mailbox(struct work *w, struct span address, bool postmaster, struct route *route_r)
{
	struct route r = { .kind = ROUTE_MAILDIR, .site = SPAN_LIT("maildir") };

	if (w->cfg->local_delivery) {
		by_row(w->cfg->local_delivery, &r);
		if (site_key(w, &r) < 0)
			return -ERR_NOMEM;
	} else {
		/* user+extension has the mailbox of user, unless it has one of its own. */
		if (w->cfg->any_recipient || !config_recipient_listed(w->cfg, address))
			address = alias_bare(address, w->cfg->recipient_delimiter, &w->arena);
		if (!postmaster && !config_recipient_listed(w->cfg, address))
			r = (struct route){ .kind = ROUTE_NOBODY, .site = SPAN_LIT("nobody") };
		r.mailbox = arena_str(&w->arena, address);
		if (!r.mailbox)
			return -ERR_NOMEM;
	}
	*route_r = r;
	return 0;
}

int route_find(struct work *w, struct span address, struct route *route_r)
{
	const struct config *cfg = w->cfg;
	const struct config_route *row;
	struct route r = { .kind = ROUTE_HOST, .port = 25 };
	bool postmaster = is_postmaster(cfg, address);
	struct span domain;
	int err;

	address = route_final_address(cfg, address);
	domain = domain_of(address);
	/* A postmaster elsewhere goes there; one of ours, or of a domain that is nobody's, ends
	 * here. */
	if (is_local(cfg, domain) || (postmaster && !config_domain_class(cfg, domain)))
		return to_mailbox(w, address, postmaster, route_r);
	row = config_route(cfg, address, w->env.reverse_path);
	if (in_lab(cfg, domain) || (row && row->lab)) {
		err = simulator(w, domain, &r);
		if (err < 0)
			return err;
		/* A port of the simulator serves another domain later; a connection does not. */
		r.site = domain;
	} else if (row && row->discard) {
		route_r->kind = ROUTE_DISCARD;
		route_r->site = SPAN_LIT("discard");
		return 0;
	} else if (row) {
		by_row(row, &r);
	} else {
		by_domain(w, domain, &r);
	}
	/* LMTP is the end of the way, RFC 8689 speaks of relays. */
	r.require_tls = w->env.require_tls && !(r.options && r.options->lmtp);
	if (!r.host || site_key(w, &r) < 0)
		return -ERR_NOMEM;
	*route_r = r;
	return 0;
}
