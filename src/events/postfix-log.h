/*
 * events/postfix-log.h - events as the lines that Postfix would write of them.
 *
 * For the tools that people have: pflogsumm, fail2ban's filter `postfix`, grep, and
 * eyes that know where to look.  One event gives no line, one or several, each of a
 * service (smtpd, cleanup, qmgr, smtp, ...).  The JSON of an event says more; what is
 * not Postfix's (failure code, policy code) stands last in a line, as code=.
 *
 * Whatever a peer sent comes out without control characters, and cut.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_EVENTS_POSTFIX_LOG_H
#define POSTERN_EVENTS_POSTFIX_LOG_H

#include "events/events.h"

/* As syslog numbers them. */
enum { POSTFIX_LOG_WARNING = 4, POSTFIX_LOG_INFO = 6 };

struct postfix_log_line {
	const char *service; /* "smtpd" */
	/* In brackets behind it.  One process does it all here, and the lines of a session are told
	 * from those of another by this number as with Postfix: smtpd's is the session's own, all
	 * others are the process id. */
	unsigned pid;
	int severity;
	struct span text;
};

/* What must be remembered from one event to the next; zero at first. */
struct postfix_log {
	uint64_t expired_id; /* "status=expired" was said of this message */
};

/*
 * The lines of an event, given to fn in their order; good for the call.  Events must come one at a
 * time.
 */
void postfix_log_event(struct postfix_log *l, const struct event *ev,
    void (*fn)(void *arg, const struct event *ev, const struct postfix_log_line *line), void *arg);

#endif
