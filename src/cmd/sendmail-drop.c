/*
 * cmd/sendmail-drop.c - a message into the submission directory, and the server woken.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "base/file.h"
#include "base/random.h"
#include "cmd/sendmail-private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* A head of 100,000 recipients. */
#define HEAD_OCTETS_MAX SUBMISSION_HEAD_MAX

static int write_file(int fd, const struct submission *s, struct span message)
{
	struct buf head;
	int r;

	buf_init(&head, HEAD_OCTETS_MAX);
	r = submission_write(s, &head);
	if (r == 0)
		r = file_write_all(fd, buf_span(&head).p, buf_len(&head));
	if (r == 0 && message.n)
		r = file_write_all(fd, message.p, message.n);
	/* The server may run as another user: it reads it by this. */
	if (r == 0 && fchmod(fd, 0644) < 0)
		r = err_from_errno(errno);
	if (r == 0 && fsync(fd) < 0)
		r = err_from_errno(errno);
	buf_done(&head);
	return r;
}

/* Whether a server runs or not: it looks by itself when it starts. */
static void wake(const char *dir)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/wake", dir);
	fd = open(path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)!write(fd, "w", 1);
	close(fd);
}

int sendmail_drop(
    const struct config *cfg, const struct submission *s, struct span message, char *name_r)
{
	char temp[4096], path[4096];
	uint8_t octets[12];
	int fd, r;

	random_fill(octets, sizeof(octets));
	for (size_t i = 0; i < sizeof(octets); i++)
		snprintf(name_r + 2 * i, 3, "%02x", octets[i]);
	snprintf(temp, sizeof(temp), "%s/tmp-%s", cfg->submission_directory, name_r);
	snprintf(path, sizeof(path), "%s/new-%s", cfg->submission_directory, name_r);
	fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_from_errno(errno);
	r = write_file(fd, s, message);
	if (r == 0 && rename(temp, path) < 0)
		r = err_from_errno(errno);
	if (r < 0)
		(void)unlink(temp);
	/* Who may not read the directory cannot sync it; the file's own sync carries its new name.
	 */
	else if (dir_sync(cfg->submission_directory) < 0 && fsync(fd) < 0)
		r = err_from_errno(errno);
	if (close(fd) < 0 && r == 0)
		r = err_from_errno(errno);
	if (r == 0)
		wake(cfg->submission_directory);
	return r;
}
