/*
 * catalogue/explain.c - from words to readings.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "catalogue/explain.h"
#include "base/err.h"
#include "catalogue/rows-private.h"

#include <stdio.h>

/* A text of fewer literal octets says nothing by itself ("{hostname}"). */
#define LITERALS_MIN 2
/* Rows of another code, or without any code to compare, must be told by their words. */
#define LITERALS_ALONE 8

/* A reply taken apart. */
struct parts {
	uint16_t code;
	struct enhanced_status status; /* class_ 0: none */
	struct span policy;            /* n 0: none */
	struct span text;  /* behind codes, lines joined by a space, help address cut off */
	struct span whole; /* "550 5.1.1 text": how a line of Postfix's list looks */
};

static struct explain_reading *add(struct explain *r, enum explain_kind kind)
{
	struct explain_reading *reading;

	if (r->count == EXPLAIN_READINGS_MAX)
		return NULL;
	reading = &r->reading[r->count++];
	*reading = (struct explain_reading){ .kind = kind, .exact = true };
	return reading;
}

static void add_basic(const struct catalogue *cat, struct explain *r, uint16_t code)
{
	const struct cat_basic *basic = catalogue_basic(cat, code);
	const struct cat_digit *first =
	    catalogue_digit(cat, CAT_DIGIT_OF_BASIC, 1, (uint16_t)(code / 100));
	struct explain_reading *reading;

	if (!basic && !first)
		return;
	reading = add(r, EXPLAIN_BASIC);
	if (!reading)
		return;
	reading->exact = basic != NULL;
	reading->basic = basic;
	reading->code = code;
	reading->digit[0] = first;
	reading->digit[1] = catalogue_digit(cat, CAT_DIGIT_OF_BASIC, 2, (uint16_t)(code / 10 % 10));
	reading->digit[2] = catalogue_digit(cat, CAT_DIGIT_OF_BASIC, 3, (uint16_t)(code % 10));
}

static void add_enhanced(const struct catalogue *cat, struct explain *r, struct enhanced_status s)
{
	const struct cat_enhanced *row = catalogue_enhanced(cat, s.subject, s.detail);
	const struct cat_digit *class_ = catalogue_digit(cat, CAT_DIGIT_OF_ENHANCED, 1, s.class_);
	const struct cat_digit *subject = catalogue_digit(cat, CAT_DIGIT_OF_ENHANCED, 2, s.subject);
	struct explain_reading *reading;

	if (!row && !class_ && !subject)
		return;
	reading = add(r, EXPLAIN_ENHANCED);
	if (!reading)
		return;
	reading->exact = row != NULL;
	reading->enhanced = row;
	reading->status = s;
	reading->digit[0] = class_;
	reading->digit[1] = subject;
}

static void add_policy(const struct catalogue *cat, struct explain *r, struct span code)
{
	const struct cat_policy *policy = catalogue_policy(cat, code);
	struct explain_reading *reading = policy ? add(r, EXPLAIN_POLICY) : NULL;

	if (reading)
		reading->policy = policy;
}

static bool is_code(struct span s)
{
	return s.n >= 3 && ascii_is_digit(s.p[0]) && ascii_is_digit(s.p[1]) &&
	    ascii_is_digit(s.p[2]) && (s.n == 3 || s.p[3] == ' ' || s.p[3] == '-');
}

static uint16_t number3(const uint8_t *p)
{
	return (uint16_t)((p[0] - '0') * 100 + (p[1] - '0') * 10 + (p[2] - '0'));
}

/* Up to the next space. */
static struct span word(struct span s)
{
	size_t n = 0;

	while (n < s.n && s.p[n] != ' ')
		n++;
	return span_of(s.p, n);
}

/* Where a reply begins in a log line: "said: 550 5.1.1 ...", "NOQUEUE: reject: ...: 450 4.7.1". */
static struct span reply_in(struct span line)
{
	for (size_t i = 0; i + 4 < line.n; i++) {
		struct span s = span_skip(line, i);
		if (i > 0 && line.p[i - 1] != ' ' && line.p[i - 1] != '(' && line.p[i - 1] != '"')
			continue;
		if ((s.p[0] == '2' || s.p[0] == '4' || s.p[0] == '5') && is_code(s) && s.n > 3)
			return s;
	}
	return line;
}

