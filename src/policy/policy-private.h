/*
 * policy/policy-private.h - how a check is written.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_POLICY_POLICY_PRIVATE_H
#define POSTERN_POLICY_POLICY_PRIVATE_H

#include "policy/policy.h"

/* What a check sees: facts through fact(), which notes them in the trace. */
struct policy_ask {
	const struct facts *facts;
	struct policy_trace *line;
	struct fact_key need;
	bool pending;
};

/*
 * The fact, or NULL when it is absent: then the check returns POLICY_DUNNO at once and is called
 * again when the fact is there.
 */
const struct fact *policy_ask_fact(struct policy_ask *ask, enum fact_kind kind, struct span key);

/* A check: sets *v (which starts as DUNNO).  No side effect, no I/O. */
typedef void policy_check_fn(struct policy_ask *ask, struct policy_verdict *v);

struct policy_check {
	const char *name;
	policy_check_fn *run;
	const char *text; /* one line for the manual */
};

/* policy/checks_*.c, a file per family */
policy_check_fn check_permit, check_reject, check_defer;
policy_check_fn check_permit_mynetworks, check_permit_sasl_authenticated;
policy_check_fn check_reject_sender_login_mismatch;
policy_check_fn check_reject_unauth_destination, check_reject_unlisted_recipient;

#endif
