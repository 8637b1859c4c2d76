/*
 * tests/unit/test_history.c - events are found again by queue id, message id and address; and
 * events' JSON.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/err.h"
#include "envelope/envelope.h"
#include "history/history.h"

#include <stdlib.h>
#include <unistd.h>

static char found[8192];

static bool collect(void *arg, struct span queue_id, struct span json)
{
	(void)arg;
	(void)queue_id;
	strncat(found, (const char *)json.p, json.n < 1000 ? json.n : 1000);
	strcat(found, "\n");
	return true;
}

static int find(const char *dir, const char *key)
{
	found[0] = '\0';
	return history_find(dir, span_str(key), 5, collect, NULL);
}

static void events_are_found_by_each_of_their_names(void **state)
{
	char dir[] = "/tmp/postern-history-XXXXXX", id[QUEUE_ID_TEXT_MAX], path[64];
	struct event_sink *sink;
	struct history *h;
	uint64_t queue_id = queue_id_new();
	struct event received = { .type = EVENT_RECEIVED,
		.queue_id = queue_id,
		.has_sender = true,
		.sender = SPAN_LIT("bob@example.net"),
		.recipient = SPAN_LIT("Ann@example.org"),
		.message_id = SPAN_LIT("m1@example.net") };
	struct event failed = { .type = EVENT_FAILED,
		.queue_id = queue_id,
		.recipient = SPAN_LIT("Ann@example.org"),
		.code = 550,
		.enhanced = { 5, 1, 1 },
		.failure_code = 2001 };
	struct event refused = {
		.type = EVENT_REFUSED, .recipient = SPAN_LIT("nobody@example.org"), .code = 550
	};

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(history_open(dir, 86400000, &h), 0);
	assert_int_equal(event_sink_new(&sink), 0);
	assert_int_equal(event_sink_add(sink, history_event, h), 0);
	event_emit(sink, &received);
	event_emit(sink, &failed);
	event_emit(sink, &refused);
	history_flush(h);
	queue_id_text(queue_id, id);
	assert_int_equal(find(dir, id), 0);
	assert_non_null(strstr(found, "\"received\""));
	assert_non_null(strstr(strstr(found, "\"received\""), "\"failed\"")); /* in order of time */
	assert_int_equal(find(dir, "<m1@example.net>"), 0);
	assert_int_equal(find(dir, "ann@EXAMPLE.org"), 0);
	assert_non_null(strstr(found, "\"failure_code\":2001"));
	assert_int_equal(find(dir, "bob@example.net"), 0);
	assert_int_equal(find(dir, "nobody@example.org"), 0);
	assert_non_null(strstr(found, "\"refused\""));
	assert_int_equal(find(dir, "stranger@example.org"), -ERR_NOTFOUND);
	assert_int_equal(history_dropped(h), 0);
	history_close(&h);
	assert_int_equal(find(dir, id), 0); /* also when no server runs */
	event_sink_free(&sink);
	for (const char *const *f =
		 (const char *const[]){ "history.db", "history.db-wal", "history.db-shm", NULL };
	     *f; f++) {
		snprintf(path, sizeof(path), "%s/%s", dir, *f);
		unlink(path);
	}
	rmdir(dir);
}

static void an_event_is_one_line_whatever_a_peer_sent(void **state)
{
	struct event ev = { .type = EVENT_REFUSED,
		.at_ms = 784111777042,
		.helo = SPAN_LIT("a\r\nb\x1b[2J"),
		.text = SPAN_LIT("x\ny") };
	struct buf out;

	(void)state;
	buf_init(&out, 65536);
	event_json(&ev, &out);
	assert_string_equal(buf_cstr(&out),
	    "{\"time\":\"1994-11-06T08:49:37.042Z\",\"event\":\"refused\",\"helo\":"
	    "\"a\\r\\nb\\u001b[2J\",\"text\":\"x\\ny\"}");
	buf_reset(&out);
	event_words(&ev, &out);
	assert_string_equal(buf_cstr(&out), "08:49:37 refused: x y\n");
	buf_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(events_are_found_by_each_of_their_names),
		cmocka_unit_test(an_event_is_one_line_whatever_a_peer_sent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
