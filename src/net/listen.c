/*
 * net/listen.c - bound sockets, and taking clients from them.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "net/net-private.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

/* Clients taken in one go before the loop looks at its sessions again. */
#define ACCEPT_BURST 32
/* Out of descriptors: pause the listener instead of spinning on it. */
#define ACCEPT_PAUSE_MS 200

struct net_listener {
	uv_poll_t poll;
	struct net_timer *pause;
	int fd;
	void (*fn)(void *arg, int fd);
	void *arg;
};

static int bound(int fd, const struct sockaddr *sa, socklen_t len, int backlog)
{
	if (bind(fd, sa, len) < 0 || listen(fd, backlog) < 0) {
		int r = errno == EADDRINUSE ? -ERR_EXISTS : err_from_errno(errno);
		close(fd);
		return r;
	}
	return fd;
}

int net_listen_socket(const struct ip *ip, uint16_t port, bool reuseport, uint16_t *port_r)
{
	struct sockaddr_storage sa;
	socklen_t len = ip_to_sockaddr(ip, port, &sa);
	int one = 1, fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct ip got;

	if (fd < 0)
		return err_from_errno(errno);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (reuseport)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
	if (ip->family == 6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	fd = bound(fd, (struct sockaddr *)&sa, len, 1024);
	if (fd >= 0 && port_r && getsockname(fd, (struct sockaddr *)&sa, &len) == 0)
		ip_from_sockaddr((struct sockaddr *)&sa, &got, port_r);
	return fd;
}

int net_refuse_socket(const struct ip *ip, uint16_t *port_r)
{
	struct sockaddr_storage sa;
	socklen_t len = ip_to_sockaddr(ip, 0, &sa);
	int fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), r;
	struct ip got;

	if (fd < 0)
		return err_from_errno(errno);
	/* Bound but not listening: the kernel resets whoever comes. */
	if (bind(fd, (struct sockaddr *)&sa, len) < 0 ||
	    getsockname(fd, (struct sockaddr *)&sa, &len) < 0) {
		r = err_from_errno(errno);
		close(fd);
		return r;
	}
	ip_from_sockaddr((struct sockaddr *)&sa, &got, port_r);
	return fd;
}

int net_listen_unix(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	int fd;

	if (n >= sizeof(sa.sun_path))
		return -ERR_INVAL;
	memcpy(sa.sun_path, path, n + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_from_errno(errno);
	(void)unlink(path); /* of a server that died; a living one holds the spool's lock */
	return bound(fd, (struct sockaddr *)&sa, sizeof(sa), 16);
}

int net_connect_unix(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	int fd, r;

	if (n >= sizeof(sa.sun_path))
		return -ERR_INVAL;
	memcpy(sa.sun_path, path, n + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_from_errno(errno);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		/* EAGAIN: its queue of clients is full; unix(7) */
		r = errno == EAGAIN ? -ERR_REFUSED : err_from_errno(errno);
		close(fd);
		return r;
	}
	return fd;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct net_listener *ln = poll->data;

	(void)status;
	(void)events;
	for (int i = 0; i < ACCEPT_BURST; i++) {
		int fd = accept4(ln->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0) {
			ln->fn(ln->arg, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			uv_poll_stop(&ln->poll);
			net_timer_set(ln->pause, uv_now(poll->loop) + ACCEPT_PAUSE_MS);
		}
		if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

static void on_pause_over(void *arg)
{
	struct net_listener *ln = arg;

	uv_poll_start(&ln->poll, UV_READABLE, on_readable);
}

int net_listener_start(struct net_loop *l, int fd, void (*fn)(void *arg, int fd), void *arg,
    struct net_listener **ln_r)
{
	struct net_listener *ln = calloc(1, sizeof(*ln));

	if (!ln || net_timer_new(l, on_pause_over, ln, &ln->pause) < 0 ||
	    uv_poll_init(&l->uv, &ln->poll, fd) < 0) {
		if (ln)
			net_timer_free(&ln->pause);
		free(ln);
		close(fd);
		return -ERR_NOMEM;
	}
	ln->fd = fd;
	ln->fn = fn;
	ln->arg = arg;
	ln->poll.data = ln;
	uv_poll_start(&ln->poll, UV_READABLE, on_readable);
	*ln_r = ln;
	return 0;
}

static void on_closed(uv_handle_t *h)
{
	struct net_listener *ln = h->data;

	close(ln->fd);
	free(ln);
}

void net_listener_close(struct net_listener **ln)
{
	if (!*ln)
		return;
	uv_poll_stop(&(*ln)->poll);
	net_timer_free(&(*ln)->pause);
	uv_close((uv_handle_t *)&(*ln)->poll, on_closed);
	*ln = NULL;
}
