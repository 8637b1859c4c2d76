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
	CONFIG_TYPE_LIST,
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

/* lists.c: the keys of type LIST. */
void config_read_lists(struct yaml_errors *e, const struct yaml_node *root, struct config *cfg);

/* Letters, digits, hyphens, dots; not beginning or ending with a dot. */
bool config_domain_like(struct span s);

#endif
