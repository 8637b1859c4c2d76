/*
 * events/postfix-log.c - see events/postfix-log.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "events/postfix-log.h"
#include "base/crc32c.h"
#include "base/utf8.h"
#include "envelope/envelope.h"

#include <stdio.h>
#include <unistd.h>

/* An address or a name; what is longer helps nobody. */
#define WORD_OCTETS_MAX 320
/* The words of a reply. */
#define TEXT_OCTETS_MAX 1000
/* A line: two addresses, a reply and what stands around them. */
#define LINE_OCTETS_MAX 4096
/* Session numbers look like process ids of a busy machine. */
#define SESSION_NUMBERS (1u << 22)

struct writer {
	struct postfix_log *log;
	const struct event *ev;
	struct buf text;
	char id[QUEUE_ID_TEXT_MAX];
	void (*fn)(void *arg, const struct event *ev, const struct postfix_log_line *line);
	void *arg;
};

/* One character of a peer's octets: itself, or a question mark. */
static size_t put_char(struct buf *out, struct span s, bool angles)
{
	uint8_t c = s.p[0];
	size_t n = c < 0x80 ? 1 : utf8_char_octets(s);

	/* U+0080 to U+009F drive terminals as well. */
	if (n == 0 || (n == 2 && c == 0xc2 && s.p[1] < 0xa0)) {
		buf_add_char(out, '?');
		return n ? n : 1;
	}
	if (c == '\n')
		buf_add_char(out, ' ');
	else if (c < 0x20 || c == 0x7f || (!angles && (c == '<' || c == '>')))
		buf_add_char(out, '?');
	else
		buf_add(out, s.p, n);
	return n;
}

static void put_cut(struct buf *out, struct span s, size_t max, bool angles)
{
	size_t i = 0;

	while (i < s.n && i < max)
		i += put_char(out, span_skip(s, i), angles);
	if (i < s.n)
		buf_add_str(out, "...");
}

/* What stands between < and >, so that it cannot end there. */
static void put_word(struct buf *out, struct span s)
{
	put_cut(out, s, WORD_OCTETS_MAX, false);
}

static void put_text(struct buf *out, struct span s)
{
	put_cut(out, s, TEXT_OCTETS_MAX, true);
}

/* The session's number, the same in all of its lines. */
static unsigned session_number(const struct event *ev)
{
	return crc32c(0, ev->session.p, ev->session.n) % (SESSION_NUMBERS - 1) + 1;
}

static void line_out(struct writer *w, const char *service, int severity)
{
	bool session = w->ev->session.n && strcmp(service, "smtpd") == 0;
	struct postfix_log_line line = { service,
		session ? session_number(w->ev) : (unsigned)getpid(), severity,
		buf_span(&w->text) };

	if (!w->text.failed && line.text.n)
		w->fn(w->arg, w->ev, &line);
	buf_reset(&w->text);
}

/* "smtpd: WHAT client" */
static void about_client(struct writer *w, const char *what)
{
	buf_add_str(&w->text, what);
	put_word(&w->text, w->ev->client);
}

static void put_status(struct buf *out, struct enhanced_status e, unsigned class_)
{
	if (e.class_)
		buf_addf(out, "%u.%u.%u", e.class_, e.subject, e.detail);
	else
		buf_addf(out, "%u.0.0", class_);
}

/* "550 5.1.1 text", as it went over the wire, but for the policy code, which comes last. */
static void put_reply(struct buf *out, const struct event *ev)
{
	struct span text = ev->text;
	size_t n = ev->policy_code ? strlen(ev->policy_code) : 0;

	if (n && text.n > n && memcmp(text.p, ev->policy_code, n) == 0 && text.p[n] == ' ')
		text = span_skip(text, n + 1);
	if (ev->code)
		buf_addf(out, "%u ", ev->code);
	if (ev->enhanced.class_ && ev->code) {
		put_status(out, ev->enhanced, 0);
		buf_add_char(out, ' ');
	}
	put_text(out, text);
}

