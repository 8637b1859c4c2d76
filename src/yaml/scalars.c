/*
 * yaml/scalars.c - look-ups and strict scalars.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "yaml/yaml.h"
#include "base/err.h"

bool yaml_is_empty(const struct yaml_node *n)
{
	return !n || (n->kind == YAML_KIND_SCALAR && n->plain && n->text.n == 0);
}

const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
	if (!map || map->kind != YAML_KIND_MAPPING)
		return NULL;
	for (const struct yaml_node *n = map->first; n; n = n->next)
		if (strcmp(n->key, key) == 0)
			return n;
	return NULL;
}

const struct yaml_node *yaml_need(
    struct yaml_errors *e, const struct yaml_node *map, const char *key)
{
	const struct yaml_node *n = yaml_get(map, key);

	if (!yaml_is_empty(n))
		return n;
	if (n)
		yaml_error(e, n, "is empty");
	else if (map)
		yaml_error_at(e, map->file, map->line, map->path, "key \"%s\" is missing", key);
	return NULL;
}

bool yaml_is_mapping(struct yaml_errors *e, const struct yaml_node *n)
{
	if (yaml_is_empty(n))
		return false;
	if (n->kind != YAML_KIND_MAPPING)
		yaml_error(e, n, "must be a mapping (\"key: value\" lines)");
	return n->kind == YAML_KIND_MAPPING;
}

bool yaml_is_sequence(struct yaml_errors *e, const struct yaml_node *n)
{
	if (yaml_is_empty(n))
		return false;
	if (n->kind != YAML_KIND_SEQUENCE)
		yaml_error(e, n, "must be a list (\"- value\" lines or [a, b])");
	return n->kind == YAML_KIND_SEQUENCE;
}

/* Edit distance, cut off at 3; names are short. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[33];
	size_t na = strlen(a), nb = strlen(b);

	if (na > 32 || nb > 32)
		return 3;
	for (unsigned j = 0; j <= nb; j++)
		row[j] = j;
	for (size_t i = 1; i <= na; i++) {
		unsigned diagonal = row[0];
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned best = diagonal + (a[i - 1] != b[j - 1]);
			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[nb];
}

int yaml_check_keys(struct yaml_errors *e, const struct yaml_node *map, const char *const *names)
{
	int r = 0;

	if (!map || map->kind != YAML_KIND_MAPPING)
		return 0;
	for (const struct yaml_node *n = map->first; n; n = n->next) {
		const char *near = NULL;
		unsigned best = 3;
		size_t i;
		for (i = 0; names[i] && strcmp(names[i], n->key) != 0; i++) {
			unsigned d = distance(names[i], n->key);
			if (d < best && d < strlen(n->key)) {
				best = d;
				near = names[i];
			}
		}
		if (names[i])
			continue;
		r = -ERR_CONFIG;
		if (near)
			yaml_error_at(e, n->file, n->key_line, n->path,
			    "unknown key; did you mean \"%s\"?", near);
		else
			yaml_error_at(e, n->file, n->key_line, n->path, "unknown key");
	}
	return r;
}

/* The scalar's text, or an error. */
static int scalar(struct yaml_errors *e, const struct yaml_node *n, struct span *s_r)
{
	if (n->kind != YAML_KIND_SCALAR) {
		yaml_error(e, n, "must be one value, not a %s",
		    n->kind == YAML_KIND_MAPPING ? "mapping" : "list");
		return -ERR_CONFIG;
	}
	if (n->text.n == 0) {
		yaml_error(e, n, "is empty");
		return -ERR_CONFIG;
	}
	*s_r = n->text;
	return 0;
}

int yaml_string(struct yaml_errors *e, const struct yaml_node *n, const char **r)
{
	struct span s;

	if (!n)
		return 0;
	if (scalar(e, n, &s) < 0)
		return -ERR_CONFIG;
	*r = (const char *)s.p;
	return 0;
}

int yaml_text(struct yaml_errors *e, const struct yaml_node *n, const char **r)
{
	if (!n)
		return 0;
	if (n->kind == YAML_KIND_SCALAR && n->text.n == 0) {
		*r = "";
		return 0;
	}
	return yaml_string(e, n, r);
}

int yaml_bool(struct yaml_errors *e, const struct yaml_node *n, bool *r)
{
	struct span s;

	if (!n)
		return 0;
	if (scalar(e, n, &s) < 0)
		return -ERR_CONFIG;
	if (span_eq(s, SPAN_LIT("true")) || span_eq(s, SPAN_LIT("yes")))
		*r = true;
	else if (span_eq(s, SPAN_LIT("false")) || span_eq(s, SPAN_LIT("no")))
		*r = false;
	else {
		yaml_error(e, n, "\"%.*s\" is not one of true, false, yes, no", SPAN_FMT(s));
		return -ERR_CONFIG;
	}
	return 0;
}

