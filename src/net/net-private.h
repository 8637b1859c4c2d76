/*
 * net/net-private.h - libuv's side of net/net.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_NET_NET_PRIVATE_H
#define POSTERN_NET_NET_PRIVATE_H

#include "net/net.h"

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#define NET_SIGNALS_MAX 4
/* One read of a loop; also how much of one session is handled before the others get their turn. */
#define NET_READ_OCTETS 65536
/* What a stream keeps of octets not taken: one read and what was kept before, RFC 5321 lines are
 * small. */
#define NET_KEPT_OCTETS_MAX (NET_READ_OCTETS * 2)
/* What may wait for a slow peer; the owner watches net_stream_waiting() and stays far below. */
#define NET_WAITING_OCTETS_MAX (16u << 20)

struct net_signal {
	uv_signal_t uv;
	void (*fn)(void *arg, int signum);
	void *arg;
};

struct net_loop {
	uv_loop_t uv;
	uv_async_t async;
	pthread_mutex_t lock;
	struct net_task *tasks, **last;
	atomic_bool stopping;
	struct net_signal signals[NET_SIGNALS_MAX];
	size_t signal_count;
	char chunk[NET_READ_OCTETS]; /* libuv reads here; one stream at a time */
};

struct net_timer {
	uv_timer_t uv;
	void (*fn)(void *arg);
	void *arg;
	uint64_t at_ms;    /* when it is meant */
	uint64_t armed_ms; /* when libuv will look */
};

#endif
