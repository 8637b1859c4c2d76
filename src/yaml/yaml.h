/*
 * yaml/yaml.h - YAML documents as nodes that know where they stand, and strict scalars.
 *
 * One subset for the configuration and for the catalogue: mappings, sequences and scalars.
 * Duplicate keys, aliases, anchors, tags, merge keys and a second document are refused, so that
 * what a file says is what a reader of the file sees.  Every node keeps its file, line, column and
 * key path; every error is collected, not just the first, each as
 *
 *     postern.yaml:12: server.listen[0].port: "4x0" is not a number
 *
 * How a caller reads a file:
 *
 *     struct yaml_errors errors;
 *     const struct yaml_node *root;
 *     uint64_t max = 100;                                      // the default
 *
 *     yaml_errors_init(&errors);
 *     if (yaml_read_file("postern.yaml", "postern.yaml", &arena, &errors, &root) == 0) {
 *             const struct yaml_node *limits = yaml_get(root, "limits");
 *             yaml_check_keys(&errors, limits, (const char *const[]){ "rcpt_max", NULL });
 *             yaml_uint(&errors, yaml_get(limits, "rcpt_max"), 1, 10000, &max);
 *     }
 *     if (errors.count > 0)
 *             ... every errors.line[i], i < errors.kept
 *
 * Look-ups and readers take a NULL node as "not there": the look-up gives NULL, the reader leaves
 * the caller's default and returns 0.  So nothing needs an `if` but what is required, and for that
 * there is yaml_need().
 *
 * Not for octets of a peer: files of an operator only.  Still, no file can crash it or make it
 * grow without a limit.  No function here is called from two threads on the same errors or arena.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_YAML_YAML_H
#define POSTERN_YAML_YAML_H

#include "base/arena.h"
#include "base/span.h"

#define YAML_FILE_OCTETS_MAX (8u << 20) /* a table of ten thousand rows is a tenth of it */
#define YAML_DEPTH_MAX       24         /* our schemas need six */
#define YAML_NODES_MAX       400000
#define YAML_ERRORS_MAX      200 /* kept; the rest is counted */

enum yaml_kind { YAML_KIND_SCALAR, YAML_KIND_SEQUENCE, YAML_KIND_MAPPING };

/* One node.  It and all that it points to live in the arena of the read. */
struct yaml_node {
	enum yaml_kind kind;
	bool plain;            /* a scalar without quotes */
	unsigned line, column; /* from 1; of a value, where the value begins */
	const char *file;
	const char *path;        /* "server.listen[0].port"; "" for the top */
	const char *key;         /* the key that it is the value of; NULL elsewhere */
	unsigned key_line;       /* where that key stands */
	struct span text;        /* a scalar's text; a NUL follows it, and none is in it */
	struct yaml_node *first; /* children of a sequence or mapping, in the order of the file */
	struct yaml_node *next;  /* next sibling */
	size_t count;            /* number of children */
};

struct yaml_errors {
	struct arena memory;
	const char *line[YAML_ERRORS_MAX]; /* "FILE:LINE: KEY: text" */
	size_t kept;
	size_t count; /* all of them */
};

void yaml_errors_init(struct yaml_errors *e);
void yaml_errors_done(struct yaml_errors *e);

/* File an error at a node (its file, line and path).  The text is lower case without a full stop.
 */
