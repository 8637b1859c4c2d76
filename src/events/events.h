/*
 * events/events.h - the only record of what the program decided.
 *
 * Each decision emits one typed event.  Log lines, plain words, history and
 * metrics are readers of it; nothing else is ever written down.  Any thread may
 * emit; a reader is called on that thread, one event at a time over the whole
 * program, and must only hand over (append to a buffer of its own).
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_EVENTS_EVENTS_H
#define POSTERN_EVENTS_EVENTS_H

#include "base/buf.h"
#include "catalogue/catalogue.h"

/* type, name, what it records */
#define EVENT_TYPES(X)                                                                             \
	X(SERVER_STARTED, "server_started", "the server takes mail from now on")                   \
	X(SERVER_STOPPING, "server_stopping", "no new sessions; those that are open finish")       \
	X(SERVER_STOPPED, "server_stopped", "everything is on disk")                               \
	X(SESSION_CLOSED, "session_closed", "a client's connection ended; sum of what it did")     \
	X(EARLY_TALKER, "early_talker", "a client sent octets before our banner")                  \
	X(TLS, "tls", "a client's session is under TLS from here on")                              \
	X(TLS_FAILED, "tls_failed", "a client's handshake failed; the connection is closed")       \
	X(AUTH_FAILED, "auth_failed", "a client could not log in, or nobody could find out")       \
	X(PROXY_REFUSED, "proxy_refused",                                                          \
	    "no PROXY header where one is due; the connection is closed")                          \
	X(XCLIENT, "xclient", "a trusted client told us who its own client is")                    \
	X(REFUSED, "refused", "we answered a client with 4xx or 5xx")                              \
	X(RECEIVED, "received", "a message was acknowledged: it is on disk")                       \
	X(DELIVERED, "delivered", "a recipient's copy was taken by the next host or mailbox")      \
	X(DEFERRED, "deferred", "an attempt failed; another will follow")                          \
	X(FAILED, "failed", "a recipient was given up")                                            \
	X(BOUNCED, "bounced", "a delivery status notification was queued for the sender")          \
	X(DSN_UNDELIVERABLE, "dsn_undeliverable", "a notification found no way; nobody is told")   \
	X(FINISHED, "finished", "the message left the queue")                                      \
	X(HELD, "held", "an operator put a recipient on hold")                                     \
	X(RELEASED, "released", "an operator lifted a hold")                                       \
	X(RETRY, "retry", "an operator asked for an attempt at once")                              \
	X(DELETED, "deleted", "an operator took a recipient out without notice to the sender")     \
	X(NOTICE, "notice", "something an operator should know: damage, disk full, back again")

enum event_type {
#define X(id, name, text) EVENT_##id,
	EVENT_TYPES(X)
#undef X
	    EVENT_TYPE_COUNT
};

/* Fields that a type does not use stay zero and are left out.  Spans are borrowed for the call. */
struct event {
	enum event_type type;
	int64_t at_ms;     /* wall clock; 0: now */
	uint64_t queue_id; /* 0: none */
	struct span session;
	struct span client; /* name[address] */
	struct span helo;
	const char *tls_version, *tls_cipher; /* of the session; NULL: in clear */
	struct span user;                     /* who authenticated, or tried to */
	const char *mechanism;                /* of AUTH */
	/* XFORWARD: whom the client has the message from, and its id there. */
	struct span orig_client, orig_id;
	bool has_sender; /* `sender` may be the null sender */
	struct span sender;
	struct span recipient;
	struct span message_id;
	struct span host;     /* next host's name, or the mailbox */
	struct span address;  /* its address and port */
	struct span tls;      /* of a delivery: version, cipher, verified or not; empty: in clear */
	const char *stage;    /* "rcpt" */
	const char *reply_id; /* of our own replies */
	uint16_t code;
	struct enhanced_status enhanced;
	const char *policy_code;
	struct span text; /* the reply's text, or a sentence */
	uint16_t failure_code;
	const char *acts; /* who must act */
	struct span rule; /* what decided the failure code */
	int64_t next_ms;  /* wall clock of the next event; 0: none */
	uint32_t attempts;
	uint64_t size;
	uint32_t recipients;
	int64_t delay_ms;  /* since reception */
	struct span trace; /* checks and facts behind a decision */
	struct span detail;
	uint64_t other_id; /* DSN's queue id, or that of the message it is about */
};

struct event_sink; /* opaque: events/sink.c */

/* `json` is the event as one JSON object without line end; both good for the call. */
typedef void event_reader_fn(void *arg, const struct event *ev, struct span json);

int event_sink_new(struct event_sink **sink_r);
void event_sink_free(struct event_sink **sink);

/* Before the first event.  0 or -ERR_LIMIT (8 readers). */
int event_sink_add(struct event_sink *sink, event_reader_fn *reader, void *arg);

void event_emit(struct event_sink *sink, const struct event *ev);

const char *event_type_name(enum event_type type);
const char *event_type_text(enum event_type type);

/* The event as JSON, appended. */
void event_json(const struct event *ev, struct buf *out);

/* The event as a line in plain words, for a person at a terminal, appended with LF. */
void event_words(const struct event *ev, struct buf *out);

/*
 * A file (or descriptor) that takes lines, written by a thread of its own so that a slow disk
 * stalls no session; a line is written within 10 ms, many in one write.  At most `max_octets` wait;
 * beyond that lines are dropped and counted, and the count is written when there is room again.
 */
struct event_file;
int event_file_open(const char *path, size_t max_octets, struct event_file **f_r); /* "-": stdout */
void event_file_line(struct event_file *f, struct span line); /* a LF is added */
void event_file_close(struct event_file **f);                 /* writes out what waits */

#endif
