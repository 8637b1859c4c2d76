/*
 * policy/policy.h - restriction lists: ordered checks from facts to a verdict.
 *
 * A check is a pure function.  One that needs a fact nobody has looked up returns
 * PENDING and names it; the caller fetches it, puts it into the facts and calls
 * again, and evaluation goes on at that very check.  Every evaluation leaves a
 * trace: the checks in order, the facts that each saw, what it said.  So the
 * server, `postern try` and the tests run the same code.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_POLICY_POLICY_H
#define POSTERN_POLICY_POLICY_H

#include "base/buf.h"
#include "catalogue/catalogue.h"
#include "policy/facts.h"

enum policy_decision {
	POLICY_DUNNO,  /* nothing said: the next check is asked; at the end of a list it permits */
	POLICY_PERMIT, /* the rest of this list is skipped */
	POLICY_REJECT, /* refuse with `reply` */
	POLICY_DEFER,  /* refuse for now with `reply` */
};

struct policy_verdict {
	enum policy_decision decision;
	int reply; /* id for REJECT and DEFER */
	struct reply_args args;
	const char *check; /* name of the check that decided, or NULL */
};

struct policy_check; /* a row of the table in policy/checks.c */

/* A restriction list made ready.  Immutable; lives in the configuration. */
#define POLICY_LIST_MAX 64
struct policy_list {
	const struct policy_check *checks[POLICY_LIST_MAX];
	bool warn_if_reject[POLICY_LIST_MAX];
	size_t count;
};

/*
 * Add one restriction, written as in Postfix ("reject_unauth_destination"); "warn_if_reject NAME"
 * lets the check speak but not refuse.
 * Returns 0, -ERR_NOTFOUND (no such check), -ERR_LIMIT.
 */
int policy_list_add(struct policy_list *list, struct span restriction);

/* Names and one-line texts of all checks, for documentation; NULL at the end. */
const char *policy_check_name(size_t i);
const char *policy_check_text(size_t i);

#define POLICY_SEEN_MAX 4

/* One line of a trace. */
struct policy_trace {
	const char *check;
	struct fact_key seen[POLICY_SEEN_MAX];
	enum fact_state state[POLICY_SEEN_MAX];
	struct span value[POLICY_SEEN_MAX];
	size_t seen_count;
	enum policy_decision decision;
	bool only_warned;
	int reply;
	struct policy_trace *next;
};

/* An evaluation under way; lives in the caller, trace in `arena`. */
struct policy_run {
	const struct policy_list *list;
	size_t at;
	struct arena *arena;
	struct policy_trace *trace, **tail;
};

void policy_run_init(struct policy_run *run, const struct policy_list *list, struct arena *arena);

/*
 * Go on until a verdict or a missing fact.
 * Returns 1 with *verdict_r, 0 with *need_r (fetch it, then call again), -ERR_NOMEM (the caller
 * answers 421 4.3.2 or 451 4.3.0: never a permanent refusal).
 */
int policy_run_step(struct policy_run *run, const struct facts *facts,
    struct policy_verdict *verdict_r, struct fact_key *need_r);

/* The trace for people and logs: "permit_mynetworks: client_in_mynetworks=none -> dunno; ...". */
void policy_trace_text(const struct policy_trace *trace, struct buf *out);

#endif
