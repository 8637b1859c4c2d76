/*
 * net/tls.c - TLS of one stream: handshake, octets, end, and what was agreed.
 *
 * OpenSSL reads and writes the stream's descriptor itself, without blocking; what it
 * waits for is told to stream.c, which owns the poll and calls the owner.
 *
 * STARTTLS and octets in clear (RFC 3207 4.2): what had been read in clear and was not
 * taken when TLS begins never becomes a command of the secured session.  A server
 * throws it away; for a client it is a fault, for a server has nothing to say between its 220
 * and the handshake.  What is still in the socket is the handshake's: a ClientHello,
 * or it fails.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "net/net-private.h"
#include "net/tls-private.h"

#include "base/err.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define WHY_MAX    320
#define VERIFY_MAX 16

struct net_tls_session {
	struct net_tls *context;
	SSL *ssl;
	int fd;
	enum net_tls_state state;
	int handshake_wants, read_wants, write_wants;
	bool pending;
	bool has_end; /* reading ended with this; told once what came before is taken */
	int end;
	bool verify;      /* the client side wants names and a chain */
	bool injected;    /* octets came in clear behind the server's answer to STARTTLS */
	int io_errno;     /* of the last call to the kernel that failed */
	struct buf first; /* read before TLS began, and part of it all the same */
	char *names[VERIFY_MAX + 1];
	char *sni;
	struct net_tls_info info;
	char server_name[256], subject[256], fingerprint[EVP_MAX_MD_SIZE * 3];
	char why[WHY_MAX];
};

/* ---- the descriptor: as OpenSSL's own, but no SIGPIPE, and the error is kept ---- */

static pthread_once_t method_once = PTHREAD_ONCE_INIT;
static BIO_METHOD *method;

static int bio_result(BIO *bio, ssize_t r)
{
	struct net_tls_session *t = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (r < 0)
		t->io_errno = errno;
	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	return 1;
}

static int bio_write(BIO *bio, const char *p, int n)
{
	struct net_tls_session *t = BIO_get_data(bio);
	ssize_t r = send(t->fd, p, (size_t)n, MSG_NOSIGNAL);

	if (!bio_result(bio, r))
		BIO_set_retry_write(bio);
	return (int)r;
}

static int bio_read(BIO *bio, char *p, int n)
{
	struct net_tls_session *t = BIO_get_data(bio);
	ssize_t r;

	if (buf_len(&t->first)) {
		size_t some = buf_len(&t->first) < (size_t)n ? buf_len(&t->first) : (size_t)n;
		memcpy(p, buf_span(&t->first).p, some);
		buf_consume(&t->first, some);
		if (!buf_len(&t->first))
			buf_done(&t->first);
		return (int)some;
	}
	r = recv(t->fd, p, (size_t)n, 0);
	if (!bio_result(bio, r))
		BIO_set_retry_read(bio);
	if (r == 0)
		BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
	return (int)r;
}

static long bio_ctrl(BIO *bio, int cmd, long n, void *p)
{
	(void)n, (void)p;
	if (cmd == BIO_CTRL_EOF)
		return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
	return cmd == BIO_CTRL_FLUSH;
}

static void make_method(void)
{
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
	if (!method)
		return;
	BIO_meth_set_write(method, bio_write);
	BIO_meth_set_read(method, bio_read);
	BIO_meth_set_ctrl(method, bio_ctrl);
}

static int attach(struct net_tls_session *t)
{
	BIO *bio;

	pthread_once(&method_once, make_method);
	bio = method ? BIO_new(method) : NULL;
	if (!bio)
		return -ERR_NOMEM;
	BIO_set_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	return 0;
}

/* ---- what went wrong, in words ---- */

