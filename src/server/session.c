/*
 * server/session.c - one client: octets of its stream into the machine, each step answered.
 *
 * Read session_run() first: it is the whole life of a session.  A step is answered
 * at once or, for the commit of a message, later; meanwhile nothing is read from
 * this client.  Nothing here waits.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/random.h"
#include "catalogue/reply_ids.h"
#include "server/server-private.h"
#include "smtp/reply.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct reply_args no_args;

void session_free(struct session *s)
{
	struct server_worker *w = s->worker;

	assert(s->magic == SESSION_MAGIC && !s->committing);
	if (s->prev)
		s->prev->next = s->next;
	else
		w->sessions = s->next;
	if (s->next)
		s->next->prev = s->prev;
	w->session_count--;
	atomic_fetch_sub(&w->shared->sessions, 1);
	if (s->admitted)
		atomic_fetch_sub(&w->shared->admitted, 1);
	if (s->counted)
		server_clients_leave(w->shared->clients, &s->client_ip);
	transaction_done(s);
	peer_done(s);
	facts_done(&s->facts);
	net_timer_free(&s->timer);
	net_stream_close(&s->stream);
	smtp_server_free(&s->smtp);
	s->magic = 0;
	free(s);
	if (w->stopping && w->session_count == 0 && w->stopped)
		w->stopped(w->stopped_arg);
}

static void emit_opened(struct session *s)
{
	struct event ev = { .type = EVENT_SESSION_OPENED,
		.session = span_str(s->id),
		.client = span_str(s->client) };

	if (!s->opened)
		event_emit(s->worker->shared->events, &ev);
	s->opened = true;
}

/* How the session ended, from the reply of its CLOSE; -1: the client was gone before. */
static const char *ended(int reply)
{
	switch (reply) {
	case -1:
		return "lost";
	case REPLY_BYE:
		return "quit";
	case REPLY_TIMEOUT:
		return "timeout";
	case REPLY_TOO_MANY_ERRORS:
		return "errors";
	default:
		return "closed";
	}
}

static void emit_closed(struct session *s)
{
	struct event ev = { .type = EVENT_SESSION_CLOSED,
		.session = span_str(s->id),
		.client = span_str(s->client),
		.after = smtp_server_after(s->smtp),
		.ended = ended(s->close_reply),
		.delay_ms = (int64_t)(net_loop_now_ms(s->worker->loop) - s->started_ms) };
	char text[64];
	struct buf commands;

	buf_init(&commands, 1024); /* a few octets for each verb there is */
	smtp_server_counts(s->smtp, &commands);
	snprintf(text, sizeof(text), "%u messages taken, %u refusals", s->messages, s->refusals);
	ev.commands = span_skip(buf_span(&commands), 1);
	ev.detail = span_str(text);
	event_emit(s->worker->shared->events, &ev);
	buf_done(&commands);
}

/* End: what waits in the stream is still sent.  The struct goes now, or when its commit is
 * answered. */
static void session_end(struct session *s)
{
	if (s->gone)
		return;
	s->gone = true;
	session_auth_end(s);
	emit_closed(s);
	if (s->refusals)
		net_stream_close_lingering(&s->stream);
	else
		net_stream_close(&s->stream);
	if (!s->committing)
		session_free(s);
}

void session_answer(struct session *s, int reply, const struct reply_args *args)
{
	(void)smtp_server_answer(s->smtp, reply, args ? args : &no_args);
}

