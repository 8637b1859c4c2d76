/*
 * net/loop.c - a loop of libuv, tasks from other threads, deadlines, signals.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "net/net-private.h"
#include "base/clock.h"
#include "base/err.h"

#include <stdlib.h>

static void on_async(uv_async_t *async)
{
	struct net_loop *l = async->data;
	struct net_task *task;

	pthread_mutex_lock(&l->lock);
	task = l->tasks;
	l->tasks = NULL;
	l->last = &l->tasks;
	pthread_mutex_unlock(&l->lock);
	while (task) {
		struct net_task *next = task->next;
		task->run(task);
		task = next;
	}
	if (atomic_load(&l->stopping) && !uv_is_closing((uv_handle_t *)async)) {
		for (size_t i = 0; i < l->signal_count; i++)
			uv_close((uv_handle_t *)&l->signals[i].uv, NULL);
		uv_unref((uv_handle_t *)async);
	}
}

int net_loop_new(struct net_loop **l_r)
{
	struct net_loop *l = calloc(1, sizeof(*l));

	if (!l)
		return -ERR_NOMEM;
	if (uv_loop_init(&l->uv) < 0) {
		free(l);
		return -ERR_LIMIT;
	}
	if (uv_async_init(&l->uv, &l->async, on_async) < 0) {
		uv_loop_close(&l->uv);
		free(l);
		return -ERR_LIMIT;
	}
	l->async.data = l;
	l->last = &l->tasks;
	pthread_mutex_init(&l->lock, NULL);
	*l_r = l;
	return 0;
}

void net_loop_run(struct net_loop *l)
{
	uv_run(&l->uv, UV_RUN_DEFAULT);
}

void net_loop_stop(struct net_loop *l)
{
	atomic_store(&l->stopping, true);
	uv_async_send(&l->async);
}

void net_loop_free(struct net_loop **l)
{
	if (!*l)
		return;
	if (!uv_is_closing((uv_handle_t *)&(*l)->async))
		uv_close((uv_handle_t *)&(*l)->async, NULL);
	uv_run(&(*l)->uv, UV_RUN_DEFAULT);
	uv_loop_close(&(*l)->uv);
	pthread_mutex_destroy(&(*l)->lock);
	free(*l);
	*l = NULL;
}

uint64_t net_loop_now_ms(struct net_loop *l)
{
	/* libuv's clock is CLOCK_MONOTONIC in milliseconds too, read once a turn. */
	return uv_now(&l->uv);
}

void net_loop_post(struct net_loop *l, struct net_task *task)
{
	bool first;

	task->next = NULL;
	pthread_mutex_lock(&l->lock);
	first = !l->tasks;
	*l->last = task;
	l->last = &task->next;
	pthread_mutex_unlock(&l->lock);
	if (first)
		uv_async_send(&l->async);
}

static void on_signal(uv_signal_t *sig, int signum)
{
	struct net_signal *s = sig->data;

	s->fn(s->arg, signum);
}

int net_loop_on_signal(struct net_loop *l, int signum, void (*fn)(void *arg, int signum), void *arg)
{
	struct net_signal *s;

	if (l->signal_count == NET_SIGNALS_MAX)
		return -ERR_LIMIT;
	s = &l->signals[l->signal_count];
	if (uv_signal_init(&l->uv, &s->uv) < 0)
		return -ERR_LIMIT;
	l->signal_count++;
	s->fn = fn;
	s->arg = arg;
	s->uv.data = s;
	if (uv_signal_start(&s->uv, on_signal, signum) < 0)
		return -ERR_INVAL;
	uv_unref((uv_handle_t *)&s->uv);
	return 0;
}

static void arm(struct net_timer *t, uint64_t at_ms);

static void on_timer(uv_timer_t *uv)
{
	struct net_timer *t = uv->data;

	t->armed_ms = UINT64_MAX;
	if (t->at_ms > uv_now(uv->loop)) {
		arm(t, t->at_ms);
		return;
	}
	t->at_ms = UINT64_MAX;
	t->fn(t->arg);
}

static void arm(struct net_timer *t, uint64_t at_ms)
{
	uint64_t now = uv_now(t->uv.loop);

	if (at_ms == UINT64_MAX)
		return;
	t->armed_ms = at_ms;
	uv_timer_start(&t->uv, on_timer, at_ms > now ? at_ms - now : 0, 0);
}

int net_timer_new(struct net_loop *l, void (*fn)(void *arg), void *arg, struct net_timer **t_r)
{
	struct net_timer *t = calloc(1, sizeof(*t));

	if (!t)
		return -ERR_NOMEM;
	uv_timer_init(&l->uv, &t->uv);
	t->uv.data = t;
	t->fn = fn;
	t->arg = arg;
	t->at_ms = t->armed_ms = UINT64_MAX;
	*t_r = t;
	return 0;
}

void net_timer_set(struct net_timer *t, uint64_t at_ms)
{
	t->at_ms = at_ms;
	if (at_ms < t->armed_ms)
		arm(t, at_ms);
}

static void free_handle(uv_handle_t *h)
{
	free(h->data);
}

void net_timer_free(struct net_timer **t)
{
	if (!*t)
		return;
	uv_close((uv_handle_t *)&(*t)->uv, free_handle);
	*t = NULL;
}
