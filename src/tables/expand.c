/*
 * tables/expand.c - from an address to what it stands for.
 *
 * An address is looked for in the virtual table, then, when its domain is local, among the
 * local names; what comes of it is looked up again.  Within one expansion each address is
 * expanded once.  One that comes back below itself is a loop, unless it is named by its own
 * alias: then it means itself.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "base/idn.h"
#include "tables/aliases-private.h"

#include <stdio.h>

/* Aliases that one expansion looks into. */
#define STEPS_MAX 10000
/* Longest address that is looked up; nothing longer is in a table. */
#define ADDRESS_MAX 1200

enum stage { STAGE_VIRTUAL, STAGE_LOCAL };

/* An alias that is open above us. */
struct frame {
	const struct frame *above;
	struct span address;
	enum stage stage;
};

struct expansion {
	const struct aliases *a;
	const struct alias_world *world;
	struct arena *arena;
	struct alias_results *to;
	size_t room, steps;
	struct map results, expanded; /* addresses seen */
};

/* Parts of an address at hand. */
struct parts {
	struct span local, domain; /* domain empty: none */
	size_t user;               /* octets of `local` before the extension; all: there is none */
};

static struct parts split(struct span address, const char *delimiters)
{
	ptrdiff_t at = span_rfind(address, '@');
	struct parts p = { .local = span_of(address.p, at < 0 ? address.n : (size_t)at) };

	p.domain = span_skip(address, at < 0 ? address.n : (size_t)at + 1);
	p.user = p.local.n;
	/* A quoted local part is taken as it is. */
	if (!delimiters || !delimiters[0] || p.local.n == 0 || p.local.p[0] == '"')
		return p;
	for (size_t i = 1; i < p.local.n; i++)
		if (strchr(delimiters, p.local.p[i]) && p.local.p[i]) {
			p.user = i;
			break;
		}
	if (span_eq_nocase(span_of(p.local.p, p.user), SPAN_LIT("postmaster")) ||
	    span_eq_nocase(span_of(p.local.p, p.user), SPAN_LIT("mailer-daemon")) ||
	    span_starts_nocase(p.local, SPAN_LIT("owner-")))
		p.user = p.local.n;
	return p;
}

struct span alias_bare(struct span address, const char *delimiters, struct arena *arena)
{
	struct parts p = split(address, delimiters);
	char *text;

	if (p.user == p.local.n)
		return address;
	text = arena_printf(arena, "%.*s%s%.*s", (int)p.user, (const char *)p.local.p,
	    p.domain.n ? "@" : "", SPAN_FMT(p.domain));
	return text ? span_str(text) : address;
}

static const struct alias *find(const struct map *m, struct span user, struct span domain, bool at)
{
	uint8_t key[ADDRESS_MAX];

	if (user.n + domain.n + 1 > sizeof(key))
		return NULL;
	if (user.n)
		memcpy(key, user.p, user.n);
	if (!at)
		return map_get(m, span_of(key, user.n));
	key[user.n] = '@';
	memcpy(key + user.n + 1, domain.p, domain.n);
	return map_get(m, span_of(key, user.n + 1 + domain.n));
}

/* In the order of virtual(5).  *extension_r: what the key left out, with its delimiter. */
static const struct alias *find_virtual(const struct aliases *a, const struct alias_world *world,
    const struct parts *p, bool local, struct span *extension_r)
{
	struct span user = span_of(p->local.p, p->user), none = { p->local.p, 0 };
	struct span extension = span_skip(p->local, p->user);
	const struct alias *found;

	*extension_r = none;
	if (a->virtual_.count == 0)
		return NULL;
	if ((found = find(&a->virtual_, p->local, p->domain, true)))
		return found;
	if (extension.n && (found = find(&a->virtual_, user, p->domain, true))) {
		*extension_r = extension;
		return found;
	}
	if (local || span_eq_nocase(p->domain, span_str(world->origin))) {
		if ((found = find(&a->virtual_, p->local, none, false)))
			return found;
		if (extension.n && (found = find(&a->virtual_, user, none, false))) {
			*extension_r = extension;
			return found;
		}
	}
	return find(&a->virtual_, none, p->domain, true);
}

static const struct alias *find_local(const struct aliases *a, const struct parts *p)
{
	struct span none = { p->local.p, 0 };
	const struct alias *found = find(&a->local, p->local, none, false);

	if (!found && p->user < p->local.n)
		found = find(&a->local, span_of(p->local.p, p->user), none, false);
	return found;
}

/* The domain in the form of the tables; the address with it, in the arena; p->p NULL: no memory. */
static struct span normal(struct expansion *x, struct span address)
{
	ptrdiff_t at = span_rfind(address, '@');
	struct span local = span_of(address.p, at < 0 ? address.n : (size_t)at);
	char domain[IDN_NAME_MAX];
	int n = at < 0 ? -ERR_SYNTAX : idn_to_ascii(span_skip(address, local.n + 1), domain);

	if (at < 0)
		return span_str(
		    arena_printf(x->arena, "%.*s@%s", SPAN_FMT(local), x->world->origin));
	if (n < 0)
		return arena_span(x->arena, address);
	return span_str(arena_printf(x->arena, "%.*s@%.*s", SPAN_FMT(local), n, domain));
}

static int failed(struct expansion *x, int err, struct span where)
{
	x->to->where = where;
	return err;
}

