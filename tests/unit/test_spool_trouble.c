/*
 * tests/unit/test_spool_trouble.c - the spool on a bad day: damage, full disk, failing
 * calls, many threads, long life.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"
#include "tests/unit/spool_help.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>

static char dir[64];

static int teardown(void **state)
{
	(void)state;
	dir_remove(dir);
	return 0;
}

/* ---- a disk that fails when it is told to ---- */

static atomic_llong space_left = INT64_MAX; /* for pwritev; below: partial write, then ENOSPC */
static atomic_int write_errno, sync_errno, sync_fails;
static atomic_ullong free_now = UINT64_C(1) << 40;
static atomic_int fallocate_errno;

static ssize_t bad_pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
	struct iovec part[16];
	long long left = atomic_load(&space_left);
	ssize_t put = 0;
	int n = 0;

	if (atomic_load(&write_errno)) {
		errno = atomic_load(&write_errno);
		return -1;
	}
	if (left == INT64_MAX)
		return pwritev(fd, iov, count, at);
	for (; n < count && n < 16 && left > 0; n++) {
		part[n] = iov[n];
		if ((long long)part[n].iov_len > left)
			part[n].iov_len = (size_t)left;
		left -= (long long)part[n].iov_len;
	}
	if (n > 0)
		put = pwritev(fd, part, n, at);
	if (put > 0)
		atomic_fetch_sub(&space_left, put);
	errno = ENOSPC;
	return put > 0 ? put : -1;
}

static int bad_sync(int fd)
{
	(void)fd;
	if (atomic_load(&sync_fails) > 0) {
		atomic_fetch_sub(&sync_fails, 1);
		errno = atomic_load(&sync_errno);
		return -1;
	}
	return 0; /* no test here pulls the plug */
}

static int bad_fallocate(int fd, off_t octets)
{
	if (atomic_load(&fallocate_errno)) {
		errno = atomic_load(&fallocate_errno);
		return -1;
	}
	return spool_io_system.fallocate(fd, octets);
}

static int bad_free_octets(const char *d, uint64_t *octets_r)
{
	(void)d;
	*octets_r = atomic_load(&free_now);
	return 0;
}

static struct spool_io bad_io;

static int setup(void **state)
{
	(void)state;
	atomic_store(&space_left, INT64_MAX);
	atomic_store(&write_errno, 0);
	atomic_store(&sync_fails, 0);
	atomic_store(&fallocate_errno, 0);
	atomic_store(&free_now, UINT64_C(1) << 40);
	dir_fresh(dir);
	return 0;
}

static void bad_options(struct spool_options *o)
{
	bad_io = spool_io_system;
	bad_io.pwritev = bad_pwritev;
	bad_io.fdatasync = bad_sync;
	bad_io.fsync = bad_sync;
	bad_io.fallocate = bad_fallocate;
	bad_io.free_octets = bad_free_octets;
	small_options(o, dir);
	o->lazy_ms = 0;
	o->io = &bad_io;
}

static struct spool *open_bad(void)
{
	struct spool_options o;
	struct spool *sp = NULL;

	bad_options(&o);
	assert_int_equal(spool_open(&o, &sp), 0);
	return sp;
}

/* The state of the disk is looked at once a second; the tests do not wait for that. */
static void look_again(struct spool **sp)
{
	spool_close(sp);
	*sp = open_bad();
}

