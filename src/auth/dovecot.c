/*
 * auth/dovecot.c - exchanges by Dovecot: its auth-client protocol over a unix socket.
 *
 * One connection a loop, made when the first exchange needs it and kept; requests have
 * numbers, answers come in any order.  When the connection ends, or an answer takes too
 * long, what waits hears TEMPORARY: a password is never called wrong by somebody who did not
 * look at it.  Answers to the owner never come from inside its own call.
 *
 *   (connect) -> VERSION, CPID ->   <- VERSION ... DONE   then AUTH / CONT -> <- CONT / OK / FAIL
 *
 * Until DONE requests gather in `out`.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "auth/auth-private.h"
#include "base/base64.h"
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A line of Dovecot's: a challenge in base64 and words around it. */
#define LINE_MAX_OCTETS 32768
/* Requests of all sessions of a loop that wait for the handshake. */
#define OUT_MAX (1u << 20)
/* Dovecot itself waits two seconds before it says no, and a slow database longer. */
#define ANSWER_MS 30000

struct dovecot {
	struct auth_worker *worker;
	struct net_stream *stream;
	struct net_timer *timer;
	struct buf out;
	bool greeted; /* DONE was seen */
	uint32_t last_id;
	struct auth_exchange *waiting; /* for an answer */
};

static void answer_later(struct auth_exchange *x);

static struct auth_exchange *take(struct dovecot *d, uint32_t id)
{
	for (struct auth_exchange **p = &d->waiting; *p; p = &(*p)->next)
		if ((*p)->dovecot_id == id) {
			struct auth_exchange *x = *p;
			*p = x->next;
			x->next = NULL;
			return x;
		}
	return NULL;
}

static void set_temporary(struct auth_exchange *x, const char *why)
{
	x->result = AUTH_TEMPORARY;
	x->why = why;
}

/* The connection is of no use any more; the next exchange makes another. */
static void lose(struct dovecot *d, const char *why)
{
	struct auth_exchange *x;

	net_stream_close(&d->stream);
	net_timer_set(d->timer, UINT64_MAX);
	buf_reset(&d->out);
	d->greeted = false;
	while ((x = d->waiting)) {
		d->waiting = x->next;
		x->next = NULL;
		set_temporary(x, why);
		answer_later(x);
	}
}

static void posted(struct net_task *task)
{
	struct auth_exchange *x = task->arg;

	x->task_posted = x->busy = false;
	auth_exchange_answer(x);
}

static void answer_later(struct auth_exchange *x)
{
	if (x->task_posted)
		return;
	x->task_posted = x->busy = true;
	x->task = (struct net_task){ .run = posted, .arg = x };
	net_loop_post(x->worker->loop, &x->task);
}

static void judge(struct auth_exchange *x, const struct dovecot_line *l)
{
	size_t n = 0;
	uint8_t *to;

	if (dovecot_unescape(l->user, x->user, sizeof(x->user)) < 0) {
		x->user[0] = '\0';
		if (l->verb == DOVECOT_OK) {
			set_temporary(x, "Dovecot answered with a name that cannot be one");
			return;
		}
	}
	if (l->verb == DOVECOT_OK) {
		x->result = x->user[0] ? AUTH_OK : AUTH_TEMPORARY;
		x->why = x->user[0] ? NULL : "Dovecot named no user";
	} else if (l->verb == DOVECOT_FAIL) {
		x->result = l->temporary ? AUTH_TEMPORARY : AUTH_FAILED;
		x->why =
		    l->temporary ? "Dovecot could not find out" : "user name or password is wrong";
	} else {
		x->result = AUTH_CHALLENGE;
		buf_reset(&x->out);
		to = buf_reserve(&x->out, l->data.n + 1);
		if (!to || base64_decode(l->data, to, &n) < 0)
			set_temporary(x, "Dovecot sent a challenge that is no base64");
		else
			buf_commit(&x->out, n);
	}
}

static void send_out(struct dovecot *d)
{
	if (d->greeted && buf_len(&d->out) && net_stream_write(d->stream, &d->out) < 0)
		lose(d, "the connection to Dovecot was lost");
}

static bool on_line(struct dovecot *d, struct span line)
{
	struct auth_exchange *x;
	struct dovecot_line l;

	if (dovecot_line_parse(line, &l) < 0 || (l.verb == DOVECOT_VERSION && l.number != 1)) {
		lose(d, "Dovecot spoke another protocol");
		return false;
	}
	if (l.verb == DOVECOT_DONE)
		d->greeted = true;
	if (l.verb != DOVECOT_OK && l.verb != DOVECOT_CONT && l.verb != DOVECOT_FAIL)
		return true;
	x = take(d, l.number);
	if (x) { /* one that the client has left is of no interest */
		judge(x, &l);
		answer_later(x);
	}
	if (!d->waiting)
		net_timer_set(d->timer, UINT64_MAX);
	return true;
}

