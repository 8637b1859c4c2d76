/*
 * queue/queue.c - the due heap of a worker.
 *
 * One array holds all that is known: a binary heap of those that are due at a time,
 * and behind it the active and the held, in no order.  A hash table from id to
 * place makes any of them found, so that an operator's flush or hold need not walk.
 * 16 octets and a little for a message: ten million of them fit beside the index.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "queue/queue.h"
#include "base/err.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define ACTIVE INT64_MIN /* in `due_ms`: taken, not set again yet */
#define NONE   UINT32_MAX

struct item {
	uint64_t id;
	int64_t due_ms;
};

struct queue {
	struct item *items;
	size_t heap; /* items[0 .. heap - 1] are a heap by due_ms */
	size_t count, cap;
	size_t active;
	uint32_t *places; /* open addressing; NONE: empty */
	size_t slots;     /* a power of two, or 0 */
};

/* Ids are ours, not a peer's: mixing is enough, no secret is needed. */
static size_t slot_of(const struct queue *q, uint64_t id)
{
	id ^= id >> 29;
	id *= 0xbf58476d1ce4e5b9u;
	id ^= id >> 32;
	return (size_t)id & (q->slots - 1);
}

/* The slot that holds the id, or the empty one where it would go. */
static size_t slot_find(const struct queue *q, uint64_t id)
{
	size_t s = slot_of(q, id);

	while (q->places[s] != NONE && q->items[q->places[s]].id != id)
		s = (s + 1) & (q->slots - 1);
	return s;
}

static uint32_t place_find(const struct queue *q, uint64_t id)
{
	return q->slots ? q->places[slot_find(q, id)] : NONE;
}

/* Empty a slot and move those behind it that it had pushed on. */
static void slot_clear(struct queue *q, size_t hole)
{
	size_t s = hole;

	for (;;) {
		size_t home;
		s = (s + 1) & (q->slots - 1);
		if (q->places[s] == NONE)
			break;
		home = slot_of(q, q->items[q->places[s]].id);
		/* May the one at s stand in the hole?  Not if its home lies between them. */
		if (((s - home) & (q->slots - 1)) < ((s - hole) & (q->slots - 1)))
			continue;
		q->places[hole] = q->places[s];
		hole = s;
	}
	q->places[hole] = NONE;
}

/* ---- the array ---- */

static void swap(struct queue *q, size_t a, size_t b)
{
	struct item x = q->items[a];
	size_t sa, sb;

	if (a == b)
		return;
	sa = slot_find(q, q->items[a].id);
	sb = slot_find(q, q->items[b].id);
	q->items[a] = q->items[b];
	q->items[b] = x;
	q->places[sa] = (uint32_t)b;
	q->places[sb] = (uint32_t)a;
}

static size_t sift_up(struct queue *q, size_t at)
{
	while (at > 0 && q->items[(at - 1) / 2].due_ms > q->items[at].due_ms) {
		swap(q, at, (at - 1) / 2);
		at = (at - 1) / 2;
	}
	return at;
}

static void sift_down(struct queue *q, size_t at)
{
	for (;;) {
		size_t least = at, child = 2 * at + 1;
		for (size_t i = child; i < child + 2 && i < q->heap; i++)
			if (q->items[i].due_ms < q->items[least].due_ms)
				least = i;
		if (least == at)
			return;
		swap(q, at, least);
		at = least;
	}
}

/* Take an item out of the heap part; it stands right behind it then. */
static void heap_leave(struct queue *q, size_t at)
{
	size_t last = --q->heap;

	swap(q, at, last);
	if (at < last)
		sift_down(q, sift_up(q, at));
}

/* The item right behind the heap, or any behind it, joins. */
static void heap_join(struct queue *q, size_t at)
{
	swap(q, at, q->heap);
	sift_up(q, q->heap++);
}

