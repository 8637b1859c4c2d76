/*
 * deliver/lookup.c - from a domain to the addresses to try, RFC 5321 5.1.
 *
 * MX records by preference, shuffled among equals; no MX record: the domain itself
 * (implicit MX); a single "." record: null MX, RFC 7505.  Then each host's IPv4 and
 * IPv6 addresses.  "Could not find out" is never "does not exist".
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "base/random.h"
#include "deliver/deliver-private.h"

#include <stdio.h>
#include <stdlib.h>

/* MX hosts that are looked at; their addresses fill at most TARGETS_MAX. */
#define HOSTS_MAX 8

struct host {
	char name[DNS_NAME_MAX];
	uint16_t preference;
	uint32_t shuffle;
};

struct lookup {
	struct group *group;
	struct host hosts[HOSTS_MAX];
	size_t host_count, host_at;
	bool second_family;
	bool any_unknown; /* an address look-up could not find out */
	bool any_nxdomain;
	bool implicit;
	struct dns_query *query;
};

static void ask_address(struct lookup *l);

static void end(struct lookup *l)
{
	struct group *g = l->group;

	g->lookup = NULL;
	dns_cancel(&l->query);
	free(l);
}

static void fail(struct lookup *l, enum classify_trouble trouble, const char *text)
{
	struct group *g = l->group;

	end(l);
	group_trouble(g, trouble, CAT_STAGE_connect, text);
	group_done(g);
}

void lookup_cancel(struct group *g)
{
	if (g->lookup)
		end(g->lookup);
}

static int by_preference(const void *a, const void *b)
{
	const struct host *x = a, *y = b;

	if (x->preference != y->preference)
		return x->preference < y->preference ? -1 : 1;
	return x->shuffle < y->shuffle ? -1 : x->shuffle > y->shuffle;
}

static const char *say(struct lookup *l, const char *what, const char *why)
{
	const char *text = arena_printf(&l->group->work->arena, "%s: %s%s%s", l->group->route.host,
	    what, why ? ": " : "", why ? why : "");

	return text ? text : what;
}

static void all_known(struct lookup *l)
{
	struct group *g = l->group;

	if (g->target_count) {
		end(l);
		group_targets_ready(g);
	} else if (l->any_unknown) {
		fail(l, CLASSIFY_DNS_UNKNOWN,
		    say(l, "the address of its mail host could not be found out", NULL));
	} else if (l->implicit && l->any_nxdomain) {
		fail(l, CLASSIFY_DNS_NXDOMAIN, say(l, "the domain does not exist", NULL));
	} else {
		fail(l, CLASSIFY_DNS_NO_HOST, say(l, "no host of the domain has an address", NULL));
	}
}

static void add_target(struct group *g, const char *host, const struct ip *ip)
{
	struct target *t;

	if (g->target_count == TARGETS_MAX)
		return;
	t = &g->targets[g->target_count++];
	snprintf(t->host, sizeof(t->host), "%s", host);
	t->ip = *ip;
	t->port = g->route.port;
}

static void on_address(void *arg, const struct dns_answer *answer)
{
	struct lookup *l = arg;

	l->query = NULL;
	if (answer->state == DNS_UNKNOWN)
		l->any_unknown = true;
	if (answer->state == DNS_NXDOMAIN)
		l->any_nxdomain = true;
	for (size_t i = 0; i < answer->count; i++)
		add_target(l->group, l->hosts[l->host_at].name, &answer->records[i].ip);
	if (l->second_family)
		l->host_at++;
	l->second_family = !l->second_family;
	ask_address(l);
}

static void ask_address(struct lookup *l)
{
	struct group *g = l->group;
	bool v6;

	if (l->host_at == l->host_count || g->target_count == TARGETS_MAX) {
		all_known(l);
		return;
	}
	v6 = l->second_family != g->work->cfg->prefer_ipv6;
	if (dns_ask(g->work->agent->deps.resolver, l->hosts[l->host_at].name, v6 ? DNS_AAAA : DNS_A,
		on_address, l, &l->query) < 0) {
		static const struct dns_answer unknown = { .state = DNS_UNKNOWN };
		on_address(l, &unknown);
	}
}

