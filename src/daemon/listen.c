/*
 * daemon/listen.c - one listening socket a worker for each address of the configuration.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "daemon/daemon-private.h"

#include <stdio.h>
#include <unistd.h>

static int cannot(const struct config_listen *l, int err, const char **why_r)
{
	static char why[256];
	char ip[IP_TEXT_MAX];

	ip_text(&l->ip, ip);
	snprintf(why, sizeof(why), "%s: cannot listen on %s port %u: %s", l->place, ip, l->port,
	    err == -ERR_EXISTS       ? "another program has this port"
		: err == -ERR_ACCESS ? "ports below 1024 need root"
				     : err_text(err));
	*why_r = why;
	return err;
}

static void say_listening(struct daemon *d, const struct config_listen *l, uint16_t port)
{
	static const char *const names[] = { "mx", "submission" };
	char text[128], ip[IP_TEXT_MAX];

	if (!d->say)
		return;
	ip_text(&l->ip, ip);
	snprintf(text, sizeof(text), "listening: %s %s%s%s:%u", names[l->service],
	    l->ip.family == 6 ? "[" : "", ip, l->ip.family == 6 ? "]" : "", port);
	d->say(text);
}

int daemon_listen(struct daemon *d, const char **why_r)
{
	for (size_t i = 0; i < d->cfg->listen_count; i++) {
		const struct config_listen *l = &d->cfg->listens[i];
		uint16_t port = l->port;
		/* A first socket without REUSEPORT would tell of another server; with it two
		 * servers could share a port unnoticed.  So probe once, alone. */
		if (port) {
			int probe = net_listen_socket(&l->ip, port, false, NULL);
			if (probe < 0)
				return cannot(l, probe, why_r);
			close(probe);
		}
		for (unsigned k = 0; k < d->worker_count; k++) {
			int fd = net_listen_socket(&l->ip, port, true, &port), r;
			if (fd < 0)
				return cannot(l, fd, why_r);
			r = server_worker_listen(d->workers[k].server, fd, l);
			if (r < 0)
				return cannot(l, r, why_r);
		}
		say_listening(d, l, port);
	}
	return 0;
}
