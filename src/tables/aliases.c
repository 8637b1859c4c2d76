/*
 * tables/aliases.c - parsing of both kinds of table.
 *
 * Lines of both: a line that begins with a blank goes on the one before; `#` begins a
 * comment at the start of a line.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "base/idn.h"
#include "smtp/address.h"
#include "tables/aliases-private.h"

#include <stdio.h>
#include <stdlib.h>

/* Tables with a million names. */
#define TABLES_OCTETS_MAX (512u << 20)

static const struct span include_word = { (const uint8_t *)":include:", 9 };

/* A table under the parser. */
struct parser {
	struct aliases *a;
	const struct alias_reader *reader;
	const char *file;
	unsigned line;
	bool virtual_, in_list;
	int bad; /* errors reported */
	int err; /* -ERR_NOMEM */
};

int aliases_new(struct aliases **a_r)
{
	struct aliases *a = calloc(1, sizeof(*a));

	if (!a)
		return -ERR_NOMEM;
	atomic_init(&a->refs, 1);
	arena_init(&a->arena, TABLES_OCTETS_MAX);
	map_init(&a->local, true);
	map_init(&a->virtual_, true);
	*a_r = a;
	return 0;
}

struct aliases *aliases_ref(struct aliases *a)
{
	atomic_fetch_add(&a->refs, 1);
	return a;
}

void aliases_unref(struct aliases **ap)
{
	struct aliases *a = *ap;

	*ap = NULL;
	if (!a || atomic_fetch_sub(&a->refs, 1) != 1)
		return;
	map_done(&a->local);
	map_done(&a->virtual_);
	arena_done(&a->arena);
	free(a);
}

size_t aliases_count(const struct aliases *a)
{
	return a->local.count + a->virtual_.count;
}