static void add_host(struct lookup *l, const char *name, uint16_t preference)
{
	struct host *h;

	if (l->host_count == HOSTS_MAX)
		return;
	h = &l->hosts[l->host_count++];
	snprintf(h->name, sizeof(h->name), "%s", name);
	h->preference = preference;
	random_fill(&h->shuffle, sizeof(h->shuffle));
}

static void take_mx(struct lookup *l, const struct dns_answer *answer)
{
	struct host all[DNS_RECORDS_MAX];
	size_t n = answer->count;

	for (size_t i = 0; i < n; i++) {
		memcpy(all[i].name, answer->records[i].name, sizeof(all[i].name));
		all[i].preference = answer->records[i].preference;
		random_fill(&all[i].shuffle, sizeof(all[i].shuffle));
	}
	qsort(all, n, sizeof(all[0]), by_preference);
	for (size_t i = 0; i < n; i++) {
		/* Our own name in the list: what is behind it would loop back to us, RFC 5321 5.1.
		 */
		if (span_eq_nocase(span_str(all[i].name), span_str(l->group->work->cfg->hostname)))
			break;
		if (all[i].name[0])
			add_host(l, all[i].name, all[i].preference);
	}
}

static void on_mx(void *arg, const struct dns_answer *answer)
{
	struct lookup *l = arg;

	l->query = NULL;
	switch (answer->state) {
	case DNS_ANSWER:
		if (answer->count == 1 && answer->records[0].name[0] == '\0') {
			fail(l, CLASSIFY_DNS_NULL_MX,
			    say(l, "the domain says that it takes no mail (null MX)", NULL));
			return;
		}
		take_mx(l, answer);
		if (!l->host_count) {
			fail(l, CLASSIFY_LOCAL,
			    say(l, "mail for it loops back to this server (we are its best MX)",
				NULL));
			return;
		}
		break;
	case DNS_NXDOMAIN:
		fail(l, CLASSIFY_DNS_NXDOMAIN, say(l, "the domain does not exist", NULL));
		return;
	case DNS_NODATA:
		l->implicit = true;
		add_host(l, l->group->route.host, 0);
		break;
	case DNS_UNKNOWN:
		fail(l, CLASSIFY_DNS_UNKNOWN,
		    say(l, "its MX records could not be found out", answer->why));
		return;
	}
	ask_address(l);
}

void lookup_start(struct group *g)
{
	struct lookup *l;
	struct ip ip;

	if (g->route.kind == ROUTE_UNIX) {
		struct target *t = &g->targets[g->target_count++];
		snprintf(t->host, sizeof(t->host), "%s", g->route.options->path);
		t->path = g->route.options->path;
		group_targets_ready(g);
		return;
	}
	if (ip_parse(span_str(g->route.host), &ip) == 0) {
		add_target(g, g->route.host, &ip);
		group_targets_ready(g);
		return;
	}
	l = calloc(1, sizeof(*l));
	if (!l) {
		group_trouble(g, CLASSIFY_LOCAL, CAT_STAGE_connect, "out of memory");
		group_done(g);
		return;
	}
	l->group = g;
	g->lookup = l;
	if (g->route.kind == ROUTE_HOST) {
		add_host(l, g->route.host, 0);
		ask_address(l);
	} else {
		int r = dns_ask(
		    g->work->agent->deps.resolver, g->route.host, DNS_MX, on_mx, l, &l->query);
		/* That we could not ask says nothing of the domain: never a reason to give up. */
		if (r == -ERR_INVAL)
			fail(l, CLASSIFY_DNS_NXDOMAIN, say(l, "is not a domain name", NULL));
		else if (r < 0)
			fail(l, CLASSIFY_DNS_UNKNOWN,
			    say(l, "its MX records could not be asked for", err_text(r)));
	}
}
