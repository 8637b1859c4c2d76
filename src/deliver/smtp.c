/*
 * deliver/smtp.c - groups of recipients over SMTP connections to one site.
 *
 * A delivery is one connection and the group that it works on.  It tries the group's
 * addresses in order until one takes the message as far as the body; then outcomes are
 * final.  When a group is done and another of the same site waits, the connection goes
 * on with that one (if its address is among that one's), else it says QUIT.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/err.h"
#include "deliver/deliver-private.h"
#include "smtp/server.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* The body is read and sent in pieces of this size, the next when the last is with the kernel. */
#define BODY_CHUNK 65536

#define DELIVERY_MAGIC 0xde11fe12u

struct delivery {
	uint32_t magic;
	struct deliver_agent *agent;
	struct site *site;
	struct group *group; /* NULL: saying QUIT */
	struct smtp_client *client;
	struct net_stream *stream;
	struct net_timer *timer;
	struct spool_body *body;
	uint64_t body_at;
	struct smtp_client_rcpt *rcpts; /* arena of the work */
	bool connected, sent, body_begun;
	bool reused; /* the open group is not the first of this connection */
	char address[IP_TEXT_MAX + 10];
	struct target target; /* of the connection */
};

static void run(struct delivery *d);
static void try_next(struct delivery *d);

static void close_connection(struct delivery *d)
{
	net_stream_close(&d->stream);
	smtp_client_free(&d->client);
	spool_body_close(&d->body);
	net_timer_set(d->timer, UINT64_MAX);
	d->connected = d->sent = d->body_begun = d->reused = false;
	d->body_at = 0;
}

static void delivery_end(struct delivery *d)
{
	struct deliver_agent *a = d->agent;
	struct site *site = d->site;

	assert(d->magic == DELIVERY_MAGIC && !d->group);
	close_connection(d);
	net_timer_free(&d->timer);
	d->magic = 0;
	free(d);
	site_leave(a, site);
}

static enum classify_trouble trouble_of(int err)
{
	switch (-err) {
	case ERR_TIMEOUT:
		return CLASSIFY_TIMEOUT;
	case ERR_PROTO:
	case ERR_LINE_TOO_LONG:
	case ERR_SYNTAX:
		return CLASSIFY_GARBAGE;
	case ERR_LIMIT:
		return CLASSIFY_TOO_LARGE;
	case ERR_NOMEM:
	case ERR_STOPPED:
		return CLASSIFY_LOCAL;
	default:
		return CLASSIFY_LOST;
	}
}

static const char *words_of(const struct smtp_outcome *o, char *to, size_t n)
{
	static const char *const while_[] = {
#define X(name) #name,
		CAT_STAGES(X)
#undef X
	};

	snprintf(to, n, "%s while in stage %s",
	    o->err == -ERR_LIMIT ? "the message is larger than the host takes" : err_text(o->err),
	    while_[o->stage]);
	return to;
}

static void judge_one(struct delivery *d, size_t i, const struct smtp_outcome *o)
{
	struct group *g = d->group;
	char text[160];
	struct judged j = { .stage = o->stage,
		.host = span_str(d->target.host),
		.address = span_str(d->address),
		.delivered = o->delivered,
		.success = SUCCESS_RELAYED };

	if (smtp_client_extensions(d->client) & SMTP_EXT_DSN)
		j.success = SUCCESS_SILENT;
	if (o->err == 0) {
		j.trouble = CLASSIFY_REPLY;
		j.reply = &o->reply;
	} else {
		j.trouble = trouble_of(o->err);
		j.text = words_of(o, text, sizeof(text));
	}
	rcpt_judge(g->work, &g->work->env.rcpts[g->rcpts[i]], &j);
}

/* The group is judged: hand it back, then look what the connection can still do. */
static void group_over(struct delivery *d)
{
	struct group *g = d->group;

	d->group = NULL;
	spool_body_close(&d->body);
	d->sent = d->body_begun = false;
	d->body_at = 0;
	group_done(g);
}

/* The session failed before anything of the body went out: the next address may do better. */
static void address_failed(struct delivery *d, const struct smtp_outcome *o)
{
	struct group *g = d->group;
	bool again =
	    d->reused; /* a kept connection may just have been too old: same address, afresh */

	if (again || g->target_at + 1 < g->target_count) {
		close_connection(d);
		g->target_at += again ? 0 : 1;
		try_next(d);
		return;
	}
	for (size_t i = 0; i < g->count; i++)
		judge_one(d, i, o);
	group_over(d);
	delivery_end(d);
}

/* The session ended: by its answer, by a lost connection, or after QUIT. */
static void session_dead(struct delivery *d)
{
	const struct smtp_outcome *session = smtp_client_session_outcome(d->client);
	struct group *g = d->group;

	if (!g) {
		delivery_end(d);
		return;
	}
	if (!d->sent || (!d->body_begun && session->err < 0)) {
		bool any = false;
		for (size_t i = 0; d->sent && i < g->count; i++) {
			const struct smtp_outcome *o = smtp_client_outcome(d->client, i);
			any = any || (o && o->is_set && o->err == 0);
		}
		if (!any) {
			address_failed(d, session);
			return;
		}
	}
	for (size_t i = 0; i < g->count; i++) {
		const struct smtp_outcome *o = smtp_client_outcome(d->client, i);
		judge_one(d, i, o && o->is_set ? o : session);
	}
	group_over(d);
	delivery_end(d);
}

