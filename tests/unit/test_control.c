/*
 * tests/unit/test_control.c - requests in pieces, several at once, none at all.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "control/control.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct net_loop *loop;
static struct control_server *server;
static char dir[] = "/tmp/postern-control-XXXXXX";
static pthread_t thread;
static struct net_task stop_task;

/* Answers with what was asked, then ends; "fail" ends with an error. */
static void on_call(void *arg, struct control_call *call)
{
	const char *command = control_string(call, "command");
	char line[128];

	(void)arg;
	snprintf(line, sizeof(line), "{\"got\":\"%s\"}", command ? command : "");
	assert_true(control_answer(call, span_str(line)) >= 0);
	control_end(call, command && strcmp(command, "fail") == 0 ? "as asked" : NULL);
}

static void *serve(void *arg)
{
	(void)arg;
	net_loop_run(loop);
	return NULL;
}

static int start(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(net_loop_new(&loop), 0);
	assert_int_equal(control_server_start(loop, dir, on_call, NULL, &server), 0);
	assert_int_equal(pthread_create(&thread, NULL, serve, NULL), 0);
	return 0;
}

static void stop(struct net_task *task)
{
	(void)task;
	control_server_stop(&server);
	net_loop_stop(loop);
}

static int end(void **state)
{
	(void)state;
	stop_task.run = stop;
	net_loop_post(loop, &stop_task);
	pthread_join(thread, NULL);
	net_loop_free(&loop);
	return rmdir(dir);
}

static int connected(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control.sock", dir);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

/* Read until so many lines are there. */
static char *lines(int fd, int count, char *to, size_t room)
{
	size_t n = 0;

	while (count > 0) {
		ssize_t got = read(fd, to + n, 1);
		assert_true(got == 1 && n + 1 < room);
		if (to[n++] == '\n')
			count--;
	}
	to[n] = '\0';
	return to;
}

static void a_request_may_come_octet_by_octet(void **state)
{
	static const char request[] = "{\"command\":\"one\"}\n";
	char text[512];
	int fd = connected();

	(void)state;
	for (size_t i = 0; i + 1 < sizeof(request); i++)
		assert_int_equal(write(fd, request + i, 1), 1);
	assert_string_equal(
	    lines(fd, 2, text, sizeof(text)), "{\"got\":\"one\"}\n{\"end\":true}\n");
	close(fd);
}

static void several_requests_at_once_are_answered_in_order(void **state)
{
	static const char requests[] =
	    "{\"command\":\"a\"}\n{\"command\":\"fail\"}\nno json\n{\"command\":\"b\"}\n";
	char text[512];
	int fd = connected();

	(void)state;
	assert_int_equal(write(fd, requests, sizeof(requests) - 1), sizeof(requests) - 1);
	lines(fd, 7, text, sizeof(text));
	assert_string_equal(text,
	    "{\"got\":\"a\"}\n{\"end\":true}\n{\"got\":\"fail\"}\n{\"end\":true,\"error\":\"as "
	    "asked\"}\n"
	    "{\"end\":true,\"error\":\"a request is one JSON object on one "
	    "line\"}\n{\"got\":\"b\"}\n{\"end\":true}\n");
	close(fd);
}

static void the_socket_is_its_owner_s_alone(void **state)
{
	char path[128];
	struct stat st;

	(void)state;
	snprintf(path, sizeof(path), "%s/control.sock", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_may_come_octet_by_octet),
		cmocka_unit_test(several_requests_at_once_are_answered_in_order),
		cmocka_unit_test(the_socket_is_its_owner_s_alone),
	};
	return cmocka_run_group_tests(tests, start, end);
}
