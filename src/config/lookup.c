/*
 * config/lookup.c - questions to a loaded configuration.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/idn.h"
#include "config/config-private.h"

/* A local part (RFC 5321 says 64 octets; some are longer) and a domain. */
#define ADDRESS_MAX (1024 + IDN_NAME_MAX)

/* The form in which the configuration keeps domains; one that is no name stays as it is. */
static struct span normal(struct span domain, char *to)
{
	int n = idn_to_ascii(domain, to);

	return n < 0 ? domain : span_of(to, (size_t)n);
}

const char *config_domain_class(const struct config *cfg, struct span domain)
{
	char name[IDN_NAME_MAX];

	domain = normal(domain, name);
	if (domain.n == 0 || map_get(&cfg->local_domains, domain))
		return "local";
	if (map_get(&cfg->relay_domains, domain))
		return "relay";
	/* The simulator's domain is one that we pass on, to ourselves. */
	if (cfg->lab &&
	    (span_eq_nocase(domain, span_str(cfg->lab_domain)) ||
		(domain.n > strlen(cfg->lab_domain) &&
		    span_ends_nocase(domain, span_str(cfg->lab_domain)) &&
		    domain.p[domain.n - strlen(cfg->lab_domain) - 1] == '.')))
		return "relay";
	return NULL;
}

bool config_recipient_listed(const struct config *cfg, struct span address)
{
	ptrdiff_t at = span_rfind(address, '@');
	struct span local = at < 0 ? address : span_of(address.p, (size_t)at);
	char name[IDN_NAME_MAX], whole[ADDRESS_MAX];
	struct span domain = normal(span_skip(address, local.n + 1), name);

	if (at > 0 && local.n + 1 + domain.n <= sizeof(whole)) {
		memcpy(whole, local.p, local.n);
		whole[local.n] = '@';
		memcpy(whole + local.n + 1, domain.p, domain.n);
		address = span_of(whole, local.n + 1 + domain.n);
	}
	return cfg->any_recipient || span_eq_nocase(local, SPAN_LIT("postmaster")) ||
	    map_get(&cfg->recipients, address);
}

const struct ip_net *config_in_mynetworks(const struct config *cfg, const struct ip *ip)
{
	for (size_t i = 0; i < cfg->mynetwork_count; i++)
		if (ip_net_has(&cfg->mynetworks[i], ip))
			return &cfg->mynetworks[i];
	return NULL;
}

static const struct config_route *by_domain(const struct map *routes, struct span domain)
{
	const struct config_route *r = map_get(routes, domain);

	/* ".example.org" for what is below it, the nearest first */
	for (ptrdiff_t dot; !r && (dot = span_find(domain, '.')) >= 0;) {
		domain = span_skip(domain, (size_t)dot);
		r = map_get(routes, domain);
		domain = span_skip(domain, 1);
	}
	return r;
}

/* An address with its domain in the form of the configuration; `to` holds ADDRESS_MAX octets. */
static struct span normal_address(struct span address, char *to)
{
	ptrdiff_t at = span_rfind(address, '@');
	size_t local = at < 0 ? 0 : (size_t)at + 1;
	char name[IDN_NAME_MAX];
	struct span domain = normal(span_skip(address, local), name);

	if (local + domain.n > ADDRESS_MAX)
		return address;
	memcpy(to, address.p, local);
	memcpy(to + local, domain.p, domain.n);
	return span_of(to, local + domain.n);
}

const struct config_route *config_route(
    const struct config *cfg, struct span address, struct span sender)
{
	char whole[ADDRESS_MAX], whole_sender[ADDRESS_MAX];
	const struct config_route *r = NULL;
	ptrdiff_t at;

	address = normal_address(address, whole);
	at = span_rfind(address, '@');
	if (at > 0)
		r = map_get(&cfg->routes, address);
	if (!r)
		r = by_domain(&cfg->routes, span_skip(address, (size_t)(at + 1)));
	if (!r && sender.n && cfg->sender_routes.count) {
		sender = normal_address(sender, whole_sender);
		at = span_rfind(sender, '@');
		r = map_get(&cfg->sender_routes, sender);
		if (!r && at >= 0)
			r = map_get(&cfg->sender_routes, span_skip(sender, (size_t)at));
	}
	return r ? r : map_get(&cfg->routes, SPAN_LIT("*"));
}