/* ---- a client's session ---- */

static void session_closed(struct writer *w)
{
	static const struct {
		const char *ended, *words;
	} ends[] = { { "lost", "lost connection" }, { "timeout", "timeout" },
		{ "errors", "too many errors" } };
	const struct event *ev = w->ev;

	for (size_t i = 0; ev->ended && i < sizeof(ends) / sizeof(ends[0]); i++) {
		if (strcmp(ev->ended, ends[i].ended) != 0)
			continue;
		buf_addf(&w->text, "%s after %s from ", ends[i].words,
		    ev->after ? ev->after : "CONNECT");
		about_client(w, "");
		line_out(w, "smtpd", POSTFIX_LOG_INFO);
	}
	about_client(w, "disconnect from ");
	if (ev->commands.n) {
		buf_add_char(&w->text, ' ');
		put_text(&w->text, ev->commands);
	}
	line_out(w, "smtpd", POSTFIX_LOG_INFO);
}

static void tls(struct writer *w)
{
	const struct event *ev = w->ev;
	struct span d = ev->detail;
	const char *trust = "Anonymous";

	if (d.p && memmem(d.p, d.n, "fingerprint", 11))
		trust = memmem(d.p, d.n, "not verified", 12) ? "Untrusted" : "Trusted";
	buf_addf(&w->text, "%s TLS connection established from ", trust);
	about_client(w, "");
	buf_add_str(&w->text, ": ");
	put_text(&w->text, ev->text);
	line_out(w, "smtpd", POSTFIX_LOG_INFO);
}

static bool is_reply(const struct event *ev, const char *id)
{
	return ev->reply_id && strcmp(ev->reply_id, id) == 0;
}

/* Said by the line of the session's end. */
static bool ends_session(const struct event *ev)
{
	return is_reply(ev, "timeout") || is_reply(ev, "too_many_errors") ||
	    is_reply(ev, "closing");
}

/* A command that no policy has refused: Postfix keeps silent, and statistics of rejects do not
 * count it. */
static bool is_protocol(const struct event *ev)
{
	return ev->enhanced.subject == 5 && !is_reply(ev, "too_many_recipients") &&
	    !(ev->after && strcmp(ev->after, "END-OF-MESSAGE") == 0);
}

static void put_tail(struct writer *w)
{
	const struct event *ev = w->ev;
	struct buf *out = &w->text;

	buf_add_char(out, ';');
	if (ev->has_sender) {
		buf_add_str(out, " from=<");
		put_word(out, ev->sender);
		buf_add_str(out, ">");
	}
	if (ev->recipient.n) {
		buf_add_str(out, " to=<");
		put_word(out, ev->recipient);
		buf_add_str(out, ">");
	}
	buf_addf(out, " proto=%s", ev->protocol ? ev->protocol : "SMTP");
	if (ev->helo.n) {
		buf_add_str(out, " helo=<");
		put_word(out, ev->helo);
		buf_add_str(out, ">");
	}
	if (ev->policy_code)
		buf_addf(out, " code=%s", ev->policy_code);
}

static void refused(struct writer *w)
{
	const struct event *ev = w->ev;
	struct buf *out = &w->text;

	if (ends_session(ev))
		return;
	buf_addf(out, is_protocol(ev) ? "bad command: %s from " : "NOQUEUE: reject: %s from ",
	    ev->after ? ev->after : "CONNECT");
	about_client(w, "");
	buf_add_str(out, ": ");
	put_reply(out, ev);
	put_tail(w);
	line_out(w, "smtpd", POSTFIX_LOG_INFO);
}

static void auth_failed(struct writer *w)
{
	const struct event *ev = w->ev;

	about_client(w, "warning: ");
	buf_addf(&w->text, ": SASL %s authentication %s", ev->mechanism ? ev->mechanism : "LOGIN",
	    ev->code / 100 == 5 ? "failed: " : "could not be checked: ");
	put_text(&w->text, ev->text);
	if (ev->user.n) {
		buf_add_str(&w->text, ", sasl_username=");
		put_word(&w->text, ev->user);
	}
	line_out(w, "smtpd", POSTFIX_LOG_WARNING);
}

