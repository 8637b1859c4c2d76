/*
 * config/lists.c - listeners, networks, domains, recipients, restrictions.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "base/idn.h"
#include "config/config-private.h"

bool config_domain_like(struct span s)
{
	char name[IDN_NAME_MAX];
	int n = idn_to_ascii(s, name);

	if (n <= 0 || name[0] == '.' || name[n - 1] == '.')
		return false;
	for (int i = 0; i < n; i++) {
		uint8_t c = (uint8_t)name[i];
		if (!ascii_is_alpha(c) && !ascii_is_digit(c) && !memchr("-._", c, 3))
			return false;
	}
	return true;
}

static struct span copy(struct config *cfg, const char *s)
{
	return arena_span(&cfg->arena, span_str(s));
}

struct span config_normal(struct config *cfg, struct span s, size_t local)
{
	char name[IDN_NAME_MAX];
	int n = idn_to_ascii(span_skip(s, local), name);
	uint8_t *to;

	if (n < 0 || !(to = arena_alloc(&cfg->arena, local + (size_t)n + 1)))
		return s;
	memcpy(to, s.p, local);
	memcpy(to + local, name, (size_t)n + 1);
	return span_of(to, local + (size_t)n);
}

static void *array(struct config *cfg, const struct yaml_node *list, size_t extra, size_t size)
{
	return arena_zalloc(&cfg->arena, ((list ? list->count : 0) + extra) * size);
}

static void read_listen(struct yaml_errors *e, const struct yaml_node *root, struct config *cfg)
{
	static const char *const keys[] = { "address", "service", "tls", "tls_required", "auth",
		"auth_without_tls", "proxy", NULL };
	static const char *const services[] = { "mx", "submission", NULL };
	const struct yaml_node *list = yaml_need(e, root, "listen");

	if (!yaml_is_sequence(e, list) ||
	    !(cfg->listens = array(cfg, list, 1, sizeof(*cfg->listens))))
		return;
	for (const struct yaml_node *n = yaml_first(list); n; n = n->next) {
		struct config_listen *l = &cfg->listens[cfg->listen_count];
		const struct yaml_node *address;
		const char *text = NULL;
		struct span s, port;
		ptrdiff_t colon;
		uint64_t number;
		unsigned service = 0;
		if (!yaml_is_mapping(e, n) || yaml_check_keys(e, n, keys) < 0)
			continue;
		address = yaml_need(e, n, "address");
		if (yaml_enum(e, yaml_get(n, "service"), services, &service) < 0 ||
		    yaml_string(e, address, &text) < 0 || !text)
			continue;
		s = span_str(text);
		colon = span_rfind(s, ':');
		port = colon < 0 ? span_of(s.p, 0) : span_skip(s, (size_t)colon + 1);
		s.n = colon < 0 ? s.n : (size_t)colon;
		if (s.n > 2 && s.p[0] == '[' && s.p[s.n - 1] == ']')
			s = span_of(s.p + 1, s.n - 2);
		if (colon < 0 || ip_parse(s, &l->ip) < 0 || span_u64(port, 65535, &number) < 0) {
			yaml_error(e, address, "\"%s\" is not IP:PORT", text);
			continue;
		}
		l->port = (uint16_t)number;
		l->service = (enum config_service)service;
		config_read_listen_tls(e, n, cfg, l);
		config_read_listen_auth(e, n, cfg, l);
		config_read_networks(e, yaml_get(n, "proxy"), cfg, &l->proxy);
		l->place = arena_printf(&cfg->arena, "%s:%u", address->file, address->line);
		cfg->listen_count++;
	}
}

static void read_networks(struct yaml_errors *e, const struct yaml_node *root, struct config *cfg)
{
	static struct ip_net loopback[] = { { { 4, { 127 } }, 8 }, { { 6, { [15] = 1 } }, 128 } };
	const struct yaml_node *list = yaml_get(root, "mynetworks");
	struct config_networks networks = { loopback, 2 };

	if (list)
		networks = (struct config_networks){ NULL, 0 };
	config_read_networks(e, list, cfg, &networks);
	cfg->mynetworks = networks.nets;
	cfg->mynetwork_count = networks.count;
}

static void read_names(struct yaml_errors *e, const struct yaml_node *list, struct config *cfg,
    struct map *to, bool addresses)
{
	if (!yaml_is_sequence(e, list))
		return;
	for (const struct yaml_node *n = yaml_first(list); n; n = n->next) {
		const char *text = NULL;
		struct span s, domain;
		ptrdiff_t at;
		if (yaml_string(e, n, &text) < 0 || !text)
			continue;
		s = copy(cfg, text);
		at = span_rfind(s, '@');
		domain = addresses && at > 0 ? span_skip(s, (size_t)at + 1) : s;
		if (!s.p || (addresses && at <= 0) || !config_domain_like(domain))
			yaml_error(
			    e, n, "\"%s\" is not %s", text, addresses ? "an address" : "a domain");
		else if (map_get(to, s = config_normal(cfg, s, (size_t)(domain.p - s.p))))
			yaml_error(e, n, "\"%s\" is named twice", text);
		else if (map_put(to, s, (char *)(uintptr_t)s.p) < 0)
			yaml_error(e, n, "out of memory");
	}
}

void config_read_local(struct yaml_errors *e, const struct yaml_node *root, struct config *cfg)
{
	const struct yaml_node *local = yaml_get(root, "local");
	const struct yaml_node *rcpts = yaml_get(local, "recipients");

	read_names(e, yaml_get(local, "domains"), cfg, &cfg->local_domains, false);
	read_names(e, yaml_get(root, "relay_domains"), cfg, &cfg->relay_domains, false);
	if (!rcpts || (rcpts->kind == YAML_KIND_SCALAR && span_eq(rcpts->text, SPAN_LIT("any"))))
		cfg->any_recipient = true;
	else
		read_names(e, rcpts, cfg, &cfg->recipients, true);
	for (const struct yaml_node *n = yaml_first(yaml_get(local, "domains")); n; n = n->next)
		if (map_get(&cfg->relay_domains, n->text))
			yaml_error(e, n, "\"%.*s\" is in relay_domains too", SPAN_FMT(n->text));
	if (!cfg->submission_directory || !cfg->submission_directory[0])
		cfg->submission_directory =
		    arena_printf(&cfg->arena, "%s/maildrop", cfg->spool_directory);
	if (!cfg->alias_domain || !cfg->alias_domain[0]) {
		const struct yaml_node *first = yaml_first(yaml_get(local, "domains"));
		cfg->alias_domain =
		    first && first->text.n ? (const char *)first->text.p : cfg->hostname;
	}
	if (cfg->postmaster && !strchr(cfg->postmaster, '@')) {
		const struct yaml_node *first = yaml_first(yaml_get(local, "domains"));
		cfg->postmaster = arena_printf(&cfg->arena, "%s@%s", cfg->postmaster,
		    first && first->text.n ? (const char *)first->text.p : cfg->hostname);
	}
}

static void read_restrictions(
    struct yaml_errors *e, const struct yaml_node *root, struct config *cfg)
{
	static const char *const standard[] = { "permit_mynetworks", "permit_sasl_authenticated",
		"reject_unauth_destination" };
	const struct yaml_node *list = yaml_get(yaml_get(root, "restrictions"), "recipient");
	size_t count = 0;

	cfg->recipient_restrictions = array(cfg, list, 5, sizeof(char *));
	cfg->recipient_restriction_places = array(cfg, list, 5, sizeof(char *));
	if (!cfg->recipient_restrictions || !cfg->recipient_restriction_places)
		return;
	if (!list) {
		for (; count < 3; count++)
			cfg->recipient_restrictions[count] = standard[count];
	} else if (yaml_is_sequence(e, list)) {
		bool safe = false;
		for (const struct yaml_node *n = yaml_first(list); n; n = n->next) {
			const char *text = NULL;
			if (yaml_string(e, n, &text) < 0 || !text)
				continue;
			safe = safe || strcmp(text, "reject_unauth_destination") == 0 ||
			    strcmp(text, "reject") == 0 || strcmp(text, "defer") == 0;
			cfg->recipient_restriction_places[count] =
			    arena_printf(&cfg->arena, "%s:%u: %s", n->file, n->line, n->path);
			cfg->recipient_restrictions[count++] =
			    arena_str(&cfg->arena, span_str(text));
		}
		/* Postfix refuses to run such a list too. */
		if (!safe)
			yaml_error(e, list,
			    "names neither reject_unauth_destination nor reject nor defer: an open "
			    "relay");
	}
}

