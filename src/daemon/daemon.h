/*
 * daemon/daemon.h - the running server: spool, events, workers, listeners, control.
 *
 * The order of a start: configuration, spool (its lock makes us the only one), events,
 * workers with their queues filled from the spool, listeners, control socket.  The order
 * of a stop is the reverse: no new clients, sessions end, deliveries end, spool closed.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_DAEMON_DAEMON_H
#define POSTERN_DAEMON_DAEMON_H

#include "config/config.h"

struct alias_files;
struct auth;
struct event_sink;
struct net_tls;
struct daemon; /* opaque: daemon/daemon.c */

struct daemon_options {
	struct config *cfg;            /* the daemon refs it */
	bool words;                    /* events in plain words on standard output */
	void (*say)(const char *text); /* what a person at the terminal should read; NULL: nobody */
};

/*
 * Make the contexts of section `tls`, for the server (NULL: it has no certificate) and for the
 * client.  Each thing that is wrong is told to `report`, one line "FILE:LINE: KEY: what".
 * 0 or -ERR_CONFIG.
 */
int daemon_tls(const struct config *cfg, struct net_tls **server_r, struct net_tls **client_r,
    void (*report)(void *arg, const char *line), void *arg);

/* Likewise the backend of section `auth`; NULL: nobody logs in. */
int daemon_auth(const struct config *cfg, struct auth **a_r,
    void (*report)(void *arg, const char *line), void *arg);

/* Likewise the tables of section `aliases`, each error with its line; NULL: there are none. events:
 * where later readings are told; NULL: nowhere. */
int daemon_aliases(const struct config *cfg, struct event_sink *events, struct alias_files **f_r,
    void (*report)(void *arg, const char *line), void *arg);

/*
 * Start everything; returns when mail is taken.
 * 0 or a negative error, with a sentence in *why_r (static or until the next call).
 */
int daemon_start(const struct daemon_options *o, struct daemon **d_r, const char **why_r);

/* Run until SIGTERM or SIGINT (or the control command `stop`), then stop cleanly. */
void daemon_run(struct daemon *d);

void daemon_free(struct daemon **d);

#endif