static int add_result(struct expansion *x, struct span address, struct span owner)
{
	struct alias_results *to = x->to;

	if (map_get(&x->results, address))
		return 0;
	if (to->count == ALIAS_RESULTS_MAX)
		return failed(x, -ERR_LIMIT, address);
	if (to->count == x->room) {
		size_t room = x->room ? x->room * 2 : 1;
		struct alias_result *more = arena_alloc(x->arena, room * sizeof(*more));
		if (!more)
			return -ERR_NOMEM;
		if (to->count)
			memcpy(more, to->list, to->count * sizeof(*more));
		to->list = more;
		x->room = room;
	}
	to->list[to->count++] = (struct alias_result){ address, owner };
	return map_put(&x->results, address, x);
}

static int expand(struct expansion *x, struct span address, bool final, const struct frame *above,
    unsigned depth, struct span owner);

/* The target of an alias as an address: "@domain" takes our user, others our extension. */
static struct span target_address(
    struct expansion *x, const struct alias_target *t, const struct parts *p, struct span extension)
{
	ptrdiff_t at = span_rfind(t->address, '@');
	struct span local = span_of(t->address.p, at < 0 ? t->address.n : (size_t)at);

	if (at == 0)
		return span_str(
		    arena_printf(x->arena, "%.*s%.*s", SPAN_FMT(p->local), SPAN_FMT(t->address)));
	if (extension.n == 0 || local.p[0] == '"')
		return t->address;
	return span_str(arena_printf(x->arena, "%.*s%.*s%.*s", SPAN_FMT(local), SPAN_FMT(extension),
	    SPAN_FMT(span_skip(t->address, local.n))));
}

static int expand_targets(struct expansion *x, const struct alias *alias, const struct frame *here,
    unsigned depth, const struct parts *p, struct span extension, struct span owner)
{
	int r = 0;

	x->to->expanded = true;
	if (++x->steps > STEPS_MAX || depth >= ALIAS_DEPTH_MAX)
		return failed(x, -ERR_LIMIT, here->address);
	for (size_t i = 0; r == 0 && i < alias->count; i++) {
		struct span to = target_address(x, &alias->targets[i], p, extension);
		if (!to.p)
			return -ERR_NOMEM;
		r = expand(x, to, alias->targets[i].final, here, depth + 1, owner);
	}
	return r;
}

/* owner-NAME: in the domain where the name was found.  Empty, or p NULL without memory. */
static struct span owner_of(
    struct expansion *x, const struct alias *alias, struct span domain, struct span owner)
{
	uint8_t name[ADDRESS_MAX];

	if (alias->name.n + 6 > sizeof(name) || span_starts_nocase(alias->name, SPAN_LIT("owner-")))
		return owner;
	memcpy(name, "owner-", 6);
	memcpy(name + 6, alias->name.p, alias->name.n);
	if (!map_get(&x->a->local, span_of(name, alias->name.n + 6)))
		return owner;
	return span_str(
	    arena_printf(x->arena, "owner-%.*s@%.*s", SPAN_FMT(alias->name), SPAN_FMT(domain)));
}

static int expand(struct expansion *x, struct span address, bool final, const struct frame *above,
    unsigned depth, struct span owner)
{
	const struct alias *alias;
	struct frame here = { .above = above };
	bool self, local;
	struct span extension;
	struct parts p;

	here.address = address = normal(x, address);
	if (!address.p)
		return -ERR_NOMEM;
	if (final)
		return add_result(x, address, owner);
	self = above && span_eq_nocase(above->address, address);
	if (self && above->stage == STAGE_LOCAL)
		return add_result(x, address, owner);
	for (const struct frame *f = above; f && !self; f = f->above)
		if (span_eq_nocase(f->address, address))
			return failed(x, -ERR_LOOP, address);
	if (!self) {
		if (map_get(&x->expanded, address))
			return 0;
		if (map_put(&x->expanded, address, x) < 0)
			return -ERR_NOMEM;
	}
	p = split(address, x->world->delimiters);
	local = x->world->is_local(x->world->arg, p.domain);
	if (!self && (alias = find_virtual(x->a, x->world, &p, local, &extension))) {
		here.stage = STAGE_VIRTUAL;
		return expand_targets(x, alias, &here, depth, &p, extension, owner);
	}
	if (local && (alias = find_local(x->a, &p))) {
		here.stage = STAGE_LOCAL;
		owner = owner_of(x, alias, p.domain, owner);
		if (!owner.p)
			return -ERR_NOMEM;
		return expand_targets(x, alias, &here, depth, &p, span_of(p.local.p, 0), owner);
	}
	return add_result(x, address, owner);
}

int aliases_expand(const struct aliases *a, const struct alias_world *world, struct span address,
    struct arena *arena, struct alias_results *results_r)
{
	struct expansion x = { .a = a, .world = world, .arena = arena, .to = results_r };
	int r;

	*results_r = (struct alias_results){ .expanded = false };
	map_init(&x.results, true);
	map_init(&x.expanded, true);
	r = expand(&x, address, false, NULL, 0, SPAN_LIT(""));
	map_done(&x.results);
	map_done(&x.expanded);
	/* The address as it was written, when nothing became of it. */
	if (r == 0 && !results_r->expanded)
		results_r->list[0].address = arena_span(arena, address);
	return r == 0 && !results_r->expanded && !results_r->list[0].address.p ? -ERR_NOMEM : r;
}

bool aliases_have(const struct aliases *a, const struct alias_world *world, struct span address)
{
	ptrdiff_t at = span_rfind(address, '@');
	char domain[IDN_NAME_MAX];
	struct parts p = split(address, world->delimiters);
	struct span extension;
	bool local;
	int n;

	if (at < 0)
		p.domain = span_str(world->origin);
	else if ((n = idn_to_ascii(p.domain, domain)) >= 0)
		p.domain = span_of(domain, (size_t)n);
	local = world->is_local(world->arg, p.domain);
	return find_virtual(a, world, &p, local, &extension) || (local && find_local(a, &p));
}
