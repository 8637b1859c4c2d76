/*
 * fuzz/fuzz_spool.c - any octets as a segment, or as its hint: recovery.
 *
 * The first octet chooses; the key of the spool is zero, so that records can be made
 * up.  Whatever is found can be walked and read, or is refused; what a second opening
 * finds is the same.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "fuzz/fuzz.h"
#include "base/err.h"
#include "spool/spool.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[128];
static struct spool_io io;

static int no_sync(int fd)
{
	(void)fd;
	return 0;
}

static void remove_all(const char *path)
{
	char name[512];
	struct dirent *de;
	DIR *d = opendir(path);

	if (!d)
		return;
	while ((de = readdir(d))) {
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		snprintf(name, sizeof(name), "%.200s/%.255s", path, de->d_name);
		if (unlink(name) < 0)
			remove_all(name);
	}
	closedir(d);
	rmdir(path);
}

static void at_exit(void)
{
	remove_all(dir);
}

static void store(const char *name, const void *p, size_t n)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FUZZ_CHECK(fd >= 0 && write(fd, p, n) == (ssize_t)n);
	close(fd);
}

/* Read all that is there; how many messages? */
static uint64_t look(bool read_only)
{
	struct spool_options o;
	struct spool_entry e;
	struct spool_stats st;
	struct spool *sp = NULL;
	uint64_t cursor = 0, count = 0;
	int r;

	spool_options_init(&o, dir);
	o.segment_octets = 64 << 10;
	o.reserve_octets = 0;
	o.read_only = read_only;
	o.io = &io;
	r = spool_open(&o, &sp);
	if (r < 0) {
		FUZZ_CHECK(r == -ERR_VERSION && !sp);
		return UINT64_MAX;
	}
	while (spool_next(sp, &cursor, &e)) {
		struct spool_body *b = NULL;
		struct buf env, state;
		uint8_t octets[4096];
		buf_init(&env, 1 << 20);
		buf_init(&state, 1 << 20);
		spool_read(sp, e.id, &env, &state);
		if (spool_body_open(sp, e.id, &b) == 0)
			for (uint64_t at = 0; spool_body_read(b, at, octets, sizeof(octets)) > 0;)
				at += sizeof(octets);
		spool_body_close(&b);
		buf_done(&env);
		buf_done(&state);
		count++;
	}
	spool_stats(sp, &st);
	/* An id of zero stands before every cursor: counted, never walked. */
	FUZZ_CHECK(st.messages == count || st.messages == count + 1);
	spool_close(&sp);
	return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char format[] = "postern spool 1\nkey 0000000000000000\n";
	struct span in = { data, size };
	struct spool_check check;
	uint8_t how = fuzz_octet(&in);
	uint64_t first;
	size_t n;

	if (!dir[0]) {
		snprintf(dir, sizeof(dir), "%s/fuzz-spool-XXXXXX",
		    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
		FUZZ_CHECK(mkdtemp(dir));
		atexit(at_exit);
		io = spool_io_system;
		io.fdatasync = io.fsync = no_sync;
	}
	remove_all(dir);
	FUZZ_CHECK(mkdir(dir, 0700) == 0);
	store("format", format, sizeof(format) - 1);
	/* The log, then the hint, at the place that two octets name. */
	n = in.n;
	if (how & 1) {
		size_t at = fuzz_octet(&in) | (size_t)fuzz_octet(&in) << 8;
		n = at < in.n ? at : in.n;
		store("00000001.hint", in.p + n, in.n - n);
	}
	if (n > 0)
		store("00000001.log", in.p, n);
	(void)spool_check_dir(dir, NULL, NULL, &check);
	first = look(true);
	if (first == UINT64_MAX)
		return 0;
	/* Opened for writing, evacuation may find out about records that only a hint made up. */
	FUZZ_CHECK(look(false) == first);
	if (!(how & 1))
		FUZZ_CHECK(look(false) == first);
	return 0;
}
