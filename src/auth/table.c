/*
 * auth/table.c - see auth/table.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "auth/table.h"
#include "auth/auth.h"
#include "base/base64.h"
#include "base/err.h"
#include "base/random.h"
#include "base/utf8.h"

#include <gsasl.h>
#include <stdlib.h>

/* A million users with a list of senders each. */
#define TABLE_OCTETS_MAX (512u << 20)

static const struct span scheme = { (const uint8_t *)"SCRAM-SHA-256$", 14 };

bool auth_name_valid(struct span name)
{
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] < 33 || name.p[i] == 127 || name.p[i] == ':' || name.p[i] == '#')
			return false;
	return name.n > 0 && name.n <= AUTH_USER_MAX && utf8_valid(name);
}

/* Up to the octet, which is skipped; false when it is not there. */
static bool cut(struct span *rest, uint8_t at, struct span *piece_r)
{
	ptrdiff_t n = span_find(*rest, at);

	if (n < 0)
		return false;
	*piece_r = span_of(rest->p, (size_t)n);
	*rest = span_skip(*rest, (size_t)n + 1);
	return true;
}

static bool decode(struct span text, uint8_t *to, size_t most, size_t *n_r)
{
	return base64_length(most) >= text.n && text.n / 4 * 3 <= most + 2 &&
	    base64_decode(text, to, n_r) == 0;
}

/* "ITERATIONS:SALT$STORED:SERVER" with the scheme taken off; a sentence, or NULL. */
static const char *read_hash(struct span s, struct auth_hash *h)
{
	uint8_t salt[AUTH_SALT_OCTETS_MAX + 3], key[AUTH_KEY_OCTETS + 3];
	struct span iterations, text;
	uint64_t number;
	size_t n;

	if (!cut(&s, ':', &iterations) || span_u64(iterations, AUTH_ITERATIONS_MAX, &number) < 0 ||
	    number < AUTH_ITERATIONS_MIN)
		return "the iterations are not between 4096 and 1000000";
	h->iterations = (uint32_t)number;
	if (!cut(&s, '$', &text) || !decode(text, salt, AUTH_SALT_OCTETS_MAX, &n) || n < 8 ||
	    n > AUTH_SALT_OCTETS_MAX)
		return "the salt is no base64 of 8 to 64 octets";
	memcpy(h->salt, salt, n);
	h->salt_n = n;
	if (!cut(&s, ':', &text) || !decode(text, key, AUTH_KEY_OCTETS, &n) || n != AUTH_KEY_OCTETS)
		return "the stored key is no base64 of 32 octets";
	memcpy(h->stored_key, key, n);
	if (!decode(s, key, AUTH_KEY_OCTETS, &n) || n != AUTH_KEY_OCTETS)
		return "the server key is no base64 of 32 octets";
	memcpy(h->server_key, key, n);
	return NULL;
}

/* The hash ends where the senders begin: behind its third colon. */
static struct span take_hash(struct span *rest)
{
	struct span all = *rest;
	size_t n = 0;

	for (int colons = 0; n < all.n; n++)
		if (all.p[n] == ':' && ++colons == 3)
			break;
	*rest = span_skip(all, n + 1);
	return span_of(all.p, n);
}

static const char *read_line(struct span line, struct auth_table *t, int *err)
{
	struct auth_user *u = arena_zalloc(&t->arena, sizeof(*u));
	struct span name, hash;
	const char *why;

	if (!u) {
		*err = -ERR_NOMEM;
		return NULL;
	}
	if (!cut(&line, ':', &name) || !auth_name_valid(name))
		return "a line is NAME:HASH or NAME:HASH:SENDERS";
	if (!span_starts_nocase(line, scheme))
		return "the hash is not of the kind SCRAM-SHA-256$";
	line = span_skip(line, scheme.n);
	hash = take_hash(&line);
	why = read_hash(hash, &u->hash);
	if (why)
		return why;
	u->name = arena_span(&t->arena, name);
	u->senders = arena_span(&t->arena, line);
	if (u->name.p && map_get(&t->users, u->name))
		return "the user stands here twice";
	if (!u->name.p || !u->senders.p || map_put(&t->users, u->name, u) < 0)
		*err = -ERR_NOMEM;
	if (!t->iterations)
		t->iterations = u->hash.iterations;
	return NULL;
}

