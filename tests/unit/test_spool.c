/*
 * tests/unit/test_spool.c - the spool as its users see it: in, out, over a restart.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"
#include "tests/unit/spool_help.h"

static char dir[64];

static int setup(void **state)
{
	(void)state;
	dir_fresh(dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	dir_remove(dir);
	return 0;
}

static struct spool *open_small(void)
{
	struct spool_options o;
	struct spool *sp = NULL;

	small_options(&o, dir);
	assert_int_equal(spool_open(&o, &sp), 0);
	return sp;
}

static void a_message_comes_back_as_it_went_in(void **state)
{
	struct spool *sp = open_small();
	struct spool_entry e;

	(void)state;
	assert_int_equal(put_message(sp, 10, 4096, 777), 0);
	assert_int_equal(put_message(sp, 11, 0, 778), 0);
	assert_int_equal(put_message(sp, 12, 100000, 779), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(check_message(sp, 10, 4096, ""), 0);
		assert_int_equal(check_message(sp, 11, 0, ""), 0);
		assert_int_equal(check_message(sp, 12, 100000, ""), 0);
		assert_true(spool_find(sp, 10, &e));
		assert_int_equal(e.due_ms, 777);
		assert_false(e.has_state);
		assert_true(e.octets > 4096);
		assert_false(spool_find(sp, 13, &e));
		assert_int_equal(check_message(sp, 13, 0, ""), -ERR_NOTFOUND);
		spool_close(&sp);
		assert_null(sp);
		sp = open_small();
	}
	spool_close(&sp);
}

static void the_newest_state_is_read_before_it_is_on_disk_and_after_a_restart(void **state)
{
	struct spool_entry e;
	struct spool *sp = open_small();

	(void)state;
	assert_int_equal(put_message(sp, 10, 100, 1), 0);
	spool_update(sp, 10, span_str("one"), 5, false, NULL);
	spool_update(sp, 10, span_str("two"), 6, false, NULL);
	assert_int_equal(check_message(sp, 10, 100, "two"), 0);
	assert_int_equal(update_message(sp, 10, "three", INT64_MAX), 0);
	assert_int_equal(check_message(sp, 10, 100, "three"), 0);
	assert_int_equal(update_message(sp, 11, "x", 1), -ERR_NOTFOUND);
	spool_close(&sp);
	sp = open_small();
	assert_int_equal(check_message(sp, 10, 100, "three"), 0);
	assert_true(spool_find(sp, 10, &e));
	assert_true(e.due_ms == INT64_MAX && e.has_state);
	spool_close(&sp);
}

static void a_finished_message_is_gone_and_stays_gone(void **state)
{
	struct spool_stats st;
	struct spool_body *b;
	uint8_t buf[64];
	struct spool *sp = open_small();

	(void)state;
	assert_int_equal(put_message(sp, 10, 100, 1), 0);
	assert_int_equal(put_message(sp, 11, 50000, 1), 0);
	assert_int_equal(count_files(dir, "", NULL) > 0, 1);
	assert_int_equal(spool_body_open(sp, 11, &b), 0);
	spool_finish(sp, 10, NULL);
	assert_int_equal(check_message(sp, 10, 100, NULL), -ERR_NOTFOUND);
	assert_int_equal(finish_message(sp, 10), -ERR_NOTFOUND);
	assert_int_equal(finish_message(sp, 11), 0);
	assert_int_equal(spool_body_read(b, 40000, buf, sizeof(buf)), 64);
	spool_body_close(&b);
	spool_stats(sp, &st);
	assert_int_equal(st.messages, 0);
	spool_close(&sp);
	assert_int_equal(count_files(dir, ".log", NULL), 0);
	sp = open_small();
	spool_stats(sp, &st);
	assert_int_equal(st.messages, 0);
	assert_int_equal(st.damaged, 0);
	spool_close(&sp);
}

static void ids_are_walked_in_their_order(void **state)
{
	static const uint64_t ids[] = { 30, 10, 20, 50, 40 };
	struct spool *sp = open_small();
	struct spool_entry e;
	uint64_t cursor = 0;

	(void)state;
	for (int i = 0; i < 5; i++)
		assert_int_equal(put_message(sp, ids[i], 10, 1), 0);
	assert_int_equal(put_message(sp, 20, 10, 1), -ERR_EXISTS);
	assert_int_equal(finish_message(sp, 30), 0);
	for (uint64_t want = 10; want <= 50; want += 10) {
		if (want == 30)
			continue;
		assert_true(spool_next(sp, &cursor, &e));
		assert_true(e.id == want && cursor == want);
	}
	assert_false(spool_next(sp, &cursor, &e));
	spool_close(&sp);
}

static void a_second_process_is_kept_out(void **state)
{
	struct spool_options o;
	struct spool *sp = open_small(), *other = NULL;

	(void)state;
	small_options(&o, dir);
	assert_int_equal(spool_open(&o, &other), -ERR_LOCKED);
	assert_int_equal(put_message(sp, 10, 100, 1), 0);
	o.read_only = true;
	assert_int_equal(spool_open(&o, &other), 0);
	assert_int_equal(check_message(other, 10, 100, ""), 0);
	spool_close(&other);
	spool_close(&sp);
}

static void an_aged_queue_gives_its_space_back(void **state)
{
	struct spool_stats st;
	struct spool *sp = open_small();

	(void)state;
	for (uint64_t id = 1; id <= 400; id++)
		assert_int_equal(put_message(sp, id, 1000, (int64_t)id), 0);
	for (uint64_t id = 1; id <= 400; id += 20)
		assert_int_equal(update_message(sp, id, "late", (int64_t)id + 1000), 0);
	for (uint64_t id = 1; id <= 400; id++)
		if (id % 10 != 1)
			spool_finish(sp, id, NULL);
	assert_int_equal(finish_message(sp, 11), 0);
	spool_close(&sp);
	sp = open_small();
	/* One more turn lets the writer end what it began. */
	for (uint64_t id = 401; id <= 440; id++)
		assert_int_equal(put_message(sp, id, 1000, (int64_t)id), 0);
	for (int i = 0; i < 2; i++) {
		for (uint64_t id = 1; id <= 400; id++) {
			int want = id % 10 == 1 && id != 11 ? 0 : -ERR_NOTFOUND;
			assert_int_equal(
			    check_message(sp, id, 1000, id % 20 == 1 ? "late" : ""), want);
		}
		spool_stats(sp, &st);
		assert_int_equal(st.messages, 79);
		assert_int_equal(st.damaged, 0);
		spool_close(&sp);
		sp = open_small();
	}
	spool_stats(sp, &st);
	assert_true(st.disk_octets < 4 * st.live_octets);
	spool_close(&sp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    a_message_comes_back_as_it_went_in, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    the_newest_state_is_read_before_it_is_on_disk_and_after_a_restart, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(
		    a_finished_message_is_gone_and_stays_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(ids_are_walked_in_their_order, setup, teardown),
		cmocka_unit_test_setup_teardown(a_second_process_is_kept_out, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    an_aged_queue_gives_its_space_back, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
