/*
 * policy/checks.c - the table of checks, and the evaluator.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "policy/policy-private.h"
#include "base/err.h"
#include "catalogue/reply_ids.h"

/* clang-format off */
static const struct policy_check checks[] = {
	{ "permit", check_permit, "Permit; ends the list." },
	{ "reject", check_reject, "Refuse for good; for the end of a list." },
	{ "defer", check_defer, "Refuse for now; for the end of a list." },
	{ "permit_mynetworks", check_permit_mynetworks,
	  "Permit when the client's address is in `mynetworks`." },
	{ "permit_sasl_authenticated", check_permit_sasl_authenticated,
	  "Permit when the client has authenticated." },
	{ "reject_sender_login_mismatch", check_reject_sender_login_mismatch,
	  "Refuse a client that has authenticated and writes as a sender that is not its own." },
	{ "reject_unauth_destination", check_reject_unauth_destination,
	  "Refuse unless the recipient's domain is one of ours, or one that we relay for." },
	{ "reject_unlisted_recipient", check_reject_unlisted_recipient,
	  "Refuse an address of a local domain that is in no table of recipients." },
};
/* clang-format on */

#define CHECK_COUNT (sizeof(checks) / sizeof(checks[0]))

const char *policy_check_name(size_t i)
{
	return i < CHECK_COUNT ? checks[i].name : NULL;
}

const char *policy_check_text(size_t i)
{
	return i < CHECK_COUNT ? checks[i].text : NULL;
}

int policy_list_add(struct policy_list *list, struct span restriction)
{
	static const struct span warn = { (const uint8_t *)"warn_if_reject ", 15 };
	bool only_warn = span_starts_nocase(restriction, warn);

	if (only_warn)
		restriction = span_trim(span_skip(restriction, warn.n));
	if (list->count == POLICY_LIST_MAX)
		return -ERR_LIMIT;
	for (size_t i = 0; i < CHECK_COUNT; i++)
		if (span_eq(restriction, span_str(checks[i].name))) {
			list->checks[list->count] = &checks[i];
			list->warn_if_reject[list->count++] = only_warn;
			return 0;
		}
	return -ERR_NOTFOUND;
}

void policy_run_init(struct policy_run *run, const struct policy_list *list, struct arena *arena)
{
	*run = (struct policy_run){ .list = list, .arena = arena };
}

const struct fact *policy_ask_fact(struct policy_ask *ask, enum fact_kind kind, struct span key)
{
	struct fact_key k = { kind, key };
	const struct fact *f = facts_get(ask->facts, k);
	struct policy_trace *line = ask->line;

	if (!f) {
		ask->pending = true;
		ask->need = k;
		return NULL;
	}
	if (line->seen_count < POLICY_SEEN_MAX) {
		line->seen[line->seen_count] = f->key;
		line->state[line->seen_count] = f->state;
		line->value[line->seen_count++] = f->value;
	}
	return f;
}

/* A trace outlives the facts (the next recipient clears them), so it keeps copies of its own. */
static int keep_line(struct policy_run *run, const struct policy_trace *line)
{
	struct policy_trace *kept = arena_alloc(run->arena, sizeof(*kept));

	if (!kept)
		return -ERR_NOMEM;
	*kept = *line;
	for (size_t i = 0; i < kept->seen_count; i++) {
		kept->seen[i].key = arena_span(run->arena, line->seen[i].key);
		kept->value[i] = arena_span(run->arena, line->value[i]);
		if (!kept->seen[i].key.p || !kept->value[i].p)
			return -ERR_NOMEM;
	}
	kept->next = NULL;
	if (!run->tail)
		run->tail = &run->trace;
	*run->tail = kept;
	run->tail = &kept->next;
	return 0;
}

int policy_run_step(struct policy_run *run, const struct facts *facts,
    struct policy_verdict *verdict_r, struct fact_key *need_r)
{
	for (; run->at < run->list->count; run->at++) {
		const struct policy_check *check = run->list->checks[run->at];
		struct policy_trace line = { .check = check->name, .reply = -1 };
		struct policy_ask ask = { .facts = facts, .line = &line };
		struct policy_verdict v = { .decision = POLICY_DUNNO, .reply = -1 };
		int r;

		check->run(&ask, &v);
		if (ask.pending) {
			*need_r = ask.need;
			return 0;
		}
		line.decision = v.decision;
		line.reply = v.reply;
		line.only_warned = run->list->warn_if_reject[run->at] &&
		    (v.decision == POLICY_REJECT || v.decision == POLICY_DEFER);
		r = keep_line(run, &line);
		if (r < 0)
			return r;
		if (v.decision == POLICY_DUNNO || line.only_warned)
			continue;
		v.check = check->name;
		*verdict_r = v;
		return 1;
	}
	*verdict_r = (struct policy_verdict){ .decision = POLICY_PERMIT, .reply = -1 };
	return 1;
}

void policy_trace_text(const struct policy_trace *trace, struct buf *out)
{
	static const char *const said[] = { "dunno", "permit", "reject", "defer" };

	for (const struct policy_trace *t = trace; t; t = t->next) {
		buf_addf(out, "%s%s:", t == trace ? "" : "; ", t->check);
		for (size_t i = 0; i < t->seen_count; i++) {
			buf_addf(out, " %s", fact_kind_name(t->seen[i].kind));
			if (t->seen[i].key.n)
				buf_addf(out, "(%.*s)", SPAN_FMT(t->seen[i].key));
			if (t->state[i] == FACT_ANSWER)
				buf_addf(out, "=%.*s", SPAN_FMT(t->value[i]));
			else
				buf_addf(out, "=%s", fact_state_name(t->state[i]));
		}
		buf_addf(
		    out, " -> %s%s", said[t->decision], t->only_warned ? " (only warned)" : "");
	}
}
