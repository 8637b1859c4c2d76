/*
 * spool/segment.c - the table of segments: what lives where, making, sealing and unlinking them.
 *
 * `live` counts the octets of a segment that are still needed: MESSAGE records of
 * queued messages, their newest STATE record, and DONE records whose message's
 * segment exists (but not those in that very segment, which go with it).
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "spool/spool-private.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Descriptors kept open for reading; the rest of the process wants some too. */
#define OPEN_FDS_MAX 256
/* After trouble with unlink. */
#define RETRY_MS 1000

void segment_path(
    const struct spool *sp, uint32_t number, const char *suffix, struct spool_file_name *to)
{
	snprintf(to->text, sizeof(to->text), "%s/%08x.%s", sp->dir, number, suffix);
}

void body_path(const struct spool *sp, uint64_t id, struct spool_file_name *to)
{
	snprintf(to->text, sizeof(to->text), "%s/%016llx", sp->bodies, (unsigned long long)id);
}

/* Place of the first segment whose number is not below this one. */
static size_t table_place(const struct spool *sp, uint32_t number)
{
	size_t low = 0, high = sp->segment_count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (sp->segments[mid]->number < number)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct segment *segment_find(const struct spool *sp, uint32_t number)
{
	size_t at = table_place(sp, number);

	if (at == sp->segment_count || sp->segments[at]->number != number)
		return NULL;
	return sp->segments[at];
}

struct segment *segment_add(struct spool *sp, uint32_t number)
{
	struct segment *s;
	size_t at = table_place(sp, number);

	if (sp->segment_count == sp->segment_cap) {
		size_t cap = sp->segment_cap * 2 + 16;
		struct segment **table = realloc(sp->segments, cap * sizeof(struct segment *));
		if (!table)
			return NULL;
		sp->segments = table;
		sp->segment_cap = cap;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->number = number;
	s->fd = -1;
	s->refs = 1;
	memmove(sp->segments + at + 1, sp->segments + at,
	    (sp->segment_count - at) * sizeof(struct segment *));
	sp->segments[at] = s;
	sp->segment_count++;
	return s;
}

void segment_live(struct spool *sp, uint32_t number, uint64_t octets)
{
	struct segment *s = segment_find(sp, number);

	if (s)
		s->live += octets;
}

void segment_dead(struct spool *sp, uint32_t number, uint64_t octets)
{
	struct segment *s = segment_find(sp, number);

	if (!s)
		return;
	s->live -= octets < s->live ? octets : s->live;
	if (!s->sealed)
		return;
	if (s->live == 0)
		sp->reaping = true;
	else if (s->live * 2 < s->size)
		atomic_store(&sp->want_evacuation, true);
}

void segment_grave(struct spool *sp, uint32_t home, uint32_t in, uint64_t octets)
{
	struct segment *h = segment_find(sp, home);

	if (!h || home == in)
		return;
	/* The newest segment is the last in the list, and nearly always the one. */
	for (size_t i = h->grave_count; i-- > 0;) {
		if (h->graves[i].segment == in) {
			h->graves[i].octets += octets;
			segment_live(sp, in, octets);
			return;
		}
	}
	if (h->grave_count == h->grave_cap) {
		size_t cap = h->grave_cap * 2 + 4;
		struct grave *graves = realloc(h->graves, cap * sizeof(*graves));
		if (!graves) {
			/* Counted as live for good: `in` stays longer than it need, nothing is
			 * lost. */
			segment_live(sp, in, octets);
			return;
		}
		h->graves = graves;
		h->grave_cap = cap;
	}
	h->graves[h->grave_count++] = (struct grave){ in, octets };
	segment_live(sp, in, octets);
}

void segment_ungrave(struct spool *sp, uint32_t home, uint32_t in, uint64_t octets)
{
	struct segment *h = segment_find(sp, home);

	if (!h || home == in)
		return;
	for (size_t i = 0; i < h->grave_count; i++) {
		struct grave *g = &h->graves[i];
		if (g->segment != in)
			continue;
		if (octets > g->octets)
			octets = g->octets;
		g->octets -= octets;
		segment_dead(sp, in, octets);
		return;
	}
}

void segment_unref(struct spool *sp, struct segment *s)
{
	if (--s->refs > 0)
		return;
	if (s->fd >= 0) {
		close(s->fd);
		sp->open_fds--;
	}
	free(s->graves);
	free(s);
}

/* Close the descriptor that was used longest ago and that nobody reads from now. */
static void close_oldest(struct spool *sp)
{
	struct segment *oldest = NULL;

	for (size_t i = 0; i < sp->segment_count; i++) {
		struct segment *s = sp->segments[i];
		if (s->fd >= 0 && s->refs == 1 && (!oldest || s->used_tick < oldest->used_tick))
			oldest = s;
	}
	if (oldest) {
		close(oldest->fd);
		oldest->fd = -1;
		sp->open_fds--;
	}
}

int segment_fd(struct spool *sp, struct segment *s, int *fd_r)
{
	struct spool_file_name path;
	int fd;

	pthread_mutex_lock(&sp->index_lock);
	fd = s->fd;
	s->used_tick = ++sp->tick;
	pthread_mutex_unlock(&sp->index_lock);
	if (fd < 0) {
		segment_path(sp, s->number, "log", &path);
		fd = open(path.text, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return err_from_errno(errno);
		pthread_mutex_lock(&sp->index_lock);
		if (s->fd < 0) {
			if (sp->open_fds >= OPEN_FDS_MAX)
				close_oldest(sp);
			s->fd = fd;
			sp->open_fds++;
		} else {
			close(fd); /* another reader was faster */
			fd = s->fd;
		}
		pthread_mutex_unlock(&sp->index_lock);
	}
	*fd_r = fd;
	return 0;
}

int segment_pread(const struct spool_io *io, int fd, void *to, size_t n, uint64_t at)
{
	uint8_t *p = to;

	while (n > 0) {
		ssize_t got = io->pread(fd, p, n, (off_t)at);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -ERR_IO;
		if (got == 0)
			return -ERR_CORRUPT;
		p += got;
		at += (uint64_t)got;
		n -= (size_t)got;
	}
	return 0;
}

/* Octets for the new file.  More than there are: urgent records take what they can get. */
static int preallocate(struct spool *sp, int fd, uint64_t octets, bool urgent, uint64_t *got_r)
{
	int r;

	*got_r = octets;
	if (sp->io->fallocate(fd, (off_t)octets) == 0)
		return 0;
	r = err_from_errno(errno);
	if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) {
		*got_r = 0;
		return 0;
	}
	if (r == -ERR_NOSPACE && urgent) {
		if (space_give_reserve(sp) && sp->io->fallocate(fd, (off_t)octets) == 0)
			return 0;
		*got_r = 0;
		return 0;
	}
	return r;
}

static int write_head(struct spool *sp, int fd, uint32_t number)
{
	uint8_t head[SEGMENT_HEAD_OCTETS];
	struct iovec iov = { head, sizeof(head) };

	segment_put_head(head,
	    &(struct segment_head){ .version = SPOOL_VERSION,
		.number = number,
		.key = sp->key,
		.created_ms = clock_wall_ms() });
	if (sp->io->pwritev(fd, &iov, 1, 0) != (ssize_t)sizeof(head))
		return errno ? err_from_errno(errno) : -ERR_IO;
	if (sp->io->fdatasync(fd) < 0 || sp->io->fsync(sp->dir_fd) < 0)
		return err_from_errno(errno);
	atomic_fetch_add(&sp->syncs, 2);
	return 0;
}

int segment_create_tail(struct spool *sp, uint64_t room, bool urgent)
{
	struct spool_file_name path;
	uint64_t octets = sp->o.segment_octets, got = 0;
	struct segment *s;
	uint32_t number = sp->next_segment;
	int fd, r;

	if (octets < SEGMENT_HEAD_OCTETS + room)
		octets = SEGMENT_HEAD_OCTETS + room;
	segment_path(sp, number, "log", &path);
	errno = 0;
	fd = sp->io->open(path.text, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_from_errno(errno);
	/* Never this number again: a file half made, and not removed, stays what it is. */
	sp->next_segment++;
	r = preallocate(sp, fd, octets, urgent, &got);
	if (r == 0)
		r = write_head(sp, fd, number);
	s = NULL;
	if (r == 0) {
		pthread_mutex_lock(&sp->index_lock);
		s = segment_add(sp, number);
		if (s) {
			s->refs++; /* the tail's */
			s->fd = fd;
			s->size = SEGMENT_HEAD_OCTETS;
			s->disk_octets = got;
			sp->open_fds++;
		}
		pthread_mutex_unlock(&sp->index_lock);
		if (!s)
			r = -ERR_NOMEM;
	}
	if (r < 0) {
		close(fd);
		sp->io->unlink(path.text);
		return r;
	}
	hint_reset(&sp->tail_hint);
	sp->tail = s;
	return 0;
}

void segment_seal_tail(struct spool *sp)
{
	struct segment *s = sp->tail;

	if (!s)
		return;
	/* Failure is harmless: zeros behind the last record are read as its end. */
	if (sp->io->ftruncate(s->fd, (off_t)s->size) < 0)
		s->suspect = true;
	sp->tail_hint.end = s->size;
	if (!s->suspect && s->live > 0)
		hint_write(sp, s->number, &sp->tail_hint);
	pthread_mutex_lock(&sp->index_lock);
	s->sealed = true;
	s->disk_octets = s->size;
	segment_dead(sp, s->number, 0);
	segment_unref(sp, s);
	pthread_mutex_unlock(&sp->index_lock);
	sp->tail = NULL;
}

/* Next segment that nothing needs, in order; NULL: none, or an evacuation must end first. */
static struct segment *reap_next(struct spool *sp)
{
	for (size_t i = 0; i < sp->segment_count; i++) {
		struct segment *s = sp->segments[i];
		if (s->sealed && s->live == 0 && !s->gone)
			return s;
		if (s->evacuating && !s->gone)
			return NULL;
	}
	return NULL;
}

/* The directory is synced: DONE records for segments that are gone are needed no more. */
static void reap_release(struct spool *sp)
{
	size_t to = 0, count = sp->segment_count;

	for (size_t i = 0; i < count; i++) {
		struct segment *s = sp->segments[i];
		if (!s->gone)
			continue;
		for (size_t g = 0; g < s->grave_count; g++)
			segment_dead(sp, s->graves[g].segment, s->graves[g].octets);
		s->grave_count = 0;
	}
	for (size_t i = 0; i < count; i++) {
		struct segment *s = sp->segments[i];
		if (s->gone)
			segment_unref(sp, s);
		else
			sp->segments[to++] = s;
	}
	sp->segment_count = to;
}

/* Unlink, in order, what nothing needs; false: trouble, the rest another time. */
static bool reap_unlink(struct spool *sp)
{
	struct spool_file_name path;
	struct segment *s;

	for (;;) {
		pthread_mutex_lock(&sp->index_lock);
		s = reap_next(sp);
		pthread_mutex_unlock(&sp->index_lock);
		if (!s)
			return true;
		/* The log first: a hint alone is nothing, and removed at start. */
		segment_path(sp, s->number, "log", &path);
		if (sp->io->unlink(path.text) < 0 && errno != ENOENT) {
			spool_notice(
			    sp, "unlink", err_from_errno(errno), "cannot remove %s", path.text);
			return false;
		}
		segment_path(sp, s->number, "hint", &path);
		sp->io->unlink(path.text);
		atomic_fetch_add(&sp->unlinked, 1);
		pthread_mutex_lock(&sp->index_lock);
		s->gone = true;
		pthread_mutex_unlock(&sp->index_lock);
	}
}

static bool any_gone(struct spool *sp)
{
	bool any = false;

	pthread_mutex_lock(&sp->index_lock);
	for (size_t i = 0; i < sp->segment_count && !any; i++)
		any = sp->segments[i]->gone;
	pthread_mutex_unlock(&sp->index_lock);
	return any;
}

void segment_reap(struct spool *sp)
{
	if (clock_mono_ms() < sp->reap_ms)
		return;
	/* Releasing DONE records may leave more segments that nothing needs. */
	while (sp->reaping) {
		bool fine;

		sp->reaping = false;
		fine = reap_unlink(sp);
		if (any_gone(sp)) {
			if (sp->io->fsync(sp->dir_fd) == 0) {
				atomic_fetch_add(&sp->syncs, 1);
				pthread_mutex_lock(&sp->index_lock);
				reap_release(sp);
				pthread_mutex_unlock(&sp->index_lock);
			} else {
				/* They stay in the table, and with them the DONE records that they
				 * need. */
				spool_notice(
				    sp, "sync", err_from_errno(errno), "cannot sync %s", sp->dir);
				fine = false;
			}
		}
		if (!fine) {
			sp->reaping = true;
			sp->reap_ms = clock_mono_ms() + RETRY_MS;
			return;
		}
	}
}
