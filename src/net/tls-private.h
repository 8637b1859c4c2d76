/*
 * net/tls-private.h - what a context is, for the sessions made from it.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_NET_TLS_PRIVATE_H
#define POSTERN_NET_TLS_PRIVATE_H

#include "base/map.h"
#include "net/tls.h"

#include <openssl/ssl.h>
#include <stdatomic.h>

/* One certificate, or two of one name with keys of different kinds: the client's abilities then
 * choose. */
struct net_tls_chain {
	SSL_CTX *ctx;
	char first_name[256];
};

struct net_tls {
	_Atomic unsigned refs;
	bool server;
	enum net_tls_ask ask;
	struct net_tls_chain *chains; /* the first is the default */
	size_t count;
	struct map by_name; /* "mx.example.org", "*.example.org" -> chain; keys on the heap */
};

/* The text of OpenSSL's oldest error of this thread, "" when there is none; the queue is emptied.
 */
void net_tls_error_text(char *to, size_t n);

/* A peer's text for a log line: what is not printable ASCII becomes '?'. */
void net_tls_printable(char *s);

/* Calls fn for each DNS name in a certificate; its common name when it has none. */
void net_tls_certificate_names(const X509 *x, void (*fn)(void *arg, const char *name), void *arg);

/* The common name; 0, or -ERR_NOTFOUND with "" in `to`. */
int net_tls_common_name(const X509 *x, char *to, size_t n);

#endif
