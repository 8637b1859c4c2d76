/*
 * yaml/read.c - libyaml's events into nodes.
 *
 * Events and not libyaml's own documents: those resolve aliases and forget where a key stood.
 * The stack of open containers is an array of YAML_DEPTH_MAX, so nesting costs no C stack.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "yaml/yaml.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/map.h"

#include <yaml.h>

struct level {
	struct yaml_node *node;
	struct yaml_node **tail; /* where the next child is hung */
	struct map keys;         /* of a mapping: keys seen, to refuse the second of a name */
	struct span key;         /* the key that waits for its value; p NULL: a key comes next */
	unsigned key_line;
	bool drop; /* the value of a key that was refused: read it, keep nothing */
};

struct reader {
	const char *file;
	struct arena *arena;
	struct yaml_errors *errors;
	struct yaml_node *root;
	struct level level[YAML_DEPTH_MAX];
	size_t depth;
	size_t nodes;
	size_t documents;
	bool nomem;
	bool stop; /* a limit: reading on makes no sense */
};

static unsigned line_of(const yaml_mark_t *m)
{
	return (unsigned)m->line + 1;
}

static struct level *top(struct reader *r)
{
	return r->depth > 0 ? &r->level[r->depth - 1] : NULL;
}

/* "server.listen[0].port" of a child that is about to be added. */
static const char *path_of(struct reader *r)
{
	struct level *l = top(r);

	if (!l)
		return "";
	if (l->node->kind == YAML_KIND_SEQUENCE)
		return arena_printf(r->arena, "%s[%zu]", l->node->path, l->node->count);
	if (!l->key.p)
		return l->node->path;
	return arena_printf(
	    r->arena, "%s%s%.*s", l->node->path, *l->node->path ? "." : "", SPAN_FMT(l->key));
}

static void refuse(struct reader *r, const yaml_event_t *ev, const char *what)
{
	yaml_error_at(
	    r->errors, r->file, line_of(&ev->start_mark), path_of(r), "%s not allowed here", what);
}

static struct yaml_node *add(struct reader *r, enum yaml_kind kind, const yaml_event_t *ev)
{
	struct level *l = top(r);
	struct yaml_node *n;
	const char *path = path_of(r);

	if (++r->nodes > YAML_NODES_MAX) {
		yaml_error_at(r->errors, r->file, line_of(&ev->start_mark), NULL,
		    "more than %d values in one file", YAML_NODES_MAX);
		r->stop = true;
		return NULL;
	}
	n = arena_zalloc(r->arena, sizeof(*n));
	if (!n || !path) {
		r->nomem = r->stop = true;
		return NULL;
	}
	n->kind = kind;
	n->line = line_of(&ev->start_mark);
	n->column = (unsigned)ev->start_mark.column + 1;
	n->file = r->file;
	n->path = path;
	if (!l) {
		r->root = n;
		return n;
	}
	if (l->node->kind == YAML_KIND_MAPPING) {
		n->key = (const char *)l->key.p;
		n->key_line = l->key_line;
		l->key = (struct span){ NULL, 0 };
	}
	if (l->drop) {
		l->drop = false;
		return n;
	}
	*l->tail = n;
	l->tail = &n->next;
	l->node->count++;
	return n;
}

