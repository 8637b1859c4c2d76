/*
 * config/lookup.c - questions to a loaded configuration.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/idn.h"
#include "config/config-private.h"

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
	char name[IDN_NAME_MAX], whole[1024 + IDN_NAME_MAX];
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

static bool route_matches(struct span pattern, struct span domain)
{
	if (span_eq(pattern, SPAN_LIT("*")))
		return true;
	if (pattern.n && pattern.p[0] == '.')
		return domain.n > pattern.n && span_ends_nocase(domain, pattern);
	return span_eq_nocase(pattern, domain);
}

const struct config_route *config_route(const struct config *cfg, struct span domain)
{
	char name[IDN_NAME_MAX];

	domain = normal(domain, name);
	for (size_t i = 0; i < cfg->route_count; i++)
		if (route_matches(cfg->routes[i].domain, domain))
			return &cfg->routes[i];
	return NULL;
}
