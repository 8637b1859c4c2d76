/*
 * spool/writer.c - the one thread that appends to the log: group commit.
 *
 * It takes whatever waits (at most batch_octets), writes it with one pwritev (a few
 * when there are more pieces than the kernel takes), syncs once, and tells.  While
 * it is at that, the next batch gathers: nobody waits for company that is not
 * there.  STATE and DONE records alone do wait a little, for nobody waits for them.
 *
 * Memory is taken by the threads that ask; the writer only frees.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "spool/spool-private.h"
#include "base/clock.h"
#include "base/crc32c.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Pieces in one group; the kernel takes 1,024 at a time. */
#define GROUP_IOV 8192
/* After trouble: STATE and DONE records are tried again so often. */
#define RETRY_MS 1000

void req_free(struct req *r)
{
	spool_draft_free(&r->draft);
	free(r);
}

/* How the last write went, for spool_room(). */
void writer_error(struct spool *sp, int err)
{
	atomic_store(&sp->last_error_ms, clock_mono_ms());
	atomic_store(&sp->last_error, err);
}

/* ---- the tail ---- */

int writer_append(
    struct spool *sp, struct iovec *iov, int count, uint64_t octets, uint64_t *durable_r)
{
	uint64_t done = 0;
	int err = 0;

	*durable_r = 0;
	while (done < octets) {
		int n = count < IOV_MAX ? count : IOV_MAX;
		ssize_t put = sp->io->pwritev(sp->tail->fd, iov, n, (off_t)(sp->tail->size + done));
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0) {
			err = put == 0 ? -ERR_NOSPACE : err_from_errno(errno);
			break;
		}
		done += (uint64_t)put;
		while (count > 0 && (size_t)put >= iov->iov_len) {
			put -= (ssize_t)iov->iov_len;
			iov++;
			count--;
		}
		if (put > 0) {
			iov->iov_base = (uint8_t *)iov->iov_base + put;
			iov->iov_len -= (size_t)put;
		}
	}
	/* What was written before the disk was full can still be kept; after -ERR_IO nothing is
	 * trusted. */
	if (done == 0 || (err < 0 && err != -ERR_NOSPACE))
		return err;
	atomic_fetch_add(&sp->syncs, 1);
	if (sp->io->fdatasync(sp->tail->fd) < 0)
		return err_from_errno(errno) == -ERR_NOSPACE ? -ERR_NOSPACE : -ERR_IO;
	atomic_fetch_add(&sp->octets_written, done);
	*durable_r = done;
	return err;
}

void writer_abandon_tail(struct spool *sp, uint64_t size, int err)
{
	struct segment *s = sp->tail;

	s->size = size;
	/* Also zeros out what may have come through, so that a refused message does not appear. */
	s->suspect = true;
	spool_notice(sp, err == -ERR_NOSPACE ? "full" : "io", err,
	    "segment %08x is closed at octet %llu after a failed write", s->number,
	    (unsigned long long)size);
	segment_seal_tail(sp);
}

/* ---- a group: what goes into the tail with one sync ---- */

struct group {
	struct req *first, **last;
	uint64_t octets;
	int iov_count;
};

static bool may_use_reserve(const struct req *r)
{
	return r->reserve || r->kind != REQ_COMMIT;
}

/* Head and place of a record; the payload's CRC was made by the thread that asked. */
static void group_add(struct spool *sp, struct group *g, struct req *r)
{
	struct iovec *iov = sp->batch.iov + g->iov_count;
	struct record_head h = {
		.payload_octets = r->head_octets - RECORD_HEAD_OCTETS + r->body_octets,
		.type = r->kind == REQ_COMMIT ? RECORD_MESSAGE
		    : r->kind == REQ_UPDATE   ? RECORD_STATE
					      : RECORD_DONE,
		.seq = sp->next_seq++,
		.id = r->id,
		.due_ms = r->due_ms,
		.home = r->home,
		.crc = r->crc,
	};
	size_t pad = r->octets - r->head_octets - r->body_octets;

	record_put_head(r->record, &h, sp->key);
	r->segment = sp->tail->number;
	r->offset = (uint32_t)(sp->tail->size + g->octets);
	iov[0] = (struct iovec){ r->record, r->head_octets };
	if (r->body_octets > 0) {
		/* draft_pad() put the zeros behind it. */
		iov[1] = (struct iovec){ r->draft->mem, r->body_octets + pad };
		g->iov_count += 2;
	} else {
		iov[0].iov_len += pad; /* they are there, behind the record */
		g->iov_count++;
	}
	sp->tail_hint.max_seq = h.seq;
	g->octets += r->octets;
}

