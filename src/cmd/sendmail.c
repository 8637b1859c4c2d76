/*
 * cmd/sendmail.c - `sendmail`: mail from programs of this machine, with the flags they know.
 *
 * The message goes into the submission directory, whether a server runs or not.  Exit codes
 * are those of sysexits.h, since programs look at them.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "base/file.h"
#include "base/utf8.h"
#include "cmd/cmd.h"
#include "cmd/common.h"
#include "cmd/sendmail-private.h"
#include "control/control.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

/* Where the configuration sets no limit. */
#define MESSAGE_OCTETS_MAX (UINT64_C(1) << 30)

enum mode { MODE_SEND, MODE_SMTP, MODE_MAILQ, MODE_ALIASES, MODE_FLUSH, MODE_NOTHING };

struct args {
	enum mode mode;
	bool take_recipients, ignore_dots;
	const char *config, *sender, *name;
	struct submission sub;
	char **rcpts;
	int rcpt_count;
};

static int say(int code, const char *what, const char *detail)
{
	fprintf(stderr, "sendmail: %s%s%s\n", what, detail ? ": " : "", detail ? detail : "");
	return code;
}

/* ---- arguments ---- */

static int set_mode(struct args *a, const char *word)
{
	switch (word[0]) {
	case 'm':
		a->mode = MODE_SEND;
		return 0;
	case 's':
		a->mode = MODE_SMTP;
		return 0;
	case 'p':
		a->mode = MODE_MAILQ;
		return 0;
	case 'i':
		a->mode = MODE_ALIASES;
		return 0;
	case 'd':
	case 'D':
		return say(EX_USAGE, "the server is started by `postern serve`", NULL);
	default:
		return say(EX_USAGE, "no such mode", word);
	}
}

static int set_dsn(struct args *a, int letter, const char *word)
{
	if (letter == 'N' && submission_notify_parse(span_str(word), &a->sub.notify) < 0)
		return say(EX_USAGE, "-N wants never, or some of success,failure,delay", word);
	if (letter == 'R' && strcasecmp(word, "hdrs") == 0)
		a->sub.ret = ENVELOPE_RET_HDRS;
	else if (letter == 'R' && strcasecmp(word, "full") == 0)
		a->sub.ret = ENVELOPE_RET_FULL;
	else if (letter == 'R')
		return say(EX_USAGE, "-R wants hdrs or full", word);
	if (letter == 'V')
		a->sub.envid = span_str(word);
	return 0;
}

/* -oi and its like; -oX of other things is taken and means nothing here. */
static void set_option(struct args *a, const char *word)
{
	if (word[0] == 'i')
		a->ignore_dots = true;
}

static int set_flag(struct args *a, int letter, const char *word)
{
	switch (letter) {
	case 't':
		a->take_recipients = true;
		return 0;
	case 'i':
		a->ignore_dots = true;
		return 0;
	case 'f':
	case 'r':
		a->sender = word;
		return 0;
	case 'F':
		a->name = word;
		return 0;
	case 'C':
		a->config = word;
		return 0;
	case 'o':
		set_option(a, word);
		return 0;
	case 'b':
		return set_mode(a, word);
	case 'N':
	case 'R':
	case 'V':
		return set_dsn(a, letter, word);
	case 'q':
		/* "-q30m" is what starts a daemon elsewhere. */
		a->mode = word && word[0] >= '0' && word[0] <= '9' ? MODE_NOTHING : MODE_FLUSH;
		return 0;
	case '?':
		return EX_USAGE; /* getopt has said it */
	default:
		return 0; /* known, and without a meaning here */
	}
}