static void read_copies(struct yaml_errors *e, const struct yaml_node *list, struct config *cfg)
{
	static const char *const classes[] = { "bounce", "delay", "double_bounce", NULL };
	bool *const to[] = { &cfg->dsn_copy_bounce, &cfg->dsn_copy_delay,
		&cfg->dsn_copy_double_bounce };

	if (!yaml_is_sequence(e, list))
		return;
	for (const struct yaml_node *n = yaml_first(list); n; n = n->next) {
		unsigned which = 0;
		if (yaml_enum(e, n, classes, &which) == 0)
			*to[which] = true;
	}
}

static const char **read_strings(
    struct yaml_errors *e, const struct yaml_node *list, struct config *cfg)
{
	const char **to = array(cfg, list, 1, sizeof(char *));
	size_t count = 0;

	if (!to || !yaml_is_sequence(e, list))
		return to;
	for (const struct yaml_node *n = yaml_first(list); n; n = n->next) {
		const char *text = NULL;
		if (yaml_string(e, n, &text) == 0 && text)
			to[count++] = arena_str(&cfg->arena, span_str(text));
	}
	return to;
}

void config_read_lists(struct yaml_errors *e, const struct yaml_node *root, struct config *cfg)
{
	const struct yaml_node *dns = yaml_get(root, "dns"), *aliases = yaml_get(root, "aliases");

	config_read_tls(e, root, cfg);
	config_read_auth(e, root, cfg);
	config_read_peers(e, root, cfg);
	read_listen(e, root, cfg);
	read_networks(e, root, cfg);
	config_read_local(e, root, cfg);
	config_read_routes(e, root, cfg);
	read_restrictions(e, root, cfg);
	read_copies(e, yaml_get(yaml_get(root, "dsn"), "postmaster_copies"), cfg);
	cfg->alias_files = read_strings(e, yaml_get(aliases, "files"), cfg);
	cfg->alias_virtual = read_strings(e, yaml_get(aliases, "virtual"), cfg);
	cfg->dns_servers = read_strings(e, yaml_get(dns, "servers"), cfg);
	cfg->dns_stubs = read_strings(e, yaml_get(dns, "stubs"), cfg);
}
