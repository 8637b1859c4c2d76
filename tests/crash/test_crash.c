/*
 * tests/crash/test_crash.c - stop at the n-th call to the disk, for every n.
 *
 * A small run takes messages in, large and small, updates and finishes them, fills
 * segments, evacuates and unlinks, closes and opens again.  At each of its calls in
 * turn the power goes.  Then the spool is opened again, and: whatever was
 * acknowledged is there to the octet, what was finished and acknowledged is not,
 * and of everything else either the old or the new is found.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"
#include "tests/crash/sim.h"
#include "tests/unit/spool_help.h"

#define IDS 90

/* What the client knows of a message. */
struct known {
	size_t octets;
	bool asked, accepted;
	bool finish_asked, finished;
	int state_asked, state_known; /* states are "1", "2", ... */
};

static struct known known[IDS + 1];
static char dir[64];
static bool early; /* ack_before_commit */

static int open_sim(struct spool **sp_r)
{
	struct spool_options o;

	small_options(&o, dir);
	o.io = &sim_io;
	o.lazy_ms = 0;
	o.ack_before_commit = early;
	return spool_open(&o, sp_r);
}

static bool do_put(struct spool *sp, uint64_t id)
{
	/* Some spill: the threshold is a quarter of a segment. */
	known[id].octets = id % 13 == 5 ? 20000 : 300 + id * 41 % 5000;
	known[id].asked = true;
	known[id].accepted = put_message(sp, id, known[id].octets, (int64_t)id) == 0;
	return known[id].accepted;
}

static bool do_update(struct spool *sp, uint64_t id)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", ++known[id].state_asked);
	if (update_message(sp, id, text, (int64_t)id) < 0)
		return false;
	known[id].state_known = known[id].state_asked;
	return true;
}

static bool do_finish(struct spool *sp, uint64_t id)
{
	known[id].finish_asked = true;
	known[id].finished = finish_message(sp, id) == 0;
	return known[id].finished;
}

/* The messages of a round: most are finished soon, every seventh stays. */
static bool play(struct spool *sp, uint64_t first, uint64_t last)
{
	for (uint64_t id = first; id <= last; id++) {
		if (!do_put(sp, id))
			return false;
		if (id % 7 == 0 && !do_update(sp, id))
			return false;
		if (id % 21 == 0 && !do_update(sp, id))
			return false;
		if (id > 6 && (id - 6) % 7 != 0 && !do_finish(sp, id - 6))
			return false;
	}
	return true;
}

static void run(unsigned stop_at)
{
	struct spool *sp = NULL;

	memset(known, 0, sizeof(known));
	sim_start(stop_at);
	if (open_sim(&sp) == 0 && play(sp, 1, IDS / 2)) {
		spool_close(&sp);
		if (open_sim(&sp) == 0)
			play(sp, IDS / 2 + 1, IDS);
	}
	spool_close(&sp);
}

/* Messages that were acknowledged and are not there, or not as they were; 0 is right. */
static unsigned verify(struct spool *sp, unsigned stop_at)
{
	unsigned wrong = 0;

	for (uint64_t id = 1; id <= IDS; id++) {
		const struct known *k = &known[id];
		char state[16];
		int r = -ERR_NOTFOUND, s;

		for (s = k->state_known; s <= k->state_asked; s++) {
			snprintf(state, sizeof(state), "%d", s);
			r = check_message(sp, id, k->octets, s == 0 ? "" : state);
			if (r != 1)
				break;
		}
		if (r == 0 && k->asked && !k->finished)
			continue;
		if (r == -ERR_NOTFOUND && (!k->accepted || k->finish_asked))
			continue;
		print_message("# stop at %u: message %llu: %s (accepted %d, finish %d/%d)\n",
		    stop_at, (unsigned long long)id, r == 1 ? "differs" : err_text(r), k->accepted,
		    k->finish_asked, k->finished);
		wrong++;
	}
	return wrong;
}

static unsigned verify_twice(unsigned stop_at, bool no_damage)
{
	unsigned wrong = 0;

	for (int i = 0; i < 2; i++) {
		struct spool_options o;
		struct spool_stats st;
		struct spool *sp = NULL;
		int r;

		small_options(&o, dir);
		o.io = &sim_io; /* its power stays on now */
		o.lazy_ms = 0;
		r = spool_open(&o, &sp);
		if (r < 0) {
			print_message("# stop at %u: cannot open: %s\n", stop_at, err_text(r));
			return wrong + 1;
		}
		wrong += verify(sp, stop_at);
		spool_stats(sp, &st);
		if (no_damage && st.damaged > 0) {
			print_message(
			    "# stop at %u: %u records damaged\n", stop_at, (unsigned)st.damaged);
			wrong++;
		}
		spool_close(&sp);
	}
	return wrong;
}

/* One stop; `lost` messages.  Returns false when the run ended before it. */
static bool stop_once(unsigned n, enum sim_loss loss, unsigned *wrong)
{
	bool stopped;

	dir_fresh(dir);
	run(n);
	stopped = sim_stopped();
	sim_power_off(loss, n * 7919u + 1);
	sim_start(0);
	*wrong += verify_twice(n, loss != SIM_LOSE_SOME && !early);
	dir_remove(dir);
	return stopped;
}

static void stop_everywhere(enum sim_loss loss)
{
	unsigned wrong = 0, n = 1;

	early = false;
	while (stop_once(n, loss, &wrong))
		n++;
	print_message("# %u places to stop\n", n - 1);
	assert_true(n > 200);
	assert_int_equal(wrong, 0);
}

static void nothing_is_lost_when_all_that_was_not_synced_is(void **state)
{
	(void)state;
	stop_everywhere(SIM_LOSE_ALL);
}

static void nothing_is_lost_when_the_process_dies(void **state)
{
	(void)state;
	stop_everywhere(SIM_LOSE_NOTHING);
}

static void nothing_is_lost_when_a_part_of_what_was_not_synced_is(void **state)
{
	(void)state;
	stop_everywhere(SIM_LOSE_SOME);
}

static void the_run_passes_through_seal_evacuation_and_unlink(void **state)
{
	struct spool_stats st;
	struct spool *sp = NULL;

	(void)state;
	early = false;
	dir_fresh(dir);
	memset(known, 0, sizeof(known));
	sim_start(0);
	assert_int_equal(open_sim(&sp), 0);
	assert_true(play(sp, 1, IDS / 2));
	spool_close(&sp);
	assert_int_equal(open_sim(&sp), 0);
	assert_true(play(sp, IDS / 2 + 1, IDS));
	spool_stats(sp, &st);
	assert_true(st.evacuated > 0);
	assert_true(st.unlinked > 0);
	spool_close(&sp);
	assert_int_equal(verify_twice(0, true), 0);
	dir_remove(dir);
}

static void acknowledging_before_the_commit_is_found_out(void **state)
{
	unsigned wrong = 0;

	(void)state;
	early = true;
	for (unsigned n = 1; wrong == 0 && stop_once(n, SIM_LOSE_ALL, &wrong); n++)
		continue;
	early = false;
	assert_true(wrong > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_run_passes_through_seal_evacuation_and_unlink),
		cmocka_unit_test(nothing_is_lost_when_all_that_was_not_synced_is),
		cmocka_unit_test(nothing_is_lost_when_the_process_dies),
		cmocka_unit_test(nothing_is_lost_when_a_part_of_what_was_not_synced_is),
		cmocka_unit_test(acknowledging_before_the_commit_is_found_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
