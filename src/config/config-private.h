/*
 * config/config-private.h - rows of the schema, and the counted block behind a configuration.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_CONFIG_CONFIG_PRIVATE_H
#define POSTERN_CONFIG_CONFIG_PRIVATE_H

#include "config/config.h"
#include "yaml/yaml.h"

#include <stdatomic.h>
#include <stdio.h>

enum config_type {
	CONFIG_TYPE_STRING,
	CONFIG_TYPE_U32,
	CONFIG_TYPE_SIZE32,
	CONFIG_TYPE_SIZE64,
	CONFIG_TYPE_TIME32,
	CONFIG_TYPE_TIME64,
	CONFIG_TYPE_BOOL,
	CONFIG_TYPE_STYLE,
	/* read by code of their own */
	CONFIG_TYPE_LIST,
	CONFIG_TYPE_FILE,
	CONFIG_TYPE_CHOICE,
};

struct config_schema {
	const char *section, *key;
	enum config_type type;
	size_t offset;
	uint64_t min, max;
	const char *standard, *text;
};

struct config_counted {
	struct config cfg; /* first */
	_Atomic unsigned refs;
};

/* lists.c: the keys of type LIST; those of local mail and relay_domains. */
void config_read_local(struct yaml_errors *e, const struct yaml_node *root, struct config *cfg);
void config_read_lists(struct yaml_errors *e, const struct yaml_node *root, struct config *cfg);

/* peers.c; a NULL list leaves *to as it is. */
void config_read_networks(struct yaml_errors *e, const struct yaml_node *list, struct config *cfg,
    struct config_networks *to);
void config_read_peers(struct yaml_errors *e, const struct yaml_node *root, struct config *cfg);

/* tls.c: the section, before the listeners; then `tls` and `tls_required` of one of them. */
void config_read_tls(struct yaml_errors *e, const struct yaml_node *root, struct config *cfg);
void config_read_listen_tls(
    struct yaml_errors *e, const struct yaml_node *n, struct config *cfg, struct config_listen *l);
/* auth.c: the same of section `auth`. */
void config_read_auth(struct yaml_errors *e, const struct yaml_node *root, struct config *cfg);
void config_read_listen_auth(
    struct yaml_errors *e, const struct yaml_node *n, struct config *cfg, struct config_listen *l);
/* routes.c */
void config_read_routes(struct yaml_errors *e, const struct yaml_node *root, struct config *cfg);
void config_forget_passwords(struct config *cfg); /* before its memory is given back */

/* The domain behind `local` octets of an address in the form that look-ups use. */
struct span config_normal(struct config *cfg, struct span s, size_t local);

/* Letters, digits, hyphens, dots; not beginning or ending with a dot. */
bool config_domain_like(struct span s);

#endif
