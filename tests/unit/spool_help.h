/*
 * tests/unit/spool_help.h - a spool in a directory of its own, and waiting for its answers.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_TESTS_UNIT_SPOOL_HELP_H
#define POSTERN_TESTS_UNIT_SPOOL_HELP_H

#include "base/err.h"
#include "spool/spool.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* An answer that can be waited for. */
struct waiter {
	struct spool_op op;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool told;
	int err;
};

static inline void waiter_done(struct spool_op *op, int err)
{
	struct waiter *w = op->arg;

	pthread_mutex_lock(&w->lock);
	w->told = true;
	w->err = err;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

static inline struct spool_op *waiter_init(struct waiter *w)
{
	memset(w, 0, sizeof(*w));
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->cond, NULL);
	w->op.done = waiter_done;
	w->op.arg = w;
	return &w->op;
}

static inline int waiter_wait(struct waiter *w)
{
	pthread_mutex_lock(&w->lock);
	while (!w->told)
		pthread_cond_wait(&w->cond, &w->lock);
	pthread_mutex_unlock(&w->lock);
	pthread_cond_destroy(&w->cond);
	pthread_mutex_destroy(&w->lock);
	return w->err;
}

/* The body of message `id` of n octets: any part of it can be told from another's. */
static inline void body_fill(uint64_t id, uint8_t *to, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)(id * 31 + i * 7 + (i >> 8));
}

static inline int put_message(struct spool *sp, uint64_t id, size_t n, int64_t due_ms)
{
	struct spool_draft *d = NULL;
	struct waiter w;
	uint8_t *body = malloc(n + 1);
	char envelope[64];
	int r;

	snprintf(envelope, sizeof(envelope), "envelope of %llu", (unsigned long long)id);
	body_fill(id, body, n);
	r = spool_draft_new(sp, &d);
	if (r == 0)
		r = spool_draft_write(d, span_of(body, n));
	free(body);
	if (r < 0) {
		spool_draft_free(&d);
		return r;
	}
	spool_commit(sp, id, span_str(envelope), span_str("Received: x\r\n"), &d, due_ms, false,
	    waiter_init(&w));
	return waiter_wait(&w);
}

static inline int update_message(struct spool *sp, uint64_t id, const char *state, int64_t due_ms)
{
	struct waiter w;

	spool_update(sp, id, span_str(state), due_ms, true, waiter_init(&w));
	return waiter_wait(&w);
}

static inline int finish_message(struct spool *sp, uint64_t id)
{
	struct waiter w;

	spool_finish(sp, id, waiter_init(&w));
	return waiter_wait(&w);
}

/*
 * Is the message there, to the octet?  n: octets of its body; state NULL: not looked at.
 * 0, 1 (it differs), or what the spool says.
 */
static inline int check_message(struct spool *sp, uint64_t id, size_t n, const char *state)
{
	static const char prefix[] = "Received: x\r\n";
	struct spool_body *b;
	struct buf env, st;
	uint8_t *body = malloc(n + 1), *got = malloc(n + 64);
	size_t have = 0;
	ssize_t part = 1;
	char envelope[64];
	int r;

	buf_init(&env, 1 << 20);
	buf_init(&st, 1 << 20);
	snprintf(envelope, sizeof(envelope), "envelope of %llu", (unsigned long long)id);
	body_fill(id, body, n);
	r = spool_read(sp, id, &env, &st);
	if (r == 0 && !span_eq(buf_span(&env), span_str(envelope)))
		r = 1;
	if (r == 0 && state && !span_eq(buf_span(&st), span_str(state)))
		r = 1;
	if (r == 0 && (r = spool_body_open(sp, id, &b)) == 0) {
		if (spool_body_size(b) != n + sizeof(prefix) - 1)
			r = 1;
		while (r == 0 && (part = spool_body_read(b, have, got + have, n + 64 - have)) > 0)
			have += (size_t)part;
		if (part < 0)
			r = (int)part;
		if (r == 0 &&
		    (have != n + sizeof(prefix) - 1 ||
			memcmp(got, prefix, sizeof(prefix) - 1) != 0 ||
			memcmp(got + sizeof(prefix) - 1, body, n) != 0))
			r = 1;
		spool_body_close(&b);
	}
	buf_done(&env);
	buf_done(&st);
	free(body);
	free(got);
	return r;
}

/* Remove a directory with what is in it, one level deep and bodies/. */
static inline void dir_remove(const char *dir)
{
	char path[1024];
	struct dirent *de;
	DIR *d = opendir(dir);

	if (!d)
		return;
	while ((de = readdir(d))) {
		if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof(path), "%.500s/%.255s", dir, de->d_name);
		if (unlink(path) < 0)
			dir_remove(path);
	}
	closedir(d);
	rmdir(dir);
}

/* A fresh directory; dir holds 64 octets.  TMPDIR is where the tests may write. */
static inline void dir_fresh(char *dir)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, 64, "%.32s/spool-XXXXXX", tmp && strlen(tmp) < 32 ? tmp : "/tmp");
	if (!mkdtemp(dir))
		abort();
}

static inline void small_options(struct spool_options *o, const char *dir)
{
	spool_options_init(o, dir);
	o->segment_octets = 64 << 10;
	o->reserve_octets = 0;
	o->lazy_ms = 1;
}

/* Files with this suffix in a directory; the first's name in `first` (64 octets) unless NULL. */
static inline size_t count_files(const char *dir, const char *suffix, char *first)
{
	struct dirent *de;
	DIR *d = opendir(dir);
	size_t n = 0;

	if (!d)
		return 0;
	while ((de = readdir(d))) {
		size_t have = strlen(de->d_name), want = strlen(suffix);
		if (have < want || strcmp(de->d_name + have - want, suffix) != 0 ||
		    de->d_name[0] == '.')
			continue;
		if (n++ == 0 && first)
			snprintf(first, 64, "%.60s", de->d_name);
	}
	closedir(d);
	return n;
}

#endif
