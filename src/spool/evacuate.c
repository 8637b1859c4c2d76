/*
 * spool/evacuate.c - give space back: move what is alive out of a segment that mostly is not.
 *
 * In steps between batches, each with a sync of its own: copy up to STEP_OCTETS of
 * survivors to the tail, sync, let the index point at the copies.  A MESSAGE takes
 * its present state along, so that a STATE record never stands before its MESSAGE.
 * When all is copied nothing in the segment is needed and segment_reap() unlinks it.
 * Crash points 7 and 8 of spool-private.h are about this file.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "spool/spool-private.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define STEP_OCTETS  ((uint64_t)1 << 20)
#define STEP_RECORDS 1024
#define RETRY_MS     1000
/* After so many I/O errors a record that cannot be read is given up. */
#define FAILURES_MAX 8

/* One record to move. */
struct move {
	struct hint_entry from;
	struct entry entry;      /* as it was when the step began */
	uint32_t offset, octets; /* of the copy */
	bool state_inside, failed;
};

struct evacuation {
	struct segment *segment; /* with a ref */
	struct hint hint;
	size_t at; /* next entry */
	struct move moves[STEP_RECORDS];
	size_t count;
	uint64_t octets; /* of the originals, about */
	struct buf out;
};

void evacuate_done(struct spool *sp)
{
	struct evacuation *ev = sp->evacuation;

	if (!ev)
		return;
	sp->evacuation = NULL;
	pthread_mutex_lock(&sp->index_lock);
	segment_unref(sp, ev->segment);
	pthread_mutex_unlock(&sp->index_lock);
	hint_done(&ev->hint);
	buf_done(&ev->out);
	free(ev);
}

/* One that was begun goes first; else the emptiest. */
static struct segment *choose(struct spool *sp)
{
	struct segment *best = NULL;

	for (size_t i = 0; i < sp->segment_count; i++) {
		struct segment *s = sp->segments[i];
		if (!s->sealed || s->gone || s->passed || s->live == 0)
			continue;
		if (s->evacuating)
			return s;
		if (s->live * 2 < s->size && (!best || s->live * best->size < best->live * s->size))
			best = s;
	}
	return best;
}

static void listed_record(void *arg, const struct record_head *h, const struct record_meta *m,
    uint64_t offset, const uint8_t *payload)
{
	struct hint *hint = arg;
	struct hint_entry e;

	(void)payload;
	hint_entry_of(h, m, offset, &e);
	hint_add(hint, &e);
}

static void listed_gap(void *arg, uint64_t from, uint64_t to, bool tail)
{
	(void)arg, (void)from, (void)to, (void)tail; /* told when the spool was opened */
}

/* What stands in the segment: from the hint, else by reading it. */
static int list_records(struct spool *sp, struct evacuation *ev)
{
	struct scan_events events = { listed_record, listed_gap, &ev->hint };
	int fd, r;

	if (!ev->segment->suspect &&
	    hint_load(sp, ev->segment->number, ev->segment->size, &ev->hint) == 0)
		return 0;
	hint_reset(&ev->hint);
	r = segment_fd(sp, ev->segment, &fd);
	if (r == 0)
		r = scan_segment(sp->io, fd, sp->key, SEGMENT_HEAD_OCTETS, &events, &ev->hint.end);
	return r < 0 ? r : ev->hint.failed ? -ERR_NOMEM : 0;
}

static bool begin(struct spool *sp)
{
	struct evacuation *ev;
	struct segment *s;

	pthread_mutex_lock(&sp->index_lock);
	s = choose(sp);
	if (s)
		s->refs++;
	else
		atomic_store(&sp->want_evacuation, false);
	pthread_mutex_unlock(&sp->index_lock);
	if (!s)
		return false;
	ev = calloc(1, sizeof(*ev));
	if (!ev) {
		pthread_mutex_lock(&sp->index_lock);
		segment_unref(sp, s);
		pthread_mutex_unlock(&sp->index_lock);
		sp->evacuate_ms = clock_mono_ms() + RETRY_MS;
		return false;
	}
	ev->segment = s;
	hint_init(&ev->hint);
	/* A step, and one record of any size that the log can hold. */
	buf_init(&ev->out, 2 * (size_t)RECORD_OCTETS_MAX);
	sp->evacuation = ev;
	if (list_records(sp, ev) < 0) {
		evacuate_done(sp);
		sp->evacuate_ms = clock_mono_ms() + RETRY_MS;
		return false;
	}
	return true;
}

