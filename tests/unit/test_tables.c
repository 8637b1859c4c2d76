/*
 * tests/unit/test_tables.c - aliases: both forms of table, look-up, expansion, and its bounds.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/err.h"
#include "tables/alias-files.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct buf errors;

static void report(void *arg, const char *line)
{
	(void)arg;
	buf_addf(&errors, "%s\n", line);
}

static int include(void *arg, const char *path, struct buf *to)
{
	(void)arg;
	if (strcmp(path, "/lists/staff") != 0)
		return -ERR_NOTFOUND;
	return buf_add_str(to, "# the staff\nann, bob\n\ncarol@far.example\n");
}

static const struct alias_reader reader = { include, report, NULL };

static bool is_local(void *arg, struct span domain)
{
	(void)arg;
	return span_eq_nocase(domain, SPAN_LIT("example.test"));
}

static const struct alias_world world = { "+", "example.test", is_local, NULL };

static struct aliases *tables(const char *local, const char *virtual_)
{
	struct aliases *a;

	buf_init(&errors, 65536);
	assert_int_equal(aliases_new(&a), 0);
	assert_int_equal(aliases_add_local(a, span_str(local), "aliases", &reader), 0);
	assert_int_equal(aliases_add_virtual(a, span_str(virtual_), "virtual", &reader), 0);
	return a;
}

/* "a b" for the results; "error: where" */
static void expands(struct aliases *a, const char *address, const char *want)
{
	struct alias_results r;
	struct arena arena;
	struct buf out;
	int err;

	arena_init(&arena, 1u << 20);
	buf_init(&out, 65536);
	err = aliases_expand(a, &world, span_str(address), &arena, &r);
	if (err < 0)
		buf_addf(&out, "%s: %.*s", err_name(err), SPAN_FMT(r.where));
	for (size_t i = 0; err == 0 && i < r.count; i++) {
		buf_addf(&out, "%s%.*s", i ? " " : "", SPAN_FMT(r.list[i].address));
		if (r.list[i].owner.n)
			buf_addf(&out, "<%.*s", SPAN_FMT(r.list[i].owner));
	}
	assert_string_equal(buf_cstr(&out), want);
	buf_done(&out);
	arena_done(&arena);
}

static void names_stand_for_addresses(void **state)
{
	struct aliases *a = tables("# comment\n"
				   "root: ann\n"
				   "Postmaster: root, \"odd name\"@far.example\n"
				   "team: Ann Smith <ann@example.test> , bob (his name),\n"
				   "\tcarol@far.example\n"
				   "\"two words\": ann\n",
	    "");

	(void)state;
	assert_int_equal(aliases_count(a), 4);
	expands(a, "root@example.test", "ann@example.test");
	expands(a, "ROOT@EXAMPLE.test", "ann@example.test");
	expands(a, "root", "ann@example.test");
	expands(a, "root@far.example", "root@far.example");
	expands(a, "postmaster@example.test", "ann@example.test \"odd name\"@far.example");
	expands(a, "team@example.test", "ann@example.test bob@example.test carol@far.example");
	expands(a, "\"two words\"@example.test", "ann@example.test");
	expands(a, "Nobody@Example.TEST", "Nobody@Example.TEST");
	assert_true(aliases_have(a, &world, SPAN_LIT("root+x@example.test")));
	assert_false(aliases_have(a, &world, SPAN_LIT("ann@example.test")));
	aliases_unref(&a);
	buf_done(&errors);
}

static void lists_are_included_and_have_owners(void **state)
{
	struct aliases *a = tables("staff: :include:/lists/staff\nowner-staff: ann\n"
				   "all: staff, dave\n",
	    "");

	(void)state;
	expands(a, "staff@example.test",
	    "ann@example.test<owner-staff@example.test bob@example.test<owner-staff@example.test "
	    "carol@far.example<owner-staff@example.test");
	expands(a, "all@example.test",
	    "ann@example.test<owner-staff@example.test bob@example.test<owner-staff@example.test "
	    "carol@far.example<owner-staff@example.test dave@example.test");
	expands(a, "owner-staff@example.test", "ann@example.test");
	aliases_unref(&a);
	buf_done(&errors);
}

static void virtual_addresses_follow_their_order(void **state)
{
	struct aliases *a = tables("sales: ann\n",
	    "# virtual\n"
	    "info@shop.example   sales, eve@far.example\n"
	    "ann+list@shop.example special@far.example\n"
	    "ann@shop.example ann@far.example\n"
	    "@shop.example catch@far.example\n"
	    "@old.example @new.example\n"
	    "hero hero@far.example\n");

	(void)state;
	expands(a, "info@shop.example", "ann@example.test eve@far.example");
	expands(a, "ann+list@shop.example", "special@far.example");
	expands(a, "ann+x@shop.example", "ann+x@far.example");
	expands(a, "whoever@shop.example", "catch@far.example");
	expands(a, "whoever+x@SHOP.example", "catch@far.example");
	expands(a, "dora+x@old.example", "dora+x@new.example");
	expands(a, "hero@example.test", "hero@far.example");
	expands(a, "hero+y@example.test", "hero+y@far.example");
	expands(a, "hero@elsewhere.example", "hero@elsewhere.example");
	aliases_unref(&a);
	buf_done(&errors);
}

