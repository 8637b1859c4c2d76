/*
 * server/receive.c - one transaction: MAIL, RCPT, the body into a draft, and the commit.
 *
 * The 250 for a message is answered in committed(), which runs only after the spool
 * said that the message is on disk.  There is no other way to REPLY_QUEUED and REPLY_BDAT_QUEUED.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/err.h"
#include "base/idn.h"
#include "base/utf8.h"
#include "catalogue/reply_ids.h"
#include "server/server-private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* A longer one is cut: it is only to find the message by. */
#define MESSAGE_ID_MAX 998

static const struct span nothing = { (const uint8_t *)"", 0 };

void transaction_init(struct transaction *t)
{
	arena_init(&t->arena, TRANSACTION_OCTETS_MAX);
	buf_init(&t->trace, TRACE_OCTETS_MAX);
}

static void drop_drafts(struct transaction *t)
{
	spool_draft_free(&t->draft);
	for (size_t i = 0; i < t->copy_count; i++)
		spool_draft_free(&t->copies[i].draft);
	t->copies = NULL;
	t->copy_count = 0;
}

void transaction_reset(struct session *s)
{
	struct transaction *t = &s->txn;

	drop_drafts(t);
	if (t->open)
		queue_recipients_done(&t->set);
	if (t->header_open)
		mime_header_done(&t->headers);
	t->header_open = false;
	arena_reset(&t->arena);
	buf_reset(&t->trace);
	t->env = (struct envelope){ 0 };
	t->chunked = t->has_date = t->has_message_id = false;
	t->rcpt_count = 0;
	t->first_rcpt = nothing;
	t->draft_err = 0;
	t->open = false;
	facts_clear(&s->facts, FACT_SCOPE_TRANSACTION);
	peer_forward_reset(s);
}

void transaction_done(struct session *s)
{
	transaction_reset(s);
	arena_done(&s->txn.arena);
	buf_done(&s->txn.trace);
}

static int room_reply(int err)
{
	return err == -ERR_NOSPACE ? REPLY_INSUFFICIENT_STORAGE : REPLY_QUEUE_WRITE_ERROR;
}

static void refuse(struct session *s, int reply, const struct reply_args *args, struct span trace)
{
	session_refused(s, reply, args, trace);
	session_answer(s, reply, args);
}

void transaction_mail(struct session *s, const struct smtp_step *step)
{
	struct transaction *t = &s->txn;
	struct reply_args args = { 0 };
	struct envelope *env = &t->env;
	int r = spool_room(s->worker->shared->spool, step->size);

	args.field[REPLY_FIELD_sender] = step->address.address;
	if (r < 0) {
		refuse(s, room_reply(r), &args, nothing);
		return;
	}
	env->reverse_path = arena_span(&t->arena, step->address.address);
	env->envid = arena_span(&t->arena, step->envid);
	if (!env->reverse_path.p || !env->envid.p ||
	    facts_set(&s->facts, (struct fact_key){ FACT_sender, nothing }, FACT_ANSWER,
		step->address.address) < 0) {
		refuse(s, REPLY_NO_RESOURCES, &args, nothing);
		return;
	}
	env->ret = (enum envelope_ret)step->ret;
	env->body = step->body_binary ? ENVELOPE_BODY_BINARYMIME
	    : step->body_8bit         ? ENVELOPE_BODY_8BITMIME
				      : ENVELOPE_BODY_7BIT;
	env->smtputf8 = step->smtputf8;
	env->require_tls = step->require_tls;
	queue_recipients_init(
	    &t->set, s->worker->cfg, s->worker->shared->aliases, &t->arena, env->reverse_path);
	t->set.owners_max = TRANSACTION_COPIES_MAX;
	t->open = true;
	session_answer(s, REPLY_MAIL_OK, &args);
}

