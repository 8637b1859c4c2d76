/*
 * spool/space.c - a full disk: refuse in time, keep something back for what must be written.
 *
 * New messages are refused below queue_minfree, or when the disk said that it is
 * full.  DONE and STATE records and our own DSNs go on: for them the reserve file
 * is given up.  When there is room again (for the reserve as well, so that service
 * does not flap), messages are taken again without anybody's doing.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "spool/spool-private.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK_MS 1000

static void reserve_path(const struct spool *sp, struct spool_file_name *to)
{
	snprintf(to->text, sizeof(to->text), "%s/reserve", sp->dir);
}

static void reserve_make(struct spool *sp)
{
	struct spool_file_name path;
	int fd, r;

	if (sp->o.reserve_octets == 0 || atomic_load(&sp->reserve_octets) > 0)
		return;
	reserve_path(sp, &path);
	fd = sp->io->open(path.text, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	r = sp->io->fallocate(fd, (off_t)sp->o.reserve_octets);
	close(fd);
	if (r < 0)
		sp->io->unlink(path.text);
	else
		atomic_store(&sp->reserve_octets, sp->o.reserve_octets);
}

bool space_give_reserve(struct spool *sp)
{
	struct spool_file_name path;

	if (atomic_exchange(&sp->reserve_octets, 0) == 0)
		return false;
	reserve_path(sp, &path);
	spool_notice(sp, "reserve", -ERR_NOSPACE, "the reserve of %llu octets is given up",
	    (unsigned long long)sp->o.reserve_octets);
	return sp->io->unlink(path.text) == 0;
}

void space_full(struct spool *sp, int err)
{
	if (!atomic_exchange(&sp->disk_full, true) && !atomic_exchange(&sp->full, true))
		spool_notice(
		    sp, "full", err, "no space left in %s: new messages are refused", sp->dir);
	atomic_store(&sp->full, true);
	space_give_reserve(sp);
}

/* Octets that must be free for new messages to be taken. */
static uint64_t octets_wanted(struct spool *sp)
{
	uint64_t want = sp->o.queue_minfree;

	if (atomic_load(&sp->disk_full))
		want += (uint64_t)sp->o.segment_octets * 2 + sp->o.reserve_octets;
	return want;
}

void space_check(struct spool *sp, bool now)
{
	uint64_t ms = clock_mono_ms(), octets = 0;
	unsigned long long last = atomic_load(&sp->free_checked_ms);
	bool full;

	if (!now && last != 0 && ms - last < CHECK_MS)
		return;
	if (!atomic_compare_exchange_strong(&sp->free_checked_ms, &last, ms) && !now)
		return; /* another thread is at it */
	if (sp->io->free_octets(sp->dir, &octets) < 0)
		return;
	atomic_store(&sp->free_octets, octets);
	full = octets < octets_wanted(sp);
	if (!full)
		atomic_store(&sp->disk_full, false);
	if (atomic_exchange(&sp->full, full) == full)
		return;
	if (full)
		spool_notice(sp, "full", -ERR_NOSPACE,
		    "%llu octets are free in %s: new messages are refused",
		    (unsigned long long)octets, sp->dir);
	else
		spool_notice(
		    sp, "space", 0, "there is room in %s again: new messages are taken", sp->dir);
}

bool space_for(struct spool *sp, uint64_t octets)
{
	uint64_t want = octets_wanted(sp);

	space_check(sp, false);
	/* Not yet asked: the disk will say. */
	if (atomic_load(&sp->free_checked_ms) == 0)
		return true;
	return want == 0 || atomic_load(&sp->free_octets) >= want + octets;
}

/* The writer's, now and then: with room again, something is kept back again. */
void space_restore(struct spool *sp)
{
	uint64_t want = sp->o.queue_minfree + sp->o.reserve_octets;

	if (atomic_load(&sp->reserve_octets) == 0 && sp->o.reserve_octets > 0 &&
	    !atomic_load(&sp->full) && atomic_load(&sp->free_octets) >= want)
		reserve_make(sp);
}

void space_init(struct spool *sp)
{
	struct spool_file_name path;
	struct stat st;

	reserve_path(sp, &path);
	if (stat(path.text, &st) == 0 && (uint64_t)st.st_size == sp->o.reserve_octets)
		atomic_store(&sp->reserve_octets, sp->o.reserve_octets);
	space_check(sp, true);
	space_restore(sp);
}
