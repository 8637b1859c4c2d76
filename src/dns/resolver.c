/*
 * dns/resolver.c - queries, deadlines, and libunbound on a loop.
 *
 * libunbound takes 12 to 17 seconds to give a dead server up, so each query has a
 * deadline of its own.  It answers `.test` and loopback's reverse zone by itself and
 * does not ask servers on loopback; both are lifted only when a stub or server of the
 * configuration is on loopback, which is a laboratory's.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "dns/dns.h"
#include "base/err.h"
#include "dns/dns-private.h"
#include "net/net-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <unbound.h>

struct dns_query {
	struct dns_resolver *resolver;
	struct dns_query *next, *prev;
	void (*fn)(void *arg, const struct dns_answer *answer);
	void *arg;
	struct net_timer *timer;
	int async_id;
	const struct dns_answer *fake;
};

struct dns_resolver {
	struct net_loop *loop;
	struct ub_ctx *ub;
	uv_poll_t *poll;
	uint32_t timeout_ms;
	struct dns_query *queries;
	const struct dns_answer *(*fake)(void *arg, const char *name, enum dns_type type);
	void *fake_arg;
};

static void query_free(struct dns_query *q)
{
	if (q->prev)
		q->prev->next = q->next;
	else
		q->resolver->queries = q->next;
	if (q->next)
		q->next->prev = q->prev;
	net_timer_free(&q->timer);
	free(q);
}

static void finish(struct dns_query *q, const struct dns_answer *answer)
{
	void (*fn)(void *arg, const struct dns_answer *answer) = q->fn;
	void *arg = q->arg;

	query_free(q);
	fn(arg, answer);
}

static void on_timeout(void *arg)
{
	static const struct dns_answer late = { .state = DNS_UNKNOWN, .why = "timed out" };
	struct dns_query *q = arg;

	if (q->fake) {
		finish(q, q->fake);
		return;
	}
	ub_cancel(q->resolver->ub, q->async_id);
	finish(q, &late);
}

static void on_ub_answer(void *arg, int err, struct ub_result *result)
{
	struct dns_query *q = arg;
	struct dns_answer answer = { .state = DNS_UNKNOWN, .why = "SERVFAIL" };
	struct dns_record *records = NULL;

	if (err == 0 && !result->bogus && (result->rcode == 0 || result->rcode == 3)) {
		answer.secure = result->secure;
		answer.state = result->nxdomain ? DNS_NXDOMAIN : DNS_NODATA;
		if (result->havedata)
			records = calloc(DNS_RECORDS_MAX, sizeof(*records));
		for (size_t i = 0; records && result->data[i] && answer.count < DNS_RECORDS_MAX;
		     i++)
			if (dns_record_read(result->qtype,
				span_of(result->data[i], (size_t)result->len[i]),
				&records[answer.count]))
				answer.count++;
		if (answer.count)
			answer.state = DNS_ANSWER;
		else if (result->havedata)
			answer.state = DNS_UNKNOWN; /* records that cannot be read, or no memory */
		answer.records = records;
	} else if (result && result->bogus) {
		answer.why = "DNSSEC validation failed";
	}
	ub_resolve_free(result);
	finish(q, &answer);
	free(records);
}

static void on_fd(uv_poll_t *poll, int status, int events)
{
	struct dns_resolver *r = poll->data;

	(void)status;
	(void)events;
	ub_process(r->ub);
}

/* "127.0.0.1@5353" and "::1" are on loopback. */
static bool on_loopback(const char *server)
{
	return strncmp(server, "127.", 4) == 0 || strncmp(server, "::1", 3) == 0;
}

static void set_stub(struct dns_resolver *r, const char *stub)
{
	const char *space = strchr(stub, ' ');
	char zone[DNS_NAME_MAX];

	if (!space || (size_t)(space - stub) >= sizeof(zone))
		return;
	memcpy(zone, stub, (size_t)(space - stub));
	zone[space - stub] = '\0';
	while (*space == ' ')
		space++;
	ub_ctx_set_stub(r->ub, zone, space, 0);
	if (!on_loopback(space))
		return;
	ub_ctx_set_option(r->ub, "do-not-query-localhost:", "no");
	ub_ctx_set_option(r->ub, "local-zone:", "test. transparent");
	ub_ctx_set_option(r->ub, "local-zone:", "127.in-addr.arpa. transparent");
}

