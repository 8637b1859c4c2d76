/*
 * server/clients.c - how many sessions each client address has, over all workers.
 *
 * At most as many entries as there are sessions.  IPv6 clients count by their /64:
 * a host has all of it.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "base/map.h"
#include "server/server-private.h"

#include <pthread.h>
#include <stdlib.h>

struct client {
	uint8_t key[17];
	uint32_t count;
};

struct server_clients {
	pthread_mutex_t lock;
	struct map map;
};

int server_clients_new(struct server_clients **c_r)
{
	struct server_clients *c = calloc(1, sizeof(*c));

	if (!c)
		return -ERR_NOMEM;
	pthread_mutex_init(&c->lock, NULL);
	map_init(&c->map, false);
	*c_r = c;
	return 0;
}

void server_clients_free(struct server_clients **c)
{
	size_t at = 0;
	void *value;

	if (!*c)
		return;
	while (map_next(&(*c)->map, &at, NULL, &value))
		free(value);
	map_done(&(*c)->map);
	pthread_mutex_destroy(&(*c)->lock);
	free(*c);
	*c = NULL;
}

static struct span key_of(const struct ip *ip, uint8_t *to)
{
	size_t n = ip->family == 4 ? 4 : 8;

	to[0] = ip->family;
	memcpy(to + 1, ip->octets, n);
	return span_of(to, n + 1);
}

bool server_clients_enter(struct server_clients *c, const struct ip *ip, uint32_t max)
{
	uint8_t octets[17];
	struct span key = key_of(ip, octets);
	struct client *cl;
	bool ok;

	pthread_mutex_lock(&c->lock);
	cl = map_get(&c->map, key);
	if (!cl && (cl = calloc(1, sizeof(*cl)))) {
		memcpy(cl->key, key.p, key.n);
		if (map_put(&c->map, span_of(cl->key, key.n), cl) < 0) {
			free(cl);
			cl = NULL;
		}
	}
	ok = cl && cl->count < max;
	if (ok)
		cl->count++;
	pthread_mutex_unlock(&c->lock);
	return ok;
}

void server_clients_leave(struct server_clients *c, const struct ip *ip)
{
	uint8_t octets[17];
	struct span key = key_of(ip, octets);
	struct client *cl;

	pthread_mutex_lock(&c->lock);
	cl = map_get(&c->map, key);
	if (cl && --cl->count == 0) {
		map_del(&c->map, key);
		free(cl);
	}
	pthread_mutex_unlock(&c->lock);
}
