/*
 * tests/unit/test_net.c - streams: octets left behind come again, half lines get their rest,
 * deadlines.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/err.h"
#include "net/net.h"

#include <sys/socket.h>
#include <unistd.h>

struct peer {
	struct net_loop *loop;
	struct net_stream *stream;
	struct net_timer *timer;
	struct net_task task;
	int fd; /* the other end, blocking */
	char seen[256];
	size_t len, offered;
	int mode, err;
	bool ended;
};

static void stop(struct peer *p)
{
	net_stream_close(&p->stream);
	net_timer_free(&p->timer);
	net_loop_stop(p->loop);
}

/* Takes whole lines only; asks for more of a half one. */
static size_t on_lines(void *arg, const uint8_t *data, size_t n)
{
	struct peer *p = arg;
	const uint8_t *end = memchr(data, '\n', n);

	p->offered++;
	if (!end) {
		net_stream_resume(p->stream);
		if (p->mode == 1) { /* the rest of the line, once we have been asked */
			p->mode = 0;
			assert_int_equal(write(p->fd, "lo\n", 3), 3);
		}
		return 0;
	}
	memcpy(p->seen + p->len, data, (size_t)(end - data) + 1);
	p->len += (size_t)(end - data) + 1;
	stop(p);
	return (size_t)(end - data) + 1;
}

static void on_end(void *arg, int err)
{
	struct peer *p = arg;

	p->ended = true;
	p->err = err;
	stop(p);
}

static void on_deadline(void *arg)
{
	stop(arg);
}

static void open_peer(struct peer *p, const struct net_stream_events *ev)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(net_loop_new(&p->loop), 0);
	p->fd = fds[1];
	assert_int_equal(net_stream_open(p->loop, fds[0], ev, p, &p->stream), 0);
	assert_int_equal(net_timer_new(p->loop, on_deadline, p, &p->timer), 0);
}

static void close_peer(struct peer *p)
{
	close(p->fd);
	net_loop_free(&p->loop);
}

static void half_a_line_comes_again_with_its_rest(void **state)
{
	static const struct net_stream_events ev = { .octets = on_lines, .ended = on_end };
	struct peer p = { .mode = 1 };

	(void)state;
	open_peer(&p, &ev);
	assert_int_equal(write(p.fd, "hel", 3), 3);
	net_timer_set(p.timer, net_loop_now_ms(p.loop) + 10000);
	net_loop_run(p.loop);
	assert_int_equal(p.len, 6);
	assert_memory_equal(p.seen, "hello\n", 6);
	assert_int_equal(p.offered, 2);
	close_peer(&p);
}

/* Takes nothing until it is told to by a task. */
static size_t on_waiting(void *arg, const uint8_t *data, size_t n)
{
	struct peer *p = arg;

	p->offered++;
	if (p->mode == 0) {
		net_loop_post(p->loop, &p->task);
		return 0;
	}
	memcpy(p->seen, data, n);
	p->len = n;
	stop(p);
	return n;
}

static void go_on(struct net_task *task)
{
	struct peer *p = task->arg;

	/* More is in the socket by now, but nothing was offered meanwhile. */
	assert_int_equal(p->offered, 1);
	p->mode = 1;
	net_stream_resume(p->stream);
}

static void what_was_left_comes_again_after_resume_only(void **state)
{
	static const struct net_stream_events ev = { .octets = on_waiting, .ended = on_end };
	struct peer p = { .mode = 0 };

	(void)state;
	open_peer(&p, &ev);
	p.task = (struct net_task){ .run = go_on, .arg = &p };
	assert_int_equal(write(p.fd, "abc", 3), 3);
	net_loop_run(p.loop);
	assert_int_equal(p.len, 3);
	assert_memory_equal(p.seen, "abc", 3);
	close_peer(&p);
}

static void the_end_of_a_peer_is_told_once(void **state)
{
	static const struct net_stream_events ev = { .octets = on_lines, .ended = on_end };
	struct peer p = { .mode = 0 };

	(void)state;
	open_peer(&p, &ev);
	shutdown(p.fd, SHUT_WR);
	net_loop_run(p.loop);
	assert_true(p.ended);
	assert_int_equal(p.err, 0);
	close_peer(&p);
}

static void a_refused_connection_is_told_as_refused(void **state)
{
	static const struct net_stream_events ev = { .octets = on_lines, .ended = on_end };
	struct ip loopback = { 4, { 127, 0, 0, 1 } };
	struct peer p = { .fd = -1 };
	uint16_t port;
	int fd = net_listen_socket(&loopback, 0, false, &port);

	(void)state;
	assert_true(fd >= 0);
	close(fd); /* nobody listens there now */
	assert_int_equal(net_loop_new(&p.loop), 0);
	assert_int_equal(net_timer_new(p.loop, on_deadline, &p, &p.timer), 0);
	assert_int_equal(net_stream_connect(p.loop, &loopback, port, NULL, &ev, &p, &p.stream), 0);
	net_loop_run(p.loop);
	assert_true(p.ended);
	assert_int_equal(p.err, -ERR_REFUSED);
	net_loop_free(&p.loop);
}

static void a_busy_port_is_told_as_such(void **state)
{
	struct ip loopback = { 4, { 127, 0, 0, 1 } };
	uint16_t port;
	int fd = net_listen_socket(&loopback, 0, false, &port);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(net_listen_socket(&loopback, port, false, NULL), -ERR_EXISTS);
	close(fd);
}

struct job {
	struct net_job job;
	struct net_loop *loop;
	int value;
};

static void work(struct net_job *job)
{
	((struct job *)job)->value++;
}

static void done(struct net_job *job)
{
	net_loop_stop(((struct job *)job)->loop);
}

static void a_pool_works_elsewhere_and_answers_on_the_loop(void **state)
{
	struct net_pool *pool;
	struct job j = { .job = { .work = work, .done = done } };

	(void)state;
	assert_int_equal(net_loop_new(&j.loop), 0);
	assert_int_equal(net_pool_new(2, &pool), 0);
	net_pool_submit(pool, j.loop, &j.job);
	net_loop_run(j.loop);
	assert_int_equal(j.value, 1);
	net_pool_free(&pool);
	net_loop_free(&j.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(half_a_line_comes_again_with_its_rest),
		cmocka_unit_test(what_was_left_comes_again_after_resume_only),
		cmocka_unit_test(the_end_of_a_peer_is_told_once),
		cmocka_unit_test(a_refused_connection_is_told_as_refused),
		cmocka_unit_test(a_busy_port_is_told_as_such),
		cmocka_unit_test(a_pool_works_elsewhere_and_answers_on_the_loop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