static int grow(struct queue *q)
{
	if (q->count == q->cap) {
		/* By a quarter: of ten million items at most two and a half are spare. */
		size_t cap = q->cap + q->cap / 4 + 64;
		struct item *items;
		if (cap >= NONE)
			return -ERR_NOMEM;
		items = realloc(q->items, cap * sizeof(*items));
		if (!items)
			return -ERR_NOMEM;
		q->items = items;
		q->cap = cap;
	}
	if ((q->count + 1) * 4 > q->slots * 3) {
		size_t slots = q->slots ? q->slots * 2 : 128;
		uint32_t *places = malloc(slots * sizeof(*places));
		if (!places)
			return -ERR_NOMEM;
		memset(places, 0xff, slots * sizeof(*places));
		free(q->places);
		q->places = places;
		q->slots = slots;
		for (size_t i = 0; i < q->count; i++)
			q->places[slot_find(q, q->items[i].id)] = (uint32_t)i;
	}
	return 0;
}

int queue_new(struct queue **q_r)
{
	struct queue *q = calloc(1, sizeof(*q));

	if (!q)
		return -ERR_NOMEM;
	*q_r = q;
	return 0;
}

void queue_free(struct queue **q)
{
	struct queue *old = *q;

	*q = NULL;
	if (!old)
		return;
	free(old->items);
	free(old->places);
	free(old);
}

int queue_set(struct queue *q, uint64_t id, int64_t due_ms)
{
	uint32_t at = place_find(q, id);

	if (due_ms == ACTIVE)
		due_ms++;
	if (at == NONE) {
		if (grow(q) < 0)
			return -ERR_NOMEM;
		at = (uint32_t)q->count++;
		q->items[at] = (struct item){ id, due_ms };
		q->places[slot_find(q, id)] = at;
	} else if (at < q->heap) {
		heap_leave(q, at);
		at = (uint32_t)q->heap;
	} else if (q->items[at].due_ms == ACTIVE) {
		q->active--;
	}
	q->items[at].due_ms = due_ms;
	if (due_ms != INT64_MAX)
		heap_join(q, at);
	return 0;
}

bool queue_remove(struct queue *q, uint64_t id)
{
	uint32_t at = place_find(q, id);

	if (at == NONE)
		return false;
	if (at < q->heap) {
		heap_leave(q, at);
		at = (uint32_t)q->heap;
	} else if (q->items[at].due_ms == ACTIVE) {
		q->active--;
	}
	swap(q, at, q->count - 1);
	slot_clear(q, slot_find(q, id));
	q->count--;
	return true;
}

bool queue_take(struct queue *q, int64_t now_ms, uint64_t *id_r)
{
	if (q->heap == 0 || q->items[0].due_ms > now_ms)
		return false;
	heap_leave(q, 0);
	q->items[q->heap].due_ms = ACTIVE;
	q->active++;
	*id_r = q->items[q->heap].id;
	return true;
}

bool queue_has(const struct queue *q, uint64_t id)
{
	return place_find(q, id) != NONE;
}

bool queue_activate(struct queue *q, uint64_t id)
{
	uint32_t at = place_find(q, id);

	if (at == NONE || q->items[at].due_ms == ACTIVE)
		return false;
	if (at < q->heap) {
		heap_leave(q, at);
		at = (uint32_t)q->heap;
	}
	q->items[at].due_ms = ACTIVE;
	q->active++;
	return true;
}

int64_t queue_due(const struct queue *q)
{
	return q->heap > 0 ? q->items[0].due_ms : INT64_MAX;
}

size_t queue_count(const struct queue *q)
{
	return q->count;
}

size_t queue_active(const struct queue *q)
{
	return q->active;
}

bool queue_is_active(const struct queue *q, uint64_t id)
{
	uint32_t at = place_find(q, id);

	return at != NONE && q->items[at].due_ms == ACTIVE;
}

size_t queue_octets(const struct queue *q)
{
	return q->cap * sizeof(*q->items) + q->slots * sizeof(*q->places);
}
