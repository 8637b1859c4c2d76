/*
 * net/tls-context.c - certificates, keys and rules made into OpenSSL's contexts.
 *
 * A context never changes once it is made, so that all threads may make sessions from
 * it.  What can go wrong with an operator's file goes wrong here, in words, and not
 * at the first client.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "net/tls-private.h"
#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

/*
 * For TLS 1.2 as a server: forward secrecy always, authenticated ciphers first.  CBC with ECDHE
 * stays at the end, for mail servers of 2012 that have nothing better and would else send in clear.
 */
static const char server_ciphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:"
				     "ECDHE+AES:!aNULL:!eNULL:!PSK:!SRP:!DSS:!AESCCM";
/* TLS before 1.2 signs with SHA-1, which security level 1 and above refuse. */
static const char old_ciphers[] = "ALL:!aNULL:!eNULL:!PSK:!SRP:!EXPORT:!RC4:@SECLEVEL=0";
static const char groups[] = "X25519:P-256:X448:P-384:P-521";

void net_tls_printable(char *s)
{
	for (; *s; s++)
		if (*s < 0x20 || *s > 0x7e)
			*s = '?';
}

void net_tls_error_text(char *to, size_t n)
{
	unsigned long e = ERR_get_error();
	const char *reason = e ? ERR_reason_error_string(e) : NULL;

	if (e && ERR_SYSTEM_ERROR(e))
		reason = strerror((int)ERR_GET_REASON(e));
	snprintf(to, n, "%s", reason ? reason : "");
	ERR_clear_error();
}

int net_tls_common_name(const X509 *x, char *to, size_t n)
{
	X509_NAME *subject = X509_get_subject_name(x);
	int r = X509_NAME_get_text_by_NID(subject, NID_commonName, to, (int)n);

	if (r < 0)
		to[0] = '\0';
	net_tls_printable(to);
	return r < 0 ? -ERR_NOTFOUND : 0;
}

void net_tls_certificate_names(const X509 *x, void (*fn)(void *arg, const char *name), void *arg)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	char name[256];
	int found = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
		int n = g->type == GEN_DNS ? ASN1_STRING_length(g->d.dNSName) : 0;
		if (n <= 0 || (size_t)n >= sizeof(name))
			continue;
		memcpy(name, ASN1_STRING_get0_data(g->d.dNSName), (size_t)n);
		name[n] = '\0';
		net_tls_printable(name); /* a NUL inside would end it early: it then is '?' */
		fn(arg, name);
		found++;
	}
	GENERAL_NAMES_free(names);
	if (!found && net_tls_common_name(x, name, sizeof(name)) == 0)
		fn(arg, name);
}

__attribute__((format(printf, 4, 5))) static int fail(
    char *why, size_t n, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, n, fmt, ap);
	va_end(ap);
	ERR_clear_error();
	return err;
}

/* OpenSSL's own error behind what we were doing. */
static int fail_ssl(char *why, size_t n, const char *what, const char *file)
{
	char text[256];

	net_tls_error_text(text, sizeof(text));
	return fail(why, n, -ERR_INVAL, "%s%s%s%s%s%s", what, file ? " \"" : "", file ? file : "",
	    file ? "\"" : "", text[0] ? ": " : "", text);
}

static int check_readable(const char *file, const char *what, char *why, size_t n)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC), err = errno, r;

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	r = err_from_errno(err);
	if (r != -ERR_NOTFOUND && r != -ERR_ACCESS)
		r = -ERR_INVAL;
	return fail(why, n, r, "cannot read %s \"%s\": %s", what, file, strerror(err));
}

/* A key with a passphrase: nobody is there to type it. */
static int no_passphrase(char *to, int n, int writing, void *arg)
{
	(void)to, (void)n, (void)writing, (void)arg;
	return -1;
}

