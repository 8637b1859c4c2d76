/*
 * base/map.c - open addressing with linear probing; see base/map.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/map.h"
#include "base/err.h"
#include "base/random.h"

#include <pthread.h>
#include <stdlib.h>

struct map_slot {
	struct span key;
	uint64_t hash;
	void *value; /* NULL: free, or a grave when key.p is set */
};

static const uint8_t grave[1];
static uint64_t seed;
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void make_seed(void)
{
	random_fill(&seed, sizeof(seed));
}

uint64_t map_hash(struct span key, bool nocase)
{
	uint64_t h;

	pthread_once(&seed_once, make_seed);
	h = seed ^ key.n;
	for (size_t i = 0; i < key.n; i++) {
		h ^= nocase ? ascii_lower(key.p[i]) : key.p[i];
		h *= 0x9e3779b97f4a7c15u;
		h ^= h >> 29;
	}
	h ^= h >> 32;
	return h;
}

void map_init(struct map *m, bool nocase)
{
	*m = (struct map){ .nocase = nocase };
}

void map_done(struct map *m)
{
	free(m->slots);
	map_init(m, m->nocase);
}

static bool key_eq(const struct map *m, struct span a, struct span b)
{
	return m->nocase ? span_eq_nocase(a, b) : span_eq(a, b);
}

static struct map_slot *find(const struct map *m, struct span key, uint64_t hash)
{
	if (m->cap == 0)
		return NULL;
	for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
		struct map_slot *s = &m->slots[i];
		if (!s->value && s->key.p != grave)
			return NULL;
		if (s->value && s->hash == hash && key_eq(m, s->key, key))
			return s;
	}
}

void *map_get(const struct map *m, struct span key)
{
	struct map_slot *s = m->cap ? find(m, key, map_hash(key, m->nocase)) : NULL;

	return s ? s->value : NULL;
}

static void place(struct map *m, struct span key, uint64_t hash, void *value)
{
	size_t i = hash & (m->cap - 1);

	while (m->slots[i].value || m->slots[i].key.p == grave)
		i = (i + 1) & (m->cap - 1);
	m->slots[i] = (struct map_slot){ key, hash, value };
	m->count++;
	m->used++;
}

static int resize(struct map *m)
{
	struct map bigger = { .nocase = m->nocase };

	bigger.cap = 16;
	while (bigger.cap < (m->count + 1) * 2)
		bigger.cap *= 2;
	bigger.slots = calloc(bigger.cap, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ERR_NOMEM;
	for (size_t i = 0; i < m->cap; i++)
		if (m->slots[i].value)
			place(&bigger, m->slots[i].key, m->slots[i].hash, m->slots[i].value);
	free(m->slots);
	*m = bigger;
	return 0;
}

int map_put(struct map *m, struct span key, void *value)
{
	uint64_t hash = map_hash(key, m->nocase);
	struct map_slot *s = find(m, key, hash);

	if (s) {
		s->key = key;
		s->value = value;
		return 0;
	}
	if ((m->used + 1) * 4 > m->cap * 3) {
		int r = resize(m);
		if (r < 0)
			return r;
	}
	if (!key.p)
		key.p = (const uint8_t *)"";
	place(m, key, hash, value);
	return 0;
}

void *map_del(struct map *m, struct span key)
{
	struct map_slot *s = m->cap ? find(m, key, map_hash(key, m->nocase)) : NULL;
	void *value;

	if (!s)
		return NULL;
	value = s->value;
	*s = (struct map_slot){ .key = { grave, 0 } };
	m->count--;
	return value;
}

bool map_next(const struct map *m, size_t *at, struct span *key_r, void **value_r)
{
	for (; *at < m->cap; (*at)++) {
		const struct map_slot *s = &m->slots[*at];
		if (s->value) {
			if (key_r)
				*key_r = s->key;
			if (value_r)
				*value_r = s->value;
			(*at)++;
			return true;
		}
	}
	return false;
}
