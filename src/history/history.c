/*
 * history/history.c - events into a SQLite file, by a thread of its own.
 *
 * Two tables: `event` (queue id, time, JSON) and `name` (a hash of a message id or
 * address -> queue id).  A name's hash is 64 bits and not keyed by the process, so that
 * another process finds it; whoever looks checks the events for the name itself.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "history/history-private.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "envelope/envelope.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Events that may wait for the disk; an event is some 500 octets. */
#define WAITING_OCTETS_MAX (32u << 20)
/*
 * The events of so many milliseconds, or up to so many octets, go into one transaction: one for
 * each message would cost more than taking the message does.  Whoever asks does not wait for it.
 */
#define GATHER_MS     50
#define GATHER_OCTETS (256u << 10)
/* Old rows are removed in small bites, once an hour. */
#define EXPIRE_EVERY_MS 3600000
#define EXPIRE_ROWS     10000

struct history {
	pthread_mutex_t lock;
	pthread_cond_t more, written;
	pthread_t thread;
	struct buf waiting; /* struct item headers and JSON */
	uint64_t taken, done, dropped;
	bool stopping;
	bool idle;         /* the thread waits for a first event */
	unsigned flushing; /* threads in history_flush() */
	int64_t keep_ms, expired_ms;
	sqlite3 *db;
	sqlite3_stmt *add_event, *add_name;
};

struct item {
	uint64_t queue_id;
	int64_t at_ms;
	uint64_t names[4]; /* message id, recipient, sender, session; 0: none */
	size_t octets;
};

uint64_t history_name_hash(struct span name)
{
	/* FNV-1a, folded case; stable over processes and releases because it is on disk. */
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < name.n; i++) {
		h ^= ascii_lower(name.p[i]);
		h *= 0x100000001b3u;
	}
	return h ? h : 1;
}

void history_event(void *arg, const struct event *ev, struct span json)
{
	struct history *h = arg;
	struct item item = { .queue_id = ev->queue_id, .at_ms = ev->at_ms, .octets = json.n };
	size_t len;
	bool wake;

	/* What belongs to no message is kept when somebody could ask for it by address. */
	if (!ev->queue_id && ev->type != EVENT_REFUSED)
		return;
	if (ev->type == EVENT_RECEIVED || ev->type == EVENT_REFUSED || ev->type == EVENT_BOUNCED) {
		if (ev->message_id.n)
			item.names[0] = history_name_hash(ev->message_id);
		if (ev->recipient.n)
			item.names[1] = history_name_hash(ev->recipient);
		if (ev->sender.n)
			item.names[2] = history_name_hash(ev->sender);
		if (ev->session.n)
			item.names[3] = history_name_hash(ev->session);
	}
	pthread_mutex_lock(&h->lock);
	len = buf_len(&h->waiting);
	if (h->waiting.failed || buf_add(&h->waiting, &item, sizeof(item)) < 0 ||
	    buf_add_span(&h->waiting, json) < 0) {
		buf_truncate(&h->waiting, len);
		h->waiting.failed = false;
		h->dropped++;
	} else {
		h->taken++;
	}
	wake = h->idle || (len < GATHER_OCTETS && buf_len(&h->waiting) >= GATHER_OCTETS);
	h->idle = false;
	pthread_mutex_unlock(&h->lock);
	if (wake)
		pthread_cond_signal(&h->more);
}

static void add(struct history *h, const struct item *item, const uint8_t *json)
{
	/* A refusal has no queue id: it gets a row of its own under a negative number. */
	sqlite3_int64 id = (sqlite3_int64)item->queue_id;

	if (!id)
		id = -(sqlite3_int64)(queue_id_new() & INT64_MAX);
	sqlite3_bind_int64(h->add_event, 1, id);
	sqlite3_bind_int64(h->add_event, 2, item->at_ms);
	sqlite3_bind_text(h->add_event, 3, (const char *)json, (int)item->octets, SQLITE_STATIC);
	(void)sqlite3_step(h->add_event);
	sqlite3_reset(h->add_event);
	for (size_t i = 0; i < 4; i++) {
		if (!item->names[i])
			continue;
		sqlite3_bind_int64(h->add_name, 1, (sqlite3_int64)item->names[i]);
		sqlite3_bind_int64(h->add_name, 2, item->at_ms);
		sqlite3_bind_int64(h->add_name, 3, id);
		(void)sqlite3_step(h->add_name);
		sqlite3_reset(h->add_name);
	}
}

static void expire(struct history *h)
{
	char sql[256];
	int64_t now = clock_wall_ms(), before = now - h->keep_ms;

	if (now - h->expired_ms < EXPIRE_EVERY_MS)
		return;
	h->expired_ms = now;
	snprintf(sql, sizeof(sql),
	    "DELETE FROM event WHERE rowid IN (SELECT rowid FROM event WHERE at_ms < %lld LIMIT "
	    "%d);"
	    "DELETE FROM name WHERE at_ms < %lld;",
	    (long long)before, EXPIRE_ROWS, (long long)before);
	(void)sqlite3_exec(h->db, sql, NULL, NULL, NULL);
}