static int load_chain(SSL_CTX *ctx, const struct net_tls_certificate *c, char *why, size_t n)
{
	const char *key = c->key_file ? c->key_file : c->chain_file;
	int r = check_readable(c->chain_file, "certificate", why, n);

	if (r == 0)
		r = check_readable(key, "key", why, n);
	if (r < 0)
		return r;
	if (SSL_CTX_use_certificate_chain_file(ctx, c->chain_file) != 1)
		return fail_ssl(why, n, "no usable certificate in", c->chain_file);
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1) {
		unsigned long e = ERR_peek_error();
		if (ERR_GET_LIB(e) == ERR_LIB_X509 &&
		    ERR_GET_REASON(e) == X509_R_KEY_VALUES_MISMATCH)
			return fail(why, n, -ERR_INVAL,
			    "key \"%s\" does not belong to certificate \"%s\"", key, c->chain_file);
		return fail_ssl(why, n, "no usable key (PEM, without passphrase) in", key);
	}
	if (SSL_CTX_check_private_key(ctx) != 1)
		return fail(why, n, -ERR_INVAL, "key \"%s\" does not belong to certificate \"%s\"",
		    key, c->chain_file);
	return 0;
}

static int version_number(enum net_tls_version v)
{
	switch (v) {
	case NET_TLS_1_0:
		return TLS1_VERSION;
	case NET_TLS_1_1:
		return TLS1_1_VERSION;
	case NET_TLS_1_2:
		return TLS1_2_VERSION;
	case NET_TLS_1_3:
		return TLS1_3_VERSION;
	}
	return TLS1_2_VERSION;
}

/* What servers and clients share. */
static int context_new(const SSL_METHOD *method, enum net_tls_version min, const char *ciphers,
    const char *standard_ciphers, const char *ciphersuites, SSL_CTX **ctx_r, char *why, size_t n)
{
	SSL_CTX *ctx = SSL_CTX_new(method);
	int r = 0;

	if (!ctx)
		return fail(why, n, -ERR_NOMEM, "out of memory");
	if (!min)
		min = NET_TLS_1_2;
	SSL_CTX_set_mode(ctx,
	    SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
		SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_options(ctx,
	    SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
		SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_read_ahead(ctx, 1); /* half the system calls */
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	SSL_CTX_set_min_proto_version(ctx, version_number(min));
	if (!ciphers)
		ciphers = min < NET_TLS_1_2 ? old_ciphers : standard_ciphers;
	if (ciphers && SSL_CTX_set_cipher_list(ctx, ciphers) != 1)
		r = fail_ssl(why, n, "no usable ciphers in", ciphers);
	else if (ciphersuites && !ciphersuites[0])
		SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION); /* none: TLS 1.2 at most */
	else if (ciphersuites && SSL_CTX_set_ciphersuites(ctx, ciphersuites) != 1)
		r = fail_ssl(why, n, "no usable TLS 1.3 cipher suites in", ciphersuites);
	if (r == 0 && SSL_CTX_set1_groups_list(ctx, (char *)(uintptr_t)groups) != 1)
		r = fail_ssl(why, n, "no usable groups in", groups);
	if (r < 0) {
		SSL_CTX_free(ctx);
		return r;
	}
	*ctx_r = ctx;
	return 0;
}

/* The chain for a name that a client sent: exact, then "*." and what is behind its first dot. */
static struct net_tls_chain *find_chain(const struct net_tls *t, const char *name)
{
	struct net_tls_chain *chain = map_get(&t->by_name, span_str(name));
	const char *dot = strchr(name, '.');
	char wildcard[260];

	if (chain || !dot || dot == name)
		return chain;
	if (snprintf(wildcard, sizeof(wildcard), "*%s", dot) >= (int)sizeof(wildcard))
		return NULL;
	return map_get(&t->by_name, span_str(wildcard));
}

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	struct net_tls_chain *chain = name ? find_chain(arg, name) : NULL;

	(void)alert;
	if (!chain)
		return SSL_TLSEXT_ERR_NOACK; /* the default; a refusal would cost mail */
	SSL_set_SSL_CTX(ssl, chain->ctx);
	return SSL_TLSEXT_ERR_OK;
}

