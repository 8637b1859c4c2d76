/*
 * catalogue/match.c - a text with {fields} as a pattern.
 *
 * A field stands for any octets, also none, so a pattern is a list of literals that must come in
 * order: the first and last are anchored where no field stands before or behind them, the ones
 * between are found leftmost, which needs no backtracking.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "catalogue/explain.h"
#include "catalogue/rows-private.h"

/* Place of the literal at or behind `from`, but for case; -1. */
static ptrdiff_t find(struct span text, size_t from, struct span literal)
{
	for (size_t i = from; i + literal.n <= text.n; i++)
		if (span_eq_nocase(span_of(text.p + i, literal.n), literal))
			return (ptrdiff_t)i;
	return -1;
}

/* The octets of a field that is empty leave the space of one side: " from {client}" matches
 * " from", "{hostname} Error" matches "Error". */
static struct span without_space(struct span literal, bool front, bool back)
{
	if (front && literal.n > 1 && literal.p[0] == ' ')
		literal = span_skip(literal, 1);
	if (back && literal.n > 1 && literal.p[literal.n - 1] == ' ')
		literal.n--;
	return literal;
}

int cat_text_match(const char *pattern, struct span text, struct reply_args *args_r)
{
	const char *at = pattern;
	struct cat_token t;
	size_t done = 0; /* octets of text that are taken */
	int literals = 0, open = -1;
	bool first = true;

	text = span_trim(text);
	while (cat_text_next(&at, &t)) {
		bool last = *at == '\0';
		struct span literal = t.literal;
		ptrdiff_t found;
		if (t.field >= 0) {
			open = t.field;
			first = false;
			continue;
		}
		if (t.bad)
			return -1;
		if (first) {
			found = find(
			    span_of(text.p, literal.n < text.n ? literal.n : text.n), 0, literal);
		} else if (last && text.n >= literal.n + done) {
			/* Anchored at the end: the rightmost place is the only one. */
			found = find(text, text.n - literal.n, literal);
		} else {
			found = find(text, done, literal);
		}
		if (found < 0) {
			bool front = open >= 0 && done == 0,
			     back = *at == '{' && strchr(at, '}') && strchr(at, '}')[1] == '\0';
			struct span less = without_space(literal, front, back);
			if (less.n == literal.n)
				return -1;
			if (back && !front)
				found = text.n >= less.n + done ? find(text, text.n - less.n, less)
								: -1;
			else
				found = find(span_of(text.p,
						 done + less.n < text.n ? done + less.n : text.n),
				    done, less);
			if (found < 0 || (first && found > 0))
				return -1;
			literal = less;
		}
		if (open >= 0)
			args_r->field[open] = span_of(text.p + done, (size_t)found - done);
		open = -1;
		first = false;
		done = (size_t)found + literal.n;
		literals += (int)literal.n;
	}
	if (open >= 0)
		args_r->field[open] = span_skip(text, done);
	else if (done != text.n)
		return -1;
	return literals;
}