static bool name_matches(X509 *x, const char *name)
{
	struct ip ip;

	if (ip_parse(span_str(name), &ip) == 0)
		return X509_check_ip(x, ip.octets, ip.family == 4 ? 4 : 16, 0) == 1;
	return X509_check_host(x, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

struct listing {
	char *to;
	size_t n, count;
};

static void list_name(void *arg, const char *name)
{
	struct listing *l = arg;
	size_t used = strlen(l->to);

	if (l->count++ < 4)
		snprintf(l->to + used, l->n - used, "%s%s", used ? ", " : "", name);
}

static void say_names(struct net_tls_session *t, X509 *x)
{
	char of[160] = "", wanted[120] = "";
	struct listing has = { of, sizeof(of), 0 }, want = { wanted, sizeof(wanted), 0 };

	net_tls_certificate_names(x, list_name, &has);
	for (char **name = t->names; *name; name++)
		list_name(&want, *name);
	snprintf(t->why, sizeof(t->why), "certificate is for %s%s, not for %s%s",
	    has.count ? of : "nobody", has.count > 4 ? " and others" : "", wanted,
	    want.count > 4 ? " and others" : "");
}

/*
 * Certificate by certificate OpenSSL says what it thinks; of a server's own we ask for a name as
 * well.  What does not verify is put in words here, for it is gone when the handshake has failed.
 */
static int on_verify(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct net_tls_session *t = SSL_get_app_data(ssl);
	X509 *x = X509_STORE_CTX_get_current_cert(store);
	int error = X509_STORE_CTX_get_error(store);
	char subject[128] = "";

	if (!ok) {
		if (x)
			(void)net_tls_common_name(x, subject, sizeof(subject));
		snprintf(t->why, sizeof(t->why), "certificate%s%s does not verify: %s",
		    subject[0] ? " of " : "", subject, X509_verify_cert_error_string(error));
		return 0;
	}
	if (!t->verify || X509_STORE_CTX_get_error_depth(store) != 0)
		return 1;
	for (char **name = t->names; *name; name++)
		if (name_matches(x, *name))
			return 1;
	say_names(t, x);
	X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
	return 0;
}

static const char *reason_words(unsigned long e)
{
	if (ERR_GET_LIB(e) != ERR_LIB_SSL)
		return NULL;
	switch (ERR_GET_REASON(e)) {
	case SSL_R_UNEXPECTED_EOF_WHILE_READING:
		return "the peer closed the connection";
	case SSL_R_WRONG_VERSION_NUMBER:
		return "the peer does not speak TLS (wrong version number)";
	case SSL_R_HTTP_REQUEST:
	case SSL_R_HTTPS_PROXY_REQUEST:
		return "the peer speaks HTTP in clear";
	case SSL_R_NO_SHARED_CIPHER:
		return "no cipher in common";
	case SSL_R_UNSUPPORTED_PROTOCOL:
		return "no version of TLS in common (unsupported protocol)";
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
		return "the peer showed no certificate";
	}
	return NULL;
}

/* After an operation of OpenSSL failed for good. */
static int failed(struct net_tls_session *t, int ssl_error)
{
	unsigned long e = ERR_peek_error();
	char text[200];

	t->state = NET_TLS_FAILED;
	if (ssl_error == SSL_ERROR_SYSCALL && !e) {
		snprintf(t->why, sizeof(t->why), "%s",
		    t->io_errno ? strerror(t->io_errno) : "the peer closed the connection");
		return -ERR_TLS;
	}
	if (ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED &&
	    t->why[0]) {
		/* on_verify() has said it */
	} else if (reason_words(e)) {
		snprintf(t->why, sizeof(t->why), "%s", reason_words(e));
	} else {
		net_tls_error_text(text, sizeof(text));
		snprintf(t->why, sizeof(t->why), "%s", text[0] ? text : "unknown error");
	}
	ERR_clear_error();
	return -ERR_TLS;
}

/* ---- begin ---- */

void net_tls_session_free(struct net_tls_session **tp)
{
	struct net_tls_session *t = *tp;

	*tp = NULL;
	if (!t)
		return;
	SSL_free(t->ssl);
	for (size_t i = 0; i < VERIFY_MAX && t->names[i]; i++)
		free(t->names[i]);
	free(t->sni);
	buf_done(&t->first);
	net_tls_unref(&t->context);
	free(t);
}

static int session_new(struct net_stream *s, struct net_tls *context, struct net_tls_session **t_r)
{
	struct net_tls_session *t = calloc(1, sizeof(*t));

	if (!t)
		return -ERR_NOMEM;
	t->context = net_tls_ref(context);
	t->fd = s->fd;
	t->ssl = SSL_new(context->chains[0].ctx);
	if (!t->ssl || attach(t) < 0) {
		net_tls_session_free(&t);
		ERR_clear_error();
		return -ERR_NOMEM;
	}
	SSL_set_app_data(t->ssl, t);
	buf_init(&t->first, NET_READ_OCTETS);
	t->read_wants = UV_READABLE;
	t->write_wants = UV_WRITABLE;
	*t_r = t;
	return 0;
}

int net_stream_tls_accept_from(struct net_stream *s, struct net_tls *context, struct span first)
{
	struct net_tls_session *t;

	if (s->tls || !context->server)
		return -ERR_INVAL;
	if (session_new(s, context, &t) < 0)
		return -ERR_NOMEM;
	if (first.n && buf_add_span(&t->first, first) < 0) {
		net_tls_session_free(&t);
		return -ERR_NOMEM;
	}
	SSL_set_accept_state(t->ssl);
	if (context->ask == NET_TLS_ASK_REQUIRE)
		SSL_set_verify(
		    t->ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verify);
	/* What is here already, no poll will tell. */
	t->handshake_wants = first.n ? UV_WRITABLE : UV_READABLE;
	s->tls = t;
	net_stream_begin_tls(s);
	return 0;
}

int net_stream_tls_accept(struct net_stream *s, struct net_tls *context)
{
	return net_stream_tls_accept_from(s, context, span_of(NULL, 0));
}

int net_stream_tls_connect(
    struct net_stream *s, struct net_tls *context, const char *name, const char *const *verify)
{
	struct net_tls_session *t;
	int r = 0;

	if (s->tls || context->server)
		return -ERR_INVAL;
	if (session_new(s, context, &t) < 0)
		return -ERR_NOMEM;
	SSL_set_connect_state(t->ssl);
	if (name &&
	    (SSL_set_tlsext_host_name(t->ssl, (char *)(uintptr_t)name) != 1 ||
		!(t->sni = strdup(name))))
		r = -ERR_NOMEM;
	for (size_t i = 0; r == 0 && verify && verify[i]; i++)
		if (i == VERIFY_MAX || !(t->names[i] = strdup(verify[i])))
			r = -ERR_NOMEM;
	if (r < 0) {
		net_tls_session_free(&t);
		ERR_clear_error();
		return r;
	}
	t->verify = verify != NULL;
	if (t->verify)
		SSL_set_verify(t->ssl, SSL_VERIFY_PEER, on_verify);
	/* The first flight is sent from the loop, so that no event comes before this returns. */
	t->handshake_wants = UV_WRITABLE;
	s->tls = t;
	net_stream_begin_tls(s);
	return 0;
}

/* ---- what was agreed ---- */

static void fingerprint(struct net_tls_session *t, X509 *x)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;

	if (X509_digest(x, EVP_sha256(), digest, &n) != 1)
		return;
	for (unsigned i = 0; i < n; i++)
		snprintf(t->fingerprint + i * 3, 4, "%02X%s", digest[i], i + 1 < n ? ":" : "");
	t->info.peer_fingerprint = t->fingerprint;
}

static void know(struct net_tls_session *t)
{
	X509 *x = SSL_get0_peer_certificate(t->ssl);
	const char *name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
	bool chain = SSL_get_verify_result(t->ssl) == X509_V_OK;
	struct net_tls_info *info = &t->info;

	info->version = SSL_get_version(t->ssl);
	info->cipher = SSL_get_cipher_name(t->ssl);
	info->bits = (unsigned)SSL_get_cipher_bits(t->ssl, NULL);
	if (t->context->server && name) {
		snprintf(t->server_name, sizeof(t->server_name), "%s", name);
		net_tls_printable(t->server_name);
		info->name = t->server_name;
	}
	if (!x)
		return;
	info->peer_certificate = true;
	/* With names to verify the handshake would not have come here without one of them. */
	info->peer_verified =
	    chain && (t->context->server || t->verify || (t->sni && name_matches(x, t->sni)));
	if (net_tls_common_name(x, t->subject, sizeof(t->subject)) == 0)
		info->peer_subject = t->subject;
	fingerprint(t, x);
}

const struct net_tls_info *net_stream_tls_info(const struct net_stream *s)
{
	return s->tls && s->tls->info.version ? &s->tls->info : NULL;
}

const char *net_stream_tls_why(const struct net_stream *s)
{
	return s->tls ? s->tls->why : "";
}

int net_stream_tls_exporter(const struct net_stream *s, uint8_t *out_r)
{
	static const char label[] = "EXPORTER-Channel-Binding";
	SSL *ssl = s->tls ? s->tls->ssl : NULL;

	if (!s->tls || !s->tls->info.version ||
	    (SSL_version(ssl) < TLS1_3_VERSION && SSL_get_extms_support(ssl) != 1))
		return -ERR_INVAL;
	/* Without context, as GnuTLS does it too; in TLS 1.3 that is the same as an empty one. */
	return SSL_export_keying_material(ssl, out_r, 32, label, sizeof(label) - 1, NULL, 0, 0) == 1
	    ? 0
	    : -ERR_INVAL;
}

/* ---- for stream.c ---- */

enum net_tls_state net_tls_state(const struct net_tls_session *t)
{
	return t->state;
}

int net_tls_handshake_wants(const struct net_tls_session *t)
{
	return t->handshake_wants;
}

int net_tls_read_wants(const struct net_tls_session *t)
{
	return t->read_wants;
}

int net_tls_write_wants(const struct net_tls_session *t)
{
	return t->write_wants;
}

bool net_tls_pending(const struct net_tls_session *t)
{
	return t->pending;
}

void net_tls_injected(struct net_tls_session *t)
{
	t->injected = !t->context->server;
}

static void prepare(struct net_tls_session *t)
{
	ERR_clear_error();
	t->io_errno = 0;
}

int net_tls_handshake(struct net_tls_session *t)
{
	int r, error;

	if (t->injected) {
		t->state = NET_TLS_FAILED;
		snprintf(t->why, sizeof(t->why),
		    "the server sent octets in clear behind its reply to STARTTLS");
		return -ERR_TLS;
	}
	prepare(t);
	r = SSL_do_handshake(t->ssl);
	if (r == 1) {
		t->state = NET_TLS_OPEN;
		t->pending = true; /* the peer's first octets may have come with its last flight */
		know(t);
		return 1;
	}
	error = SSL_get_error(t->ssl, r);
	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
		t->handshake_wants = error == SSL_ERROR_WANT_READ ? UV_READABLE : UV_WRITABLE;
		return 0;
	}
	return failed(t, error);
}