int auth_table_parse(struct span text, struct auth_table *t_r, unsigned *line_r, const char **why_r)
{
	struct auth_table t = { .iterations = 0 };
	const char *why = NULL;
	unsigned number = 0;
	int err = 0;

	arena_init(&t.arena, TABLE_OCTETS_MAX);
	map_init(&t.users, true);
	while (text.n && !why && err == 0) {
		ptrdiff_t lf = span_find(text, '\n');
		struct span line = span_of(text.p, lf < 0 ? text.n : (size_t)lf);
		number++;
		text = span_skip(text, line.n + 1);
		line = span_trim(line);
		if (line.n && line.p[line.n - 1] == '\r')
			line.n--;
		if (line.n && line.p[0] != '#')
			why = read_line(line, &t, &err);
	}
	if (why || err < 0) {
		auth_table_done(&t);
		*line_r = number;
		*why_r = why;
		return why ? -ERR_SYNTAX : err;
	}
	if (!t.iterations)
		t.iterations = AUTH_ITERATIONS_DEFAULT;
	*t_r = t;
	return 0;
}

void auth_table_done(struct auth_table *t)
{
	map_done(&t->users);
	arena_done(&t->arena);
}

const struct auth_user *auth_table_user(const struct auth_table *t, struct span name)
{
	return map_get(&t->users, name);
}

bool auth_user_may_send(const struct auth_user *u, struct span sender)
{
	ptrdiff_t at = span_rfind(sender, '@');
	struct span domain = at < 0 ? span_of(sender.p, 0) : span_skip(sender, (size_t)at);
	struct span rest = u->senders;

	if (sender.n == 0 || span_eq_nocase(sender, u->name))
		return true;
	while (rest.n) {
		ptrdiff_t comma = span_find(rest, ',');
		struct span one = span_of(rest.p, comma < 0 ? rest.n : (size_t)comma);
		rest = span_skip(rest, one.n + 1);
		one = span_trim(one);
		if (span_eq(one, SPAN_LIT("*")) || span_eq_nocase(one, sender) ||
		    (domain.n && one.n && one.p[0] == '@' && span_eq_nocase(one, domain)))
			return true;
	}
	return false;
}

int auth_hash_make(struct span password, struct auth_hash *h)
{
	char *text, salted[AUTH_KEY_OCTETS], client[AUTH_KEY_OCTETS];
	int rc;

	if (password.n == 0 || memchr(password.p, 0, password.n))
		return -ERR_SYNTAX;
	text = malloc(password.n + 1);
	if (!text)
		return -ERR_NOMEM;
	memcpy(text, password.p, password.n);
	text[password.n] = '\0';
	rc = gsasl_scram_secrets_from_password(GSASL_HASH_SHA256, text, h->iterations,
	    (const char *)h->salt, h->salt_n, salted, client, (char *)h->server_key,
	    (char *)h->stored_key);
	explicit_bzero(text, password.n);
	explicit_bzero(salted, sizeof(salted));
	explicit_bzero(client, sizeof(client));
	free(text);
	return rc == GSASL_OK ? 0 : rc == GSASL_MALLOC_ERROR ? -ERR_NOMEM : -ERR_SYNTAX;
}

int auth_hash_new(struct span password, uint32_t iterations, struct auth_hash *hash_r)
{
	struct auth_hash h = { .iterations = iterations, .salt_n = AUTH_SALT_OCTETS };
	int r;

	random_fill(h.salt, h.salt_n);
	r = auth_hash_make(password, &h);
	if (r == 0)
		*hash_r = h;
	return r;
}

int auth_hash_check(const struct auth_hash *hash, struct span password)
{
	struct auth_hash h = *hash;
	uint8_t differ = 0;
	int r = auth_hash_make(password, &h);

	if (r < 0)
		return r;
	for (size_t i = 0; i < AUTH_KEY_OCTETS; i++)
		differ |= h.stored_key[i] ^ hash->stored_key[i];
	explicit_bzero(&h, sizeof(h));
	return differ == 0;
}

int auth_hash_text(const struct auth_hash *h, struct buf *out)
{
	buf_add_span(out, scheme);
	buf_addf(out, "%u:", h->iterations);
	base64_encode(span_of(h->salt, h->salt_n), out);
	buf_add_char(out, '$');
	base64_encode(span_of(h->stored_key, AUTH_KEY_OCTETS), out);
	buf_add_char(out, ':');
	base64_encode(span_of(h->server_key, AUTH_KEY_OCTETS), out);
	return out->failed ? -ERR_NOMEM : 0;
}