static void take_key(struct reader *r, struct level *l, const yaml_event_t *ev)
{
	struct span text = span_of(ev->data.scalar.value, ev->data.scalar.length);
	struct span key = arena_span(r->arena, text);
	unsigned line = line_of(&ev->start_mark);

	if (!key.p) {
		r->nomem = r->stop = true;
		return;
	}
	l->key = key;
	l->key_line = line;
	l->drop = true;
	if (key.n == 0 || memchr(key.p, 0, key.n))
		refuse(r, ev, "an empty key or one with a NUL is");
	else if (span_eq(key, SPAN_LIT("<<")) && ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
		refuse(r, ev, "a merge key is");
	else if (map_get(&l->keys, key))
		yaml_error_at(r->errors, r->file, line, path_of(r), "this key is here twice");
	else
		l->drop = false;
	if (!l->drop && map_put(&l->keys, key, l) < 0)
		r->nomem = r->stop = true;
}

static void on_scalar(struct reader *r, const yaml_event_t *ev)
{
	struct level *l = top(r);
	struct yaml_node *n;
	struct span text = span_of(ev->data.scalar.value, ev->data.scalar.length);

	if (ev->data.scalar.anchor)
		refuse(r, ev, "an anchor is");
	if (ev->data.scalar.tag)
		refuse(r, ev, "a tag is");
	if (l && l->node->kind == YAML_KIND_MAPPING && !l->key.p) {
		take_key(r, l, ev);
		return;
	}
	if (text.n > 0 && memchr(text.p, 0, text.n)) {
		refuse(r, ev, "a NUL is");
		text.n = 0;
	}
	n = add(r, YAML_KIND_SCALAR, ev);
	if (!n)
		return;
	n->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	n->text = arena_span(r->arena, text);
	if (!n->text.p)
		r->nomem = r->stop = true;
}

static void on_open(struct reader *r, enum yaml_kind kind, const yaml_event_t *ev)
{
	struct level *l = top(r);
	struct yaml_node *n;
	bool anchor = kind == YAML_KIND_MAPPING ? ev->data.mapping_start.anchor
						: ev->data.sequence_start.anchor;
	bool tag =
	    kind == YAML_KIND_MAPPING ? ev->data.mapping_start.tag : ev->data.sequence_start.tag;

	if (anchor)
		refuse(r, ev, "an anchor is");
	if (tag)
		refuse(r, ev, "a tag is");
	if (r->depth == YAML_DEPTH_MAX) {
		yaml_error_at(r->errors, r->file, line_of(&ev->start_mark), NULL,
		    "nested deeper than %d", YAML_DEPTH_MAX);
		r->stop = true;
		return;
	}
	if (l && l->node->kind == YAML_KIND_MAPPING && !l->key.p) {
		/* What follows would be taken for keys of this one: nothing sensible comes after.
		 */
		refuse(r, ev, "a key that is a list or a mapping is");
		r->stop = true;
		return;
	}
	n = add(r, kind, ev);
	if (!n)
		return;
	l = &r->level[r->depth++];
	*l = (struct level){ .node = n, .tail = &n->first };
	map_init(&l->keys, false);
}

static void on_close(struct reader *r)
{
	struct level *l = top(r);

	map_done(&l->keys);
	r->depth--;
}

static void on_event(struct reader *r, const yaml_event_t *ev)
{
	switch (ev->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (++r->documents > 1) {
			yaml_error_at(r->errors, r->file, line_of(&ev->start_mark), NULL,
			    "a second document in one file");
			r->stop = true;
		}
		break;
	case YAML_ALIAS_EVENT: {
		/* Refused, but a value stands here: keep count of keys and values. */
		struct level *l = top(r);
		refuse(r, ev, "an alias is");
		if (l && l->node->kind == YAML_KIND_MAPPING && !l->key.p)
			r->stop = true;
		else
			add(r, YAML_KIND_SCALAR, ev);
		break;
	}
	case YAML_SCALAR_EVENT:
		on_scalar(r, ev);
		break;
	case YAML_SEQUENCE_START_EVENT:
		on_open(r, YAML_KIND_SEQUENCE, ev);
		break;
	case YAML_MAPPING_START_EVENT:
		on_open(r, YAML_KIND_MAPPING, ev);
		break;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		on_close(r);
		break;
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_STREAM_END_EVENT:
	case YAML_DOCUMENT_END_EVENT:
		break;
	}
}

static void syntax_error(struct reader *r, const yaml_parser_t *p)
{
	unsigned line = line_of(&p->problem_mark);

	if (p->error == YAML_MEMORY_ERROR) {
		r->nomem = true;
		return;
	}
	if (p->error == YAML_READER_ERROR)
		line = line_of(&p->mark);
	yaml_error_at(r->errors, r->file, line, NULL, "not YAML: %s%s%s",
	    p->problem ? p->problem : "?", p->context ? " " : "", p->context ? p->context : "");
}

static void pump(struct reader *r, yaml_parser_t *p)
{
	for (;;) {
		yaml_event_t ev;
		bool last;
		if (!yaml_parser_parse(p, &ev)) {
			syntax_error(r, p);
			return;
		}
		last = ev.type == YAML_STREAM_END_EVENT;
		on_event(r, &ev);
		yaml_event_delete(&ev);
		if (last || r->stop)
			return;
	}
}

int yaml_read(const char *file, struct span text, struct arena *arena, struct yaml_errors *errors,
    const struct yaml_node **root_r)
{
	struct reader r = { .arena = arena, .errors = errors };
	yaml_parser_t p;
	size_t before = errors->count;

	r.file = arena_str(arena, span_str(file));
	if (!r.file || !yaml_parser_initialize(&p)) {
		yaml_error_at(errors, file, 0, NULL, "out of memory");
		return -ERR_NOMEM;
	}
	yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&p, text.p ? text.p : (const uint8_t *)"", text.n);
	pump(&r, &p);
	yaml_parser_delete(&p);
	while (r.depth > 0)
		on_close(&r);
	if (!r.nomem && !r.root && errors->count == before) {
		r.root = arena_zalloc(arena, sizeof(*r.root));
		if (r.root)
			*r.root = (struct yaml_node){ .plain = true,
				.line = 1,
				.column = 1,
				.file = r.file,
				.path = "",
				.text = SPAN_LIT("") };
		else
			r.nomem = true;
	}
	if (r.nomem) {
		yaml_error_at(errors, file, 0, NULL, "out of memory");
		return -ERR_NOMEM;
	}
	if (errors->count > before)
		return -ERR_CONFIG;
	*root_r = r.root;
	return 0;
}

int yaml_read_file(const char *path, const char *name, struct arena *arena,
    struct yaml_errors *errors, const struct yaml_node **root_r)
{
	struct buf text;
	int r;

	if (!name)
		name = path;
	buf_init(&text, YAML_FILE_OCTETS_MAX);
	r = file_read(path, &text);
	if (r == -ERR_NOMEM)
		yaml_error_at(errors, name, 0, NULL, "larger than %u octets", YAML_FILE_OCTETS_MAX);
	else if (r < 0)
		yaml_error_at(errors, name, 0, NULL, "%s", err_text(r));
	else
		r = yaml_read(name, buf_span(&text), arena, errors, root_r);
	buf_done(&text);
	return r;
}