/* Trouble of ours: the sender comes again, and the operator reads where it is. */
static void alias_trouble(struct session *s, struct span recipient, struct span where, int err)
{
	struct event ev = { .type = EVENT_NOTICE,
		.session = span_str(s->id),
		.recipient = recipient,
		.detail = where,
		.text = err == -ERR_LOOP
		    ? SPAN_LIT("an alias leads back to itself, at the address beside this")
		    : SPAN_LIT("an alias stands for too many addresses, or too deep") };

	event_emit(s->worker->shared->events, &ev);
}

static int add_rcpt(struct session *s, const struct smtp_step *step)
{
	struct transaction *t = &s->txn;
	struct rcpt one = {
		.address = step->address.address, .orcpt = step->orcpt, .notify = step->notify
	};
	struct span where;
	int r = queue_recipients_add(&t->set, &one, &where);

	if (r == -ERR_LOOP || r == -ERR_LIMIT) {
		alias_trouble(s, one.address, where, r);
		return r == -ERR_LOOP ? REPLY_ALIAS_LOOP : REPLY_ALIAS_LIMIT;
	}
	if (r == 0 && t->rcpt_count == 0)
		t->first_rcpt = arena_span(&t->arena, one.address);
	if (r < 0 || !t->first_rcpt.p)
		return REPLY_TOO_MANY_RECIPIENTS;
	t->rcpt_count++;
	return REPLY_RCPT_OK;
}

void transaction_rcpt(struct session *s, const struct smtp_step *step)
{
	struct transaction *t = &s->txn;
	struct reply_args args = { 0 };
	struct buf trace;
	int reply;

	buf_init(&trace, TRACE_OCTETS_MAX);
	reply = recipient_check(s, step->address.address, &args, &trace);
	args.field[REPLY_FIELD_recipient] = step->address.address;
	if (reply == REPLY_RCPT_OK)
		reply = add_rcpt(s, step);
	if (reply != REPLY_RCPT_OK) {
		refuse(s, reply, &args, buf_span(&trace));
	} else {
		if (t->rcpt_count == 1) /* one is kept as a sample of why they came in */
			(void)buf_add_span(&t->trace, buf_span(&trace));
		session_answer(s, REPLY_RCPT_OK, &args);
	}
	buf_done(&trace);
}

/* The groups of recipients become the envelope, and one more for each further sender. */
static int make_copies(struct session *s)
{
	struct transaction *t = &s->txn;
	bool first = true;
	int r = 0;

	t->copies = arena_zalloc(&t->arena, t->set.groups * sizeof(*t->copies));
	if (!t->copies)
		return -ERR_NOMEM;
	for (struct queue_group *g = &t->set.first; r == 0 && g; g = g->next) {
		struct envelope *env = first ? &t->env : &t->copies[t->copy_count].env;
		if (g->count == 0)
			continue;
		if (!first) {
			*env = t->env;
			env->id = queue_id_new();
			r = spool_draft_new(
			    s->worker->shared->spool, &t->copies[t->copy_count++].draft);
		}
		env->rcpts = g->rcpts;
		env->rcpt_count = g->count;
		env->reverse_path = g->sender;
		if (g->owned) {
			env->envid = nothing; /* RFC 3461 5.2.7.3 */
			env->ret = ENVELOPE_RET_NONE;
		}
		first = false;
	}
	return r;
}

void transaction_data(struct session *s)
{
	struct transaction *t = &s->txn;
	struct reply_args args = { 0 };
	int r = spool_draft_new(s->worker->shared->spool, &t->draft);

	t->env.id = queue_id_new();
	if (r == 0)
		r = make_copies(s);
	if (r < 0) {
		drop_drafts(t); /* the client may say DATA again */
		refuse(s, r == -ERR_NOMEM ? REPLY_NO_RESOURCES : room_reply(r), &args, nothing);
		return;
	}
	mime_header_init(&t->headers, MESSAGE_ID_MAX);
	t->header_open = true;
	session_answer(s, REPLY_DATA_GO, &args);
}

