/*
 * tests/unit/test_envelope.c - the two records and queue ids.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/clock.h"
#include "base/err.h"
#include "envelope/envelope.h"

#include <pthread.h>
#include <stdlib.h>

static struct rcpt rcpts[3];

static struct envelope sample(void)
{
	struct envelope env = {
		.id = 0x6565656512345678u,
		.received_ms = 1795639860123,
		.reverse_path = SPAN_LIT("sender@example.org"),
		.envid = SPAN_LIT("QQ314159"),
		.ret = ENVELOPE_RET_HDRS,
		.body = ENVELOPE_BODY_8BITMIME,
		.smtputf8 = true,
		.require_tls = true,
		.size = 123456789012,
		.client_name = SPAN_LIT("mail.example.org"),
		.helo = SPAN_LIT("[192.0.2.1]"),
		.protocol = SPAN_LIT("ESMTPSA"),
		.auth_user = SPAN_LIT("u\0ser"),
		.session = SPAN_LIT("s1"),
		.message_id = SPAN_LIT("x@y"),
		.rcpt_count = 3,
		.rcpts = rcpts,
	};
	memset(rcpts, 0, sizeof(rcpts));
	rcpts[0].address = SPAN_LIT("a@example.net");
	rcpts[0].orcpt = SPAN_LIT("rfc822;A@example.net");
	rcpts[0].notify = RCPT_NOTIFY_SUCCESS | RCPT_NOTIFY_DELAY;
	rcpts[1].address = SPAN_LIT("b@example.net");
	rcpts[1].notify = RCPT_NOTIFY_NEVER;
	rcpts[1].aliased = RCPT_ALIASED | RCPT_EXPANDED | RCPT_TELL_EXPANDED;
	rcpts[2].address = SPAN_LIT("c@example.net");
	assert_int_equal(ip_parse(span_str("2001:db8::1"), &env.client_ip), 0);
	for (int i = 0; i < 2; i++) {
		rcpts[i].status = RCPT_DEFERRED;
		rcpts[i].attempts = 3;
		rcpts[i].next_ms = INT64_MAX;
		rcpts[i].last = (struct attempt){
			.at_ms = 1795639860999,
			.host = SPAN_LIT("mx.example.net"),
			.address = SPAN_LIT("[192.0.2.7]:25"),
			.stage = CAT_STAGE_rcpt,
			.remote = true,
			.code = 451,
			.enhanced = { 4, 7, 650 },
			.text = SPAN_LIT("later\nplease"),
			.failure_code = 3003,
			.rule = SPAN_LIT("r1"),
		};
	}
	rcpts[2].status = RCPT_DELIVERED;
	return env;
}

static void a_message_record_comes_back_whole(void **state)
{
	struct envelope env = sample(), got;
	struct arena arena;
	struct buf rec;

	(void)state;
	arena_init(&arena, 65536);
	buf_init(&rec, 65536);
	assert_int_equal(envelope_encode(&env, &rec), 0);
	assert_int_equal(envelope_decode(buf_span(&rec), &arena, &got), 0);
	assert_true(got.id == env.id && got.received_ms == env.received_ms && got.size == env.size);
	assert_true(got.ret == env.ret && got.body == env.body && got.smtputf8 && got.require_tls &&
	    !got.is_dsn);
	assert_true(ip_eq(&got.client_ip, &env.client_ip));
	assert_true(span_eq(got.reverse_path, env.reverse_path) && span_eq(got.envid, env.envid));
	assert_true(span_eq(got.client_name, env.client_name) && span_eq(got.helo, env.helo));
	assert_true(span_eq(got.protocol, env.protocol) && span_eq(got.auth_user, env.auth_user));
	assert_true(span_eq(got.session, env.session) && span_eq(got.message_id, env.message_id));
	assert_int_equal(got.rcpt_count, 3);
	for (int i = 0; i < 3; i++) {
		assert_true(span_eq(got.rcpts[i].address, rcpts[i].address));
		assert_true(span_eq(got.rcpts[i].orcpt, rcpts[i].orcpt));
		assert_int_equal(got.rcpts[i].notify, rcpts[i].notify);
		assert_int_equal(got.rcpts[i].aliased, rcpts[i].aliased);
		assert_int_equal(got.rcpts[i].status, RCPT_PENDING);
		assert_true(got.rcpts[i].next_ms == env.received_ms);
	}
	buf_done(&rec);
	arena_done(&arena);
}

static void a_state_is_laid_over_its_envelope(void **state)
{
	struct envelope env = sample(), got;
	struct buf rec, st;
	struct arena arena;

	(void)state;
	arena_init(&arena, 65536);
	buf_init(&rec, 65536);
	buf_init(&st, 65536);
	assert_int_equal(envelope_encode(&env, &rec), 0);
	assert_int_equal(envelope_encode_state(&env, &st), 0);
	assert_int_equal(envelope_decode(buf_span(&rec), &arena, &got), 0);
	assert_int_equal(envelope_decode_state(buf_span(&st), &arena, &got), 0);
	for (int i = 0; i < 3; i++) {
		const struct attempt *a = &got.rcpts[i].last, *b = &rcpts[i].last;
		assert_true(span_eq(got.rcpts[i].address, rcpts[i].address));
		assert_int_equal(got.rcpts[i].status, rcpts[i].status);
		assert_int_equal(got.rcpts[i].attempts, rcpts[i].attempts);
		assert_true(got.rcpts[i].next_ms == rcpts[i].next_ms);
		assert_true(a->at_ms == b->at_ms && a->stage == b->stage && a->remote == b->remote);
		assert_true(a->code == b->code && a->failure_code == b->failure_code);
		assert_memory_equal(&a->enhanced, &b->enhanced, sizeof(a->enhanced));
		assert_true(span_eq(a->host, b->host) && span_eq(a->address, b->address));
		assert_true(span_eq(a->text, b->text) && span_eq(a->rule, b->rule));
	}
	got.rcpt_count = 2;
	assert_int_equal(envelope_decode_state(buf_span(&st), &arena, &got), -ERR_CORRUPT);
	buf_done(&rec);
	buf_done(&st);
	arena_done(&arena);
}

/* From an allocation of just its size, so that a sanitizer sees a step too far. */
static int decode_exactly(const uint8_t *p, size_t n, bool with_state, struct envelope *env)
{
	struct envelope got = *env;
	struct arena arena;
	uint8_t *copy = malloc(n ? n : 1);
	int r;

	memcpy(copy, p, n);
	arena_init(&arena, 65536);
	if (with_state)
		r = envelope_decode_state(span_of(copy, n), &arena, &got);
	else
		r = envelope_decode(span_of(copy, n), &arena, &got);
	arena_done(&arena);
	free(copy);
	return r;
}