static size_t write_all(struct history *h, struct span items)
{
	size_t count = 0;

	(void)sqlite3_exec(h->db, "BEGIN", NULL, NULL, NULL);
	while (items.n >= sizeof(struct item)) {
		struct item item;
		memcpy(&item, items.p, sizeof(item));
		items = span_skip(items, sizeof(item));
		add(h, &item, items.p);
		items = span_skip(items, item.octets);
		count++;
	}
	(void)sqlite3_exec(h->db, "COMMIT", NULL, NULL, NULL);
	return count;
}

/* With lock. */
static void gather(struct history *h)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += GATHER_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_nsec -= 1000000000L;
		until.tv_sec++;
	}
	while (!h->stopping && !h->flushing && buf_len(&h->waiting) < GATHER_OCTETS)
		if (pthread_cond_clockwait(&h->more, &h->lock, CLOCK_MONOTONIC, &until) != 0)
			return;
}

static void *writer(void *arg)
{
	struct history *h = arg;
	struct buf mine;

	buf_init(&mine, WAITING_OCTETS_MAX);
	pthread_mutex_lock(&h->lock);
	for (;;) {
		struct buf full;
		size_t count;
		while (!buf_len(&h->waiting) && !h->stopping) {
			h->idle = true;
			pthread_cond_wait(&h->more, &h->lock);
		}
		h->idle = false;
		if (!buf_len(&h->waiting))
			break;
		full = h->waiting;
		h->waiting = mine;
		mine = full;
		pthread_mutex_unlock(&h->lock);
		count = write_all(h, buf_span(&mine));
		expire(h);
		buf_reset(&mine);
		pthread_mutex_lock(&h->lock);
		h->done += count;
		pthread_cond_broadcast(&h->written);
		gather(h);
	}
	pthread_mutex_unlock(&h->lock);
	buf_done(&mine);
	return NULL;
}

void history_flush(struct history *h)
{
	uint64_t upto;

	pthread_mutex_lock(&h->lock);
	upto = h->taken;
	h->flushing++;
	pthread_cond_signal(&h->more);
	while (h->done < upto)
		pthread_cond_wait(&h->written, &h->lock);
	h->flushing--;
	pthread_mutex_unlock(&h->lock);
}

uint64_t history_dropped(const struct history *h)
{
	return h->dropped;
}

static int open_db(struct history *h, const char *directory)
{
	static const char schema[] =
	    "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
	    "CREATE TABLE IF NOT EXISTS event (queue_id INTEGER NOT NULL, at_ms INTEGER NOT NULL, "
	    "json TEXT NOT NULL);"
	    "CREATE INDEX IF NOT EXISTS event_queue_id ON event (queue_id);"
	    "CREATE TABLE IF NOT EXISTS name (hash INTEGER NOT NULL, at_ms INTEGER NOT NULL, "
	    "queue_id INTEGER NOT NULL,"
	    " PRIMARY KEY (hash, at_ms, queue_id)) WITHOUT ROWID;"
	    "PRAGMA user_version=1;";
	char path[PATH_MAX];
	int r = dir_make(directory);

	if (r < 0)
		return r;
	snprintf(path, sizeof(path), "%s/history.db", directory);
	/* synchronous=OFF: a crash of the machine may lose the last seconds of history, never mail.
	 */
	if (sqlite3_open_v2(path, &h->db,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
		NULL) != SQLITE_OK ||
	    sqlite3_exec(h->db, schema, NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(
		h->db, "INSERT INTO event VALUES (?,?,?)", -1, &h->add_event, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(h->db, "INSERT OR IGNORE INTO name VALUES (?,?,?)", -1, &h->add_name,
		NULL) != SQLITE_OK)
		return sqlite3_errcode(h->db) == SQLITE_READONLY ? -ERR_ACCESS : -ERR_IO;
	return 0;
}

static void history_free(struct history *h)
{
	sqlite3_finalize(h->add_event);
	sqlite3_finalize(h->add_name);
	sqlite3_close(h->db);
	buf_done(&h->waiting);
	pthread_cond_destroy(&h->more);
	pthread_cond_destroy(&h->written);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

int history_open(const char *directory, int64_t keep_ms, struct history **h_r)
{
	struct history *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ERR_NOMEM;
	h->keep_ms = keep_ms;
	pthread_mutex_init(&h->lock, NULL);
	pthread_cond_init(&h->more, NULL);
	pthread_cond_init(&h->written, NULL);
	buf_init(&h->waiting, WAITING_OCTETS_MAX);
	r = open_db(h, directory);
	if (r == 0 && pthread_create(&h->thread, NULL, writer, h) != 0)
		r = -ERR_LIMIT;
	if (r < 0) {
		history_free(h);
		return r;
	}
	*h_r = h;
	return 0;
}

void history_close(struct history **h)
{
	if (!*h)
		return;
	pthread_mutex_lock(&(*h)->lock);
	(*h)->stopping = true;
	pthread_cond_signal(&(*h)->more);
	pthread_mutex_unlock(&(*h)->lock);
	pthread_join((*h)->thread, NULL);
	history_free(*h);
	*h = NULL;
}