/* Look for the Message-ID in what comes in of the header; by it `postern why` finds the message. */
static void read_header(struct transaction *t, struct span octets)
{
	const struct mime_field *field;
	size_t used;
	int r;

	while (t->header_open && (r = mime_header_feed(&t->headers, octets, &used, &field)) != 0) {
		octets = span_skip(octets, used);
		if (r == MIME_HEADER_FIELD) {
			t->has_date |= span_eq_nocase(field->name, SPAN_LIT("Date"));
			t->has_message_id |= span_eq_nocase(field->name, SPAN_LIT("Message-ID"));
		}
		if (r == MIME_HEADER_FIELD && !t->env.message_id.n &&
		    span_eq_nocase(field->name, SPAN_LIT("Message-ID"))) {
			struct span id = field->value;
			if (id.n > 2 && id.p[0] == '<' && id.p[id.n - 1] == '>')
				id = span_of(id.p + 1, id.n - 2);
			t->env.message_id = arena_span(&t->arena, id);
		}
		if (r != MIME_HEADER_FIELD) {
			mime_header_done(&t->headers);
			t->header_open = false;
		}
	}
}

void transaction_body(struct session *s, struct span octets)
{
	struct transaction *t = &s->txn;

	if (t->draft_err < 0)
		return; /* read to its end; the answer then says why it was not taken */
	read_header(t, octets);
	t->draft_err = spool_draft_write(t->draft, octets);
	for (size_t i = 0; i < t->copy_count && t->draft_err == 0; i++)
		t->draft_err = spool_draft_write(t->copies[i].draft, octets);
}

/* A domain beyond ASCII as A-labels: the field alone must not make the message one that needs
 * SMTPUTF8 (RFC 6531 3.7.3). */
static void add_recipient(struct buf *out, struct span address)
{
	ptrdiff_t at = span_rfind(address, '@');
	char name[IDN_NAME_MAX];

	if (at < 0 || ascii_valid(address) ||
	    idn_to_ascii(span_skip(address, (size_t)at + 1), name) < 0) {
		buf_add_span(out, address);
		return;
	}
	buf_add(out, address.p, (size_t)at + 1);
	buf_add_str(out, name);
}

static void received_field(struct session *s, const struct envelope *env, struct buf *out)
{
	const struct fact *helo = facts_get(&s->facts, (struct fact_key){ FACT_helo, nothing });
	char id[QUEUE_ID_TEXT_MAX], date[CLOCK_RFC5322_MAX], address[IP_TEXT_MAX];

	queue_id_text(env->id, id);
	clock_rfc5322(env->received_ms, date);
	if (s->client_ip.family)
		ip_text(&s->client_ip, address);
	else
		snprintf(address, sizeof(address), "unknown");
	buf_add_str(out, "Received: from ");
	/* RFC 5321 4.5.3.1.2 ends a domain at 255 octets; what is longer is none. */
	buf_add_span(out,
	    !helo ? SPAN_LIT("unknown")
		  : span_of(helo->value.p, helo->value.n > 255 ? 255 : helo->value.n));
	buf_addf(
	    out, " (%s [%s%s])", peer_name(s), s->client_ip.family == 6 ? "IPv6:" : "", address);
	session_tls_received(s, out);
	buf_addf(out, "\r\n\tby %s (Postern) with %s id %s", s->worker->cfg->hostname,
	    smtp_server_protocol(s->smtp), id);
	/* Only with one recipient: else a blind copy would show, RFC 5321 7.2.  And only what the
	 * client said: whom an alias leads to is nobody's business, 7.6. */
	if (s->txn.rcpt_count == 1) {
		buf_add_str(out, "\r\n\tfor <");
		add_recipient(out, s->txn.first_rcpt);
		buf_add_str(out, ">");
	}
	buf_addf(out, "; %s\r\n", date);
}