static int give_message(struct delivery *d)
{
	struct group *g = d->group;
	struct envelope *env = &g->work->env;
	struct smtp_client_message m = { .reverse_path = env->reverse_path,
		.size = env->size,
		.body_8bit = env->body != ENVELOPE_BODY_7BIT,
		.envid = env->envid,
		.ret = (uint8_t)env->ret,
		.rcpt_count = g->count };
	int r;

	d->rcpts = arena_zalloc(&g->work->arena, g->count * sizeof(*d->rcpts));
	if (!d->rcpts)
		return -ERR_NOMEM;
	for (size_t i = 0; i < g->count; i++) {
		const struct rcpt *rc = &env->rcpts[g->rcpts[i]];
		d->rcpts[i] = (struct smtp_client_rcpt){ rc->address, rc->orcpt, rc->notify };
	}
	m.rcpts = d->rcpts;
	r = spool_body_open(d->agent->deps.spool, g->work->id, &d->body);
	if (r < 0)
		return r;
	d->sent = true;
	d->body_at = 0;
	return smtp_client_send(d->client, &m, net_loop_now_ms(d->agent->deps.loop));
}

/* 1: gave some, 0: wait for the kernel, negative: the body cannot be read. */
static int give_body(struct delivery *d)
{
	uint64_t now = net_loop_now_ms(d->agent->deps.loop);
	char chunk[BODY_CHUNK];
	ssize_t got;

	if (net_stream_waiting(d->stream) > 0)
		return 0;
	d->body_begun = true;
	got = spool_body_read(d->body, d->body_at, chunk, sizeof(chunk));
	if (got < 0) {
		smtp_client_body_fail(d->client);
		return (int)got;
	}
	if (got == 0)
		return smtp_client_body_end(d->client, now) < 0 ? -ERR_NOMEM : 1;
	d->body_at += (uint64_t)got;
	return smtp_client_body(d->client, span_of(chunk, (size_t)got), now) < 0 ? -ERR_NOMEM : 1;
}

/* Can this connection serve another group of the site?  Only one that would come here anyway. */
static bool serves(const struct delivery *d, struct group *g)
{
	for (size_t i = 0; i < g->target_count; i++) {
		if (!ip_eq(&g->targets[i].ip, &d->target.ip) ||
		    g->targets[i].port != d->target.port)
			continue;
		g->target_at = i;
		return true;
	}
	return false;
}

static void message_done(struct delivery *d)
{
	struct group *next;
	struct group *g = d->group;

	for (size_t i = 0; i < g->count; i++)
		judge_one(d, i, smtp_client_outcome(d->client, i));
	group_over(d);
	next = d->agent->stopping ? NULL : d->site->waiting;
	if (next && serves(d, next)) {
		d->group = site_next(d->site);
		d->reused = true;
	}
}

static int send_output(struct delivery *d)
{
	struct buf *out = smtp_client_output(d->client);
	int r = 0;

	/* What was sent may let the machine say more (the next part of a long group of commands).
	 */
	while (r == 0 && buf_len(out)) {
		r = net_stream_write(d->stream, out);
		if (r == 0)
			smtp_client_sent(d->client, net_loop_now_ms(d->agent->deps.loop));
	}
	return r;
}

/* Do what the machine asks for until it waits for the peer. */
static void run(struct delivery *d)
{
	int r = 0;

	for (;;) {
		enum smtp_client_step step = smtp_client_step(d->client);
		switch (step) {
		case SMTP_CLIENT_WAIT:
			break;
		case SMTP_CLIENT_READY:
			r = d->group
			    ? give_message(d)
			    : smtp_client_quit(d->client, net_loop_now_ms(d->agent->deps.loop));
			break;
		case SMTP_CLIENT_BODY:
			r = send_output(d) < 0 ? -ERR_CLOSED : give_body(d);
			break;
		case SMTP_CLIENT_DONE:
			if (d->sent) {
				message_done(d);
				r = d->group ? give_message(d)
					     : smtp_client_quit(
						   d->client, net_loop_now_ms(d->agent->deps.loop));
			}
			break;
		case SMTP_CLIENT_TLS:
		case SMTP_CLIENT_AUTH:
		case SMTP_CLIENT_CHALLENGE:
			r = -ERR_UNSUPPORTED; /* no option asks for them */
			break;
		case SMTP_CLIENT_DEAD:
			(void)send_output(d);
			session_dead(d);
			return;
		}
		if (r < 0) {
			smtp_client_lost(d->client, r);
			r = 0;
			continue;
		}
		if (step == SMTP_CLIENT_WAIT || (step == SMTP_CLIENT_BODY && r == 0))
			break;
	}
	r = send_output(d);
	if (r < 0) {
		smtp_client_lost(d->client, r);
		session_dead(d);
		return;
	}
	net_timer_set(d->timer, smtp_client_deadline(d->client));
}