/* ---- a message ---- */

static void put_origin(struct writer *w)
{
	const struct event *ev = w->ev;
	struct buf *out = &w->text;

	if (ev->uid) {
		buf_addf(out, "%s: uid=%lld from=<", w->id, (long long)(ev->uid - 1));
		put_word(out, ev->sender);
		buf_add_str(out, ">");
		line_out(w, "pickup", POSTFIX_LOG_INFO);
		return;
	}
	buf_addf(out, "%s: client=", w->id);
	put_word(out, ev->client);
	if (ev->user.n) {
		buf_addf(out,
		    ", sasl_method=%s, sasl_username=", ev->mechanism ? ev->mechanism : "PLAIN");
		put_word(out, ev->user);
	}
	if (ev->orig_id.n) {
		buf_add_str(out, ", orig_queue_id=");
		put_word(out, ev->orig_id);
	}
	if (ev->orig_client.n) {
		buf_add_str(out, ", orig_client=");
		put_word(out, ev->orig_client);
	}
	line_out(w, "smtpd", POSTFIX_LOG_INFO);
}

static void put_active(
    struct writer *w, const char *id, struct span sender, uint64_t size, unsigned rcpts)
{
	buf_addf(&w->text, "%s: from=<", id);
	put_word(&w->text, sender);
	buf_addf(
	    &w->text, ">, size=%llu, nrcpt=%u (queue active)", (unsigned long long)size, rcpts);
	line_out(w, "qmgr", POSTFIX_LOG_INFO);
}

/* One event for each recipient; the lines are of the message. */
static void received(struct writer *w)
{
	const struct event *ev = w->ev;

	if (ev->index > 0)
		return;
	put_origin(w);
	buf_addf(&w->text, "%s: message-id=<", w->id);
	put_word(&w->text, ev->message_id);
	buf_add_str(&w->text, ">");
	line_out(w, "cleanup", POSTFIX_LOG_INFO);
	put_active(w, w->id, ev->sender, ev->size, ev->recipients);
}

/* "mx.example.org[192.0.2.1]:25", "virtual", "none" */
static void put_relay(struct buf *out, const struct event *ev)
{
	const char *transport = ev->transport ? ev->transport : "error";
	struct span a = ev->address;
	ptrdiff_t colon = span_rfind(a, ':');

	if (strcmp(transport, "virtual") == 0) {
		buf_add_str(out, "virtual");
		return;
	}
	if (!ev->host.n || a.n == 0) {
		buf_add_str(out, "none");
		return;
	}
	put_word(out, ev->host);
	buf_add_char(out, '[');
	if (colon > 0) {
		struct span ip = span_of(a.p, (size_t)colon);
		if (ip.n > 2 && ip.p[0] == '[')
			ip = span_of(ip.p + 1, ip.n - 2);
		put_word(out, ip);
		buf_add_str(out, "]:");
		put_word(out, span_skip(a, (size_t)colon + 1));
	} else {
		put_word(out, a);
		buf_add_char(out, ']');
	}
}

static void put_seconds(struct buf *out, int64_t ms)
{
	if (ms < 0)
		ms = 0;
	if (ms >= 100000)
		buf_addf(out, "%lld", (long long)(ms / 1000));
	else if (ms % 1000 == 0)
		buf_addf(out, "%lld", (long long)(ms / 1000));
	else
		buf_addf(out, "%lld.%02lld", (long long)(ms / 1000), (long long)(ms % 1000 / 10));
}