static void a_full_disk_in_mid_batch_refuses_what_is_not_durable_and_recovers(void **state)
{
	enum { N = 12 };
	struct spool *sp = open_bad();
	struct waiter w[N];
	int err[N], ok = 0;

	(void)state;
	assert_int_equal(put_message(sp, 1, 3000, 1), 0);
	atomic_store(&space_left, 10000);
	atomic_store(&free_now, 0);
	for (int i = 0; i < N; i++) {
		struct spool_draft *d;
		uint8_t body[3000];
		char env[64];
		snprintf(env, sizeof(env), "envelope of %d", 100 + i);
		body_fill(100 + (uint64_t)i, body, sizeof(body));
		assert_int_equal(spool_draft_new(sp, &d), 0);
		assert_int_equal(spool_draft_write(d, span_of(body, sizeof(body))), 0);
		spool_commit(sp, 100 + (uint64_t)i, span_str(env), span_str("Received: x\r\n"), &d,
		    1, false, waiter_init(&w[i]));
	}
	for (int i = 0; i < N; i++) {
		err[i] = waiter_wait(&w[i]);
		assert_true(err[i] == 0 || err[i] == -ERR_NOSPACE);
		ok += err[i] == 0;
	}
	assert_true(ok >= 1 && ok <= 3);
	assert_int_equal(spool_room(sp, 1), -ERR_NOSPACE);
	assert_int_equal(put_message(sp, 50, 10, 1), -ERR_NOSPACE);
	/* Room again: service comes back (here at once, by opening again; else within a second). */
	atomic_store(&space_left, INT64_MAX);
	atomic_store(&free_now, UINT64_C(1) << 40);
	for (int turn = 0; turn < 2; turn++) {
		look_again(&sp);
		for (int i = 0; i < N; i++)
			assert_int_equal(check_message(sp, 100 + (uint64_t)i, 3000, ""),
			    err[i] == 0 ? 0 : -ERR_NOTFOUND);
		assert_int_equal(check_message(sp, 1, 3000, ""), 0);
		assert_int_equal(put_message(sp, 200 + (uint64_t)turn, 3000, 1), 0);
	}
	spool_close(&sp);
}

static void the_reserve_is_given_up_for_done_records_and_made_again(void **state)
{
	struct spool_options o;
	struct spool_stats st;
	struct spool *sp = NULL;

	(void)state;
	bad_options(&o);
	o.reserve_octets = 1 << 20;
	assert_int_equal(spool_open(&o, &sp), 0);
	spool_stats(sp, &st);
	assert_int_equal(st.reserve_octets, 1 << 20);
	for (uint64_t id = 1; id <= 15; id++)
		assert_int_equal(put_message(sp, id, 4000, 1), 0);
	/* The tail is nearly full, and no new segment can be made. */
	atomic_store(&fallocate_errno, ENOSPC);
	atomic_store(&free_now, 0);
	assert_int_equal(put_message(sp, 20, 10000, 1), -ERR_NOSPACE);
	assert_int_equal(finish_message(sp, 1), 0);
	assert_int_equal(update_message(sp, 2, "kept", 5), 0);
	spool_stats(sp, &st);
	assert_int_equal(st.reserve_octets, 0);
	assert_int_equal(spool_room(sp, 1), -ERR_NOSPACE);
	spool_close(&sp);
	atomic_store(&fallocate_errno, 0);
	atomic_store(&free_now, UINT64_C(1) << 40);
	assert_int_equal(spool_open(&o, &sp), 0);
	spool_stats(sp, &st);
	assert_int_equal(st.reserve_octets, 1 << 20);
	assert_int_equal(spool_room(sp, 1), 0);
	assert_int_equal(check_message(sp, 1, 4000, NULL), -ERR_NOTFOUND);
	assert_int_equal(check_message(sp, 2, 4000, "kept"), 0);
	spool_close(&sp);
}

static void below_its_minimum_of_free_space_the_spool_takes_no_more(void **state)
{
	struct spool_options o;
	struct spool *sp = NULL;
	struct spool_draft *d;
	struct waiter w;

	(void)state;
	bad_options(&o);
	o.queue_minfree = 1 << 20;
	atomic_store(&free_now, (1 << 20) + 5000);
	assert_int_equal(spool_open(&o, &sp), 0);
	assert_int_equal(spool_room(sp, 4000), 0);
	assert_int_equal(spool_room(sp, 6000), -ERR_NOSPACE);
	assert_int_equal(put_message(sp, 1, 6000, 1), -ERR_NOSPACE);
	assert_int_equal(put_message(sp, 2, 100, 1), 0);
	assert_int_equal(spool_draft_new(sp, &d), 0);
	spool_commit(sp, 3, span_str("a DSN of ours"), span_str(""), &d, 1, true, waiter_init(&w));
	assert_int_equal(waiter_wait(&w), 0);
	spool_close(&sp);
	atomic_store(&free_now, UINT64_C(1) << 40);
}

