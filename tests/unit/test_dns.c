/*
 * tests/unit/test_dns.c - questions and answers on a loop, with a fake behind the resolver.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/err.h"
#include "dns/dns.h"

struct world {
	struct net_loop *loop;
	struct net_timer *end;
	unsigned asked, answered;
	enum dns_state state;
	char name[DNS_NAME_MAX];
};

static const struct dns_record mx[] = { { .preference = 10, .name = "a.example" } };

static const struct dns_answer *fake(void *arg, const char *name, enum dns_type type)
{
	static const struct dns_answer none = { .state = DNS_NXDOMAIN };
	static const struct dns_answer one = { .state = DNS_ANSWER, .count = 1, .records = mx };
	struct world *w = arg;

	w->asked++;
	if (strcmp(name, "unaskable.example") == 0)
		return NULL;
	return type == DNS_MX && strcmp(name, "example.org") == 0 ? &one : &none;
}

static void on_answer(void *arg, const struct dns_answer *answer)
{
	struct world *w = arg;

	w->answered++;
	w->state = answer->state;
	if (answer->count)
		snprintf(w->name, sizeof(w->name), "%s", answer->records[0].name);
}

static void on_end(void *arg)
{
	struct world *w = arg;

	net_timer_free(&w->end);
	net_loop_stop(w->loop);
}

/* Run the loop until everything that is due now has happened. */
static void run(struct world *w)
{
	assert_int_equal(net_timer_new(w->loop, on_end, w, &w->end), 0);
	net_timer_set(w->end, net_loop_now_ms(w->loop) + 5);
	net_loop_run(w->loop);
}

static void an_answer_comes_later_and_once(void **state)
{
	struct world w = { 0 };
	struct dns_resolver *r;
	struct dns_query *q;

	(void)state;
	assert_int_equal(net_loop_new(&w.loop), 0);
	assert_int_equal(dns_fake_new(w.loop, fake, &w, &r), 0);
	assert_int_equal(dns_ask(r, "example.org", DNS_MX, on_answer, &w, &q), 0);
	assert_int_equal(w.answered, 0);
	run(&w);
	assert_int_equal(w.answered, 1);
	assert_int_equal(w.state, DNS_ANSWER);
	assert_string_equal(w.name, "a.example");
	dns_resolver_free(&r);
	net_loop_free(&w.loop);
}

static void a_cancelled_question_is_never_answered(void **state)
{
	struct world w = { 0 };
	struct dns_resolver *r;
	struct dns_query *q, *other;

	(void)state;
	assert_int_equal(net_loop_new(&w.loop), 0);
	assert_int_equal(dns_fake_new(w.loop, fake, &w, &r), 0);
	assert_int_equal(dns_ask(r, "example.org", DNS_MX, on_answer, &w, &q), 0);
	assert_int_equal(dns_ask(r, "nowhere.example", DNS_A, on_answer, &w, &other), 0);
	dns_cancel(&q);
	assert_null(q);
	run(&w);
	assert_int_equal(w.asked, 2);
	assert_int_equal(w.answered, 1);
	assert_int_equal(w.state, DNS_NXDOMAIN);
	dns_resolver_free(&r);
	net_loop_free(&w.loop);
}

static void a_resolver_that_goes_takes_its_questions_along(void **state)
{
	struct world w = { 0 };
	struct dns_resolver *r;
	struct dns_query *q;

	(void)state;
	assert_int_equal(net_loop_new(&w.loop), 0);
	assert_int_equal(dns_fake_new(w.loop, fake, &w, &r), 0);
	assert_int_equal(dns_ask(r, "example.org", DNS_MX, on_answer, &w, &q), 0);
	dns_resolver_free(&r);
	run(&w);
	assert_int_equal(w.answered, 0);
	net_loop_free(&w.loop);
}

static void a_question_that_cannot_be_asked_is_not_an_answer(void **state)
{
	struct world w = { 0 };
	struct dns_resolver *r;
	struct dns_query *q = NULL;

	(void)state;
	assert_int_equal(net_loop_new(&w.loop), 0);
	assert_int_equal(dns_fake_new(w.loop, fake, &w, &r), 0);
	assert_int_equal(dns_ask(r, "unaskable.example", DNS_MX, on_answer, &w, &q), -ERR_DNS);
	run(&w);
	assert_int_equal(w.answered, 0);
	dns_resolver_free(&r);
	net_loop_free(&w.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_answer_comes_later_and_once),
		cmocka_unit_test(a_cancelled_question_is_never_answered),
		cmocka_unit_test(a_question_that_cannot_be_asked_is_not_an_answer),
		cmocka_unit_test(a_resolver_that_goes_takes_its_questions_along),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
