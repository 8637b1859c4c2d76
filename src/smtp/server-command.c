/*
 * smtp/server-command.c - command lines of the server machine, RFC 5321 4.1.1.
 *
 * The table below is the whole truth about which command is valid when and what it
 * earns when it is not.  The order of the checks on a line is that of Postfix's
 * smtpd: form of the line, known verb, refused connection, sequence, syntax, limits,
 * and then the host's word.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "base/utf8.h"
#include "catalogue/reply_ids.h"
#include "smtp/server-private.h"

/* Recipients above the limit that are not counted as errors; Postfix's overshoot limit. */
#define RCPT_OVERSHOOT_MAX 1000

static void on_helo(struct smtp_server *s, struct span args);
static void on_ehlo(struct smtp_server *s, struct span args);
static void on_mail(struct smtp_server *s, struct span args);
static void on_rcpt(struct smtp_server *s, struct span args);
static void on_data(struct smtp_server *s, struct span args);
static void on_rset(struct smtp_server *s, struct span args);
static void on_noop(struct smtp_server *s, struct span args);
static void on_vrfy(struct smtp_server *s, struct span args);
static void on_help(struct smtp_server *s, struct span args);
static void on_quit(struct smtp_server *s, struct span args);

#define IN(st)      (1u << SMTP_ST_##st)
#define TRANSACTION (IN(MAIL) | IN(RCPT))
#define ANY         (IN(START) | IN(READY) | TRANSACTION)
#define NOT_IMPL    REPLY_COMMAND_NOT_IMPLEMENTED

/* clang-format off */
#define NONE { -1, -1, -1 }
const struct smtp_command smtp_commands[] = {
	/* verb       run      valid in     flags                          extension      absent               misuse in START, READY, transaction                               reference */
	{ "HELO",     on_helo, ANY,         SMTP_CMD_LAST | SMTP_CMD_JUNK, 0,             NOT_IMPL,            NONE,                                                             "5321#4.1.1.1" },
	{ "EHLO",     on_ehlo, ANY,         SMTP_CMD_LAST | SMTP_CMD_JUNK, 0,             NOT_IMPL,            NONE,                                                             "5321#4.1.1.1" },
	{ "MAIL",     on_mail, IN(READY),   0,                             0,             NOT_IMPL,            { REPLY_HELO_FIRST, -1, REPLY_NESTED_MAIL },                      "5321#4.1.1.2" },
	{ "RCPT",     on_rcpt, TRANSACTION, 0,                             0,             NOT_IMPL,            { REPLY_NEED_MAIL, REPLY_NEED_MAIL, -1 },                         "5321#4.1.1.3" },
	{ "DATA",     on_data, IN(RCPT),    SMTP_CMD_LAST,                 0,             NOT_IMPL,            { REPLY_NEED_RCPT, REPLY_NEED_RCPT, REPLY_NO_VALID_RECIPIENTS },  "5321#4.1.1.4" },
	{ "RSET",     on_rset, ANY,         SMTP_CMD_JUNK,                 0,             NOT_IMPL,            NONE,                                                             "5321#4.1.1.5" },
	{ "VRFY",     on_vrfy, ANY,         SMTP_CMD_LAST | SMTP_CMD_JUNK, SMTP_EXT_VRFY, REPLY_VRFY_DISABLED, NONE,                                                             "5321#4.1.1.6" },
	{ "HELP",     on_help, ANY,         SMTP_CMD_JUNK,                 0,             NOT_IMPL,            NONE,                                                             "5321#4.1.1.8" },
	{ "NOOP",     on_noop, ANY,         SMTP_CMD_LAST | SMTP_CMD_JUNK, 0,             NOT_IMPL,            NONE,                                                             "5321#4.1.1.9" },
	{ "QUIT",     on_quit, ANY,         SMTP_CMD_QUIT,                 0,             NOT_IMPL,            NONE,                                                             "5321#4.1.1.10" },
	{ "ETRN",     NULL,    IN(READY),   SMTP_CMD_JUNK,                 0,             NOT_IMPL,            { REPLY_HELO_FIRST, -1, REPLY_TRANSACTION_IN_PROGRESS },          "1985#5.1" },
	{ "EXPN",     NULL,    ANY,         SMTP_CMD_JUNK,                 0,             NOT_IMPL,            NONE,                                                             "5321#4.1.1.7" },
	{ "TURN",     NULL,    ANY,         SMTP_CMD_JUNK,                 0,             NOT_IMPL,            NONE,                                                             "5321#F.1" },
	{ "SEND",     NULL,    ANY,         0,                             0,             NOT_IMPL,            NONE,                                                             "5321#F.6" },
	{ "SOML",     NULL,    ANY,         0,                             0,             NOT_IMPL,            NONE,                                                             "5321#F.6" },
	{ "SAML",     NULL,    ANY,         0,                             0,             NOT_IMPL,            NONE,                                                             "5321#F.6" },
	{ "BDAT",     NULL,    ANY,         0,                             0,             NOT_IMPL,            NONE,                                                             "3030#2" },
	{ "STARTTLS", NULL,    ANY,         0,                             0,             NOT_IMPL,            NONE,                                                             "3207#4" },
	{ "AUTH",     NULL,    TRANSACTION | IN(READY), 0,                 0,             REPLY_AUTH_NOT_ENABLED, { REPLY_HELO_FIRST, -1, -1 },                                  "4954#4" },
};
/* clang-format on */
const size_t smtp_command_count = sizeof(smtp_commands) / sizeof(*smtp_commands);

