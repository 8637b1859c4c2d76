/*
 * daemon/pickup.c - messages of local programs: from files of the submission directory into the
 * queue.
 *
 * A thread of its own, since all of it blocks: it looks through the directory at the start, when
 * somebody writes to the fifo `wake` there, and each minute.  A file is removed only when its
 * message is on disk in the spool; a crash between the two queues it twice, never less.  One that
 * is no submission, or asks for what cannot be, goes to `bad` and is told.
 *
 * Everybody on the machine may put files here and nobody but us may list or remove them: mode
 * 1733.  The owner of the file is who sent it, whatever the file says.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/utf8.h"
#include "daemon/daemon-private.h"
#include "envelope/submission.h"
#include "mime/header.h"
#include "queue/recipients.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define SCAN_MS 60000
/* One that was left in the middle of its writing; its program was told of no success. */
#define UNFINISHED_S 86400
/* Addresses of one message, aliases expanded. */
#define ADDRESSES_OCTETS_MAX (64u << 20)
#define PIECE                65536

struct pickup {
	struct daemon *daemon;
	const char *dir;
	pthread_t thread;
	bool running;
	int stop_fd, wake_fd, dir_fd;
	_Atomic bool stopping;
	_Atomic bool all;   /* also those that were put off */
	struct map put_off; /* names of files that could not be taken; ours */
	/* what the writer thread says */
	pthread_mutex_t lock;
	pthread_cond_t done;
};

/* A message that one file becomes; several with owners of lists. */
struct part {
	struct pickup *pickup;
	struct envelope env;
	struct spool_draft *draft;
	struct spool_op op;
	bool over;
	int err;
};

/* A file in work. */
struct item {
	struct pickup *pickup;
	const char *name;
	int fd;
	struct stat st;
	struct arena arena;
	struct submission sub;
	size_t body; /* where the message begins */
	struct part *parts;
	size_t part_count;
	struct span message_id;
	const char *why; /* it is bad */
};

static void notice(struct pickup *p, const char *name, const char *text, struct span sender)
{
	struct event ev = { .type = EVENT_NOTICE,
		.text = span_str(text),
		.detail = span_str(name),
		.has_sender = sender.n > 0,
		.sender = sender };

	event_emit(p->daemon->events, &ev);
}

/* ---- reading ---- */

static int open_item(struct item *it)
{
	it->fd =
	    openat(it->pickup->dir_fd, it->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (it->fd < 0 && errno == ELOOP) {
		it->why = "a link";
		return -ERR_SYNTAX;
	}
	if (it->fd < 0)
		return err_from_errno(errno);
	if (fstat(it->fd, &it->st) < 0)
		return err_from_errno(errno);
	/* A second name of somebody else's file is not that user's letter. */
	if (!S_ISREG(it->st.st_mode) || it->st.st_nlink != 1) {
		it->why = "not a plain file with one name";
		return -ERR_SYNTAX;
	}
	return 0;
}

static int read_head(struct item *it)
{
	const struct config *cfg = it->pickup->daemon->cfg;
	size_t room = (size_t)it->st.st_size < SUBMISSION_HEAD_MAX ? (size_t)it->st.st_size
								   : SUBMISSION_HEAD_MAX;
	uint8_t *head = arena_alloc(&it->arena, room + 1);
	ssize_t got = head ? pread(it->fd, head, room, 0) : -1;
	int r;

	if (!head)
		return -ERR_NOMEM;
	if (got < 0)
		return err_from_errno(errno);
	r = submission_parse(span_of(head, (size_t)got), &it->arena, &it->sub, &it->body, &it->why);
	if (r < 0)
		return r;
	if (cfg->message_octets_max &&
	    (uint64_t)it->st.st_size - it->body > cfg->message_octets_max) {
		it->why = "larger than limits.message_size";
		return -ERR_LIMIT;
	}
	return 0;
}

static int write_parts(struct item *it, struct span octets)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < it->part_count; i++)
		r = spool_draft_write(it->parts[i].draft, octets);
	return r;
}