static const char *command_of(const char *stage)
{
	static const struct {
		const char *stage, *words;
	} rows[] = { { "connect", NULL }, { "helo", "EHLO command" },
		{ "mail", "MAIL FROM command" }, { "rcpt", "RCPT TO command" },
		{ "data", "DATA command" }, { "message", "end of DATA command" } };

	for (size_t i = 0; stage && i < sizeof(rows) / sizeof(rows[0]); i++)
		if (strcmp(stage, rows[i].stage) == 0)
			return rows[i].words;
	return NULL;
}

/* Behind status=, in parentheses. */
static void put_outcome(struct buf *out, const struct event *ev)
{
	const char *command = command_of(ev->stage);
	bool said = ev->type != EVENT_DELIVERED && ev->code;

	if (ev->type == EVENT_DELIVERED && ev->transport && !strcmp(ev->transport, "virtual")) {
		buf_add_str(out, "delivered to maildir");
		return;
	}
	if (said) {
		buf_add_str(out, "host ");
		put_relay(out, ev);
		buf_add_str(out, command ? " said: " : " refused to talk to me: ");
	}
	put_reply(out, ev);
	if (said && command)
		buf_addf(out, " (in reply to %s)", command);
}

static void delivery(struct writer *w, const char *status, unsigned class_)
{
	const struct event *ev = w->ev;
	struct buf *out = &w->text;

	buf_addf(out, "%s: to=<", w->id);
	put_word(out, ev->recipient);
	buf_add_str(out, ">, ");
	if (ev->original.n) {
		buf_add_str(out, "orig_to=<");
		put_word(out, ev->original);
		buf_add_str(out, ">, ");
	}
	buf_add_str(out, "relay=");
	put_relay(out, ev);
	buf_add_str(out, ", delay=");
	put_seconds(out, ev->delay_ms);
	/* Before the queue (nothing is acknowledged that is not in it), in it, for the connection,
	 * for the transmission; the last two together. */
	buf_add_str(out, ", delays=0/");
	put_seconds(out, ev->delay_ms - ev->spent_ms);
	buf_add_str(out, "/0/");
	put_seconds(out, ev->spent_ms);
	buf_add_str(out, ", dsn=");
	/* A 4xx status of a failure for good would contradict status=bounced. */
	if (ev->enhanced.class_)
		buf_addf(out, "%u.%u.%u", class_, ev->enhanced.subject, ev->enhanced.detail);
	else
		put_status(out, ev->enhanced, class_);
	buf_addf(out, ", status=%s (", status);
	put_outcome(out, ev);
	buf_add_char(out, ')');
	if (ev->failure_code)
		buf_addf(out, " code=%u", ev->failure_code);
	line_out(w, ev->transport ? ev->transport : "error", POSTFIX_LOG_INFO);
}

static void failed(struct writer *w)
{
	const struct event *ev = w->ev;

	if (!ev->expired) {
		delivery(w, "bounced", 5);
		return;
	}
	delivery(w, "deferred", 4);
	if (w->log->expired_id == ev->queue_id)
		return;
	w->log->expired_id = ev->queue_id;
	buf_addf(&w->text, "%s: from=<", w->id);
	put_word(&w->text, ev->sender);
	buf_add_str(&w->text, ">, status=expired, returned to sender");
	line_out(w, "qmgr", POSTFIX_LOG_INFO);
}

static void bounced(struct writer *w)
{
	const struct event *ev = w->ev;
	char other[QUEUE_ID_TEXT_MAX];
	const char *kind = "non-delivery";

	bool copy = span_starts_nocase(ev->detail, SPAN_LIT("copy"));

	if (span_eq(ev->detail, SPAN_LIT("success")))
		kind = "delivery status";
	else if (span_ends_nocase(ev->detail, SPAN_LIT("delay")))
		kind = "delay";
	queue_id_text(ev->other_id, other);
	copy = copy || span_eq(ev->detail, SPAN_LIT("double bounce"));
	buf_addf(&w->text, "%s: %s %s notification: %s", w->id, copy ? "postmaster" : "sender",
	    kind, other);
	line_out(w, "bounce", POSTFIX_LOG_INFO);
	put_active(w, other, SPAN_LIT(""), ev->size, 1);
}

