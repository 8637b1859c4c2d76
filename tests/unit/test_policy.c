/*
 * tests/unit/test_policy.c - facts, checks and the evaluator, on given facts.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/err.h"
#include "catalogue/reply_ids.h"
#include "policy/policy.h"

#define NO_KEY SPAN_LIT("")

/* The world that a test's fetcher answers from. */
struct world {
	enum fact_state net, user, class_state, listed;
	const char *class_;
	unsigned fetched;
};

static void fetch(const struct world *w, struct facts *f, struct fact_key need)
{
	enum fact_state state = FACT_NONE;
	struct span value = SPAN_LIT("yes");

	if (need.kind == FACT_client_in_mynetworks)
		state = w->net;
	if (need.kind == FACT_sasl_user)
		state = w->user;
	if (need.kind == FACT_domain_class) {
		state = w->class_state;
		value = span_str(w->class_);
	}
	if (need.kind == FACT_recipient_listed)
		state = w->listed;
	assert_int_equal(facts_set(f, need, state, value), 0);
}

static struct policy_list standard(void)
{
	struct policy_list list = { .count = 0 };

	assert_int_equal(policy_list_add(&list, SPAN_LIT("permit_mynetworks")), 0);
	assert_int_equal(policy_list_add(&list, SPAN_LIT("permit_sasl_authenticated")), 0);
	assert_int_equal(policy_list_add(&list, SPAN_LIT("reject_unauth_destination")), 0);
	assert_int_equal(policy_list_add(&list, SPAN_LIT("reject_unlisted_recipient")), 0);
	return list;
}

/* resume: go on where it stopped; else begin anew after each fact. */
static struct policy_verdict decide(struct world *w, bool resume, struct buf *trace)
{
	struct policy_list list = standard();
	struct policy_verdict v = { .reply = -2 };
	struct policy_run run;
	struct fact_key need;
	struct facts f;
	struct arena arena;
	int r;

	facts_init(&f, 65536);
	arena_init(&arena, 65536);
	w->fetched = 0;
	assert_int_equal(facts_set(&f, (struct fact_key){ FACT_recipient, NO_KEY }, FACT_ANSWER,
			     SPAN_LIT("ann@example.org")),
	    0);
	policy_run_init(&run, &list, &arena);
	while ((r = policy_run_step(&run, &f, &v, &need)) == 0) {
		fetch(w, &f, need);
		w->fetched++;
		if (!resume)
			policy_run_init(&run, &list, &arena);
	}
	assert_int_equal(r, 1);
	policy_trace_text(run.trace, trace);
	arena_done(&arena);
	facts_done(&f);
	return v;
}

static const struct row {
	const char *name;
	struct world world;
	enum policy_decision decision;
	int reply;
	unsigned fetched;
} rows[] = {
	{ "a client of mynetworks may send anywhere, nothing else is asked",
	    { FACT_ANSWER, FACT_NONE, FACT_NONE, FACT_NONE, "", 0 }, POLICY_PERMIT, -1, 1 },
	{ "an authenticated client may send anywhere",
	    { FACT_NONE, FACT_ANSWER, FACT_NONE, FACT_NONE, "", 0 }, POLICY_PERMIT, -1, 2 },
	{ "a stranger may not relay", { FACT_NONE, FACT_NONE, FACT_NONE, FACT_NONE, "", 0 },
	    POLICY_REJECT, REPLY_RELAY_DENIED, 3 },
	{ "a stranger may write to a known recipient",
	    { FACT_NONE, FACT_NONE, FACT_ANSWER, FACT_ANSWER, "local", 0 }, POLICY_PERMIT, -1, 4 },
	{ "an unknown recipient of a local domain is refused",
	    { FACT_NONE, FACT_NONE, FACT_ANSWER, FACT_NONE, "local", 0 }, POLICY_REJECT,
	    REPLY_RCPT_UNKNOWN, 4 },
	{ "a relay domain's recipients are not looked up",
	    { FACT_NONE, FACT_NONE, FACT_ANSWER, FACT_NONE, "relay", 0 }, POLICY_PERMIT, -1, 3 },
	{ "a class that could not be found out defers, never refuses for good",
	    { FACT_NONE, FACT_NONE, FACT_UNKNOWN, FACT_NONE, "", 0 }, POLICY_DEFER,
	    REPLY_TEMPORARY_LOOKUP_FAILURE, 3 },
	{ "a recipient that could not be looked up is deferred",
	    { FACT_NONE, FACT_NONE, FACT_ANSWER, FACT_UNKNOWN, "local", 0 }, POLICY_DEFER,
	    REPLY_TEMPORARY_LOOKUP_FAILURE, 4 },
	{ "networks that could not be found out permit nobody",
	    { FACT_UNKNOWN, FACT_UNKNOWN, FACT_NONE, FACT_NONE, "", 0 }, POLICY_REJECT,
	    REPLY_RELAY_DENIED, 3 },
};

