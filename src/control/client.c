/*
 * control/client.c - a command's side of the control socket; blocking.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "base/file.h"
#include "control/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static int connect_to(const char *run_directory)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int n = snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control.sock", run_directory), fd;

	if (n < 0 || (size_t)n >= sizeof(sa.sun_path))
		return -ERR_RANGE;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_from_errno(errno);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		int r = errno == ECONNREFUSED ? -ERR_NOTFOUND : err_from_errno(errno);
		close(fd);
		return r;
	}
	return fd;
}

/* One answer: 1 it was the last, 0 go on, negative. */
static int take(
    const char *line, void (*fn)(void *arg, const json_t *answer), void *arg, char **error_r)
{
	json_t *answer = json_loads(line, 0, NULL);
	const char *error = json_string_value(json_object_get(answer, "error"));
	int r = 0;

	if (!answer)
		return -ERR_CLOSED;
	if (json_is_true(json_object_get(answer, "end"))) {
		r = error ? -ERR_INVAL : 1;
		if (error)
			*error_r = strdup(error);
	} else {
		fn(arg, answer);
	}
	json_decref(answer);
	return r;
}

int control_request_send(const char *run_directory, const json_t *request,
    void (*fn)(void *arg, const json_t *answer), void *arg, char **error_r)
{
	char *text = json_dumps(request, JSON_COMPACT), *line = NULL;
	size_t room = 0;
	FILE *in;
	int fd, r;

	*error_r = NULL;
	if (!text)
		return -ERR_NOMEM;
	fd = connect_to(run_directory);
	if (fd < 0) {
		free(text);
		return fd;
	}
	/* A server that hangs must not hang us: a minute without any answer is an answer. */
	(void)setsockopt(
	    fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ .tv_sec = 60 }, sizeof(struct timeval));
	r = file_write_all(fd, text, strlen(text));
	if (r == 0)
		r = file_write_all(fd, "\n", 1);
	free(text);
	in = fdopen(fd, "r");
	if (!in) {
		close(fd);
		return -ERR_NOMEM;
	}
	while (r == 0) {
		if (getline(&line, &room, in) < 0)
			r = -ERR_CLOSED;
		else
			r = take(line, fn, arg, error_r);
	}
	free(line);
	fclose(in);
	return r < 0 ? r : 0;
}
