/*
 * events/mail-log.h - where the lines of events/postfix-log.h go: a file, journald, or syslog.
 *
 * A file is written by a thread of its own.  journald and syslog get one datagram a line, sent
 * at once and never waited for: one that their socket cannot take is lost, and counted.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_EVENTS_MAIL_LOG_H
#define POSTERN_EVENTS_MAIL_LOG_H

#include "events/events.h"

struct mail_log; /* opaque: events/mail-log.c */

struct mail_log_options {
	const char *where;          /* a path, "-" (standard output), "journal", "syslog" */
	const char *tag;            /* "postfix": lines are of "postfix/smtpd[123]" */
	const char *hostname;       /* ours, in the lines of a file */
	const char *journal_socket; /* journald's, /run/systemd/journal/socket */
	const char *syslog_socket;  /* /dev/log */
};

/* Strings of the options stay the caller's, as long as the log.  0, -ERR_NOTFOUND, -ERR_ACCESS, ...
 */
int mail_log_open(const struct mail_log_options *o, struct mail_log **l_r);

/* The reader for event_sink_add(); arg is the log. */
void mail_log_event(void *arg, const struct event *ev, struct span json);

void mail_log_reopen(struct mail_log *l);         /* any thread; see event_file_reopen() */
uint64_t mail_log_lost(const struct mail_log *l); /* datagrams; any thread */
void mail_log_close(struct mail_log **l);

#endif
