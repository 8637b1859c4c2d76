/*
 * control/server.c - the server's side of the control socket.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "control/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* A request is an object of a few keys. */
#define REQUEST_OCTETS_MAX 65536
/* Answers that may wait for the peer before the sender of many pauses. */
#define ANSWER_PAUSE_OCTETS (256u << 10)
#define PATH_MAX_SUN        108

struct control_server {
	struct net_loop *loop;
	struct net_listener *ln;
	char path[PATH_MAX_SUN];
	void (*fn)(void *arg, struct control_call *call);
	void *arg;
	struct control_call *calls;
};

/* A connection; it has one request at a time. */
struct control_call {
	struct control_server *server;
	struct control_call *next, *prev;
	struct net_stream *stream;
	json_t *request;
	bool busy; /* a request is with the handler */
	bool gone; /* the peer left meanwhile */
	void (*drained)(void *arg);
	void *drained_arg;
};

static void call_free(struct control_call *c)
{
	if (c->prev)
		c->prev->next = c->next;
	else if (c->server)
		c->server->calls = c->next;
	if (c->next)
		c->next->prev = c->prev;
	net_stream_close(&c->stream);
	json_decref(c->request);
	free(c);
}

static int send_line(struct control_call *c, struct span json)
{
	struct buf line;
	int r;

	if (c->gone || !c->stream)
		return -ERR_CLOSED;
	buf_init(&line, 16u << 20);
	buf_add_span(&line, json);
	buf_add_char(&line, '\n');
	r = line.failed ? -ERR_NOMEM : net_stream_write(c->stream, &line);
	buf_done(&line);
	return r;
}

int control_answer(struct control_call *c, struct span json)
{
	int r = send_line(c, json);

	if (r < 0)
		return -ERR_CLOSED;
	return net_stream_waiting(c->stream) > ANSWER_PAUSE_OCTETS;
}

void control_on_drained(struct control_call *c, void (*fn)(void *arg), void *arg)
{
	c->drained = fn;
	c->drained_arg = arg;
}

void control_end(struct control_call *c, const char *error)
{
	json_t *end =
	    error ? json_pack("{s:b,s:s}", "end", 1, "error", error) : json_pack("{s:b}", "end", 1);
	char *text = end ? json_dumps(end, JSON_COMPACT) : NULL;

	if (text)
		(void)send_line(c, span_str(text));
	free(text);
	json_decref(end);
	json_decref(c->request);
	c->request = NULL;
	c->busy = false;
	c->drained = NULL;
	if (c->gone || !c->server || !text)
		call_free(c);
	else
		net_stream_resume(c->stream);
}

const json_t *control_request(const struct control_call *c)
{
	return c->request;
}

const char *control_string(const struct control_call *c, const char *key)
{
	return json_string_value(json_object_get(c->request, key));
}

static void take_request(struct control_call *c, const uint8_t *p, size_t n)
{
	c->busy = true;
	c->request = json_loadb((const char *)p, n, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(c->request))
		c->server->fn(c->server->arg, c);
	else
		control_end(c, "a request is one JSON object on one line");
}

static size_t on_octets(void *arg, const uint8_t *p, size_t n)
{
	struct control_call *c = arg;
	const uint8_t *end = memchr(p, '\n', n);

	if (c->busy)
		return 0;
	if (end) {
		/* The call may be gone after this; what is behind the line comes again when it has
		 * ended. */
		take_request(c, p, (size_t)(end - p));
		return (size_t)(end - p) + 1;
	}
	if (n >= REQUEST_OCTETS_MAX) {
		take_request(c, p, 0);
		return n;
	}
	net_stream_resume(c->stream); /* half a line: give it again with the rest */
	return 0;
}

static void on_ended(void *arg, int err)
{
	struct control_call *c = arg;

	(void)err;
	c->gone = true;
	net_stream_close(&c->stream);
	if (!c->busy)
		call_free(c);
	else if (c->drained)
		c->drained(
		    c->drained_arg); /* it will learn from its next answer that nobody listens */
}

static void on_drained(void *arg)
{
	struct control_call *c = arg;

	if (c->drained)
		c->drained(c->drained_arg);
}

static const struct net_stream_events stream_events = {
	.octets = on_octets,
	.drained = on_drained,
	.ended = on_ended,
};

static bool peer_may(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
	    (cred.uid == 0 || cred.uid == geteuid());
}

static void on_client(void *arg, int fd)
{
	struct control_server *s = arg;
	struct control_call *c;

	if (!peer_may(fd) || !(c = calloc(1, sizeof(*c)))) {
		close(fd);
		return;
	}
	c->server = s;
	c->next = s->calls;
	if (c->next)
		c->next->prev = c;
	s->calls = c;
	if (net_stream_open(s->loop, fd, &stream_events, c, &c->stream) < 0)
		call_free(c);
}

int control_server_start(struct net_loop *l, const char *run_directory,
    void (*fn)(void *arg, struct control_call *call), void *arg, struct control_server **s_r)
{
	struct control_server *s = calloc(1, sizeof(*s));
	mode_t old;
	int fd, n, r;

	if (!s)
		return -ERR_NOMEM;
	s->loop = l;
	s->fn = fn;
	s->arg = arg;
	n = snprintf(s->path, sizeof(s->path), "%s/control.sock", run_directory);
	/* Nobody but us may even connect: the name comes into being with mode 0600. */
	old = umask(0177);
	fd = n < 0 || (size_t)n >= sizeof(s->path) ? -ERR_RANGE : net_listen_unix(s->path);
	umask(old);
	r = fd < 0 ? fd : net_listener_start(l, fd, on_client, s, &s->ln);
	if (r < 0) {
		free(s);
		return r;
	}
	*s_r = s;
	return 0;
}

void control_server_stop(struct control_server **sp)
{
	struct control_server *s = *sp;
	struct control_call *c, *next;

	if (!s)
		return;
	*sp = NULL;
	net_listener_close(&s->ln);
	(void)unlink(s->path);
	for (c = s->calls; c; c = next) {
		next = c->next;
		if (c->busy) {
			c->server = NULL; /* its handler ends it */
			c->prev = c->next = NULL;
		} else {
			call_free(c);
		}
	}
	free(s);
}