int smtp_command_misuse(const struct smtp_command *row, enum smtp_server_state state)
{
	if (row->valid & (1u << state))
		return -1;
	return row->misuse[state == SMTP_ST_START ? 0 : state == SMTP_ST_READY ? 1 : 2];
}

/* First words of other protocols; Postfix's smtpd_forbidden_commands and HTTP's methods. */
static const char *const foreign[] = { "CONNECT", "GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS",
	"PATCH", "TRACE", "PROPFIND" };

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

/* The word at the start: up to a blank, or up to and with a colon. */
static struct span first_word(struct span line)
{
	size_t n = 0;

	while (n < line.n && !is_blank(line.p[n]) && line.p[n++] != ':')
		;
	return span_of(line.p, n);
}

/* A mail header or another protocol's request: the peer is no SMTP client. */
static bool is_foreign(struct span verb)
{
	if (!ascii_is_alpha(verb.p[0]) || (verb.n > 1 && verb.p[verb.n - 1] == ':'))
		return true;
	for (size_t i = 0; i < sizeof(foreign) / sizeof(*foreign); i++)
		if (span_eq_nocase(verb, span_str(foreign[i])))
			return true;
	return false;
}

static const struct smtp_command *find(struct span verb)
{
	for (size_t i = 0; i < smtp_command_count; i++)
		if (span_eq_nocase(verb, span_str(smtp_commands[i].verb)))
			return &smtp_commands[i];
	return NULL;
}

/* What is wrong with the form of a line, or -1. */
static int check_form(const struct smtp_server *s, struct span line)
{
	if (s->line_long)
		return REPLY_LINE_TOO_LONG;
	if (!utf8_valid(line))
		return REPLY_BAD_UTF8;
	for (size_t i = 0; i < line.n; i++)
		if ((line.p[i] < 32 && line.p[i] != '\t') || line.p[i] > 126)
			return REPLY_BAD_SYNTAX;
	return span_trim(line).n == 0 ? REPLY_BAD_SYNTAX : -1;
}

/* What the table says about a verb in this state: a reply id, or -1 when its handler decides. */
static int check_sequence(const struct smtp_server *s, const struct smtp_command *row)
{
	int misuse;

	if (s->state == SMTP_ST_DENIED && !(row && row->flags & SMTP_CMD_QUIT))
		return REPLY_ACCESS_DENIED;
	if (!row)
		return REPLY_COMMAND_UNKNOWN;
	if (s->state == SMTP_ST_DENIED)
		return -1;
	if (row->extension & ~s->o.extensions)
		return row->absent;
	misuse = smtp_command_misuse(row, s->state);
	return misuse < 0 && !row->run ? row->absent : misuse;
}

/* A whole line stands in s->line; `more`: octets behind it came at once. */
static void run_line(struct smtp_server *s, bool bare_lf, bool more)
{
	struct span line = buf_span(&s->line), verb;
	const struct smtp_command *row;
	int reply;

	s->step.command = line;
	if (bare_lf) {
		/* whoever parts lines otherwise than we do may see other commands: end it here */
		smtp_server_refuse(s, REPLY_BARE_LF, NULL);
		smtp_server_close(s, REPLY_BARE_LF);
		return;
	}
	reply = check_form(s, line);
	if (reply >= 0) {
		smtp_server_refuse(s, reply, NULL);
		return;
	}
	line = span_trim(line);
	verb = first_word(line);
	row = find(verb);
	if (!row && is_foreign(verb)) {
		smtp_server_say(s, REPLY_COMMAND_NON_SMTP, NULL);
		smtp_server_close(s, REPLY_COMMAND_NON_SMTP);
		return;
	}
	if (more && row && ((row->flags & SMTP_CMD_LAST) || !s->esmtp) &&
	    !(row->flags & SMTP_CMD_QUIT))
		s->early = true;
	reply = check_sequence(s, row);
	if (reply >= 0)
		smtp_server_refuse(s, reply, NULL);
	else
		row->run(s, span_trim(span_skip(line, verb.n)));
	if (row && (row->flags & SMTP_CMD_JUNK) && s->junk++ > s->o.junk_limit)
		s->errors++;
}