static void after_a_failed_sync_the_segment_is_left_and_nothing_acknowledged_is_lost(void **state)
{
	struct spool_stats st;
	struct spool *sp = open_bad();

	(void)state;
	assert_int_equal(put_message(sp, 1, 3000, 1), 0);
	assert_int_equal(put_message(sp, 2, 3000, 1), 0);
	atomic_store(&sync_errno, EIO);
	atomic_store(&sync_fails, 1);
	assert_int_equal(put_message(sp, 3, 3000, 1), -ERR_IO);
	assert_int_equal(put_message(sp, 4, 3000, 1), 0);
	assert_int_equal(count_files(dir, ".log", NULL), 2);
	/* A DONE record is written again in the next segment, whatever its waiter is told. */
	atomic_store(&sync_fails, 1);
	assert_int_equal(finish_message(sp, 1), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(check_message(sp, 1, 3000, NULL), -ERR_NOTFOUND);
		assert_int_equal(check_message(sp, 2, 3000, ""), 0);
		assert_int_equal(check_message(sp, 3, 3000, NULL), -ERR_NOTFOUND);
		assert_int_equal(check_message(sp, 4, 3000, ""), 0);
		spool_stats(sp, &st);
		assert_int_equal(st.messages, 2);
		assert_int_equal(st.damaged, 0);
		look_again(&sp);
	}
	spool_close(&sp);
}

static void a_failed_write_is_an_error_for_the_message_and_not_for_the_next(void **state)
{
	struct spool *sp = open_bad();

	(void)state;
	atomic_store(&write_errno, EIO);
	assert_int_equal(put_message(sp, 1, 3000, 1), -ERR_IO);
	assert_int_equal(spool_room(sp, 1), -ERR_IO);
	atomic_store(&write_errno, 0);
	assert_int_equal(put_message(sp, 2, 3000, 1), 0);
	assert_int_equal(spool_room(sp, 1), 0);
	atomic_store(&sync_fails, 1);
	assert_int_equal(put_message(sp, 3, 30000, 1), -ERR_IO); /* spilled: its file */
	assert_int_equal(put_message(sp, 3, 30000, 1), 0);
	assert_int_equal(check_message(sp, 3, 30000, ""), 0);
	spool_close(&sp);
}

/* ---- damage ---- */

#define DAMAGE_IDS 6

struct file_image {
	uint8_t *octets;
	size_t n;
	char path[160];
};

static void image_load(struct file_image *im, const char *name)
{
	struct buf b;

	snprintf(im->path, sizeof(im->path), "%s/%s", dir, name);
	buf_init(&b, 1 << 20);
	FILE *f = fopen(im->path, "rb");
	assert_non_null(f);
	for (int c; (c = fgetc(f)) != EOF;)
		buf_add_char(&b, (char)c);
	fclose(f);
	im->n = buf_len(&b);
	im->octets = malloc(im->n);
	memcpy(im->octets, buf_span(&b).p, im->n);
	buf_done(&b);
}

static void image_store(const struct file_image *im, size_t n)
{
	int fd = open(im->path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, im->octets, n), (ssize_t)n);
	close(fd);
}

/* A log of one segment: six messages, a state of the second, the third finished. */
static void make_log(struct file_image *log)
{
	struct spool *sp = open_bad();
	char name[64];

	for (uint64_t id = 1; id <= DAMAGE_IDS; id++)
		assert_int_equal(put_message(sp, id, id * 10, (int64_t)id), 0);
	assert_int_equal(update_message(sp, 2, "second", 9), 0);
	assert_int_equal(finish_message(sp, 3), 0);
	spool_close(&sp);
	assert_int_equal(count_files(dir, ".log", name), 1);
	image_load(log, name);
}

/* Put the directory back as it was, with this much of the log and no hint. */
static void restore(const struct file_image *log, size_t n)
{
	char name[64], path[160];

	while (count_files(dir, ".log", name) > 0) {
		snprintf(path, sizeof(path), "%s/%s", dir, name);
		unlink(path);
	}
	while (count_files(dir, ".hint", name) > 0) {
		snprintf(path, sizeof(path), "%s/%s", dir, name);
		unlink(path);
	}
	image_store(log, n);
}