int yaml_uint(
    struct yaml_errors *e, const struct yaml_node *n, uint64_t min, uint64_t max, uint64_t *r)
{
	struct span s;
	uint64_t v;
	int got;

	if (!n)
		return 0;
	if (scalar(e, n, &s) < 0)
		return -ERR_CONFIG;
	got = span_u64(s, UINT64_MAX, &v);
	if (got == -ERR_SYNTAX) {
		yaml_error(e, n, "\"%.*s\" is not a number", SPAN_FMT(s));
		return -ERR_CONFIG;
	}
	if (got < 0 || v < min || v > max) {
		yaml_error(e, n, "%.*s is not within %llu to %llu", SPAN_FMT(s),
		    (unsigned long long)min, (unsigned long long)max);
		return -ERR_CONFIG;
	}
	*r = v;
	return 0;
}

int yaml_uint32(
    struct yaml_errors *e, const struct yaml_node *n, uint32_t min, uint32_t max, uint32_t *r)
{
	uint64_t v = *r;
	int got = yaml_uint(e, n, min, max, &v);

	if (got == 0)
		*r = (uint32_t)v;
	return got;
}

int yaml_enum(
    struct yaml_errors *e, const struct yaml_node *n, const char *const *names, unsigned *r)
{
	struct span s;
	char list[512] = "";
	size_t used = 0;

	if (!n)
		return 0;
	if (scalar(e, n, &s) < 0)
		return -ERR_CONFIG;
	for (unsigned i = 0; names[i]; i++) {
		size_t len = strlen(names[i]);
		if (span_eq(s, span_str(names[i]))) {
			*r = i;
			return 0;
		}
		if (used + len + 3 < sizeof(list)) {
			if (used > 0) {
				memcpy(list + used, ", ", 2);
				used += 2;
			}
			memcpy(list + used, names[i], len + 1);
			used += len;
		}
	}
	yaml_error(e, n, "\"%.*s\" is not one of %s", SPAN_FMT(s), list);
	return -ERR_CONFIG;
}

int yaml_strings(
    struct yaml_errors *e, const struct yaml_node *n, struct arena *arena, const char *const **r)
{
	const char **list;
	size_t i = 0;
	int bad = 0;

	if (!n)
		return 0;
	if (n->kind != YAML_KIND_SEQUENCE) {
		yaml_error(e, n, "must be a list (\"- value\" lines or [a, b])");
		return -ERR_CONFIG;
	}
	list = arena_zalloc(arena, (n->count + 1) * sizeof(*list));
	if (!list) {
		yaml_error(e, n, "out of memory");
		return -ERR_CONFIG;
	}
	for (const struct yaml_node *c = n->first; c; c = c->next)
		bad |= yaml_string(e, c, &list[i++]);
	if (bad)
		return -ERR_CONFIG;
	*r = list;
	return 0;
}

int yaml_host_port(struct yaml_errors *e, const struct yaml_node *n, struct arena *arena,
    uint16_t default_port, const char **host_r, uint16_t *port_r)
{
	struct span s, host;
	uint64_t port = default_port;
	ptrdiff_t colon, bracket = -1;
	const char *copy;

	if (!n)
		return 0;
	if (scalar(e, n, &s) < 0)
		return -ERR_CONFIG;
	if (s.p[0] == '[')
		bracket = span_find(s, ']');
	colon = span_rfind(s, ':');
	if (colon < bracket)
		colon = -1;
	host = colon >= 0 ? span_of(s.p, (size_t)colon) : s;
	if (bracket > 0 && host.n == (size_t)bracket + 1)
		host = span_of(s.p + 1, (size_t)bracket - 1);
	else if (span_find(host, ':') >= 0 || span_find(host, '[') >= 0 ||
	    span_find(host, ']') >= 0)
		host.n = 0;
	if (host.n == 0 || host.n > 255 || span_find(host, ' ') >= 0 || span_find(host, '/') >= 0 ||
	    (colon < 0 && default_port == 0) ||
	    (colon >= 0 &&
		(span_u64(span_skip(s, (size_t)colon + 1), 65535, &port) < 0 || port == 0))) {
		yaml_error(e, n, "\"%.*s\" is not HOST:PORT (an IPv6 address goes in brackets)",
		    SPAN_FMT(s));
		return -ERR_CONFIG;
	}
	copy = arena_str(arena, host);
	if (!copy) {
		yaml_error(e, n, "out of memory");
		return -ERR_CONFIG;
	}
	*host_r = copy;
	*port_r = (uint16_t)port;
	return 0;
}
