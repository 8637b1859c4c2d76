/*
 * history/find.c - events by queue id, message id or address.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "envelope/envelope.h"
#include "history/history-private.h"

#include <limits.h>
#include <stdio.h>

struct search {
	sqlite3 *db;
	sqlite3_stmt *events;
	bool (*fn)(void *arg, struct span queue_id, struct span json);
	void *arg;
	size_t found;
};

/* All events of one message; false: the caller wants no more. */
static bool give(struct search *s, sqlite3_int64 id)
{
	char text[QUEUE_ID_TEXT_MAX] = "";
	bool go_on = true;

	if (id > 0)
		queue_id_text((uint64_t)id, text);
	sqlite3_bind_int64(s->events, 1, id);
	while (go_on && sqlite3_step(s->events) == SQLITE_ROW) {
		struct span json = span_of(
		    sqlite3_column_text(s->events, 0), (size_t)sqlite3_column_bytes(s->events, 0));
		s->found++;
		go_on = s->fn(s->arg, span_str(text), json);
	}
	sqlite3_reset(s->events);
	return go_on;
}

static int by_name(struct search *s, struct span name, size_t most)
{
	sqlite3_stmt *st;

	if (sqlite3_prepare_v2(s->db,
		"SELECT queue_id, max(at_ms) AS t FROM name WHERE hash=? GROUP BY queue_id ORDER "
		"BY t DESC LIMIT ?",
		-1, &st, NULL) != SQLITE_OK)
		return -ERR_IO;
	sqlite3_bind_int64(st, 1, (sqlite3_int64)history_name_hash(name));
	sqlite3_bind_int64(st, 2, (sqlite3_int64)most);
	while (sqlite3_step(st) == SQLITE_ROW && give(s, sqlite3_column_int64(st, 0)))
		;
	sqlite3_finalize(st);
	return 0;
}

int history_find(const char *directory, struct span key, size_t most,
    bool (*fn)(void *arg, struct span queue_id, struct span json), void *arg)
{
	struct search s = { .fn = fn, .arg = arg };
	char path[PATH_MAX];
	uint64_t id;
	int r = 0;

	snprintf(path, sizeof(path), "%s/history.db", directory);
	if (sqlite3_open_v2(path, &s.db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
	    sqlite3_busy_timeout(s.db, 5000) != SQLITE_OK ||
	    sqlite3_prepare_v2(s.db,
		"SELECT json FROM event WHERE queue_id=? ORDER BY at_ms, rowid", -1, &s.events,
		NULL) != SQLITE_OK) {
		sqlite3_close(s.db);
		return -ERR_IO;
	}
	if (key.n > 2 && key.p[0] == '<' && key.p[key.n - 1] == '>')
		key = span_of(key.p + 1, key.n - 2);
	if (queue_id_parse(key, &id) == 0)
		(void)give(&s, (sqlite3_int64)id);
	if (!s.found)
		r = by_name(&s, key, most);
	sqlite3_finalize(s.events);
	sqlite3_close(s.db);
	return r < 0 ? r : s.found ? 0 : -ERR_NOTFOUND;
}