static size_t on_octets(void *arg, const uint8_t *p, size_t n)
{
	struct dovecot *d = arg;
	struct span rest = span_of(p, n);
	ptrdiff_t lf;

	while ((lf = span_find(rest, '\n')) >= 0) {
		if (!on_line(d, span_of(rest.p, (size_t)lf)))
			return n;
		rest = span_skip(rest, (size_t)lf + 1);
	}
	if (rest.n > LINE_MAX_OCTETS) {
		lose(d, "Dovecot sent a line without end");
		return n;
	}
	send_out(d);
	if (rest.n && d->stream)
		net_stream_resume(d->stream); /* again when the rest of the line is here */
	return n - rest.n;
}

static void on_ended(void *arg, int err)
{
	(void)err;
	lose(arg, "the connection to Dovecot was lost");
}

static void on_late(void *arg)
{
	lose(arg, "Dovecot did not answer in time");
}

static const struct net_stream_events stream_events = { .octets = on_octets, .ended = on_ended };

static int greet(struct dovecot *d)
{
	struct buf hello;
	int r;

	buf_init(&hello, 128);
	buf_addf(&hello, "VERSION\t1\t2\nCPID\t%d\n", (int)getpid());
	r = hello.failed ? -ERR_NOMEM : net_stream_write(d->stream, &hello);
	buf_done(&hello);
	return r < 0 ? r : 0;
}

/* There is a connection, or one is made now. */
static int connected(struct auth_worker *w)
{
	struct dovecot *d = w->dovecot;
	int fd, r;

	if (!d) {
		d = calloc(1, sizeof(*d));
		if (!d || net_timer_new(w->loop, on_late, d, &d->timer) < 0) {
			free(d);
			return -ERR_NOMEM;
		}
		d->worker = w;
		buf_init(&d->out, OUT_MAX);
		w->dovecot = d;
	}
	if (d->stream)
		return 0;
	fd = net_connect_unix(w->auth->dovecot_socket);
	if (fd < 0)
		return fd;
	r = net_stream_open(w->loop, fd, &stream_events, d, &d->stream);
	if (r == 0)
		r = greet(d);
	if (r < 0)
		net_stream_close(&d->stream);
	return r;
}

/* `out` has the whole request: on its way with it. */
static void ask(struct auth_exchange *x)
{
	struct dovecot *d = x->worker->dovecot;

	buf_add_char(&d->out, '\n');
	x->next = d->waiting;
	d->waiting = x;
	if (d->out.failed) {
		lose(d, "too many requests wait for Dovecot");
		return;
	}
	net_timer_set(d->timer, net_loop_now_ms(x->worker->loop) + ANSWER_MS);
	send_out(d);
}

/* Dovecot cannot be had: the answer is the same as when it was lost. */
static int unavailable(struct auth_exchange *x, int err)
{
	if (err == -ERR_NOMEM)
		return err;
	set_temporary(x, "Dovecot cannot be reached");
	answer_later(x);
	return 0;
}

int dovecot_begin(struct auth_exchange *x, const struct auth_request *request)
{
	char client[IP_TEXT_MAX], local[IP_TEXT_MAX];
	struct dovecot *d;
	int r = connected(x->worker);

	if (r < 0)
		return unavailable(x, r);
	d = x->worker->dovecot;
	x->dovecot_id = ++d->last_id ? d->last_id : ++d->last_id;
	ip_text(&request->client, client);
	ip_text(&request->local, local);
	buf_addf(&d->out, "AUTH\t%u\t%.*s\tservice=smtp\tnologin", x->dovecot_id,
	    SPAN_FMT(request->mechanism));
	if (request->local.family)
		buf_addf(&d->out, "\tlip=%s", local);
	if (request->client.family)
		buf_addf(&d->out, "\trip=%s", client);
	if (request->tls)
		buf_add_str(&d->out, "\tsecured");
	if (request->has_initial) {
		buf_add_str(&d->out, "\tresp=");
		base64_encode(request->initial, &d->out);
	}
	ask(x);
	return 0;
}

int dovecot_respond(struct auth_exchange *x, struct span response)
{
	struct dovecot *d = x->worker->dovecot;

	if (!d->stream) { /* lost since its challenge */
		set_temporary(x, "the connection to Dovecot was lost");
		answer_later(x);
		return 0;
	}
	buf_addf(&d->out, "CONT\t%u\t", x->dovecot_id);
	base64_encode(response, &d->out);
	ask(x);
	return 0;
}

void dovecot_forget(struct auth_exchange *x)
{
	struct dovecot *d = x->worker->dovecot;

	if (d)
		(void)take(d, x->dovecot_id);
}

void dovecot_free(struct dovecot **d)
{
	if (!*d)
		return;
	lose(*d, "stopping");
	net_timer_free(&(*d)->timer);
	buf_done(&(*d)->out);
	free(*d);
	*d = NULL;
}
