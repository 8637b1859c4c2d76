/*
 * policy/facts.h - what is known of a session, and what is not known yet.
 *
 * A fact is (kind, key) -> an answer, "there is none", or "could not find out".
 * It is fetched at most once in its scope and then never changes; clearing a
 * scope forgets its facts and those of the narrower scopes inside it.  Nobody
 * looks anything up here: a check that misses a fact names it, the session
 * fetches it and puts it in.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_POLICY_FACTS_H
#define POSTERN_POLICY_FACTS_H

#include "base/arena.h"

/* Scopes, wide to narrow.  RSET clears TRANSACTION; HELO and EHLO clear GREETING. */
enum fact_scope {
	FACT_SCOPE_CONNECTION,
	FACT_SCOPE_GREETING,
	FACT_SCOPE_TRANSACTION,
	FACT_SCOPE_RECIPIENT,
	FACT_SCOPE_COUNT
};

/* kind, its scope, what its key is, what an answer says. */
#define FACT_KINDS(X)                                                                              \
	X(client_address, CONNECTION, "none", "IP address of the client")                          \
	X(client_name, CONNECTION, "none", "verified name of the client")                          \
	X(client_in_mynetworks, CONNECTION, "none", "the network of mynetworks that has it")       \
	X(sasl_user, TRANSACTION, "none", "name under which the client authenticated")             \
	X(sender_owned, TRANSACTION, "none", "that user may write as this sender")                 \
	X(tls_version, CONNECTION, "none", "version of TLS; none: in clear")                       \
	X(tls_cipher, CONNECTION, "none", "its cipher")                                            \
	X(client_certificate, CONNECTION, "none", "common name of a certificate that verified")    \
	X(client_fingerprint, CONNECTION, "none", "SHA-256 of the client's certificate")           \
	X(helo, GREETING, "none", "name given with HELO or EHLO")                                  \
	X(sender, TRANSACTION, "none", "reverse-path; empty for the null sender")                  \
	X(recipient, RECIPIENT, "none", "the recipient's address")                                 \
	X(domain_class, RECIPIENT, "a domain", "local or relay; none: not ours")                   \
	X(recipient_listed, RECIPIENT, "an address", "where the address is listed")

enum fact_kind {
#define X(name, scope, key, says) FACT_##name,
	FACT_KINDS(X)
#undef X
	    FACT_KIND_COUNT
};

enum fact_state {
	FACT_ABSENT,  /* nobody has looked yet */
	FACT_ANSWER,  /* value holds it */
	FACT_NONE,    /* there is none, and that is certain */
	FACT_UNKNOWN, /* could not find out; never earns a permanent refusal */
};

struct fact_key {
	enum fact_kind kind;
	struct span key; /* empty when the kind has none */
};

struct fact {
	struct fact_key key;
	enum fact_state state;
	struct span value; /* ANSWER: it; UNKNOWN: why */
	struct fact *next;
};

struct facts {
	struct arena arena[FACT_SCOPE_COUNT];
	struct fact *head[FACT_SCOPE_COUNT];
};

/* octets_max: for each scope; a session that reaches it gets 421 4.3.2, see policy_evaluate(). */
void facts_init(struct facts *f, size_t octets_max);
void facts_done(struct facts *f);

/* Forget a scope and the narrower ones. */
void facts_clear(struct facts *f, enum fact_scope scope);

/*
 * Put a fact in; key and value are copied.  A fact that is there stays as it is (-ERR_EXISTS).
 * Returns 0 or -ERR_NOMEM.
 */
int facts_set(struct facts *f, struct fact_key key, enum fact_state state, struct span value);

/* The fact, or NULL when it is absent. */
const struct fact *facts_get(const struct facts *f, struct fact_key key);

/* "client_address", its scope. */
const char *fact_kind_name(enum fact_kind kind);
enum fact_scope fact_kind_scope(enum fact_kind kind);
int fact_kind_by_name(struct span name); /* -1: no such kind */
const char *fact_state_name(enum fact_state state);

#endif