/* With index_lock: is there something to write?  Sets r->err, r->skip, r->home. */
static void prepare(struct spool *sp, struct req *r)
{
	struct entry *e;

	if (r->kind == REQ_FAIL)
		return;
	e = index_find(&sp->index, r->id);
	if (r->kind == REQ_COMMIT) {
		/* Asking may find that there is room again. */
		if (!r->reserve && (!space_for(sp, r->octets) || atomic_load(&sp->full)))
			r->err = -ERR_NOSPACE;
		else if (e)
			r->err = -ERR_EXISTS;
		else if (!e && !(e = index_insert(&sp->index, r->id)))
			r->err = -ERR_NOMEM;
		else
			e->flags |= ENTRY_HIDDEN, r->hidden = true;
	} else if (r->kind == REQ_UPDATE) {
		/* Finished meanwhile: DONE follows, this state is of no use. */
		r->skip = !e || (e->flags & ENTRY_FINISHED);
	} else {
		r->skip = !e;
		r->home = e ? e->segment : 0;
	}
}

static void states_remove(struct spool *sp, struct req *r)
{
	if (r->state_prev)
		r->state_prev->state_next = r->state_next;
	else
		sp->states = r->state_next;
	if (r->state_next)
		r->state_next->state_prev = r->state_prev;
}

static void apply_commit(struct spool *sp, const struct req *r)
{
	struct entry *e = index_find(&sp->index, r->id);

	assert(e && (e->flags & ENTRY_HIDDEN));
	e->flags = 0;
	e->due_ms = r->due_ms;
	e->segment = r->segment;
	e->offset = r->offset;
	e->octets = r->octets;
	e->file_octets = r->file_octets;
	segment_live(sp, r->segment, r->octets);
	atomic_fetch_add(&sp->messages, 1);
	atomic_fetch_add(&sp->commits, 1);
	if (r->id > atomic_load(&sp->max_id))
		atomic_store(&sp->max_id, r->id);
}

static void apply_update(struct spool *sp, struct req *r)
{
	struct entry *e = index_find(&sp->index, r->id);

	states_remove(sp, r);
	if (!e)
		return;
	e->pending--;
	if (r->skip)
		return;
	if (e->state_segment)
		segment_dead(sp, e->state_segment, e->state_octets);
	e->state_segment = r->segment;
	e->state_offset = r->offset;
	e->state_octets = r->octets;
	e->flags &= (uint8_t)~ENTRY_STATE_INSIDE;
	segment_live(sp, r->segment, r->octets);
}

static void apply_finish(struct spool *sp, const struct req *r)
{
	struct entry *e = index_find(&sp->index, r->id);

	if (!e || r->skip)
		return;
	/* First the grave, so that the home is not taken for empty before it is counted. */
	segment_grave(sp, e->segment, r->segment, r->octets);
	if (e->state_segment)
		segment_dead(sp, e->state_segment, e->state_octets);
	segment_dead(sp, e->segment, e->octets);
	index_remove(&sp->index, r->id);
}

static void add_hint(struct spool *sp, const struct req *r)
{
	hint_add(&sp->tail_hint,
	    &(struct hint_entry){ .id = r->id,
		.due_ms = r->due_ms,
		.file_octets = r->file_octets,
		.offset = r->offset,
		.octets = r->octets,
		.home = r->home,
		.type = r->kind == REQ_COMMIT ? RECORD_MESSAGE
		    : r->kind == REQ_UPDATE   ? RECORD_STATE
					      : RECORD_DONE });
}

/* With index_lock: what became of a request enters the index. */
static void apply(struct spool *sp, struct req *r)
{
	struct entry *e;

	if (r->err < 0) {
		if (r->kind == REQ_COMMIT && r->hidden) {
			e = index_find(&sp->index, r->id);
			if (e && (e->flags & ENTRY_HIDDEN))
				index_remove(&sp->index, r->id);
		}
		return;
	}
	if (r->kind == REQ_COMMIT)
		apply_commit(sp, r);
	else if (r->kind == REQ_UPDATE)
		apply_update(sp, r);
	else if (r->kind == REQ_FINISH)
		apply_finish(sp, r);
}

