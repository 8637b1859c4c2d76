/*
 * tables/alias-files.c - see tables/alias-files.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tables/alias-files.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Files are looked at no more often. */
#define LOOK_MS 1000
/* Lists that tables may include, all together. */
#define FILES_MAX 1000

/* A file that was read, and how to know that it is another now. */
struct mark {
	struct mark *next;
	char *path;
	struct timespec mtime, ctime;
	uint64_t size, inode;
	bool there;
};

/* What one reading came to. */
struct reading {
	struct aliases *aliases;
	struct mark *marks;
	unsigned files;
	void (*report)(void *arg, const char *line);
	void *arg;
};

struct alias_files {
	struct alias_files_options o;
	pthread_mutex_t lock;
	struct aliases *now;
	struct mark *marks;
	uint64_t looked_ms;
	bool reading; /* a thread is at it */
};

static void marks_free(struct mark *m)
{
	while (m) {
		struct mark *next = m->next;
		free(m->path);
		free(m);
		m = next;
	}
}

static void mark_look(struct mark *m)
{
	struct stat st;

	m->there = stat(m->path, &st) == 0;
	if (!m->there)
		return;
	m->mtime = st.st_mtim;
	m->ctime = st.st_ctim;
	m->size = (uint64_t)st.st_size;
	m->inode = st.st_ino;
}

static bool changed(const struct mark *m)
{
	for (; m; m = m->next) {
		struct mark now = { .path = m->path };
		mark_look(&now);
		if (now.there != m->there || now.size != m->size || now.inode != m->inode ||
		    now.mtime.tv_sec != m->mtime.tv_sec || now.mtime.tv_nsec != m->mtime.tv_nsec ||
		    now.ctime.tv_sec != m->ctime.tv_sec || now.ctime.tv_nsec != m->ctime.tv_nsec)
			return true;
	}
	return false;
}

static int read_one(void *arg, const char *path, struct buf *to)
{
	struct reading *r = arg;
	struct mark *m;

	if (++r->files > FILES_MAX)
		return -ERR_LIMIT;
	m = calloc(1, sizeof(*m));
	if (!m || !(m->path = strdup(path))) {
		free(m);
		return -ERR_NOMEM;
	}
	/* Before it is read: a change meanwhile is seen at the next look. */
	mark_look(m);
	m->next = r->marks;
	r->marks = m;
	return file_read(path, to);
}

static void report(void *arg, const char *line)
{
	struct reading *r = arg;

	r->report(r->arg, line);
}

static int read_table(struct reading *r, const char *path, bool is_virtual)
{
	struct alias_reader reader = { read_one, report, r };
	struct buf text;
	char line[512];
	int err;

	buf_init(&text, ALIAS_FILE_OCTETS_MAX);
	err = read_one(r, path, &text);
	if (err < 0) {
		snprintf(line, sizeof(line), "%s: %s", path, err_text(err));
		report(r, line);
		err = err == -ERR_NOMEM ? err : -ERR_CONFIG;
	} else {
		err = is_virtual ? aliases_add_virtual(r->aliases, buf_span(&text), path, &reader)
				 : aliases_add_local(r->aliases, buf_span(&text), path, &reader);
	}
	buf_done(&text);
	return err;
}

/* All of them, so that every error is told. */
static int read_all(const struct alias_files_options *o, struct reading *r)
{
	int err = aliases_new(&r->aliases);

	for (const char *const *p = o->local; err != -ERR_NOMEM && p && *p; p++)
		if (read_table(r, *p, false) < 0)
			err = -ERR_CONFIG;
	for (const char *const *p = o->virtual_; err != -ERR_NOMEM && p && *p; p++)
		if (read_table(r, *p, true) < 0)
			err = -ERR_CONFIG;
	if (err < 0)
		aliases_unref(&r->aliases);
	return err;
}

int alias_files_new(const struct alias_files_options *o, void (*to)(void *arg, const char *line),
    void *arg, struct alias_files **f_r)
{
	struct reading r = { .report = to, .arg = arg };
	struct alias_files *f = calloc(1, sizeof(*f));
	int err = f ? read_all(o, &r) : -ERR_NOMEM;

	if (err < 0) {
		marks_free(r.marks);
		free(f);
		return err;
	}
	f->o = *o;
	pthread_mutex_init(&f->lock, NULL);
	f->now = r.aliases;
	f->marks = r.marks;
	f->looked_ms = clock_mono_ms();
	*f_r = f;
	return 0;
}

void alias_files_free(struct alias_files **fp)
{
	struct alias_files *f = *fp;

	*fp = NULL;
	if (!f)
		return;
	aliases_unref(&f->now);
	marks_free(f->marks);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

int alias_files_reload(struct alias_files *f, void (*to)(void *arg, const char *line), void *arg)
{
	struct reading r = { .report = to, .arg = arg };
	struct aliases *old = NULL;
	int err = read_all(&f->o, &r);

	pthread_mutex_lock(&f->lock);
	/* Also of a bad reading: it is not read again before it is another. */
	marks_free(f->marks);
	f->marks = r.marks;
	f->looked_ms = clock_mono_ms();
	if (err == 0) {
		old = f->now;
		f->now = r.aliases;
	}
	pthread_mutex_unlock(&f->lock);
	aliases_unref(&old);
	return err;
}

static void tell(void *arg, const char *line)
{
	struct alias_files *f = arg;

	if (f->o.notice)
		f->o.notice(f->o.arg, false, line);
}

/* Is it time, and is a file another?  One thread at a time. */
static bool should_read(struct alias_files *f)
{
	uint64_t now = clock_mono_ms();
	bool yes = false;

	pthread_mutex_lock(&f->lock);
	if (!f->reading && now - f->looked_ms >= LOOK_MS) {
		f->looked_ms = now;
		yes = f->reading = changed(f->marks);
	}
	pthread_mutex_unlock(&f->lock);
	return yes;
}

struct aliases *alias_files_get(struct alias_files *f)
{
	struct aliases *a;

	if (should_read(f)) {
		int err = alias_files_reload(f, tell, f);
		pthread_mutex_lock(&f->lock);
		f->reading = false;
		pthread_mutex_unlock(&f->lock);
		if (err == 0 && f->o.notice)
			f->o.notice(f->o.arg, true, "the tables of aliases were read anew");
	}
	pthread_mutex_lock(&f->lock);
	a = aliases_ref(f->now);
	pthread_mutex_unlock(&f->lock);
	return a;
}
