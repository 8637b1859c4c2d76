/*
 * net/stream.c - connecting, reading and writing.
 *
 * A write first asks the kernel at once and keeps only what it did not take, so a
 * reply costs one system call and no allocation.  A read goes into the loop's one
 * buffer; only octets that the owner leaves are copied.  Under TLS (net/tls.c) it
 * is the same with OpenSSL in the place of the kernel, but for one thing: octets may
 * lie decrypted in OpenSSL while the socket is empty and the poll silent.  Then
 * `again` brings the next read, if the owner wants one.
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

static void on_event(uv_poll_t *poll, int status, int events);

static bool is_open(const struct net_stream *s)
{
	return !s->connecting && !s->closing;
}

/* The handshake may go on: what was to be said in clear is said. */
static bool in_handshake(const struct net_stream *s)
{
	return s->tls && net_tls_state(s->tls) == NET_TLS_HANDSHAKE && is_open(s) && !s->eof &&
	    !buf_len(&s->waiting);
}

static bool is_reading(const struct net_stream *s)
{
	return is_open(s) && !s->paused && !s->eof &&
	    (!s->tls || net_tls_state(s->tls) != NET_TLS_HANDSHAKE);
}

static bool is_tls_open(const struct net_stream *s)
{
	return s->tls && net_tls_state(s->tls) == NET_TLS_OPEN;
}

static void on_again(void *arg);

/* Octets are there that no poll will tell of: read them on the loop's next turn. */
static void read_again(struct net_stream *s)
{
	if (!s->again && net_timer_new(s->loop, on_again, s, &s->again) < 0)
		return;
	net_timer_set(s->again, uv_now(&s->loop->uv));
}

static void want(struct net_stream *s)
{
	int interest = 0;

	if (s->draining)
		interest |= UV_READABLE;
	else if (is_reading(s))
		interest |= s->tls ? net_tls_read_wants(s->tls) : UV_READABLE;
	else if (in_handshake(s))
		interest |= net_tls_handshake_wants(s->tls);
	if (s->connecting || s->shutting)
		interest |= UV_WRITABLE;
	if (buf_len(&s->waiting))
		interest |= is_tls_open(s) ? net_tls_write_wants(s->tls) : UV_WRITABLE;
	if (s->tls && net_tls_pending(s->tls) && is_reading(s))
		read_again(s);
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

	net_tls_session_free(&s->tls);
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
	net_timer_free(&s->again);
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

void net_stream_begin_tls(struct net_stream *s)
{
	/* Inside `octets` these may be just what the owner is taking: give() sees to them. */
	if (!s->giving) {
		if (buf_len(&s->kept))
			net_tls_injected(s->tls);
		buf_reset(&s->kept);
	}
	s->paused = false;
	want(s);
}

/*
 * Offer octets.  An owner that takes some and asks for more inside is offered the rest at once; one
 * that takes none and asks is offered it again when more has come.  One that begins TLS inside will
 * not see the rest: it came in clear.
 */
static void give(struct net_stream *s, const uint8_t *p, size_t n, bool from_kept)
{
	const struct net_tls_session *tls = s->tls;
	size_t used;

	do {
		s->inside = s->giving = true;
		s->more = false;
		used = s->ev->octets(s->arg, p, n);
		s->giving = false;
		if (!leave(s))
			return;
		if (s->tls != tls) {
			if (used < n)
				net_tls_injected(s->tls);
			buf_reset(&s->kept);
			return;
		}
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

/* From the kernel or from TLS.  1: *got_r octets, may be none; 0: the peer ended; negative: lost.
 */
static int take(struct net_stream *s, size_t *got_r)
{
	ssize_t got;

	if (s->tls)
		return net_tls_read(s->tls, s->loop->chunk, sizeof(s->loop->chunk), got_r);
	*got_r = 0;
	got = read(s->fd, s->loop->chunk, sizeof(s->loop->chunk));
	if (got > 0)
		*got_r = (size_t)got;
	if (got >= 0)
		return got > 0;
	return errno == EAGAIN || errno == EINTR ? 1 : err_from_errno(errno);
}

static void read_some(struct net_stream *s)
{
	size_t got;
	int r = take(s, &got);

	if (r <= 0) {
		s->eof = true;
		want(s);
		tell_end(s, r);
	} else if (got == 0) {
		want(s);
	} else if (!buf_len(&s->kept)) {
		give(s, (const uint8_t *)s->loop->chunk, got, false);
	} else if (buf_add(&s->kept, s->loop->chunk, got) < 0) {
		tell_end(s, -ERR_NOMEM);
	} else {
		give(s, buf_span(&s->kept).p, buf_len(&s->kept), true);
	}
}

static void on_again(void *arg)
{
	struct net_stream *s = arg;

	if (is_reading(s))
		read_some(s);
}

static void handshake(struct net_stream *s)
{
	int r = net_tls_handshake(s->tls);

	if (r < 0) {
		s->eof = true;
		want(s);
		tell_end(s, r);
		return;
	}
	if (r > 0 && s->ev->secured) {
		s->inside = true;
		s->ev->secured(s->arg);
		if (!leave(s))
			return;
	}
	want(s);
}

/* Send some of `o`.  0: all; 1: no more for now; negative: lost.  *put_r was taken. */
static int put(struct net_stream *s, struct span o, size_t *put_r)
{
	*put_r = 0;
	if (s->tls && net_tls_state(s->tls) != NET_TLS_HANDSHAKE)
		return net_tls_write(s->tls, o, put_r);
	while (*put_r < o.n) {
		ssize_t n = send(s->fd, o.p + *put_r, o.n - *put_r, MSG_NOSIGNAL);
		if (n > 0)
			*put_r += (size_t)n;
		else if (errno == EAGAIN)
			return 1;
		else if (errno != EINTR)
			return err_from_errno(errno);
	}
	return 0;
}

/* 0: all gone, 1: some waits, negative: lost. */
static int flush(struct net_stream *s)
{
	size_t gone;
	int r;

	if (!buf_len(&s->waiting))
		return 0;
	r = put(s, buf_span(&s->waiting), &gone);
	buf_consume(&s->waiting, gone);
	return r;
}

/* The same for the end of it all: under TLS our close_notify goes behind the last octet. */
static int finish(struct net_stream *s)
{
	int r = flush(s);

	if (r == 0 && s->tls) {
		r = net_tls_shutdown(s->tls);
		s->shutting = r == 1;
	}
	return r;
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
	int r = s->closing ? finish(s) : flush(s);

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
	if (in_handshake(s)) {
		handshake(s);
		return;
	}
	/* OpenSSL may wait for the one to do the other; a try too many costs little. */
	if ((events & UV_WRITABLE || s->tls) && (buf_len(&s->waiting) || s->shutting)) {
		on_writable(s);
		if (uv_is_closing((uv_handle_t *)poll) || s->closing)
			return;
	}
	if ((events & UV_READABLE || s->tls) && is_reading(s))
		read_some(s);
}

int net_stream_write(struct net_stream *s, struct buf *out)
{
	struct span o = buf_span(out);
	size_t gone = 0;
	int r;

	/* From here on nothing may go out in clear, and nothing can go out otherwise. */
	if (s->tls && net_tls_state(s->tls) != NET_TLS_OPEN)
		return -ERR_TLS;
	if (!buf_len(&s->waiting)) {
		r = put(s, o, &gone);
		if (r < 0)
			return r;
	}
	if (gone < o.n && buf_add_span(&s->waiting, span_skip(o, gone)) < 0)
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
	r = s->connecting ? -ERR_CLOSED : finish(s);
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