/* RFC 6409 8.2 and 8.3: what a mail program left out is put in for it, and for nobody else. */
static void missing_fields(struct session *s, struct buf *out)
{
	struct transaction *t = &s->txn;
	char id[QUEUE_ID_TEXT_MAX], date[CLOCK_RFC5322_MAX], text[QUEUE_ID_TEXT_MAX + 300];

	if (s->listen->service != CONFIG_SERVICE_SUBMISSION)
		return;
	if (!t->has_date) {
		clock_rfc5322(t->env.received_ms, date);
		buf_addf(out, "Date: %s\r\n", date);
	}
	if (!t->has_message_id) {
		queue_id_text(t->env.id, id);
		snprintf(text, sizeof(text), "%s@%s", id, s->worker->cfg->hostname);
		buf_addf(out, "Message-ID: <%s>\r\n", text);
		t->env.message_id = arena_span(&t->arena, span_str(text));
	}
}

/* The writer thread says how the commit ended; it may only hand over. */
static void on_committed(struct spool_op *op, int err)
{
	struct transaction_commit *c = op->arg;
	struct session *s = c->session;

	c->err = err;
	if (atomic_fetch_sub(&s->ops_left, 1) == 1)
		net_loop_post(s->worker->loop, &s->op_task);
}

static void emit_received(struct session *s, const struct envelope *env)
{
	const struct net_tls_info *tls = s->gone ? NULL : net_stream_tls_info(s->stream);
	struct event ev = { .type = EVENT_RECEIVED,
		.tls_version = tls ? tls->version : NULL,
		.tls_cipher = tls ? tls->cipher : NULL,
		.orig_client = span_str(s->forward ? s->forward->client : NULL),
		.orig_id = span_str(s->forward ? s->forward->ident : NULL),
		.queue_id = env->id,
		.session = span_str(s->id),
		.client = span_str(s->client),
		.protocol = smtp_server_protocol(s->smtp),
		.helo = env->helo,
		.user = span_str(s->login),
		.mechanism = s->login && s->mechanism[0] ? s->mechanism : NULL,
		.has_sender = true,
		.sender = env->reverse_path,
		.message_id = env->message_id,
		.size = env->size,
		.recipients = (uint32_t)env->rcpt_count,
		.trace = buf_span(&s->txn.trace) };

	/* One event a recipient would repeat all; the addresses travel in `recipient`, one after
	 * the other. */
	for (size_t i = 0; i < env->rcpt_count; i++) {
		ev.recipient = env->rcpts[i].address;
		ev.original = rcpt_original(&env->rcpts[i]);
		ev.index = (uint32_t)i;
		event_emit(s->worker->shared->events, &ev);
	}
}

/* What the writer has taken is mail, and goes its way, whatever became of the others. */
static size_t take_stored(struct session *s, uint64_t *ids, int *err_r)
{
	struct transaction *t = &s->txn;
	size_t count = 0;

	*err_r = s->commit.err;
	if (s->commit.err == 0) {
		ids[count++] = t->env.id;
		emit_received(s, &t->env);
	}
	for (size_t i = 0; i < t->copy_count; i++) {
		if (t->copies[i].commit.err < 0) {
			*err_r = t->copies[i].commit.err;
			continue;
		}
		ids[count++] = t->copies[i].env.id;
		emit_received(s, &t->copies[i].env);
	}
	return count;
}

