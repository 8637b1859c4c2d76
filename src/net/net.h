/*
 * net/net.h - event loops, sockets, deadlines; one stream type for server, delivery and lab.
 *
 * A loop belongs to one thread; everything of it is called on that thread, but
 * for net_loop_post() and net_loop_stop().  libuv stands behind it and is named
 * nowhere else.  A stream never closes itself under its owner's feet: it reports,
 * the owner closes.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_NET_NET_H
#define POSTERN_NET_NET_H

#include "base/buf.h"
#include "base/ip.h"

struct net_loop;
struct net_stream;
struct net_timer;
struct net_listener;

int net_loop_new(struct net_loop **l_r);
void net_loop_free(struct net_loop **l); /* after net_loop_run() returned */

/* Run until net_loop_stop() was called and every stream, timer and listener is closed. */
void net_loop_run(struct net_loop *l);
void net_loop_stop(struct net_loop *l); /* any thread */

/* Monotonic milliseconds, as of the start of this turn of the loop. */
uint64_t net_loop_now_ms(struct net_loop *l);

/* Work handed to a loop from any thread; owned by the caller until run() is called. */
struct net_task {
	void (*run)(struct net_task *task);
	void *arg;
	struct net_task *next;
};
void net_loop_post(struct net_loop *l, struct net_task *task);

/* The loop also stops when SIGTERM or SIGINT comes: `fn` is told first. */
int net_loop_on_signal(
    struct net_loop *l, int signum, void (*fn)(void *arg, int signum), void *arg);

/* ---- deadlines ---- */

/* fn runs once, at or soon after the deadline.  Moving a deadline later costs nothing: the timer
 * looks again when the old one is reached. */
int net_timer_new(struct net_loop *l, void (*fn)(void *arg), void *arg, struct net_timer **t_r);
void net_timer_set(struct net_timer *t, uint64_t at_ms); /* UINT64_MAX: never */
void net_timer_free(struct net_timer **t);

/* ---- listening ---- */

/*
 * A bound, listening socket.  reuseport: several may be bound to the same address, the kernel
 * shares clients out among them.  port 0: the kernel gives one (*port_r).
 * Returns a descriptor, or -ERR_EXISTS (address in use), -ERR_ACCESS, -ERR_INVAL, -ERR_IO.
 */
int net_listen_socket(const struct ip *ip, uint16_t port, bool reuseport, uint16_t *port_r);
int net_listen_unix(const char *path);

/* A descriptor connected to a unix socket, for net_stream_open(); at once, or -ERR_REFUSED (nobody
 * listens, or too many wait), -ERR_NOTFOUND, -ERR_ACCESS, -ERR_INVAL (path too long), -ERR_IO. */
int net_connect_unix(const char *path);

/* A port that is ours while the descriptor is open, and where every connection is refused.
 * Descriptor or error as above. */
int net_refuse_socket(const struct ip *ip, uint16_t *port_r);

/* Take clients from a listening socket (the descriptor is taken over).  fn owns the accepted
 * descriptor. */
int net_listener_start(struct net_loop *l, int fd, void (*fn)(void *arg, int fd), void *arg,
    struct net_listener **ln_r);
void net_listener_close(struct net_listener **ln);

/* ---- streams ---- */

struct net_stream_events {
	/* Octets came; return how many were taken.  What is left is kept and given again, with more
	 * behind it, after net_stream_resume(); until then nothing is read (backpressure).  Calling
	 * resume inside means: this is not enough yet, give it again when more came. */
	size_t (*octets)(void *arg, const uint8_t *p, size_t n);
	/* All that was written is with the kernel (only after net_stream_write() returned 1). */
	void (*drained)(void *arg);
	/* The peer ended (err 0) or the connection was lost or not made (err negative).  Close the
	 * stream. */
	void (*ended)(void *arg, int err);
	/* The TLS handshake succeeded; see net/tls.h. */
	void (*secured)(void *arg);
	/* A connection was made (net_stream_connect() only). */
	void (*connected)(void *arg);
};

/* From an accepted or connected descriptor (taken over, also on failure). */
int net_stream_open(struct net_loop *l, int fd, const struct net_stream_events *ev, void *arg,
    struct net_stream **s_r);

/* Connect; `connected` or `ended` follows, never before this returns.  source: NULL or our address.
 */
int net_stream_connect(struct net_loop *l, const struct ip *ip, uint16_t port,
    const struct ip *source, const struct net_stream_events *ev, void *arg,
    struct net_stream **s_r);

/*
 * Send all of `out` (it is emptied).  Returns 0 when the kernel took it, 1 when some waits
 * (`drained` follows), or a negative error (`ended` does not follow).
 */
int net_stream_write(struct net_stream *s, struct buf *out);
size_t net_stream_waiting(const struct net_stream *s); /* octets not yet with the kernel */

/* Give kept octets again and read on. */
void net_stream_resume(struct net_stream *s);

/* Send the rest, then close; no more events.  NULL is fine; *s becomes NULL. */
void net_stream_close(struct net_stream **s);
/* The same, but wait a little for the peer's end: for a last word (421 ...) that the peer did not
 * ask for, which a reset could take away from it. */
void net_stream_close_lingering(struct net_stream **s);
/* Close at once with a reset. */
void net_stream_abort(struct net_stream **s);

void net_stream_peer(const struct net_stream *s, struct ip *ip_r, uint16_t *port_r);
void net_stream_local(const struct net_stream *s, struct ip *ip_r, uint16_t *port_r);
/* Octets that are in the socket now, unread. */
size_t net_stream_unread(const struct net_stream *s);

/* ---- blocking work ---- */

/* A small pool of threads of its own for work that blocks (fsync, hashing); never one for all
 * kinds. */
struct net_pool;
struct net_job {
	void (*work)(struct net_job *job); /* on a thread of the pool */
	void (*done)(struct net_job *job); /* on the loop that gave it */
	struct net_loop *loop;
	struct net_task task;
	struct net_job *next;
};
int net_pool_new(unsigned threads, struct net_pool **p_r);
void net_pool_submit(struct net_pool *p, struct net_loop *l, struct net_job *job);
void net_pool_free(struct net_pool **p); /* finishes what was given */

#endif
