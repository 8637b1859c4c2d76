/*
 * config/load.c - from a YAML file to a struct config, by the rows of schema.def.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "config/config-private.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

/* A configuration with ten thousand recipients in it is a megabyte. */
#define CONFIG_OCTETS_MAX (64u << 20)

static const struct config_schema schema[] = {
#define ROW(section, key, type, member, min, max, standard, text)                                  \
	{ section, key, CONFIG_TYPE_##type, offsetof(struct config, member), min, max, standard,   \
		text },
#include "config/schema.def"
#undef ROW
};

#define SCHEMA_ROWS (sizeof(schema) / sizeof(schema[0]))

static const char *const type_names[] = { "string", "number", "size", "size", "duration",
	"duration", "true or false", "postfix or postern", "list", "file", "choice" };

const struct config_row *config_rows(void)
{
	static struct config_row rows[SCHEMA_ROWS + 1];
	static char keys[SCHEMA_ROWS][64];

	for (size_t i = 0; i < SCHEMA_ROWS && !rows[i].key; i++) {
		const char *dot = schema[i].section[0] ? "." : "";
		snprintf(keys[i], sizeof(keys[i]), "%s%s%s", schema[i].section, dot, schema[i].key);
		rows[i] = (struct config_row){ keys[i], type_names[schema[i].type],
			schema[i].standard, schema[i].text };
	}
	return rows;
}

static void store(struct config *cfg, const struct config_schema *row, uint64_t v, const char *s)
{
	void *to = (char *)cfg + row->offset;

	switch (row->type) {
	case CONFIG_TYPE_STRING:
		*(const char **)to = s;
		break;
	case CONFIG_TYPE_U32:
	case CONFIG_TYPE_SIZE32:
	case CONFIG_TYPE_TIME32:
		*(uint32_t *)to = (uint32_t)v;
		break;
	case CONFIG_TYPE_SIZE64:
		*(uint64_t *)to = v;
		break;
	case CONFIG_TYPE_TIME64:
		*(int64_t *)to = (int64_t)v;
		break;
	case CONFIG_TYPE_BOOL:
		*(bool *)to = v;
		break;
	case CONFIG_TYPE_STYLE:
		*(enum reply_style *)to = (enum reply_style)v;
		break;
	case CONFIG_TYPE_LIST:
	case CONFIG_TYPE_FILE:
	case CONFIG_TYPE_CHOICE:
		break;
	}
}

/* Read one plain value; the standard value is read by the same readers as the file's. */
static void read_row(struct yaml_errors *e, const struct config_schema *row,
    const struct yaml_node *n, struct config *cfg)
{
	static const char *const styles[] = { "postfix", "postern", NULL };
	uint64_t v = 0;
	uint32_t v32 = 0;
	unsigned index = 0;
	bool on = false;
	const char *s = NULL;
	int r = 0;

	if (!n)
		return; /* not in the file: the standard value stays */
	switch (row->type) {
	case CONFIG_TYPE_STRING:
		r = yaml_text(e, n, &s);
		if (r == 0)
			s = arena_str(&cfg->arena, span_str(s));
		break;
	case CONFIG_TYPE_U32:
		r = yaml_uint32(e, n, (uint32_t)row->min, (uint32_t)row->max, &v32);
		v = v32;
		break;
	case CONFIG_TYPE_SIZE32:
	case CONFIG_TYPE_SIZE64:
		r = yaml_size(e, n, row->min, row->max, &v);
		break;
	case CONFIG_TYPE_TIME32:
	case CONFIG_TYPE_TIME64:
		r = yaml_duration(e, n, row->min, row->max, &v);
		break;
	case CONFIG_TYPE_BOOL:
		r = yaml_bool(e, n, &on);
		v = on;
		break;
	case CONFIG_TYPE_STYLE:
		r = yaml_enum(e, n, styles, &index);
		v = index;
		break;
	case CONFIG_TYPE_LIST:
	case CONFIG_TYPE_FILE:
	case CONFIG_TYPE_CHOICE:
		return;
	}
	if (r == 0)
		store(cfg, row, v, s);
}

static void set_standards(struct yaml_errors *e, struct config *cfg)
{
	for (size_t i = 0; i < SCHEMA_ROWS; i++) {
		struct yaml_node n = { .kind = YAML_KIND_SCALAR,
			.plain = true,
			.file = "standard value",
			.path = schema[i].key };
		if (!schema[i].standard || schema[i].type >= CONFIG_TYPE_LIST)
			continue;
		n.text = span_str(schema[i].standard);
		read_row(e, &schema[i], &n, cfg);
	}
}

static void check_section(struct yaml_errors *e, const struct yaml_node *root, const char *section)
{
	const char *names[SCHEMA_ROWS + 1];
	const struct yaml_node *map = section[0] ? yaml_get(root, section) : root;
	size_t count = 0;

	if (!yaml_is_mapping(e, map))
		return;
	for (size_t i = 0; i < SCHEMA_ROWS; i++) {
		if (strcmp(schema[i].section, section) == 0)
			names[count++] = schema[i].key;
		else if (!section[0] &&
		    (count == 0 || strcmp(names[count - 1], schema[i].section) != 0))
			names[count++] = schema[i].section;
	}
	names[count] = NULL;
	yaml_check_keys(e, map, names);
}

