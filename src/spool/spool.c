/*
 * spool/spool.c - opening, closing, and the requests of other threads.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "spool/spool-private.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

/* Longest path of the directory: names of 32 octets follow, within a spool_file_name. */
#define DIR_OCTETS_MAX 3900
/* So long after an I/O error messages are refused without a try. */
#define ERROR_MS 1000

void spool_options_init(struct spool_options *o, const char *dir)
{
	*o = (struct spool_options){
		.dir = dir,
		.segment_octets = 64u << 20,
		.batch_octets = 16u << 20,
		.lazy_ms = 20,
		.lazy_records = 1000,
		.spill_octets = 64u << 10,
		.memory_octets = 256u << 20,
		.queue_minfree = 0,
		.reserve_octets = 64u << 20,
	};
}

void spool_notice(struct spool *sp, const char *what, int err, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (!sp->o.notice)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	sp->o.notice(sp->o.notice_arg, what, text, err);
}

void spool_damage(struct spool *sp, uint32_t segment, uint64_t offset, const char *what)
{
	atomic_fetch_add(&sp->damaged, 1);
	if (sp->first_damage_segment == 0 && !sp->started) {
		sp->first_damage_segment = segment;
		sp->first_damage_offset = offset;
	}
	spool_notice(sp, "damage", -ERR_CORRUPT, "segment %08x, octet %llu: %s", segment,
	    (unsigned long long)offset, what);
}

/* ---- open and close ---- */

