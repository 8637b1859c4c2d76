/*
 * events/sink.c - events to readers, and the JSON and plain words of an event.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "events/events.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"
#include "envelope/envelope.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define READERS_MAX 8
/* A message may have a thousand recipients, but an event speaks of one; text is one reply. */
#define EVENT_JSON_MAX (256 * 1024)
/* Nearly every event fits, so that it costs one allocation. */
#define EVENT_JSON_FIRST 1024

struct event_sink {
	pthread_mutex_t lock;
	struct {
		event_reader_fn *fn;
		void *arg;
	} readers[READERS_MAX];
	size_t count;
};

static const struct {
	const char *name, *text;
} types[] = {
#define X(id, name, text) { name, text },
	EVENT_TYPES(X)
#undef X
};

const char *event_type_name(enum event_type type)
{
	return types[type].name;
}

const char *event_type_text(enum event_type type)
{
	return types[type].text;
}

int event_sink_new(struct event_sink **sink_r)
{
	struct event_sink *sink = calloc(1, sizeof(*sink));

	if (!sink)
		return -ERR_NOMEM;
	pthread_mutex_init(&sink->lock, NULL);
	*sink_r = sink;
	return 0;
}

void event_sink_free(struct event_sink **sink)
{
	if (!*sink)
		return;
	pthread_mutex_destroy(&(*sink)->lock);
	free(*sink);
	*sink = NULL;
}

int event_sink_add(struct event_sink *sink, event_reader_fn *reader, void *arg)
{
	if (sink->count == READERS_MAX)
		return -ERR_LIMIT;
	sink->readers[sink->count].fn = reader;
	sink->readers[sink->count++].arg = arg;
	return 0;
}

void event_emit(struct event_sink *sink, const struct event *ev)
{
	struct event stamped = *ev;
	struct buf line;

	if (!stamped.at_ms)
		stamped.at_ms = clock_wall_ms();
	/* Outside the lock: every worker comes through here several times for each message. */
	buf_init(&line, EVENT_JSON_MAX);
	(void)buf_reserve(&line, EVENT_JSON_FIRST);
	event_json(&stamped, &line);
	pthread_mutex_lock(&sink->lock);
	for (size_t i = 0; i < sink->count; i++)
		sink->readers[i].fn(sink->readers[i].arg, &stamped, buf_span(&line));
	pthread_mutex_unlock(&sink->lock);
	buf_done(&line);
}

static void opt_span(struct json_writer *j, const char *key, struct span value)
{
	if (value.n)
		json_put_span(j, key, value);
}

static void opt_str(struct json_writer *j, const char *key, const char *value)
{
	if (value)
		json_put_str(j, key, value);
}

static void opt_time(struct json_writer *j, const char *key, int64_t wall_ms)
{
	char text[CLOCK_ISO8601_MAX];

	if (!wall_ms)
		return;
	clock_iso8601(wall_ms, text);
	json_put_str(j, key, text);
}

static void opt_id(struct json_writer *j, const char *key, uint64_t id)
{
	char text[QUEUE_ID_TEXT_MAX];

	if (!id)
		return;
	queue_id_text(id, text);
	json_put_str(j, key, text);
}

static void status(struct json_writer *j, const struct event *ev)
{
	char text[16];

	if (ev->code)
		json_put_int(j, "code", ev->code);
	if (ev->enhanced.class_) {
		snprintf(text, sizeof(text), "%u.%u.%u", ev->enhanced.class_, ev->enhanced.subject,
		    ev->enhanced.detail);
		json_put_str(j, "enhanced", text);
	}
	opt_str(j, "policy_code", ev->policy_code);
	opt_span(j, "text", ev->text);
	if (ev->failure_code)
		json_put_int(j, "failure_code", ev->failure_code);
	opt_str(j, "acts", ev->acts);
	opt_span(j, "rule", ev->rule);
}

