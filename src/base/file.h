/*
 * base/file.h - whole files, and directories made durable.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_BASE_FILE_H
#define POSTERN_BASE_FILE_H

#include "base/buf.h"

/* Read a file into `to` (its maximum is the limit).  0, or -ERR_NOTFOUND, -ERR_ACCESS, -ERR_NOMEM
 * (larger than the maximum), -ERR_IO. */
int file_read(const char *path, struct buf *to);

/* Write all of n octets, whatever the kernel takes at a time.  0 or a negative error. */
int file_write_all(int fd, const void *p, size_t n);

/* fsync a directory: names made or removed in it are durable after this. */
int dir_sync(const char *path);

/* mkdir -p with mode 0700 for what is missing.  0 or a negative error. */
int dir_make(const char *path);

#endif
