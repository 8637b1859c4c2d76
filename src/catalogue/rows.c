/*
 * catalogue/rows.c - lists of rows: growing, from a directory, into tables.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "catalogue/rows-private.h"
#include "base/err.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define DIR_DEPTH_MAX 4 /* catalogue/replies/x.yaml needs two; a loop of links ends here */

static const struct {
	size_t octets;   /* of a row in its table */
	size_t in_table; /* where its table stands in struct cat_tables */
	size_t in_count;
} kinds[CAT_KIND_COUNT] = {
#define KIND(type, table)                                                                          \
	{                                                                                          \
		sizeof(struct type), offsetof(struct cat_tables, table),                           \
		    offsetof(struct cat_tables, table##_count)                                     \
	}
	KIND(cat_reply, replies),
	KIND(cat_failure, failures),
	KIND(cat_enhanced, enhanced),
	KIND(cat_basic, basics),
	KIND(cat_policy, policies),
	KIND(cat_digit, digits),
#undef KIND
};

void cat_rows_init(struct cat_rows *rows, struct arena *memory, struct yaml_errors *errors)
{
	*rows = (struct cat_rows){ .memory = memory, .errors = errors };
}

void cat_rows_done(struct cat_rows *rows)
{
	for (int k = 0; k < CAT_KIND_COUNT; k++)
		free(rows->of[k].row);
	*rows = (struct cat_rows){ .memory = rows->memory, .errors = rows->errors };
}

struct cat_row *cat_rows_new(struct cat_rows *rows, enum cat_kind kind)
{
	struct cat_rows_of *of = &rows->of[kind];
	struct cat_row *row;

	if (of->count == of->cap) {
		size_t cap = of->cap ? of->cap * 2 : 64;
		void *more = cap > CAT_ROWS_MAX * 2 ? NULL : realloc(of->row, cap * sizeof(*row));
		if (!more) {
			yaml_error_at(rows->errors, "catalogue", 0, NULL, "too many rows");
			return NULL;
		}
		of->row = more;
		of->cap = cap;
	}
	row = &of->row[of->count++];
	memset(row, 0, sizeof(*row));
	return row;
}

int cat_rows_add_tables(struct cat_rows *rows, const struct cat_tables *t)
{
	for (int k = 0; k < CAT_KIND_COUNT; k++) {
		const uint8_t *from;
		size_t count;
		memcpy(&from, (const uint8_t *)t + kinds[k].in_table, sizeof(from));
		memcpy(&count, (const uint8_t *)t + kinds[k].in_count, sizeof(count));
		for (size_t i = 0; i < count; i++) {
			struct cat_row *row = cat_rows_new(rows, (enum cat_kind)k);
			if (!row)
				return -ERR_NOMEM;
			memcpy(row, from + i * kinds[k].octets, kinds[k].octets);
			row->ours = true;
		}
	}
	rows->overlay = true;
	return 0;
}

static int is_visible(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

/* alphasort() asks the locale; the order of rows must not. */
static int by_octets(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void read_file(struct cat_rows *rows, const char *path, const char *name)
{
	const struct yaml_node *root;

	if (yaml_read_file(path, name, rows->memory, rows->errors, &root) == 0)
		cat_rows_read_node(rows, root);
}

static int read_dir(struct cat_rows *rows, const char *dir, const char *name,
    void (*seen)(void *arg, const char *path), void *arg, unsigned depth)
{
	struct dirent **list;
	int n = scandir(dir, &list, is_visible, by_octets);

	if (n < 0)
		return err_from_errno(errno);
	if (seen)
		seen(arg, dir);
	for (int i = 0; i < n; i++) {
		char path[PATH_MAX], named[PATH_MAX];
		size_t len = strlen(list[i]->d_name);
		struct stat st;
		if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name) <
			sizeof(path) &&
		    (size_t)snprintf(named, sizeof(named), "%s/%s", name, list[i]->d_name) <
			sizeof(named) &&
		    stat(path, &st) == 0) {
			if (S_ISDIR(st.st_mode) && depth < DIR_DEPTH_MAX)
				read_dir(rows, path, named, seen, arg, depth + 1);
			else if (S_ISREG(st.st_mode) && len > 5 &&
			    strcmp(list[i]->d_name + len - 5, ".yaml") == 0) {
				if (seen)
					seen(arg, path);
				read_file(rows, path, named);
			}
		}
		free(list[i]);
	}
	free(list);
	return 0;
}

int cat_rows_read_dir(struct cat_rows *rows, const char *dir, const char *name,
    void (*seen)(void *arg, const char *path), void *arg)
{
	return read_dir(rows, dir, name ? name : dir, seen, arg, 0);
}

static int by_code(const void *a, const void *b)
{
	/* failure, basic: the code is the first member. */
	uint16_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return (x > y) - (x < y);
}

static int by_enhanced(const void *a, const void *b)
{
	const struct cat_enhanced *x = a, *y = b;
	uint32_t i = (uint32_t)x->subject << 16 | x->detail,
		 j = (uint32_t)y->subject << 16 | y->detail;

	return (i > j) - (i < j);
}

static int by_policy(const void *a, const void *b)
{
	const struct cat_policy *x = a, *y = b;

	return strcmp(x->code, y->code);
}

static int by_id(const void *a, const void *b, void *arg)
{
	const struct cat_reply *replies = arg;

	return strcmp(replies[*(const uint16_t *)a].id, replies[*(const uint16_t *)b].id);
}

/* Lists that a row left out are empty, not NULL. */
static void fill_lists(struct cat_reply *r)
{
	static const char *const none[] = { NULL };

	if (!r->rfc)
		r->rfc = none;
	if (!r->postfix_lines)
		r->postfix_lines = none;
}

static void *flat(struct cat_rows *rows, enum cat_kind kind)
{
	const struct cat_rows_of *of = &rows->of[kind];
	uint8_t *table = arena_alloc(rows->memory, (of->count + 1) * kinds[kind].octets);

	for (size_t i = 0; table && i < of->count; i++)
		memcpy(table + i * kinds[kind].octets, &of->row[i], kinds[kind].octets);
	return table;
}

int cat_rows_tables(struct cat_rows *rows, struct cat_tables *t_r)
{
	static const char *const none[] = { NULL };
	struct cat_tables t = { .replies_count = rows->of[CAT_KIND_REPLY].count };
	struct cat_reply *replies = flat(rows, CAT_KIND_REPLY);
	struct cat_failure *failures = flat(rows, CAT_KIND_FAILURE);
	struct cat_enhanced *enhanced = flat(rows, CAT_KIND_ENHANCED);
	struct cat_basic *basics = flat(rows, CAT_KIND_BASIC);
	struct cat_policy *policies = flat(rows, CAT_KIND_POLICY);
	struct cat_digit *digits = flat(rows, CAT_KIND_DIGIT);
	uint16_t *ids = arena_alloc(rows->memory, (t.replies_count + 1) * sizeof(*ids));

	if (!replies || !failures || !enhanced || !basics || !policies || !digits || !ids)
		return -ERR_NOMEM;
	t.failures_count = rows->of[CAT_KIND_FAILURE].count;
	t.enhanced_count = rows->of[CAT_KIND_ENHANCED].count;
	t.basics_count = rows->of[CAT_KIND_BASIC].count;
	t.policies_count = rows->of[CAT_KIND_POLICY].count;
	t.digits_count = rows->of[CAT_KIND_DIGIT].count;
	for (size_t i = 0; i < t.replies_count; i++) {
		fill_lists(&replies[i]);
		ids[i] = (uint16_t)i;
	}
	for (size_t i = 0; i < t.enhanced_count; i++)
		if (!enhanced[i].reply_codes)
			enhanced[i].reply_codes = none;
	qsort_r(ids, t.replies_count, sizeof(*ids), by_id, replies);
	qsort(failures, t.failures_count, sizeof(*failures), by_code);
	qsort(enhanced, t.enhanced_count, sizeof(*enhanced), by_enhanced);
	qsort(basics, t.basics_count, sizeof(*basics), by_code);
	qsort(policies, t.policies_count, sizeof(*policies), by_policy);
	t.replies = replies;
	t.by_id = ids;
	t.failures = failures;
	t.enhanced = enhanced;
	t.basics = basics;
	t.policies = policies;
	t.digits = digits;
	*t_r = t;
	return 0;
}
