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

static void on_helo(struct smtp_server *s, struct span args);
static void on_ehlo(struct smtp_server *s, struct span args);
static void on_starttls(struct smtp_server *s, struct span args);
static void on_etrn(struct smtp_server *s, struct span args);
static void on_rset(struct smtp_server *s, struct span args);
static void on_noop(struct smtp_server *s, struct span args);
static void on_help(struct smtp_server *s, struct span args);
static void on_quit(struct smtp_server *s, struct span args);
#define on_mail     smtp_server_on_mail
#define on_rcpt     smtp_server_on_rcpt
#define on_data     smtp_server_on_data
#define on_vrfy     smtp_server_on_vrfy
#define on_bdat     smtp_server_on_bdat
#define on_auth     smtp_server_on_auth
#define on_xclient  smtp_server_on_xclient
#define on_xforward smtp_server_on_xforward

#define IN(st) (1u << SMTP_ST_##st)
#define OPEN   (IN(MAIL) | IN(RCPT)) /* a transaction that takes recipients */
#define IDLE   (IN(START) | IN(READY))
#define ANY    (IDLE | OPEN | IN(BDAT))

#define NOT_IMPL REPLY_COMMAND_NOT_IMPLEMENTED
#define NO_AUTH  REPLY_AUTH_NOT_ENABLED
#define NO_RIGHT REPLY_INSUFFICIENT_AUTHORIZATION
#define NO_CHUNK REPLY_COMMAND_NOT_IMPLEMENTED_CLOSING
#define HELO     REPLY_HELO_FIRST
#define MAIL     REPLY_NEED_MAIL
#define RCPT     REPLY_NEED_RCPT
#define NO_RCPT  REPLY_NO_VALID_RECIPIENTS
#define OPENED   REPLY_TRANSACTION_IN_PROGRESS

#define LAST SMTP_CMD_LAST
#define JUNK SMTP_CMD_JUNK
#define PRE  SMTP_CMD_PRE_TLS
#define USER SMTP_CMD_USER
#define UTF8 SMTP_CMD_UTF8

/* clang-format off */
#define NONE { -1, -1, -1, -1 }
const struct smtp_command smtp_commands[] = {
	/* verb       run          valid in          flags                 extension          absent               misuse in START, READY, transaction, between chunks          reference */
	{ "HELO",     on_helo,     ANY,              LAST | JUNK | PRE,    0,                 NOT_IMPL,            NONE,                                                        "5321#4.1.1.1" },
	{ "EHLO",     on_ehlo,     ANY,              LAST | JUNK | PRE,    0,                 NOT_IMPL,            NONE,                                                        "5321#4.1.1.1" },
	{ "STARTTLS", on_starttls, ANY,              LAST | JUNK | PRE,    SMTP_EXT_STARTTLS, NOT_IMPL,            NONE,                                                        "3207#4" },
	{ "AUTH",     on_auth,     IN(READY),        LAST | JUNK,          SMTP_EXT_AUTH,     NO_AUTH,             { HELO, -1, OPENED, OPENED },                                "4954#4" },
	{ "MAIL",     on_mail,     IN(READY),        USER | UTF8,          0,                 NOT_IMPL,            { HELO, -1, REPLY_NESTED_MAIL, REPLY_MAIL_AFTER_BDAT },      "5321#4.1.1.2" },
	{ "RCPT",     on_rcpt,     OPEN,             UTF8,                 0,                 NOT_IMPL,            { MAIL, MAIL, -1, REPLY_RCPT_AFTER_BDAT },                   "5321#4.1.1.3" },
	{ "DATA",     on_data,     IN(RCPT),         LAST,                 0,                 NOT_IMPL,            { RCPT, RCPT, NO_RCPT, REPLY_DATA_AFTER_BDAT },              "5321#4.1.1.4" },
	{ "BDAT",     on_bdat,     IN(RCPT) | IN(BDAT), SMTP_CMD_CHUNK,    SMTP_EXT_CHUNKING, NO_CHUNK,            { RCPT, RCPT, NO_RCPT, -1 },                                 "3030#2" },
	{ "RSET",     on_rset,     ANY,              JUNK | PRE,           0,                 NOT_IMPL,            NONE,                                                        "5321#4.1.1.5" },
	{ "VRFY",     on_vrfy,     ANY,              LAST | JUNK | USER | UTF8, SMTP_EXT_VRFY, REPLY_VRFY_DISABLED, NONE,                                                       "5321#4.1.1.6" },
	{ "ETRN",     on_etrn,     IN(READY),        JUNK | USER,          SMTP_EXT_ETRN,     NOT_IMPL,            { HELO, -1, OPENED, OPENED },                                "1985#5.1" },
	{ "HELP",     on_help,     ANY,              JUNK,                 0,                 NOT_IMPL,            NONE,                                                        "5321#4.1.1.8" },
	{ "NOOP",     on_noop,     ANY,              LAST | JUNK | PRE,    0,                 NOT_IMPL,            NONE,                                                        "5321#4.1.1.9" },
	{ "QUIT",     on_quit,     ANY,              SMTP_CMD_QUIT | PRE,  0,                 NOT_IMPL,            NONE,                                                        "5321#4.1.1.10" },
	{ "XCLIENT",  on_xclient,  IDLE,             LAST | PRE,           SMTP_EXT_XCLIENT,  NO_RIGHT,            { -1, -1, OPENED, OPENED },                                  "XCLIENT_README" },
	{ "XFORWARD", on_xforward, IDLE,             PRE,                  SMTP_EXT_XFORWARD, NO_RIGHT,            { -1, -1, OPENED, OPENED },                                  "XFORWARD_README" },
	{ "EXPN",     NULL,        ANY,              JUNK,                 0,                 NOT_IMPL,            NONE,                                                        "5321#4.1.1.7" },
	{ "TURN",     NULL,        ANY,              JUNK,                 0,                 NOT_IMPL,            NONE,                                                        "5321#F.1" },
	{ "SEND",     NULL,        ANY,              0,                    0,                 NOT_IMPL,            NONE,                                                        "5321#F.6" },
	{ "SOML",     NULL,        ANY,              0,                    0,                 NOT_IMPL,            NONE,                                                        "5321#F.6" },
	{ "SAML",     NULL,        ANY,              0,                    0,                 NOT_IMPL,            NONE,                                                        "5321#F.6" },
};
/* clang-format on */
const size_t smtp_command_count = sizeof(smtp_commands) / sizeof(*smtp_commands);

