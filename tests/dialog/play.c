/*
 * tests/dialog/play.c - plays the *.smtp scripts; README.md has the format.
 *
 *     play FILE-OR-DIRECTORY...
 *
 * One line of TAP a script.  With a directory a last test asks that every reply which
 * the machine gives of itself is provoked by some script.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/arena.h"
#include "base/file.h"
#include "catalogue/reply_ids.h"
#include "tests/unit/smtp_host.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define COUNT(rows) (sizeof(rows) / sizeof(*(rows)))
#define SCRIPT_MAX  (1024 * 1024)

/*
 * What a script is played on.  The machine answers at once; a socket would wait in
 * line().  can_host: H: and E: lines mean something to it.
 */
struct backend {
	const char *name;
	bool can_host;
	void (*open)(struct backend *b, const struct smtp_server_options *o);
	void (*host)(struct backend *b, enum smtp_step_kind step, int reply);
	void (*event)(struct backend *b, struct span what, int reply);
	void (*send)(struct backend *b, struct span octets);
	bool (*line)(
	    struct backend *b, struct span *line_r); /* without CRLF; good until the next */
	bool (*closed)(struct backend *b, int *reply_r);
	void (*close)(struct backend *b);
	/* the machine's */
	struct smtp_host h;
	size_t split;
	size_t read;
};

static void machine_open(struct backend *b, const struct smtp_server_options *o)
{
	smtp_host_init(&b->h, o);
	b->read = 0;
}

static void machine_host(struct backend *b, enum smtp_step_kind step, int reply)
{
	b->h.answers[step] = reply;
}

static void machine_event(struct backend *b, struct span what, int reply)
{
	smtp_host_say(&b->h, "");
	if (span_eq(what, SPAN_LIT("timeout"))) {
		b->h.now_ms = smtp_server_deadline(b->h.server);
		smtp_server_timeout(b->h.server, b->h.now_ms);
	} else if (span_eq(what, SPAN_LIT("eof"))) {
		smtp_server_eof(b->h.server);
	} else {
		smtp_server_abort(b->h.server, reply, NULL);
	}
	smtp_host_say(&b->h, "");
}

static void machine_send(struct backend *b, struct span octets)
{
	smtp_host_feed(&b->h, octets, b->split);
}

static bool machine_line(struct backend *b, struct span *line_r)
{
	struct span rest;
	ptrdiff_t lf;

	smtp_host_say(&b->h, "");
	rest = span_skip(buf_span(&b->h.output), b->read);
	lf = span_find(rest, '\n');
	if (lf < 1 || rest.p[lf - 1] != '\r')
		return false;
	b->read += (size_t)lf + 1;
	*line_r = span_of(rest.p, (size_t)lf - 1);
	return true;
}

static bool machine_closed(struct backend *b, int *reply_r)
{
	smtp_host_say(&b->h, "");
	*reply_r = b->h.close_reply;
	return b->h.closed;
}

static void machine_close(struct backend *b)
{
	smtp_host_done(&b->h);
}

static const struct backend machine = {
	.name = "machine",
	.can_host = true,
	.open = machine_open,
	.host = machine_host,
	.event = machine_event,
	.send = machine_send,
	.line = machine_line,
	.closed = machine_closed,
	.close = machine_close,
};

/* One script being played. */
struct play {
	struct backend *b;
	struct smtp_server_options o;
	bool open;
	unsigned line_no;
	struct buf pending; /* what the client sends at once */
	struct buf heard;   /* all lines of the server, for `provokes` */
	char error[512];
};

static bool fail(struct play *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool fail(struct play *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->error, sizeof(p->error), fmt, ap);
	va_end(ap);
	return false;
}

static int reply_by_id(struct span id)
{
	return catalogue_reply_by_id(catalogue_builtin(), id);
}

/* Cut the first word off a span. */
static struct span word(struct span *s)
{
	struct span w = span_trim(*s);
	size_t n = 0;

	while (n < w.n && w.p[n] != ' ')
		n++;
	*s = span_trim(span_skip(w, n));
	return span_of(w.p, n);
}

