/*
 * bench/bench_spool.c - messages a second into the spool, beside a file and an fsync for each.
 *
 * FIFO churn: so many messages are in flight at a time; each that is acknowledged is
 * finished and the next one committed.  The plain loop writes a file per message,
 * syncs it and its directory, and removes it, with as many threads as messages in
 * flight (at most 16).  Both run on the same disk, one after the other, in turns.
 *
 *   bench_spool [DIR [SECONDS [OCTETS]]]
 *   bench_spool DIR queue MESSAGES OCTETS      restart, updates, space given back
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/err.h"
#include "spool/spool.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define FLIGHT_MAX 4096

static struct spool *sp;
static size_t octets = 4096;
static uint8_t *body;
static atomic_ullong next_id = 1;
static atomic_ullong finished;
static atomic_bool stop;

/* Answers of the writer, for the one thread that commits. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static struct spool_op *ready;

struct flight {
	struct spool_op op;
	uint64_t id;
	int err;
};

static void done(struct spool_op *op, int err)
{
	struct flight *f = op->arg;
	bool wake;

	f->err = err;
	pthread_mutex_lock(&lock);
	wake = !ready;
	op->next = ready;
	ready = op;
	pthread_mutex_unlock(&lock);
	if (wake)
		pthread_cond_signal(&cond);
}

static void commit(struct flight *f)
{
	struct spool_draft *d = NULL;

	f->id = atomic_fetch_add(&next_id, 1);
	f->op.done = done;
	f->op.arg = f;
	if (spool_draft_new(sp, &d) < 0 || spool_draft_write(d, span_of(body, octets)) < 0)
		abort();
	spool_commit(sp, f->id,
	    span_str("an envelope of about the usual length, with sender and recipient"),
	    span_str("Received: from a by b\r\n"), &d, 1, false, &f->op);
}

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	    (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double churn_spool(const char *dir, unsigned in_flight, double seconds, double *cpu_us_r)
{
	static struct flight flights[FLIGHT_MAX];
	struct spool_options o;
	uint64_t begin, count = 0, now;
	unsigned out = in_flight;
	double cpu;

	spool_options_init(&o, dir);
	o.reserve_octets = 0;
	if (spool_open(&o, &sp) < 0)
		abort();
	begin = now = clock_mono_ms();
	cpu = cpu_seconds();
	for (unsigned i = 0; i < in_flight; i++)
		commit(&flights[i]);
	while (out > 0) {
		struct spool_op *list;
		pthread_mutex_lock(&lock);
		while (!ready)
			pthread_cond_wait(&cond, &lock);
		list = ready;
		ready = NULL;
		pthread_mutex_unlock(&lock);
		now = clock_mono_ms();
		while (list) {
			struct flight *f = list->arg;
			list = list->next;
			if (f->err < 0) {
				fprintf(stderr, "bench_spool: %s\n", err_text(f->err));
				exit(1);
			}
			count++;
			spool_finish(sp, f->id, NULL);
			if ((double)(now - begin) < seconds * 1000)
				commit(f);
			else
				out--;
		}
	}
	*cpu_us_r = (cpu_seconds() - cpu) * 1e6 / (double)count;
	begin = now - begin;
	spool_close(&sp);
	return (double)count * 1000 / (double)begin;
}

static const char *file_dir;

static void *file_thread(void *arg)
{
	char path[512];

	(void)arg;
	while (!atomic_load(&stop)) {
		uint64_t id = atomic_fetch_add(&next_id, 1);
		int fd, dir_fd;
		snprintf(path, sizeof(path), "%s/%llu", file_dir, (unsigned long long)id);
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 || write(fd, body, octets) != (ssize_t)octets || fsync(fd) < 0)
			abort();
		close(fd);
		dir_fd = open(file_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir_fd < 0 || fsync(dir_fd) < 0)
			abort();
		close(dir_fd);
		unlink(path);
		atomic_fetch_add(&finished, 1);
	}
	return NULL;
}

static double churn_files(unsigned in_flight, double seconds)
{
	pthread_t threads[16];
	unsigned n = in_flight < 16 ? in_flight : 16;
	uint64_t begin = clock_mono_ms();

	atomic_store(&finished, 0);
	atomic_store(&stop, false);
	for (unsigned i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, file_thread, NULL) != 0)
			abort();
	usleep((useconds_t)(seconds * 1e6));
	atomic_store(&stop, true);
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return (double)atomic_load(&finished) * 1000 / (double)(clock_mono_ms() - begin);
}

/* n messages queued: how soon is a restart ready, and how much memory does it take? */
static int restart(const char *dir, uint64_t n)
{
	static struct flight flights[FLIGHT_MAX];
	struct spool_options o;
	struct spool_stats st;
	struct spool_entry e;
	uint64_t begin, opened, cursor = 0, count = 0, sent;
	unsigned out = 256;

	spool_options_init(&o, dir);
	o.reserve_octets = 0;
	if (spool_open(&o, &sp) < 0)
		abort();
	begin = clock_mono_ms();
	for (sent = 0; sent < out; sent++)
		commit(&flights[sent]);
	while (out > 0) {
		struct spool_op *list;
		pthread_mutex_lock(&lock);
		while (!ready)
			pthread_cond_wait(&cond, &lock);
		list = ready;
		ready = NULL;
		pthread_mutex_unlock(&lock);
		while (list) {
			struct flight *f = list->arg;
			list = list->next;
			if (f->err < 0)
				return 1;
			if (sent < n)
				commit(f), sent++;
			else
				out--;
		}
	}
	printf("%llu messages of %zu octets queued in %.1f s\n", (unsigned long long)n, octets,
	    (double)(clock_mono_ms() - begin) / 1e3);
	spool_close(&sp);
	begin = clock_mono_ms();
	if (spool_open(&o, &sp) < 0)
		abort();
	opened = clock_mono_ms();
	while (spool_next(sp, &cursor, &e))
		count++;
	printf("open %.3f s, walk of %llu %.3f s\n", (double)(opened - begin) / 1e3,
	    (unsigned long long)count, (double)(clock_mono_ms() - opened) / 1e3);
	begin = clock_mono_ms();
	for (cursor = 0; spool_next(sp, &cursor, &e);)
		spool_update(sp, e.id,
		    span_str("a state of about the usual length: deferred, 451 4.7.1 later"), 5,
		    false, NULL);
	printf(
	    "updates %.0f/s queued\n", (double)count * 1e3 / (double)(clock_mono_ms() - begin + 1));
	for (cursor = 0; spool_next(sp, &cursor, &e);)
		if (e.id % 10 != 0)
			spool_finish(sp, e.id, NULL);
	spool_stats(sp, &st);
	printf("index %.1f octets a message\n", (double)st.index_octets / (double)count);
	spool_close(&sp);
	printf("updated and nine of ten finished, durably, in %.1f s\n",
	    (double)(clock_mono_ms() - begin) / 1e3);
	begin = clock_mono_ms();
	if (spool_open(&o, &sp) < 0)
		abort();
	do {
		usleep(100000);
		spool_stats(sp, &st);
	} while (st.disk_octets > 3 * st.live_octets && clock_mono_ms() - begin < 60000);
	printf("%llu MB on disk for %llu MB alive, %.1f s after the next start\n",
	    (unsigned long long)(st.disk_octets >> 20), (unsigned long long)(st.live_octets >> 20),
	    (double)(clock_mono_ms() - begin) / 1e3);
	spool_close(&sp);
	return 0;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	static const unsigned flights[] = { 1, 16, 256 };
	const char *dir = argc > 1 ? argv[1] : "bench-spool";
	double seconds = argc > 2 ? atof(argv[2]) : 2;
	char files[400];

	if (argc > 3)
		octets = (size_t)atol(argv[argc > 4 ? 4 : 3]);
	body = malloc(octets);
	if (!body || (mkdir(dir, 0700) < 0 && access(dir, W_OK) < 0))
		return 1;
	memset(body, 'x', octets);
	if (argc > 4)
		return restart(dir, strtoull(argv[3], NULL, 10));
	snprintf(files, sizeof(files), "%.390s/files", dir);
	mkdir(files, 0700);
	file_dir = files;
	printf("| in flight | spool/s | us of CPU a message | file and fsync each/s | ratio |\n");
	printf("|---|---|---|---|---|\n");
	for (size_t i = 0; i < sizeof(flights) / sizeof(*flights); i++) {
		double mine[3], theirs[3], cpu[3];
		for (int turn = 0; turn < 3; turn++) {
			mine[turn] = churn_spool(dir, flights[i], seconds, &cpu[turn]);
			theirs[turn] = churn_files(flights[i], seconds);
		}
		qsort(mine, 3, sizeof(double), compare);
		qsort(theirs, 3, sizeof(double), compare);
		qsort(cpu, 3, sizeof(double), compare);
		printf("| %u | %.0f | %.1f | %.0f | %.1f |\n", flights[i], mine[1], cpu[1],
		    theirs[1], mine[1] / theirs[1]);
		fflush(stdout);
	}
	free(body);
	return 0;
}
