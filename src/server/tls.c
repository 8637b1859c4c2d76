/*
 * server/tls.c - a session and TLS: STARTTLS (RFC 3207), implicit TLS (RFC 8314), what is known of
 * it.
 *
 * Octets in clear behind STARTTLS (RFC 3207 4.2, and the attacks that it had not thought of): a
 * client has nothing to say between STARTTLS and our 220.  Whoever does so in the same segment, or
 * so that it is in the socket when we answer, gets 554 and the end of the session instead of
 * 220.  What comes later is the handshake's, and fails there if it is no ClientHello.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "catalogue/reply_ids.h"
#include "net/tls.h"
#include "server/server-private.h"

static const struct reply_args no_args;

void session_starttls(struct session *s)
{
	struct net_tls *tls = server_shared_tls(s->worker->shared);

	if (s->behind > 0 || net_stream_unread(s->stream) > 0) {
		session_refused(s, REPLY_IMPROPER_PIPELINING, &no_args, SPAN_LIT(""));
		session_answer(s, REPLY_IMPROPER_PIPELINING, NULL);
		s->over = true;
	} else if (!tls) {
		session_refused(s, REPLY_TLS_UNAVAILABLE, &no_args, SPAN_LIT(""));
		session_answer(s, REPLY_TLS_UNAVAILABLE, NULL);
	} else {
		session_answer(s, REPLY_TLS_READY, NULL);
	}
	net_tls_unref(&tls);
}

bool session_handshake(struct session *s, struct span first)
{
	struct net_tls *tls = server_shared_tls(s->worker->shared);
	int r = tls ? net_stream_tls_accept_from(s->stream, tls, first) : -ERR_NOTFOUND;

	net_tls_unref(&tls); /* the stream has its own reference */
	if (r < 0)
		return false;
	s->phase = SESSION_HANDSHAKE;
	net_timer_set(
	    s->timer, net_loop_now_ms(s->worker->loop) + s->worker->cfg->command_timeout_ms);
	return true;
}

void session_tls_words(const struct net_tls_info *info, struct buf *out)
{
	buf_addf(out, "%s with cipher %s (%u/%u bits)", info->version, info->cipher, info->bits,
	    info->bits);
}

static void know(struct session *s, enum fact_kind kind, const char *value)
{
	if (value)
		(void)facts_set(&s->facts, (struct fact_key){ kind, SPAN_LIT("") }, FACT_ANSWER,
		    span_str(value));
}

void session_tls_facts(struct session *s)
{
	const struct net_tls_info *info = net_stream_tls_info(s->stream);

	if (!info)
		return;
	know(s, FACT_tls_version, info->version);
	know(s, FACT_tls_cipher, info->cipher);
	if (info->peer_verified)
		know(s, FACT_client_certificate, info->peer_subject);
	know(s, FACT_client_fingerprint, info->peer_fingerprint);
}

void session_secured(void *arg)
{
	struct session *s = arg;
	const struct net_tls_info *info = net_stream_tls_info(s->stream);
	struct event ev = { .type = EVENT_TLS,
		.session = span_str(s->id),
		.client = span_str(s->client),
		.tls_version = info->version,
		.tls_cipher = info->cipher };
	struct buf text, detail;

	buf_init(&text, 512);
	buf_init(&detail, 1024);
	session_tls_words(info, &text);
	if (info->name)
		buf_addf(&detail, "name %s", info->name);
	if (info->peer_certificate)
		buf_addf(&detail, "%scertificate of %s, %s, fingerprint %s",
		    buf_len(&detail) ? "; " : "",
		    info->peer_subject ? info->peer_subject : "nobody",
		    info->peer_verified ? "verified" : "not verified",
		    info->peer_fingerprint ? info->peer_fingerprint : "none");
	ev.text = buf_span(&text);
	ev.detail = buf_span(&detail);
	event_emit(s->worker->shared->events, &ev);
	buf_done(&text);
	buf_done(&detail);
	s->phase = SESSION_TALK;
	/* All that was said in clear is forgotten, RFC 3207 4.2. */
	if (s->listen->tls != CONFIG_TLS_IMPLICIT)
		smtp_server_tls_active(s->smtp, net_loop_now_ms(s->worker->loop));
	session_forget_user(s);
	peer_know(s);
	session_run(s);
}

void session_tls_failed(struct session *s, const char *why)
{
	struct event ev = { .type = EVENT_TLS_FAILED,
		.session = span_str(s->id),
		.client = span_str(s->client),
		.text = span_str(why) };

	event_emit(s->worker->shared->events, &ev);
	s->refusals++; /* and our alert must reach the peer: close in peace */
}

/* A name from a certificate, for a comment of Received (RFC 5322 3.2.2). */
static void quoted(struct buf *out, const char *name)
{
	buf_add_char(out, '"');
	for (; *name; name++)
		buf_add_char(out, memchr("()\\\"", *name, 4) ? '?' : *name);
	buf_add_char(out, '"');
}

void session_tls_received(const struct session *s, struct buf *out)
{
	const struct net_tls_info *info = net_stream_tls_info(s->stream);

	if (!info)
		return;
	buf_add_str(out, "\r\n\t(using ");
	session_tls_words(info, out);
	buf_add_str(out, ")\r\n\t(");
	if (s->worker->cfg->tls.client_certificates == CONFIG_TLS_ASK_NONE) {
		buf_add_str(out, "No client certificate requested)");
	} else if (!info->peer_certificate) {
		buf_add_str(out, "Client did not present a certificate)");
	} else {
		buf_add_str(out, "Client CN ");
		quoted(out, info->peer_subject ? info->peer_subject : "");
		buf_add_str(out, info->peer_verified ? " (verified OK))" : " (not verified))");
	}
}
