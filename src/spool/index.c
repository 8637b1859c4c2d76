/*
 * spool/index.c - the index of queued messages, in order of id.
 *
 * A sorted array of chunks, each a sorted array of entries.  Ids rise with time, so
 * insertions go to the end and chunks stay full; a queue drains from its front, so
 * removal moves the shorter side.  A chunk that is mostly empty is joined to its
 * neighbour.  48 octets for an entry and 16 for every CHUNK_ENTRIES of them.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "spool/spool-private.h"

#include <stdlib.h>

/* Small enough to be moved in a moment, large enough for few slots: 12 KiB. */
#define CHUNK_ENTRIES 256

struct index_chunk {
	uint32_t start, count;
	struct entry entries[CHUNK_ENTRIES];
};

void index_init(struct index *ix)
{
	*ix = (struct index){ 0 };
}

void index_done(struct index *ix)
{
	for (size_t i = 0; i < ix->count; i++)
		free(ix->slots[i].chunk);
	free(ix->slots);
	index_init(ix);
}

/* The slot whose chunk holds the id, if any does: the last one that begins at or below it. */
static size_t slot_of(const struct index *ix, uint64_t id)
{
	size_t low = 0, high = ix->count;

	if (high > 0 && ix->slots[high - 1].first <= id)
		return high - 1;
	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;
		if (ix->slots[mid].first <= id)
			low = mid;
		else
			high = mid;
	}
	return low;
}