static void complain(struct parser *p, const char *what, struct span word)
{
	char line[1024];

	snprintf(line, sizeof(line), "%s:%u: %s%s%.*s%s", p->file, p->line, what,
	    word.n ? ": \"" : "", SPAN_FMT(span_of(word.p, word.n < 200 ? word.n : 200)),
	    word.n ? "\"" : "");
	p->bad++;
	if (p->reader->report)
		p->reader->report(p->reader->arg, line);
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct span trim(struct span s)
{
	while (s.n && is_blank(s.p[0]))
		s = span_skip(s, 1);
	while (s.n && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

/* Octets of a quoted string at the start of s, its quotes included. */
static size_t quoted_octets(struct span s)
{
	size_t i = 1;

	while (i < s.n && s.p[i] != '"')
		i += s.p[i] == '\\' && i + 1 < s.n ? 2 : 1;
	return i < s.n ? i + 1 : s.n;
}

/* Octets of a comment in parentheses; they nest. */
static size_t comment_octets(struct span s)
{
	size_t i = 0, depth = 0;

	do {
		if (s.p[i] == '\\' && i + 1 < s.n)
			i++;
		else if (s.p[i] == '(')
			depth++;
		else if (s.p[i] == ')')
			depth--;
		i++;
	} while (i < s.n && depth);
	return i;
}

/*
 * The next target of a list: without its comments, blanks around it, and a name before "<...>".
 * *rest goes behind it.  Empty: there was nothing between two commas.
 */
static struct span next_target(struct parser *p, struct span *rest)
{
	struct span s = *rest, item = { s.p, 0 }, angle = { s.p, 0 };
	size_t i = 0;

	while (i < s.n && is_blank(s.p[i]))
		i++;
	item.p = s.p + i;
	for (; i < s.n && s.p[i] != ',' && !(p->in_list && s.p[i] == '\n');) {
		struct span here = span_skip(s, i);
		size_t n = 1;
		if (here.p[0] == '"')
			n = quoted_octets(here);
		else if (here.p[0] == '(')
			n = comment_octets(here);
		else if (here.p[0] == '<' && span_find(here, '>') > 0)
			angle = span_of(here.p + 1, (n = (size_t)span_find(here, '>') + 1) - 2);
		else if (p->virtual_ && is_blank(here.p[0]))
			break;
		if (here.p[0] != '(')
			item.n = (size_t)(here.p + n - item.p);
		else if (item.n == 0)
			item.p = here.p + n;
		i += n;
	}
	*rest = span_skip(s, i + 1);
	return trim(angle.n ? angle : item);
}

/* An address in the form of look-ups: shortest local part, domain as A-labels in lower case. */
static int normal(struct parser *p, struct span s, struct span *out_r)
{
	struct smtp_address a;
	char domain[IDN_NAME_MAX];
	int n = smtp_mailbox_parse(
	    s, SMTP_PATH_LENIENT | SMTP_PATH_UTF8 | SMTP_PATH_POSTMASTER_OK, &p->a->arena, &a);

	if (n < 0)
		return n;
	*out_r = a.address;
	if (a.domain.n == 0)
		return 0;
	n = idn_to_ascii(a.domain, domain);
	if (n < 0)
		return n;
	*out_r = span_str(arena_printf(&p->a->arena, "%.*s@%.*s", SPAN_FMT(a.local), n, domain));
	return out_r->p ? 0 : -ERR_NOMEM;
}

/* "@domain" */
static int normal_domain(struct parser *p, struct span s, struct span *out_r)
{
	char domain[IDN_NAME_MAX];
	int n = idn_to_ascii(span_skip(s, 1), domain);

	if (n < 0)
		return n;
	if (!smtp_domain_valid(span_of(domain, (size_t)n)))
		return -ERR_SYNTAX;
	*out_r = span_str(arena_printf(&p->a->arena, "@%.*s", n, domain));
	return out_r->p ? 0 : -ERR_NOMEM;
}

static void add_target(struct parser *p, struct alias *to, struct span address, bool final)
{
	if (to->count == to->room) {
		size_t room = to->room ? to->room * 2 : 1;
		struct alias_target *more = arena_alloc(&p->a->arena, room * sizeof(*more));
		if (!more) {
			p->err = -ERR_NOMEM;
			return;
		}
		if (to->count)
			memcpy(more, to->targets, to->count * sizeof(*more));
		to->targets = more;
		to->room = room;
	}
	to->targets[to->count++] = (struct alias_target){ address, final };
}

static void read_targets(struct parser *p, struct span text, struct alias *to);

static void read_list(struct parser *p, struct span path, struct alias *to)
{
	struct parser in = *p;
	struct buf text;
	char *name = arena_str(&p->a->arena, path);
	int r;

	if (p->in_list) {
		complain(p, "a list includes no other list", path);
		return;
	}
	if (!name || path.n == 0 || path.p[0] != '/' || memchr(path.p, 0, path.n)) {
		complain(p, "a list is named by its whole path", path);
		return;
	}
	buf_init(&text, ALIAS_FILE_OCTETS_MAX);
	r = p->reader->include ? p->reader->include(p->reader->arg, name, &text) : -ERR_UNSUPPORTED;
	if (r < 0) {
		char what[256];
		snprintf(what, sizeof(what), "the list cannot be read (%s)", err_text(r));
		complain(p, what, path);
	} else {
		in.file = name;
		in.line = 1;
		in.in_list = true;
		read_targets(&in, buf_span(&text), to);
		p->bad = in.bad;
		p->err = in.err;
	}
	buf_done(&text);
}

static void read_target(struct parser *p, struct span s, struct alias *to)
{
	struct span inner = s, address;
	bool final = false;
	int r;

	if (s.n >= 2 && s.p[0] == '"' && quoted_octets(s) == s.n)
		inner = span_of(s.p + 1, s.n - 2);
	if (span_starts_nocase(inner, include_word)) {
		if (p->virtual_)
			complain(p, "there are no lists in this kind of table", s);
		else
			read_list(p, trim(span_skip(inner, include_word.n)), to);
		return;
	}
	if (inner.n && inner.p[0] == '|') {
		complain(p, "an alias runs no program here", s);
		return;
	}
	if (inner.n && inner.p[0] == '/') {
		complain(p, "an alias writes no file here", s);
		return;
	}
	if (s.p[0] == '\\') {
		final = true;
		s = span_skip(s, 1);
	}
	r = p->virtual_ && s.n && s.p[0] == '@' ? normal_domain(p, s, &address)
						: normal(p, s, &address);
	if (r == -ERR_NOMEM)
		p->err = r;
	else if (r < 0)
		complain(p, "not an address", s);
	else
		add_target(p, to, address, final);
}

/* Lines of a list that begin with # are comments. */
static struct span skip_comment_lines(struct parser *p, struct span text)
{
	for (;;) {
		ptrdiff_t lf;
		while (text.n && is_blank(text.p[0])) {
			p->line += text.p[0] == '\n';
			text = span_skip(text, 1);
		}
		if (!text.n || text.p[0] != '#')
			return text;
		lf = span_find(text, '\n');
		text = span_skip(text, lf < 0 ? text.n : (size_t)lf);
	}
}

static void read_targets(struct parser *p, struct span text, struct alias *to)
{
	while (text.n && p->err == 0) {
		const uint8_t *from;
		struct span item;
		if (p->in_list)
			text = skip_comment_lines(p, text);
		from = text.p;
		item = next_target(p, &text);
		if (item.n)
			read_target(p, item, to);
		if (p->in_list)
			for (; from < text.p; from++)
				p->line += *from == '\n';
	}
}

static void put(struct parser *p, struct map *to, struct alias *alias, struct span key)
{
	if (map_get(to, key))
		return; /* the first one counts, as in a search through the files */
	alias->name = key;
	if (map_put(to, key, alias) < 0)
		p->err = -ERR_NOMEM;
}

/* One logical line: name and targets.  at: where the name ends; behind: of what parts them. */
static void read_entry(struct parser *p, struct span name, struct span targets)
{
	struct alias *alias = arena_zalloc(&p->a->arena, sizeof(*alias));
	int bad = p->bad, r;
	struct span key;

	if (!alias) {
		p->err = -ERR_NOMEM;
		return;
	}
	r = p->virtual_ && name.n && name.p[0] == '@' ? normal_domain(p, name, &key)
						      : normal(p, name, &key);
	if (r == -ERR_NOMEM) {
		p->err = r;
		return;
	}
	if (r < 0 || key.n == 0 || (!p->virtual_ && span_rfind(key, '@') >= 0)) {
		complain(p, p->virtual_ ? "not an address" : "not a name without a domain", name);
		return;
	}
	read_targets(p, targets, alias);
	if (alias->count == 0 && p->bad == bad && p->err == 0)
		complain(p, "it stands for nothing", name);
	if (p->bad == bad && p->err == 0)
		put(p, p->virtual_ ? &p->a->virtual_ : &p->a->local, alias, key);
}

static void read_logical(struct parser *p, struct span line)
{
	size_t n = 0;

	line = trim(line);
	while (n < line.n && (p->virtual_ ? !is_blank(line.p[n]) : line.p[n] != ':'))
		n += line.p[n] == '"' ? quoted_octets(span_skip(line, n)) : 1;
	if (n == 0 || n >= line.n)
		complain(p,
		    p->virtual_ ? "a line is ADDRESS TARGET, TARGET"
				: "a line is NAME: TARGET, TARGET",
		    line);
	else
		read_entry(p, trim(span_of(line.p, n)), span_skip(line, n + 1));
}

static int read_table(struct parser *p, struct span text)
{
	struct buf logical;
	unsigned number = 0;

	buf_init(&logical, ALIAS_FILE_OCTETS_MAX);
	while (text.n && p->err == 0) {
		ptrdiff_t lf = span_find(text, '\n');
		struct span line = span_of(text.p, lf < 0 ? text.n : (size_t)lf), all = trim(line);
		number++;
		text = span_skip(text, line.n + 1);
		if (all.n == 0 || all.p[0] == '#')
			continue;
		if (!is_blank(line.p[0])) {
			if (buf_len(&logical))
				read_logical(p, buf_span(&logical));
			buf_reset(&logical);
			p->line = number;
		} else if (!buf_len(&logical)) {
			p->line = number;
			complain(p, "a line that goes on, and none before it", all);
			continue;
		}
		buf_add_span(&logical, line);
		buf_add_char(&logical, ' ');
	}
	if (buf_len(&logical) && p->err == 0)
		read_logical(p, buf_span(&logical));
	if (logical.failed)
		p->err = -ERR_NOMEM;
	buf_done(&logical);
	return p->err ? p->err : p->bad ? -ERR_CONFIG : 0;
}

int aliases_add_local(
    struct aliases *a, struct span text, const char *file, const struct alias_reader *reader)
{
	struct parser p = { .a = a, .reader = reader, .file = file };

	return read_table(&p, text);
}

int aliases_add_virtual(
    struct aliases *a, struct span text, const char *file, const struct alias_reader *reader)
{
	struct parser p = { .a = a, .reader = reader, .file = file, .virtual_ = true };

	return read_table(&p, text);
}