/* Why nothing more can be read: 0 for the peer's own end. */
static int read_end(struct net_tls_session *t, int error)
{
	unsigned long e = ERR_peek_error();

	if (error == SSL_ERROR_ZERO_RETURN)
		return 0;
	if (error == SSL_ERROR_SYSCALL && t->io_errno) {
		int r = err_from_errno(t->io_errno);
		(void)failed(t, error);
		return r;
	}
	/* The octets before it came whole and stand; only the end is not the peer's own word. */
	if (error == SSL_ERROR_SYSCALL ||
	    (ERR_GET_LIB(e) == ERR_LIB_SSL &&
		ERR_GET_REASON(e) == SSL_R_UNEXPECTED_EOF_WHILE_READING)) {
		t->state = NET_TLS_FAILED;
		snprintf(t->why, sizeof(t->why), "the connection ended without close_notify");
		ERR_clear_error();
		return -ERR_CLOSED;
	}
	return failed(t, error);
}

int net_tls_read(struct net_tls_session *t, void *to, size_t n, size_t *got_r)
{
	size_t some;
	int error;

	*got_r = 0;
	t->pending = false;
	t->read_wants = UV_READABLE;
	while (*got_r < n && !t->has_end) {
		prepare(t);
		if (SSL_read_ex(t->ssl, (char *)to + *got_r, n - *got_r, &some) == 1) {
			*got_r += some;
			continue;
		}
		error = SSL_get_error(t->ssl, 0);
		if (error == SSL_ERROR_WANT_WRITE)
			t->read_wants = UV_WRITABLE;
		if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
			return 1;
		t->end = read_end(t, error);
		t->has_end = true;
	}
	if (t->has_end && *got_r == 0)
		return t->end;
	t->pending = true;
	return 1;
}

int net_tls_write(struct net_tls_session *t, struct span octets, size_t *put_r)
{
	size_t some;
	int error;

	*put_r = 0;
	t->write_wants = UV_WRITABLE;
	while (*put_r < octets.n) {
		prepare(t);
		if (SSL_write_ex(t->ssl, octets.p + *put_r, octets.n - *put_r, &some) == 1) {
			*put_r += some;
			continue;
		}
		error = SSL_get_error(t->ssl, 0);
		if (error == SSL_ERROR_WANT_READ)
			t->write_wants = UV_READABLE;
		if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
			return 1;
		if (error == SSL_ERROR_SYSCALL && t->io_errno) {
			int r = err_from_errno(t->io_errno);
			(void)failed(t, error);
			return r;
		}
		return failed(t, error);
	}
	return 0;
}

int net_tls_shutdown(struct net_tls_session *t)
{
	int r;

	if (t->state != NET_TLS_OPEN)
		return 0;
	prepare(t);
	r = SSL_shutdown(t->ssl);
	if (r < 0 && SSL_get_error(t->ssl, r) == SSL_ERROR_WANT_WRITE)
		return 1;
	t->state = NET_TLS_CLOSED;
	ERR_clear_error();
	return 0;
}