static bool set_option(struct play *p, struct span value)
{
	static const struct {
		const char *keyword;
		unsigned bit;
	} extensions[] = {
		{ "PIPELINING", SMTP_EXT_PIPELINING },
		{ "SIZE", SMTP_EXT_SIZE },
		{ "8BITMIME", SMTP_EXT_8BITMIME },
		{ "ENHANCEDSTATUSCODES", SMTP_EXT_ENHANCEDSTATUSCODES },
		{ "DSN", SMTP_EXT_DSN },
		{ "VRFY", SMTP_EXT_VRFY },
		{ "STARTTLS", SMTP_EXT_STARTTLS },
		{ "AUTH", SMTP_EXT_AUTH },
		{ "CHUNKING", SMTP_EXT_CHUNKING },
		{ "BINARYMIME", SMTP_EXT_BINARYMIME },
		{ "SMTPUTF8", SMTP_EXT_SMTPUTF8 },
		{ "LIMITS", SMTP_EXT_LIMITS },
		{ "REQUIRETLS", SMTP_EXT_REQUIRETLS },
		{ "ETRN", SMTP_EXT_ETRN },
		{ "XCLIENT", SMTP_EXT_XCLIENT },
		{ "XFORWARD", SMTP_EXT_XFORWARD },
	};
	const struct {
		const char *name;
		uint32_t *to;
	} numbers[] = {
		{ "rcpt_max", &p->o.rcpt_max },
		{ "line_octets_max", &p->o.line_octets_max },
		{ "error_hard_limit", &p->o.error_hard_limit },
		{ "junk_limit", &p->o.junk_limit },
		{ "hops_max", &p->o.hops_max },
	};
	const struct {
		const char *name;
		bool *to;
	} flags[] = {
		{ "helo_required", &p->o.helo_required },
		{ "nul_refused", &p->o.nul_refused },
		{ "tls", &p->o.tls },
		{ "tls_required", &p->o.tls_required },
		{ "auth_without_tls", &p->o.auth_without_tls },
		{ "auth_required", &p->o.auth_required },
	};
	struct span name = word(&value);
	uint64_t n;

	if (span_eq(name, SPAN_LIT("without")) || span_eq(name, SPAN_LIT("with"))) {
		for (size_t i = 0; i < COUNT(extensions); i++) {
			if (!span_eq(value, span_str(extensions[i].keyword)))
				continue;
			p->o.extensions &= ~extensions[i].bit;
			if (span_eq(name, SPAN_LIT("with")))
				p->o.extensions |= extensions[i].bit;
			return true;
		}
		return fail(p, "no such extension");
	}
	if (span_u64(value, UINT32_MAX, &n) < 0)
		return fail(p, "not a number");
	for (size_t i = 0; i < COUNT(numbers); i++)
		if (span_eq(name, span_str(numbers[i].name)))
			return *numbers[i].to = (uint32_t)n, true;
	if (span_eq(name, SPAN_LIT("message_octets_max")))
		return p->o.message_octets_max = n, true;
	for (size_t i = 0; i < COUNT(flags); i++)
		if (span_eq(name, span_str(flags[i].name)))
			return *flags[i].to = n != 0, true;
	return fail(p, "no such option");
}

static void open_once(struct play *p)
{
	if (p->open)
		return;
	p->b->open(p->b, &p->o);
	p->open = true;
}

static bool set_host(struct play *p, struct span value)
{
	static const struct {
		const char *name;
		enum smtp_step_kind kind;
	} steps[] = {
		{ "connect", SMTP_STEP_CONNECT },
		{ "helo", SMTP_STEP_HELO },
		{ "mail", SMTP_STEP_MAIL },
		{ "rcpt", SMTP_STEP_RCPT },
		{ "data", SMTP_STEP_DATA },
		{ "message", SMTP_STEP_MESSAGE },
		{ "vrfy", SMTP_STEP_VRFY },
		{ "starttls", SMTP_STEP_STARTTLS },
		{ "auth", SMTP_STEP_AUTH },
		{ "response", SMTP_STEP_AUTH_RESPONSE },
		{ "etrn", SMTP_STEP_ETRN },
		{ "xforward", SMTP_STEP_XFORWARD },
	};
	struct span name = word(&value);
	int reply = reply_by_id(value);

	if (reply < 0)
		return fail(p, "no such reply");
	open_once(p);
	for (size_t i = 0; i < COUNT(steps); i++)
		if (span_eq(name, span_str(steps[i].name)))
			return p->b->host(p->b, steps[i].kind, reply), true;
	return fail(p, "no such step");
}

