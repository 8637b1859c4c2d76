/*
 * fuzz/fuzz_yaml.c - an operator's document: the reader, the scalars, the rows of a catalogue.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "fuzz/fuzz.h"

#include "catalogue/rows-private.h"
#include "yaml/yaml.h"

/* Every scalar through every reader; places are within the document. */
static void walk(struct yaml_errors *e, const struct yaml_node *n, struct arena *arena)
{
	const char *text = NULL;
	const char *const *list = NULL;
	uint64_t v = 0;
	uint16_t port = 0;
	bool b = false;

	FUZZ_CHECK(n->line > 0 && n->column > 0 && n->path && n->file);
	yaml_string(e, n, &text);
	yaml_uint(e, n, 1, 100, &v);
	yaml_duration(e, n, 0, UINT64_MAX, &v);
	yaml_size(e, n, 0, UINT64_MAX, &v);
	yaml_bool(e, n, &b);
	yaml_strings(e, n, arena, &list);
	yaml_host_port(e, n, arena, 25, &text, &port);
	for (const struct yaml_node *c = yaml_first(n); c; c = c->next)
		walk(e, c, arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena;
	struct yaml_errors errors;
	struct cat_rows rows;
	struct cat_tables tables;
	const struct yaml_node *root = NULL;
	int r;

	arena_init(&arena, 64 << 20);
	yaml_errors_init(&errors);
	cat_rows_init(&rows, &arena, &errors);
	r = yaml_read("fuzz.yaml", span_of(data, size), &arena, &errors, &root);
	FUZZ_CHECK((r == 0) == (errors.count == 0));
	FUZZ_CHECK((r == 0) == (root != NULL));
	if (r == 0) {
		const struct cat_tables *ours = catalogue_tables(catalogue_builtin());
		if (cat_rows_add_tables(&rows, ours) == 0) {
			cat_rows_read_node(&rows, root);
			cat_rows_check(&rows);
		}
		if (errors.count == 0 && cat_rows_tables(&rows, &tables) == 0)
			FUZZ_CHECK(tables.replies_count >= ours->replies_count);
		walk(&errors, root, &arena);
	}
	FUZZ_CHECK(errors.kept <= YAML_ERRORS_MAX);
	cat_rows_done(&rows);
	yaml_errors_done(&errors);
	arena_done(&arena);
	return 0;
}