static int parse(int argc, char **argv, struct args *a)
{
	int letter, kept = 1, r = 0;

	/* The one long option, as every command of ours has it. */
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--") == 0)
			while (i < argc)
				argv[kept++] = argv[i++];
		else if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
			a->config = argv[++i];
		else
			argv[kept++] = argv[i];
	}
	argv[kept] = NULL;
	optind = 1;
	while (r == 0 &&
	    (letter = getopt(kept, argv, "+A:B:C:F:GIL:N:O:R:UV:X:b:ce:f:h:imno:p:r:q::tvx")) != -1)
		r = set_flag(a, letter, optarg);
	a->rcpts = argv + optind;
	a->rcpt_count = kept - optind;
	return r;
}

/* ---- a message ---- */

/* Standard input, up to a line with a dot alone when dots end it. */
static int read_message(const struct args *a, struct buf *in)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = getline(&line, &room, stdin)) >= 0) {
		if (!a->ignore_dots && line[0] == '.' &&
		    (n == 1 || strcmp(line, ".\n") == 0 || strcmp(line, ".\r\n") == 0))
			break;
		r = buf_add(in, line, (size_t)n);
	}
	if (r == 0 && ferror(stdin))
		r = -ERR_IO;
	free(line);
	return r;
}

static int exit_code(int err)
{
	switch (err) {
	case 0:
		return EX_OK;
	case -ERR_SYNTAX:
	case -ERR_RANGE:
		return EX_DATAERR;
	case -ERR_NOTFOUND:
	case -ERR_ACCESS:
		return EX_CANTCREAT;
	case -ERR_NOSPACE:
	case -ERR_NOMEM:
		return EX_TEMPFAIL;
	default:
		return EX_IOERR;
	}
}

/* Who sends: -f, or the user's own name in the domain of this machine. */
static const char *own_address(const struct config *cfg, struct arena *arena)
{
	const struct passwd *pw = getpwuid(getuid());

	return pw ? arena_printf(arena, "%s@%s", pw->pw_name, cfg->alias_domain)
		  : arena_printf(arena, "uid%u@%s", (unsigned)getuid(), cfg->alias_domain);
}

static const char *own_name(struct arena *arena)
{
	const struct passwd *pw = getpwuid(getuid());
	const char *gecos = pw && pw->pw_gecos ? pw->pw_gecos : "";

	return arena_str(arena, span_of(gecos, strcspn(gecos, ",")));
}

static int set_sender(
    const struct config *cfg, struct args *a, struct sendmail_message *m, const char **from_r)
{
	struct sendmail_message one = { .rcpt_count = 0 };
	int r = 0;

	*from_r = own_address(cfg, &m->arena);
	a->sub.sender = span_str(*from_r);
	if (!a->sender)
		return 0;
	if (!a->sender[0] || strcmp(a->sender, "<>") == 0) {
		a->sub.sender = span_of("", 0);
		return 0;
	}
	arena_init(&one.arena, 65536);
	r = sendmail_add_recipients(&one, span_str(a->sender));
	if (r == 0 && one.rcpt_count == 1) {
		struct span s = one.rcpts[0];
		*from_r = span_rfind(s, '@') < 0
		    ? arena_printf(&m->arena, "%.*s@%s", SPAN_FMT(s), cfg->alias_domain)
		    : arena_str(&m->arena, s);
		a->sub.sender = span_str(*from_r);
	} else if (r == 0) {
		r = -ERR_SYNTAX;
	}
	arena_done(&one.arena);
	return r;
}