/* How many messages are there as they were; all others must be away, none may differ. */
static int intact(struct spool *sp, int *states_r)
{
	int there = 0;

	*states_r = 0;
	for (uint64_t id = 1; id <= DAMAGE_IDS; id++) {
		int r = check_message(sp, id, id * 10, id == 2 ? "second" : "");
		if (r == 1 && id == 2)
			r = check_message(sp, id, id * 10, "");
		else if (r == 0 && id == 2)
			*states_r = 1;
		assert_true(r == 0 || r == -ERR_NOTFOUND);
		if (id != 3)
			there += r == 0;
	}
	return there;
}

static void a_flipped_octet_costs_at_most_its_own_record(void **state)
{
	struct file_image log;
	size_t noticed = 0;

	(void)state;
	make_log(&log);
	for (size_t at = 0; at < log.n; at++) {
		struct spool_stats st;
		struct spool *sp;
		int there, states;

		log.octets[at] ^= 0x5a;
		restore(&log, log.n);
		sp = open_bad();
		spool_stats(sp, &st);
		there = intact(sp, &states);
		/* One record is touched: one message, or the state, or the DONE record. */
		assert_true(there >= DAMAGE_IDS - 2);
		assert_true(there == DAMAGE_IDS - 1 || states == 1 || there == DAMAGE_IDS - 2);
		assert_true(st.damaged + st.torn >= 1);
		noticed++;
		spool_close(&sp);
		log.octets[at] ^= 0x5a;
	}
	assert_int_equal(noticed, log.n);
	free(log.octets);
}

static void a_log_cut_at_any_length_gives_what_stands_before_the_cut(void **state)
{
	struct file_image log;
	int before = 0;

	(void)state;
	make_log(&log);
	for (size_t n = 0; n <= log.n; n++) {
		struct spool *sp;
		int there, states;

		restore(&log, n);
		sp = open_bad();
		there = intact(sp, &states);
		assert_true(there >= before);
		before = there;
		spool_close(&sp);
	}
	assert_int_equal(before, DAMAGE_IDS - 1);
	free(log.octets);
}

static void a_damaged_hint_is_not_used(void **state)
{
	struct file_image log, hint;
	char name[64];

	(void)state;
	make_log(&log);
	assert_int_equal(count_files(dir, ".hint", name), 1);
	image_load(&hint, name);
	for (size_t at = 0; at < hint.n; at++) {
		struct spool_stats st;
		struct spool *sp;
		int states;

		restore(&log, log.n);
		hint.octets[at] ^= 0x11;
		image_store(&hint, at % 2 ? hint.n : hint.n - 1);
		hint.octets[at] ^= 0x11;
		sp = open_bad();
		assert_int_equal(intact(sp, &states), DAMAGE_IDS - 1);
		assert_int_equal(states, 1);
		spool_stats(sp, &st);
		assert_int_equal(st.damaged + st.torn, 0);
		assert_int_equal(st.messages, DAMAGE_IDS - 1);
		spool_close(&sp);
	}
	free(log.octets);
	free(hint.octets);
}

static void check_finds_damage_and_says_where(void **state)
{
	struct spool_check check;
	struct file_image log;

	(void)state;
	make_log(&log);
	assert_int_equal(spool_check_dir(dir, NULL, NULL, &check), 0);
	assert_int_equal(check.damaged + check.torn + check.orphans, 0);
	assert_int_equal(check.messages, DAMAGE_IDS - 1);
	assert_int_equal(check.records, DAMAGE_IDS + 2);
	log.octets[64 + 60] ^= 1;
	/* The hint still stands: check reads the log itself. */
	image_store(&log, log.n);
	assert_int_equal(spool_check_dir(dir, NULL, NULL, &check), 0);
	assert_int_equal(check.damaged, 1);
	assert_int_equal(check.first_damage_offset, 64);
	assert_string_equal(check.first_damage_file, "00000001.log");
	free(log.octets);
}

