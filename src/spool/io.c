/*
 * spool/io.c - the system calls behind struct spool_io.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "spool/spool-private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int system_open(const char *path, int flags, mode_t mode)
{
	return open(path, flags, mode);
}

static int system_fallocate(int fd, off_t octets)
{
	return fallocate(fd, 0, 0, octets);
}

static int system_free_octets(const char *dir, uint64_t *octets_r)
{
	struct statvfs v;

	if (statvfs(dir, &v) < 0)
		return -1;
	*octets_r = (uint64_t)v.f_bavail * v.f_frsize;
	return 0;
}

const struct spool_io spool_io_system = {
	.open = system_open,
	.fallocate = system_fallocate,
	.ftruncate = ftruncate,
	.rename = rename,
	.pread = pread,
	.pwritev = pwritev,
	.fdatasync = fdatasync,
	.fsync = fsync,
	.unlink = unlink,
	.free_octets = system_free_octets,
};