/* ASK: whatever it is, the session goes on, and the result says what it was worth. */
static int take_any(int ok, X509_STORE_CTX *store)
{
	(void)ok, (void)store;
	return 1;
}

static int load_ca(SSL_CTX *ctx, const char *file, bool names, char *why, size_t n)
{
	STACK_OF(X509_NAME) * list;
	int r = check_readable(file, "CA file", why, n);

	if (r < 0)
		return r;
	if (SSL_CTX_load_verify_locations(ctx, file, NULL) != 1)
		return fail_ssl(why, n, "no usable CA certificate in", file);
	if (!names)
		return 0;
	list = SSL_load_client_CA_file(file);
	if (!list)
		return fail_ssl(why, n, "no usable CA certificate in", file);
	SSL_CTX_set_client_CA_list(ctx, list);
	return 0;
}

static int server_context(const struct net_tls *t, const struct net_tls_server_options *o,
    SSL_CTX **ctx_r, char *why, size_t n)
{
	static const unsigned char id[] = "postern";
	SSL_CTX *ctx;
	int r = context_new(TLS_server_method(), o->version_min, o->ciphers, server_ciphers,
	    o->ciphersuites, &ctx, why, n);

	if (r < 0)
		return r;
	SSL_CTX_set_dh_auto(ctx, 1);
	/* Sessions are resumed from tickets; nothing is kept here. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_session_id_context(ctx, id, sizeof(id) - 1);
	SSL_CTX_set_num_tickets(ctx, 1); /* mail clients resume one connection after the other */
	switch (o->ask) {
	case NET_TLS_ASK_NONE:
		break;
	case NET_TLS_ASK:
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, take_any);
		break;
	case NET_TLS_ASK_REQUIRE:
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
		break;
	}
	if (o->ask != NET_TLS_ASK_NONE && o->client_ca_file)
		r = load_ca(ctx, o->client_ca_file, true, why, n);
	if (r < 0) {
		SSL_CTX_free(ctx);
		return r;
	}
	SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
	SSL_CTX_set_tlsext_servername_arg(ctx, (void *)(uintptr_t)t);
	*ctx_r = ctx;
	return 0;
}

struct naming {
	struct net_tls *t;
	struct net_tls_chain *chain;
	int err;
};

static void add_name(void *arg, const char *name)
{
	struct naming *naming = arg;
	char *key;

	if (!naming->chain->first_name[0])
		snprintf(naming->chain->first_name, sizeof(naming->chain->first_name), "%s", name);
	if (map_get(&naming->t->by_name, span_str(name)))
		return; /* the first certificate that has a name keeps it */
	key = strdup(name);
	if (!key || map_put(&naming->t->by_name, span_str(key), naming->chain) < 0) {
		free(key);
		naming->err = -ERR_NOMEM;
	}
}

static void first_name(void *arg, const char *name)
{
	char *to = arg;

	if (!to[0])
		snprintf(to, 256, "%s", name);
}

/* A second certificate of the same name joins the first when their keys are of different kinds. */
static bool join(struct net_tls *t, struct net_tls_chain *new, const struct net_tls_certificate *c)
{
	X509 *x = SSL_CTX_get0_certificate(new->ctx);
	int kind = EVP_PKEY_get_base_id(X509_get0_pubkey(x));
	char name[256] = "", why[8];

	net_tls_certificate_names(x, first_name, name);
	for (size_t i = 0; i < t->count; i++) {
		SSL_CTX *ctx = t->chains[i].ctx;
		bool passed = strcasecmp(t->chains[i].first_name, name) != 0;
		for (int more = SSL_CTX_set_current_cert(ctx, SSL_CERT_SET_FIRST); more && !passed;
		     more = SSL_CTX_set_current_cert(ctx, SSL_CERT_SET_NEXT))
			passed = EVP_PKEY_get_base_id(
				     X509_get0_pubkey(SSL_CTX_get0_certificate(ctx))) == kind;
		if (!passed)
			return load_chain(ctx, c, why, sizeof(why)) == 0;
	}
	return false;
}