static size_t on_octets(void *arg, const uint8_t *p, size_t n)
{
	struct delivery *d = arg;

	assert(d->magic == DELIVERY_MAGIC);
	if (smtp_client_feed(d->client, p, n, net_loop_now_ms(d->agent->deps.loop)) < 0)
		smtp_client_lost(d->client, -ERR_NOMEM);
	run(d);
	return n;
}

static void on_drained(void *arg)
{
	struct delivery *d = arg;

	smtp_client_sent(d->client, net_loop_now_ms(d->agent->deps.loop));
	run(d);
}

/* No connection was made: said as a session that ended at its very start. */
static void connect_failed(struct delivery *d, int err)
{
	struct group *g = d->group;
	char text[200];
	struct judged j = { .trouble = CLASSIFY_CONNECT,
		.stage = CAT_STAGE_connect,
		.host = span_str(d->target.host),
		.address = span_str(d->address) };

	if (g->target_at + 1 < g->target_count) {
		close_connection(d);
		g->target_at++;
		try_next(d);
		return;
	}
	snprintf(text, sizeof(text), "no connection to %s: %s", d->address, err_text(err));
	j.text = text;
	for (size_t i = 0; i < g->count; i++)
		rcpt_judge(g->work, &g->work->env.rcpts[g->rcpts[i]], &j);
	group_over(d);
	delivery_end(d);
}

static void on_ended(void *arg, int err)
{
	struct delivery *d = arg;

	assert(d->magic == DELIVERY_MAGIC);
	if (!d->connected) {
		connect_failed(d, err);
		return;
	}
	smtp_client_lost(d->client, err == 0 ? -ERR_CLOSED : err);
	session_dead(d);
}

static void on_connected(void *arg)
{
	struct delivery *d = arg;

	d->connected = true;
	net_timer_set(d->timer, smtp_client_deadline(d->client));
}

static void on_deadline(void *arg)
{
	struct delivery *d = arg;

	if (!d->connected) {
		connect_failed(d, -ERR_TIMEOUT);
		return;
	}
	if (smtp_client_deadline(d->client) > net_loop_now_ms(d->agent->deps.loop)) {
		net_timer_set(d->timer, smtp_client_deadline(d->client));
		return;
	}
	smtp_client_lost(d->client, -ERR_TIMEOUT);
	session_dead(d);
}

static const struct net_stream_events stream_events = {
	.octets = on_octets,
	.drained = on_drained,
	.ended = on_ended,
	.connected = on_connected,
};

static void set_timeouts(const struct config *cfg, struct smtp_client_timeouts *t)
{
	t->banner_ms = t->helo_ms = cfg->helo_timeout_ms;
	t->mail_ms = cfg->mail_timeout_ms;
	t->rcpt_ms = cfg->rcpt_timeout_ms;
	t->data_ms = cfg->data_timeout_ms;
	t->block_ms = cfg->block_timeout_ms;
	t->end_ms = cfg->end_timeout_ms;
	t->quit_ms = cfg->quit_timeout_ms;
}

/* Connect to the group's present address; every way out of here leads to an outcome. */
static void try_next(struct delivery *d)
{
	struct deliver_agent *a = d->agent;
	struct smtp_client_options o;
	char ip[IP_TEXT_MAX];
	int r;

	d->target = d->group->targets[d->group->target_at];
	ip_text(&d->target.ip, ip);
	snprintf(d->address, sizeof(d->address), "%s%s%s:%u", d->target.ip.family == 6 ? "[" : "",
	    ip, d->target.ip.family == 6 ? "]" : "", d->target.port);
	smtp_client_options_init(&o, a->cfg->hostname);
	set_timeouts(a->cfg, &o.timeouts);
	r = smtp_client_new(&o, net_loop_now_ms(a->deps.loop), &d->client);
	if (r == 0)
		r = net_stream_connect(a->deps.loop, &d->target.ip, d->target.port, NULL,
		    &stream_events, d, &d->stream);
	if (r < 0) {
		connect_failed(d, r);
		return;
	}
	net_timer_set(d->timer, net_loop_now_ms(a->deps.loop) + a->cfg->connect_timeout_ms);
}

void smtp_delivery_start(struct group *g)
{
	struct deliver_agent *a = g->work->agent;
	struct delivery *d = calloc(1, sizeof(*d));

	if (!d || net_timer_new(a->deps.loop, on_deadline, d, &d->timer) < 0) {
		struct site *site = g->site;
		free(d);
		group_trouble(g, CLASSIFY_LOCAL, CAT_STAGE_connect, "out of memory");
		group_done(g);
		site_leave(a, site);
		return;
	}
	d->magic = DELIVERY_MAGIC;
	d->agent = a;
	d->site = g->site;
	d->group = g;
	try_next(d);
}
