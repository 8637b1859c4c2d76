/*
 * spool/scan.c - read a segment record by record and find the way again behind damage.
 *
 * A record whose head is good and whose payload is not is skipped as a whole: its
 * length can be trusted, so a body is never taken for records.  Where the head is
 * bad, the next good one is looked for in steps of 8 octets.  Zeros to the end of
 * the file are space that was preallocated and not used yet.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "spool/spool-private.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define WINDOW_OCTETS ((size_t)1 << 20)

/* A part of the file in memory. */
struct window {
	const struct spool_io *io;
	int fd;
	uint64_t file_octets;
	uint8_t *p;
	size_t cap, n;
	uint64_t at;
	bool nomem;
};

/* n octets at `at`, or NULL: behind the end, unreadable, or no memory for so many. */
static const uint8_t *window_get(struct window *w, uint64_t at, size_t n)
{
	size_t want;

	if (at > w->file_octets || n > w->file_octets - at)
		return NULL;
	if (at >= w->at && at - w->at <= w->n && n <= w->n - (at - w->at))
		return w->p + (at - w->at);
	if (n > w->cap || !w->p) {
		size_t cap = n > WINDOW_OCTETS ? n : WINDOW_OCTETS;
		uint8_t *p = realloc(w->p, cap);
		if (!p) {
			w->nomem = true;
			return NULL;
		}
		w->p = p;
		w->cap = cap;
	}
	want = w->cap;
	if (want > w->file_octets - at)
		want = (size_t)(w->file_octets - at);
	w->at = at;
	w->n = want;
	if (segment_pread(w->io, w->fd, w->p, want, at) == 0)
		return w->p;
	/* Somewhere in the window is a bad page; ask for no more than is needed. */
	w->n = n;
	if (segment_pread(w->io, w->fd, w->p, n, at) == 0)
		return w->p;
	w->n = 0;
	return NULL;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	while (n > 0 && *p == 0)
		p++, n--;
	return n == 0;
}

/* A record at `at`: 1 good, 0 none; -1 its head is good, its payload is not.  *h_r for 1 and -1. */
static int record_at(struct window *w, uint64_t at, uint64_t key, struct record_head *h_r,
    struct record_meta *m_r, const uint8_t **payload_r, bool *padded_r)
{
	const uint8_t *p = window_get(w, at, RECORD_HEAD_OCTETS);
	uint64_t n;

	if (!p || !record_get_head(p, key, h_r))
		return 0;
	n = record_octets(h_r);
	if (n > w->file_octets - at)
		return 0;
	p = window_get(w, at, (size_t)n);
	if (!p || !record_verify(h_r, p + RECORD_HEAD_OCTETS, m_r))
		return -1;
	*payload_r = p + RECORD_HEAD_OCTETS;
	n -= RECORD_HEAD_OCTETS + h_r->payload_octets;
	*padded_r = all_zero(*payload_r + h_r->payload_octets, (size_t)n);
	return 1;
}

/* One step through what is no record. */
static uint64_t step_over(struct window *w, uint64_t at, bool *zero)
{
	size_t n = RECORD_ALIGN;
	const uint8_t *p;

	if (n > w->file_octets - at)
		n = (size_t)(w->file_octets - at);
	p = window_get(w, at, n);
	if (!p) {
		*zero = false;
		at = (at + 4096) & ~(uint64_t)4095; /* unreadable: the next page */
		return at < w->file_octets ? at : w->file_octets;
	}
	if (!all_zero(p, n))
		*zero = false;
	return at + n;
}

int scan_segment(const struct spool_io *io, int fd, uint64_t key, uint64_t start,
    const struct scan_events *ev, uint64_t *end_r)
{
	struct window w = { .io = io, .fd = fd };
	uint64_t at = start, end = start, gap = start;
	bool zero = true;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_from_errno(errno);
	w.file_octets = (uint64_t)st.st_size;
	while (at < w.file_octets && !w.nomem) {
		struct record_head h;
		struct record_meta m;
		const uint8_t *payload;
		bool padded;
		int r = record_at(&w, at, key, &h, &m, &payload, &padded);

		if (r == 0) {
			at = step_over(&w, at, &zero);
			continue;
		}
		if (r < 0) {
			zero = false;
			at += record_octets(&h);
			continue;
		}
		if (gap < at)
			ev->gap(ev->arg, gap, at, false);
		ev->record(ev->arg, &h, &m, at, payload);
		at += record_octets(&h);
		if (!padded)
			ev->gap(ev->arg, at - RECORD_ALIGN, at, false);
		gap = end = at;
		zero = true;
	}
	if (gap < at && !zero)
		ev->gap(ev->arg, gap, at, true);
	free(w.p);
	*end_r = end;
	return w.nomem ? -ERR_NOMEM : 0;
}