static void every_cut_is_refused_and_every_flip_is_safe(void **state)
{
	struct envelope env = sample();
	struct buf rec;

	(void)state;
	buf_init(&rec, 65536);
	for (int s = 0; s < 2; s++) {
		buf_reset(&rec);
		assert_int_equal(
		    s ? envelope_encode_state(&env, &rec) : envelope_encode(&env, &rec), 0);
		for (size_t n = 0; n < buf_len(&rec); n++)
			assert_int_equal(
			    decode_exactly(buf_span(&rec).p, n, s, &env), -ERR_CORRUPT);
		for (size_t n = 0; n < buf_len(&rec); n++) {
			for (int v = 0; v < 256; v++) {
				uint8_t was = rec.data[rec.start + n];
				int r;
				rec.data[rec.start + n] = (uint8_t)v;
				r = decode_exactly(buf_span(&rec).p, buf_len(&rec), s, &env);
				assert_true(r == 0 || r == -ERR_CORRUPT || r == -ERR_VERSION);
				rec.data[rec.start + n] = was;
			}
		}
		rec.data[rec.start + 1] = 3;
		assert_int_equal(
		    decode_exactly(buf_span(&rec).p, buf_len(&rec), s, &env), -ERR_VERSION);
	}
	buf_done(&rec);
}

static void what_only_a_newer_program_knows_raises_the_version_and_nothing_else_does(void **state)
{
	struct envelope env = sample(), got;
	struct arena arena;
	struct buf rec;

	(void)state;
	arena_init(&arena, 65536);
	buf_init(&rec, 65536);
	assert_int_equal(envelope_encode_state(&env, &rec), 0);
	assert_int_equal(buf_span(&rec).p[1], 1);
	/* a version that holds nothing of its own is not its spelling */
	rec.data[rec.start + 1] = 2;
	assert_int_equal(envelope_decode_state(buf_span(&rec), &arena, &env), -ERR_CORRUPT);
	buf_reset(&rec);
	env.rcpts[1].delay_told = true;
	assert_int_equal(envelope_encode_state(&env, &rec), 0);
	assert_int_equal(buf_span(&rec).p[1], 2);
	got = env;
	assert_int_equal(envelope_decode_state(buf_span(&rec), &arena, &got), 0);
	assert_true(
	    !got.rcpts[0].delay_told && got.rcpts[1].delay_told && !got.rcpts[2].delay_told);
	/* in an old record the flag is damage */
	rec.data[rec.start + 1] = 1;
	assert_int_equal(envelope_decode_state(buf_span(&rec), &arena, &got), -ERR_CORRUPT);
	buf_reset(&rec);
	assert_int_equal(envelope_encode(&env, &rec), 0);
	assert_int_equal(buf_span(&rec).p[1], 1);
	buf_reset(&rec);
	env.is_postmaster_notice = true;
	assert_int_equal(envelope_encode(&env, &rec), 0);
	assert_int_equal(buf_span(&rec).p[1], 2);
	assert_int_equal(envelope_decode(buf_span(&rec), &arena, &got), 0);
	assert_true(got.is_postmaster_notice);
	buf_done(&rec);
	arena_done(&arena);
}