/* Message-ID for the log; Received fields against loops.  1: the header is over. */
static int read_header(
    struct item *it, struct mime_header_reader *h, struct span octets, uint32_t *received)
{
	const struct mime_field *field;
	size_t used;
	int r;

	while ((r = mime_header_feed(h, octets, &used, &field)) == MIME_HEADER_FIELD) {
		octets = span_skip(octets, used);
		*received += span_eq_nocase(field->name, SPAN_LIT("Received"));
		if (!it->message_id.n && span_eq_nocase(field->name, SPAN_LIT("Message-ID"))) {
			struct span id = field->value;
			if (id.n > 2 && id.p[0] == '<' && id.p[id.n - 1] == '>')
				id = span_of(id.p + 1, id.n - 2);
			it->message_id = arena_span(&it->arena, id);
		}
	}
	return r != MIME_HEADER_MORE;
}

static int read_body(struct item *it)
{
	const struct config *cfg = it->pickup->daemon->cfg;
	struct mime_header_reader header;
	uint8_t *piece = malloc(PIECE);
	off_t at = (off_t)it->body;
	bool cr = false, header_over = false, eight = false;
	uint32_t received = 0;
	struct buf out;
	int r = piece ? 0 : -ERR_NOMEM;

	buf_init(&out, 2 * PIECE);
	mime_header_init(&header, 998);
	while (r == 0) {
		ssize_t got = pread(it->fd, piece, PIECE, at);
		if (got <= 0) {
			r = got < 0 ? err_from_errno(errno) : 0;
			break;
		}
		at += got;
		buf_reset(&out);
		r = submission_line_ends(span_of(piece, (size_t)got), &cr, &out);
		eight = eight || !ascii_valid(buf_span(&out));
		if (!header_over)
			header_over = read_header(it, &header, buf_span(&out), &received) > 0;
		if (r == 0)
			r = write_parts(it, buf_span(&out));
	}
	/* The last line ends too. */
	if (r == 0 && buf_len(&out) && buf_span(&out).p[buf_len(&out) - 1] != '\n')
		r = write_parts(it, SPAN_LIT("\r\n"));
	if (r == 0 && received > cfg->hops_max) {
		it->why = "too many Received fields: the message goes in a circle";
		r = -ERR_LIMIT;
	}
	if (eight && it->sub.body == ENVELOPE_BODY_7BIT)
		it->sub.body = ENVELOPE_BODY_8BITMIME;
	mime_header_done(&header);
	buf_done(&out);
	free(piece);
	return r;
}

/* ---- queueing ---- */

/* A name alone is of this machine. */
static struct span qualified(struct item *it, struct span address)
{
	if (address.n == 0 || span_rfind(address, '@') >= 0)
		return address;
	return span_str(arena_printf(
	    &it->arena, "%.*s@%s", SPAN_FMT(address), it->pickup->daemon->cfg->alias_domain));
}

static int make_parts(struct item *it, struct queue_recipients *set)
{
	struct daemon *d = it->pickup->daemon;
	int r = 0;

	for (size_t i = 0; r == 0 && i < it->sub.rcpt_count; i++) {
		struct rcpt one = { .address = qualified(it, it->sub.rcpts[i]),
			.orcpt = span_of((const uint8_t *)"", 0),
			.notify = it->sub.notify };
		struct span where;
		if (!one.address.p)
			return -ERR_NOMEM;
		r = queue_recipients_add(set, &one, &where);
		if (r == -ERR_LOOP || r == -ERR_LIMIT) {
			/* Trouble of the tables: the letter waits for better ones. */
			notice(it->pickup, it->name,
			    "an alias leads back to itself or to too many; a letter of this "
			    "machine waits for that",
			    where);
			return -ERR_BUSY;
		}
	}
	it->parts = r == 0 ? arena_zalloc(&it->arena, set->groups * sizeof(*it->parts)) : NULL;
	if (!it->parts)
		return -ERR_NOMEM;
	for (struct queue_group *g = &set->first; r == 0 && g; g = g->next) {
		struct part *p = &it->parts[it->part_count];
		if (g->count == 0)
			continue;
		p->pickup = it->pickup;
		p->env.id = queue_id_new();
		p->env.reverse_path = g->sender;
		p->env.rcpts = g->rcpts;
		p->env.rcpt_count = g->count;
		p->env.envid = g->owned ? span_of((const uint8_t *)"", 0) : it->sub.envid;
		p->env.ret = g->owned ? ENVELOPE_RET_NONE : it->sub.ret;
		r = spool_draft_new(d->spool, &p->draft);
		it->part_count += r == 0;
	}
	return r;
}

