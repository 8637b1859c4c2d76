/*
 * spool/spill.c - the thread that makes large bodies durable.
 *
 * In an order of its own, so that a body of 50 MiB does not hold up the small
 * messages of everybody else: fsync each file, rename it to the message's id, sync
 * the directory once for all, and only then pass the request to the writer.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "spool/spool-private.h"

#include <errno.h>
#include <unistd.h>

void spill_push(struct spool *sp, struct req *r)
{
	bool wake;

	r->next = NULL;
	pthread_mutex_lock(&sp->lock);
	*sp->spill_last = r;
	sp->spill_last = &r->next;
	wake = sp->spill_waiting;
	pthread_mutex_unlock(&sp->lock);
	if (wake)
		pthread_cond_signal(&sp->spill_wake);
}

static int spill_one(struct spool *sp, struct req *r)
{
	struct spool_file_name from, to;
	bool known;

	/* The name may be taken by a message of the same id; it must keep its body. */
	pthread_mutex_lock(&sp->index_lock);
	known = index_find(&sp->index, r->id) != NULL;
	pthread_mutex_unlock(&sp->index_lock);
	if (known)
		return -ERR_EXISTS;
	if (sp->io->fsync(r->draft->fd) < 0)
		return err_from_errno(errno);
	atomic_fetch_add(&sp->syncs, 1);
	draft_path(sp, r->draft->name, &from);
	body_path(sp, r->id, &to);
	if (sp->io->rename(from.text, to.text) < 0)
		return err_from_errno(errno);
	r->draft->kept = true;
	return 0;
}

/* No disk for it: the request goes to the writer all the same, which tells. */
static void spill_failed(struct spool *sp, struct req *r, int err)
{
	struct spool_file_name path;

	if (r->draft->kept) {
		body_path(sp, r->id, &path);
		sp->io->unlink(path.text);
	}
	r->kind = REQ_FAIL;
	r->err = err == -ERR_NOSPACE || err == -ERR_EXISTS ? err : -ERR_IO;
}

static void spill_list(struct spool *sp, struct req *list)
{
	int err = 0;

	for (struct req *r = list; r; r = r->next) {
		int one = spill_one(sp, r);
		if (one < 0)
			spill_failed(sp, r, one);
	}
	if (sp->io->fsync(sp->bodies_fd) < 0)
		err = err_from_errno(errno);
	atomic_fetch_add(&sp->syncs, 1);
	while (list) {
		struct req *next = list->next;
		if (err < 0 && list->kind != REQ_FAIL)
			spill_failed(sp, list, err);
		writer_push(sp, list);
		list = next;
	}
}

static void *spill_main(void *arg)
{
	struct spool *sp = arg;

	for (;;) {
		struct req *list;

		pthread_mutex_lock(&sp->lock);
		while (!sp->spill_first && !sp->spill_stopping) {
			sp->spill_waiting = true;
			pthread_cond_wait(&sp->spill_wake, &sp->lock);
			sp->spill_waiting = false;
		}
		list = sp->spill_first;
		sp->spill_first = NULL;
		sp->spill_last = &sp->spill_first;
		pthread_mutex_unlock(&sp->lock);
		if (!list)
			return NULL;
		spill_list(sp, list);
	}
}

int spill_start(struct spool *sp)
{
	if (pthread_create(&sp->spill_thread, NULL, spill_main, sp) != 0)
		return -ERR_NOMEM;
	sp->spill_started = true;
	return 0;
}

void spill_stop(struct spool *sp)
{
	if (!sp->spill_started)
		return;
	pthread_mutex_lock(&sp->lock);
	sp->spill_stopping = true;
	pthread_cond_signal(&sp->spill_wake);
	pthread_mutex_unlock(&sp->lock);
	pthread_join(sp->spill_thread, NULL);
	sp->spill_started = false;
}