/* One event for each 4xx and 5xx, whoever decided it: the machine, a check, the spool. */
void session_refused(struct session *s, int reply, const struct reply_args *args, struct span trace)
{
	const struct config *cfg = s->worker->cfg;
	const struct cat_reply *row = catalogue_reply(cfg->catalogue, reply);
	struct reply_format format = { cfg->reply_style, NULL, s->txn.env.smtputf8 };
	struct buf line, text;
	struct smtp_reply parsed = { 0 };
	struct event ev = { .type = EVENT_REFUSED,
		.session = span_str(s->id),
		.client = span_str(s->client),
		.protocol = smtp_server_protocol(s->smtp),
		.after = smtp_server_after(s->smtp),
		.has_sender = s->txn.open,
		.sender = s->txn.env.reverse_path,
		.trace = trace };

	if (!row || (row->code && row->code < 400))
		return;
	s->refusals++;
	buf_init(&line, 4096); /* eight lines of 512 octets: more than any row has */
	buf_init(&text, 4096);
	if (catalogue_render(cfg->catalogue, reply, &format, args, &line) > 0 &&
	    smtp_reply_parse(buf_span(&line), &text, &parsed) == 0) {
		ev.code = parsed.code;
		ev.enhanced = parsed.enhanced;
		ev.text = parsed.text;
	}
	ev.recipient = args->field[REPLY_FIELD_recipient];
	ev.reply_id = row->id;
	ev.policy_code = row->policy_code;
	ev.failure_code = row->failure_code;
	ev.acts = cat_acts_name(row->acts);
	ev.helo = facts_get(&s->facts, (struct fact_key){ FACT_helo, SPAN_LIT("") })
	    ? facts_get(&s->facts, (struct fact_key){ FACT_helo, SPAN_LIT("") })->value
	    : SPAN_LIT("");
	event_emit(s->worker->shared->events, &ev);
	buf_done(&line);
	buf_done(&text);
}

/* A place, unless all are taken; those who are being refused at this moment have none. */
static bool admit(struct session *s)
{
	struct server_shared *shared = s->worker->shared;

	if (s->admitted)
		return true;
	s->admitted = atomic_fetch_add(&shared->admitted, 1) < s->worker->cfg->sessions_max;
	if (!s->admitted)
		atomic_fetch_sub(&shared->admitted, 1);
	return s->admitted;
}

static void answer_connect(struct session *s)
{
	struct server_worker *w = s->worker;
	struct reply_args args = no_args;
	int reply = REPLY_BANNER;

	emit_opened(s);
	args.field[REPLY_FIELD_client] = span_str(s->client);
	peer_extensions(s);
	s->counted = server_clients_enter(
	    w->shared->clients, &s->client_ip, w->cfg->sessions_per_client_max);
	if (!s->counted)
		reply = REPLY_TOO_MANY_CONNECTIONS;
	if (!admit(s))
		reply = REPLY_SERVER_PORTS_BUSY;
	if (reply != REPLY_BANNER)
		session_refused(s, reply, &args, SPAN_LIT(""));
	session_answer(s, reply, &args);
}

static void answer_helo(struct session *s, const struct smtp_step *step)
{
	facts_clear(&s->facts, FACT_SCOPE_GREETING);
	if (facts_set(&s->facts, (struct fact_key){ FACT_helo, SPAN_LIT("") }, FACT_ANSWER,
		step->helo) < 0)
		session_answer(s, REPLY_NO_RESOURCES, NULL);
	else
		session_answer(s, step->esmtp ? REPLY_EHLO_OK : REPLY_HELO_OK, NULL);
}

static void answer_vrfy(struct session *s, const struct smtp_step *step)
{
	struct reply_args args = no_args;
	struct buf trace;
	int reply;

	buf_init(&trace, TRACE_OCTETS_MAX);
	reply = recipient_check(s, step->address.address, &args, &trace);
	args.field[REPLY_FIELD_address] = step->address.address;
	if (reply == REPLY_RCPT_OK)
		reply = REPLY_VRFY_OK;
	else
		session_refused(s, reply, &args, buf_span(&trace));
	session_answer(s, reply, &args);
	buf_done(&trace);
}