/* Place of the first entry that is not below id. */
static uint32_t place_of(const struct index_chunk *c, uint64_t id)
{
	const struct entry *e = c->entries + c->start;
	uint32_t low = 0, high = c->count;

	if (high > 0 && e[high - 1].id < id)
		return high;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		if (e[mid].id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct entry *index_find(const struct index *ix, uint64_t id)
{
	struct index_chunk *c;
	uint32_t at;

	if (ix->count == 0)
		return NULL;
	c = ix->slots[slot_of(ix, id)].chunk;
	at = place_of(c, id);
	if (at == c->count || c->entries[c->start + at].id != id)
		return NULL;
	return &c->entries[c->start + at];
}

struct entry *index_after(struct index *ix, uint64_t id)
{
	size_t slot = ix->walk_slot, at = ix->walk_at;
	struct index_chunk *c;

	if (ix->count == 0 || id == UINT64_MAX)
		return NULL;
	/* A walk nearly always goes on where it ended. */
	if (slot >= ix->count || at >= (c = ix->slots[slot].chunk)->count ||
	    c->entries[c->start + at].id != id) {
		slot = slot_of(ix, id + 1);
		at = place_of(ix->slots[slot].chunk, id + 1);
	} else {
		at++;
	}
	c = ix->slots[slot].chunk;
	if (at == c->count) {
		if (++slot == ix->count)
			return NULL;
		c = ix->slots[slot].chunk;
		at = 0;
	}
	ix->walk_slot = slot;
	ix->walk_at = at;
	return &c->entries[c->start + at];
}

static struct index_chunk *chunk_new(struct index *ix, size_t slot, uint64_t first)
{
	struct index_chunk *c;

	if (ix->count == ix->cap) {
		/* Growth by a quarter: a million messages have 4,000 slots, not a matter of speed.
		 */
		size_t cap = ix->cap + ix->cap / 4 + 16;
		struct index_slot *slots = realloc(ix->slots, cap * sizeof(*slots));
		if (!slots)
			return NULL;
		ix->slots = slots;
		ix->cap = cap;
	}
	c = malloc(sizeof(*c));
	if (!c)
		return NULL;
	c->start = c->count = 0;
	memmove(ix->slots + slot + 1, ix->slots + slot, (ix->count - slot) * sizeof(*ix->slots));
	ix->slots[slot] = (struct index_slot){ first, c };
	ix->count++;
	ix->chunks_octets += sizeof(*c);
	return c;
}

static void chunk_free(struct index *ix, size_t slot)
{
	ix->chunks_octets -= sizeof(struct index_chunk);
	free(ix->slots[slot].chunk);
	ix->count--;
	memmove(ix->slots + slot, ix->slots + slot + 1, (ix->count - slot) * sizeof(*ix->slots));
}

/* Make room in the middle: the upper half moves to a chunk of its own. */
static bool chunk_split(struct index *ix, size_t slot)
{
	struct index_chunk *c = ix->slots[slot].chunk, *upper;
	uint32_t keep = c->count / 2;

	upper = chunk_new(ix, slot + 1, c->entries[c->start + keep].id);
	if (!upper)
		return false;
	upper->count = c->count - keep;
	memcpy(upper->entries, c->entries + c->start + keep, upper->count * sizeof(struct entry));
	c->count = keep;
	return true;
}

static struct entry *chunk_insert(struct index_chunk *c, uint32_t at)
{
	struct entry *e = c->entries;

	if (c->start > 0 && (at < c->count / 2 || c->start + c->count == CHUNK_ENTRIES)) {
		c->start--;
		memmove(e + c->start, e + c->start + 1, at * sizeof(*e));
	} else {
		memmove(e + c->start + at + 1, e + c->start + at, (c->count - at) * sizeof(*e));
	}
	c->count++;
	return e + c->start + at;
}

struct entry *index_insert(struct index *ix, uint64_t id)
{
	struct index_chunk *c;
	struct entry *e;
	size_t slot;
	uint32_t at;

	if (ix->count == 0 && !chunk_new(ix, 0, id))
		return NULL;
	slot = slot_of(ix, id);
	c = ix->slots[slot].chunk;
	at = place_of(c, id);
	if (at < c->count && c->entries[c->start + at].id == id)
		return &c->entries[c->start + at];
	if (c->count == CHUNK_ENTRIES) {
		if (slot + 1 == ix->count && at == c->count) {
			if (!chunk_new(ix, slot + 1, id))
				return NULL;
		} else if (!chunk_split(ix, slot)) {
			return NULL;
		}
		slot = slot_of(ix, id);
		c = ix->slots[slot].chunk;
		at = place_of(c, id);
	}
	e = chunk_insert(c, at);
	*e = (struct entry){ .id = id };
	if (id < ix->slots[slot].first)
		ix->slots[slot].first = id;
	ix->entries++;
	return e;
}

/* Join a chunk to its right neighbour when both fit into three quarters of one. */
static void chunk_join(struct index *ix, size_t slot)
{
	struct index_chunk *a, *b;

	if (slot + 1 >= ix->count)
		return;
	a = ix->slots[slot].chunk;
	b = ix->slots[slot + 1].chunk;
	if (a->count + b->count > CHUNK_ENTRIES * 3 / 4)
		return;
	memmove(a->entries, a->entries + a->start, a->count * sizeof(struct entry));
	memcpy(a->entries + a->count, b->entries + b->start, b->count * sizeof(struct entry));
	a->start = 0;
	a->count += b->count;
	chunk_free(ix, slot + 1);
}

void index_remove(struct index *ix, uint64_t id)
{
	struct index_chunk *c;
	struct entry *e;
	size_t slot;
	uint32_t at;

	if (ix->count == 0)
		return;
	slot = slot_of(ix, id);
	c = ix->slots[slot].chunk;
	at = place_of(c, id);
	e = c->entries + c->start;
	if (at == c->count || e[at].id != id)
		return;
	if (at < c->count / 2) {
		memmove(e + 1, e, at * sizeof(*e));
		c->start++;
	} else {
		memmove(e + at, e + at + 1, (c->count - at - 1) * sizeof(*e));
	}
	c->count--;
	ix->entries--;
	if (c->count == 0) {
		chunk_free(ix, slot);
	} else if (c->count < CHUNK_ENTRIES / 4) {
		chunk_join(ix, slot);
		if (slot > 0)
			chunk_join(ix, slot - 1);
	}
}

size_t index_octets(const struct index *ix)
{
	return ix->chunks_octets + ix->cap * sizeof(*ix->slots);
}
