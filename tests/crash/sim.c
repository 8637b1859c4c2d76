/*
 * tests/crash/sim.c - see tests/crash/sim.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/crash/sim.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum change_kind {
	CHANGE_WRITE,
	CHANGE_CUT,
	CHANGE_FRESH,
	CHANGE_MADE,
	CHANGE_RENAMED,
	CHANGE_REMOVED
};

/* What one call changed, and how it was before. */
struct change {
	struct change *older;
	enum change_kind kind;
	ino_t ino; /* WRITE, CUT, FRESH: the file; else the directory */
	int fd;    /* of the file */
	off_t at;
	size_t n;
	uint8_t *octets;
	char from[256], to[256];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct change *changes; /* newest first */
static unsigned calls, stop_at, trash;
static bool stopped;

static void change_free(struct change *c)
{
	if (c->kind == CHANGE_REMOVED)
		unlink(c->to);
	if (c->fd >= 0)
		close(c->fd);
	free(c->octets);
	free(c);
}

void sim_start(unsigned n)
{
	while (changes) {
		struct change *c = changes;
		changes = c->older;
		change_free(c);
	}
	calls = 0;
	stop_at = n;
	stopped = false;
}

unsigned sim_calls(void)
{
	return calls;
}

bool sim_stopped(void)
{
	return stopped;
}

/* With the lock: one call more; false: the power is off. */
static bool call(void)
{
	calls++;
	if (stop_at && calls >= stop_at)
		stopped = true;
	errno = EIO;
	return !stopped;
}

static ino_t ino_of_fd(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		abort();
	return st.st_ino;
}

static ino_t ino_of_dir(const char *path)
{
	char dir[256];
	struct stat st;

	snprintf(dir, sizeof(dir), "%s", path);
	*strrchr(dir, '/') = '\0';
	if (stat(dir, &st) < 0)
		abort();
	return st.st_ino;
}

static struct change *change_new(enum change_kind kind, ino_t ino, int fd)
{
	struct change *c = calloc(1, sizeof(*c));

