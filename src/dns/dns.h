/*
 * dns/dns.h - questions to the DNS, answered later on the same loop.
 *
 * One resolver belongs to one loop.  An answer is "yes, these records", "there is
 * none" (NXDOMAIN or no such record: certain), or "could not find out" (SERVFAIL,
 * time-out, bogus): the three are never mixed up.  libunbound stands behind it;
 * tests put a fake in its place.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_DNS_DNS_H
#define POSTERN_DNS_DNS_H

#include "base/ip.h"
#include "net/net.h"

enum dns_type { DNS_A = 1, DNS_PTR = 12, DNS_MX = 15, DNS_TXT = 16, DNS_AAAA = 28 };

enum dns_state {
	DNS_ANSWER,
	DNS_NXDOMAIN, /* the name does not exist */
	DNS_NODATA,   /* the name exists, without such a record */
	DNS_UNKNOWN,  /* could not find out */
};

#define DNS_NAME_MAX 256
#define DNS_RECORDS_MAX                                                                            \
	64 /* more records of one name are cut: a host list of this size is enough */

struct dns_record {
	uint16_t preference;     /* MX */
	char name[DNS_NAME_MAX]; /* MX, PTR: lower case, without the last dot; "" is the root */
	struct ip ip;            /* A, AAAA */
};

struct dns_answer {
	enum dns_state state;
	bool secure;     /* DNSSEC validated */
	const char *why; /* UNKNOWN: "SERVFAIL", "timed out" */
	size_t count;
	const struct dns_record *records;
};

struct dns_options {
	const char *const
	    *servers;             /* "ADDRESS" or "ADDRESS@PORT"; NULL or empty: /etc/resolv.conf */
	const char *const *stubs; /* "ZONE ADDRESS@PORT" */
	uint32_t timeout_ms;
};

struct dns_resolver; /* opaque; behind it a table of functions */
struct dns_query;

int dns_resolver_new(struct net_loop *loop, const struct dns_options *o, struct dns_resolver **r_r);

/* Open queries are cancelled: their functions are not called. */
void dns_resolver_free(struct dns_resolver **r);

/*
 * Ask.  `fn` is called once, on the loop, never before this returns; the answer is good for the
 * call. Returns 0, -ERR_INVAL (not a name: certain), -ERR_DNS or -ERR_NOMEM (could not ask: nothing
 * is known).
 */
int dns_ask(struct dns_resolver *r, const char *name, enum dns_type type,
    void (*fn)(void *arg, const struct dns_answer *answer), void *arg, struct dns_query **q_r);

/* Not interested any more; fn will not be called.  Only before fn was. */
void dns_cancel(struct dns_query **q);

/*
 * A resolver for tests: `answer` is asked for each query and fills a struct that lives as long as
 * it likes; the answer is delivered on the next turn of the loop.  NULL: the question cannot be
 * asked.
 */
int dns_fake_new(struct net_loop *loop,
    const struct dns_answer *(*answer)(void *arg, const char *name, enum dns_type type), void *arg,
    struct dns_resolver **r_r);

#endif
