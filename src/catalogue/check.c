/*
 * catalogue/check.c - checks of a text, and those that need more than one row.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "catalogue/rows-private.h"
#include "base/err.h"
#include "base/map.h"

/* Octets of a line before its text: code, enhanced status, policy code, with what parts them. */
static size_t lead_octets(const struct cat_reply *r)
{
	size_t n = 4;

	if (r->enhanced.class_ != 0 || r->code == 0)
		n += 10; /* the longest, 5.999.999, and a space */
	if (r->policy_code)
		n += strlen(r->policy_code) + 1;
	return n;
}

void cat_check_text(
    struct yaml_errors *e, const struct yaml_node *at, const struct cat_reply *reply)
{
	const char *text = reply->text;
	struct cat_token t;
	size_t line = lead_octets(reply) + 2, longest = 0;

	while (cat_text_next(&text, &t)) {
		if (t.bad) {
			yaml_error(e, at, "no field is called \"{%.*s}\"", SPAN_FMT(t.literal));
			continue;
		}
		if (t.field >= 0)
			continue;
		for (size_t i = 0; i < t.literal.n; i++) {
			uint8_t c = t.literal.p[i];
			if (c == '\n') {
				line = lead_octets(reply) + 2;
				continue;
			}
			if (c < 0x20 || c > 0x7e) {
				yaml_error(e, at, "octet 0x%02x cannot go into a reply", c);
				return;
			}
			if (++line > longest)
				longest = line;
		}
	}
	if (longest > CAT_LINE_OCTETS_MAX)
		yaml_error(e, at, "a line of %zu octets even with empty fields; at most %d fit",
		    longest, CAT_LINE_OCTETS_MAX);
}

void cat_check_fields(struct yaml_errors *e, const struct yaml_node *at, const char *text)
{
	struct cat_token t;

	while (text && cat_text_next(&text, &t))
		if (t.bad)
			yaml_error(e, at, "no field is called \"{%.*s}\"", SPAN_FMT(t.literal));
}

static bool failure_exists(const struct cat_rows *rows, uint16_t code)
{
	const struct cat_rows_of *of = &rows->of[CAT_KIND_FAILURE];

	for (size_t i = 0; i < of->count; i++)
		if (of->row[i].failure.code == code)
			return true;
	return false;
}

static const struct cat_policy *policy_of(const struct cat_rows *rows, const char *code)
{
	const struct cat_rows_of *of = &rows->of[CAT_KIND_POLICY];

	for (size_t i = 0; i < of->count; i++)
		if (of->row[i].policy.code && strcmp(of->row[i].policy.code, code) == 0)
			return &of->row[i].policy;
	return NULL;
}

/* A row that was compiled in and not overridden was checked when the program was built. */
static void check_failure_code(
    struct cat_rows *rows, const struct cat_row *row, const char *key, uint16_t code)
{
	if (row->node && code != 0 && !failure_exists(rows, code))
		yaml_error(rows->errors, cat_row_at(row, key), "no failure code %u", code);
}

static void check_reply(struct cat_rows *rows, const struct cat_row *row)
{
	const struct cat_reply *r = &row->reply;
	const struct cat_policy *p;

	if (!row->node)
		return;
	check_failure_code(rows, row, "failure_code", r->failure_code);
	if ((r->code == 0 || r->code >= 400) && r->failure_code == 0 && !r->artefact)
		yaml_error(rows->errors, row->node, "reply %s has no failure_code", r->id);
	if (r->code != 0 && r->code < 400 && r->failure_code != 0)
		yaml_error(rows->errors, cat_row_at(row, "failure_code"),
		    "reply code %u is no failure", r->code);
	if (!r->policy_code)
		return;
	p = policy_of(rows, r->policy_code);
	if (!p)
		yaml_error(rows->errors, cat_row_at(row, "policy_code"), "no policy code %s",
		    r->policy_code);
	else if (r->code != 0 && r->code / 100 != (p->permanent ? 5 : 4))
		yaml_error(rows->errors, cat_row_at(row, "policy_code"),
		    "%s is %s, reply code %u is not", r->policy_code,
		    p->permanent ? "permanent" : "temporary", r->code);
}

