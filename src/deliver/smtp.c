/*
 * deliver/smtp.c - groups of recipients over SMTP or LMTP connections to one site.
 *
 * A delivery is one connection and the group that it works on.  It tries the group's
 * addresses in order until one takes the message as far as the body; then outcomes are
 * final.  When a group is done and another of the same site waits, the connection goes
 * on with that one (if its address is among that one's); else it waits a short while for
 * the next (site.c lists it as idle), then it says QUIT.  A kept connection that turns out
 * to be dead counts as no attempt: the same address is tried afresh.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "deliver/delivery-private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static void run(struct delivery *d);
static void try_next(struct delivery *d);

static uint64_t now_ms(const struct delivery *d)
{
	return net_loop_now_ms(d->agent->deps.loop);
}

static void close_connection(struct delivery *d)
{
	net_stream_close(&d->stream);
	smtp_client_free(&d->client);
	deliver_auth_done(&d->auth);
	transaction_forget(d);
	net_timer_set(d->timer, UINT64_MAX);
	d->connected = d->handshake = d->reused = false;
	d->messages = 0;
	d->welcome = false;
	d->tls[0] = d->tls_why[0] = '\0';
}

static void delivery_end(struct delivery *d)
{
	struct deliver_agent *a = d->agent;
	struct site *site = d->site;

	assert(d->magic == DELIVERY_MAGIC && !d->group);
	if (d->is_idle)
		site_idle_remove(d);
	close_connection(d);
	net_timer_free(&d->timer);
	config_unref(&d->cfg);
	d->magic = 0;
	free(d);
	site_leave(a, site);
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
		d->in_clear = false;
		try_next(d);
		return;
	}
	transaction_judge_rest(d, o);
	delivery_end(d);
}

/* Did anybody get an answer in this message that is about him? */
static bool is_anybody_answered(const struct delivery *d)
{
	for (size_t i = 0; d->sent && i < d->chosen_count; i++) {
		const struct smtp_outcome *o = smtp_client_outcome(d->client, i);
		/* 421 says nothing of a recipient: on a kept connection, only that it was kept too
		 * long */
		if (o->is_set && o->err == 0 && !(d->reused && o->reply.code == 421))
			return true;
	}
	return false;
}

/* The session ended: by its answer, by a lost connection, or after QUIT. */
static void session_dead(struct delivery *d)
{
	const struct smtp_outcome *session = smtp_client_session_outcome(d->client);
	bool early;

	if (!d->group) {
		delivery_end(d);
		return;
	}
	if (secure_falls_back(d, session)) {
		close_connection(d);
		d->in_clear = true;
		try_next(d);
		return;
	}
	early = !d->sent ||
	    (!d->body_begun && (session->err < 0 || (d->reused && session->reply.code == 421)));
	if (early && !is_anybody_answered(d)) {
		address_failed(d, session);
		return;
	}
	transaction_judge_rest(d, session);
	delivery_end(d);
}

/* Can this connection serve another group of the site?  Only one that would come here anyway. */
static bool serves(const struct delivery *d, struct group *g, size_t targets)
{
	if (d->cfg != g->work->cfg || smtp_client_is_used_up(d->client) ||
	    d->messages >= d->cfg->connection_reuse_messages)
		return false;
	for (size_t i = 0; i < targets; i++) {
		const struct target *t = &g->targets[i];
		if (t->path || d->target.path
			? !t->path || !d->target.path || strcmp(t->path, d->target.path) != 0
			: !ip_eq(&t->ip, &d->target.ip) || t->port != d->target.port)
			continue;
		g->target_at = i;
		return true;
	}
	return false;
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
			smtp_client_sent(d->client, now_ms(d));
	}
	return r;
}

/* More recipients of the group than one message takes, and this connection takes no more. */
static void start_over(struct delivery *d)
{
	(void)smtp_client_quit(d->client, now_ms(d));
	(void)send_output(d);
	close_connection(d);
	try_next(d);
}

/* Nothing is left to do: wait for another group, or leave.  One that was refused leaves: hosts
 * count errors of a connection (421 4.7.0), and the next message should not pay for them. */
static int rest(struct delivery *d)
{
	struct group *next = d->agent->stopping ? NULL : d->site->waiting;

	if (next && serves(d, next, next->target_count)) {
		d->group = site_next(d->site);
		d->reused = true;
		return 1;
	}
	if (!next && d->welcome && d->cfg->connection_reuse_ms && !d->agent->stopping &&
	    d->cfg == d->agent->cfg && d->messages < d->cfg->connection_reuse_messages &&
	    !smtp_client_is_used_up(d->client)) {
		site_idle_add(d);
		d->idle_until_ms = now_ms(d) + d->cfg->connection_reuse_ms;
		return 0;
	}
	return smtp_client_quit(d->client, now_ms(d));
}

/*
 * READY or DONE: the next message, another part of this one, or none.  1: look at the step again;
 * 0: idle; 2: the connection is another one, and this turn is over; negative: an error.
 */