static void a_huge_count_of_recipients_takes_no_memory(void **state)
{
	static const uint8_t rec[] = { 'E', 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff,
		0xff, 0xff, 0xff, 0x7f };
	struct envelope env = { 0 };

	(void)state;
	assert_int_equal(decode_exactly(rec, sizeof(rec), false, &env), -ERR_CORRUPT);
}

static void a_message_is_finished_when_every_recipient_is_and_due_with_the_earliest(void **state)
{
	struct envelope env = sample();

	(void)state;
	assert_false(envelope_finished(&env));
	assert_true(envelope_due(&env) == INT64_MAX);
	rcpts[1].next_ms = 7;
	assert_true(envelope_due(&env) == 7);
	rcpts[1].status = RCPT_HELD;
	rcpts[0].status = RCPT_FAILED;
	assert_true(envelope_due(&env) == INT64_MAX);
	assert_false(envelope_finished(&env));
	rcpts[1].status = RCPT_DELETED;
	assert_true(envelope_finished(&env));
}

static void queue_ids_have_the_shape_of_postfix_and_come_back(void **state)
{
	static const uint64_t ids[] = { 0, UINT64_C(0xffffffff) << 32 | 999999u << 12 | 4095,
		UINT64_C(1795639860) << 32 | 123456u << 12 };
	char text[QUEUE_ID_TEXT_MAX];
	uint64_t back;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		queue_id_text(ids[i], text);
		assert_int_equal(text[10], 'z');
		assert_true(strlen(text) >= 12 && strlen(text) <= 14);
		assert_int_equal(queue_id_parse(span_str(text), &back), 0);
		assert_true(back == ids[i]);
	}
	queue_id_text(0, text);
	assert_string_equal(text, "0000000000z0");
	queue_id_text(UINT64_C(51) << 32 | 52u << 12 | 50, text);
	assert_string_equal(text, "00000z0010zy");
}

static void what_is_no_queue_id_is_refused(void **state)
{
	static const char *const bad[] = { "", "z", "0000000000z", "0000000000z00",
		"0000000000z0000", "zzzzzz0000z0", "000000zzzzz0", "0000000000zz", "A000000000z0",
		"0000000000y0", "0000000000z0 ", "ABCDEF0123" };
	uint64_t id;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(queue_id_parse(span_str(bad[i]), &id), -ERR_SYNTAX);
}

#define IDS 20000
static void *ids_take(void *arg)
{
	uint64_t *to = arg;

	for (int i = 0; i < IDS; i++)
		to[i] = queue_id_new();
	return NULL;
}

static int compare_ids(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void queue_ids_rise_and_no_two_threads_get_the_same(void **state)
{
	uint64_t *ids = malloc(3 * IDS * sizeof(*ids));
	char text[QUEUE_ID_TEXT_MAX];
	pthread_t threads[3];
	uint64_t back;

	(void)state;
	for (int t = 0; t < 3; t++)
		assert_int_equal(pthread_create(&threads[t], NULL, ids_take, ids + t * IDS), 0);
	for (int t = 0; t < 3; t++)
		pthread_join(threads[t], NULL);
	for (int t = 0; t < 3; t++)
		for (int i = 1; i < IDS; i++)
			assert_true(ids[t * IDS + i] > ids[t * IDS + i - 1]);
	qsort(ids, 3 * IDS, sizeof(*ids), compare_ids);
	for (int i = 1; i < 3 * IDS; i++)
		assert_true(ids[i] > ids[i - 1]);
	queue_id_text(ids[IDS], text);
	assert_int_equal(queue_id_parse(span_str(text), &back), 0);
	assert_true(back == ids[IDS]);
	free(ids);
}

static void a_floor_holds_and_the_microseconds_carry(void **state)
{
	uint64_t far = ((uint64_t)(clock_wall_us() / 1000000 + 1000) << 32) | 999999u << 12 | 4095,
		 id;

	(void)state;
	queue_id_floor(far);
	id = queue_id_new();
	assert_true(id == ((far >> 32) + 1) << 32);
	queue_id_floor(5);
	assert_true(queue_id_new() == id + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_record_comes_back_whole),
		cmocka_unit_test(a_state_is_laid_over_its_envelope),
		cmocka_unit_test(every_cut_is_refused_and_every_flip_is_safe),
		cmocka_unit_test(
		    what_only_a_newer_program_knows_raises_the_version_and_nothing_else_does),
		cmocka_unit_test(a_huge_count_of_recipients_takes_no_memory),
		cmocka_unit_test(
		    a_message_is_finished_when_every_recipient_is_and_due_with_the_earliest),
		cmocka_unit_test(queue_ids_have_the_shape_of_postfix_and_come_back),
		cmocka_unit_test(what_is_no_queue_id_is_refused),
		cmocka_unit_test(queue_ids_rise_and_no_two_threads_get_the_same),
		cmocka_unit_test(a_floor_holds_and_the_microseconds_carry),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