/* With index_lock: is this record needed? */
static bool alive(struct spool *sp, uint32_t number, const struct hint_entry *e, struct entry *x_r)
{
	const struct entry *x;

	if (e->type == RECORD_DONE)
		return e->home != number && segment_find(sp, e->home) != NULL;
	x = index_find(&sp->index, e->id);
	/* Finished: its DONE record comes, and with this segment it will not be needed. */
	if (!x || (x->flags & ENTRY_UNSEEN))
		return false;
	*x_r = *x;
	if (e->type == RECORD_MESSAGE)
		return x->segment == number && x->offset == e->offset;
	/* Where its MESSAGE stands here too, it goes along inside of it. */
	return x->segment != number && x->state_segment == number && x->state_offset == e->offset;
}

static void gather(struct spool *sp, struct evacuation *ev)
{
	uint32_t number = ev->segment->number;
	size_t n = hint_count(&ev->hint), looked = 0;

	ev->count = 0;
	ev->octets = 0;
	pthread_mutex_lock(&sp->index_lock);
	ev->segment->evacuating = true;
	while (ev->at < n && ev->count < STEP_RECORDS && ev->octets < STEP_OCTETS &&
	    looked++ < 16 * STEP_RECORDS) {
		struct move *m = &ev->moves[ev->count];
		*m = (struct move){ 0 };
		hint_get(&ev->hint, ev->at++, &m->from);
		if (!alive(sp, number, &m->from, &m->entry))
			continue;
		ev->count++;
		ev->octets += m->from.octets;
		if (m->from.type == RECORD_MESSAGE)
			ev->octets += m->entry.state_octets;
	}
	pthread_mutex_unlock(&sp->index_lock);
}

/* A whole record, verified, at the end of `to`. */
static int read_record(struct spool *sp, uint32_t segment, uint32_t offset, uint32_t octets,
    uint64_t id, struct buf *to, struct record_head *h_r, struct record_meta *m_r)
{
	struct segment *s;
	uint8_t *p = buf_reserve(to, octets);
	int fd, r;

	if (!p)
		return -ERR_NOMEM;
	pthread_mutex_lock(&sp->index_lock);
	s = segment_find(sp, segment);
	if (s)
		s->refs++;
	pthread_mutex_unlock(&sp->index_lock);
	if (!s)
		return -ERR_CORRUPT;
	r = segment_fd(sp, s, &fd);
	if (r == 0)
		r = segment_pread(sp->io, fd, p, octets, offset);
	pthread_mutex_lock(&sp->index_lock);
	segment_unref(sp, s);
	pthread_mutex_unlock(&sp->index_lock);
	if (r < 0)
		return r;
	if (octets < RECORD_HEAD_OCTETS || !record_get_head(p, sp->key, h_r) || h_r->id != id ||
	    record_octets(h_r) != octets || !record_verify(h_r, p + RECORD_HEAD_OCTETS, m_r))
		return -ERR_CORRUPT;
	buf_commit(to, octets);
	return 0;
}

/* Put a STATE record's payload between envelope and inline body of the copy at `start`. */
static int fold_state(struct spool *sp, struct evacuation *ev, const struct entry *x, size_t start,
    struct record_head *h, struct record_meta *m)
{
	struct record_head sh;
	struct record_meta sm;
	struct buf state;
	size_t first, rest;
	uint8_t *p;
	int r;

	buf_init(&state, (size_t)ENVELOPE_OCTETS_MAX + 4096);
	r = read_record(
	    sp, x->state_segment, x->state_offset, x->state_octets, x->id, &state, &sh, &sm);
	if (r == -ERR_CORRUPT) {
		/* Without its state it is tried again from the start, but not lost. */
		spool_damage(
		    sp, x->state_segment, x->state_offset, "a state is damaged and forgotten");
		sh.payload_octets = 0;
		r = 0;
	}
	if (r == 0 && !buf_reserve(&ev->out, (size_t)sh.payload_octets + RECORD_ALIGN))
		r = -ERR_NOMEM;
	if (r < 0) {
		buf_done(&state);
		return r;
	}
	p = ev->out.data + ev->out.start + start + RECORD_HEAD_OCTETS;
	first = RECORD_META_OCTETS + m->envelope_octets;
	rest = m->inline_octets;
	memmove(p + first + sh.payload_octets, p + first + m->state_octets, rest);
	if (sh.payload_octets > 0)
		memcpy(p + first, buf_span(&state).p + RECORD_HEAD_OCTETS, sh.payload_octets);
	buf_done(&state);
	m->state_octets = sh.payload_octets;
	record_put_meta(p, m);
	h->payload_octets = (uint32_t)(first + m->state_octets + rest);
	h->crc = crc32c(0, p, first + m->state_octets);
	memset(p + h->payload_octets, 0, RECORD_ALIGN);
	ev->out.end = ev->out.start + start + (size_t)record_octets(h);
	return 0;
}

