/*
 * net/stream.c - connecting, reading and writing.
 *
 * A write first asks the kernel at once and keeps only what it did not take, so a
 * reply costs one system call and no allocation.  A read goes into the loop's one
 * buffer; only octets that the owner leaves are copied.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "net/net-private.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A peer that reads nothing of what we send last gets no more than this. */
#define LINGER_MS 10000
/* How long a peer may take to see our end; see drain(). */
#define DRAIN_MS 2000

struct net_stream {
	uv_poll_t poll;
	struct net_loop *loop;
	const struct net_stream_events *ev;
	void *arg;
	int fd;
	int interest; /* UV_READABLE | UV_WRITABLE, as told to libuv */
	bool connecting;
	bool paused; /* the owner left octets; nothing is read until it asks */
	bool more;   /* it asked for more while it was given some */
	bool eof;
	bool linger_wanted; /* wait for the peer's end before closing */
	bool draining;      /* all is sent; what still comes is thrown away until the peer ends */
	bool closing;       /* the owner is gone: send what waits, then close */
	bool inside;        /* in a call of the owner's: do not free under it */
	bool dead;
	struct net_timer *linger;
	struct buf kept, waiting;
};

static void on_event(uv_poll_t *poll, int status, int events);

static void want(struct net_stream *s)
{
	int interest = 0;

	if (s->draining || (!s->paused && !s->eof && !s->connecting && !s->closing))
		interest |= UV_READABLE;
	if (s->connecting || buf_len(&s->waiting))
		interest |= UV_WRITABLE;
	if (interest == s->interest)
		return;
	s->interest = interest;
	if (interest)
		uv_poll_start(&s->poll, interest, on_event);
	else
		uv_poll_stop(&s->poll);
}

static void on_closed(uv_handle_t *h)
{
	struct net_stream *s = h->data;

	close(s->fd);
	buf_done(&s->kept);
	buf_done(&s->waiting);
	free(s);
}

static void destroy(struct net_stream *s)
{
	s->dead = true;
	if (s->inside || uv_is_closing((uv_handle_t *)&s->poll))
		return;
	uv_poll_stop(&s->poll);
	net_timer_free(&s->linger);
	uv_close((uv_handle_t *)&s->poll, on_closed);
}

static int stream_new(struct net_loop *l, int fd, const struct net_stream_events *ev, void *arg,
    struct net_stream **s_r)
{
	struct net_stream *s = calloc(1, sizeof(*s));
	int one = 1;