static void tell(struct req *r, int err)
{
	struct spool_op *op = r->op;

	r->op = NULL;
	if (op && op->done)
		op->done(op, err);
}

/* The file of a body: with its message finished, or never accepted, nothing refers to it. */
static void remove_body(struct spool *sp, const struct req *r)
{
	struct spool_file_name path;

	if (r->file_octets == 0 || r->err == -ERR_EXISTS ||
	    !(r->kind == REQ_FINISH ? r->err == 0 && !r->skip
				    : r->kind == REQ_COMMIT && r->err < 0))
		return;
	body_path(sp, r->id, &path);
	if (sp->io->unlink(path.text) < 0 && errno != ENOENT)
		spool_notice(sp, "unlink", err_from_errno(errno), "cannot remove %s", path.text);
}

/*
 * The end of a list of requests that were written, skipped or refused.  What must not
 * be dropped (STATE, DONE) and could not be written goes back to the head of the queue.
 */
static void settle(struct spool *sp, struct req *list)
{
	struct req *back = NULL, **back_last = &back, *next;
	size_t count = 0;

	pthread_mutex_lock(&sp->index_lock);
	for (struct req *r = list; r; r = r->next)
		apply(sp, r);
	pthread_mutex_unlock(&sp->index_lock);
	for (struct req *r = list; r; r = next) {
		next = r->next;
		if (r->kind != REQ_FAIL && r->err == 0 && !r->skip)
			add_hint(sp, r);
		remove_body(sp, r);
		tell(r, r->err);
		if (r->err < 0 && (r->kind == REQ_UPDATE || r->kind == REQ_FINISH)) {
			r->err = 0;
			r->urgent = false;
			*back_last = r;
			back_last = &r->next;
			count++;
		} else {
			req_free(r);
		}
	}
	*back_last = NULL;
	if (!back)
		return;
	pthread_mutex_lock(&sp->lock);
	*back_last = sp->first;
	if (!sp->first)
		sp->last = back_last;
	sp->first = back;
	sp->lazy += count;
	sp->retry_ms = clock_mono_ms() + RETRY_MS;
	pthread_mutex_unlock(&sp->lock);
}

/* Take from the list what fits into the tail.  The first is known to fit. */
static void group_build(struct spool *sp, struct req **list, struct group *g)
{
	uint64_t limit = sp->o.segment_octets;
	struct req *r;

	*g = (struct group){ .last = &g->first };
	while ((r = *list) && g->iov_count + 2 <= GROUP_IOV &&
	    (!g->first || sp->tail->size + g->octets + r->octets <= limit)) {
		*list = r->next;
		r->next = NULL;
		*g->last = r;
		g->last = &r->next;
		if (r->kind != REQ_FAIL && !r->skip && r->err == 0)
			group_add(sp, g, r);
	}
}

/* Write a group.  What is left to try again stands in the result. */
static struct req *group_write(struct spool *sp, struct group *g, bool again)
{
	struct req *retry = NULL, **retry_last = &retry, *settled = NULL, **settled_last = &settled;
	uint64_t start = sp->tail->size, durable = 0, good = start;
	int err = 0;

	if (g->octets > 0)
		err = writer_append(sp, sp->batch.iov, g->iov_count, g->octets, &durable);
	for (struct req *r = g->first, *next; r; r = next) {
		bool writes = r->kind != REQ_FAIL && !r->skip && r->err == 0;
		next = r->next;
		r->next = NULL;
		if (writes && (uint64_t)r->offset + r->octets > start + durable) {
			r->err = err;
			if (again && r->kind != REQ_COMMIT) {
				r->err = 0;
				*retry_last = r;
				retry_last = &r->next;
				continue;
			}
		} else if (writes) {
			good = (uint64_t)r->offset + r->octets;
		}
		*settled_last = r;
		settled_last = &r->next;
	}
	sp->tail->size = good;
	if (g->octets > 0)
		atomic_fetch_add(&sp->batches, 1);
	writer_error(sp, err);
	/* Who hears of it and asks spool_room() is to get the same answer. */
	if (err == -ERR_NOSPACE)
		space_full(sp, err);
	settle(sp, settled);
	if (err < 0)
		writer_abandon_tail(sp, good, err);
	return retry;
}