static int next_message(struct delivery *d)
{
	int r;

	if (d->group && d->sent) {
		if (transaction_is_lacking(d) && d->group->target_at + 1 < d->group->target_count) {
			d->reused = false;
			(void)smtp_client_quit(d->client, now_ms(d));
			(void)send_output(d);
			address_failed(d, smtp_client_outcome(d->client, 0));
			return 2;
		}
		transaction_judge(d);
		d->messages++;
		d->reused = true;
	}
	for (;;) {
		if (!d->group) {
			r = rest(d);
			if (r <= 0 || !d->group)
				return r < 0 ? r : d->is_idle ? 0 : 1;
		}
		if (smtp_client_is_used_up(d->client)) {
			bool left = false;
			for (size_t i = 0; i < d->group->count; i++)
				left = left || !d->group->work->judged[d->group->rcpts[i]];
			if (left) {
				start_over(d);
				return 2;
			}
		}
		r = transaction_begin(d);
		if (r != 0)
			return r;
		group_over(d);
	}
}

/* Credentials: the mechanism, then its responses. */
static int authenticate(struct delivery *d, bool begin)
{
	uint64_t now = now_ms(d);
	struct buf octets;
	int r;

	buf_init(&octets, 64u << 10);
	if (begin) {
		deliver_auth_done(&d->auth);
		r = deliver_auth_choose(&d->auth, smtp_client_mechanisms(d->client),
		    d->options->auth_user, d->options->auth_password);
		if (r == 0)
			r = deliver_auth_initial(&d->auth, &octets);
		if (r >= 0) {
			struct span initial = buf_span(&octets);
			r = smtp_client_auth(
			    d->client, deliver_auth_name(&d->auth), r > 0 ? &initial : NULL, now);
		} else if (r != -ERR_NOMEM) {
			r = smtp_client_auth_fail(d->client, now);
		}
	} else {
		r = deliver_auth_respond(&d->auth, smtp_client_challenge(d->client), &octets);
		if (r == 0)
			r = smtp_client_auth_response(d->client, buf_span(&octets), now);
		else if (r == -ERR_AUTH)
			r = smtp_client_auth_fail(d->client, now);
	}
	if (octets.data)
		explicit_bzero(octets.data, octets.cap);
	buf_done(&octets);
	return r;
}

/* One step: 1 look again, 0 wait, 2 this turn is over, or an error. */
static int do_step(struct delivery *d)
{
	int r = 1;

	/* clang-format off */
	switch (smtp_client_step(d->client)) {
	case SMTP_CLIENT_WAIT:
		return 0;
	case SMTP_CLIENT_TLS:
		if (d->handshake)
			return 0;
		r = send_output(d);
		if (r >= 0)
			r = secure_begin(d);
		return r < 0 ? r : 0;
	case SMTP_CLIENT_AUTH:
		r = authenticate(d, true);
		return r < 0 ? r : 1;
	case SMTP_CLIENT_CHALLENGE:
		r = authenticate(d, false);
		return r < 0 ? r : 1;
	case SMTP_CLIENT_READY:
	case SMTP_CLIENT_DONE:
		return d->is_idle ? 0 : next_message(d);
	case SMTP_CLIENT_BODY:
		return send_output(d) < 0 ? -ERR_CLOSED : transaction_give_body(d);
	case SMTP_CLIENT_DEAD:
		(void)send_output(d);
		session_dead(d);
		return 2;
	}
	/* clang-format on */
	return r;
}

/* Do what the machine asks for until it waits for the peer. */
static void run(struct delivery *d)
{
	int r;

	do {
		r = do_step(d);
		if (r < 0) {
			smtp_client_lost(d->client, r);
			r = 1;
		}
	} while (r == 1);
	if (r == 2)
		return;
	r = send_output(d);
	if (r < 0) {
		smtp_client_lost(d->client, r);
		session_dead(d);
		return;
	}
	net_timer_set(d->timer, d->is_idle ? d->idle_until_ms : smtp_client_deadline(d->client));
}

static size_t on_octets(void *arg, const uint8_t *p, size_t n)
{
	struct delivery *d = arg;

	assert(d->magic == DELIVERY_MAGIC);
	if (smtp_client_feed(d->client, p, n, now_ms(d)) < 0)
		smtp_client_lost(d->client, -ERR_NOMEM);
	run(d);
	return n;
}

static void on_drained(void *arg)
{
	struct delivery *d = arg;

	smtp_client_sent(d->client, now_ms(d));
	run(d);
}

