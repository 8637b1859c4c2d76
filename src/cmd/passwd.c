/*
 * cmd/passwd.c - `postern passwd`: users of the table that AUTH asks, auth/table.h.
 *
 * The table is written anew beside the old one and renamed into place, so that a server
 * which reads it sees the one or the other; other lines stay as they are.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "auth/auth.h"
#include "auth/table.h"
#include "base/err.h"
#include "base/file.h"
#include "cmd/cmd.h"
#include "cmd/common.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

/* As much as the server reads. */
#define TABLE_MAX    (256u << 20)
#define PASSWORD_MAX 1024

struct passwd {
	const char *file, *config, *user, *senders;
	uint32_t iterations;
	bool delete, list, check, print;
};

static int usage(void)
{
	fprintf(stderr,
	    "usage: postern passwd [--config FILE | --file TABLE] [--senders LIST] [--iterations "
	    "N] USER\n"
	    "       postern passwd [--config FILE | --file TABLE] --delete USER | --check USER | "
	    "--list\n"
	    "       postern passwd --print [--senders LIST] [--iterations N] USER\n"
	    "  Adds a user to the table of passwords, or gives it another password, which is asked "
	    "for at\n"
	    "  the terminal or read from the first line of standard input.  --senders: addresses "
	    "that the\n"
	    "  user may write as besides its own: a@b,@example.org,*.  --check: is it this "
	    "password?\n"
	    "  --print: the line for the table on standard output, nothing is written.\n");
	return CMD_USAGE;
}

/* A line of standard input without its end; the terminal does not show it. */
static int read_password(const char *prompt, char *to, size_t room)
{
	bool terminal = isatty(STDIN_FILENO);
	struct termios old, quiet;
	size_t n;

	if (terminal) {
		fprintf(stderr, "%s: ", prompt);
		if (tcgetattr(STDIN_FILENO, &old) == 0) {
			quiet = old;
			quiet.c_lflag &= ~(tcflag_t)ECHO;
			(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
		}
	}
	to[0] = '\0';
	if (!fgets(to, (int)room, stdin))
		to[0] = '\0';
	if (terminal) {
		(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
		fputc('\n', stderr);
	}
	n = strlen(to);
	if (n + 1 == room) {
		fprintf(stderr, "postern: the password is longer than %zu octets\n", room - 2);
		return -1;
	}
	while (n && (to[n - 1] == '\n' || to[n - 1] == '\r'))
		to[--n] = '\0';
	if (n == 0)
		fprintf(stderr, "postern: there is no password\n");
	return n ? 0 : -1;
}

static int ask_twice(char *to, size_t room)
{
	char again[PASSWORD_MAX];
	int r = read_password("Password", to, room);

	if (r == 0 && isatty(STDIN_FILENO)) {
		r = read_password("Again", again, sizeof(again));
		if (r == 0 && strcmp(to, again) != 0) {
			fprintf(stderr, "postern: the two are not the same\n");
			r = -1;
		}
		explicit_bzero(again, sizeof(again));
	}
	return r;
}

/* "NAME:HASH[:SENDERS]" and LF. */
static int make_line(const struct passwd *p, struct buf *line)
{
	char password[PASSWORD_MAX];
	struct auth_hash hash;
	int r = ask_twice(password, sizeof(password));

	if (r < 0)
		return r;
	r = auth_hash_new(span_str(password), p->iterations, &hash);
	explicit_bzero(password, sizeof(password));
	if (r < 0) {
		fprintf(stderr, "postern: this cannot be a password: %s\n",
		    r == -ERR_SYNTAX ? "it holds what SASLprep (RFC 4013) forbids" : err_text(r));
		return r;
	}
	buf_addf(line, "%s:", p->user);
	r = auth_hash_text(&hash, line);
	if (p->senders)
		buf_addf(line, ":%s", p->senders);
	buf_add_char(line, '\n');
	return line->failed ? -ERR_NOMEM : r;
}

/* The table without the lines of a user; how many those were. */
static unsigned without(struct span text, struct span user, struct buf *out)
{
	unsigned found = 0;

	while (text.n) {
		ptrdiff_t lf = span_find(text, '\n');
		struct span line = span_of(text.p, lf < 0 ? text.n : (size_t)lf), name = line;
		ptrdiff_t colon = span_find(line, ':');
		text = span_skip(text, line.n + 1);
		name.n = colon < 0 ? 0 : (size_t)colon;
		if (colon >= 0 && span_eq_nocase(span_trim(name), user)) {
			found++;
			continue;
		}
		buf_add_span(out, line);
		buf_add_char(out, '\n');
	}
	return found;
}

static int complain(const char *file, int err)
{
	fprintf(stderr, "postern: %s: %s\n", file, err_text(err));
	return 1;
}

/* Under another name, synced, then renamed; mode and owner stay those of the old one. */
static int replace(const char *file, const struct stat *old, struct span text)
{
	char path[PATH_MAX], dir[PATH_MAX];
	char *slash;
	int fd, r;

	if (snprintf(path, sizeof(path), "%s.new", file) >= (int)sizeof(path))
		return -ERR_INVAL;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_from_errno(errno);
	r = file_write_all(fd, text.p, text.n);
	if (r == 0 && old &&
	    (fchmod(fd, old->st_mode & 0777) < 0 || fchown(fd, old->st_uid, old->st_gid) < 0))
		r = err_from_errno(errno);
	if (r == 0 && fsync(fd) < 0)
		r = err_from_errno(errno);
	if (close(fd) < 0 && r == 0)
		r = err_from_errno(errno);
	if (r == 0 && rename(path, file) < 0)
		r = err_from_errno(errno);
	if (r < 0) {
		(void)unlink(path);
		return r;
	}
	snprintf(dir, sizeof(dir), "%s", file);
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = '\0';
	return dir_sync(slash ? dir : ".");
}

static int parse(const char *file, struct span text, struct auth_table *table)
{
	const char *why;
	unsigned line;
	int r = auth_table_parse(text, table, &line, &why);

	if (r == -ERR_SYNTAX)
		fprintf(stderr, "postern: %s:%u: %s\n", file, line, why);
	else if (r < 0)
		complain(file, r);
	return r;
}

static int list(const struct auth_table *t)
{
	struct span name;
	size_t at = 0;
	void *value;

	while (map_next(&t->users, &at, &name, &value)) {
		const struct auth_user *u = value;
		printf("%.*s\t%u\t%.*s\n", SPAN_FMT(u->name), u->hash.iterations,
		    SPAN_FMT(u->senders));
	}
	return 0;
}

static int check(const struct auth_table *t, const struct passwd *p)
{
	const struct auth_user *u = auth_table_user(t, span_str(p->user));
	char password[PASSWORD_MAX];
	int r;

	if (read_password("Password", password, sizeof(password)) < 0)
		return 1;
	r = u ? auth_hash_check(&u->hash, span_str(password)) : 0;
	explicit_bzero(password, sizeof(password));
	printf("%s: %s\n", p->user, !u ? "there is no such user" : r == 1 ? "right" : "wrong");
	return r == 1 ? 0 : 1;
}

static int change(const struct passwd *p, struct span text, const struct stat *old)
{
	struct buf out;
	unsigned found;
	int r = 0;

	buf_init(&out, TABLE_MAX);
	found = without(text, span_str(p->user), &out);
	if (p->delete &&!found) {
		fprintf(stderr, "postern: there is no user %s in %s\n", p->user, p->file);
		r = -1;
	} else if (!p->delete) {
		r = make_line(p, &out);
	}
	if (r == 0)
		r = out.failed ? -ERR_NOMEM : replace(p->file, old, buf_span(&out));
	if (r < -1)
		complain(p->file, r);
	else if (r == 0)
		printf("%s: %s\n", p->user, p->delete ? "deleted" : found ? "changed" : "added");
	buf_done(&out);
	return r < 0 ? 1 : 0;
}

static int with_table(const struct passwd *p)
{
	struct auth_table table;
	struct stat st;
	struct buf text;
	bool writes = !p->list && !p->check, have;
	char lock[PATH_MAX];
	int fd = -1, r;

	if (writes) {
		/* one writer at a time; the table itself is renamed over, so it cannot be the lock
		 */
		snprintf(lock, sizeof(lock), "%s.lock", p->file);
		fd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0 || flock(fd, LOCK_EX) < 0)
			return complain(lock, err_from_errno(errno));
	}
	have = stat(p->file, &st) == 0;
	buf_init(&text, TABLE_MAX);
	r = file_read(p->file, &text);
	if (r == -ERR_NOTFOUND && writes && !p->delete)
		r = 0;
	if (r < 0)
		complain(p->file, r);
	if (r == 0)
		r = parse(p->file, buf_span(&text), &table);
	if (r == 0) {
		r = p->list    ? list(&table)
		    : p->check ? check(&table, p)
			       : change(p, buf_span(&text), have ? &st : NULL);
		auth_table_done(&table);
	}
	buf_done(&text);
	if (fd >= 0)
		close(fd);
	return r < 0 ? 1 : r;
}

static int print(const struct passwd *p)
{
	struct buf line;
	int r;

	buf_init(&line, 65536);
	r = make_line(p, &line);
	if (r == 0)
		printf("%.*s", SPAN_FMT(buf_span(&line)));
	buf_done(&line);
	return r < 0 ? 1 : 0;
}

/* A line break or a colon would be another line, or another column. */
static bool is_plain(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 32 || *s == 127)
			return false;
	return true;
}

