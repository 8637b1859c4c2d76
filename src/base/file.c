/*
 * base/file.c - see base/file.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/file.h"
#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int file_read(const char *path, struct buf *to)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int r = 0;

	if (fd < 0)
		return err_from_errno(errno);
	for (;;) {
		uint8_t chunk[16384];
		ssize_t got = read(fd, chunk, sizeof(chunk));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			r = err_from_errno(errno);
		if (got > 0)
			r = buf_add(to, chunk, (size_t)got);
		if (got <= 0 || r < 0)
			break;
	}
	close(fd);
	return r;
}

int file_write_all(int fd, const void *p, size_t n)
{
	const uint8_t *from = p;

	while (n > 0) {
		ssize_t put = write(fd, from, n);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return err_from_errno(errno);
		from += put;
		n -= (size_t)put;
	}
	return 0;
}

int dir_sync(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = 0;

	if (fd < 0)
		return err_from_errno(errno);
	if (fsync(fd) < 0)
		r = err_from_errno(errno);
	close(fd);
	return r;
}

int dir_make(const char *path)
{
	char part[PATH_MAX];
	size_t n = strlen(path);

	if (n == 0 || n >= sizeof(part))
		return -ERR_INVAL;
	memcpy(part, path, n + 1);
	for (size_t i = 1; i <= n; i++) {
		if (part[i] != '/' && part[i] != '\0')
			continue;
		part[i] = '\0';
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return err_from_errno(errno);
		if (i < n)
			part[i] = '/';
	}
	return 0;
}
