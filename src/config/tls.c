/*
 * config/tls.c - the section `tls`, and what a listener says of it.
 *
 * Files are only named here; whoever makes a context of them (daemon/tls.c) opens them.
 * So each keeps its place in the configuration.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "config/config-private.h"

static const char *place_of(struct config *cfg, const struct yaml_node *n)
{
	return n ? arena_printf(&cfg->arena, "%s:%u: %s", n->file, n->line, n->path) : NULL;
}

/* A file that is named and not empty. */
static bool read_file(struct yaml_errors *e, const struct yaml_node *n, struct config *cfg,
    struct config_file *file_r)
{
	const char *text = NULL;

	if (yaml_is_empty(n) || yaml_string(e, n, &text) < 0 || !text)
		return false;
	file_r->path = arena_str(&cfg->arena, span_str(text));
	file_r->place = place_of(cfg, n);
	return file_r->path != NULL;
}

static void read_pair(struct yaml_errors *e, const struct yaml_node *map, struct config *cfg)
{
	struct config_certificate *c = &cfg->tls.certificates[cfg->tls.certificate_count];
	const struct yaml_node *key = yaml_get(map, "key");

	if (!read_file(e, yaml_get(map, "certificate"), cfg, &c->chain)) {
		if (!yaml_is_empty(key))
			yaml_error(e, key, "a key without its certificate");
		return;
	}
	/* One file may hold both. */
	if (!read_file(e, key, cfg, &c->key))
		c->key = c->chain;
	cfg->tls.certificate_count++;
}

static void read_certificates(
    struct yaml_errors *e, const struct yaml_node *tls, struct config *cfg)
{
	static const char *const keys[] = { "certificate", "key", NULL };
	const struct yaml_node *list = yaml_get(tls, "certificates");

	cfg->tls.certificates = arena_zalloc(
	    &cfg->arena, ((list ? list->count : 0) + 1) * sizeof(*cfg->tls.certificates));
	if (!cfg->tls.certificates)
		return;
	read_pair(e, tls, cfg);
	if (!yaml_is_sequence(e, list))
		return;
	for (const struct yaml_node *n = yaml_first(list); n; n = n->next)
		if (yaml_is_mapping(e, n) && yaml_check_keys(e, n, keys) == 0 &&
		    yaml_need(e, n, "certificate"))
			read_pair(e, n, cfg);
}

void config_read_tls(struct yaml_errors *e, const struct yaml_node *root, struct config *cfg)
{
	static const char *const versions[] = { "1.0", "1.1", "1.2", "1.3", NULL };
	static const char *const asks[] = { "none", "ask", "require", NULL };
	const struct yaml_node *tls = yaml_get(root, "tls");
	const struct yaml_node *ask = yaml_get(tls, "client_certificates");
	unsigned version = 2, asked = 0;

	if (tls && !yaml_is_mapping(e, tls))
		return;
	(void)yaml_enum(e, yaml_get(tls, "min_version"), versions, &version);
	(void)yaml_enum(e, ask, asks, &asked);
	cfg->tls.min_version = 10 + version;
	cfg->tls.client_certificates = (enum config_tls_ask)asked;
	(void)read_file(e, yaml_get(tls, "client_ca_file"), cfg, &cfg->tls.client_ca);
	(void)read_file(e, yaml_get(tls, "ca_file"), cfg, &cfg->tls.ca);
	cfg->tls.ciphers_place = place_of(cfg, yaml_get(tls, "ciphers"));
	cfg->tls.ciphersuites_place = place_of(cfg, yaml_get(tls, "ciphersuites"));
	read_certificates(e, tls, cfg);
	if (asked && !cfg->tls.client_ca.path && asked == CONFIG_TLS_REQUIRE)
		yaml_error(e, ask,
		    "certificates are required, but there is no tls.client_ca_file "
		    "to verify them against");
}

void config_read_listen_tls(
    struct yaml_errors *e, const struct yaml_node *n, struct config *cfg, struct config_listen *l)
{
	static const char *const modes[] = { "none", "starttls", "implicit", NULL };
	const struct yaml_node *tls = yaml_get(n, "tls"), *required = yaml_get(n, "tls_required");
	bool have = cfg->tls.certificate_count > 0;
	unsigned mode = have ? CONFIG_TLS_STARTTLS : CONFIG_TLS_NONE;

	(void)yaml_enum(e, tls, modes, &mode);
	if (mode != CONFIG_TLS_NONE && !have)
		yaml_error(e, tls, "there is no tls.certificate");
	l->tls = (enum config_tls_mode)mode;
	/* Passwords travel there, and RFC 8314 3.3 wants users under TLS. */
	l->tls_required = l->service == CONFIG_SERVICE_SUBMISSION && mode != CONFIG_TLS_NONE;
	(void)yaml_bool(e, required, &l->tls_required);
	if (l->tls_required && mode == CONFIG_TLS_NONE)
		yaml_error(e, required, "TLS is required, but this listener has none");
}
