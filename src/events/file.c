/*
 * events/file.c - lines to a file, written by a thread of their own.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "base/file.h"
#include "events/events.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/*
 * A line after a quiet time is written at once; those that come within so many milliseconds of a
 * write, or up to so many octets, go out in one.  Else each line would wake the thread.
 */
#define GATHER_MS     10
#define GATHER_OCTETS (64u << 10)

struct event_file {
	pthread_mutex_t lock;
	pthread_cond_t more;
	pthread_t thread;
	struct buf waiting;
	uint64_t dropped;
	bool stopping;
	bool reopen; /* the thread opens the path anew before it writes on */
	enum event_file_kind kind;
	char *path;
	bool idle; /* the thread waits for a first line */
	int fd;
};

/* With lock, on the thread: nobody else uses the descriptor. */
static void open_anew(struct event_file *f)
{
	int fd;

	f->reopen = false;
	fd = f->path ? open(f->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640) : -1;
	if (fd < 0)
		return;
	close(f->fd);
	f->fd = fd;
}

static void add_lost(struct event_file *f)
{
	unsigned long long n = f->dropped;

	if (n && f->kind == EVENT_FILE_JSON)
		buf_addf(&f->waiting,
		    "{\"event\":\"notice\",\"detail\":\"%llu lines of this log were lost\"}\n", n);
	else if (n)
		buf_addf(&f->waiting, "warning: %llu lines of this log were lost\n", n);
	f->dropped = 0;
}

/* With lock. */
static void gather(struct event_file *f)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += GATHER_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_nsec -= 1000000000L;
		until.tv_sec++;
	}
	while (!f->stopping && buf_len(&f->waiting) < GATHER_OCTETS)
		if (pthread_cond_clockwait(&f->more, &f->lock, CLOCK_MONOTONIC, &until) != 0)
			return;
}

static void *writer(void *arg)
{
	struct event_file *f = arg;
	struct buf mine;

	buf_init(&mine, f->waiting.max);
	pthread_mutex_lock(&f->lock);
	for (;;) {
		struct buf full;
		while (!buf_len(&f->waiting) && !f->stopping && !f->reopen) {
			f->idle = true;
			pthread_cond_wait(&f->more, &f->lock);
		}
		f->idle = false;
		if (f->reopen)
			open_anew(f);
		if (!buf_len(&f->waiting) && f->stopping)
			break;
		if (!buf_len(&f->waiting))
			continue;
		full = f->waiting;
		f->waiting = mine;
		mine = full;
		add_lost(f);
		pthread_mutex_unlock(&f->lock);
		/* A log that cannot be written stops no mail; the next lines are tried again. */
		(void)file_write_all(f->fd, buf_span(&mine).p, buf_len(&mine));
		buf_reset(&mine);
		pthread_mutex_lock(&f->lock);
		gather(f);
	}
	pthread_mutex_unlock(&f->lock);
	buf_done(&mine);
	return NULL;
}

int event_file_open(
    const char *path, enum event_file_kind kind, size_t max_octets, struct event_file **f_r)
{
	struct event_file *f = calloc(1, sizeof(*f));
	bool out = strcmp(path, "-") == 0;

	if (!f || (!out && !(f->path = strdup(path)))) {
		free(f);
		return -ERR_NOMEM;
	}
	f->kind = kind;
	f->fd =
	    out ? dup(STDOUT_FILENO) : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	if (f->fd < 0) {
		int r = err_from_errno(errno);
		free(f->path);
		free(f);
		return r;
	}
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->more, NULL);
	buf_init(&f->waiting, max_octets);
	if (pthread_create(&f->thread, NULL, writer, f) != 0) {
		close(f->fd);
		free(f->path);
		free(f);
		return -ERR_NOMEM;
	}
	*f_r = f;
	return 0;
}

void event_file_line(struct event_file *f, struct span line)
{
	size_t len;
	bool wake;

	pthread_mutex_lock(&f->lock);
	len = buf_len(&f->waiting);
	if (f->waiting.failed || buf_add_span(&f->waiting, line) < 0 ||
	    buf_add_char(&f->waiting, '\n') < 0) {
		buf_truncate(&f->waiting, len);
		f->waiting.failed = false;
		f->dropped++;
	}
	wake = f->idle || (len < GATHER_OCTETS && buf_len(&f->waiting) >= GATHER_OCTETS);
	f->idle = false;
	pthread_mutex_unlock(&f->lock);
	/* Behind the lock, or the thread would wake only to wait for it. */
	if (wake)
		pthread_cond_signal(&f->more);
}

void event_file_reopen(struct event_file *f)
{
	pthread_mutex_lock(&f->lock);
	f->reopen = true;
	pthread_cond_signal(&f->more);
	pthread_mutex_unlock(&f->lock);
}

void event_file_close(struct event_file **f)
{
	if (!*f)
		return;
	pthread_mutex_lock(&(*f)->lock);
	(*f)->stopping = true;
	pthread_cond_signal(&(*f)->more);
	pthread_mutex_unlock(&(*f)->lock);
	pthread_join((*f)->thread, NULL);
	close((*f)->fd);
	buf_done(&(*f)->waiting);
	pthread_cond_destroy(&(*f)->more);
	pthread_mutex_destroy(&(*f)->lock);
	free((*f)->path);
	free(*f);
	*f = NULL;
}