int cmd_passwd(int argc, char **argv)
{
	struct passwd p = { .iterations = AUTH_ITERATIONS_DEFAULT };
	struct config *cfg = NULL;
	uint64_t number = AUTH_ITERATIONS_DEFAULT;
	int r;

	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;
		if (strcmp(argv[i], "--delete") == 0)
			p.delete = true;
		else if (strcmp(argv[i], "--list") == 0)
			p.list = true;
		else if (strcmp(argv[i], "--check") == 0)
			p.check = true;
		else if (strcmp(argv[i], "--print") == 0)
			p.print = true;
		else if (strcmp(argv[i], "--file") == 0 && value)
			p.file = argv[++i];
		else if (strcmp(argv[i], "--config") == 0 && value)
			p.config = argv[++i];
		else if (strcmp(argv[i], "--senders") == 0 && value)
			p.senders = argv[++i];
		else if (strcmp(argv[i], "--iterations") == 0 && value &&
		    span_u64(span_str(value), AUTH_ITERATIONS_MAX, &number) == 0 &&
		    number >= AUTH_ITERATIONS_MIN)
			i++;
		else if (argv[i][0] != '-' && !p.user)
			p.user = argv[i];
		else
			return usage();
	}
	p.iterations = (uint32_t)number;
	if (p.delete + p.list + p.check + p.print > 1 || !p.user == !p.list ||
	    (p.user && !auth_name_valid(span_str(p.user))) || (p.senders && !is_plain(p.senders)))
		return usage();
	if (p.print)
		return print(&p);
	if (!p.file) {
		if (cmd_load_config(p.config, &cfg) < 0)
			return 1;
		p.file = cfg->auth_password_file;
	}
	if (!p.file) {
		fprintf(stderr, "postern: %s names no auth.password_file; name one with --file\n",
		    cfg->file);
		r = 1;
	} else {
		r = with_table(&p);
	}
	config_unref(&cfg);
	return r;
}