#undef HELO
#undef MAIL
#undef RCPT

int smtp_command_misuse(const struct smtp_command *row, enum smtp_server_state state)
{
	if (row->valid & (1u << state))
		return -1;
	return row->misuse[state == SMTP_ST_START ? 0
		: state == SMTP_ST_READY          ? 1
		: state == SMTP_ST_BDAT           ? 3
						  : 2];
}

/* First words of other protocols; Postfix's smtpd_forbidden_commands and HTTP's methods. */
static const char *const foreign[] = { "CONNECT", "GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS",
	"PATCH", "TRACE", "PROPFIND" };

struct span smtp_word(struct span s)
{
	size_t n = 0;

	while (n < s.n && !smtp_is_blank(s.p[n]))
		n++;
	return span_of(s.p, n);
}

/* The word at the start: up to a blank, or up to and with a colon. */
static struct span first_word(struct span line)
{
	size_t n = 0;

	while (n < line.n && !smtp_is_blank(line.p[n]) && line.p[n++] != ':')
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
static int check_form(const struct smtp_server *s, struct span line, const struct smtp_command *row)
{
	if (s->line_long)
		return row && row->run == smtp_server_on_auth ? REPLY_AUTH_LINE_TOO_LONG
							      : REPLY_LINE_TOO_LONG;
	if (!utf8_valid(line))
		return REPLY_BAD_UTF8;
	for (size_t i = 0; i < line.n; i++)
		if ((line.p[i] < 32 && line.p[i] != '\t') || line.p[i] == 127)
			return REPLY_BAD_SYNTAX;
	if (!ascii_valid(line) &&
	    (!row || !(row->flags & UTF8) || !(s->o.extensions & SMTP_EXT_SMTPUTF8)))
		return REPLY_BAD_SYNTAX;
	return line.n == 0 ? REPLY_BAD_SYNTAX : -1;
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
	if (row->run == on_starttls && s->tls)
		return REPLY_TLS_ALREADY_ACTIVE; /* whether or not it could have been had here */
	if (s->o.tls_required && !s->tls && !(row->flags & PRE))
		return REPLY_MUST_STARTTLS;
	misuse = smtp_command_misuse(row, s->state);
	if (misuse == REPLY_HELO_FIRST)
		return misuse; /* before it nobody knows what there is */
	if (row->extension & ~s->o.extensions)
		return row->absent;
	if (misuse < 0 && s->o.auth_required && !s->authenticated && (row->flags & USER))
		return REPLY_AUTH_REQUIRED;
	return misuse < 0 && !row->run ? row->absent : misuse;
}

/* Run a command; `more`: octets behind it came at once. */
static void run_command(struct smtp_server *s, struct span line, bool more)
{
	struct span verb = first_word(line), args = span_trim(span_skip(line, verb.n));
	const struct smtp_command *row = find(verb);
	int reply = check_form(s, line, row);

	/* what stands behind AUTH is nobody's to read, not even when it is refused */
	if (row && row->run == smtp_server_on_auth)
		s->step.command = verb;
	smtp_server_count(s, row);
	if (reply < 0 && !row && is_foreign(verb)) {
		smtp_server_say(s, REPLY_COMMAND_NON_SMTP, NULL);
		smtp_server_close(s, REPLY_COMMAND_NON_SMTP);
		return;
	}
	if (reply < 0) {
		if (more && row && ((row->flags & LAST) || !s->esmtp) &&
		    !(row->flags & (SMTP_CMD_QUIT | SMTP_CMD_CHUNK)))
			s->early = true;
		reply = check_sequence(s, row);
	}
	if (reply >= 0 && row && (row->flags & SMTP_CMD_CHUNK))
		smtp_server_refuse_bdat(s, args, reply);
	else if (reply >= 0)
		smtp_server_refuse(s, reply, NULL);
	else
		row->run(s, args);
	if (row && (row->flags & JUNK) && s->junk++ > s->o.junk_limit)
		s->errors++;
}

/* A whole line stands in s->line. */
static void run_line(struct smtp_server *s, bool bare_lf, bool more)
{
	struct span line = buf_span(&s->line);

	if (s->state == SMTP_ST_AUTH) {
		s->step.command = SPAN_LIT("");
		s->early |= more;
	} else {
		s->step.command = line;
	}
	if (bare_lf) {
		/* whoever parts lines otherwise than we do may see other commands: end it here */
		smtp_server_refuse(s, REPLY_BARE_LF, NULL);
		smtp_server_close(s, REPLY_BARE_LF);
	} else if (s->state == SMTP_ST_AUTH) {
		smtp_server_auth_line(s, line, s->line_long);
	} else {
		run_command(s, span_trim(line), more);
	}
}

/* How long this line may be: a response of AUTH, first or later, is longer than any command. */
static size_t line_octets_max(const struct smtp_server *s, struct span piece)
{
	struct span start = buf_len(&s->line) >= 5 ? buf_span(&s->line) : piece;

	if (s->state == SMTP_ST_AUTH || span_starts_nocase(start, SPAN_LIT("AUTH ")))
		return SMTP_SASL_LINE_MAX;
	return s->o.line_octets_max;
}

/* Keep what fits of a line; the rest is eaten, and one reply says so at its end. */
static void keep(struct smtp_server *s, struct span piece)
{
	size_t most = line_octets_max(s, piece);
	size_t room = most > buf_len(&s->line) ? most - buf_len(&s->line) : 0;

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
		smtp_server_wipe(&s->line);
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
		while (word.n < args.n && !smtp_is_blank(args.p[word.n]))
			word.n++;
	}
	if (word.n != args.n)
		smtp_server_refuse(s, REPLY_SYNTAX_NOOP, NULL);
	else
		smtp_server_say(s, REPLY_OK, NULL);
}