static void another_version_is_refused_and_nothing_is_changed(void **state)
{
	struct file_image log, after;
	struct spool_options o;
	struct spool *sp = NULL;
	char name[64];

	(void)state;
	make_log(&log);
	/* Version 2 with a CRC that is right: crc32c of octets 0..59 stands at 60. */
	log.octets[8] = 2;
	{
		uint32_t crc = 0xffffffff;
		for (int i = 0; i < 60; i++) {
			crc ^= log.octets[i];
			for (int b = 0; b < 8; b++)
				crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
		}
		crc = ~crc;
		for (int i = 0; i < 4; i++)
			log.octets[60 + i] = (uint8_t)(crc >> (8 * i));
	}
	restore(&log, log.n);
	bad_options(&o);
	assert_int_equal(spool_open(&o, &sp), -ERR_VERSION);
	assert_null(sp);
	assert_int_equal(count_files(dir, ".log", name), 1);
	assert_int_equal(count_files(dir, ".hint", NULL), 0);
	image_load(&after, name);
	assert_int_equal(after.n, log.n);
	assert_memory_equal(after.octets, log.octets, log.n);
	free(log.octets);
	free(after.octets);
}

static void a_body_that_imitates_records_makes_none(void **state)
{
	struct file_image log;
	struct spool_stats st;
	struct spool *sp;
	char envelope[] = "envelope of 9", name[64];
	struct spool_draft *d = NULL;
	struct waiter w;
	int states;

	(void)state;
	make_log(&log);
	/* The log itself, taken from another spool (its key differs), comes as a message. */
	dir_remove(dir);
	assert_int_equal(mkdir(dir, 0700), 0);
	sp = open_bad();
	assert_int_equal(spool_draft_new(sp, &d), 0);
	assert_int_equal(spool_draft_write(d, span_of(log.octets, log.n)), 0);
	spool_commit(sp, 9, span_str(envelope), span_str(""), &d, 1, false, waiter_init(&w));
	assert_int_equal(waiter_wait(&w), 0);
	spool_close(&sp);
	free(log.octets);
	assert_int_equal(count_files(dir, ".log", name), 1);
	image_load(&log, name);
	log.octets[64 + 20] ^= 1; /* its head */
	restore(&log, log.n);
	sp = open_bad();
	assert_int_equal(intact(sp, &states), 0);
	spool_stats(sp, &st);
	assert_int_equal(st.messages, 0);
	spool_close(&sp);
	free(log.octets);
}

static void files_that_nothing_refers_to_are_removed_at_start(void **state)
{
	struct spool *sp = open_bad();
	char path[128];
	FILE *f;

	(void)state;
	assert_int_equal(put_message(sp, 1, 30000, 1), 0);
	spool_close(&sp);
	snprintf(path, sizeof(path), "%s/bodies/00000000000000ff", dir);
	assert_non_null(f = fopen(path, "w"));
	fclose(f);
	snprintf(path, sizeof(path), "%s/bodies/draft-00000000000000ff", dir);
	assert_non_null(f = fopen(path, "w"));
	fclose(f);
	sp = open_bad();
	snprintf(path, sizeof(path), "%s/bodies", dir);
	assert_int_equal(count_files(path, "", NULL), 1);
	assert_int_equal(check_message(sp, 1, 30000, ""), 0);
	assert_int_equal(finish_message(sp, 1), 0);
	spool_close(&sp);
	assert_int_equal(count_files(path, "", NULL), 0);
}

/* ---- a long life, against a plain list ---- */