/* No connection was made: said as a session that ended at its very start. */
static void connect_failed(struct delivery *d, int err)
{
	struct group *g = d->group;
	char text[300];
	struct judged j = { .trouble = CLASSIFY_CONNECT,
		.stage = CAT_STAGE_connect,
		.transport = route_transport(&g->route),
		.host = span_str(d->target.host),
		.address = span_str(d->address) };

	if (g->target_at + 1 < g->target_count) {
		close_connection(d);
		g->target_at++;
		d->in_clear = false;
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
	secure_failed(d);
	smtp_client_lost(d->client, err == 0 ? -ERR_CLOSED : err);
	session_dead(d);
}

static void on_connected(void *arg)
{
	struct delivery *d = arg;

	d->connected = true;
	net_timer_set(d->timer, smtp_client_deadline(d->client));
	if (d->options && d->options->tls_implicit) {
		int r = secure_begin(d);
		if (r < 0)
			on_ended(d, r);
		else
			net_timer_set(d->timer, now_ms(d) + d->cfg->starttls_timeout_ms);
	}
}

static void on_secured(void *arg)
{
	struct delivery *d = arg;

	secure_done(d);
	if (smtp_client_step(d->client) == SMTP_CLIENT_TLS &&
	    smtp_client_tls_active(d->client, secure_is_verified(d), now_ms(d)) < 0)
		smtp_client_lost(d->client, -ERR_NOMEM);
	run(d);
}

static void on_deadline(void *arg)
{
	struct delivery *d = arg;

	if (d->is_idle) {
		smtp_delivery_quit(d);
		return;
	}
	if (!d->connected) {
		connect_failed(d, -ERR_TIMEOUT);
		return;
	}
	if (!d->handshake && smtp_client_deadline(d->client) > now_ms(d)) {
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
	.secured = on_secured,
};

static void set_options(const struct delivery *d, struct smtp_client_options *o)
{
	const struct config *cfg = d->cfg;
	const struct config_route *route = d->options;
	struct smtp_client_timeouts *t = &o->timeouts;

	smtp_client_options_init(o, route && route->hostname ? route->hostname : cfg->hostname);
	t->banner_ms = t->helo_ms = t->auth_ms = cfg->helo_timeout_ms;
	t->tls_ms = cfg->starttls_timeout_ms;
	t->mail_ms = cfg->mail_timeout_ms;
	t->rcpt_ms = cfg->rcpt_timeout_ms;
	t->data_ms = cfg->data_timeout_ms;
	t->block_ms = cfg->block_timeout_ms;
	t->end_ms = cfg->end_timeout_ms;
	t->quit_ms = cfg->quit_timeout_ms;
	o->chunking = cfg->chunking;
	if (route) {
		o->lmtp = route->lmtp;
		o->auth = route->auth_user != NULL;
		o->auth_in_clear = route->auth_in_clear || route->path;
	}
	secure_options(d, o);
}

static const struct ip *source_of(const struct delivery *d)
{
	const struct ip *source = NULL;

	if (d->options)
		source = d->target.ip.family == 6 ? &d->options->source6 : &d->options->source4;
	return source && source->family ? source : NULL;
}

static void set_address(struct delivery *d)
{
	const struct target *t = &d->target;
	char ip[IP_TEXT_MAX];

	if (t->path) {
		snprintf(d->address, sizeof(d->address), "unix:%s", t->path);
		return;
	}
	ip_text(&t->ip, ip);
	snprintf(d->address, sizeof(d->address), "%s%s%s:%u", t->ip.family == 6 ? "[" : "", ip,
	    t->ip.family == 6 ? "]" : "", t->port);
}

/* Connect to the group's present address; every way out of here leads to an outcome. */
static void try_next(struct delivery *d)
{
	struct deliver_agent *a = d->agent;
	struct smtp_client_options o;
	int r;

	d->target = d->group->targets[d->group->target_at];
	set_address(d);
	set_options(d, &o);
	r = smtp_client_new(&o, now_ms(d), &d->client);
	if (r == 0 && d->target.path) {
		r = net_connect_unix(d->target.path);
		if (r >= 0)
			r = net_stream_open(a->deps.loop, r, &stream_events, d, &d->stream);
	} else if (r == 0) {
		r = net_stream_connect(a->deps.loop, &d->target.ip, d->target.port, source_of(d),
		    &stream_events, d, &d->stream);
	}
	if (r < 0) {
		connect_failed(d, r);
		return;
	}
	if (d->target.path)
		on_connected(d);
	else
		net_timer_set(d->timer, now_ms(d) + d->cfg->connect_timeout_ms);
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
	d->cfg = config_ref(g->work->cfg);
	d->site = g->site;
	d->options = g->route.options;
	d->require_tls = g->route.require_tls;
	d->group = g;
	try_next(d);
}

bool smtp_delivery_take(struct delivery *d, struct group *g)
{
	assert(d->magic == DELIVERY_MAGIC && d->is_idle && !d->group);
	/* Where it would go first: else equals (RFC 5321 5.1) would not share, and a host that is
	 * back would not be preferred again. */
	if (!serves(d, g, 1))
		return false;
	site_idle_remove(d);
	d->group = g;
	d->reused = true;
	run(d);
	return true;
}

void smtp_delivery_quit(struct delivery *d)
{
	assert(d->magic == DELIVERY_MAGIC && d->is_idle);
	/* Said and gone: the answer is of no use, and the place may be wanted now. */
	(void)smtp_client_quit(d->client, now_ms(d));
	(void)send_output(d);
	delivery_end(d);
}