static void on_starttls(struct smtp_server *s, struct span args)
{
	if (args.n)
		smtp_server_refuse(s, REPLY_SYNTAX_STARTTLS, NULL);
	else
		smtp_server_ask(s, SMTP_STEP_STARTTLS);
}

/* A node, "@" and a domain for it and those below, or "#" and a queue's name; RFC 1985 5.2. */
static void on_etrn(struct smtp_server *s, struct span args)
{
	struct span name = args;

	if (name.n && (name.p[0] == '@' || name.p[0] == '#'))
		name = span_skip(name, 1);
	if (!smtp_domain_valid(name)) {
		smtp_server_refuse(s, REPLY_SYNTAX_ETRN, NULL);
		return;
	}
	s->step.argument = args;
	smtp_server_ask(s, SMTP_STEP_ETRN);
}

/* The verbs that the table has and this client may use. */
static void on_help(struct smtp_server *s, struct span args)
{
	struct reply_args help = { 0 };
	unsigned offered = smtp_server_offered(s);
	struct buf text;

	(void)args;
	buf_init(&text, 512);
	buf_add_str(&text, "Commands:");
	for (size_t i = 0; i < smtp_command_count; i++)
		if (smtp_commands[i].run && !(smtp_commands[i].extension & ~offered))
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
