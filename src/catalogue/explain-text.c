/*
 * catalogue/explain-text.c - readings for people and as JSON.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "catalogue/explain.h"
#include "base/err.h"
#include "base/json.h"
#include "catalogue/rows-private.h"

#include <stdio.h>

#define COLUMNS      80
#define INDENT       17   /* of what stands behind a label */
#define TEXT_MAX     8192 /* a cause or remedy with its fields filled in */
#define SIBLINGS_MAX 60

/* What every kind has to say, gathered so that it is written once. */
struct care {
	const char *title; /* behind the code */
	const char *cause, *remedy;
	enum cat_acts acts, if_it_recurs;
	uint32_t min_s, max_s;
	uint16_t failure, failure_5; /* failure_5: class 5, where it differs */
	const char *const *rfc;
};

static void printable(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		buf_add_char(out, s.p[i] < 0x20 || s.p[i] > 0x7e ? '?' : (char)s.p[i]);
}

/* "label:    words wrapped at 80 columns". */
static void put(struct buf *out, const char *label, struct span words)
{
	size_t column;

	buf_addf(out, "%-*s", INDENT, label);
	column = INDENT;
	while (words.n > 0) {
		size_t n = 0;
		while (n < words.n && words.p[n] != ' ' && words.p[n] != '\n')
			n++;
		if (column > INDENT && column + 1 + n > COLUMNS) {
			buf_addf(out, "\n%*s", INDENT, "");
			column = INDENT;
		} else if (column > INDENT) {
			buf_add_char(out, ' ');
			column++;
		}
		buf_add(out, words.p, n);
		column += n;
		while (n < words.n && (words.p[n] == ' ' || words.p[n] == '\n'))
			n++;
		words = span_skip(words, n);
	}
	buf_add_char(out, '\n');
}

static void put_filled(
    struct buf *out, const char *label, const char *text, const struct reply_args *args)
{
	struct buf words;

	if (!text || !*text)
		return;
	buf_init(&words, TEXT_MAX + EXPLAIN_INPUT_MAX);
	catalogue_fill(text, args, &words);
	put(out, label, buf_span(&words));
	if (words.failed)
		out->failed = true;
	buf_done(&words);
}

static void add_seconds(struct buf *out, uint32_t s)
{
	if (s % 3600 == 0)
		buf_addf(out, "%u hour%s", s / 3600, s == 3600 ? "" : "s");
	else if (s % 60 == 0)
		buf_addf(out, "%u minute%s", s / 60, s == 60 ? "" : "s");
	else
		buf_addf(out, "%u second%s", s, s == 1 ? "" : "s");
}

static void put_care(const struct catalogue *cat, struct buf *out, const struct care *c,
    const struct reply_args *args)
{
	struct buf line;

	buf_init(&line, TEXT_MAX);
	put_filled(out, "What it means:", c->cause, args);
	buf_add_str(&line, cat_acts_text(c->acts));
	if (c->if_it_recurs != c->acts)
		buf_addf(&line, "; if it recurs, %s", cat_acts_text(c->if_it_recurs));
	put(out, "Who must act:", buf_span(&line));
	put_filled(out, "What to do:", c->remedy, args);
	if (c->max_s > 0) {
		buf_reset(&line);
		add_seconds(&line, c->min_s);
		if (c->min_s != c->max_s) {
			buf_add_str(&line, " to ");
			add_seconds(&line, c->max_s);
		}
		put(out, "It lasts:", buf_span(&line));
	}
	for (int i = 0; i < 2; i++) {
		uint16_t code = i == 0 ? c->failure : c->failure_5;
		const struct cat_failure *f = code ? catalogue_failure(cat, code) : NULL;
		if (!f || (i == 1 && code == c->failure))
			continue;
		buf_reset(&line);
		buf_addf(&line, "%u %s: %s%s", f->code, f->name, f->text,
		    c->failure_5 && c->failure != c->failure_5
			? (i == 0 ? " (class 4)" : " (class 5)")
			: "");
		put(out, "Failure code:", buf_span(&line));
	}
	if (c->rfc && *c->rfc) {
		buf_reset(&line);
		for (const char *const *r = c->rfc; *r; r++) {
			const char *hash = strchr(*r, '#');
			buf_addf(&line, "%sRFC %.*s%s%s", r == c->rfc ? "" : ", ",
			    (int)strcspn(*r, "#"), *r, hash ? " " : "", hash ? hash + 1 : "");
		}
		put(out, "See:", buf_span(&line));
	}
	buf_done(&line);
}