void event_json(const struct event *ev, struct buf *out)
{
	struct json_writer j;

	json_writer_init(&j, out);
	json_put_object(&j, NULL);
	opt_time(&j, "time", ev->at_ms);
	json_put_str(&j, "event", types[ev->type].name);
	opt_id(&j, "queue_id", ev->queue_id);
	opt_span(&j, "session", ev->session);
	opt_span(&j, "client", ev->client);
	opt_span(&j, "helo", ev->helo);
	opt_str(&j, "tls_version", ev->tls_version);
	opt_str(&j, "tls_cipher", ev->tls_cipher);
	opt_span(&j, "user", ev->user);
	opt_str(&j, "mechanism", ev->mechanism);
	opt_span(&j, "orig_client", ev->orig_client);
	opt_span(&j, "orig_id", ev->orig_id);
	if (ev->has_sender)
		json_put_span(&j, "sender", ev->sender);
	opt_span(&j, "recipient", ev->recipient);
	opt_span(&j, "message_id", ev->message_id);
	opt_span(&j, "host", ev->host);
	opt_span(&j, "address", ev->address);
	opt_span(&j, "tls", ev->tls);
	opt_str(&j, "stage", ev->stage);
	opt_str(&j, "reply_id", ev->reply_id);
	status(&j, ev);
	opt_time(&j, "next", ev->next_ms);
	if (ev->attempts)
		json_put_int(&j, "attempts", ev->attempts);
	if (ev->size)
		json_put_int(&j, "size", (int64_t)ev->size);
	if (ev->recipients)
		json_put_int(&j, "recipients", ev->recipients);
	if (ev->delay_ms)
		json_put_ms(&j, "delay", ev->delay_ms);
	opt_span(&j, "trace", ev->trace);
	opt_span(&j, "detail", ev->detail);
	opt_id(&j, "other_id", ev->other_id);
	json_put_object_end(&j);
}

/* Octets of a peer must not drive the terminal. */
static void words_span(struct buf *out, const char *before, struct span s)
{
	if (!s.n)
		return;
	buf_add_str(out, before);
	for (size_t i = 0; i < s.n; i++)
		buf_add_char(out,
		    s.p[i] == '\n'                        ? ' '
			: s.p[i] < 0x20 || s.p[i] == 0x7f ? '?'
							  : (char)s.p[i]);
}

void event_words(const struct event *ev, struct buf *out)
{
	char text[CLOCK_ISO8601_MAX], id[QUEUE_ID_TEXT_MAX], wait[64];

	clock_iso8601(ev->at_ms, text);
	buf_addf(out, "%.8s ", text + 11);
	if (ev->queue_id) {
		queue_id_text(ev->queue_id, id);
		buf_addf(out, "%s ", id);
	}
	buf_add_str(out, types[ev->type].name);
	words_span(out, " for ", ev->recipient);
	if (ev->has_sender)
		words_span(
		    out, " from ", ev->sender.n ? ev->sender : SPAN_LIT("<> (the null sender)"));
	words_span(out, " client ", ev->client);
	words_span(out, " user ", ev->user);
	words_span(out, " at ", ev->host);
	if (ev->code)
		buf_addf(out, ": %u", ev->code);
	if (ev->enhanced.class_)
		buf_addf(out, " %u.%u.%u", ev->enhanced.class_, ev->enhanced.subject,
		    ev->enhanced.detail);
	words_span(out, ev->code ? " " : ": ", ev->text);
	if (ev->failure_code)
		buf_addf(out, " [failure code %u]", ev->failure_code);
	if (ev->next_ms) {
		clock_duration(ev->next_ms - ev->at_ms, wait, sizeof(wait));
		buf_addf(out, "; next attempt in %s", wait);
	}
	if (ev->other_id) {
		queue_id_text(ev->other_id, id);
		buf_addf(out, "; see %s", id);
	}
	words_span(out, ": ", ev->detail);
	buf_add_char(out, '\n');
}