static int ub_start(struct dns_resolver *r, const struct dns_options *o)
{
	bool any = false;

	r->ub = ub_ctx_create();
	if (!r->ub)
		return -ERR_NOMEM;
	/* A thread of libunbound's instead of a process of its own. */
	ub_ctx_async(r->ub, 1);
	for (size_t i = 0; o->servers && o->servers[i]; i++) {
		any = true;
		ub_ctx_set_fwd(r->ub, o->servers[i]);
		if (on_loopback(o->servers[i])) {
			ub_ctx_set_option(r->ub, "do-not-query-localhost:", "no");
			ub_ctx_set_option(r->ub, "local-zone:", "test. transparent");
			ub_ctx_set_option(r->ub, "local-zone:", "127.in-addr.arpa. transparent");
		}
	}
	if (!any)
		(void)ub_ctx_resolvconf(r->ub, NULL);
	for (size_t i = 0; o->stubs && o->stubs[i]; i++)
		set_stub(r, o->stubs[i]);
	r->poll = calloc(1, sizeof(*r->poll));
	if (!r->poll || uv_poll_init(&r->loop->uv, r->poll, ub_fd(r->ub)) < 0) {
		free(r->poll);
		r->poll = NULL;
		ub_ctx_delete(r->ub);
		return -ERR_LIMIT;
	}
	r->poll->data = r;
	uv_poll_start(r->poll, UV_READABLE, on_fd);
	uv_unref((uv_handle_t *)r->poll);
	return 0;
}

int dns_resolver_new(struct net_loop *loop, const struct dns_options *o, struct dns_resolver **r_r)
{
	struct dns_resolver *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return -ERR_NOMEM;
	r->loop = loop;
	r->timeout_ms = o->timeout_ms;
	err = ub_start(r, o);
	if (err < 0) {
		free(r);
		return err;
	}
	*r_r = r;
	return 0;
}

int dns_fake_new(struct net_loop *loop,
    const struct dns_answer *(*answer)(void *arg, const char *name, enum dns_type type), void *arg,
    struct dns_resolver **r_r)
{
	struct dns_resolver *r = calloc(1, sizeof(*r));

	if (!r)
		return -ERR_NOMEM;
	r->loop = loop;
	r->fake = answer;
	r->fake_arg = arg;
	*r_r = r;
	return 0;
}

static void free_poll(uv_handle_t *h)
{
	free(h);
}

void dns_resolver_free(struct dns_resolver **r)
{
	if (!*r)
		return;
	while ((*r)->queries) {
		struct dns_query *q = (*r)->queries;
		dns_cancel(&q);
	}
	if ((*r)->poll) {
		uv_poll_stop((*r)->poll);
		uv_close((uv_handle_t *)(*r)->poll, free_poll);
		ub_ctx_delete((*r)->ub);
	}
	free(*r);
	*r = NULL;
}

int dns_ask(struct dns_resolver *r, const char *name, enum dns_type type,
    void (*fn)(void *arg, const struct dns_answer *answer), void *arg, struct dns_query **q_r)
{
	struct dns_query *q = calloc(1, sizeof(*q));

	if (!q || net_timer_new(r->loop, on_timeout, q, &q->timer) < 0) {
		free(q);
		return -ERR_NOMEM;
	}
	q->resolver = r;
	q->fn = fn;
	q->arg = arg;
	q->next = r->queries;
	if (q->next)
		q->next->prev = q;
	r->queries = q;
	if (r->fake) {
		q->fake = r->fake(r->fake_arg, name, type);
		if (!q->fake) {
			query_free(q);
			return -ERR_DNS;
		}
		net_timer_set(q->timer, net_loop_now_ms(r->loop));
	} else {
		int err = ub_resolve_async(r->ub, name, type, 1, q, on_ub_answer, &q->async_id);
		if (err != 0) {
			query_free(q);
			/* Only a name that is none is the name's fault. */
			return err == UB_SYNTAX ? -ERR_INVAL : -ERR_DNS;
		}
		net_timer_set(q->timer, net_loop_now_ms(r->loop) + r->timeout_ms);
	}
	*q_r = q;
	return 0;
}

void dns_cancel(struct dns_query **q)
{
	if (!*q)
		return;
	if (!(*q)->fake && (*q)->resolver->ub)
		ub_cancel((*q)->resolver->ub, (*q)->async_id);
	query_free(*q);
	*q = NULL;
}