/* A tail with room for this request.  0 or negative. */
static int tail_for(struct spool *sp, const struct req *r)
{
	int err;

	if (sp->tail && sp->tail->size > SEGMENT_HEAD_OCTETS &&
	    sp->tail->size + r->octets > sp->o.segment_octets)
		segment_seal_tail(sp);
	if (sp->tail)
		return 0;
	err = segment_create_tail(sp, r->octets, may_use_reserve(r));
	if (err < 0) {
		writer_error(sp, err);
		spool_notice(
		    sp, err == -ERR_NOSPACE ? "full" : "io", err, "cannot begin a segment");
		if (err == -ERR_NOSPACE)
			space_full(sp, err);
	}
	return err;
}

static void write_list(struct spool *sp, struct req *list)
{
	int tries = 2;

	if (sp->o.ack_before_commit) {
		for (struct req *r = list; r; r = r->next)
			if (r->kind != REQ_FAIL)
				tell(r, 0);
		usleep(2000); /* the disk of a busy machine, so that a test need not be lucky */
	}
	pthread_mutex_lock(&sp->index_lock);
	for (struct req *r = list; r; r = r->next)
		prepare(sp, r);
	pthread_mutex_unlock(&sp->index_lock);
	while (list) {
		struct req *r = list, *retry;
		struct group g;

		if (r->kind == REQ_COMMIT && !r->reserve && r->err == 0 && atomic_load(&sp->full))
			r->err = -ERR_NOSPACE; /* an earlier one of this list met it */
		if (r->kind == REQ_FAIL || r->skip || r->err < 0 ||
		    (r->err = tail_for(sp, r)) < 0) {
			list = r->next;
			r->next = NULL;
			settle(sp, r);
			continue;
		}
		group_build(sp, &list, &g);
		retry = group_write(sp, &g, tries-- > 0);
		if (retry) {
			struct req **last = &retry;
			while (*last)
				last = &(*last)->next;
			*last = list;
			list = retry;
		}
	}
}

/* ---- the queue ---- */

void writer_push(struct spool *sp, struct req *r)
{
	bool wake;

	r->next = NULL;
	pthread_mutex_lock(&sp->lock);
	*sp->last = r;
	sp->last = &r->next;
	if (r->urgent) {
		sp->urgent++;
	} else if (sp->lazy++ == 0) {
		sp->lazy_since_ms = clock_mono_ms();
	}
	/*
	 * The first lazy one starts a clock, unless the writer wakes early enough by itself; the
	 * one that makes the number full ends it.  One signal is enough.
	 */
	wake = sp->waiting &&
	    (r->urgent || sp->lazy == sp->o.lazy_records ||
		(sp->lazy == 1 && sp->wakes_ms > sp->lazy_since_ms + sp->o.lazy_ms));
	if (wake)
		sp->waiting = false;
	pthread_mutex_unlock(&sp->lock);
	if (wake)
		pthread_cond_signal(&sp->wake);
}

/* With lock: take at most batch_octets from the queue. */
static struct req *take_list(struct spool *sp)
{
	struct req *list = sp->first, **last = &list;
	uint64_t octets = 0;

	while (*last && (octets == 0 || octets + (*last)->octets <= sp->o.batch_octets)) {
		octets += (*last)->octets;
		if ((*last)->urgent)
			sp->urgent--;
		else
			sp->lazy--;
		last = &(*last)->next;
	}
	sp->first = *last;
	if (!sp->first)
		sp->last = &sp->first;
	*last = NULL;
	if (sp->lazy > 0)
		sp->lazy_since_ms = clock_mono_ms();
	return list;
}