/* "; see https://mx.example.org/codes/DNS-P3?id=1" is ours, not the reply's text. */
static struct span without_help(struct span text)
{
	for (size_t i = 0; i + 10 < text.n; i++) {
		struct span s = span_skip(text, i);
		if (span_starts_nocase(s, SPAN_LIT("; see http")) &&
		    span_find(span_skip(s, 6), ' ') < 0)
			return span_of(text.p, i);
	}
	return text;
}

/* A word of the text that is a policy code; where there is none, the last part of a help address.
 */
static struct span policy_in(const struct catalogue *cat, struct span text)
{
	size_t start = 0;

	for (size_t i = 0; i <= text.n; i++) {
		struct span s;
		uint8_t c = i < text.n ? text.p[i] : ' ';
		if (ascii_is_alpha(c) || ascii_is_digit(c) || c == '-')
			continue;
		s = span_of(text.p + start, i - start);
		start = i + 1;
		if (s.n >= 4 && s.n <= 16 && span_find(s, '-') > 0 && catalogue_policy(cat, s))
			return s;
	}
	return span_of(text.p, 0);
}

/* Lines into one text: codes of later lines are dropped, lines are joined by a space. */
static int join(
    const struct catalogue *cat, struct span input, struct arena *arena, struct parts *p)
{
	uint8_t *to = arena_alloc(arena, input.n + 1);
	uint8_t *whole = arena_alloc(arena, input.n + 32);
	struct span text, w;
	size_t n = 0, head;
	bool first = true;

	if (!to || !whole)
		return -ERR_NOMEM;
	while (input.n > 0) {
		ptrdiff_t lf = span_find(input, '\n');
		struct span line = lf >= 0 ? span_of(input.p, (size_t)lf) : input;
		struct enhanced_status s;
		size_t used;
		input = span_skip(input, line.n + (lf >= 0));
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		line = span_trim(line);
		if (first && !is_code(line))
			line = reply_in(line);
		if (is_code(line) && (first || number3(line.p) == p->code)) {
			if (first)
				p->code = number3(line.p);
			line = span_trim(span_skip(line, 4));
		}
		used = enhanced_status_parse(line, &s);
		if (used > 0 && (first || p->status.class_ != 0)) {
			if (first)
				p->status = s;
			line = span_trim(span_skip(line, used));
		}
		if (n > 0 && line.n > 0)
			to[n++] = ' ';
		if (line.n > 0)
			memcpy(to + n, line.p, line.n);
		n += line.n;
		first = false;
	}
	text = span_of(to, n);
	p->policy = policy_in(cat, text);
	text = span_trim(without_help(text));
	w = word(text);
	if (p->policy.n > 0 && span_eq(w, p->policy))
		text = span_trim(span_skip(text, w.n));
	p->text = text;
	head = 0;
	if (p->code)
		head += (size_t)snprintf((char *)whole, 8, "%03u ", p->code);
	if (p->status.class_)
		head += (size_t)snprintf((char *)whole + head, 16, "%u.%u.%u ", p->status.class_,
		    p->status.subject, p->status.detail);
	if (text.n > 0)
		memcpy(whole + head, text.p, text.n);
	p->whole = span_of(whole, head + text.n);
	return 0;
}

static bool covers(const struct cat_reply *r, struct span whole)
{
	for (const char *const *l = r->postfix_lines; *l; l++)
		if (span_eq(span_str(*l), whole))
			return true;
	return false;
}

/* How well a row fits; -1 not at all.  Words weigh most, then codes, then the policy code. */
static int score(const struct cat_reply *r, const struct parts *p, struct reply_args *args)
{
	int literals = cat_text_match(r->text, p->text, args);
	int points;
	bool other = false;

	if (literals < LITERALS_MIN || (literals < LITERALS_ALONE && p->code == 0))
		return -1;
	points = literals * 16;
	if (p->code != 0 && r->code != 0) {
		if (p->code / 100 != r->code / 100)
			return -1;
		other |= p->code != r->code;
		points += p->code == r->code ? 6 : 0;
	} else if (p->code != 0 && p->code < 400) {
		return -1; /* access tables refuse */
	}
	if (p->status.class_ != 0 && r->code != 0) {
		bool same = r->enhanced.class_ == p->status.class_ &&
		    r->enhanced.subject == p->status.subject &&
		    r->enhanced.detail == p->status.detail;
		other |= !same;
		points += same ? 4 : 0;
	}
	if (other && literals < LITERALS_ALONE)
		return -1;
	if (p->policy.n > 0 && r->policy_code &&
	    span_eq_nocase(p->policy, span_str(r->policy_code)))
		points += 2;
	if (r->postfix_lines[0])
		points += 1;
	return points;
}