static void on_done(struct spool_op *op, int err)
{
	struct part *part = op->arg;
	struct pickup *p = part->pickup;

	pthread_mutex_lock(&p->lock);
	part->over = true;
	part->err = err;
	pthread_cond_signal(&p->done);
	pthread_mutex_unlock(&p->lock);
}

static void wait_for(struct part *part)
{
	struct pickup *p = part->pickup;

	pthread_mutex_lock(&p->lock);
	while (!part->over)
		pthread_cond_wait(&p->done, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

/* Hand it to the writer, who answers in on_done(). */
static int submit(struct item *it, struct part *part)
{
	struct daemon *d = it->pickup->daemon;
	char id[QUEUE_ID_TEXT_MAX], date[CLOCK_RFC5322_MAX];
	struct envelope *env = &part->env;
	struct buf record, prefix;
	int r;

	env->received_ms = clock_wall_ms();
	env->body = it->sub.body;
	env->smtputf8 = it->sub.smtputf8;
	env->client_name = SPAN_LIT("localhost");
	env->protocol = SPAN_LIT("local");
	env->helo = env->session = env->auth_user = span_of((const uint8_t *)"", 0);
	env->message_id = it->message_id.p ? it->message_id : span_of((const uint8_t *)"", 0);
	queue_id_text(env->id, id);
	clock_rfc5322(env->received_ms, date);
	buf_init(&record, ADDRESSES_OCTETS_MAX);
	buf_init(&prefix, 4096);
	buf_addf(&prefix, "Received: by %s (Postern, from userid %u)\r\n\tid %s; %s\r\n",
	    d->cfg->hostname, (unsigned)it->st.st_uid, id, date);
	env->size = spool_draft_size(part->draft) + buf_len(&prefix);
	r = envelope_encode(env, &record);
	if (r == 0 && prefix.failed)
		r = -ERR_NOMEM;
	if (r == 0) {
		part->op = (struct spool_op){ .done = on_done, .arg = part };
		spool_commit(d->spool, env->id, buf_span(&record), buf_span(&prefix), &part->draft,
		    env->received_ms, false, &part->op);
	}
	buf_done(&record);
	buf_done(&prefix);
	return r;
}

/* To the worker that has it, on its own thread. */
struct arrival {
	struct net_task task;
	struct worker *worker;
	uint64_t id;
};

static void on_arrival(struct net_task *task)
{
	struct arrival *a = task->arg;

	deliver_agent_add(a->worker->agent, a->id, 0);
	free(a);
}

static void announce(struct item *it, const struct envelope *env)
{
	struct daemon *d = it->pickup->daemon;
	struct arrival *a = malloc(sizeof(*a));

	for (size_t i = 0; i < env->rcpt_count; i++) {
		struct event ev = { .type = EVENT_RECEIVED,
			.queue_id = env->id,
			.protocol = "local",
			.client = SPAN_LIT("localhost"),
			.uid = (int64_t)it->st.st_uid + 1,
			.has_sender = true,
			.sender = env->reverse_path,
			.recipient = env->rcpts[i].address,
			.original = rcpt_original(&env->rcpts[i]),
			.index = (uint32_t)i,
			.recipients = (uint32_t)env->rcpt_count,
			.message_id = env->message_id,
			.size = env->size };
		event_emit(d->events, &ev);
	}
	if (!a) {
		notice(it->pickup, it->name,
		    "no memory to start its delivery; it will be found at the next start",
		    env->reverse_path);
		return;
	}
	*a = (struct arrival){ { .run = on_arrival, .arg = a }, worker_of(d, env->id), env->id };
	net_loop_post(a->worker->loop, &a->task);
}

/* All at once: they go into one batch, and are on disk together or not at all, as a rule. */
static int commit_all(struct item *it)
{
	size_t given = 0;
	int r = 0;

	while (r == 0 && given < it->part_count)
		if ((r = submit(it, &it->parts[given])) == 0)
			given++;
	for (size_t i = 0; i < given; i++) {
		wait_for(&it->parts[i]);
		if (it->parts[i].err < 0)
			r = it->parts[i].err;
	}
	return r;
}

static int take(struct item *it)
{
	struct daemon *d = it->pickup->daemon;
	struct queue_recipients set;
	int r = open_item(it);

	if (r == 0)
		r = read_head(it);
	if (r == 0)
		r = spool_room(d->spool, (uint64_t)it->st.st_size);
	if (r < 0)
		return r;
	it->sub.sender = qualified(it, it->sub.sender);
	if (!it->sub.sender.p)
		return -ERR_NOMEM;
	queue_recipients_init(&set, d->cfg, d->shared.aliases, &it->arena, it->sub.sender);
	r = make_parts(it, &set);
	queue_recipients_done(&set);
	if (r == 0)
		r = read_body(it);
	if (r == 0)
		r = commit_all(it);
	/* Only now: whatever fails before, the file is still the letter. */
	if (r == 0 && unlinkat(it->pickup->dir_fd, it->name, 0) < 0 && errno != ENOENT)
		r = err_from_errno(errno);
	for (size_t i = 0; i < it->part_count; i++)
		if (it->parts[i].over && it->parts[i].err == 0)
			announce(it, &it->parts[i].env);
	return r;
}

static void set_aside(struct item *it, int err)
{
	struct pickup *p = it->pickup;
	char to[512], text[512];

	snprintf(to, sizeof(to), "bad/%s", it->name);
	snprintf(text, sizeof(text), "a submission cannot be taken and was moved to %s/bad: %s",
	    p->dir, it->why ? it->why : err_text(err));
	if (renameat(p->dir_fd, it->name, p->dir_fd, to) == 0)
		notice(p, it->name, text, it->sub.sender);
}

/* Not with each letter that somebody sends, but each minute, or when the tables are new. */
static void put_off(struct pickup *p, const char *name)
{
	char *key = strdup(name);

	if (key && map_put(&p->put_off, span_str(key), key) < 0)
		free(key);
}

static void forget_put_off(struct pickup *p)
{
	struct span key;
	void *name;

	for (size_t at = 0; map_next(&p->put_off, &at, &key, &name);)
		free(name);
	map_done(&p->put_off);
	map_init(&p->put_off, false);
}

static void take_file(struct pickup *p, const char *name)
{
	struct item it = { .pickup = p, .name = name, .fd = -1 };
	int r;

	if (map_get(&p->put_off, span_str(name)))
		return;
	arena_init(&it.arena, ADDRESSES_OCTETS_MAX);
	r = take(&it);
	if (r < 0)
		put_off(p, name);
	if (r == -ERR_SYNTAX || r == -ERR_VERSION || r == -ERR_LIMIT)
		set_aside(&it, r);
	else if (r < 0 && r != -ERR_NOTFOUND && r != -ERR_BUSY)
		notice(p, name, "a submission could not be taken now; it is tried again",
		    it.sub.sender);
	for (size_t i = 0; i < it.part_count; i++)
		spool_draft_free(&it.parts[i].draft);
	if (it.fd >= 0)
		close(it.fd);
	arena_done(&it.arena);
}

/* ---- the directory ---- */

static void drop_unfinished(struct pickup *p, const char *name)
{
	struct stat st;

	if (fstatat(p->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    clock_wall_ms() / 1000 - st.st_mtim.tv_sec > UNFINISHED_S)
		(void)unlinkat(p->dir_fd, name, 0);
}

static void scan(struct pickup *p)
{
	int fd = openat(p->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while (!p->stopping && (e = readdir(dir))) {
		struct span name = span_str(e->d_name);
		if (span_starts_nocase(name, SPAN_LIT("new-")))
			take_file(p, e->d_name);
		else if (span_starts_nocase(name, SPAN_LIT("tmp-")))
			drop_unfinished(p, e->d_name);
	}
	closedir(dir);
}

static void *thread_main(void *arg)
{
	struct pickup *p = arg;
	struct pollfd fds[] = { { p->stop_fd, POLLIN, 0 }, { p->wake_fd, POLLIN, 0 } };
	char drain[4096];

	uint64_t looked_ms = 0;

	while (!p->stopping) {
		uint64_t now = clock_mono_ms();
		if (atomic_exchange(&p->all, false) || now - looked_ms >= SCAN_MS) {
			forget_put_off(p);
			looked_ms = now;
		}
		scan(p);
		(void)poll(fds, 2, SCAN_MS);
		while (read(p->wake_fd, drain, sizeof(drain)) > 0)
			;
	}
	return NULL;
}

static int make_directory(const char *dir, const char *spool)
{
	size_t n = strlen(spool);
	char bad[4096];
	int r = dir_make(dir);

	/* Below the spool: who sends must get through it.  Its files are for us alone all the same.
	 */
	if (r == 0 && strncmp(dir, spool, n) == 0 && dir[n] == '/' && !strchr(dir + n + 1, '/') &&
	    chmod(spool, 0711) < 0)
		return err_from_errno(errno);
	if (r < 0)
		return r;
	if (chmod(dir, 01733) < 0)
		return err_from_errno(errno);
	snprintf(bad, sizeof(bad), "%s/bad", dir);
	return dir_make(bad);
}

/* Read and written by us, so that it never has an end. */
static int open_wake(const char *dir)
{
	char path[4096];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/wake", dir);
	if (lstat(path, &st) == 0 && !(S_ISFIFO(st.st_mode) && st.st_uid == geteuid()))
		(void)unlink(path);
	if (mkfifo(path, 0600) < 0 && errno != EEXIST)
		return err_from_errno(errno);
	fd = open(path, O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	if (fchmod(fd, 0622) < 0) {
		close(fd);
		return err_from_errno(errno);
	}
	return fd;
}

int pickup_start(struct daemon *d, struct pickup **p_r)
{
	struct pickup *p = calloc(1, sizeof(*p));
	sigset_t all, old;
	int r;

	if (!p)
		return -ERR_NOMEM;
	p->daemon = d;
	p->dir = d->cfg->submission_directory;
	p->stop_fd = p->wake_fd = p->dir_fd = -1;
	map_init(&p->put_off, false);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->done, NULL);
	*p_r = p;
	r = make_directory(p->dir, d->cfg->spool_directory);
	if (r < 0)
		return r;
	p->dir_fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	p->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	p->wake_fd = open_wake(p->dir);
	if (p->dir_fd < 0 || p->stop_fd < 0 || p->wake_fd < 0)
		return p->wake_fd < -1 ? p->wake_fd : -ERR_IO;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&p->thread, NULL, thread_main, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	p->running = r == 0;
	return r == 0 ? 0 : -ERR_LIMIT;
}

void pickup_all(struct pickup *p)
{
	p->all = true;
	(void)!write(p->wake_fd, "w", 1);
}

void pickup_stop(struct pickup **pp)
{
	struct pickup *p = *pp;

	*pp = NULL;
	if (!p)
		return;
	p->stopping = true;
	if (p->running) {
		(void)eventfd_write(p->stop_fd, 1);
		pthread_join(p->thread, NULL);
	}
	if (p->dir_fd >= 0)
		close(p->dir_fd);
	if (p->stop_fd >= 0)
		close(p->stop_fd);
	if (p->wake_fd >= 0)
		close(p->wake_fd);
	forget_put_off(p);
	pthread_cond_destroy(&p->done);
	pthread_mutex_destroy(&p->lock);
	free(p);
}