static void a_name_that_names_itself_is_a_mailbox(void **state)
{
	struct aliases *a = tables("ann: ann, copy@far.example\n"
				   "bob: \\bob, ann\n"
				   "x: y\ny: z\nz: x\n"
				   "v: v\n",
	    "v@example.test v@example.test w@far.example\n"
	    "p@shop.example q@shop.example\nq@shop.example p@shop.example\n");

	(void)state;
	expands(a, "ann@example.test", "ann@example.test copy@far.example");
	expands(a, "bob@example.test", "bob@example.test ann@example.test copy@far.example");
	expands(a, "x@example.test", "LOOP: x@example.test");
	expands(a, "p@shop.example", "LOOP: p@shop.example");
	expands(a, "v@example.test", "v@example.test w@far.example");
	aliases_unref(&a);
	buf_done(&errors);
}

static void growth_ends(void **state)
{
	struct aliases *a;
	struct buf many, deep;

	(void)state;
	buf_init(&many, 1u << 20);
	buf_init(&deep, 1u << 20);
	buf_add_str(&many, "all: u0");
	for (int i = 1; i <= ALIAS_RESULTS_MAX; i++)
		buf_addf(&many, ", u%d", i);
	buf_add_str(&many, "\nmost: u0");
	for (int i = 1; i < ALIAS_RESULTS_MAX; i++)
		buf_addf(&many, ", u%d", i);
	for (int i = 0; i < ALIAS_DEPTH_MAX + 1; i++)
		buf_addf(&deep, "d%d@shop.example d%d@shop.example\n", i, i + 1);
	a = tables(buf_cstr(&many), buf_cstr(&deep));
	expands(a, "all@example.test", "LIMIT: u1000@example.test");
	expands(a, "d0@shop.example", "LIMIT: d50@shop.example");
	expands(a, "d1@shop.example", "d51@shop.example");
	{
		struct alias_results r;
		struct arena arena;
		arena_init(&arena, 1u << 20);
		assert_int_equal(
		    aliases_expand(a, &world, SPAN_LIT("most@example.test"), &arena, &r), 0);
		assert_int_equal(r.count, ALIAS_RESULTS_MAX);
		arena_done(&arena);
	}
	buf_done(&many);
	buf_done(&deep);
	aliases_unref(&a);
	buf_done(&errors);
}

static void what_is_wrong_is_named_with_its_line(void **state)
{
	static const char text[] = "good: ann\n"
				   "prog: \"|/bin/cat\"\n"
				   "file: /var/mail/x\n"
				   "at@example.test: ann\n"
				   "no colon\n"
				   "empty:\n"
				   "list: :include:/lists/none\n"
				   "bad: a b\n"
				   "rel: :include:staff\n";
	struct aliases *a;

	(void)state;
	buf_init(&errors, 65536);
	assert_int_equal(aliases_new(&a), 0);
	assert_int_equal(
	    aliases_add_local(a, SPAN_LIT("  goes on\n"), "first", &reader), -ERR_CONFIG);
	assert_int_equal(aliases_add_local(a, span_str(text), "aliases", &reader), -ERR_CONFIG);
	assert_int_equal(
	    aliases_add_virtual(a, SPAN_LIT("a@b.example\n"), "virtual", &reader), -ERR_CONFIG);
	assert_string_equal(buf_cstr(&errors),
	    "first:1: a line that goes on, and none before it: \"goes on\"\n"
	    "aliases:2: an alias runs no program here: \"\"|/bin/cat\"\"\n"
	    "aliases:3: an alias writes no file here: \"/var/mail/x\"\n"
	    "aliases:4: not a name without a domain: \"at@example.test\"\n"
	    "aliases:5: a line is NAME: TARGET, TARGET: \"no colon\"\n"
	    "aliases:6: it stands for nothing: \"empty\"\n"
	    "aliases:7: the list cannot be read (not found): \"/lists/none\"\n"
	    "aliases:8: not an address: \"a b\"\n"
	    "aliases:9: a list is named by its whole path: \"staff\"\n"
	    "virtual:1: a line is ADDRESS TARGET, TARGET: \"a@b.example\"\n");
	aliases_unref(&a);
	buf_done(&errors);
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void files_are_read_again_and_bad_ones_change_nothing(void **state)
{
	char path[] = "/tmp/postern-test-aliases-XXXXXX";
	const char *const local[] = { path, NULL };
	struct alias_files_options o = { .local = local };
	struct alias_files *f = NULL;
	struct aliases *before, *after;

	(void)state;
	buf_init(&errors, 65536);
	close(mkstemp(path));
	put(path, "a: b\n");
	assert_int_equal(alias_files_new(&o, report, NULL, &f), 0);
	before = alias_files_get(f);
	put(path, "a: b\nc: d\n");
	assert_int_equal(alias_files_reload(f, report, NULL), 0);
	after = alias_files_get(f);
	assert_int_equal(aliases_count(before), 1);
	assert_int_equal(aliases_count(after), 2);
	aliases_unref(&before);
	aliases_unref(&after);
	put(path, "a: |b\n");
	assert_int_equal(alias_files_reload(f, report, NULL), -ERR_CONFIG);
	assert_true(buf_len(&errors) > 0);
	after = alias_files_get(f);
	assert_int_equal(aliases_count(after), 2);
	aliases_unref(&after);
	alias_files_free(&f);
	assert_int_equal(alias_files_new(&o, report, NULL, &f), -ERR_CONFIG);
	unlink(path);
	assert_int_equal(alias_files_new(&o, report, NULL, &f), -ERR_CONFIG);
	buf_done(&errors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_stand_for_addresses),
		cmocka_unit_test(lists_are_included_and_have_owners),
		cmocka_unit_test(virtual_addresses_follow_their_order),
		cmocka_unit_test(a_name_that_names_itself_is_a_mailbox),
		cmocka_unit_test(growth_ends),
		cmocka_unit_test(what_is_wrong_is_named_with_its_line),
		cmocka_unit_test(files_are_read_again_and_bad_ones_change_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
