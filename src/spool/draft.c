/*
 * spool/draft.c - a body on its way in.
 *
 * In memory at first; above the size limit, or when all drafts together have reached
 * theirs, in a file of its own.  Nothing is promised for a draft, so nothing is
 * synced here; spool/spill.c does that before the message refers to the file.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "spool/spool-private.h"
#include "base/crc32c.h"
#include "base/file.h"
#include "base/random.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FIRST_OCTETS 4096

void draft_path(const struct spool *sp, uint64_t name, struct spool_file_name *to)
{
	snprintf(
	    to->text, sizeof(to->text), "%s/draft-%016llx", sp->bodies, (unsigned long long)name);
}

int spool_draft_new(struct spool *sp, struct spool_draft **d_r)
{
	struct spool_draft *d = calloc(1, sizeof(*d));

	if (!d)
		return -ERR_NOMEM;
	d->sp = sp;
	d->fd = -1;
	*d_r = d;
	return 0;
}

static void drop_memory(struct spool_draft *d)
{
	atomic_fetch_sub(&d->sp->memory_octets, d->cap);
	free(d->mem);
	d->mem = NULL;
	d->octets = d->cap = 0;
}

/* Move to a file. */
static int spill(struct spool_draft *d)
{
	struct spool_file_name path;
	int r;

	random_fill(&d->name, sizeof(d->name));
	draft_path(d->sp, d->name, &path);
	d->fd = d->sp->io->open(path.text, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (d->fd < 0)
		return -ERR_IO;
	r = file_write_all(d->fd, d->mem, d->octets);
	if (r < 0)
		return r;
	d->file_octets = d->octets;
	d->file_crc = crc32c(0, d->mem, d->octets);
	drop_memory(d);
	return 0;
}

/* Room for n more octets in memory (padding included); -ERR_LIMIT: to the file with it. */
static int grow(struct spool_draft *d, size_t n)
{
	size_t need = d->octets + n + RECORD_ALIGN, cap = d->cap ? d->cap : FIRST_OCTETS;
	uint8_t *mem;

	if (need <= d->cap)
		return 0;
	while (cap < need)
		cap *= 2;
	if (atomic_fetch_add(&d->sp->memory_octets, cap - d->cap) + (cap - d->cap) >
	    d->sp->o.memory_octets) {
		atomic_fetch_sub(&d->sp->memory_octets, cap - d->cap);
		return -ERR_LIMIT;
	}
	mem = realloc(d->mem, cap);
	if (!mem) {
		atomic_fetch_sub(&d->sp->memory_octets, cap - d->cap);
		return -ERR_NOMEM;
	}
	d->mem = mem;
	d->cap = cap;
	return 0;
}

int spool_draft_write(struct spool_draft *d, struct span octets)
{
	int r = 0;

	if (d->err < 0 || octets.n == 0)
		return d->err;
	if (d->fd < 0) {
		if (octets.n <= d->sp->spill_octets - d->octets)
			r = grow(d, octets.n);
		else
			r = -ERR_LIMIT;
		if (r == 0) {
			memcpy(d->mem + d->octets, octets.p, octets.n);
			d->octets += octets.n;
			return 0;
		}
		/* No memory: the file needs none. */
		r = spill(d);
	}
	if (r == 0 && d->file_octets + octets.n > BODY_FILE_OCTETS_MAX)
		r = -ERR_NOSPACE;
	if (r == 0)
		r = file_write_all(d->fd, octets.p, octets.n);
	if (r < 0) {
		d->err = r == -ERR_NOSPACE ? r : -ERR_IO;
		return d->err;
	}
	d->file_crc = crc32c(d->file_crc, octets.p, octets.n);
	d->file_octets += octets.n;
	return 0;
}

uint64_t spool_draft_size(const struct spool_draft *d)
{
	return d->octets + d->file_octets;
}

void draft_pad(struct spool_draft *d)
{
	if (d->mem)
		memset(d->mem + d->octets, 0, RECORD_ALIGN);
}

void spool_draft_free(struct spool_draft **d)
{
	struct spool_draft *old = *d;
	struct spool_file_name path;

	*d = NULL;
	if (!old)
		return;
	if (old->fd >= 0) {
		close(old->fd);
		if (!old->kept) {
			draft_path(old->sp, old->name, &path);
			old->sp->io->unlink(path.text);
		}
	}
	drop_memory(old);
	free(old);
}