static int hex(uint8_t c)
{
	c = ascii_lower(c);
	return ascii_is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 0;
}

static void add_escaped(struct buf *to, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];
		if (c == '\\' && i + 1 < s.n) {
			c = s.p[++i];
			if (c == 'x' && i + 2 < s.n) {
				c = (uint8_t)(hex(s.p[i + 1]) << 4 | hex(s.p[i + 2]));
				i += 2;
			} else {
				c = c == 'r' ? '\r' : c == 'n' ? '\n' : c == '0' ? '\0' : c;
			}
		}
		buf_add(to, &c, 1);
	}
}

static void send_pending(struct play *p)
{
	open_once(p);
	if (buf_len(&p->pending))
		p->b->send(p->b, buf_span(&p->pending));
	buf_reset(&p->pending);
}

/* The line as expected; a star at the end of `want` stands for the rest. */
static bool line_fits(struct span line, struct span want)
{
	if (want.n && want.p[want.n - 1] == '*')
		return line.n >= want.n - 1 && memcmp(line.p, want.p, want.n - 1) == 0;
	return span_eq(line, want);
}

static bool expect_line(struct play *p, struct span want)
{
	struct span line;

	if (!p->b->line(p->b, &line))
		return fail(p, "the server says nothing, expected \"%.*s\"", SPAN_FMT(want));
	buf_add_span(&p->heard, line);
	buf_add_char(&p->heard, '\n');
	return line_fits(line, want) ||
	    fail(p, "\"%.*s\" instead of \"%.*s\"", SPAN_FMT(line), SPAN_FMT(want));
}

static bool expect_reply(struct play *p, struct span code)
{
	for (;;) {
		struct span line;
		if (!p->b->line(p->b, &line))
			return fail(p, "the server says nothing, expected %.*s", SPAN_FMT(code));
		buf_add_span(&p->heard, line);
		buf_add_char(&p->heard, '\n');
		if (line.n < 4 || !span_eq(span_of(line.p, 3), code))
			return fail(p, "\"%.*s\" instead of %.*s", SPAN_FMT(line), SPAN_FMT(code));
		if (line.p[3] == ' ')
			return true;
	}
}

static bool expect_silence(struct play *p)
{
	struct span line;

	open_once(p);
	return !p->b->line(p->b, &line) || fail(p, "unexpected \"%.*s\"", SPAN_FMT(line));
}

static bool expect_close(struct play *p, struct span id)
{
	int reply;

	if (!p->b->closed(p->b, &reply))
		return fail(p, "the session is still open");
	return reply == reply_by_id(id) || fail(p, "closed for another reason");
}

static bool event(struct play *p, struct span value)
{
	struct span what = word(&value);

	open_once(p);
	p->b->event(p->b, what, reply_by_id(value));
	return true;
}

/* "X: value" or "X*9: value"; a remark or an empty line does nothing. */
static bool run_line(struct play *p, struct span line)
{
	ptrdiff_t colon = span_find(line, ':'), star;
	struct span key, value;
	uint64_t times = 1;

	if (line.n == 0 || line.p[0] == '#')
		return true;
	if (colon < 1)
		return fail(p, "not a line of a script");
	key = span_of(line.p, (size_t)colon);
	value = span_skip(line, key.n + 1);
	if (value.n && value.p[0] == ' ')
		value = span_skip(value, 1);
	if ((star = span_find(key, '*')) > 0) {
		if (span_u64(span_skip(key, (size_t)star + 1), 100000, &times) < 0)
			return fail(p, "not a number of times");
		key.n = (size_t)star;
	}
	if (key.p[0] == 'C') {
		if (buf_len(&p->pending) == 0 && !expect_silence(p))
			return false;
		for (uint64_t i = 0; i < times; i++) {
			if (key.n == 2) {
				add_escaped(&p->pending, value);
			} else {
				buf_add_span(&p->pending, value);
				buf_add_str(&p->pending, "\r\n");
			}
		}
		return true;
	}
	if (key.p[0] == 'O')
		return set_option(p, value);
	if (key.p[0] == 'H')
		return set_host(p, value);
	send_pending(p);
	if (key.p[0] == 'E')
		return event(p, value);
	if (key.p[0] == 'X')
		return expect_close(p, value);
	if (key.p[0] != 'S')
		return fail(p, "not a line of a script");
	for (uint64_t i = 0; i < times; i++)
		if (!(key.n == 2 ? expect_reply(p, value) : expect_line(p, value)))
			return false;
	return true;
}

