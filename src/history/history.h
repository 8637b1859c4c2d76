/*
 * history/history.h - what became of each message, found by queue id, message id and address.
 *
 * A reader of events (events/events.h): a thread of its own writes them into a
 * SQLite file, those of 50 ms in one transaction, so that `postern why` answers for finished
 * mail without reading logs.  When its disk is slow, events wait up to a bound, then
 * are dropped and counted here; the log has them all.  Older ones are removed.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_HISTORY_HISTORY_H
#define POSTERN_HISTORY_HISTORY_H

#include "base/buf.h"
#include "events/events.h"

struct history; /* opaque */

/* Open (and make) `directory`/history.db and start the thread.  0, -ERR_ACCESS, -ERR_IO,
 * -ERR_NOMEM. */
int history_open(const char *directory, int64_t keep_ms, struct history **h_r);
void history_close(struct history **h); /* writes out what waits; NULL is fine */

/* An event_reader_fn with the history as its argument. */
void history_event(void *arg, const struct event *ev, struct span json);

/* Wait until all events emitted before this call can be found. */
void history_flush(struct history *h);

uint64_t history_dropped(const struct history *h);

/*
 * Events of one message (or refusals of one address) in order of time, each as the JSON of the
 * event. key: a queue id, a message id (with or without < >), or an address.  `fn` returns false to
 * stop. For an address: the newest `most` messages, the newest first, each with all its events.
 * Opens the file for reading on its own connection: any thread, also beside a running server.
 * 0, -ERR_NOTFOUND, -ERR_IO.
 */
int history_find(const char *directory, struct span key, size_t most,
    bool (*fn)(void *arg, struct span queue_id, struct span json), void *arg);

#endif
