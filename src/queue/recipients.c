/*
 * queue/recipients.c - see queue/recipients.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "queue/recipients.h"
#include "base/err.h"
#include "base/utf8.h"

static bool is_local(void *arg, struct span domain)
{
	const struct config *cfg = arg;
	const char *class_ = config_domain_class(cfg, domain);

	return class_ && strcmp(class_, "local") == 0;
}

static struct alias_world world_of(const struct config *cfg)
{
	return (struct alias_world){ .delimiters = cfg->recipient_delimiter,
		.origin = cfg->alias_domain,
		.is_local = is_local,
		.arg = (void *)(uintptr_t)cfg };
}

bool queue_recipient_known(
    const struct config *cfg, const struct aliases *aliases, struct span address)
{
	struct alias_world world = world_of(cfg);
	struct arena arena;
	bool yes;

	if (config_recipient_listed(cfg, address) ||
	    (aliases && aliases_have(aliases, &world, address)))
		return true;
	arena_init(&arena, 8192);
	yes = config_recipient_listed(cfg, alias_bare(address, cfg->recipient_delimiter, &arena));
	arena_done(&arena);
	return yes;
}

void queue_recipients_init(struct queue_recipients *set, const struct config *cfg,
    struct alias_files *aliases, struct arena *arena, struct span sender)
{
	*set = (struct queue_recipients){ .arena = arena,
		.cfg = cfg,
		.aliases = aliases ? alias_files_get(aliases) : NULL,
		.first = { .sender = sender } };
	set->last = &set->first;
	map_init(&set->seen, false);
}

void queue_recipients_done(struct queue_recipients *set)
{
	aliases_unref(&set->aliases);
	map_done(&set->seen);
}

static struct queue_group *group_for(struct queue_recipients *set, struct span owner)
{
	struct queue_group *g;

	/* A bounce stays one: whoever gets it, nobody is to be told of its failure. */
	if (owner.n == 0 || set->first.sender.n == 0)
		return &set->first;
	for (g = set->first.next; g; g = g->next)
		if (span_eq_nocase(g->sender, owner))
			return g;
	g = arena_zalloc(set->arena, sizeof(*g));
	if (!g)
		return NULL;
	g->sender = owner;
	g->owned = true;
	set->owners++;
	set->last = set->last->next = g;
	return g;
}

/* Would the results need more messages than one may become? */
static bool too_many_owners(const struct queue_recipients *set, const struct alias_results *results)
{
	size_t more = 0;

	if (!set->owners_max || set->first.sender.n == 0)
		return false;
	/* Those of one list stand one after the other; counted high at worst. */
	for (size_t i = 0; i < results->count; i++)
		if (results->list[i].owner.n &&
		    (i == 0 || !span_eq(results->list[i].owner, results->list[i - 1].owner)))
			more++;
	return set->owners + more > set->owners_max;
}

static int append(struct queue_group *g, struct arena *arena, const struct rcpt *r)
{
	if (g->count == g->room) {
		size_t room = g->room ? g->room * 2 : 2;
		struct rcpt *more = arena_alloc(arena, room * sizeof(*more));
		if (!more)
			return -ERR_NOMEM;
		if (g->count)
			memcpy(more, g->rcpts, g->count * sizeof(*more));
		g->rcpts = more;
		g->room = room;
	}
	g->rcpts[g->count++] = *r;
	return 0;
}

/* 0, 1: this sender has it already, -ERR_NOMEM.  The key is the sender's length, both addresses. */
static int see(struct queue_recipients *set, const struct queue_group *g, struct span address)
{
	const char *key = arena_printf(set->arena, "%.*s>%.*s",
	    SPAN_FMT(g->owned ? g->sender : span_of("", 0)), SPAN_FMT(address));

	if (!key)
		return -ERR_NOMEM;
	if (map_get(&set->seen, span_str(key)))
		return 1;
	return map_put(&set->seen, span_str(key), set);
}

static int add(struct queue_recipients *set, const struct rcpt *r, struct span owner)
{
	struct queue_group *g = group_for(set, owner);
	int err = g ? 0 : -ERR_NOMEM;

	if (err == 0 && set->aliases)
		err = see(set, g, r->address);
	if (err != 0)
		return err > 0 ? 0 : err;
	if (g->count == 0)
		set->groups++;
	return append(g, set->arena, r);
}

/* What one of the addresses behind an alias inherits; RFC 3461 5.2.7. */
static struct rcpt inherit(
    const struct rcpt *one, const struct alias_results *results, size_t i, bool owned)
{
	struct rcpt r = *one;

	r.address = results->list[i].address;
	r.aliased = RCPT_ALIASED;
	if (owned) {
		r.notify = 0;
		r.orcpt = span_of("", 0);
		return r;
	}
	if (results->count == 1)
		return r;
	r.aliased |= RCPT_EXPANDED;
	if (r.notify & RCPT_NOTIFY_SUCCESS) {
		r.notify &= (uint8_t)~RCPT_NOTIFY_SUCCESS;
		if (r.notify == 0)
			r.notify = RCPT_NOTIFY_NEVER;
		if (i == 0)
			r.aliased |= RCPT_TELL_EXPANDED;
	}
	return r;
}

static int copy(struct queue_recipients *set, const struct rcpt *one, struct rcpt *copy_r)
{
	*copy_r = (struct rcpt){ .address = arena_span(set->arena, one->address),
		.orcpt = arena_span(set->arena, one->orcpt),
		.notify = one->notify };
	return copy_r->address.p && copy_r->orcpt.p ? 0 : -ERR_NOMEM;
}

/* Who it was to be for stays known, here and to hosts that know DSN. */
static int keep_original(struct queue_recipients *set, struct rcpt *r)
{
	if (r->orcpt.n || !ascii_valid(r->address))
		return 0;
	r->orcpt = span_str(arena_printf(set->arena, "rfc822;%.*s", SPAN_FMT(r->address)));
	return r->orcpt.p ? 0 : -ERR_NOMEM;
}

int queue_recipients_add(struct queue_recipients *set, const struct rcpt *one, struct span *where_r)
{
	struct alias_world world = world_of(set->cfg);
	struct alias_results results;
	struct rcpt r;
	int err = copy(set, one, &r);

	*where_r = r.address;
	if (err < 0)
		return err;
	if (!set->aliases)
		return add(set, &r, span_of("", 0));
	err = aliases_expand(set->aliases, &world, r.address, set->arena, &results);
	if (err < 0) {
		*where_r = results.where;
		return err;
	}
	if (!results.expanded)
		return add(set, &r, span_of("", 0));
	if (too_many_owners(set, &results))
		return -ERR_BUSY;
	err = keep_original(set, &r);
	for (size_t i = 0; err == 0 && i < results.count; i++) {
		struct span owner = results.list[i].owner;
		struct rcpt to = inherit(&r, &results, i, owner.n && set->first.sender.n);
		err = add(set, &to, owner);
	}
	return err;
}