static struct care care_of(const struct explain_reading *x)
{
	struct care c = { 0 };
	const struct cat_digit *d =
	    x->digit[1] && x->digit[1]->failure_code ? x->digit[1] : x->digit[0];

	switch (x->kind) {
	case EXPLAIN_REPLY:
		return (struct care){ x->reply->id, x->reply->cause, x->reply->remedy,
			x->reply->acts, x->reply->if_it_recurs, x->reply->duration_min_s,
			x->reply->duration_max_s, x->reply->failure_code, 0, x->reply->rfc };
	case EXPLAIN_POLICY:
		return (struct care){ x->policy->group, x->policy->cause, x->policy->remedy,
			x->policy->acts, x->policy->if_it_recurs, x->policy->duration_min_s,
			x->policy->duration_max_s, x->policy->failure_code, 0, NULL };
	case EXPLAIN_FAILURE:
		return (struct care){ x->failure->text, x->failure->cause, x->failure->remedy,
			x->failure->acts, x->failure->acts, 0, 0, 0, 0, NULL };
	case EXPLAIN_ENHANCED:
		if (!x->enhanced)
			break;
		c = (struct care){ x->enhanced->name, x->enhanced->cause, x->enhanced->remedy,
			x->enhanced->acts, x->enhanced->acts, 0, 0, 0, 0, x->enhanced->rfc };
		if (x->status.class_ == 4 || x->status.class_ == 0)
			c.failure = x->enhanced->failure_code_4;
		if (x->status.class_ == 5)
			c.failure = x->enhanced->failure_code_5;
		if (x->status.class_ == 0)
			c.failure_5 = x->enhanced->failure_code_5;
		return c;
	case EXPLAIN_BASIC:
		if (!x->basic)
			break;
		return (struct care){ x->basic->name, x->basic->cause, x->basic->remedy,
			x->basic->acts, x->basic->acts, 0, 0, x->basic->failure_code, 0,
			x->basic->rfc };
	}
	/* Only digits. */
	if (d)
		c = (struct care){ d->name, d->cause, d->remedy, d->acts, d->acts, 0, 0,
			d->failure_code, 0, NULL };
	/* A subject has a failure code for class 5; an unknown trouble of class 4 passes. */
	if (x->kind == EXPLAIN_ENHANCED && x->digit[0] && x->status.class_ == 4)
		c.failure = x->digit[0]->failure_code;
	if (x->kind == EXPLAIN_ENHANCED && x->status.class_ == 2)
		c.failure = 0;
	if (x->kind == EXPLAIN_BASIC && x->code < 400)
		c.failure = 0;
	return c;
}

static void code_of(const struct explain_reading *x, char to[static 64])
{
	switch (x->kind) {
	case EXPLAIN_REPLY:
		if (x->reply->code == 0)
			snprintf(to, 64, "CODE ENHANCED");
		else if (x->reply->enhanced.class_)
			snprintf(to, 64, "%u %u.%u.%u", x->reply->code, x->reply->enhanced.class_,
			    x->reply->enhanced.subject, x->reply->enhanced.detail);
		else
			snprintf(to, 64, "%u", x->reply->code);
		break;
	case EXPLAIN_POLICY:
		snprintf(to, 64, "%s", x->policy->code);
		break;
	case EXPLAIN_FAILURE:
		snprintf(to, 64, "%u", x->failure->code);
		break;
	case EXPLAIN_ENHANCED:
		if (x->status.class_)
			snprintf(to, 64, "%u.%u.%u", x->status.class_, x->status.subject,
			    x->status.detail);
		else
			snprintf(to, 64, "X.%u.%u", x->status.subject, x->status.detail);
		break;
	case EXPLAIN_BASIC:
		snprintf(to, 64, "%u", x->code);
		break;
	}
}

static const char *const kind_names[] = { "reply", "policy code", "failure code",
	"enhanced status code", "reply code" };

/* What the digits say, one line each, for a code without a row. */
static void put_digits(struct buf *out, const struct explain_reading *x)
{
	static const char *const labels[2][3] = {
		{ "First digit:", "Second digit:", "Third digit:" },
		{ "Class:", "Subject:", "Detail:" }
	};
	bool enhanced = x->kind == EXPLAIN_ENHANCED;
	struct buf line;

	buf_init(&line, TEXT_MAX);
	for (int i = 0; i < 3; i++) {
		unsigned n = enhanced
		    ? (unsigned[]){ x->status.class_, x->status.subject, x->status.detail }[i]
		    : (unsigned[]){ x->code / 100u, x->code / 10u % 10, x->code % 10u }[i];
		buf_reset(&line);
		if (enhanced && i == 0 && n == 0)
			continue;
		if (x->digit[i])
			buf_addf(&line, "%u: %s. %s", n, x->digit[i]->name, x->digit[i]->cause);
		else
			buf_addf(&line, "%u: not registered", n);
		put(out, labels[enhanced][i], buf_span(&line));
	}
	buf_done(&line);
}