/* Only for domains that we relay for: their mail may wait here for a host that was away. */
static void answer_etrn(struct session *s, const struct smtp_step *step)
{
	struct server_worker *w = s->worker;
	struct reply_args args = no_args;
	struct span domain = step->argument;
	bool below = domain.p[0] == '@';
	const char *class_;
	int reply = REPLY_ETRN_STARTED;

	if (below || domain.p[0] == '#')
		domain = span_skip(domain, 1);
	args.field[REPLY_FIELD_domain] = domain;
	class_ = config_domain_class(w->cfg, domain);
	if (!class_ || strcmp(class_, "relay") != 0)
		reply = REPLY_ETRN_NOT_ALLOWED;
	else if (!w->hooks.flush || w->hooks.flush(w->hooks.arg, domain, below) < 0)
		reply = REPLY_ETRN_UNABLE;
	if (reply != REPLY_ETRN_STARTED)
		session_refused(s, reply, &args, SPAN_LIT(""));
	session_answer(s, reply, &args);
}

/* Returns false when the session must wait (for a commit, a handshake, a password) or is over. */
static bool take_step(struct session *s)
{
	const struct smtp_step *step = smtp_server_step(s->smtp);

	switch (step->kind) {
	case SMTP_STEP_NONE:
		return true;
	case SMTP_STEP_CONNECT:
		answer_connect(s);
		return true;
	case SMTP_STEP_HELO:
		answer_helo(s, step);
		return true;
	case SMTP_STEP_MAIL:
		transaction_mail(s, step);
		return true;
	case SMTP_STEP_RCPT:
		transaction_rcpt(s, step);
		return true;
	case SMTP_STEP_DATA:
		transaction_data(s);
		return true;
	case SMTP_STEP_BODY:
		transaction_body(s, step->octets);
		return true;
	case SMTP_STEP_MESSAGE:
		return !transaction_message(s, step);
	case SMTP_STEP_VRFY:
		answer_vrfy(s, step);
		return true;
	case SMTP_STEP_ETRN:
		answer_etrn(s, step);
		return true;
	case SMTP_STEP_STARTTLS:
		session_starttls(s);
		return !s->over;
	case SMTP_STEP_TLS:
		s->phase = SESSION_HANDSHAKE; /* once our 220 is out */
		return false;
	case SMTP_STEP_XCLIENT:
		peer_xclient(s, &step->peer);
		return true;
	case SMTP_STEP_XFORWARD:
		session_answer(s, peer_xforward(s, &step->peer), NULL);
		return true;
	case SMTP_STEP_AUTH:
	case SMTP_STEP_AUTH_RESPONSE:
		return session_auth(s, step);
	case SMTP_STEP_AUTH_END:
		session_auth_end(s);
		return true;
	case SMTP_STEP_RESET:
		transaction_reset(s);
		return true;
	case SMTP_STEP_REFUSED:
		session_refused(s, step->reply, &step->args, SPAN_LIT(""));
		return true;
	case SMTP_STEP_CLOSE:
		return false;
	}
	return true;
}

/* 0: go on, 1: the rest waits for the peer to read, negative: lost. */
static int send_output(struct session *s)
{
	struct buf *out = smtp_server_output(s->smtp);

	if (!buf_len(out))
		return 0;
	return net_stream_write(s->stream, out);
}

/*
 * Feed octets until they are all taken or the session waits; then send all replies at once.
 * Returns the octets taken; the session may be freed when *over_r is set.
 */