/* Keep what fits of a line; the rest is eaten, and one reply says so at its end. */
static void keep(struct smtp_server *s, struct span piece)
{
	size_t room = s->o.line_octets_max - buf_len(&s->line);

	if (piece.n > room) {
		s->line_long = true;
		piece.n = room;
	}
	if (buf_add_span(&s->line, piece) < 0)
		s->failed = true;
}

size_t smtp_server_line(struct smtp_server *s, const uint8_t *buf, size_t len)
{
	const uint8_t *lf = memchr(buf, '\n', len);
	size_t taken = lf ? (size_t)(lf - buf) + 1 : len;
	bool bare_lf;

	if (s->line_done) {
		buf_reset(&s->line);
		s->line_done = s->line_long = s->line_cr = false;
	}
	keep(s, span_of(buf, taken));
	if (s->failed)
		return taken;
	if (!lf) {
		s->line_cr = buf[len - 1] == '\r';
		return taken;
	}
	bare_lf = taken > 1 ? buf[taken - 2] != '\r' : !s->line_cr;
	if (!s->line_long)
		buf_truncate(&s->line, buf_len(&s->line) - (bare_lf ? 1 : 2));
	s->line_done = s->touched = true;
	run_line(s, bare_lf, taken < len);
	if (s->step.kind == SMTP_STEP_NONE) { /* its spans end with the line */
		s->step = (struct smtp_step){ .fault = -1, .reply = -1 };
		arena_reset(&s->arena);
	}
	return taken;
}

static void greet(struct smtp_server *s, struct span name, bool esmtp)
{
	if (name.n == 0) {
		smtp_server_refuse(s, esmtp ? REPLY_SYNTAX_EHLO : REPLY_SYNTAX_HELO, NULL);
		return;
	}
	s->step.helo = name;
	s->step.esmtp = esmtp;
	smtp_server_ask(s, SMTP_STEP_HELO);
}

static void on_helo(struct smtp_server *s, struct span args)
{
	greet(s, args, false);
}

static void on_ehlo(struct smtp_server *s, struct span args)
{
	greet(s, args, true);
}

/*
 * "FROM:" or "TO:" and the path behind it, blanks between them as Postfix takes them.
 * Returns 0 with the parameters in *rest_r, or refuses and returns -1.
 */
static int read_path(struct smtp_server *s, struct span args, struct span word, unsigned flags,
    int bad_syntax, int bad_path, struct span *rest_r)
{
	struct span path;
	size_t used = 0;
	int rc;

	path = span_trim(span_skip(args, word.n));
	if (!span_starts_nocase(args, word) || path.n == 0) {
		smtp_server_refuse(s, bad_syntax, NULL);
		return -1;
	}
	rc = smtp_path_parse(path, flags | SMTP_PATH_LENIENT, &s->arena, &s->step.address, &used);
	if (rc == -ERR_NOMEM) {
		s->failed = true;
		return -1;
	}
	*rest_r = span_skip(path, used);
	if (rc < 0 || (rest_r->n && !is_blank(rest_r->p[0]))) {
		smtp_server_refuse(s, bad_path, NULL);
		return -1;
	}
	return 0;
}

/* Parameters behind the path; 0, or refuses and returns -1. */
static int read_params(
    struct smtp_server *s, struct span rest, enum smtp_params_verb verb, struct smtp_params *p_r)
{
	struct reply_args args = { 0 };
	int reply = -1;
	int rc = smtp_params_parse(
	    rest, verb, s->o.extensions, &s->arena, p_r, &reply, &args.field[REPLY_FIELD_detail]);

	if (rc == 0)
		return 0;
	if (rc == -ERR_NOMEM)
		s->failed = true;
	else
		smtp_server_refuse(s, reply, &args);
	return -1;
}