void yaml_error(struct yaml_errors *e, const struct yaml_node *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same for a place that is no node.  key may be NULL; line 0 is left out. */
void yaml_error_at(struct yaml_errors *e, const char *file, unsigned line, const char *key,
    const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/*
 * Read one document.
 *
 * file    the name for messages; copied
 * text    the octets; not kept
 * arena   gets the nodes
 * errors  gets what is wrong: syntax (only the first, the parser stops there), and every duplicate
 *         key, anchor, alias, tag, merge key, key that is no scalar, second document, depth, size
 * root_r  the top; an empty file gives an empty scalar, see yaml_is_empty()
 * Returns 0, -ERR_CONFIG (see errors), -ERR_NOMEM (also filed as an error).
 */
int yaml_read(const char *file, struct span text, struct arena *arena, struct yaml_errors *errors,
    const struct yaml_node **root_r);

/*
 * The same from a file; `name` is what messages call it (NULL: the path itself).
 * Also -ERR_NOTFOUND, -ERR_ACCESS, -ERR_IO: filed as an error too.
 */
int yaml_read_file(const char *path, const char *name, struct arena *arena,
    struct yaml_errors *errors, const struct yaml_node **root_r);

/* Nothing stands there: an empty file, or a key with nothing behind its colon; NULL is empty. */
bool yaml_is_empty(const struct yaml_node *n);

/* The value of a key of a mapping, or NULL: no such key, no mapping, NULL. */
const struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);

/* The same, and an error is filed when it is not there or empty. */
const struct yaml_node *yaml_need(
    struct yaml_errors *e, const struct yaml_node *map, const char *key);

/* Is it a mapping (a sequence)?  An error is filed when not.  NULL and empty give false, no error.
 */
bool yaml_is_mapping(struct yaml_errors *e, const struct yaml_node *n);
bool yaml_is_sequence(struct yaml_errors *e, const struct yaml_node *n);

/*
 * File an error for every key of the mapping that is not among `names` (ends with NULL), with the
 * name that was probably meant.  Returns 0 or -ERR_CONFIG.
 */
int yaml_check_keys(struct yaml_errors *e, const struct yaml_node *map, const char *const *names);

/* Walk the children: for (n = yaml_first(seq); n; n = n->next).  NULL and scalars have none. */
static inline const struct yaml_node *yaml_first(const struct yaml_node *n)
{
	return n ? n->first : NULL;
}

/*
 * Strict scalars.  A NULL node leaves the value at *r alone and returns 0.  Otherwise 0 with *r
 * set, or -ERR_CONFIG with an error filed and *r untouched.
 */

/* Any scalar that is not empty; as C string in the node's arena. */
int yaml_string(struct yaml_errors *e, const struct yaml_node *n, const char **r);

/* The same; may be empty. */
int yaml_text(struct yaml_errors *e, const struct yaml_node *n, const char **r);

/* true, false, yes, no; nothing else (not on, not 1, no capitals). */
int yaml_bool(struct yaml_errors *e, const struct yaml_node *n, bool *r);

/* Decimal digits and nothing else, min..max. */
int yaml_uint(
    struct yaml_errors *e, const struct yaml_node *n, uint64_t min, uint64_t max, uint64_t *r);

/* The same into 32 bits. */
int yaml_uint32(
    struct yaml_errors *e, const struct yaml_node *n, uint32_t min, uint32_t max, uint32_t *r);

/*
 * A duration into milliseconds: numbers with units, large to small: "5m", "4d", "30s", "1h30m",
 * "250ms", "1w".  A bare "0" is the only number without a unit.  min..max in milliseconds.
 */
int yaml_duration(
    struct yaml_errors *e, const struct yaml_node *n, uint64_t min, uint64_t max, uint64_t *r);

/*
 * A size into octets: a number and perhaps a unit: "512", "10k", "64MiB", "2G".  k M G T (either
 * case, with or without "iB") are powers of 1024; "B" may follow a bare number.  min..max in
 * octets.
 */
int yaml_size(
    struct yaml_errors *e, const struct yaml_node *n, uint64_t min, uint64_t max, uint64_t *r);

/* One of `names` (ends with NULL); *r is its index.  The error lists them. */
int yaml_enum(
    struct yaml_errors *e, const struct yaml_node *n, const char *const *names, unsigned *r);

/* A sequence of strings that are not empty; *r ends with NULL and lives in `arena`. */
int yaml_strings(
    struct yaml_errors *e, const struct yaml_node *n, struct arena *arena, const char *const **r);

/*
 * "host:port": a name, an IPv4 address, an IPv6 address in brackets, or "*" for all addresses; the
 * port 1..65535.  default_port 0: the port must be there.  *host_r without brackets, in `arena`.
 */
int yaml_host_port(struct yaml_errors *e, const struct yaml_node *n, struct arena *arena,
    uint16_t default_port, const char **host_r, uint16_t *port_r);

/* The readers behind duration and size, for values that come from elsewhere (command lines).
 * 0, -ERR_SYNTAX, -ERR_RANGE (does not fit in 64 bits). */
int yaml_duration_parse(struct span s, uint64_t *ms_r);
int yaml_size_parse(struct span s, uint64_t *octets_r);

#endif