/* Each line of Postfix's list belongs to one row. */
static void check_postfix_lines(struct cat_rows *rows)
{
	const struct cat_rows_of *of = &rows->of[CAT_KIND_REPLY];
	struct map owner;

	map_init(&owner, false);
	for (size_t i = 0; i < of->count; i++) {
		const char *const *line = of->row[i].reply.postfix_lines;
		for (; line && *line; line++) {
			const struct cat_row *old = map_get(&owner, span_str(*line));
			if (old)
				yaml_error_at(rows->errors, of->row[i].reply.file,
				    of->row[i].reply.line, "postfix_lines",
				    "\"%s\" belongs to %s already", *line, old->reply.id);
			else if (map_put(&owner, span_str(*line), &of->row[i]) < 0)
				break;
		}
	}
	map_done(&owner);
}

/* What two kinds of rows have in common for the check of remedies. */
static void care_of(
    enum cat_kind kind, const struct cat_row *row, const char **cause_r, const char **remedy_r)
{
	switch (kind) {
	case CAT_KIND_REPLY:
		*cause_r = row->reply.cause;
		*remedy_r = row->reply.remedy;
		break;
	case CAT_KIND_FAILURE:
		*cause_r = row->failure.cause;
		*remedy_r = row->failure.remedy;
		break;
	case CAT_KIND_ENHANCED:
		*cause_r = row->enhanced.cause;
		*remedy_r = row->enhanced.remedy;
		break;
	case CAT_KIND_BASIC:
		*cause_r = row->basic.cause;
		*remedy_r = row->basic.remedy;
		break;
	case CAT_KIND_POLICY:
		*cause_r = row->policy.cause;
		*remedy_r = row->policy.remedy;
		break;
	case CAT_KIND_DIGIT:
		*cause_r = row->digit.cause;
		*remedy_r = row->digit.remedy;
		break;
	case CAT_KIND_COUNT:
		break;
	}
}

/* A remedy that stands in two rows of different causes was pasted, not thought of. */
static void check_remedies(struct cat_rows *rows, enum cat_kind kind)
{
	const struct cat_rows_of *of = &rows->of[kind];
	struct map seen;

	map_init(&seen, true);
	for (size_t i = 0; i < of->count; i++) {
		struct cat_row *row = &of->row[i], *old;
		const char *cause = NULL, *remedy = NULL, *old_cause = NULL, *old_remedy = NULL;
		care_of(kind, row, &cause, &remedy);
		if (!cause || !remedy)
			continue;
		old = map_get(&seen, span_str(remedy));
		if (!old) {
			if (map_put(&seen, span_str(remedy), row) < 0)
				break;
			continue;
		}
		care_of(kind, old, &old_cause, &old_remedy);
		if (strcmp(cause, old_cause) == 0)
			continue;
		if (!row->node)
			row = old;
		if (row->node)
			yaml_error(rows->errors, cat_row_at(row, "remedy"),
			    "is the remedy of another row too, whose cause is another");
	}
	map_done(&seen);
}

void cat_rows_check(struct cat_rows *rows)
{
	const struct cat_rows_of *of = rows->of;

	for (size_t i = 0; i < of[CAT_KIND_REPLY].count; i++)
		check_reply(rows, &of[CAT_KIND_REPLY].row[i]);
	for (size_t i = 0; i < of[CAT_KIND_ENHANCED].count; i++) {
		const struct cat_row *row = &of[CAT_KIND_ENHANCED].row[i];
		check_failure_code(rows, row, "failure_code_4", row->enhanced.failure_code_4);
		check_failure_code(rows, row, "failure_code_5", row->enhanced.failure_code_5);
	}
	for (size_t i = 0; i < of[CAT_KIND_BASIC].count; i++) {
		const struct cat_row *row = &of[CAT_KIND_BASIC].row[i];
		check_failure_code(rows, row, "failure_code", row->basic.failure_code);
	}
	for (size_t i = 0; i < of[CAT_KIND_POLICY].count; i++) {
		const struct cat_row *row = &of[CAT_KIND_POLICY].row[i];
		check_failure_code(rows, row, "failure_code", row->policy.failure_code);
	}
	for (size_t i = 0; i < of[CAT_KIND_DIGIT].count; i++) {
		const struct cat_row *row = &of[CAT_KIND_DIGIT].row[i];
		check_failure_code(rows, row, "failure_code", row->digit.failure_code);
	}
	check_postfix_lines(rows);
	for (int kind = 0; kind < CAT_KIND_COUNT; kind++)
		check_remedies(rows, (enum cat_kind)kind);
}
