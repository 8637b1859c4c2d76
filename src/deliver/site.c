/*
 * deliver/site.c - how many connections a site has, who waits for one, and which are idle.
 *
 * A connection that ends well takes the next waiting group of its site; so under
 * load connections are kept.  One that finds none is idle for a short while and takes the
 * next group that comes.  An idle one holds a place only as long as nobody else wants it.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "deliver/delivery-private.h"

#include <assert.h>
#include <stdlib.h>

/* So many groups wait at a site before further messages are put off: they must not fill all the
 * places of messages in work and keep other sites waiting. */
#define SITE_WAITING_MAX 50

static struct site *site_get(struct deliver_agent *a, struct span key)
{
	struct site *s = map_get(&a->sites, key);
	uint8_t *copy;

	if (s)
		return s;
	s = calloc(1, sizeof(*s));
	copy = malloc(key.n + 1);
	if (s && copy) {
		memcpy(copy, key.p, key.n);
		s->key = span_of(copy, key.n);
		s->waiting_last = &s->waiting;
		if (map_put(&a->sites, s->key, s) == 0)
			return s;
	}
	free(copy);
	free(s);
	return NULL;
}

static void site_drop(struct deliver_agent *a, struct site *s)
{
	if (s->connections || s->waiting)
		return;
	(void)map_del(&a->sites, s->key);
	free((void *)(uintptr_t)s->key.p);
	free(s);
}

static void put_off(struct group *g)
{
	g->work->put_off = true;
	group_done(g);
}

void site_idle_add(struct delivery *d)
{
	struct deliver_agent *a = d->agent;

	d->is_idle = true;
	d->site_next = d->site->idle;
	d->site->idle = d;
	d->newer = NULL;
	d->older = a->newest_idle;
	if (d->older)
		d->older->newer = d;
	else
		a->oldest_idle = d;
	a->newest_idle = d;
}

void site_idle_remove(struct delivery *d)
{
	struct deliver_agent *a = d->agent;
	struct delivery **at;

	for (at = &d->site->idle; *at != d; at = &(*at)->site_next)
		assert(*at);
	*at = d->site_next;
	if (d->older)
		d->older->newer = d->newer;
	else
		a->oldest_idle = d->newer;
	if (d->newer)
		d->newer->older = d->older;
	else
		a->newest_idle = d->older;
	d->is_idle = false;
}

void site_idle_quit_all(struct deliver_agent *a)
{
	while (a->oldest_idle)
		smtp_delivery_quit(a->oldest_idle);
}

/* An idle connection of the site goes on with the group. */
static bool take_idle(struct site *s, struct group *g)
{
	for (struct delivery *d = s->idle, *next; d; d = next) {
		next = d->site_next;
		if (smtp_delivery_take(d, g))
			return true;
	}
	return false;
}

/* Idle connections give their places up: one of the site's own, or the oldest of all. */
static void make_room(struct deliver_agent *a, struct site *s)
{
	if (s->connections >= a->cfg->site_connections_max && s->idle) {
		/* It must not be the last thing that holds the site. */
		s->connections++;
		smtp_delivery_quit(s->idle);
		s->connections--;
	} else if (s->connections < a->cfg->site_connections_max &&
	    a->connections >= a->cfg->connections_max && a->oldest_idle) {
		s->connections++;
		smtp_delivery_quit(a->oldest_idle);
		s->connections--;
	}
}

void site_enter(struct group *g)
{
	struct deliver_agent *a = g->work->agent;
	struct site *s = site_get(a, g->route.site);

	if (!s || (s->waiting_count >= SITE_WAITING_MAX)) {
		put_off(g);
		return;
	}
	g->site = s;
	if (take_idle(s, g))
		return;
	make_room(a, s);
	if (s->connections >= a->cfg->site_connections_max ||
	    a->connections >= a->cfg->connections_max) {
		if (s->connections == 0) {
			/* No connection here will end and wake it. */
			site_drop(a, s);
			put_off(g);
			return;
		}
		g->is_waiting = true;
		*s->waiting_last = g;
		s->waiting_last = &g->next_waiting;
		s->waiting_count++;
		return;
	}
	s->connections++;
	a->connections++;
	smtp_delivery_start(g);
}

void group_targets_ready(struct group *g)
{
	site_enter(g);
}

struct group *site_next(struct site *s)
{
	struct group *g = s->waiting;

	if (!g)
		return NULL;
	s->waiting = g->next_waiting;
	if (!s->waiting)
		s->waiting_last = &s->waiting;
	s->waiting_count--;
	g->next_waiting = NULL;
	g->is_waiting = false;
	return g;
}

/* A place is free: it is for the site's own next group. */
void site_leave(struct deliver_agent *a, struct site *s)
{
	struct group *g;

	s->connections--;
	a->connections--;
	if (!a->stopping && (g = site_next(s))) {
		s->connections++;
		a->connections++;
		smtp_delivery_start(g);
		return;
	}
	site_drop(a, s);
	agent_work_over(a);
}

void site_drop_waiting(struct work *w)
{
	for (struct group *g = w->groups, *next; g; g = next) {
		struct group **at;
		bool last = w->open_groups == 1;
		next = g->next;
		if (!g->is_waiting)
			continue;
		g->is_waiting = false;
		for (at = &g->site->waiting; *at && *at != g; at = &(*at)->next_waiting)
			;
		assert(*at);
		*at = g->next_waiting;
		if (!*at)
			g->site->waiting_last = at;
		g->site->waiting_count--;
		put_off(g);
		if (last)
			return; /* the work is gone with its last group */
	}
}