	if (!c)
		abort();
	c->kind = kind;
	c->ino = ino;
	c->fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
	c->older = changes;
	changes = c;
	return c;
}

/* What stands in the file from `at`, at most n octets. */
static void change_keep(struct change *c, off_t at, size_t n)
{
	char path[64];
	ssize_t got;
	int fd;

	c->at = at;
	c->octets = malloc(n ? n : 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", c->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (!c->octets || fd < 0 || (got = pread(fd, c->octets, n, at)) < 0)
		abort();
	close(fd);
	c->n = (size_t)got;
}

static int sim_open(const char *path, int flags, mode_t mode)
{
	int fd = -1;

	pthread_mutex_lock(&lock);
	if (call()) {
		bool fresh = access(path, F_OK) < 0;
		fd = open(path, flags, mode);
		if (fd >= 0 && fresh)
			snprintf(
			    change_new(CHANGE_MADE, ino_of_dir(path), -1)->from, 256, "%s", path);
		if (fd >= 0 && (fresh || (flags & O_TRUNC)))
			change_new(CHANGE_FRESH, ino_of_fd(fd), fd);
	}
	pthread_mutex_unlock(&lock);
	return fd;
}

static int sim_fallocate(int fd, off_t octets)
{
	int r = -1;

	pthread_mutex_lock(&lock);
	if (call())
		r = posix_fallocate(fd, 0, octets) == 0 ? 0 : -1;
	pthread_mutex_unlock(&lock);
	return r;
}

static int sim_ftruncate(int fd, off_t octets)
{
	int r = -1;

	pthread_mutex_lock(&lock);
	if (call()) {
		struct stat st;
		if (fstat(fd, &st) < 0)
			abort();
		if (st.st_size > octets)
			change_keep(change_new(CHANGE_CUT, st.st_ino, fd), octets,
			    (size_t)(st.st_size - octets));
		r = ftruncate(fd, octets);
	}
	pthread_mutex_unlock(&lock);
	return r;
}

static int sim_rename(const char *from, const char *to)
{
	int r = -1;

	pthread_mutex_lock(&lock);
	if (call() && (r = rename(from, to)) == 0) {
		struct change *c = change_new(CHANGE_RENAMED, ino_of_dir(from), -1);
		snprintf(c->from, sizeof(c->from), "%s", from);
		snprintf(c->to, sizeof(c->to), "%s", to);
	}
	pthread_mutex_unlock(&lock);
	return r;
}

static ssize_t sim_pread(int fd, void *to, size_t n, off_t at)
{
	return pread(fd, to, n, at);
}

static ssize_t sim_pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
	ssize_t r = -1;
	size_t n = 0;

	for (int i = 0; i < count; i++)
		n += iov[i].iov_len;
	pthread_mutex_lock(&lock);
	if (call()) {
		change_keep(change_new(CHANGE_WRITE, ino_of_fd(fd), fd), at, n);
		r = pwritev(fd, iov, count, at);
	}
	pthread_mutex_unlock(&lock);
	return r;
}

static bool names_of(const struct change *c)
{
	return c->kind == CHANGE_MADE || c->kind == CHANGE_RENAMED || c->kind == CHANGE_REMOVED;
}

/* Nothing is really synced: this disk is the one that counts. */
static int sim_sync(int fd)
{
	int r = -1;

	pthread_mutex_lock(&lock);
	if (call()) {
		ino_t ino = ino_of_fd(fd);
		struct change **at = &changes;
		while (*at) {
			struct change *c = *at;
			if (c->ino != ino) {
				at = &c->older;
				continue;
			}
			*at = c->older;
			change_free(c);
		}
		r = 0;
	}
	pthread_mutex_unlock(&lock);
	return r;
}

static int sim_unlink(const char *path)
{
	int r = -1;

	pthread_mutex_lock(&lock);
	if (call()) {
		char to[256];
		snprintf(to, sizeof(to), "%.200s.trash%u", path, trash++);
		r = rename(path, to);
		if (r == 0) {
			struct change *c = change_new(CHANGE_REMOVED, ino_of_dir(path), -1);
			snprintf(c->from, sizeof(c->from), "%s", path);
			snprintf(c->to, sizeof(c->to), "%s", to);
		}
	}
	pthread_mutex_unlock(&lock);
	return r;
}

static int sim_free_octets(const char *dir, uint64_t *octets_r)
{
	(void)dir;
	*octets_r = UINT64_C(1) << 40;
	return 0;
}

const struct spool_io sim_io = {
	.open = sim_open,
	.fallocate = sim_fallocate,
	.ftruncate = sim_ftruncate,
	.rename = sim_rename,
	.pread = sim_pread,
	.pwritev = sim_pwritev,
	.fdatasync = sim_sync,
	.fsync = sim_sync,
	.unlink = sim_unlink,
	.free_octets = sim_free_octets,
};

/* ---- power off ---- */

/* By /proc, for the file may have been opened without the right to write. */
static void undo_octets(const struct change *c, size_t keep)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", c->fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		abort();
	if (c->kind == CHANGE_FRESH) {
		if (ftruncate(fd, 0) < 0)
			abort();
	} else if (c->kind == CHANGE_CUT || c->n > keep) {
		if (keep > c->n || c->kind == CHANGE_CUT)
			keep = 0;
		if (pwrite(fd, c->octets + keep, c->n - keep, c->at + (off_t)keep) < 0)
			abort();
	}
	close(fd);
}

static void undo(struct change *c, size_t keep)
{
	switch (c->kind) {
	case CHANGE_WRITE:
	case CHANGE_CUT:
	case CHANGE_FRESH:
		undo_octets(c, keep);
		break;
	case CHANGE_MADE:
		unlink(c->from);
		break;
	case CHANGE_RENAMED:
		rename(c->to, c->from);
		break;
	case CHANGE_REMOVED:
		rename(c->to, c->from);
		break;
	}
}

void sim_power_off(enum sim_loss loss, uint64_t seed)
{
	bool names_kept = loss == SIM_LOSE_NOTHING;

	while (changes) {
		struct change *c = changes;
		bool take_back = loss == SIM_LOSE_ALL;
		size_t keep = 0;

		changes = c->older;
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		if (loss == SIM_LOSE_SOME) {
			if (names_of(c)) {
				names_kept |= (seed >> 40 & 3) == 0;
				take_back = !names_kept;
			} else {
				take_back = seed >> 41 & 1;
				/* Whole sectors come through, or nothing. */
				keep = c->n > 512 ? (size_t)(seed >> 20) % c->n & ~(size_t)511 : 0;
			}
		}
		if (take_back)
			undo(c, keep);
		change_free(c);
	}
}
