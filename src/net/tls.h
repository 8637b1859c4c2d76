/*
 * net/tls.h - TLS on a stream (RFC 8446, 5246), server and client side; OpenSSL is named nowhere
 * else.
 *
 * A *context* holds keys, certificates and rules; it is immutable, counted, and shared by
 * all threads.  A stream becomes a TLS stream by one call, at its start (implicit TLS) or
 * in the middle (STARTTLS); from then on its owner sees plain octets as before.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_NET_TLS_H
#define POSTERN_NET_TLS_H

#include "net/net.h"

struct net_tls; /* opaque: net/tls-context.c */

enum net_tls_version { NET_TLS_1_0 = 10, NET_TLS_1_1 = 11, NET_TLS_1_2 = 12, NET_TLS_1_3 = 13 };

/* A chain and its key, PEM.  The names are those of the certificate. */
struct net_tls_certificate {
	const char *chain_file, *key_file;
};

/* What a server asks of a client's certificate. */
enum net_tls_ask {
	NET_TLS_ASK_NONE,
	NET_TLS_ASK,        /* ask for one; take none or any, `info` says whether it verified */
	NET_TLS_ASK_REQUIRE /* no valid certificate, no session */
};

struct net_tls_server_options {
	/* The first is for clients without SNI or with a name that no certificate has. */
	const struct net_tls_certificate *certificates;
	size_t certificate_count;
	enum net_tls_version version_min; /* default 1.2 */
	const char *ciphers;              /* TLS 1.2, OpenSSL's notation; NULL: the default */
	const char *ciphersuites;         /* TLS 1.3; NULL: OpenSSL's */
	enum net_tls_ask ask;
	const char *client_ca_file; /* whom client certificates are verified against */
};

struct net_tls_client_options {
	enum net_tls_version version_min;
	const char *ciphers, *ciphersuites;
	const char *ca_file;                           /* NULL: the system's */
	const struct net_tls_certificate *certificate; /* our own, or NULL */
};

/*
 * Make a context.
 * Returns 0, -ERR_NOTFOUND or -ERR_ACCESS (a file), -ERR_INVAL (what a file or a cipher list holds,
 * a key that is not the certificate's), -ERR_NOMEM; `why` (size n) then says what and why, for the
 * operator.
 */
int net_tls_server_new(
    const struct net_tls_server_options *o, struct net_tls **t_r, char *why, size_t n);
int net_tls_client_new(
    const struct net_tls_client_options *o, struct net_tls **t_r, char *why, size_t n);
struct net_tls *net_tls_ref(struct net_tls *t);
void net_tls_unref(struct net_tls **t);

/*
 * Begin the handshake as a server.  Octets of the peer that came in clear and were not taken are
 * thrown away (RFC 3207 4.2); so call it from a turn in which the owner has taken or dropped all,
 * after what it had to say in clear was given to net_stream_write().  `secured` follows, or `ended`
 * with -ERR_TLS (net_stream_tls_why() tells).  0 or -ERR_NOMEM.
 */
int net_stream_tls_accept(struct net_stream *s, struct net_tls *t);

/*
 * The same where TLS is there from the start, but a PROXY header was in front of it: `first` is
 * what came behind the header in the same read, and goes into the handshake.
 */
int net_stream_tls_accept_from(struct net_stream *s, struct net_tls *t, struct span first);

/*
 * Begin the handshake as a client.
 *
 * name     sent as SNI; NULL: none (an address)
 * verify   NULL: any certificate will do (opportunistic); else names, NULL at the end, of which
 *          the certificate must have one and a chain to a trusted root: else -ERR_TLS
 */
int net_stream_tls_connect(
    struct net_stream *s, struct net_tls *t, const char *name, const char *const *verify);

/* What was agreed; spans and strings live as long as the stream. */
struct net_tls_info {
	const char *version; /* "TLSv1.3" */
	const char *cipher;  /* "TLS_AES_256_GCM_SHA384" */
	unsigned bits;
	const char *name;             /* SNI that the client sent, or NULL */
	bool peer_certificate;        /* the peer showed one */
	bool peer_verified;           /* and it leads to a trusted root (client side: names too) */
	const char *peer_subject;     /* common name, or NULL */
	const char *peer_fingerprint; /* SHA-256, hex with colons, or NULL */
};
const struct net_tls_info *net_stream_tls_info(const struct net_stream *s); /* NULL: in clear */

/* Why the handshake or the verification failed, one line; "" when it did not. */
const char *net_stream_tls_why(const struct net_stream *s);

/* The channel binding "tls-exporter" of RFC 9266: 32 octets.  -ERR_INVAL: in clear, or TLS before
 * 1.3 without extended master secret. */
int net_stream_tls_exporter(const struct net_stream *s, uint8_t *out_r);

#endif
