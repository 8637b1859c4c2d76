/*
 * config/auth.c - section `auth`, and what a listener says of it.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "config/config-private.h"

static const char *named(const char **value)
{
	if (*value && !(*value)[0])
		*value = NULL;
	return *value;
}

void config_read_auth(struct yaml_errors *e, const struct yaml_node *root, struct config *cfg)
{
	const struct yaml_node *auth = yaml_get(root, "auth");
	const struct yaml_node *table = yaml_get(auth, "password_file"),
			       *dovecot = yaml_get(auth, "dovecot_socket"), *source;

	if (named(&cfg->auth_password_file) && named(&cfg->auth_dovecot_socket))
		yaml_error(
		    e, dovecot, "there is auth.password_file already; one of the two is asked");
	(void)named(&cfg->auth_dovecot_socket);
	(void)named(&cfg->auth_mechanisms);
	source = cfg->auth_password_file ? table : dovecot;
	if (source)
		cfg->auth_place = arena_printf(
		    &cfg->arena, "%s:%u: %s", source->file, source->line, source->path);
}

void config_read_listen_auth(
    struct yaml_errors *e, const struct yaml_node *n, struct config *cfg, struct config_listen *l)
{
	static const char *const modes[] = { "none", "offered", "required", NULL };
	const struct yaml_node *auth = yaml_get(n, "auth"),
			       *clear = yaml_get(n, "auth_without_tls");
	bool have = cfg->auth_password_file || cfg->auth_dovecot_socket;
	unsigned mode = have && l->service == CONFIG_SERVICE_SUBMISSION ? CONFIG_AUTH_REQUIRED
									: CONFIG_AUTH_NONE;

	(void)yaml_enum(e, auth, modes, &mode);
	(void)yaml_bool(e, clear, &l->auth_without_tls);
	l->auth = (enum config_auth)mode;
	if (mode != CONFIG_AUTH_NONE && !have)
		yaml_error(e, auth, "there is neither auth.password_file nor auth.dovecot_socket");
	else if (mode != CONFIG_AUTH_NONE && l->tls == CONFIG_TLS_NONE && !l->auth_without_tls)
		yaml_error(e, auth ? auth : n,
		    "nobody could log in here: there is no TLS, and auth_without_tls is not true");
}