static void add_reply(const struct catalogue *cat, struct explain *r, const struct parts *p)
{
	const struct cat_tables *t = catalogue_tables(cat);
	const struct cat_reply *best = NULL;
	struct reply_args best_args;
	struct explain_reading *reading;
	int best_points = -1;
	bool covered = false;

	for (size_t i = 0; i < t->replies_count && !covered; i++) {
		const struct cat_reply *row = &t->replies[i];
		struct reply_args args = { 0 };
		int points;
		covered = covers(row, p->whole);
		points = score(row, p, &args);
		if (covered || points > best_points) {
			best_points = points;
			best = row;
			best_args = args;
		}
	}
	reading = best ? add(r, EXPLAIN_REPLY) : NULL;
	if (!reading)
		return;
	reading->reply = best;
	reading->covers_line = covered;
	if (best_points >= 0)
		reading->args = best_args;
}

static int explain_line(
    const struct catalogue *cat, struct span input, struct arena *arena, struct explain *r)
{
	struct parts p = { 0 };
	int error = join(cat, input, arena, &p);

	if (error < 0)
		return error;
	if (p.text.n > 0)
		add_reply(cat, r, &p);
	if (p.policy.n > 0)
		add_policy(cat, r, p.policy);
	if (p.status.class_ != 0)
		add_enhanced(cat, r, p.status);
	if (p.code != 0)
		add_basic(cat, r, p.code);
	return 0;
}

/* Codes and ids that are one word. */
static void explain_word(const struct catalogue *cat, struct span s, struct explain *r)
{
	struct enhanced_status status;
	struct explain_reading *reading;
	uint8_t any[16];
	uint64_t number;
	int reply;

	if (s.n == 3 && span_u64(s, 599, &number) == 0 && number >= 100)
		add_basic(cat, r, (uint16_t)number);
	if (s.n == 4 && span_u64(s, 9999, &number) == 0) {
		const struct cat_failure *failure = catalogue_failure(cat, (uint16_t)number);
		reading = failure ? add(r, EXPLAIN_FAILURE) : NULL;
		if (reading)
			reading->failure = failure;
	}
	if (enhanced_status_parse(s, &status) == s.n)
		add_enhanced(cat, r, status);
	if (s.n > 1 && s.n < sizeof(any) && (s.p[0] == 'X' || s.p[0] == 'x')) {
		memcpy(any, s.p, s.n);
		any[0] = '5';
		if (enhanced_status_parse(span_of(any, s.n), &status) == s.n) {
			status.class_ = 0;
			add_enhanced(cat, r, status);
		}
	}
	add_policy(cat, r, s);
	reply = catalogue_reply_by_id(cat, s);
	reading = reply >= 0 ? add(r, EXPLAIN_REPLY) : NULL;
	if (reading)
		reading->reply = catalogue_reply(cat, reply);
}

int explain(const struct catalogue *cat, struct span input, struct arena *arena, struct explain *r)
{
	int error = 0;

	*r = (struct explain){ .count = 0 };
	if (input.n > EXPLAIN_INPUT_MAX)
		input.n = EXPLAIN_INPUT_MAX;
	for (bool more = true; more;) {
		struct span s = span_trim(input);
		while (s.n > 0 && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == '\r'))
			s.n--;
		while (s.n > 0 && (s.p[0] == '\n' || s.p[0] == '\r'))
			s = span_skip(s, 1);
		more = s.n != input.n;
		input = s;
	}
	r->input = arena_span(arena, input);
	if (!r->input.p)
		return -ERR_NOMEM;
	if (r->input.n == 0)
		return 0;
	explain_word(cat, r->input, r);
	if (r->count == 0)
		error = explain_line(cat, r->input, arena, r);
	return error < 0 ? error : r->count > 0;
}
