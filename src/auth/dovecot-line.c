/*
 * auth/dovecot-line.c - lines of Dovecot's auth-client protocol, version 1.
 *
 * Words are parted by tabs; a tab, a LF, a NUL or a \001 inside a word is escaped as
 * \001 with t, n, 0 or 1 behind it.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "auth/auth-private.h"
#include "base/err.h"

static bool next_word(struct span *rest, struct span *word_r)
{
	ptrdiff_t tab;

	if (!rest->p)
		return false;
	tab = span_find(*rest, '\t');
	*word_r = span_of(rest->p, tab < 0 ? rest->n : (size_t)tab);
	*rest = tab < 0 ? (struct span){ NULL, 0 } : span_skip(*rest, (size_t)tab + 1);
	return true;
}

static bool has_name(struct span word, struct span name, struct span *value_r)
{
	if (!span_starts_nocase(word, name))
		return false;
	*value_r = span_skip(word, name.n);
	return true;
}

int dovecot_line_parse(struct span line, struct dovecot_line *l_r)
{
	static const struct {
		const char *name;
		enum dovecot_verb verb;
	} verbs[] = {
		{ "VERSION", DOVECOT_VERSION },
		{ "DONE", DOVECOT_DONE },
		{ "OK", DOVECOT_OK },
		{ "CONT", DOVECOT_CONT },
		{ "FAIL", DOVECOT_FAIL },
	};
	struct dovecot_line l = { .verb = DOVECOT_OTHER };
	struct span rest = line, word;
	uint64_t number;

	if (!line.p || !next_word(&rest, &word))
		return -ERR_PROTO;
	for (size_t i = 0; i < sizeof(verbs) / sizeof(*verbs); i++)
		if (span_eq(word, span_str(verbs[i].name)))
			l.verb = verbs[i].verb;
	if (l.verb != DOVECOT_OTHER && l.verb != DOVECOT_DONE) {
		if (!next_word(&rest, &word) || span_u64(word, UINT32_MAX, &number) < 0)
			return -ERR_PROTO;
		l.number = (uint32_t)number;
	}
	if (l.verb == DOVECOT_CONT && !next_word(&rest, &l.data))
		l.data = SPAN_LIT("");
	while ((l.verb == DOVECOT_OK || l.verb == DOVECOT_FAIL) && next_word(&rest, &word)) {
		if (has_name(word, SPAN_LIT("user="), &l.user) ||
		    has_name(word, SPAN_LIT("reason="), &l.reason))
			continue;
		l.temporary |= span_eq(word, SPAN_LIT("temp"));
	}
	*l_r = l;
	return 0;
}

int dovecot_unescape(struct span s, char *to, size_t room)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];
		if (c == 1) {
			if (++i == s.n)
				return -ERR_PROTO;
			c = s.p[i];
			c = c == 't' ? '\t' : c == 'n' ? '\n' : c == 'r' ? '\r' : c == '1' ? 1 : 0;
		}
		/* No name that anybody may have holds one of these. */
		if (c < 32 || c == 127 || n + 1 >= room)
			return -ERR_PROTO;
		to[n++] = (char)c;
	}
	to[n] = '\0';
	return (int)n;
}