static void read_rows(struct yaml_errors *e, const struct yaml_node *root, struct config *cfg)
{
	const char *section = "";

	check_section(e, root, "");
	for (size_t i = 0; i < SCHEMA_ROWS; i++) {
		const struct yaml_node *map = root;
		if (strcmp(schema[i].section, section) != 0) {
			section = schema[i].section;
			check_section(e, root, section);
		}
		if (section[0])
			map = yaml_get(root, section);
		if (schema[i].type < CONFIG_TYPE_LIST)
			read_row(e, &schema[i], yaml_get(map, schema[i].key), cfg);
	}
}

/* Two keys that must agree: one of them may stand on its standard, so name one that is written. */
static const struct yaml_node *written(
    const struct yaml_node *root, const char *section, const char *key, const char *other)
{
	const struct yaml_node *map = yaml_get(root, section), *at = yaml_get(map, key);

	if (!at)
		at = yaml_get(map, other);
	return at ? at : root;
}

static void check_together(struct yaml_errors *e, const struct yaml_node *root, struct config *cfg)
{
	if (yaml_need(e, root, "hostname") && cfg->hostname &&
	    !config_domain_like(span_str(cfg->hostname)))
		yaml_error(
		    e, yaml_get(root, "hostname"), "\"%s\" is not a domain name", cfg->hostname);
	if (cfg->error_hard_limit < cfg->error_soft_limit)
		yaml_error(e, written(root, "limits", "errors_hard", "errors_soft"),
		    "errors_hard (%u) is below errors_soft (%u)", cfg->error_hard_limit,
		    cfg->error_soft_limit);
	if (cfg->retry_max_ms < cfg->retry_first_ms)
		yaml_error(e, written(root, "delivery", "retry_max", "retry_first"),
		    "retry_max is below retry_first");
	if (cfg->spill_octets > cfg->segment_octets / 2)
		yaml_error(e, written(root, "spool", "spill_size", "segment_size"),
		    "spill_size (%u) is above half of segment_size (%u)", cfg->spill_octets,
		    cfg->segment_octets);
	if (cfg->workers == 0) {
		long cpus = sysconf(_SC_NPROCESSORS_ONLN);
		cfg->workers = cpus > 0 && cpus < 256 ? (unsigned)cpus : 1;
	}
	if (cfg->events_log && !cfg->events_log[0])
		cfg->events_log = NULL;
}

static void load_catalogue(struct yaml_errors *e, struct config *cfg)
{
	if (!cfg->catalogue_directory || !cfg->catalogue_directory[0]) {
		cfg->catalogue_directory = NULL;
		cfg->catalogue = catalogue_ref(catalogue_builtin());
		return;
	}
	/* Its errors go into the same list; a directory that is not there says so itself. */
	if (catalogue_load(cfg->catalogue_directory, e, &cfg->catalogue) == -ERR_NOTFOUND &&
	    !e->count)
		yaml_error_at(e, cfg->catalogue_directory, 0, NULL, "no such directory");
}

static int load(const char *file, bool plain, struct yaml_errors *errors, struct config **cfg_r)
{
	struct config_counted *c = calloc(1, sizeof(*c));
	const struct yaml_node *root;
	struct config *cfg;
	int r;

	if (!c)
		return -ERR_NOMEM;
	cfg = &c->cfg;
	atomic_init(&c->refs, 1);
	arena_init(&cfg->arena, CONFIG_OCTETS_MAX);
	map_init(&cfg->local_domains, true);
	map_init(&cfg->relay_domains, true);
	map_init(&cfg->recipients, true);
	map_init(&cfg->routes, true);
	map_init(&cfg->sender_routes, true);
	cfg->file = arena_str(&cfg->arena, span_str(file));
	set_standards(errors, cfg);
	r = yaml_read_file(file, NULL, &cfg->arena, errors, &root);
	if (r == 0) {
		if (yaml_is_empty(root))
			yaml_error_at(errors, file, 0, NULL, "the file is empty");
		yaml_is_mapping(errors, root);
		read_rows(errors, root, cfg);
		if (plain) {
			config_read_local(errors, root, cfg);
			cfg->catalogue = catalogue_ref(catalogue_builtin());
		} else {
			config_read_lists(errors, root, cfg);
			check_together(errors, root, cfg);
			load_catalogue(errors, cfg);
		}
		r = errors->count ? -ERR_CONFIG : 0;
	}
	if (r < 0) {
		config_unref(&cfg);
		return r;
	}
	*cfg_r = cfg;
	return 0;
}

int config_load(const char *file, struct yaml_errors *errors, struct config **cfg_r)
{
	return load(file, false, errors, cfg_r);
}

int config_load_plain(const char *file, struct yaml_errors *errors, struct config **cfg_r)
{
	return load(file, true, errors, cfg_r);
}

struct config *config_ref(struct config *cfg)
{
	atomic_fetch_add(&((struct config_counted *)cfg)->refs, 1);
	return cfg;
}

void config_unref(struct config **cfg)
{
	struct config_counted *c = (struct config_counted *)*cfg;

	*cfg = NULL;
	if (!c || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	map_done(&c->cfg.local_domains);
	map_done(&c->cfg.relay_domains);
	map_done(&c->cfg.recipients);
	config_forget_passwords(&c->cfg);
	map_done(&c->cfg.routes);
	map_done(&c->cfg.sender_routes);
	catalogue_unref(&c->cfg.catalogue);
	arena_done(&c->cfg.arena);
	free(c);
}