#define LIFE_IDS   3000
#define LIFE_STEPS 24000
static void a_long_life_with_restarts_agrees_with_a_plain_list(void **state)
{
	static unsigned char alive[LIFE_IDS + 1], states[LIFE_IDS + 1];
	uint64_t x = 88172645463325252u, next = 1, evacuated = 0;
	struct spool_stats st;
	struct spool *sp = open_bad();

	(void)state;
	memset(alive, 0, sizeof(alive));
	memset(states, 0, sizeof(states));
	for (int step = 0; step < LIFE_STEPS; step++) {
		uint64_t id;
		char text[16];
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		id = x % next;
		switch (x >> 32 & 7) {
		case 0:
		case 1:
			if (next <= LIFE_IDS) {
				assert_int_equal(put_message(sp, next, next * 37 % 3000, 1), 0);
				alive[next++] = 1;
			}
			break;
		case 2:
		case 3:
			if (!alive[id])
				break;
			snprintf(text, sizeof(text), "s%d", ++states[id]);
			spool_update(sp, id, span_str(text), step, false, NULL);
			break;
		default:
			/* Some stay for good, in some stretches only: segments are to die as a
			 * whole too. */
			if (alive[id] && (id % 11 != 0 || id / 100 % 3 != 0)) {
				spool_finish(sp, id, NULL);
				alive[id] = 0;
			}
		}
		if (step % 1500 != 1499)
			continue;
		if (step % 3000 == 2999) {
			spool_stats(sp, &st);
			evacuated += st.evacuated;
			look_again(&sp);
		}
		for (id = 1; id < next; id++) {
			snprintf(text, sizeof(text), states[id] ? "s%d" : "%.0d", states[id]);
			assert_int_equal(check_message(sp, id, id * 37 % 3000, text),
			    alive[id] ? 0 : -ERR_NOTFOUND);
		}
		spool_stats(sp, &st);
		assert_int_equal(st.damaged, 0);
	}
	spool_stats(sp, &st);
	assert_true(evacuated > 100);
	print_message("# %llu records moved; %llu octets on disk, %llu alive\n",
	    (unsigned long long)evacuated, (unsigned long long)st.disk_octets,
	    (unsigned long long)st.live_octets);
	spool_close(&sp);
}

static void a_done_record_outlives_every_segment_but_that_of_its_message(void **state)
{
	struct spool_stats st;
	struct spool *sp = open_bad();
	uint64_t id;

	(void)state;
	/* The first segment stays nearly full, so nothing moves out of it. */
	for (id = 1; id <= 14; id++)
		assert_int_equal(put_message(sp, id, 4000, 1), 0);
	/* A second one with DONE records for the first, and nothing else that lasts. */
	assert_int_equal(put_message(sp, 15, 10000, 1), 0);
	assert_int_equal(finish_message(sp, 2), 0);
	assert_int_equal(finish_message(sp, 5), 0);
	for (int turn = 0; turn < 4; turn++) {
		for (uint64_t i = 0; i < 40; i++, id++)
			assert_int_equal(put_message(sp, id + 10, 4000, 1), 0);
		for (uint64_t i = id - 40; i < id; i++)
			assert_int_equal(finish_message(sp, i + 10), 0);
		if (turn == 1)
			assert_int_equal(finish_message(sp, 15), 0);
		if (turn == 2)
			look_again(&sp);
	}
	look_again(&sp);
	for (id = 1; id <= 14; id++)
		assert_int_equal(
		    check_message(sp, id, 4000, ""), id == 2 || id == 5 ? -ERR_NOTFOUND : 0);
	spool_stats(sp, &st);
	assert_int_equal(st.messages, 12);
	assert_true(st.segments <= 3);
	/* With the first segment the need for them ends. */
	for (id = 1; id <= 14; id++)
		if (id != 2 && id != 5)
			assert_int_equal(finish_message(sp, id), 0);
	spool_close(&sp);
	assert_int_equal(count_files(dir, ".log", NULL), 0);
}

/* ---- many threads ---- */

#define THREADS 4
#define EACH    300
static atomic_int failures;

static void *commit_many(void *arg)
{
	struct spool *sp = ((void **)arg)[0];
	uint64_t base = (uint64_t)(uintptr_t)((void **)arg)[1];

	for (uint64_t i = 0; i < EACH; i++) {
		uint64_t id = 1 + i * THREADS + base;
		size_t n = i % 50 == 7 ? 20000 : 100 + i;
		if (put_message(sp, id, n, 1) != 0 || check_message(sp, id, n, "") != 0)
			atomic_fetch_add(&failures, 1);
		if (i % 3 == 0) {
			spool_update(sp, id, span_str("x"), 2, false, NULL);
			if (check_message(sp, id, n, "x") != 0)
				atomic_fetch_add(&failures, 1);
		}
		if (i % 4 != 0 && finish_message(sp, id) != 0)
			atomic_fetch_add(&failures, 1);
	}
	return NULL;
}

