/*
 * server/auth.c - a session and AUTH (RFC 4954): steps of the machine to the backend and back.
 *
 * The backend answers later, on this loop; meanwhile the session waits as it does for a
 * commit, and may go away.  Who the user is stands in `login` until the client is another
 * (STARTTLS, XCLIENT); facts about it live in the scope of a transaction, inside which AUTH
 * cannot come.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "catalogue/reply_ids.h"
#include "net/tls.h"
#include "server/server-private.h"

#include <stdio.h>
#include <stdlib.h>

static void keep_login(struct session *s, struct span user)
{
	free(s->login);
	s->login = strndup((const char *)user.p, user.n);
}

static void emit_failed(struct session *s, const struct auth_answer *a, int reply)
{
	const struct cat_reply *row = catalogue_reply(s->worker->cfg->catalogue, reply);
	struct event ev = { .type = EVENT_AUTH_FAILED,
		.session = span_str(s->id),
		.client = span_str(s->client),
		.user = a->user,
		.mechanism = s->mechanism,
		.reply_id = row->id,
		.code = row->code,
		.enhanced = row->enhanced,
		.text = span_str(a->why) };

	event_emit(s->worker->shared->events, &ev);
}

static void refuse(struct session *s, int reply, const struct auth_answer *a)
{
	struct reply_args args = { 0 };

	args.field[REPLY_FIELD_detail] = span_str(a->why);
	s->refusals++;
	emit_failed(s, a, reply);
	session_answer(s, reply, &args);
	auth_end(&s->exchange);
}

static void on_answer(void *arg, const struct auth_answer *a)
{
	struct session *s = arg;
	struct reply_args args = { 0 };

	s->asking = false;
	switch (a->result) {
	case AUTH_CHALLENGE:
		args.field[REPLY_FIELD_detail] = a->challenge;
		session_answer(s, REPLY_AUTH_CHALLENGE, &args);
		break;
	case AUTH_OK:
		keep_login(s, a->user);
		if (!s->login) {
			const struct auth_answer none = { .why = "out of memory" };
			refuse(s, REPLY_AUTH_TEMPORARY, &none);
			break;
		}
		facts_clear(&s->facts, FACT_SCOPE_TRANSACTION);
		session_answer(s, REPLY_AUTH_OK, &args);
		auth_end(&s->exchange);
		break;
	case AUTH_FAILED:
		refuse(s, REPLY_AUTH_FAILED, a);
		break;
	case AUTH_TEMPORARY:
		refuse(s, REPLY_AUTH_TEMPORARY, a);
		break;
	}
	session_run(s);
}

static int begin(struct session *s, const struct smtp_step *step)
{
	uint8_t binding[32];
	bool bound = net_stream_tls_exporter(s->stream, binding) == 0;
	struct auth_request request = { .mechanism = step->argument,
		.initial = step->octets,
		.has_initial = step->has_initial,
		.tls = smtp_server_is_tls(s->smtp),
		.binding = bound ? binding : NULL,
		.client = s->client_ip,
		.local = s->dest_ip,
		.session = span_str(s->id),
		.answered = on_answer,
		.arg = s };

	snprintf(s->mechanism, sizeof(s->mechanism), "%.*s", SPAN_FMT(step->argument));
	return auth_begin(s->worker->auth, &request, &s->exchange);
}

bool session_auth(struct session *s, const struct smtp_step *step)
{
	const struct auth_answer none = { .why = "out of memory" };
	int r =
	    step->kind == SMTP_STEP_AUTH ? begin(s, step) : auth_respond(s->exchange, step->octets);

	if (r < 0) {
		refuse(s, REPLY_AUTH_TEMPORARY, &none);
		return true;
	}
	s->asking = true;
	return false;
}

void session_auth_end(struct session *s)
{
	s->asking = false;
	auth_end(&s->exchange);
}

void session_forget_user(struct session *s)
{
	free(s->login);
	s->login = NULL;
	facts_clear(&s->facts, FACT_SCOPE_TRANSACTION);
}

void session_auth_options(const struct session *s, struct smtp_server_options *o)
{
	const struct config_listen *l = s->listen;

	if (!s->worker->auth || l->auth == CONFIG_AUTH_NONE)
		return;
	o->extensions |= SMTP_EXT_AUTH;
	o->auth_mechanisms = auth_mechanisms(s->worker->shared->auth);
	o->auth_required = l->auth == CONFIG_AUTH_REQUIRED;
	o->auth_without_tls = l->auth_without_tls;
}