static void each_world_earns_its_verdict_and_resuming_equals_starting_over(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w = rows[i].world;
		struct policy_verdict a, b;
		struct buf ta, tb;
		buf_init(&ta, 4096);
		buf_init(&tb, 4096);
		print_message("# %s\n", rows[i].name);
		a = decide(&w, true, &ta);
		assert_int_equal(a.decision, rows[i].decision);
		assert_int_equal(a.reply, rows[i].reply);
		assert_int_equal(w.fetched, rows[i].fetched);
		b = decide(&w, false, &tb);
		assert_int_equal(a.decision, b.decision);
		assert_int_equal(a.reply, b.reply);
		assert_string_equal(buf_cstr(&ta), buf_cstr(&tb));
		buf_done(&ta);
		buf_done(&tb);
	}
}

static void warn_if_reject_speaks_in_the_trace_only(void **state)
{
	struct policy_list list = { .count = 0 };
	struct policy_verdict v;
	struct policy_run run;
	struct fact_key need;
	struct facts f;
	struct arena arena;
	struct buf trace;

	(void)state;
	assert_int_equal(policy_list_add(&list, SPAN_LIT("warn_if_reject reject")), 0);
	assert_int_equal(policy_list_add(&list, SPAN_LIT("no_such_check")), -ERR_NOTFOUND);
	facts_init(&f, 65536);
	arena_init(&arena, 65536);
	buf_init(&trace, 4096);
	facts_set(&f, (struct fact_key){ FACT_recipient, NO_KEY }, FACT_ANSWER, SPAN_LIT("a@b"));
	policy_run_init(&run, &list, &arena);
	assert_int_equal(policy_run_step(&run, &f, &v, &need), 1);
	assert_int_equal(v.decision, POLICY_PERMIT);
	policy_trace_text(run.trace, &trace);
	assert_string_equal(buf_cstr(&trace), "reject: recipient=a@b -> reject (only warned)");
	buf_done(&trace);
	arena_done(&arena);
	facts_done(&f);
}

static void a_fact_is_set_once_and_cleared_with_its_scope(void **state)
{
	struct fact_key sender = { FACT_sender, NO_KEY }, name = { FACT_client_name, NO_KEY };
	struct facts f;

	(void)state;
	facts_init(&f, 65536);
	assert_int_equal(facts_set(&f, sender, FACT_ANSWER, SPAN_LIT("a")), 0);
	assert_int_equal(facts_set(&f, sender, FACT_ANSWER, SPAN_LIT("b")), -ERR_EXISTS);
	assert_int_equal(facts_set(&f, name, FACT_NONE, NO_KEY), 0);
	facts_clear(&f, FACT_SCOPE_TRANSACTION);
	assert_null(facts_get(&f, sender));
	assert_int_equal(facts_get(&f, name)->state, FACT_NONE);
	facts_done(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_world_earns_its_verdict_and_resuming_equals_starting_over),
		cmocka_unit_test(warn_if_reject_speaks_in_the_trace_only),
		cmocka_unit_test(a_fact_is_set_once_and_cleared_with_its_scope),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
