/*
 * tests/unit/test_yaml.c - src/yaml: what is refused, with file, line and key.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/buf.h"
#include "base/err.h"
#include "yaml/yaml.h"

struct reading {
	struct arena arena;
	struct yaml_errors errors;
	const struct yaml_node *root;
	int result;
};

static void reading_begin(struct reading *r, struct span text)
{
	arena_init(&r->arena, 64 << 20);
	yaml_errors_init(&r->errors);
	r->root = NULL;
	r->result = yaml_read("x.yaml", text, &r->arena, &r->errors, &r->root);
}

static void reading_end(struct reading *r)
{
	yaml_errors_done(&r->errors);
	arena_done(&r->arena);
}

static void structure_that_misleads_is_refused_with_its_place(void **state)
{
	static const struct {
		const char *name, *text, *error;
	} rows[] = {
		{ "duplicate key", "a: 1\nb: 2\na: 3\n", "x.yaml:3: a: this key is here twice" },
		{ "duplicate key below", "s:\n  p: 1\n  p: 2\n",
		    "x.yaml:3: s.p: this key is here twice" },
		{ "anchor", "a: &x 1\n", "x.yaml:1: a: an anchor is not allowed here" },
		{ "alias", "a: 1\nb: *x\n", "x.yaml:2: b: an alias is not allowed here" },
		{ "tag", "a: !!str 1\n", "x.yaml:1: a: a tag is not allowed here" },
		{ "tag on a list", "a: !t [1]\n", "x.yaml:1: a: a tag is not allowed here" },
		{ "merge key", "a: 1\n<<: 2\n", "x.yaml:2: <<: a merge key is not allowed here" },
		{ "second document", "a: 1\n---\nb: 2\n",
		    "x.yaml:2: a second document in one file" },
		{ "key that is a list", "? [a]\n: 1\n",
		    "x.yaml:1: a key that is a list or a mapping is not allowed here" },
		{ "empty key", "\"\": 1\n",
		    "x.yaml:1: an empty key or one with a NUL is not allowed here" },
		{ "NUL", "a: \"x\\0y\"\n", "x.yaml:1: a: a NUL is not allowed here" },
		{ "not closed", "a: [1\nb: 2\n", "x.yaml:2: not YAML: " },
		{ "tab", "a:\n\tb: 1\n", "x.yaml:2: not YAML: " },
		{ "too deep", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "x.yaml:1: nested deeper than 24" },
		{ "not UTF-8", "a: \"\xff\"\n", "x.yaml:1: not YAML: " },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct reading r;
		reading_begin(&r, span_str(rows[i].text));
		if (r.result != -ERR_CONFIG || r.errors.kept == 0 ||
		    strncmp(r.errors.line[0], rows[i].error, strlen(rows[i].error)) != 0)
			fail_msg("%s: %d, \"%s\"", rows[i].name, r.result,
			    r.errors.kept ? r.errors.line[0] : "no error");
		reading_end(&r);
	}
}

static void all_errors_of_a_file_are_reported_and_their_number_is_bounded(void **state)
{
	struct reading r;
	struct buf text;

	(void)state;
	reading_begin(&r, SPAN_LIT("a: &x 1\na: 2\nb: !!int 3\nc: *x\n"));
	assert_int_equal(r.errors.count, 4);
	reading_end(&r);
	buf_init(&text, 1 << 20);
	for (int i = 0; i < 1000; i++)
		buf_add_str(&text, "a: 1\n");
	reading_begin(&r, buf_span(&text));
	assert_int_equal(r.errors.count, 999);
	assert_int_equal(r.errors.kept, YAML_ERRORS_MAX);
	reading_end(&r);
	buf_done(&text);
}

static void nodes_keep_order_line_column_and_path(void **state)
{
	struct reading r;
	const struct yaml_node *n;

	(void)state;
	reading_begin(&r, SPAN_LIT("b: 1\nlist:\n  - port: 25\n  - port: 26\na: \"\"\n"));
	assert_int_equal(r.result, 0);
	assert_string_equal(yaml_first(r.root)->key, "b");
	n = yaml_get(yaml_first(yaml_get(r.root, "list"))->next, "port");
	assert_string_equal(n->path, "list[1].port");
	assert_int_equal(n->line, 4);
	assert_int_equal(n->column, 11);
	assert_string_equal(n->file, "x.yaml");
	assert_false(yaml_is_empty(yaml_get(r.root, "a")));
	reading_end(&r);
}

static void an_empty_file_is_empty_and_no_error(void **state)
{
	struct reading r;

	(void)state;
	reading_begin(&r, SPAN_LIT("# nothing\n"));
	assert_int_equal(r.result, 0);
	assert_true(yaml_is_empty(r.root));
	assert_null(yaml_get(r.root, "a"));
	assert_false(yaml_is_mapping(&r.errors, r.root));
	assert_int_equal(r.errors.count, 0);
	reading_end(&r);
}

/* Kinds of readers, for the table below. */
enum how { UINT, BOOL, DURATION, SIZE, ENUM, STRINGS, HOST, STRING };