/* Replies of ours that carry the code. */
static void put_siblings(
    const struct catalogue *cat, struct buf *out, const struct explain_reading *x)
{
	const struct cat_tables *t = catalogue_tables(cat);
	struct buf line;
	size_t n = 0;

	buf_init(&line, TEXT_MAX);
	for (size_t i = 0; i < t->replies_count && n < SIBLINGS_MAX; i++) {
		const struct cat_reply *r = &t->replies[i];
		bool is = false;
		if (r->artefact)
			continue;
		switch (x->kind) {
		case EXPLAIN_REPLY:
			break;
		case EXPLAIN_POLICY:
			is = r->policy_code && strcmp(r->policy_code, x->policy->code) == 0;
			break;
		case EXPLAIN_FAILURE:
			is = r->failure_code == x->failure->code;
			break;
		case EXPLAIN_ENHANCED:
			is = r->enhanced.class_ != 0 && r->enhanced.subject == x->status.subject &&
			    r->enhanced.detail == x->status.detail &&
			    (x->status.class_ == 0 || x->status.class_ == r->enhanced.class_);
			break;
		case EXPLAIN_BASIC:
			is = r->code == x->code;
			break;
		}
		if (is)
			buf_addf(&line, "%s%s", n++ ? ", " : "", r->id);
	}
	if (n > 0)
		put(out, "Sent here as:", buf_span(&line));
	buf_done(&line);
}

/* Below a better reading the list of replies would only distract. */
static void put_reading(
    const struct catalogue *cat, struct buf *out, const struct explain_reading *x, bool first)
{
	struct care c = care_of(x);
	char code[64];
	struct buf title;

	code_of(x, code);
	buf_init(&title, TEXT_MAX + EXPLAIN_INPUT_MAX);
	if (x->kind == EXPLAIN_REPLY) {
		buf_addf(&title, "%s ", code);
		catalogue_fill(x->reply->text, &x->args, &title);
		buf_addf(out, "reply %s\n", x->reply->id);
		put(out, "It says:", buf_span(&title));
		if (x->reply->policy_code)
			put(out, "Policy code:", span_str(x->reply->policy_code));
	} else {
		buf_addf(out, "%s %s%s%s\n", kind_names[x->kind], code, x->exact ? ": " : "",
		    x->exact ? c.title : "");
		if (x->kind == EXPLAIN_POLICY)
			put(out,
			    "Kind:", span_str(x->policy->permanent ? "permanent" : "temporary"));
		if (x->kind == EXPLAIN_FAILURE) {
			buf_addf(&title, "%s (%s)", x->failure->name, x->failure->category);
			put(out, "Name:", buf_span(&title));
		}
	}
	buf_done(&title);
	if (!x->exact) {
		put(out, "Known:", SPAN_LIT("no code of this number; its digits say:"));
		put_digits(out, x);
		c.cause = NULL;
	}
	put_care(cat, out, &c, &x->args);
	if (x->kind == EXPLAIN_REPLY && x->reply->artefact)
		put(out, "Note:",
		    SPAN_LIT("an accident of the list that it stands in; it is never sent"));
	if (x->kind == EXPLAIN_REPLY)
		for (const char *const *l = x->reply->postfix_lines; *l; l++)
			put(out, l == x->reply->postfix_lines ? "Covers:" : "", span_str(*l));
	else if (first)
		put_siblings(cat, out, x);
}

int explain_text(const struct catalogue *cat, const struct explain *x, struct buf *out)
{
	if (x->count == 0) {
		struct buf line;
		buf_init(&line, TEXT_MAX);
		buf_add_char(&line, '"');
		printable(&line, x->input.n > 200 ? span_of(x->input.p, 200) : x->input);
		buf_add_str(&line,
		    "\" is no code, id or reply that is known. Give a reply code (550), an "
		    "enhanced "
		    "status code (5.7.1), a policy code (POL-T1), a failure code (3001), the id of "
		    "a "
		    "reply, or the whole reply.");
		put(out, "Not known:", buf_span(&line));
		buf_done(&line);
	}
	for (size_t i = 0; i < x->count; i++) {
		if (i > 0)
			buf_add_char(out, '\n');
		put_reading(cat, out, &x->reading[i], i == 0);
	}
	return out->failed ? -ERR_NOMEM : 0;
}