/* Is the text, with its {fields}, what the line says?  Tried from the longest field down. */
static bool text_fits(const char *text, struct span line)
{
	if (*text == '\0' || *text == '\n')
		return line.n == 0;
	if (*text == '{') {
		const char *behind = strchr(text, '}');
		if (!behind)
			return false;
		for (size_t n = line.n + 1; n-- > 0;)
			if (text_fits(behind + 1, span_skip(line, n)))
				return true;
		return false;
	}
	return line.n && line.p[0] == (uint8_t)*text && text_fits(text + 1, span_skip(line, 1));
}

/* Does a line that was heard show this reply? */
static bool was_heard(struct span heard, const struct cat_reply *row)
{
	char code[40];
	struct span rest = heard;

	if (row->enhanced.class_)
		snprintf(code, sizeof(code), "%u %u.%u.%u ", row->code, row->enhanced.class_,
		    row->enhanced.subject, row->enhanced.detail);
	else
		snprintf(code, sizeof(code), "%u ", row->code);
	while (rest.n) {
		ptrdiff_t lf = span_find(rest, '\n');
		struct span line = span_of(rest.p, (size_t)lf);
		rest = span_skip(rest, line.n + 1);
		if (line.n < strlen(code))
			continue;
		if (memcmp(line.p, code, 3) == 0 &&
		    memcmp(line.p + 4, code + 4, strlen(code) - 4) == 0 &&
		    text_fits(row->text, span_skip(line, strlen(code))))
			return true;
	}
	return false;
}

static bool provoked[4096];

/* Each id of "# provokes:" must have been heard. */
static bool check_provokes(struct play *p, struct span line)
{
	const struct span tag = SPAN_LIT("# provokes:");
	struct span ids, id;

	if (!span_starts_nocase(line, tag))
		return true;
	ids = span_skip(line, tag.n);
	while ((id = word(&ids)).n) {
		int reply = reply_by_id(id);
		if (reply < 0 || (size_t)reply >= COUNT(provoked))
			return fail(p, "no such reply as %.*s", SPAN_FMT(id));
		if (!was_heard(buf_span(&p->heard), catalogue_reply(catalogue_builtin(), reply)))
			return fail(p, "%.*s was not heard", SPAN_FMT(id));
		provoked[reply] = true;
	}
	return true;
}

static bool each_line(
    struct play *p, struct span script, bool (*fn)(struct play *p, struct span line))
{
	p->line_no = 0;
	while (script.n) {
		ptrdiff_t lf = span_find(script, '\n');
		struct span line = span_of(script.p, lf < 0 ? script.n : (size_t)lf);
		script = span_skip(script, line.n + 1);
		p->line_no++;
		if (!fn(p, line))
			return false;
	}
	return true;
}

static bool play_once(struct play *p, struct span script)
{
	bool ok = each_line(p, script, run_line);

	if (ok) {
		send_pending(p);
		ok = expect_silence(p);
	}
	return ok && each_line(p, script, check_provokes);
}

/* The first remark is the title. */
static struct span title(struct span script)
{
	const struct span tag = SPAN_LIT("# provokes:");

	while (script.n) {
		ptrdiff_t lf = span_find(script, '\n');
		struct span line = span_of(script.p, lf < 0 ? script.n : (size_t)lf);
		script = span_skip(script, line.n + 1);
		if (line.n > 2 && line.p[0] == '#' && !span_starts_nocase(line, tag))
			return span_skip(line, 2);
	}
	return SPAN_LIT("without a title");
}

static unsigned tests, failures;

static void report(bool ok, const char *path, struct span what, const char *error, unsigned line)
{
	printf("%sok %u - %s: %.*s\n", ok ? "" : "not ", ++tests, path, SPAN_FMT(what));
	if (!ok)
		printf("# %s:%u: %s\n", path, line, error);
	failures += !ok;
}

