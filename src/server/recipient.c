/*
 * server/recipient.c - may this recipient come in?  Fetches the facts that the checks ask for.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "catalogue/reply_ids.h"
#include "server/server-private.h"

static bool is_known(const struct server_case *c, struct span address)
{
	struct aliases *a = c->aliases ? alias_files_get(c->aliases) : NULL;
	bool yes = queue_recipient_known(c->cfg, a, address);

	aliases_unref(&a);
	return yes;
}

/* The map from a fact to its fetcher: what a check may ask for, and where the answer stands. */
static int fetch(const struct server_case *c, struct facts *facts, struct fact_key need)
{
	const struct fact *sender;
	struct span answer = { (const uint8_t *)"", 0 };
	enum fact_state state = FACT_NONE;

	switch (need.kind) {
	case FACT_client_in_mynetworks:
		if (config_in_mynetworks(c->cfg, &c->client)) {
			state = FACT_ANSWER;
			answer = SPAN_LIT("yes");
		}
		break;
	case FACT_domain_class: {
		const char *class_ = config_domain_class(c->cfg, need.key);
		if (class_) {
			state = FACT_ANSWER;
			answer = span_str(class_);
		}
		break;
	}
	case FACT_recipient_listed:
		if (is_known(c, need.key)) {
			state = FACT_ANSWER;
			answer = SPAN_LIT("yes");
		}
		break;
	case FACT_sasl_user:
		if (c->user.n) {
			state = FACT_ANSWER;
			answer = c->user;
		}
		break;
	case FACT_sender_owned:
		sender = facts_get(facts, (struct fact_key){ FACT_sender, { answer.p, 0 } });
		if (!c->auth || !sender || auth_may_send(c->auth, c->user, sender->value)) {
			state = FACT_ANSWER;
			answer = SPAN_LIT("yes");
		}
		break;
	case FACT_client_name: /* likewise */
		break;
	case FACT_tls_version: /* put in when the handshake is done; here: in clear */
	case FACT_tls_cipher:
	case FACT_client_certificate:
	case FACT_client_fingerprint:
		break;
	case FACT_client_address:
	case FACT_helo:
	case FACT_sender:
	case FACT_recipient:
		/* Put in when they came; a check that still misses one asks too early. */
		state = FACT_UNKNOWN;
		break;
	case FACT_KIND_COUNT:
		return -ERR_INVAL;
	}
	return facts_set(facts, need, state, answer);
}

/* One list: 1 with a verdict, or a negative error. */
static int evaluate(const struct server_case *c, struct facts *facts,
    const struct policy_list *list, struct arena *arena, struct policy_verdict *v_r,
    struct buf *trace_r)
{
	struct policy_run run;
	struct fact_key need;
	int r;

	policy_run_init(&run, list, arena);
	while ((r = policy_run_step(&run, facts, v_r, &need)) == 0)
		if ((r = fetch(c, facts, need)) < 0)
			break;
	if (buf_len(trace_r) && run.trace)
		buf_add_str(trace_r, "; ");
	policy_trace_text(run.trace, trace_r);
	return r;
}

static bool is_through(const struct policy_verdict *v)
{
	return v->decision == POLICY_PERMIT || v->decision == POLICY_DUNNO;
}

int server_judge_recipient(const struct server_case *c, struct facts *facts, struct span address,
    struct reply_args *args_r, struct buf *trace_r)
{
	const struct policy_list *const lists[] = { &c->lists->submission, &c->lists->recipient,
		&c->lists->recipient_last };
	struct fact_key recipient = { FACT_recipient, { (const uint8_t *)"", 0 } };
	struct policy_verdict v = { .decision = POLICY_PERMIT };
	struct arena arena;
	int r;

	arena_init(&arena, TRACE_OCTETS_MAX);
	facts_clear(facts, FACT_SCOPE_RECIPIENT);
	r = facts_set(facts, recipient, FACT_ANSWER, address);
	for (size_t i = c->submission ? 0 : 1; i < 3 && r >= 0 && is_through(&v); i++)
		r = evaluate(c, facts, lists[i], &arena, &v, trace_r);
	arena_done(&arena);
	if (r < 0)
		return REPLY_NO_RESOURCES;
	*args_r = v.args;
	return is_through(&v) ? REPLY_RCPT_OK : v.reply;
}

int recipient_check(
    struct session *s, struct span address, struct reply_args *args_r, struct buf *trace_r)
{
	struct server_case c = { .cfg = s->worker->cfg,
		.lists = &s->worker->shared->lists,
		.client = s->client_ip,
		.submission = s->listen->service == CONFIG_SERVICE_SUBMISSION,
		.aliases = s->worker->shared->aliases,
		.auth = s->worker->shared->auth,
		.user = span_str(s->login) };

	return server_judge_recipient(&c, &s->facts, address, args_r, trace_r);
}