/* The copy of one record, at the end of ev->out. */
static int copy_one(struct spool *sp, struct evacuation *ev, struct move *mv)
{
	size_t start = buf_len(&ev->out);
	struct record_head h;
	struct record_meta m;
	int r = read_record(sp, ev->segment->number, mv->from.offset, mv->from.octets, mv->from.id,
	    &ev->out, &h, &m);

	if (r == 0 && h.type != mv->from.type)
		r = -ERR_CORRUPT;
	if (r == 0 && h.type == RECORD_MESSAGE) {
		h.home = ev->segment->number;
		h.due_ms = mv->entry.due_ms;
		if (mv->entry.state_segment)
			r = fold_state(sp, ev, &mv->entry, start, &h, &m);
		mv->state_inside = m.state_octets > 0;
	}
	if (r < 0) {
		buf_truncate(&ev->out, start);
		return r;
	}
	h.seq = sp->next_seq++;
	sp->tail_hint.max_seq = h.seq;
	record_put_head(ev->out.data + ev->out.start + start, &h, sp->key);
	mv->offset = (uint32_t)start; /* the place in the tail is added later */
	mv->octets = (uint32_t)record_octets(&h);
	return 0;
}

/* What is left of a record that cannot be read is kept in a file beside the log. */
static void keep_damaged(struct spool *sp, const struct evacuation *ev, const struct move *mv)
{
	struct spool_file_name path;
	uint8_t *p = calloc(1, mv->from.octets);
	int fd = -1, out = -1;

	snprintf(path.text, sizeof(path.text), "%s/damaged-%08x-%u", sp->dir, ev->segment->number,
	    mv->from.offset);
	if (p && segment_fd(sp, ev->segment, &fd) == 0) {
		(void)!sp->io->pread(fd, p, mv->from.octets, mv->from.offset);
		out = sp->io->open(path.text, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	}
	if (out >= 0) {
		if (file_write_all(out, p, mv->from.octets) == 0)
			sp->io->fsync(out);
		close(out);
	}
	free(p);
}

static void give_up(struct spool *sp, struct evacuation *ev, struct move *mv)
{
	struct entry *x;

	spool_damage(
	    sp, ev->segment->number, mv->from.offset, "a record is damaged and cannot be moved");
	keep_damaged(sp, ev, mv);
	mv->failed = true;
	pthread_mutex_lock(&sp->index_lock);
	x = index_find(&sp->index, mv->from.id);
	if (mv->from.type == RECORD_DONE) {
		segment_ungrave(sp, mv->from.home, ev->segment->number, mv->from.octets);
	} else if (x && mv->from.type == RECORD_STATE) {
		segment_dead(sp, x->state_segment, x->state_octets);
		x->state_segment = 0;
	} else if (x && !(x->flags & ENTRY_UNSEEN)) {
		if (x->state_segment)
			segment_dead(sp, x->state_segment, x->state_octets);
		segment_dead(sp, x->segment, x->octets);
		index_remove(&sp->index, mv->from.id);
		atomic_fetch_sub(&sp->messages, 1);
	}
	pthread_mutex_unlock(&sp->index_lock);
}

static int copy_all(struct spool *sp, struct evacuation *ev)
{
	buf_reset(&ev->out);
	for (size_t i = 0; i < ev->count; i++) {
		int r = copy_one(sp, ev, &ev->moves[i]);
		if (r == -ERR_CORRUPT || (r == -ERR_IO && ev->segment->failures >= FAILURES_MAX)) {
			give_up(sp, ev, &ev->moves[i]);
		} else if (r < 0) {
			ev->segment->failures++;
			return r;
		}
	}
	return 0;
}

/* With index_lock: the copy is durable. */
static void moved(struct spool *sp, struct evacuation *ev, const struct move *mv)
{
	uint32_t tail = sp->tail->number, from = ev->segment->number;
	struct entry *x;

	if (mv->from.type == RECORD_DONE) {
		segment_grave(sp, mv->from.home, tail, mv->octets);
		segment_ungrave(sp, mv->from.home, from, mv->from.octets);
		return;
	}
	/* Only this thread removes entries: it is there, though perhaps finished. */
	x = index_find(&sp->index, mv->from.id);
	if (!x)
		return;
	segment_live(sp, tail, mv->octets);
	if (mv->from.type == RECORD_MESSAGE) {
		segment_dead(sp, x->segment, x->octets);
		if (x->state_segment)
			segment_dead(sp, x->state_segment, x->state_octets);
		x->segment = tail;
		x->offset = mv->offset;
		x->octets = mv->octets;
		x->state_segment = 0;
		x->flags = (uint8_t)((x->flags & ~ENTRY_STATE_INSIDE) |
		    (mv->state_inside ? ENTRY_STATE_INSIDE : 0));
	} else {
		segment_dead(sp, x->state_segment, x->state_octets);
		x->state_segment = tail;
		x->state_offset = mv->offset;
		x->state_octets = mv->octets;
	}
	atomic_fetch_add(&sp->evacuated, 1);
}

static int write_copies(struct spool *sp, struct evacuation *ev)
{
	struct span all = buf_span(&ev->out);
	struct iovec iov = { ev->out.data + ev->out.start, all.n };
	uint64_t durable;
	int r = 0;

	if (sp->tail && sp->tail->size > SEGMENT_HEAD_OCTETS &&
	    sp->tail->size + all.n > sp->o.segment_octets)
		segment_seal_tail(sp);
	if (!sp->tail)
		r = segment_create_tail(sp, all.n, true);
	if (r < 0)
		return r;
	sp->tail_hint.max_seq = sp->next_seq - 1;
	r = writer_append(sp, &iov, 1, all.n, &durable);
	if (r < 0) {
		/* None counts, or copies would stand in two places with the original going on. */
		writer_abandon_tail(sp, sp->tail->size, r);
		return r;
	}
	pthread_mutex_lock(&sp->index_lock);
	for (size_t i = 0; i < ev->count; i++) {
		struct move *mv = &ev->moves[i];
		if (mv->failed)
			continue;
		mv->offset += (uint32_t)sp->tail->size;
		moved(sp, ev, mv);
	}
	pthread_mutex_unlock(&sp->index_lock);
	for (size_t i = 0; i < ev->count; i++) {
		const struct move *mv = &ev->moves[i];
		if (mv->failed)
			continue;
		hint_add(&sp->tail_hint,
		    &(struct hint_entry){ .id = mv->from.id,
			.due_ms =
			    mv->from.type == RECORD_MESSAGE ? mv->entry.due_ms : mv->from.due_ms,
			.file_octets = mv->from.file_octets,
			.offset = mv->offset,
			.octets = mv->octets,
			.home =
			    mv->from.type == RECORD_MESSAGE ? ev->segment->number : mv->from.home,
			.type = mv->from.type,
			.state_inside = mv->state_inside });
	}
	sp->tail->size += all.n;
	return 0;
}

void evacuate_step(struct spool *sp)
{
	struct evacuation *ev;
	size_t start;
	int r = 0;

	if (!atomic_load(&sp->want_evacuation) || clock_mono_ms() < sp->evacuate_ms)
		return;
	if (!sp->evacuation && !begin(sp))
		return;
	ev = sp->evacuation;
	start = ev->at;
	gather(sp, ev);
	if (ev->count > 0)
		r = copy_all(sp, ev);
	if (r == 0 && buf_len(&ev->out) > 0 && ev->count > 0)
		r = write_copies(sp, ev);
	if (r < 0) {
		ev->at = start;
		sp->evacuate_ms = clock_mono_ms() + RETRY_MS;
		writer_error(sp, r);
		return;
	}
	if (ev->at == hint_count(&ev->hint)) {
		ev->segment->passed = true;
		evacuate_done(sp);
	}
}