static int open_dirs(struct spool *sp)
{
	char parent[DIR_OCTETS_MAX + 8];
	int r;

	if (!sp->o.read_only) {
		r = dir_make(sp->dir);
		if (r == 0)
			r = dir_make(sp->bodies);
		/* The names of the directories are to be durable before what is in them. */
		snprintf(parent, sizeof(parent), "%s/..", sp->dir);
		if (r == 0)
			r = dir_sync(parent);
		if (r == 0)
			r = dir_sync(sp->dir);
		if (r < 0)
			return r;
	}
	sp->dir_fd = open(sp->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (sp->dir_fd < 0)
		return err_from_errno(errno);
	sp->bodies_fd = open(sp->bodies, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return sp->bodies_fd < 0 && !sp->o.read_only ? err_from_errno(errno) : 0;
}

static int lock_take(struct spool *sp)
{
	struct spool_file_name path;

	if (sp->o.read_only)
		return 0;
	snprintf(path.text, sizeof(path.text), "%s/lock", sp->dir);
	sp->lock_fd = open(path.text, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (sp->lock_fd < 0)
		return err_from_errno(errno);
	if (flock(sp->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -ERR_LOCKED : err_from_errno(errno);
	return 0;
}

static void options_bound(struct spool *sp)
{
	struct spool_options *o = &sp->o;

	if (o->segment_octets < 64u << 10)
		o->segment_octets = 64u << 10;
	if (o->segment_octets > 1u << 30)
		o->segment_octets = 1u
		    << 30; /* offsets have 32 bits, and a record may reach beyond */
	if (o->batch_octets == 0)
		o->batch_octets = 16u << 20;
	if (o->lazy_records == 0)
		o->lazy_records = 1;
	sp->spill_octets = o->spill_octets;
	if (sp->spill_octets > o->segment_octets / 4)
		sp->spill_octets = o->segment_octets / 4;
}

int spool_open_inner(const struct spool_options *o, bool scan_all, struct spool **sp_r)
{
	struct spool *sp;
	size_t n = strlen(o->dir);
	int r;

	if (n == 0 || n > DIR_OCTETS_MAX)
		return -ERR_INVAL;
	sp = calloc(1, sizeof(*sp));
	if (!sp)
		return -ERR_NOMEM;
	sp->o = *o;
	sp->io = o->io ? o->io : &spool_io_system;
	sp->scan_all = scan_all;
	sp->lock_fd = sp->dir_fd = sp->bodies_fd = -1;
	options_bound(sp);
	writer_init(sp);
	index_init(&sp->index);
	hint_init(&sp->tail_hint);
	sp->dir = malloc(n + 1);
	sp->bodies = malloc(n + 8);
	r = sp->dir && sp->bodies ? 0 : -ERR_NOMEM;
	if (r == 0) {
		memcpy(sp->dir, o->dir, n + 1);
		snprintf(sp->bodies, n + 8, "%s/bodies", o->dir);
		sp->o.dir = sp->dir;
		r = open_dirs(sp);
	}
	if (r == 0)
		r = lock_take(sp);
	if (r == 0)
		r = recover(sp);
	if (r == 0 && !sp->o.read_only) {
		space_init(sp);
		r = writer_start(sp);
		if (r == 0)
			r = spill_start(sp);
	}
	if (r < 0) {
		spool_close(&sp);
		return r;
	}
	*sp_r = sp;
	return 0;
}

int spool_open(const struct spool_options *o, struct spool **sp_r)
{
	return spool_open_inner(o, false, sp_r);
}

void spool_close(struct spool **sp)
{
	struct spool *s = *sp;

	*sp = NULL;
	if (!s)
		return;
	spill_stop(s); /* what it has goes to the writer */
	writer_stop(s);
	evacuate_done(s);
	for (size_t i = 0; i < s->segment_count; i++)
		segment_unref(s, s->segments[i]);
	free(s->segments);
	index_done(&s->index);
	hint_done(&s->tail_hint);
	free(s->batch.iov);
	if (s->bodies_fd >= 0)
		close(s->bodies_fd);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	if (s->lock_fd >= 0)
		close(s->lock_fd); /* and with it the lock; the file stays */
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->index_lock);
	pthread_cond_destroy(&s->wake);
	pthread_cond_destroy(&s->spill_wake);
	free(s->dir);
	free(s->bodies);
	free(s);
}

/* ---- requests ---- */

/* Answer on the writer's thread that it cannot be done; needs no memory. */
static void op_fail(struct spool *sp, struct spool_op *op, int err)
{
	if (!op || !op->done)
		return;
	op->err = err;
	pthread_mutex_lock(&sp->lock);
	op->next = sp->failed;
	sp->failed = op;
	pthread_cond_signal(&sp->wake);
	pthread_mutex_unlock(&sp->lock);
}

/* A request with room for n octets of payload and the padding's zeros. */
static struct req *req_new(enum req_kind kind, uint64_t id, size_t n, struct spool_op *op)
{
	struct req *r = malloc(sizeof(*r) + RECORD_HEAD_OCTETS + n + RECORD_ALIGN);

	if (!r)
		return NULL;
	memset(r, 0, sizeof(*r));
	r->kind = kind;
	r->id = id;
	r->op = op;
	r->head_octets = (uint32_t)(RECORD_HEAD_OCTETS + n);
	r->octets = (uint32_t)record_round(r->head_octets);
	memset(r->record + r->head_octets, 0, RECORD_ALIGN);
	return r;
}

static void commit_fill(struct req *r, struct span envelope, struct span prefix)
{
	const struct spool_draft *d = r->draft;
	uint8_t *p = r->record + RECORD_HEAD_OCTETS;
	struct record_meta m = {
		.envelope_octets = (uint32_t)envelope.n,
		.inline_octets = (uint32_t)(prefix.n + d->octets),
		.file_octets = d->file_octets,
		.file_crc = d->file_crc,
	};

	m.inline_crc = crc32c(crc32c(0, prefix.p, prefix.n), d->mem, d->octets);
	record_put_meta(p, &m);
	if (envelope.n > 0)
		memcpy(p + RECORD_META_OCTETS, envelope.p, envelope.n);
	if (prefix.n > 0)
		memcpy(p + RECORD_META_OCTETS + envelope.n, prefix.p, prefix.n);
	r->crc = crc32c(0, p, RECORD_META_OCTETS + envelope.n);
	r->body_octets = (uint32_t)d->octets;
	r->file_octets = d->file_octets;
	r->octets = (uint32_t)record_round((uint64_t)r->head_octets + r->body_octets);
}

void spool_commit(struct spool *sp, uint64_t id, struct span envelope, struct span prefix,
    struct spool_draft **draft, int64_t due_ms, bool reserve, struct spool_op *op)
{
	struct spool_draft *d = *draft;
	struct req *r = NULL;
	int err = d->err;

	*draft = NULL;
	if (err == 0 && (envelope.n > ENVELOPE_OCTETS_MAX || prefix.n > ENVELOPE_OCTETS_MAX))
		err = -ERR_INVAL;
	if (err == 0 &&
	    !(r = req_new(REQ_COMMIT, id, RECORD_META_OCTETS + envelope.n + prefix.n, op)))
		err = -ERR_NOMEM;
	if (err < 0) {
		spool_draft_free(&d);
		op_fail(sp, op, err);
		return;
	}
	r->draft = d;
	r->due_ms = due_ms;
	r->reserve = reserve;
	r->urgent = true;
	draft_pad(d);
	commit_fill(r, envelope, prefix);
	if (r->file_octets > 0)
		spill_push(sp, r);
	else
		writer_push(sp, r);
}

void spool_update(struct spool *sp, uint64_t id, struct span state, int64_t due_ms, bool urgent,
    struct spool_op *op)
{
	struct entry *e;
	struct req *r;

	if (state.n > ENVELOPE_OCTETS_MAX) {
		op_fail(sp, op, -ERR_INVAL);
		return;
	}
	r = req_new(REQ_UPDATE, id, state.n, op);
	if (!r) {
		op_fail(sp, op, -ERR_NOMEM);
		return;
	}
	if (state.n > 0)
		memcpy(r->record + RECORD_HEAD_OCTETS, state.p, state.n);
	r->crc = crc32c(0, state.p, state.n);
	r->due_ms = due_ms;
	r->urgent = urgent;
	pthread_mutex_lock(&sp->index_lock);
	e = index_find(&sp->index, id);
	if (e && (e->flags & ENTRY_UNSEEN))
		e = NULL;
	if (e && e->pending == UINT16_MAX)
		e = NULL; /* 65,535 states of one message within 20 ms: something runs wild */
	if (e) {
		e->due_ms = due_ms;
		e->pending++;
		r->state_next = sp->states;
		if (sp->states)
			sp->states->state_prev = r;
		sp->states = r;
	}
	pthread_mutex_unlock(&sp->index_lock);
	if (e) {
		writer_push(sp, r);
	} else {
		req_free(r);
		op_fail(sp, op, -ERR_NOTFOUND);
	}
}

void spool_finish(struct spool *sp, uint64_t id, struct spool_op *op)
{
	struct req *r = req_new(REQ_FINISH, id, 0, op);
	struct entry *e;

	if (!r) {
		op_fail(sp, op, -ERR_NOMEM);
		return;
	}
	pthread_mutex_lock(&sp->index_lock);
	e = index_find(&sp->index, id);
	if (e && (e->flags & ENTRY_UNSEEN))
		e = NULL;
	if (e) {
		e->flags |= ENTRY_FINISHED;
		r->file_octets = e->file_octets;
	}
	pthread_mutex_unlock(&sp->index_lock);
	if (e) {
		atomic_fetch_sub(&sp->messages, 1);
		writer_push(sp, r);
	} else {
		req_free(r);
		op_fail(sp, op, -ERR_NOTFOUND);
	}
}

/* ---- looking ---- */

static void entry_fill(const struct entry *e, struct spool_entry *entry_r)
{
	*entry_r = (struct spool_entry){
		.id = e->id,
		.due_ms = e->due_ms,
		.octets = (uint64_t)e->octets + e->file_octets,
		.has_state =
		    e->state_segment != 0 || e->pending > 0 || (e->flags & ENTRY_STATE_INSIDE),
	};
}

bool spool_next(struct spool *sp, uint64_t *cursor, struct spool_entry *entry_r)
{
	const struct entry *e;
	uint64_t id = *cursor;

	pthread_mutex_lock(&sp->index_lock);
	while ((e = index_after(&sp->index, id)) && (e->flags & ENTRY_UNSEEN))
		id = e->id;
	if (e) {
		entry_fill(e, entry_r);
		*cursor = e->id;
	}
	pthread_mutex_unlock(&sp->index_lock);
	return e != NULL;
}

bool spool_find(struct spool *sp, uint64_t id, struct spool_entry *entry_r)
{
	const struct entry *e;

	pthread_mutex_lock(&sp->index_lock);
	e = index_find(&sp->index, id);
	if (e && (e->flags & ENTRY_UNSEEN))
		e = NULL;
	if (e)
		entry_fill(e, entry_r);
	pthread_mutex_unlock(&sp->index_lock);
	return e != NULL;
}

void spool_stats(struct spool *sp, struct spool_stats *stats_r)
{
	struct spool_stats st = {
		.messages = atomic_load(&sp->messages),
		.reserve_octets = atomic_load(&sp->reserve_octets),
		.commits = atomic_load(&sp->commits),
		.batches = atomic_load(&sp->batches),
		.syncs = atomic_load(&sp->syncs),
		.octets_written = atomic_load(&sp->octets_written),
		.evacuated = atomic_load(&sp->evacuated),
		.unlinked = atomic_load(&sp->unlinked),
		.damaged = atomic_load(&sp->damaged),
		.torn = atomic_load(&sp->torn),
		.max_id = atomic_load(&sp->max_id),
		.memory_octets = atomic_load(&sp->memory_octets),
		.last_error = atomic_load(&sp->last_error),
	};

	pthread_mutex_lock(&sp->index_lock);
	st.index_octets = index_octets(&sp->index);
	st.segments = sp->segment_count;
	for (size_t i = 0; i < sp->segment_count; i++) {
		st.live_octets += sp->segments[i]->live;
		st.disk_octets += sp->segments[i]->disk_octets;
	}
	pthread_mutex_unlock(&sp->index_lock);
	*stats_r = st;
}

int spool_room(struct spool *sp, uint64_t octets)
{
	int err = atomic_load(&sp->last_error);

	if (!space_for(sp, octets) || atomic_load(&sp->full))
		return -ERR_NOSPACE;
	/* For a while only: else nobody would try again, and nobody find that it is over. */
	if (err == -ERR_IO && clock_mono_ms() - atomic_load(&sp->last_error_ms) < ERROR_MS)
		return err;
	return 0;
}