static void on_mail(struct smtp_server *s, struct span args)
{
	const struct span from = SPAN_LIT("FROM:");
	struct smtp_params p;
	struct span rest;

	if (read_path(s, args, from, SMTP_PATH_NULL_OK, REPLY_SYNTAX_MAIL, REPLY_BAD_SENDER_SYNTAX,
		&rest) < 0 ||
	    read_params(s, rest, SMTP_PARAMS_MAIL, &p) < 0)
		return;
	if (s->o.message_octets_max && p.size > s->o.message_octets_max) {
		struct reply_args size = { 0 };
		size.field[REPLY_FIELD_limit] = smtp_server_number(s, 0, s->o.message_octets_max);
		size.field[REPLY_FIELD_octets] = smtp_server_number(s, 1, p.size);
		smtp_server_refuse(s, REPLY_SIZE_FIXED_LIMIT, &size);
		return;
	}
	s->step.size = p.size;
	s->step.body_8bit = p.body_8bit;
	s->step.ret = p.ret;
	s->step.envid = p.envid;
	smtp_server_ask(s, SMTP_STEP_MAIL);
}

static void on_rcpt(struct smtp_server *s, struct span args)
{
	const struct span to = SPAN_LIT("TO:");
	struct smtp_params p;
	struct span rest;

	if (read_path(s, args, to, SMTP_PATH_POSTMASTER_OK, REPLY_SYNTAX_RCPT,
		REPLY_BAD_RECIPIENT_SYNTAX, &rest) < 0 ||
	    read_params(s, rest, SMTP_PARAMS_RCPT, &p) < 0)
		return;
	if (s->o.rcpt_max && s->txn.rcpts >= s->o.rcpt_max) {
		struct reply_args limit = { 0 };
		limit.field[REPLY_FIELD_limit] = smtp_server_number(s, 0, s->o.rcpt_max);
		smtp_server_refuse(s, REPLY_TOO_MANY_RECIPIENTS, &limit);
		if (s->txn.overshoot++ < RCPT_OVERSHOOT_MAX)
			s->errors--; /* the client cannot know how many we take */
		return;
	}
	s->step.notify = p.notify;
	s->step.orcpt = p.orcpt;
	smtp_server_ask(s, SMTP_STEP_RCPT);
}

static void on_data(struct smtp_server *s, struct span args)
{
	if (args.n)
		smtp_server_refuse(s, REPLY_SYNTAX_DATA, NULL);
	else
		smtp_server_ask(s, SMTP_STEP_DATA);
}

static void on_rset(struct smtp_server *s, struct span args)
{
	if (args.n) {
		smtp_server_refuse(s, REPLY_SYNTAX_RSET, NULL);
		return;
	}
	smtp_server_txn_reset(s, false);
	smtp_server_say(s, REPLY_OK, NULL);
}

/* One word or quoted string may follow and means nothing; more is bad syntax. */
static void on_noop(struct smtp_server *s, struct span args)
{
	struct span word = args;

	word.n = 0;
	if (args.n && args.p[0] == '"') {
		for (word.n = 1; word.n < args.n && args.p[word.n] != '"'; word.n++)
			word.n += args.p[word.n] == '\\';
		word.n++;
	} else {
		while (word.n < args.n && !is_blank(args.p[word.n]))
			word.n++;
	}
	if (word.n != args.n)
		smtp_server_refuse(s, REPLY_SYNTAX_NOOP, NULL);
	else
		smtp_server_say(s, REPLY_OK, NULL);
}

/* An address with or without brackets, a local part alone. */
static void on_vrfy(struct smtp_server *s, struct span args)
{
	size_t used = 0;
	int rc;

	if (args.n == 0) {
		smtp_server_refuse(s, REPLY_SYNTAX_VRFY, NULL);
		return;
	}
	rc = smtp_path_parse(args, SMTP_PATH_LENIENT, &s->arena, &s->step.address, &used);
	if (rc == -ERR_NOMEM)
		s->failed = true;
	else if (rc < 0 || used != args.n)
		smtp_server_refuse(s, REPLY_BAD_RECIPIENT_SYNTAX, NULL);
	else
		smtp_server_ask(s, SMTP_STEP_VRFY);
}

/* The verbs that the table has and this server takes. */
static void on_help(struct smtp_server *s, struct span args)
{
	struct reply_args help = { 0 };
	struct buf text;

	(void)args;
	buf_init(&text, 512);
	buf_add_str(&text, "Commands:");
	for (size_t i = 0; i < smtp_command_count; i++)
		if (smtp_commands[i].run && !(smtp_commands[i].extension & ~s->o.extensions))
			buf_addf(&text, " %s", smtp_commands[i].verb);
	s->failed |= text.failed;
	help.field[REPLY_FIELD_detail] = buf_span(&text);
	smtp_server_say(s, REPLY_HELP, &help);
	buf_done(&text);
}

/* What follows QUIT on the line is of no interest any more, as in Postfix. */
static void on_quit(struct smtp_server *s, struct span args)
{
	(void)args;
	smtp_server_say(s, REPLY_BYE, NULL);
	smtp_server_close(s, REPLY_BYE);
}