	if (!s || uv_poll_init(&l->uv, &s->poll, fd) < 0) {
		free(s);
		close(fd);
		return -ERR_NOMEM;
	}
	/* Fails on a unix socket, where it means nothing. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	s->poll.data = s;
	s->loop = l;
	s->fd = fd;
	s->ev = ev;
	s->arg = arg;
	buf_init(&s->kept, NET_KEPT_OCTETS_MAX);
	buf_init(&s->waiting, NET_WAITING_OCTETS_MAX);
	*s_r = s;
	return 0;
}

int net_stream_open(struct net_loop *l, int fd, const struct net_stream_events *ev, void *arg,
    struct net_stream **s_r)
{
	int r = stream_new(l, fd, ev, arg, s_r);

	if (r == 0)
		want(*s_r);
	return r;
}

int net_stream_connect(struct net_loop *l, const struct ip *ip, uint16_t port,
    const struct ip *source, const struct net_stream_events *ev, void *arg, struct net_stream **s_r)
{
	struct sockaddr_storage sa;
	socklen_t len = ip_to_sockaddr(ip, port, &sa);
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r;

	if (fd < 0)
		return err_from_errno(errno);
	if (source && source->family == ip->family) {
		struct sockaddr_storage from;
		socklen_t from_len = ip_to_sockaddr(source, 0, &from);
		if (bind(fd, (struct sockaddr *)&from, from_len) < 0) {
			r = err_from_errno(errno);
			close(fd);
			return r;
		}
	}
	if (connect(fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS) {
		r = err_from_errno(errno);
		close(fd);
		return r;
	}
	r = stream_new(l, fd, ev, arg, s_r);
	if (r < 0)
		return r;
	(*s_r)->connecting = true;
	want(*s_r);
	return 0;
}

/* Every call of the owner's goes through here or give(): it may close the stream inside. */
static bool leave(struct net_stream *s)
{
	s->inside = false;
	if (s->dead)
		destroy(s);
	return !s->dead && !s->closing;
}

static void tell_end(struct net_stream *s, int err)
{
	s->inside = true;
	s->ev->ended(s->arg, err);
	leave(s);
}

/*
 * Offer octets.  An owner that takes some and asks for more inside is offered the rest at once; one
 * that takes none and asks is offered it again when more has come.
 */
static void give(struct net_stream *s, const uint8_t *p, size_t n, bool from_kept)
{
	size_t used;

	do {
		s->inside = true;
		s->more = false;
		used = s->ev->octets(s->arg, p, n);
		if (!leave(s))
			return;
		p += used;
		n -= used;
		if (from_kept)
			buf_consume(&s->kept, used);
	} while (s->more && used > 0 && n > 0);
	if (!from_kept && n > 0 && buf_add(&s->kept, p, n) < 0) {
		tell_end(s, -ERR_NOMEM);
		return;
	}
	s->paused = buf_len(&s->kept) > 0 && !s->more;
	want(s);
}

static void read_some(struct net_stream *s)
{
	ssize_t got = read(s->fd, s->loop->chunk, sizeof(s->loop->chunk));

	if (got > 0 && buf_len(&s->kept)) {
		if (buf_add(&s->kept, s->loop->chunk, (size_t)got) < 0)
			tell_end(s, -ERR_NOMEM);
		else
			give(s, buf_span(&s->kept).p, buf_len(&s->kept), true);
		return;
	}
	if (got > 0) {
		give(s, (const uint8_t *)s->loop->chunk, (size_t)got, false);
		return;
	}
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	s->eof = true;
	want(s);
	tell_end(s, got == 0 ? 0 : err_from_errno(errno));
}

/* 0: all gone, 1: some waits, negative: lost. */
static int flush(struct net_stream *s)
{
	while (buf_len(&s->waiting)) {
		struct span w = buf_span(&s->waiting);
		ssize_t put = send(s->fd, w.p, w.n, MSG_NOSIGNAL);
		if (put > 0)
			buf_consume(&s->waiting, (size_t)put);
		else if (errno == EAGAIN)
			return 1;
		else if (errno != EINTR)
			return err_from_errno(errno);
	}
	return 0;
}

static void on_connect(struct net_stream *s)
{
	int err = 0;
	socklen_t len = sizeof(err);

	getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	s->connecting = false;
	want(s);
	if (err) {
		tell_end(s, err_from_errno(err));
		return;
	}
	s->inside = true;
	s->ev->connected(s->arg);
	leave(s);
}

/*
 * Closing a socket with octets unread resets the connection, and a reset may take our last reply
 * with it, unread by the peer.  So: send the end, then read what comes into nothing for a while.
 */
static void drain(struct net_stream *s)
{
	(void)shutdown(s->fd, SHUT_WR);
	s->draining = true;
	net_timer_set(s->linger, uv_now(&s->loop->uv) + DRAIN_MS);
	want(s);
}

static void drained_some(struct net_stream *s)
{
	ssize_t got = read(s->fd, s->loop->chunk, sizeof(s->loop->chunk));

	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
		destroy(s);
}

static void on_writable(struct net_stream *s)
{
	int r = flush(s);

	want(s);
	if (s->closing) {
		if (r < 0 || (r == 0 && !s->linger_wanted))
			destroy(s);
		else if (r == 0)
			drain(s);
		return;
	}
	if (r < 0) {
		tell_end(s, r);
	} else if (r == 0 && s->ev->drained) {
		s->inside = true;
		s->more = false;
		s->ev->drained(s->arg);
		if (leave(s) && s->more)
			net_stream_resume(s);
	}
}

static void on_event(uv_poll_t *poll, int status, int events)
{
	struct net_stream *s = poll->data;

	if (s->connecting) {
		on_connect(s);
		return;
	}
	if (s->draining) {
		drained_some(s);
		return;
	}
	if (status < 0) {
		if (s->closing) {
			destroy(s);
			return;
		}
		events |= UV_READABLE; /* read() tells what happened */
	}
	if ((events & UV_WRITABLE) && buf_len(&s->waiting)) {
		on_writable(s);
		if (uv_is_closing((uv_handle_t *)poll) || s->closing)
			return;
	}
	if ((events & UV_READABLE) && !s->paused && !s->eof)
		read_some(s);
}

int net_stream_write(struct net_stream *s, struct buf *out)
{
	struct span o = buf_span(out);
	ssize_t put = 0;

	if (!buf_len(&s->waiting)) {
		do
			put = send(s->fd, o.p, o.n, MSG_NOSIGNAL);
		while (put < 0 && errno == EINTR);
		if (put < 0 && errno != EAGAIN)
			return err_from_errno(errno);
		if (put < 0)
			put = 0;
	}
	if ((size_t)put < o.n && buf_add_span(&s->waiting, span_skip(o, (size_t)put)) < 0)
		return -ERR_NOMEM;
	buf_reset(out);
	want(s);
	return buf_len(&s->waiting) ? 1 : 0;
}

size_t net_stream_waiting(const struct net_stream *s)
{
	return buf_len(&s->waiting);
}

void net_stream_resume(struct net_stream *s)
{
	struct span kept = buf_span(&s->kept);

	if (s->closing)
		return;
	if (s->inside) {
		s->more = true; /* what it leaves comes again with more behind it */
		return;
	}
	s->paused = false;
	if (kept.n)
		give(s, kept.p, kept.n, true);
	else
		want(s);
}

static void on_linger_over(void *arg)
{
	destroy(arg);
}

static void close_stream(struct net_stream **sp, bool linger)
{
	struct net_stream *s = *sp;
	int r;

	if (!s)
		return;
	*sp = NULL;
	s->closing = true;
	s->linger_wanted = linger;
	r = s->connecting ? -ERR_CLOSED : flush(s);
	if (r < 0 || (r == 0 && (!linger || s->eof)) ||
	    net_timer_new(s->loop, on_linger_over, s, &s->linger) < 0) {
		destroy(s);
		return;
	}
	if (r == 0) {
		drain(s);
		return;
	}
	net_timer_set(s->linger, uv_now(&s->loop->uv) + LINGER_MS);
	want(s);
}

void net_stream_close(struct net_stream **sp)
{
	close_stream(sp, false);
}

void net_stream_close_lingering(struct net_stream **sp)
{
	close_stream(sp, true);
}

void net_stream_abort(struct net_stream **sp)
{
	struct linger hard = { 1, 0 };
	struct net_stream *s = *sp;

	if (!s)
		return;
	*sp = NULL;
	s->closing = true;
	setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	destroy(s);
}

void net_stream_peer(const struct net_stream *s, struct ip *ip_r, uint16_t *port_r)
{
	struct sockaddr_storage sa = { 0 };
	socklen_t len = sizeof(sa);

	(void)getpeername(s->fd, (struct sockaddr *)&sa, &len);
	ip_from_sockaddr((struct sockaddr *)&sa, ip_r, port_r);
}

void net_stream_local(const struct net_stream *s, struct ip *ip_r, uint16_t *port_r)
{
	struct sockaddr_storage sa = { 0 };
	socklen_t len = sizeof(sa);

	(void)getsockname(s->fd, (struct sockaddr *)&sa, &len);
	ip_from_sockaddr((struct sockaddr *)&sa, ip_r, port_r);
}

size_t net_stream_unread(const struct net_stream *s)
{
	int n = 0;

	return ioctl(s->fd, FIONREAD, &n) == 0 && n > 0 ? (size_t)n : 0;
}