static int read_one(struct reading *r, enum how how, uint64_t *v)
{
	static const char *const names[] = { "one", "two", NULL };
	const struct yaml_node *n = yaml_get(r->root, "k");
	const char *const *list = NULL;
	const char *text = NULL;
	bool b = false;
	unsigned e = 0;
	uint16_t port = 0;
	int result = 0;

	switch (how) {
	case UINT:
		return yaml_uint(&r->errors, n, 1, 100, v);
	case BOOL:
		result = yaml_bool(&r->errors, n, &b);
		*v = b;
		break;
	case DURATION:
		return yaml_duration(&r->errors, n, 0, 30 * 86400000ull, v);
	case SIZE:
		return yaml_size(&r->errors, n, 0, 1ull << 40, v);
	case ENUM:
		result = yaml_enum(&r->errors, n, names, &e);
		*v = e;
		break;
	case STRINGS:
		result = yaml_strings(&r->errors, n, &r->arena, &list);
		while (list && *list++)
			++*v;
		break;
	case HOST:
		result = yaml_host_port(&r->errors, n, &r->arena, 0, &text, &port);
		*v = port;
		break;
	case STRING:
		result = yaml_string(&r->errors, n, &text);
		*v = text ? strlen(text) : 0;
		break;
	}
	return result;
}

