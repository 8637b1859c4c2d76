/*
 * net/pool.c - threads for work that blocks.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "net/net-private.h"

#include <stdlib.h>

#define POOL_THREADS_MAX 32

struct net_pool {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct net_job *first, **last;
	bool stopping;
	unsigned count;
	pthread_t threads[POOL_THREADS_MAX];
};

static void back_on_loop(struct net_task *task)
{
	struct net_job *job = task->arg;

	job->done(job);
}

static void *worker(void *arg)
{
	struct net_pool *p = arg;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct net_job *job;
		while (!p->first && !p->stopping)
			pthread_cond_wait(&p->more, &p->lock);
		job = p->first;
		if (!job)
			break;
		p->first = job->next;
		if (!p->first)
			p->last = &p->first;
		pthread_mutex_unlock(&p->lock);
		job->work(job);
		job->task = (struct net_task){ .run = back_on_loop, .arg = job };
		net_loop_post(job->loop, &job->task);
		pthread_mutex_lock(&p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

int net_pool_new(unsigned threads, struct net_pool **p_r)
{
	struct net_pool *p = calloc(1, sizeof(*p));

	if (!p)
		return -ERR_NOMEM;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->more, NULL);
	p->last = &p->first;
	if (threads > POOL_THREADS_MAX)
		threads = POOL_THREADS_MAX;
	while (p->count < threads && pthread_create(&p->threads[p->count], NULL, worker, p) == 0)
		p->count++;
	if (p->count == 0) {
		free(p);
		return -ERR_LIMIT;
	}
	*p_r = p;
	return 0;
}

void net_pool_submit(struct net_pool *p, struct net_loop *l, struct net_job *job)
{
	job->loop = l;
	job->next = NULL;
	pthread_mutex_lock(&p->lock);
	*p->last = job;
	p->last = &job->next;
	pthread_cond_signal(&p->more);
	pthread_mutex_unlock(&p->lock);
}

void net_pool_free(struct net_pool **p)
{
	if (!*p)
		return;
	pthread_mutex_lock(&(*p)->lock);
	(*p)->stopping = true;
	pthread_cond_broadcast(&(*p)->more);
	pthread_mutex_unlock(&(*p)->lock);
	for (unsigned i = 0; i < (*p)->count; i++)
		pthread_join((*p)->threads[i], NULL);
	pthread_cond_destroy(&(*p)->more);
	pthread_mutex_destroy(&(*p)->lock);
	free(*p);
	*p = NULL;
}
