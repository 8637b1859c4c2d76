/*
 * net/net-private.h - libuv's side of net/net.h, and what a stream and its TLS share.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_NET_NET_PRIVATE_H
#define POSTERN_NET_NET_PRIVATE_H

#include "net/net.h"

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

#define NET_SIGNALS_MAX 4
/* One read of a loop; also how much of one session is handled before the others get their turn. */
#define NET_READ_OCTETS 65536
/* What a stream keeps of octets not taken: one read and what was kept before, RFC 5321 lines are
 * small. */
#define NET_KEPT_OCTETS_MAX (NET_READ_OCTETS * 2)
/* What may wait for a slow peer; the owner watches net_stream_waiting() and stays far below. */
#define NET_WAITING_OCTETS_MAX (16u << 20)

struct net_signal {
	uv_signal_t uv;
	void (*fn)(void *arg, int signum);
	void *arg;
};

struct net_loop {
	uv_loop_t uv;
	uv_async_t async;
	pthread_mutex_t lock;
	struct net_task *tasks, **last;
	atomic_bool stopping;
	struct net_signal signals[NET_SIGNALS_MAX];
	size_t signal_count;
	char chunk[NET_READ_OCTETS]; /* libuv reads here; one stream at a time */
};

struct net_tls_session; /* opaque: net/tls.c */

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
	bool giving;        /* in its `octets` */
	bool shutting;      /* our close_notify waits for the kernel */
	bool dead;
	struct net_timer *linger, *again;
	struct buf kept, waiting;
	struct net_tls_session *tls; /* NULL: in clear */
};

/*
 * tls.c, for stream.c.  Nothing here calls the owner; what OpenSSL waits for is told as UV_READABLE
 * or UV_WRITABLE.
 */
enum net_tls_state {
	NET_TLS_HANDSHAKE, /* the owner's octets wait until it is done */
	NET_TLS_OPEN,
	NET_TLS_CLOSED, /* our close_notify is sent */
	NET_TLS_FAILED, /* no octet of ours may go out any more */
};
enum net_tls_state net_tls_state(const struct net_tls_session *t);
/* 1: done; 0: wait for net_tls_handshake_wants(); -ERR_TLS. */
int net_tls_handshake(struct net_tls_session *t);
int net_tls_handshake_wants(const struct net_tls_session *t);
/*
 * Octets of the peer, up to n.  1: *got_r of them, may be none; 0: it ended; -ERR_CLOSED: the
 * connection ended without close_notify; -ERR_TLS.  *got_r octets count in any case.
 */
int net_tls_read(struct net_tls_session *t, void *to, size_t n, size_t *got_r);
int net_tls_read_wants(const struct net_tls_session *t);
/* There may be more to read although the socket has nothing. */
bool net_tls_pending(const struct net_tls_session *t);
/* Send; *put_r octets were taken.  0: all; 1: wait for net_tls_write_wants(), then give the same
 * octets (and more behind them) again; negative: lost. */
int net_tls_write(struct net_tls_session *t, struct span octets, size_t *put_r);
int net_tls_write_wants(const struct net_tls_session *t);
/* Send close_notify.  0: done or never to be done, 1: wait for UV_WRITABLE. */
int net_tls_shutdown(struct net_tls_session *t);
void net_tls_session_free(struct net_tls_session **t);
/* Octets in clear were dropped that came before the handshake. */
void net_tls_injected(struct net_tls_session *t);

/* stream.c, for tls.c: a session was put into s->tls; what was kept in clear is dropped. */
void net_stream_begin_tls(struct net_stream *s);

struct net_timer {
	uv_timer_t uv;
	void (*fn)(void *arg);
	void *arg;
	uint64_t at_ms;    /* when it is meant */
	uint64_t armed_ms; /* when libuv will look */
};

#endif