static size_t feed(struct session *s, const uint8_t *p, size_t n, bool *over_r)
{
	size_t used = 0, used_last;
	int r;

	*over_r = false;
	for (;;) {
		size_t some = 0;
		r = smtp_server_feed(
		    s->smtp, p + used, n - used, net_loop_now_ms(s->worker->loop), &some);
		used += some;
		if (r <= 0)
			break;
		if (smtp_server_step(s->smtp)->kind == SMTP_STEP_CLOSE) {
			s->close_reply = smtp_server_step(s->smtp)->reply;
			r = -ERR_CLOSED;
			break;
		}
		s->behind = n - used;
		if (!take_step(s))
			break;
	}
	if (r == -ERR_NOMEM)
		(void)smtp_server_abort(s->smtp, REPLY_NO_RESOURCES, &no_args);
	if (send_output(s) < 0 || r < 0 || s->over ||
	    (s->phase == SESSION_HANDSHAKE && !session_handshake(s, SPAN_LIT("")))) {
		*over_r = true;
		session_end(s);
		return used;
	}
	if (s->phase == SESSION_HANDSHAKE)
		return used;
	if (s->worker->stopping && !s->committing && !smtp_server_in_transaction(s->smtp)) {
		(void)smtp_server_abort(s->smtp, REPLY_CLOSING, &no_args);
		(void)smtp_server_feed(
		    s->smtp, NULL, 0, net_loop_now_ms(s->worker->loop), &used_last);
		(void)send_output(s);
		*over_r = true;
		session_end(s);
		return used;
	}
	smtp_server_trim(s->smtp);
	s->delayed = !s->committing && !s->asking && used > 0 && smtp_server_delay_ms(s->smtp) > 0;
	net_timer_set(s->timer,
	    s->committing || s->asking ? UINT64_MAX
		: s->delayed ? net_loop_now_ms(s->worker->loop) + smtp_server_delay_ms(s->smtp)
			     : smtp_server_deadline(s->smtp));
	return used;
}

/*
 * The client is known: the banner, or the handshake before it.  `first` came behind a PROXY header.
 * Returns false when the session is over.
 */
static bool begin(struct session *s, struct span first)
{
	bool over;

	if (s->listen->tls == CONFIG_TLS_IMPLICIT) {
		if (session_handshake(s, first))
			return true;
		session_tls_failed(s, "there is no certificate");
		session_end(s);
		return false;
	}
	if (first.n || net_stream_unread(s->stream) > 0) {
		struct event ev = { .type = EVENT_EARLY_TALKER,
			.session = span_str(s->id),
			.client = span_str(s->client) };
		smtp_server_set_early(s->smtp);
		event_emit(s->worker->shared->events, &ev);
	}
	(void)feed(s, NULL, 0, &over);
	return !over;
}

static size_t take_proxy(struct session *s, const uint8_t *p, size_t n)
{
	size_t used = 0;
	int r = peer_proxy(s, span_of(p, n), &used);

	if (r < 0) {
		session_end(s);
		return n;
	}
	if (r == 0) {
		net_stream_resume(s->stream);
		return 0;
	}
	if (!begin(s, span_of(p + used, n - used)))
		return n;
	if (s->phase == SESSION_HANDSHAKE)
		return n; /* the handshake has the rest */
	net_stream_resume(s->stream);
	return used;
}

/* A phase in which the machine has no say ends. */
static void end_early(struct session *s, const char *why)
{
	if (s->phase == SESSION_PROXY)
		peer_proxy_missing(s);
	else
		session_tls_failed(s, why);
	session_end(s);
}

static size_t on_octets(void *arg, const uint8_t *p, size_t n)
{
	struct session *s = arg;
	bool over;

	assert(s->magic == SESSION_MAGIC);
	if (s->phase == SESSION_PROXY)
		return take_proxy(s, p, n);
	/* A client that reads nothing of our replies gets no more of them. */
	if (s->committing || s->asking || s->delayed || net_stream_waiting(s->stream) > 65536)
		return 0;
	return feed(s, p, n, &over);
}

void session_run(struct session *s)
{
	bool over;

	(void)feed(s, NULL, 0, &over);
	if (!over && !s->committing && !s->asking && !s->delayed)
		net_stream_resume(s->stream);
}

static void on_drained(void *arg)
{
	struct session *s = arg;

	if (!s->committing && !s->asking && !s->delayed)
		net_stream_resume(s->stream);
}

static void on_ended(void *arg, int err)
{
	struct session *s = arg;
	bool over;

	(void)err;
	assert(s->magic == SESSION_MAGIC);
	if (s->phase != SESSION_TALK) {
		end_early(s, net_stream_tls_why(s->stream));
		return;
	}
	if (s->committing) {
		session_end(s);
		return;
	}
	smtp_server_eof(s->smtp);
	(void)feed(s, NULL, 0, &over);
	if (!over)
		session_end(s);
}