static void play_file(const char *path)
{
	static const size_t splits[] = { 0, 1, 7, 64 };
	struct buf script;
	bool ok = true;

	buf_init(&script, SCRIPT_MAX);
	if (file_read(path, &script) < 0) {
		report(false, path, SPAN_LIT("cannot be read"), "", 0);
		buf_done(&script);
		return;
	}
	for (size_t i = 0; ok && i < COUNT(splits); i++) {
		struct backend b = machine;
		struct play p = { .b = &b };

		b.split = splits[i];
		smtp_server_options_init(&p.o, catalogue_builtin(), "mx.example.org");
		p.o.auth_mechanisms = "PLAIN LOGIN";
		buf_init(&p.pending, SCRIPT_MAX);
		buf_init(&p.heard, SCRIPT_MAX);
		ok = play_once(&p, buf_span(&script));
		if (!ok || i + 1 == COUNT(splits))
			report(ok, path, title(buf_span(&script)), p.error, p.line_no);
		if (p.open)
			b.close(&b);
		buf_done(&p.pending);
		buf_done(&p.heard);
	}
	buf_done(&script);
}

static int is_script(const struct dirent *e)
{
	const struct span suffix = SPAN_LIT(".smtp");

	return span_ends_nocase(span_str(e->d_name), suffix);
}

/* What the machine says without being told to by its host. */
static const int own[] = {
	/* clang-format off */
	REPLY_BYE, REPLY_OK, REPLY_HELP, REPLY_TIMEOUT, REPLY_TOO_MANY_ERRORS,
	REPLY_TOO_MANY_RECIPIENTS, REPLY_BAD_SYNTAX, REPLY_BAD_UTF8, REPLY_COMMAND_UNKNOWN,
	REPLY_COMMAND_NOT_IMPLEMENTED, REPLY_LINE_TOO_LONG, REPLY_BAD_RECIPIENT_SYNTAX,
	REPLY_BAD_SENDER_SYNTAX, REPLY_BAD_ENVID, REPLY_BAD_SIZE, REPLY_BAD_RET, REPLY_BAD_NOTIFY,
	REPLY_BAD_ORCPT, REPLY_UNSUPPORTED_OPTION, REPLY_SYNTAX_DATA, REPLY_SYNTAX_MAIL,
	REPLY_SYNTAX_NOOP, REPLY_SYNTAX_RCPT, REPLY_SYNTAX_RSET, REPLY_SYNTAX_VRFY,
	REPLY_SYNTAX_HELO, REPLY_SYNTAX_EHLO, REPLY_DSN_DISABLED, REPLY_VRFY_DISABLED,
	REPLY_TRANSACTION_IN_PROGRESS, REPLY_NEED_MAIL, REPLY_NEED_RCPT, REPLY_NO_VALID_RECIPIENTS,
	REPLY_NESTED_MAIL, REPLY_HELO_FIRST, REPLY_MESSAGE_TOO_BIG, REPLY_SIZE_FIXED_LIMIT, REPLY_SIZE_LIMIT,
	REPLY_COMMAND_NON_SMTP, REPLY_BARE_LF, REPLY_BARE_CR, REPLY_MAIL_LOOP, REPLY_ACCESS_DENIED,
	REPLY_AUTH_NOT_ENABLED, REPLY_NUL_IN_DATA,
	/* clang-format on */
};

static void play_directory(const char *path)
{
	struct dirent **names;
	int n = scandir(path, &names, is_script, alphasort);
	char error[256] = "", file[4096];
	bool ok = true;

	for (int i = 0; i < n; i++) {
		snprintf(file, sizeof(file), "%s/%s", path, names[i]->d_name);
		play_file(file);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	for (size_t i = 0; i < COUNT(own) && ok; i++) {
		ok = provoked[own[i]];
		snprintf(error, sizeof(error), "no script provokes %s",
		    catalogue_reply(catalogue_builtin(), own[i])->id);
	}
	report(ok, path, SPAN_LIT("every reply of the machine's own is provoked"), error, 0);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct stat st;
		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
			play_directory(argv[i]);
		else
			play_file(argv[i]);
	}
	printf("1..%u\n", tests);
	return failures != 0;
}