/* With lock: milliseconds until there is something to do; 0: now; -1: not before a call. */
static int64_t wait_ms(const struct spool *sp, uint64_t now)
{
	uint64_t at = UINT64_MAX;

	if (sp->urgent > 0 || sp->stopping || sp->failed)
		return 0;
	if (sp->lazy > 0) {
		at = sp->lazy >= sp->o.lazy_records ? now : sp->lazy_since_ms + sp->o.lazy_ms;
		if (at < sp->retry_ms)
			at = sp->retry_ms;
	}
	if (atomic_load(&sp->want_evacuation) && sp->evacuate_ms < at)
		at = sp->evacuate_ms;
	if (sp->reaping && sp->reap_ms < at)
		at = sp->reap_ms;
	/*
	 * After a batch, look again by itself: what was committed is often finished at once, and
	 * with a clock that runs already its DONE need not wake anybody.
	 */
	if (at > sp->wrote_ms + sp->o.lazy_ms && now < sp->wrote_ms + sp->o.lazy_ms)
		at = sp->wrote_ms + sp->o.lazy_ms;
	if (at == UINT64_MAX)
		return -1;
	return at <= now ? 0 : (int64_t)(at - now);
}

static void wait_for_work(struct spool *sp, int64_t ms, uint64_t now)
{
	struct timespec t;

	sp->waiting = true;
	sp->wakes_ms = ms < 0 ? UINT64_MAX : now + (uint64_t)ms;
	if (ms < 0) {
		pthread_cond_wait(&sp->wake, &sp->lock);
	} else {
		clock_gettime(CLOCK_MONOTONIC, &t);
		t.tv_sec += (time_t)(ms / 1000);
		t.tv_nsec += (long)(ms % 1000) * 1000000;
		if (t.tv_nsec >= 1000000000) {
			t.tv_nsec -= 1000000000;
			t.tv_sec++;
		}
		pthread_cond_timedwait(&sp->wake, &sp->lock, &t);
	}
	sp->waiting = false;
}

static void tell_failed(struct spool_op *op)
{
	while (op) {
		struct spool_op *next = op->next;
		op->done(op, op->err);
		op = next;
	}
}

static void *writer_main(void *arg)
{
	struct spool *sp = arg;
	bool stop = false;

	while (!stop) {
		struct req *list = NULL;
		struct spool_op *failed;
		uint64_t now;
		int64_t ms;

		pthread_mutex_lock(&sp->lock);
		now = clock_mono_ms();
		while ((ms = wait_ms(sp, now)) != 0) {
			wait_for_work(sp, ms, now);
			now = clock_mono_ms();
		}
		list = take_list(sp);
		if (list)
			sp->wrote_ms = now;
		failed = sp->failed;
		sp->failed = NULL;
		stop = sp->stopping && !sp->first;
		pthread_mutex_unlock(&sp->lock);
		tell_failed(failed);
		if (list)
			write_list(sp, list);
		space_check(sp, false);
		space_restore(sp);
		/* A little at a time, so that nobody who commits waits for long. */
		evacuate_step(sp);
		segment_reap(sp);
		if (stop) {
			/* What failed came back to the queue; with no disk to write to it ends
			 * here. */
			pthread_mutex_lock(&sp->lock);
			list = sp->first;
			sp->first = NULL;
			sp->last = &sp->first;
			pthread_mutex_unlock(&sp->lock);
		}
		while (stop && list) {
			struct req *next = list->next;
			req_free(list);
			list = next;
		}
	}
	segment_seal_tail(sp);
	segment_reap(sp);
	return NULL;
}

void writer_init(struct spool *sp)
{
	pthread_condattr_t attr;

	sp->last = &sp->first;
	sp->spill_last = &sp->spill_first;
	pthread_mutex_init(&sp->lock, NULL);
	pthread_mutex_init(&sp->index_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&sp->wake, &attr);
	pthread_cond_init(&sp->spill_wake, &attr);
	pthread_condattr_destroy(&attr);
}

int writer_start(struct spool *sp)
{
	sp->batch.iov = calloc(GROUP_IOV, sizeof(struct iovec));
	if (!sp->batch.iov)
		return -ERR_NOMEM;
	if (pthread_create(&sp->thread, NULL, writer_main, sp) != 0)
		return -ERR_NOMEM;
	sp->started = true;
	return 0;
}

void writer_stop(struct spool *sp)
{
	if (!sp->started)
		return;
	pthread_mutex_lock(&sp->lock);
	sp->stopping = true;
	pthread_cond_signal(&sp->wake);
	pthread_mutex_unlock(&sp->lock);
	pthread_join(sp->thread, NULL);
	sp->started = false;
}