static void scalars_are_strict(void **state)
{
	static const struct {
		enum how how;
		const char *text;
		int64_t value; /* -1: refused */
	} rows[] = {
		{ UINT, "1", 1 },
		{ UINT, "100", 100 },
		{ UINT, "4x0", -1 },
		{ UINT, "101", -1 },
		{ UINT, "0", -1 },
		{ UINT, "0x10", -1 },
		{ UINT, "-1", -1 },
		{ UINT, "1.0", -1 },
		{ UINT, "\" 1\"", -1 },
		{ UINT, "99999999999999999999", -1 },
		{ UINT, "[1]", -1 },
		{ UINT, "", -1 },
		{ BOOL, "true", 1 },
		{ BOOL, "yes", 1 },
		{ BOOL, "false", 0 },
		{ BOOL, "no", 0 },
		{ BOOL, "on", -1 },
		{ BOOL, "True", -1 },
		{ BOOL, "1", -1 },
		{ DURATION, "5m", 300000 },
		{ DURATION, "4d", 345600000 },
		{ DURATION, "30s", 30000 },
		{ DURATION, "1h30m", 5400000 },
		{ DURATION, "250ms", 250 },
		{ DURATION, "0", 0 },
		{ DURATION, "5", -1 },
		{ DURATION, "5 m", -1 },
		{ DURATION, "30m1h", -1 },
		{ DURATION, "5m5m", -1 },
		{ DURATION, "m", -1 },
		{ DURATION, "5x", -1 },
		{ DURATION, "31d", -1 },
		{ DURATION, "99999999999999w", -1 },
		{ SIZE, "512", 512 },
		{ SIZE, "10k", 10240 },
		{ SIZE, "64MiB", 64 << 20 },
		{ SIZE, "2G", 2ll << 30 },
		{ SIZE, "5B", 5 },
		{ SIZE, "5MB", -1 },
		{ SIZE, "5kk", -1 },
		{ SIZE, "k", -1 },
		{ SIZE, "5 k", -1 },
		{ SIZE, "2T", -1 },
		{ SIZE, "99999999999999999T", -1 },
		{ ENUM, "two", 1 },
		{ ENUM, "three", -1 },
		{ ENUM, "Two", -1 },
		{ STRINGS, "[a, b]", 2 },
		{ STRINGS, "[]", 0 },
		{ STRINGS, "a", -1 },
		{ STRINGS, "[a, [b]]", -1 },
		{ STRINGS, "[a, \"\"]", -1 },
		{ HOST, "127.0.0.1:25", 25 },
		{ HOST, "\"[::1]:25\"", 25 },
		{ HOST, "\"*:587\"", 587 },
		{ HOST, "mx.example:465", 465 },
		{ HOST, "mx.example", -1 },
		{ HOST, "\"::1:25\"", -1 },
		{ HOST, "mx:0", -1 },
		{ HOST, "mx:65536", -1 },
		{ HOST, "\"mx:\"", -1 },
		{ HOST, "\":25\"", -1 },
		{ HOST, "\"[]:25\"", -1 },
		{ STRING, "abc", 3 },
		{ STRING, "\"\"", -1 },
		{ STRING, "{a: 1}", -1 },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct reading r;
		char text[128];
		uint64_t v = rows[i].how == STRINGS ? 0 : 77;
		int result;
		snprintf(text, sizeof(text), "x: 1\nk: %s\n", rows[i].text);
		reading_begin(&r, span_str(text));
		assert_int_equal(r.result, 0);
		result = read_one(&r, rows[i].how, &v);
		if (rows[i].value < 0) {
			if (result != -ERR_CONFIG || r.errors.count == 0 ||
			    strncmp(r.errors.line[0], "x.yaml:2: k", 11) != 0)
				fail_msg("\"%s\" was taken as %llu", rows[i].text,
				    (unsigned long long)v);
		} else if (result != 0 || v != (uint64_t)rows[i].value) {
			fail_msg(
			    "\"%s\" gave %d, %llu", rows[i].text, result, (unsigned long long)v);
		}
		reading_end(&r);
	}
}

static void unknown_and_missing_keys_are_named(void **state)
{
	static const char *const names[] = { "hostname", "port", NULL };
	struct reading r;
	uint64_t v = 7;

	(void)state;
	reading_begin(&r, SPAN_LIT("hostnam: a\nzzz: 1\nport:\n"));
	assert_int_equal(yaml_check_keys(&r.errors, r.root, names), -ERR_CONFIG);
	assert_string_equal(
	    r.errors.line[0], "x.yaml:1: hostnam: unknown key; did you mean \"hostname\"?");
	assert_string_equal(r.errors.line[1], "x.yaml:2: zzz: unknown key");
	assert_null(yaml_need(&r.errors, r.root, "hostname"));
	assert_string_equal(r.errors.line[2], "x.yaml:1: key \"hostname\" is missing");
	assert_null(yaml_need(&r.errors, r.root, "port"));
	assert_string_equal(r.errors.line[3], "x.yaml:3: port: is empty");
	assert_int_equal(yaml_uint(&r.errors, yaml_get(r.root, "none"), 0, 9, &v), 0);
	assert_int_equal(v, 7);
	reading_end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(structure_that_misleads_is_refused_with_its_place),
		cmocka_unit_test(all_errors_of_a_file_are_reported_and_their_number_is_bounded),
		cmocka_unit_test(nodes_keep_order_line_column_and_path),
		cmocka_unit_test(an_empty_file_is_empty_and_no_error),
		cmocka_unit_test(scalars_are_strict),
		cmocka_unit_test(unknown_and_missing_keys_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