static void on_deadline(void *arg)
{
	struct session *s = arg;
	uint64_t now = net_loop_now_ms(s->worker->loop);
	bool over;

	if (s->committing || s->asking)
		return;
	if (s->phase != SESSION_TALK) {
		end_early(s, "the client did not finish the handshake in time");
		return;
	}
	if (s->delayed) {
		s->delayed = false;
		net_timer_set(s->timer, smtp_server_deadline(s->smtp));
		net_stream_resume(s->stream);
		return;
	}
	if (smtp_server_deadline(s->smtp) > now) {
		net_timer_set(s->timer, smtp_server_deadline(s->smtp));
		return;
	}
	session_refused(s, REPLY_TIMEOUT, &no_args, SPAN_LIT(""));
	smtp_server_timeout(s->smtp, now);
	(void)feed(s, NULL, 0, &over);
	if (!over)
		session_end(s);
}

void session_abort(struct session *s, int reply)
{
	bool over;

	if (s->phase != SESSION_TALK) {
		session_end(s); /* nobody would understand a word of ours yet */
		return;
	}
	(void)smtp_server_abort(s->smtp, reply, &no_args);
	(void)feed(s, NULL, 0, &over);
	if (!over)
		session_end(s);
}

static const struct net_stream_events stream_events = {
	.octets = on_octets,
	.drained = on_drained,
	.ended = on_ended,
	.secured = session_secured,
};

static int machine_new(struct session *s)
{
	const struct config *cfg = s->worker->cfg;
	struct smtp_server_options o;

	smtp_server_options_init(&o, cfg->catalogue, cfg->hostname);
	o.format = (struct reply_format){ cfg->reply_style, cfg->help_url, false };
	o.message_octets_max = cfg->message_octets_max;
	o.rcpt_max = cfg->rcpt_max;
	o.line_octets_max = cfg->line_octets_max;
	o.error_soft_limit = cfg->error_soft_limit;
	o.error_hard_limit = cfg->error_hard_limit;
	o.junk_limit = cfg->junk_limit;
	o.hops_max = cfg->hops_max;
	o.timeout_ms = cfg->command_timeout_ms;
	o.helo_required = cfg->helo_required;
	o.session = span_str(s->id);
	o.tls = s->listen->tls == CONFIG_TLS_IMPLICIT;
	o.tls_required = s->listen->tls_required;
	session_auth_options(s, &o);
	s->extensions = o.extensions;
	return smtp_server_new(&o, s->started_ms, &s->smtp);
}

static void make_id(char *to)
{
	static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";
	uint8_t octets[12];

	random_fill(octets, sizeof(octets));
	for (size_t i = 0; i < sizeof(octets); i++)
		to[i] = alphabet[octets[i] % 32];
	to[sizeof(octets)] = '\0';
}

void session_start(struct server_worker *w, int fd, const struct config_listen *listen)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s || net_timer_new(w->loop, on_deadline, s, &s->timer) < 0) {
		free(s);
		close(fd);
		return;
	}
	s->magic = SESSION_MAGIC;
	s->worker = w;
	s->close_reply = -1;
	s->listen = listen;
	s->phase = SESSION_TALK;
	s->started_ms = net_loop_now_ms(w->loop);
	make_id(s->id);
	facts_init(&s->facts, FACTS_OCTETS_MAX);
	transaction_init(&s->txn);
	s->next = w->sessions;
	if (s->next)
		s->next->prev = s;
	w->sessions = s;
	w->session_count++;
	atomic_fetch_add(&w->shared->sessions, 1);
	if (machine_new(s) < 0) {
		close(fd);
		session_free(s);
		return;
	}
	if (net_stream_open(w->loop, fd, &stream_events, s, &s->stream) < 0) {
		session_free(s);
		return;
	}
	peer_connected(s);
	if (!peer_may_connect(s))
		session_end(s);
	else if (s->phase == SESSION_TALK)
		(void)begin(s, SPAN_LIT(""));
}
