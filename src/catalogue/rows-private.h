/*
 * catalogue/rows-private.h - rows on their way from YAML to tables.
 *
 * The generator reads catalogue/ with this code, the program an operator's directory: whatever the
 * one refuses, the other refuses with the same words.
 *
 *   cat_rows_init -> (cat_rows_add_tables) -> cat_rows_read_dir -> cat_rows_check ->
 * cat_rows_tables
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_CATALOGUE_ROWS_PRIVATE_H
#define POSTERN_CATALOGUE_ROWS_PRIVATE_H

#include "catalogue/catalogue.h"
#include "yaml/yaml.h"

#define CAT_LINE_OCTETS_MAX 512   /* of a reply line with CRLF, RFC 5321 4.5.3.1.5 */
#define CAT_ROWS_MAX        20000 /* of a kind; reply numbers are 16 bits in the index */
#define CAT_MEMORY_MAX      (256u << 20)

/* What a snapshot is made of; the same shape compiled in and loaded.  All but replies (and digits)
 * are sorted by their code. */
struct cat_tables {
	const struct cat_reply *replies; /* in the order of the ids' numbers */
	size_t replies_count;
	const uint16_t *by_id; /* numbers of replies, sorted by id */
	const struct cat_failure *failures;
	size_t failures_count;
	const struct cat_enhanced *enhanced;
	size_t enhanced_count;
	const struct cat_basic *basics;
	size_t basics_count;
	const struct cat_policy *policies;
	size_t policies_count;
	const struct cat_digit *digits;
	size_t digits_count;
};

/* A row and the YAML that it came from (NULL: compiled in). */
struct cat_row {
	union {
		struct cat_reply reply;
		struct cat_failure failure;
		struct cat_enhanced enhanced;
		struct cat_basic basic;
		struct cat_policy policy;
		struct cat_digit digit;
	};
	const struct yaml_node *node;
	bool ours; /* compiled in, perhaps overridden */
};

enum cat_kind {
	CAT_KIND_REPLY,
	CAT_KIND_FAILURE,
	CAT_KIND_ENHANCED,
	CAT_KIND_BASIC,
	CAT_KIND_POLICY,
	CAT_KIND_DIGIT,
	CAT_KIND_COUNT
};

struct cat_rows_of {
	struct cat_row *row;
	size_t count, cap;
};

struct cat_rows {
	struct arena *memory; /* strings and lists of the rows */
	struct yaml_errors *errors;
	struct cat_rows_of of[CAT_KIND_COUNT];
	bool overlay; /* an operator's rows over ours: overriding is allowed */
};

/* memory and errors stay the caller's. */
void cat_rows_init(struct cat_rows *rows, struct arena *memory, struct yaml_errors *errors);
void cat_rows_done(struct cat_rows *rows);

/* Begin with compiled-in rows; what is read afterwards lies over them.  0 or -ERR_NOMEM. */
int cat_rows_add_tables(struct cat_rows *rows, const struct cat_tables *t);

/* A new row at the end, cleared; NULL without memory or at CAT_ROWS_MAX (filed as an error). */
struct cat_row *cat_rows_new(struct cat_rows *rows, enum cat_kind kind);

/*
 * Read every *.yaml below dir in order of name; messages call them name/... (NULL: dir/...).
 * seen (may be NULL) is told every file and directory that was read.
 * 0; errors are filed; -ERR_NOTFOUND when dir is none.
 */
int cat_rows_read_dir(struct cat_rows *rows, const char *dir, const char *name,
    void (*seen)(void *arg, const char *path), void *arg);

/* Read the rows of one document. */
void cat_rows_read_node(struct cat_rows *rows, const struct yaml_node *root);

/* The checks that need more than one row; errors are filed. */
void cat_rows_check(struct cat_rows *rows);

/* Flat tables in the rows' memory.  0 or -ERR_NOMEM. */
int cat_rows_tables(struct cat_rows *rows, struct cat_tables *t_r);

/* Check a reply's text: fields known, printable, each line fits.  Errors at node `at`. */
void cat_check_text(
    struct yaml_errors *e, const struct yaml_node *at, const struct cat_reply *reply);

/* Check that every field of a cause or remedy (NULL: nothing) is known.  Errors at node `at`. */
void cat_check_fields(struct yaml_errors *e, const struct yaml_node *at, const char *text);

/* An error at a key of a row, or at the row, or without a place for a compiled-in one. */
const struct yaml_node *cat_row_at(const struct cat_row *row, const char *key);

extern const char *const cat_acts_names[]; /* ends with NULL */
extern const char *const cat_stage_names[];

/* The pieces of a text: a run of literal octets, or a field, or a "{" that opens no known field. */
struct cat_token {
	struct span literal; /* of CAT_TOKEN_BAD: the name that is no field */
	int field;           /* enum reply_field, or -1 */
	bool bad;
};

/* Takes the next piece from *text; false at its end. */
bool cat_text_next(const char **text, struct cat_token *token_r);

/* "policy_pol_t1" of "POL-T1". */
void cat_policy_reply_id(struct span code, char id_r[static 32]);

/* The tables of a snapshot. */
const struct cat_tables *catalogue_tables(const struct catalogue *cat);

#endif
