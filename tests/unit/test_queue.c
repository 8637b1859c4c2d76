/*
 * tests/unit/test_queue.c - due heap and back-off.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "queue/queue.h"

static void messages_come_in_the_order_of_their_times(void **state)
{
	struct queue *q = NULL;
	uint64_t id;

	(void)state;
	assert_int_equal(queue_new(&q), 0);
	assert_true(queue_due(q) == INT64_MAX);
	assert_int_equal(queue_set(q, 1, 30), 0);
	assert_int_equal(queue_set(q, 2, 10), 0);
	assert_int_equal(queue_set(q, 3, 20), 0);
	assert_int_equal(queue_set(q, 4, INT64_MAX), 0);
	assert_true(queue_due(q) == 10);
	assert_false(queue_take(q, 9, &id));
	assert_true(queue_take(q, 100, &id) && id == 2);
	assert_true(queue_take(q, 100, &id) && id == 3);
	assert_true(queue_take(q, 100, &id) && id == 1);
	assert_false(queue_take(q, INT64_MAX, &id));
	assert_int_equal(queue_active(q), 3);
	assert_int_equal(queue_count(q), 4);
	assert_true(queue_is_active(q, 2) && !queue_is_active(q, 4) && !queue_is_active(q, 9));
	queue_free(&q);
	assert_null(q);
}

static void an_active_message_goes_back_with_a_new_time_or_leaves(void **state)
{
	struct queue *q = NULL;
	uint64_t id;

	(void)state;
	assert_int_equal(queue_new(&q), 0);
	assert_int_equal(queue_set(q, 1, 1), 0);
	assert_int_equal(queue_set(q, 2, 2), 0);
	assert_true(queue_take(q, 5, &id) && id == 1);
	assert_true(queue_take(q, 5, &id) && id == 2);
	assert_int_equal(queue_set(q, 1, 9), 0);
	assert_int_equal(queue_active(q), 1);
	assert_true(queue_due(q) == 9);
	assert_true(queue_remove(q, 2));
	assert_false(queue_remove(q, 2));
	assert_int_equal(queue_active(q), 0);
	assert_int_equal(queue_count(q), 1);
	queue_free(&q);
}

/* Against a plain array, by a fixed row of numbers. */
#define N 200
static void thousands_of_changes_agree_with_a_plain_list(void **state)
{
	enum { OUT, WAITS, HELD, ACTIVE } what[N] = { OUT };
	int64_t due[N] = { 0 };
	uint64_t x = 88172645463325252u, id;
	struct queue *q = NULL;

	(void)state;
	assert_int_equal(queue_new(&q), 0);
	for (int step = 0; step < 50000; step++) {
		size_t i, count = 0, active = 0;
		int64_t first = INT64_MAX;
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		i = x % N;
		switch (x >> 32 & 7) {
		case 0:
			assert_true(queue_remove(q, i) == (what[i] != OUT));
			what[i] = OUT;
			break;
		case 1:
			assert_int_equal(queue_set(q, i, INT64_MAX), 0);
			what[i] = HELD;
			break;
		case 2:
		case 3:
			if (queue_take(q, (int64_t)(x >> 40 & 1023), &id)) {
				assert_int_equal(what[id], WAITS);
				assert_true(due[id] <= (int64_t)(x >> 40 & 1023));
				what[id] = ACTIVE;
			}
			break;
		default:
			due[i] = (int64_t)(x >> 40 & 1023);
			assert_int_equal(queue_set(q, i, due[i]), 0);
			what[i] = WAITS;
		}
		for (i = 0; i < N; i++) {
			count += what[i] != OUT;
			active += what[i] == ACTIVE;
			if (what[i] == WAITS && due[i] < first)
				first = due[i];
		}
		assert_true(queue_due(q) == first);
		assert_int_equal(queue_count(q), count);
		assert_int_equal(queue_active(q), active);
		assert_true(queue_is_active(q, x % N) == (what[x % N] == ACTIVE));
	}
	queue_free(&q);
}

static void waiting_doubles_up_to_its_maximum_and_ends_with_the_life_time(void **state)
{
	static const struct queue_backoff b = { 300000, 3600000, 345600000, 0 };
	static const int64_t want[] = { 300000, 300000, 600000, 1200000, 2400000, 3600000,
		3600000 };

	(void)state;
	for (uint32_t n = 0; n < 7; n++)
		assert_true(queue_next_attempt(&b, 1000, n, 5000, 77) == 5000 + want[n]);
	assert_true(queue_next_attempt(&b, 0, UINT32_MAX, 5000, 77) == 5000 + 3600000);
	assert_true(queue_next_attempt(&b, 0, 9, 345599999, 77) == 345600000);
	assert_true(queue_next_attempt(&b, 0, 9, 345600000, 77) == -1);
	assert_true(queue_next_attempt(&b, INT64_MAX - 5, 9, INT64_MAX - 1, 77) == INT64_MAX);
}

static void jitter_keeps_to_its_per_cent_and_to_its_number(void **state)
{
	static const struct queue_backoff b = { 300000, 3600000, 345600000, 10 };
	bool below = false, above = false;

	(void)state;
	for (uint64_t r = 0; r < 100000; r += 997) {
		int64_t t = queue_next_attempt(&b, 0, 1, 0, r);
		assert_true(t >= 270000 && t <= 330000);
		assert_true(t == queue_next_attempt(&b, 0, 1, 0, r));
		below |= t < 290000;
		above |= t > 310000;
	}
	assert_true(below && above);
}

static void a_message_takes_few_octets(void **state)
{
	struct queue *q = NULL;

	(void)state;
	assert_int_equal(queue_new(&q), 0);
	for (uint64_t id = 0; id < 100000; id++)
		assert_int_equal(queue_set(q, id << 12, (int64_t)id), 0);
	print_message("# %zu octets a message in the due heap\n", queue_octets(q) / 100000);
	assert_true(queue_octets(q) / 100000 <= 32);
	queue_free(&q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_come_in_the_order_of_their_times),
		cmocka_unit_test(an_active_message_goes_back_with_a_new_time_or_leaves),
		cmocka_unit_test(thousands_of_changes_agree_with_a_plain_list),
		cmocka_unit_test(waiting_doubles_up_to_its_maximum_and_ends_with_the_life_time),
		cmocka_unit_test(jitter_keeps_to_its_per_cent_and_to_its_number),
		cmocka_unit_test(a_message_takes_few_octets),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
