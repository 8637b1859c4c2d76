/*
 * events/mail-log.c - see events/mail-log.h.
 *
 * journald's native protocol: fields as NAME=VALUE LF in one datagram.  A value has no
 * LF here, for lines have none.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "events/mail-log.h"
#include "base/clock.h"
#include "base/err.h"
#include "envelope/envelope.h"
#include "events/postfix-log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Lines that wait for a slow disk. */
#define FILE_OCTETS_MAX (16u << 20)
/* One line and the fields of it. */
#define DATAGRAM_MAX 8192
/* syslog's number of the facility "mail". */
#define FACILITY_MAIL 2

struct mail_log {
	struct mail_log_options o;
	struct postfix_log state;
	struct event_file *file;
	int fd; /* datagrams; -1: a file */
	bool journal;
	_Atomic uint64_t lost;
	int64_t second; /* `stamp` is of this one */
	char stamp[24];
};

static int connect_datagrams(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t n = strlen(path);
	int fd;

	if (n >= sizeof(sa.sun_path))
		return -ERR_INVAL;
	memcpy(sa.sun_path, path, n + 1);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_from_errno(errno);
	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		int r = err_from_errno(errno);
		close(fd);
		return r;
	}
	return fd;
}

int mail_log_open(const struct mail_log_options *o, struct mail_log **l_r)
{
	struct mail_log *l = calloc(1, sizeof(*l));
	bool syslog = strcmp(o->where, "syslog") == 0;
	int r = 0;

	if (!l)
		return -ERR_NOMEM;
	l->o = *o;
	l->fd = -1;
	l->second = -1;
	l->journal = strcmp(o->where, "journal") == 0;
	if (l->journal || syslog)
		r = l->fd = connect_datagrams(l->journal ? o->journal_socket : o->syslog_socket);
	else
		r = event_file_open(o->where, EVENT_FILE_TEXT, FILE_OCTETS_MAX, &l->file);
	if (r < 0) {
		free(l);
		return r;
	}
	*l_r = l;
	return 0;
}

/* "Nov 26 01:15:25", local time, as syslog has it (RFC 3164 4.1.2). */
static const char *stamp(struct mail_log *l, int64_t at_ms)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t second = (time_t)(at_ms / 1000);
	struct tm tm;

	if (second != l->second && localtime_r(&second, &tm)) {
		snprintf(l->stamp, sizeof(l->stamp), "%.3s %2d %02d:%02d:%02d",
		    months + 3 * (tm.tm_mon % 12), tm.tm_mday % 100, tm.tm_hour % 100,
		    tm.tm_min % 100, tm.tm_sec % 100);
		l->second = second;
	}
	return l->stamp;
}

static void field(struct buf *out, const char *name, struct span value)
{
	if (!value.n)
		return;
	buf_addf(out, "%s=", name);
	for (size_t i = 0; i < value.n; i++)
		buf_add_char(out, value.p[i] < 0x20 ? '?' : (char)value.p[i]);
	buf_add_char(out, '\n');
}

static void journal_line(const struct mail_log *l, const struct event *ev,
    const struct postfix_log_line *line, struct buf *out)
{
	char id[QUEUE_ID_TEXT_MAX];

	buf_addf(out, "PRIORITY=%d\nSYSLOG_FACILITY=%d\nSYSLOG_IDENTIFIER=%s/%s\nSYSLOG_PID=%u\n",
	    line->severity, FACILITY_MAIL, l->o.tag, line->service, line->pid);
	field(out, "MESSAGE", line->text);
	field(out, "POSTERN_EVENT", span_str(event_type_name(ev->type)));
	if (ev->queue_id) {
		queue_id_text(ev->queue_id, id);
		field(out, "POSTERN_QUEUE_ID", span_str(id));
	}
	field(out, "POSTERN_SESSION", ev->session);
	field(out, "POSTERN_REPLY_ID", span_str(ev->reply_id));
	field(out, "POSTERN_POLICY_CODE", span_str(ev->policy_code));
	if (ev->failure_code)
		buf_addf(out, "POSTERN_FAILURE_CODE=%u\n", ev->failure_code);
}

static void on_line(void *arg, const struct event *ev, const struct postfix_log_line *line)
{
	struct mail_log *l = arg;
	struct buf out;
	int64_t at_ms = ev->at_ms ? ev->at_ms : clock_wall_ms();

	buf_init(&out, DATAGRAM_MAX);
	if (l->journal) {
		journal_line(l, ev, line, &out);
	} else {
		if (l->fd >= 0)
			buf_addf(
			    &out, "<%d>%s ", FACILITY_MAIL * 8 + line->severity, stamp(l, at_ms));
		else
			buf_addf(&out, "%s %s ", stamp(l, at_ms), l->o.hostname);
		buf_addf(&out, "%s/%s[%u]: ", l->o.tag, line->service, line->pid);
		buf_add_span(&out, line->text);
	}
	if (out.failed)
		atomic_fetch_add(&l->lost, 1);
	else if (l->file)
		event_file_line(l->file, buf_span(&out));
	else if (send(l->fd, buf_span(&out).p, buf_len(&out), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		atomic_fetch_add(&l->lost, 1);
	buf_done(&out);
}

void mail_log_event(void *arg, const struct event *ev, struct span json)
{
	struct mail_log *l = arg;

	(void)json;
	postfix_log_event(&l->state, ev, on_line, l);
}

void mail_log_reopen(struct mail_log *l)
{
	if (l->file)
		event_file_reopen(l->file);
}

uint64_t mail_log_lost(const struct mail_log *l)
{
	return atomic_load(&l->lost);
}

void mail_log_close(struct mail_log **l)
{
	if (!*l)
		return;
	event_file_close(&(*l)->file);
	if ((*l)->fd >= 0)
		close((*l)->fd);
	free(*l);
	*l = NULL;
}