static void committed(struct net_task *task)
{
	struct session *s = task->arg;
	struct server_worker *w = s->worker;
	struct reply_args args = { 0 };
	char id[QUEUE_ID_TEXT_MAX];
	uint64_t ids[TRANSACTION_COPIES_MAX + 1];
	size_t id_count;
	int err;

	assert(s->magic == SESSION_MAGIC);
	s->committing = false;
	queue_id_text(s->txn.env.id, id);
	args.field[REPLY_FIELD_queue_id] = span_str(id);
	id_count = take_stored(s, ids, &err);
	if (err < 0) {
		refuse(s, room_reply(err), &args, nothing);
	} else {
		s->messages++;
		/* {octets} is the machine's: what the client sent, without our Received field */
		session_answer(s, s->txn.chunked ? REPLY_BDAT_QUEUED : REPLY_QUEUED, &args);
	}
	transaction_reset(s);
	if (s->gone) {
		/* The client left without our answer; the message is ours all the same, and it
		 * will send it again: at least once, never less. */
		session_free(s);
	} else {
		session_run(s);
	}
	for (size_t i = 0; i < id_count; i++)
		w->hooks.queued(w->hooks.arg, ids[i]);
}

/* What is known only now. */
static void fill_envelope(struct session *s, struct envelope *env)
{
	const struct fact *helo = facts_get(&s->facts, (struct fact_key){ FACT_helo, nothing });

	env->received_ms = clock_wall_ms();
	env->client_name = span_str(peer_name(s));
	env->client_ip = s->client_ip;
	env->helo = helo ? helo->value : nothing;
	env->protocol = span_str(smtp_server_protocol(s->smtp));
	env->session = span_str(s->id);
	env->auth_user = s->login ? span_str(s->login) : nothing;
	if (!env->message_id.p)
		env->message_id = nothing;
}

/* Hand one message to the writer; an error means that it has none of it. */
static int commit(struct session *s, struct envelope *env, struct spool_draft **draft,
    struct transaction_commit *c)
{
	struct buf record, prefix;
	int r;

	/* 4 MiB of transaction at most, encoded a little larger. */
	buf_init(&record, 2 * TRANSACTION_OCTETS_MAX);
	buf_init(&prefix, 8192);
	received_field(s, env, &prefix);
	missing_fields(s, &prefix);
	env->message_id = s->txn.env.message_id;
	env->size = spool_draft_size(*draft) + buf_len(&prefix);
	r = envelope_encode(env, &record);
	if (r == 0 && prefix.failed)
		r = -ERR_NOMEM;
	if (r == 0) {
		*c = (struct transaction_commit){ .op = { .done = on_committed, .arg = c },
			.session = s };
		spool_commit(s->worker->shared->spool, env->id, buf_span(&record),
		    buf_span(&prefix), draft, env->received_ms, false, &c->op);
	}
	buf_done(&record);
	buf_done(&prefix);
	return r;
}

/* One of several could not even be handed over: the others are waited for, then it is said. */
static void commit_missed(struct session *s, struct transaction_commit *c)
{
	c->err = -ERR_NOMEM;
	if (atomic_fetch_sub(&s->ops_left, 1) == 1)
		net_loop_post(s->worker->loop, &s->op_task);
}

bool transaction_message(struct session *s, const struct smtp_step *step)
{
	struct transaction *t = &s->txn;
	struct reply_args args = { 0 };
	int r = t->draft_err;

	t->chunked = step->chunked;
	if (step->fault >= 0) {
		refuse(s, step->fault, &step->args, nothing);
		transaction_reset(s);
		return false;
	}
	fill_envelope(s, &t->env);
	for (size_t i = 0; i < t->copy_count; i++)
		fill_envelope(s, &t->copies[i].env);
	if (r == 0) {
		s->committing = true;
		s->op_task = (struct net_task){ .run = committed, .arg = s };
		s->ops_left = 1 + t->copy_count;
		r = commit(s, &t->env, &t->draft, &s->commit);
	}
	for (size_t i = 0; i < t->copy_count && r == 0; i++)
		if (commit(s, &t->copies[i].env, &t->copies[i].draft, &t->copies[i].commit) < 0)
			commit_missed(s, &t->copies[i].commit);
	if (r == 0)
		return true;
	s->committing = false;
	refuse(s, r == -ERR_NOMEM ? REPLY_NO_RESOURCES : room_reply(r), &args, nothing);
	transaction_reset(s);
	return false;
}
