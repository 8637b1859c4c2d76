/*
 * spool/read.c - reading messages back, while they may be moved or finished.
 *
 * The place of a message is copied under the lock, with a ref on its segment; then
 * it is read without one.  A segment that was unlinked in between and not open yet
 * cannot be opened any more: then the message has moved, and is looked up again.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "spool/spool-private.h"
#include "base/crc32c.h"

#include <stdlib.h>

/* What is read at first: enough for the envelope of a message with a few recipients. */
#define FIRST_READ_OCTETS 2048

static struct segment *segment_ref(struct spool *sp, uint32_t number)
{
	struct segment *s = number ? segment_find(sp, number) : NULL;

	if (s)
		s->refs++;
	return s;
}

/* With index_lock. */
static int place_find_locked(struct spool *sp, uint64_t id, struct place *p_r)
{
	const struct entry *e = index_find(&sp->index, id);

	if (!e || (e->flags & ENTRY_UNSEEN))
		return -ERR_NOTFOUND;
	p_r->entry = *e;
	p_r->segment = segment_ref(sp, e->segment);
	p_r->state_segment = segment_ref(sp, e->state_segment);
	return p_r->segment ? 0 : -ERR_CORRUPT;
}

int place_find(struct spool *sp, uint64_t id, struct place *p_r)
{
	int r;

	pthread_mutex_lock(&sp->index_lock);
	r = place_find_locked(sp, id, p_r);
	pthread_mutex_unlock(&sp->index_lock);
	return r;
}

void place_done(struct spool *sp, struct place *p)
{
	pthread_mutex_lock(&sp->index_lock);
	if (p->segment)
		segment_unref(sp, p->segment);
	if (p->state_segment)
		segment_unref(sp, p->state_segment);
	pthread_mutex_unlock(&sp->index_lock);
	*p = (struct place){ 0 };
}

/* n octets at the end of `to`. */
static int read_into(struct spool *sp, int fd, struct buf *to, size_t n, uint64_t at)
{
	uint8_t *p = buf_reserve(to, n);
	int r;

	if (!p)
		return -ERR_NOMEM;
	r = segment_pread(sp->io, fd, p, n, at);
	if (r == 0)
		buf_commit(to, n);
	return r;
}

int place_read_head(struct spool *sp, const struct place *p, struct buf *to,
    struct record_head *h_r, struct record_meta *m_r)
{
	size_t start = buf_len(to), first = FIRST_READ_OCTETS, all;
	const uint8_t *rec;
	int fd, r;

	if (first > p->entry.octets)
		first = p->entry.octets;
	r = segment_fd(sp, p->segment, &fd);
	if (r < 0)
		return r;
	r = read_into(sp, fd, to, first, p->entry.offset);
	if (r < 0)
		return r;
	rec = buf_span(to).p + start;
	if (first < RECORD_HEAD_OCTETS + RECORD_META_OCTETS ||
	    !record_get_head(rec, sp->key, h_r) || h_r->type != RECORD_MESSAGE ||
	    h_r->id != p->entry.id || record_octets(h_r) != p->entry.octets)
		return -ERR_CORRUPT;
	record_get_meta(rec + RECORD_HEAD_OCTETS, m_r);
	if (!record_meta_fits(h_r, m_r))
		return -ERR_CORRUPT;
	all = RECORD_HEAD_OCTETS + RECORD_META_OCTETS + m_r->envelope_octets + m_r->state_octets;
	if (all > first)
		r = read_into(sp, fd, to, all - first, p->entry.offset + first);
	else
		buf_truncate(to, start + all);
	if (r < 0)
		return r;
	rec = buf_span(to).p + start;
	if (crc32c(0, rec + RECORD_HEAD_OCTETS, all - RECORD_HEAD_OCTETS) != h_r->crc)
		return -ERR_CORRUPT;
	return 0;
}

/* The newest state that is still on its way, if any. */
static bool read_pending(struct spool *sp, uint64_t id, struct buf *state_r, int *err_r)
{
	for (const struct req *r = sp->states; r; r = r->state_next) {
		if (r->id != id)
			continue;
		*err_r = buf_add(
		    state_r, r->record + RECORD_HEAD_OCTETS, r->head_octets - RECORD_HEAD_OCTETS);
		return true;
	}
	return false;
}

static int read_state(struct spool *sp, const struct place *p, struct buf *state_r)
{
	size_t start = buf_len(state_r);
	struct record_head h;
	struct record_meta m;
	const uint8_t *rec;
	int fd, r;

	r = segment_fd(sp, p->state_segment, &fd);
	if (r == 0)
		r = read_into(sp, fd, state_r, p->entry.state_octets, p->entry.state_offset);
	if (r < 0)
		return r;
	rec = buf_span(state_r).p + start;
	if (p->entry.state_octets < RECORD_HEAD_OCTETS || !record_get_head(rec, sp->key, &h) ||
	    h.type != RECORD_STATE || h.id != p->entry.id ||
	    record_octets(&h) != p->entry.state_octets ||
	    !record_verify(&h, rec + RECORD_HEAD_OCTETS, &m))
		return -ERR_CORRUPT;
	memmove(state_r->data + state_r->start + start, rec + RECORD_HEAD_OCTETS, h.payload_octets);
	buf_truncate(state_r, start + h.payload_octets);
	return 0;
}

static int read_once(
    struct spool *sp, uint64_t id, struct buf *envelope_r, struct buf *state_r, struct place *p)
{
	size_t start = buf_len(envelope_r);
	struct record_head h;
	struct record_meta m;
	bool pending = false;
	const uint8_t *rec;
	int r, err = 0;

	pthread_mutex_lock(&sp->index_lock);
	r = place_find_locked(sp, id, p);
	if (r == 0 && p->entry.pending > 0)
		pending = read_pending(sp, id, state_r, &err);
	pthread_mutex_unlock(&sp->index_lock);
	if (r == 0)
		r = err;
	if (r == 0)
		r = place_read_head(sp, p, envelope_r, &h, &m);
	if (r < 0)
		return r;
	rec = buf_span(envelope_r).p + start + RECORD_HEAD_OCTETS + RECORD_META_OCTETS;
	if (!pending && (p->entry.flags & ENTRY_STATE_INSIDE))
		r = buf_add(state_r, rec + m.envelope_octets, m.state_octets);
	else if (!pending && p->state_segment)
		r = read_state(sp, p, state_r);
	memmove(envelope_r->data + envelope_r->start + start, rec, m.envelope_octets);
	buf_truncate(envelope_r, start + m.envelope_octets);
	return r;
}

int spool_read(struct spool *sp, uint64_t id, struct buf *envelope_r, struct buf *state_r)
{
	size_t envelope = buf_len(envelope_r), state = buf_len(state_r);
	int r = 0;

	for (int tries = 0; tries < 4; tries++) {
		struct place p = { 0 };
		bool found;

		r = read_once(sp, id, envelope_r, state_r, &p);
		found = p.segment != NULL;
		if (r == -ERR_CORRUPT && found)
			spool_damage(
			    sp, p.entry.segment, p.entry.offset, "a message cannot be read");
		place_done(sp, &p);
		if (r == 0)
			return 0;
		buf_truncate(envelope_r, envelope);
		buf_truncate(state_r, state);
		if (r != -ERR_NOTFOUND || !found)
			return r;
	}
	return r;
}
