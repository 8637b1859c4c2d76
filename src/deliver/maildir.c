/*
 * deliver/maildir.c - into a Maildir: written under tmp/, synced, moved to new/, directory synced.
 *
 * All maildirs belong to Postern's one user, DOMAIN/USER below one directory.  The
 * file's name comes from queue id and recipient, so a delivery that is repeated after
 * a crash replaces its own file instead of making a second one (while the reader has
 * not moved it).  Lines end with LF there, as readers of Maildirs expect.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/idn.h"
#include "base/file.h"
#include "deliver/deliver-private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct maildir_job {
	struct net_job job;
	struct group *group;
	struct spool_body *body;
	char dir[PATH_MAX / 2];
	char name[128];
	char head[1200]; /* Return-Path and Delivered-To: two addresses */
	int err;
};

/*
 * A local part or domain as a name of a file: lower case; what could lead elsewhere or is not plain
 * becomes %XX.
 */
static int path_part(struct span s, char *to, size_t room)
{
	size_t at = 0;

	if (s.n == 0)
		return -ERR_INVAL;
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = ascii_lower(s.p[i]);
		bool plain = ascii_is_alpha(c) || ascii_is_digit(c) || c == '-' || c == '_' ||
		    c == '+' || c == '=' || c >= 0x80 || (c == '.' && i > 0);
		if (at + 4 > room)
			return -ERR_RANGE;
		if (plain)
			to[at++] = (char)c;
		else
			at += (size_t)snprintf(to + at, room - at, "%%%02X", c);
	}
	to[at] = '\0';
	return 0;
}

/*
 * Lines end with LF in a Maildir.  A BINARYMIME message has octets that only look like line ends,
 * and where they begin and end only a MIME reader knows: it is stored as it came, CR LF and all,
 * which mail readers take as well.
 */
static int copy_body(struct maildir_job *m, int fd)
{
	char in[32768], out[32768];
	bool binary = m->group->work->env.body == ENVELOPE_BODY_BINARYMIME;
	uint64_t at = 0;
	bool cr = false;
	ssize_t got;
	int r = 0;

	while (r == 0 && (got = spool_body_read(m->body, at, in, sizeof(in) / 2)) > 0) {
		size_t n = 0;
		at += (uint64_t)got;
		if (binary) {
			r = file_write_all(fd, in, (size_t)got);
			continue;
		}
		for (ssize_t i = 0; i < got; i++) {
			if (cr && in[i] != '\n')
				out[n++] = '\r';
			cr = in[i] == '\r';
			if (!cr)
				out[n++] = in[i];
		}
		r = file_write_all(fd, out, n);
	}
	if (r == 0 && got == 0 && cr)
		r = file_write_all(fd, "\r", 1);
	return r < 0 ? r : got < 0 ? (int)got : 0;
}

static int make_dirs(const char *dir)
{
	static const char *const parts[] = { "tmp", "new", "cur" };
	char path[PATH_MAX];
	int r = 0;

	snprintf(path, sizeof(path), "%s/cur", dir);
	if (access(path, F_OK) == 0)
		return 0;
	for (size_t i = 0; i < 3 && r == 0; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, parts[i]);
		r = dir_make(path);
	}
	/* The new directories' own names must be durable too, up to what was there before. */
	snprintf(path, sizeof(path), "%s", dir);
	for (int up = 0; up < 3 && r == 0; up++) {
		char *slash;
		r = dir_sync(path);
		slash = strrchr(path, '/');
		if (!slash || slash == path)
			break;
		*slash = '\0';
	}
	return r;
}

static void deliver(struct net_job *job)
{
	struct maildir_job *m = (struct maildir_job *)job;
	char tmp[PATH_MAX], to[PATH_MAX], dir[PATH_MAX];
	int fd;

	m->err = make_dirs(m->dir);
	if (m->err < 0)
		return;
	snprintf(tmp, sizeof(tmp), "%s/tmp/%s", m->dir, m->name);
	snprintf(to, sizeof(to), "%s/new/%s", m->dir, m->name);
	snprintf(dir, sizeof(dir), "%s/new", m->dir);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		m->err = err_from_errno(errno);
		return;
	}
	m->err = file_write_all(fd, m->head, strlen(m->head));
	if (m->err == 0)
		m->err = copy_body(m, fd);
	if (m->err == 0 && fsync(fd) < 0)
		m->err = err_from_errno(errno);
	if (close(fd) < 0 && m->err == 0)
		m->err = err_from_errno(errno);
	if (m->err == 0 && rename(tmp, to) < 0)
		m->err = err_from_errno(errno);
	if (m->err == 0)
		m->err = dir_sync(dir);
	if (m->err < 0)
		(void)unlink(tmp);
}

static void delivered(struct net_job *job)
{
	struct maildir_job *m = (struct maildir_job *)job;
	struct group *g = m->group;
	struct judged j = { .trouble = CLASSIFY_LOCAL, .stage = CAT_STAGE_message };
	char text[256];

	spool_body_close(&m->body);
	j.transport = route_transport(&g->route);
	j.host = span_str(m->dir);
	j.delivered = m->err == 0;
	j.success = SUCCESS_DELIVERED;
	if (m->err < 0) {
		snprintf(
		    text, sizeof(text), "the mailbox could not be written: %s", err_text(m->err));
		j.text = text;
	} else {
		j.text = "written to the mailbox";
	}
	rcpt_judge(g->work, &g->work->env.rcpts[g->rcpts[0]], &j);
	free(m);
	group_done(g);
}

static int prepare(struct maildir_job *m, struct group *g)
{
	struct work *w = g->work;
	const struct rcpt *rc = &w->env.rcpts[g->rcpts[0]];
	struct span mailbox = span_str(g->route.mailbox);
	ptrdiff_t at = span_rfind(mailbox, '@');
	char domain[768], user[768], name[IDN_NAME_MAX], id[QUEUE_ID_TEXT_MAX];
	int n = at <= 0 ? -ERR_INVAL : idn_to_ascii(span_skip(mailbox, (size_t)at + 1), name);

	if (n < 0 || path_part(span_of(name, (size_t)n), domain, sizeof(domain)) < 0 ||
	    path_part(span_of(mailbox.p, (size_t)at), user, sizeof(user)) < 0)
		return -ERR_INVAL;
	n = snprintf(
	    m->dir, sizeof(m->dir), "%s/%s/%s", w->agent->cfg->maildir_directory, domain, user);
	if (n < 0 || (size_t)n >= sizeof(m->dir))
		return -ERR_RANGE;
	queue_id_text(w->id, id);
	snprintf(m->name, sizeof(m->name), "%lld.%s_%zu.%.64s",
	    (long long)(w->env.received_ms / 1000), id, g->rcpts[0], w->agent->cfg->hostname);
	snprintf(m->head, sizeof(m->head), "Return-Path: <%.*s>\nDelivered-To: %.*s\n",
	    SPAN_FMT(w->env.reverse_path), SPAN_FMT(rc->address));
	return spool_body_open(w->agent->deps.spool, w->id, &m->body);
}

void maildir_start(struct group *g)
{
	struct maildir_job *m = calloc(1, sizeof(*m));
	int r = m ? prepare(m, g) : -ERR_NOMEM;

	if (r < 0) {
		free(m);
		group_trouble(g, CLASSIFY_LOCAL, CAT_STAGE_message, err_text(r));
		group_done(g);
		return;
	}
	m->group = g;
	m->job.work = deliver;
	m->job.done = delivered;
	net_pool_submit(g->work->agent->deps.mailbox_pool, g->work->agent->deps.loop, &m->job);
}