static void json_filled(
    struct json_writer *j, const char *key, const char *text, const struct reply_args *args)
{
	struct buf words;

	if (!text)
		return;
	buf_init(&words, TEXT_MAX + EXPLAIN_INPUT_MAX);
	catalogue_fill(text, args, &words);
	json_put_span(j, key, buf_span(&words));
	buf_done(&words);
}

static void json_list(struct json_writer *j, const char *key, const char *const *list)
{
	json_put_array(j, key);
	for (; list && *list; list++)
		json_put_str(j, NULL, *list);
	json_put_array_end(j);
}

static void json_status(struct json_writer *j, struct enhanced_status s)
{
	char text[32];

	if (s.class_)
		snprintf(text, sizeof(text), "%u.%u.%u", s.class_, s.subject, s.detail);
	else
		snprintf(text, sizeof(text), "X.%u.%u", s.subject, s.detail);
	json_put_str(j, "enhanced", text);
}

static void json_codes(struct json_writer *j, const struct explain_reading *x)
{
	switch (x->kind) {
	case EXPLAIN_REPLY:
		json_put_str(j, "id", x->reply->id);
		if (x->reply->code)
			json_put_int(j, "code", x->reply->code);
		if (x->reply->enhanced.class_)
			json_status(j, x->reply->enhanced);
		json_put_str(j, "text", x->reply->text);
		if (x->reply->policy_code)
			json_put_str(j, "policy_code", x->reply->policy_code);
		json_list(j, "postfix_lines", x->reply->postfix_lines);
		json_put_bool(j, "artefact", x->reply->artefact);
		break;
	case EXPLAIN_POLICY:
		json_put_str(j, "policy_code", x->policy->code);
		json_put_str(j, "group", x->policy->group);
		json_put_bool(j, "permanent", x->policy->permanent);
		json_put_int(j, "code", x->policy->reply_code);
		json_status(j, x->policy->enhanced);
		break;
	case EXPLAIN_FAILURE:
		json_put_int(j, "failure_code", x->failure->code);
		json_put_str(j, "name", x->failure->name);
		json_put_str(j, "category", x->failure->category);
		json_put_str(j, "text", x->failure->text);
		break;
	case EXPLAIN_ENHANCED:
		json_status(j, x->status);
		break;
	case EXPLAIN_BASIC:
		json_put_int(j, "code", x->code);
		break;
	}
}

static void json_reading(
    const struct catalogue *cat, struct json_writer *j, const struct explain_reading *x)
{
	static const char *const kinds[] = { "reply", "policy", "failure", "enhanced", "basic" };
	struct care c = care_of(x);

	json_put_object(j, NULL);
	json_put_str(j, "kind", kinds[x->kind]);
	json_put_bool(j, "exact", x->exact);
	json_codes(j, x);
	if (x->kind == EXPLAIN_ENHANCED || x->kind == EXPLAIN_BASIC) {
		if (x->exact)
			json_put_str(j, "name", c.title);
		json_put_array(j, "digits");
		for (int i = 0; i < 3; i++)
			if (x->digit[i])
				json_put_str(j, NULL, x->digit[i]->name);
		json_put_array_end(j);
	}
	json_filled(j, "cause", c.cause, &x->args);
	json_put_str(j, "acts", cat_acts_name(c.acts));
	json_put_str(j, "if_it_recurs", cat_acts_name(c.if_it_recurs));
	json_filled(j, "remedy", c.remedy, &x->args);
	if (c.max_s) {
		json_put_int(j, "duration_min_s", c.min_s);
		json_put_int(j, "duration_max_s", c.max_s);
	}
	if (x->kind != EXPLAIN_FAILURE && c.failure) {
		const struct cat_failure *f = catalogue_failure(cat, c.failure);
		json_put_int(j, "failure_code", c.failure);
		if (f)
			json_put_str(j, "failure_name", f->name);
	}
	if (c.failure_5)
		json_put_int(j, "failure_code_5", c.failure_5);
	if (c.rfc)
		json_list(j, "rfc", c.rfc);
	json_put_object_end(j);
}

int explain_json(const struct catalogue *cat, const struct explain *x, struct buf *out)
{
	struct json_writer j;

	json_writer_init(&j, out);
	json_put_object(&j, NULL);
	json_put_span(&j, "input", x->input);
	json_put_bool(&j, "known", x->count > 0);
	json_put_array(&j, "readings");
	for (size_t i = 0; i < x->count; i++)
		json_reading(cat, &j, &x->reading[i]);
	json_put_array_end(&j);
	json_put_object_end(&j);
	return out->failed ? -ERR_NOMEM : 0;
}