static void several_threads_commit_read_and_finish_at_once(void **state)
{
	struct spool *sp = open_bad();
	pthread_t threads[THREADS];
	void *args[THREADS][2];
	struct spool_entry e;
	struct spool_stats st;
	uint64_t cursor, seen = 0;

	(void)state;
	atomic_store(&failures, 0);
	for (uintptr_t t = 0; t < THREADS; t++) {
		args[t][0] = sp;
		args[t][1] = (void *)t;
		assert_int_equal(pthread_create(&threads[t], NULL, commit_many, args[t]), 0);
	}
	for (int i = 0; i < 50; i++) {
		cursor = 0;
		while (spool_next(sp, &cursor, &e))
			seen++;
		spool_stats(sp, &st);
	}
	for (int t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
	assert_int_equal(atomic_load(&failures), 0);
	for (int turn = 0; turn < 2; turn++) {
		spool_stats(sp, &st);
		assert_int_equal(st.messages, THREADS * (EACH / 4));
		for (uint64_t i = 0; i < EACH; i += 4)
			for (uint64_t t = 0; t < THREADS; t++)
				assert_int_equal(
				    check_message(sp, 1 + i * THREADS + t,
					i % 50 == 7 ? 20000 : 100 + i, i % 3 ? "" : "x"),
				    0);
		look_again(&sp);
	}
	spool_close(&sp);
}

static void drafts_beyond_the_budget_go_to_files_and_leave_no_trace(void **state)
{
	struct spool_options o;
	struct spool_draft *d[8];
	struct spool_stats st;
	struct spool *sp = NULL;
	static const uint8_t octets[5000];
	char bodies[80];

	(void)state;
	bad_options(&o);
	o.memory_octets = 20000;
	assert_int_equal(spool_open(&o, &sp), 0);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(spool_draft_new(sp, &d[i]), 0);
		assert_int_equal(spool_draft_write(d[i], span_of(octets, 3000)), 0);
		assert_int_equal(spool_draft_write(d[i], span_of(octets, 5000)), 0);
		assert_int_equal(spool_draft_size(d[i]), 8000);
		spool_stats(sp, &st);
		assert_true(st.memory_octets <= 20000);
	}
	snprintf(bodies, sizeof(bodies), "%s/bodies", dir);
	assert_true(count_files(bodies, "", NULL) >= 6);
	for (int i = 0; i < 8; i++)
		spool_draft_free(&d[i]);
	spool_stats(sp, &st);
	assert_int_equal(st.memory_octets, 0);
	assert_int_equal(count_files(bodies, "", NULL), 0);
	spool_close(&sp);
}

static void a_queued_message_takes_few_octets_of_memory(void **state)
{
	enum { N = 4000 };
	struct spool_options o;
	struct spool_stats st;
	struct spool *sp = NULL;

	(void)state;
	bad_options(&o);
	o.segment_octets = 4 << 20;
	assert_int_equal(spool_open(&o, &sp), 0);
	for (uint64_t id = 1; id <= N; id++)
		assert_int_equal(put_message(sp, id, 10, 1), 0);
	spool_stats(sp, &st);
	print_message("# %.1f octets a message in the index\n", (double)st.index_octets / N);
	assert_true(st.index_octets <= 64 * N);
	spool_close(&sp);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_full_disk_in_mid_batch_refuses_what_is_not_durable_and_recovers),
		T(the_reserve_is_given_up_for_done_records_and_made_again),
		T(below_its_minimum_of_free_space_the_spool_takes_no_more),
		T(after_a_failed_sync_the_segment_is_left_and_nothing_acknowledged_is_lost),
		T(a_failed_write_is_an_error_for_the_message_and_not_for_the_next),
		T(a_flipped_octet_costs_at_most_its_own_record),
		T(a_log_cut_at_any_length_gives_what_stands_before_the_cut),
		T(a_damaged_hint_is_not_used),
		T(check_finds_damage_and_says_where),
		T(another_version_is_refused_and_nothing_is_changed),
		T(a_body_that_imitates_records_makes_none),
		T(files_that_nothing_refers_to_are_removed_at_start),
		T(a_long_life_with_restarts_agrees_with_a_plain_list),
		T(a_done_record_outlives_every_segment_but_that_of_its_message),
		T(several_threads_commit_read_and_finish_at_once),
		T(drafts_beyond_the_budget_go_to_files_and_leave_no_trace),
		T(a_queued_message_takes_few_octets_of_memory),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