/* ---- the rest ---- */

static void message(struct writer *w, const char *service, const char *what)
{
	buf_addf(&w->text, "%s: %s", w->id, what);
	line_out(w, service, POSTFIX_LOG_INFO);
}

static void about_rcpt(struct writer *w, const char *what)
{
	buf_addf(&w->text, "%s: %s: <", w->id, what);
	put_word(&w->text, w->ev->recipient);
	buf_add_char(&w->text, '>');
	line_out(w, "postsuper", POSTFIX_LOG_INFO);
}

static void warning(struct writer *w, const char *service, const char *what)
{
	const struct event *ev = w->ev;

	buf_add_str(&w->text, "warning: ");
	if (ev->queue_id)
		buf_addf(&w->text, "%s: ", w->id);
	buf_add_str(&w->text, what);
	put_text(&w->text, ev->text);
	if (ev->detail.n) {
		buf_add_str(&w->text, ev->text.n ? ": " : "");
		put_text(&w->text, ev->detail);
	}
	line_out(w, service, POSTFIX_LOG_WARNING);
}

static void master(struct writer *w, const char *what)
{
	buf_add_str(&w->text, what);
	line_out(w, "master", POSTFIX_LOG_INFO);
}

static void from_client(struct writer *w, const char *what, const char *between)
{
	about_client(w, what);
	buf_add_str(&w->text, between);
	put_text(&w->text, w->ev->text);
	line_out(w, "smtpd", POSTFIX_LOG_INFO);
}

static void lines(struct writer *w)
{
	/* clang-format off */
	switch (w->ev->type) {
	case EVENT_SERVER_STARTED: master(w, "daemon started -- Postern"); break;
	case EVENT_SERVER_STOPPING: master(w, "stopping: no new sessions"); break;
	case EVENT_SERVER_STOPPED: master(w, "stopped: everything is on disk"); break;
	case EVENT_SESSION_OPENED: from_client(w, "connect from ", ""); break;
	case EVENT_SESSION_CLOSED: session_closed(w); break;
	case EVENT_EARLY_TALKER: from_client(w, "improper command pipelining after CONNECT from ", ""); break;
	case EVENT_TLS: tls(w); break;
	case EVENT_TLS_FAILED: from_client(w, "SSL_accept error from ", ": "); break;
	case EVENT_PROXY_REFUSED: from_client(w, "warning: haproxy read error from ", ": "); break;
	case EVENT_AUTH_FAILED: auth_failed(w); break;
	case EVENT_REFUSED: refused(w); break;
	case EVENT_RECEIVED: received(w); break;
	case EVENT_DELIVERED: delivery(w, "sent", 2); break;
	case EVENT_DEFERRED: delivery(w, "deferred", 4); break;
	case EVENT_FAILED: failed(w); break;
	case EVENT_BOUNCED: bounced(w); break;
	case EVENT_DSN_UNDELIVERABLE: warning(w, "bounce", "nobody can be told of this failure: "); break;
	case EVENT_FINISHED: message(w, "qmgr", "removed"); break;
	case EVENT_HELD: about_rcpt(w, "placed on hold"); break;
	case EVENT_RELEASED: about_rcpt(w, "released from hold"); break;
	case EVENT_DELETED: about_rcpt(w, "deleted"); break;
	case EVENT_NOTICE: warning(w, "master", ""); break;
	case EVENT_XCLIENT: case EVENT_RETRY: case EVENT_TYPE_COUNT: break;
	}
	/* clang-format on */
}

void postfix_log_event(struct postfix_log *l, const struct event *ev,
    void (*fn)(void *arg, const struct event *ev, const struct postfix_log_line *line), void *arg)
{
	struct writer w = { .log = l, .ev = ev, .fn = fn, .arg = arg };

	buf_init(&w.text, LINE_OCTETS_MAX);
	queue_id_text(ev->queue_id, w.id);
	lines(&w);
	buf_done(&w.text);
}
