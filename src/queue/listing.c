/*
 * queue/listing.c - see queue/listing.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "queue/listing.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/json.h"

#include <stdio.h>

/* As much as a message in work may take, see deliver/. */
#define RECORD_OCTETS_MAX (16u << 20)

static void put_time(struct json_writer *j, const char *key, int64_t ms)
{
	char text[CLOCK_ISO8601_MAX];

	if (!ms || ms == INT64_MAX)
		return;
	clock_iso8601(ms, text);
	json_put_str(j, key, text);
}

static void put_attempt(struct json_writer *j, const struct catalogue *cat, const struct attempt *a)
{
	static const char *const stages[] = {
#define X(name) #name,
		CAT_STAGES(X)
#undef X
	};
	const struct cat_failure *failure = catalogue_failure(cat, a->failure_code);
	char text[32];

	if (!a->at_ms)
		return;
	json_put_object(j, "last");
	put_time(j, "time", a->at_ms);
	json_put_span(j, "host", a->host);
	json_put_span(j, "address", a->address);
	json_put_str(j, "stage", stages[a->stage]);
	if (a->code)
		json_put_int(j, "code", a->code);
	if (a->enhanced.class_) {
		snprintf(text, sizeof(text), "%u.%u.%u", a->enhanced.class_, a->enhanced.subject,
		    a->enhanced.detail);
		json_put_str(j, "enhanced", text);
	}
	json_put_span(j, "text", a->text);
	if (a->failure_code)
		json_put_int(j, "failure_code", a->failure_code);
	if (failure)
		json_put_str(j, "acts", cat_acts_name(failure->acts));
	json_put_span(j, "rule", a->rule);
	json_put_object_end(j);
}

static void put_row(struct buf *out, const struct catalogue *cat, const struct envelope *env,
    const struct rcpt *r, int64_t now_ms)
{
	struct json_writer j;
	char id[QUEUE_ID_TEXT_MAX], ip[IP_TEXT_MAX];

	queue_id_text(env->id, id);
	ip_text(&env->client_ip, ip);
	json_writer_init(&j, out);
	json_put_object(&j, NULL);
	json_put_str(&j, "queue_id", id);
	json_put_span(&j, "sender", env->reverse_path);
	json_put_span(&j, "recipient", r->address);
	json_put_str(&j, "status", rcpt_status_name(r->status));
	put_time(&j, "received", env->received_ms);
	json_put_ms(&j, "age", now_ms - env->received_ms);
	if (r->status == RCPT_PENDING || r->status == RCPT_DEFERRED)
		put_time(&j, "next", r->next_ms ? r->next_ms : env->received_ms);
	if (r->status == RCPT_PENDING || r->status == RCPT_DEFERRED)
		json_put_ms(&j, "next_in", r->next_ms > now_ms ? r->next_ms - now_ms : 0);
	json_put_int(&j, "attempts", r->attempts);
	json_put_int(&j, "size", (int64_t)env->size);
	json_put_span(&j, "message_id", env->message_id);
	json_put_str(&j, "client", ip);
	json_put_span(&j, "session", env->session);
	put_attempt(&j, cat, &r->last);
	json_put_object_end(&j);
}

int queue_listing(struct spool *sp, const struct catalogue *cat, uint64_t id,
    const struct queue_filter *f, int64_t now_ms,
    void (*fn)(void *arg, const struct rcpt *r, struct span json), void *arg)
{
	struct buf record, state, row;
	struct arena arena;
	struct envelope env;
	int r, count = 0;

	arena_init(&arena, RECORD_OCTETS_MAX);
	buf_init(&record, RECORD_OCTETS_MAX);
	buf_init(&state, RECORD_OCTETS_MAX);
	buf_init(&row, RECORD_OCTETS_MAX);
	r = spool_read(sp, id, &record, &state);
	if (r == 0)
		r = envelope_decode(buf_span(&record), &arena, &env);
	if (r == 0 && buf_len(&state))
		r = envelope_decode_state(buf_span(&state), &arena, &env);
	for (size_t i = 0; r == 0 && i < env.rcpt_count; i++) {
		const struct rcpt *rc = &env.rcpts[i];
		if (rc->status >= RCPT_DELIVERED || !queue_filter_match(f, &env, rc, now_ms))
			continue;
		buf_reset(&row);
		put_row(&row, cat, &env, rc, now_ms);
		fn(arg, rc, buf_span(&row));
		count++;
	}
	buf_done(&record);
	buf_done(&state);
	buf_done(&row);
	arena_done(&arena);
	return r < 0 ? r : count;
}