static int send_message(
    const struct config *cfg, struct args *a, struct sendmail_message *m, struct buf *in)
{
	struct sendmail_header h = { .take_recipients = a->take_recipients,
		.hostname = cfg->hostname };
	char name[32];
	int r;

	if (set_sender(cfg, a, m, &h.from) < 0)
		return say(EX_USAGE, "the sender is not an address", a->sender);
	h.name = a->name ? a->name : own_name(&m->arena);
	if (!h.from || !h.name)
		return say(EX_TEMPFAIL, "out of memory", NULL);
	for (int i = 0; i < a->rcpt_count; i++)
		if (sendmail_add_recipients(m, span_str(a->rcpts[i])) < 0)
			return say(EX_DATAERR, "not an address", a->rcpts[i]);
	if (m->rcpt_count == 0 && !a->take_recipients)
		return say(EX_USAGE, "no recipients, on the command line or with -t", NULL);
	r = read_message(a, in);
	if (r < 0)
		return r == -ERR_NOMEM
		    ? say(EX_DATAERR, "the message is larger than limits.message_size", NULL)
		    : say(EX_IOERR, "standard input", err_text(r));
	r = sendmail_header(m, buf_span(in), &h);
	if (r == -ERR_SYNTAX)
		return say(EX_DATAERR, "an address of the header cannot be read", NULL);
	if (r == 0 && m->rcpt_count == 0)
		return say(EX_USAGE, "no recipients in the header either", NULL);
	a->sub.rcpts = m->rcpts;
	a->sub.rcpt_count = m->rcpt_count;
	if (!ascii_valid(buf_span(&m->text)))
		a->sub.body = ENVELOPE_BODY_8BITMIME;
	if (r == 0)
		r = sendmail_drop(cfg, &a->sub, buf_span(&m->text), name);
	if (r < 0)
		fprintf(stderr, "sendmail: the message cannot be left in %s: %s\n",
		    cfg->submission_directory, err_text(r));
	return exit_code(r);
}

static int send_mail(const struct config *cfg, struct args *a)
{
	uint64_t most = cfg->message_octets_max ? cfg->message_octets_max : MESSAGE_OCTETS_MAX;
	struct sendmail_message m = { .rcpt_count = 0 };
	struct buf in;
	int code;

	arena_init(&m.arena, SENDMAIL_ARENA_MAX);
	buf_init(&m.text, most + 65536);
	buf_init(&in, most);
	code = send_message(cfg, a, &m, &in);
	buf_done(&in);
	buf_done(&m.text);
	arena_done(&m.arena);
	return code;
}

/* ---- the rest ---- */

static void ignore(void *arg, const json_t *answer)
{
	(void)arg;
	(void)answer;
}

static int flush(const struct config *cfg)
{
	json_t *request = json_pack("{s:s,s:s,s:[s]}", "command", "queue", "action", "retry",
	    "filter", "status=deferred,pending");
	char *error;
	int r = control_request_send(cfg->run_directory, request, ignore, NULL, &error), code = 0;

	json_decref(request);
	if (r < 0)
		code = say(r == -ERR_ACCESS ? EX_NOPERM : EX_UNAVAILABLE, "the queue",
		    error                    ? error
			: r == -ERR_NOTFOUND ? "no server runs"
					     : err_text(r));
	free(error);
	return code;
}

/* The commands that sendmail's other names are, with our configuration. */
static int other(int (*run)(int argc, char **argv), const char *name, const char *config)
{
	char *argv[] = { strdup(name), strdup("--config"), strdup(config ? config : ""), NULL };
	int code = EX_OSERR;

	if (argv[0] && argv[1] && argv[2])
		code = run(config ? 3 : 1, argv);
	for (int i = 0; i < 3; i++)
		free(argv[i]);
	return code;
}

int cmd_sendmail(int argc, char **argv)
{
	struct args a = { .sub = { .sender = { (const uint8_t *)"", 0 } } };
	struct config *cfg;
	int code = parse(argc, argv, &a);

	if (code)
		return code;
	if (a.mode == MODE_MAILQ)
		return other(cmd_mailq, "mailq", a.config);
	if (a.mode == MODE_ALIASES)
		return other(cmd_newaliases, "newaliases", a.config);
	if (a.mode == MODE_NOTHING)
		return EX_OK;
	if (cmd_load_plain(a.config, &cfg) < 0)
		return EX_CONFIG;
	if (a.mode == MODE_FLUSH)
		code = flush(cfg);
	else if (a.mode == MODE_SMTP)
		code = sendmail_smtp(cfg, a.sender);
	else
		code = send_mail(cfg, &a);
	config_unref(&cfg);
	return code;
}