static int add_certificate(struct net_tls *t, const struct net_tls_server_options *o,
    const struct net_tls_certificate *c, char *why, size_t n)
{
	struct net_tls_chain *chain = &t->chains[t->count];
	struct naming naming = { t, chain, 0 };
	int r = server_context(t, o, &chain->ctx, why, n);

	if (r == 0)
		r = load_chain(chain->ctx, c, why, n);
	if (r < 0 || join(t, chain, c)) {
		SSL_CTX_free(chain->ctx);
		chain->ctx = NULL;
		return r;
	}
	t->count++;
	net_tls_certificate_names(SSL_CTX_get0_certificate(chain->ctx), add_name, &naming);
	return naming.err < 0 ? fail(why, n, naming.err, "out of memory") : 0;
}

static struct net_tls *tls_new(size_t chains)
{
	struct net_tls *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	atomic_init(&t->refs, 1);
	map_init(&t->by_name, true);
	t->chains = calloc(chains, sizeof(*t->chains));
	if (!t->chains)
		net_tls_unref(&t);
	return t;
}

int net_tls_server_new(
    const struct net_tls_server_options *o, struct net_tls **t_r, char *why, size_t n)
{
	struct net_tls *t;
	int r = 0;

	if (!o->certificate_count)
		return fail(why, n, -ERR_INVAL, "a server needs a certificate");
	t = tls_new(o->certificate_count);
	if (!t)
		return fail(why, n, -ERR_NOMEM, "out of memory");
	t->server = true;
	t->ask = o->ask;
	for (size_t i = 0; r == 0 && i < o->certificate_count; i++)
		r = add_certificate(t, o, &o->certificates[i], why, n);
	if (r < 0) {
		net_tls_unref(&t);
		return r;
	}
	*t_r = t;
	return 0;
}

int net_tls_client_new(
    const struct net_tls_client_options *o, struct net_tls **t_r, char *why, size_t n)
{
	struct net_tls *t = tls_new(1);
	SSL_CTX *ctx = NULL;
	int r;

	if (!t)
		return fail(why, n, -ERR_NOMEM, "out of memory");
	r = context_new(
	    TLS_client_method(), o->version_min, o->ciphers, NULL, o->ciphersuites, &ctx, why, n);
	if (r == 0) {
		t->chains[0].ctx = ctx;
		t->count = 1;
	}
	if (r == 0 && o->ca_file)
		r = load_ca(ctx, o->ca_file, false, why, n);
	else if (r == 0 && SSL_CTX_set_default_verify_paths(ctx) != 1)
		r = fail_ssl(why, n, "no usable CA certificates of the system", NULL);
	if (r == 0 && o->certificate)
		r = load_chain(ctx, o->certificate, why, n);
	if (r < 0) {
		net_tls_unref(&t);
		return r;
	}
	ERR_clear_error();
	*t_r = t;
	return 0;
}

struct net_tls *net_tls_ref(struct net_tls *t)
{
	atomic_fetch_add(&t->refs, 1);
	return t;
}

void net_tls_unref(struct net_tls **tp)
{
	struct net_tls *t = *tp;
	struct span key;
	size_t at = 0;

	*tp = NULL;
	if (!t || atomic_fetch_sub(&t->refs, 1) != 1)
		return;
	while (map_next(&t->by_name, &at, &key, NULL))
		free((void *)(uintptr_t)key.p);
	map_done(&t->by_name);
	for (size_t i = 0; i < t->count; i++)
		SSL_CTX_free(t->chains[i].ctx);
	free(t->chains);
	free(t);
}
