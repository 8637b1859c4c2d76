/*
 * auth/sasl.c - exchanges with the table of passwords: PLAIN and SCRAM by GNU SASL, LOGIN by us.
 *
 * A step runs on the pool, for it hashes.  GNU SASL asks for what it needs from inside
 * its step by a callback; by then the table was taken as a snapshot, so nothing is
 * looked up there.  A name that is in no table gets a decoy: a hash that nobody's password
 * has, with the salt that this name always gets, so that neither time nor SCRAM's
 * first answer tells the two apart.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "auth/auth-private.h"
#include "base/base64.h"
#include "base/err.h"
#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>

void sasl_decoy(
    const struct auth *a, const struct auth_table *t, struct span name, struct auth_hash *hash_r)
{
	char folded[AUTH_USER_MAX + 2], salted[32], client[32], server[32], stored[32];
	size_t n = name.n < AUTH_USER_MAX ? name.n : AUTH_USER_MAX;

	folded[0] = 'x'; /* an empty name is a name too */
	for (size_t i = 0; i < n; i++)
		folded[i + 1] = name.p[i] ? (char)ascii_lower(name.p[i]) : 1;
	folded[n + 1] = '\0';
	*hash_r = (struct auth_hash){ .iterations = t->iterations, .salt_n = AUTH_SALT_OCTETS };
	random_fill(hash_r->stored_key, AUTH_KEY_OCTETS);
	random_fill(hash_r->server_key, AUTH_KEY_OCTETS);
	random_fill(hash_r->salt, hash_r->salt_n);
	/* One round is a keyed hash of the name; one that SASLprep refuses gets a random salt. */
	if (gsasl_scram_secrets_from_password(GSASL_HASH_SHA256, folded, 1, (const char *)a->secret,
		sizeof(a->secret), salted, client, server, stored) == GSASL_OK)
		memcpy(hash_r->salt, stored, hash_r->salt_n);
}

/* The user's hash, or a decoy. */
static const struct auth_user *find(
    struct auth_exchange *x, struct span name, struct auth_hash *hash_r)
{
	const struct auth_user *u = auth_table_user(&x->snapshot->table, name);
	struct auth_hash decoy;

	/* made for everybody, so that it takes the same time */
	sasl_decoy(x->worker->auth, &x->snapshot->table, name, &decoy);
	*hash_r = u ? u->hash : decoy;
	return u;
}

static void remember(struct auth_exchange *x, struct span name)
{
	snprintf(x->user, sizeof(x->user), "%.*s", SPAN_FMT(name));
}

/* The password of PLAIN and LOGIN; GSASL_OK or what the exchange ends with. */
static int check(struct auth_exchange *x, struct span name, struct span password)
{
	struct auth_hash hash;
	const struct auth_user *u = find(x, name, &hash);
	int r = auth_hash_check(&hash, password);

	remember(x, u ? u->name : name);
	if (r == -ERR_NOMEM)
		return GSASL_MALLOC_ERROR;
	return r == 1 && u ? GSASL_OK : GSASL_AUTHENTICATION_ERROR;
}

static int set_base64(
    Gsasl_session *session, Gsasl_property property, const uint8_t *octets, size_t n)
{
	struct buf text;
	int rc = GSASL_MALLOC_ERROR;

	buf_init(&text, 256);
	if (base64_encode(span_of(octets, n), &text) == 0 && buf_cstr(&text))
		rc = gsasl_property_set(session, property, buf_cstr(&text));
	buf_done(&text);
	return rc;
}

static int set_hash(struct auth_exchange *x, Gsasl_session *session)
{
	struct span name = span_str(gsasl_property_fast(session, GSASL_AUTHID));
	struct auth_hash hash;
	const struct auth_user *u = find(x, name, &hash);
	char iterations[16];
	int rc;

	remember(x, u ? u->name : name);
	snprintf(iterations, sizeof(iterations), "%u", hash.iterations);
	rc = gsasl_property_set(session, GSASL_SCRAM_ITER, iterations);
	if (rc == GSASL_OK)
		rc = set_base64(session, GSASL_SCRAM_SALT, hash.salt, hash.salt_n);
	if (rc == GSASL_OK)
		rc = set_base64(session, GSASL_SCRAM_STOREDKEY, hash.stored_key, AUTH_KEY_OCTETS);
	if (rc == GSASL_OK)
		rc = set_base64(session, GSASL_SCRAM_SERVERKEY, hash.server_key, AUTH_KEY_OCTETS);
	return rc;
}

int sasl_callback(Gsasl *gsasl, Gsasl_session *session, Gsasl_property property)
{
	struct auth_exchange *x = session ? gsasl_session_hook_get(session) : NULL;
	struct span authzid, authid;

	(void)gsasl;
	if (!x)
		return GSASL_NO_CALLBACK;
	authid = span_str(gsasl_property_fast(session, GSASL_AUTHID));
	authzid = span_str(gsasl_property_fast(session, GSASL_AUTHZID));
	/* Nobody may act for somebody else here; RFC 4422 3.4.1. */
	if (authzid.n && !span_eq_nocase(authzid, authid))
		return GSASL_AUTHENTICATION_ERROR;
	switch (property) {
	case GSASL_VALIDATE_SIMPLE:
		return check(x, authid, span_str(gsasl_property_fast(session, GSASL_PASSWORD)));
	case GSASL_SCRAM_ITER:
	case GSASL_SCRAM_SALT:
	case GSASL_SCRAM_STOREDKEY:
	case GSASL_SCRAM_SERVERKEY:
		/* all at once: a decoy is another each time, and an exchange has one */
		if (gsasl_property_fast(session, GSASL_SCRAM_ITER))
			return GSASL_OK;
		return set_hash(x, session);
	case GSASL_CB_TLS_EXPORTER:
		return x->binding[0] ? gsasl_property_set(session, property, x->binding)
				     : GSASL_NO_CB_TLS_EXPORTER;
	default:
		return GSASL_NO_CALLBACK;
	}
}

static void take(struct auth_exchange *x, const char *out, size_t n)
{
	buf_reset(&x->out);
	if (buf_add(&x->out, out, n) < 0) {
		x->result = AUTH_TEMPORARY;
		x->why = "out of memory";
	}
}

static void judge(struct auth_exchange *x, int rc)
{
	switch (rc) {
	case GSASL_OK:
		x->result = AUTH_OK;
		return;
	case GSASL_NEEDS_MORE:
		x->result = AUTH_CHALLENGE;
		return;
	case GSASL_MALLOC_ERROR:
	case GSASL_CRYPTO_ERROR:
		x->result = AUTH_TEMPORARY;
		x->why = "local trouble";
		return;
	case GSASL_MECHANISM_PARSE_ERROR:
		x->result = AUTH_FAILED;
		x->why = "the response is none of this mechanism";
		return;
	default:
		x->result = AUTH_FAILED;
		x->why = "user name or password is wrong";
	}
}

/* LOGIN has no specification but what clients do: two prompts, the words of which nobody reads. */
static void login_step(struct auth_exchange *x)
{
	struct span in = buf_span(&x->in);

	if (!x->started && in.n == 0) {
		x->started = true;
		x->result = AUTH_CHALLENGE;
		take(x, "Username:", 9);
		return;
	}
	x->started = true;
	if (x->login_round++ == 0) {
		if (in.n == 0 || in.n > AUTH_USER_MAX || memchr(in.p, 0, in.n))
			in = SPAN_LIT("?"); /* no name at all; the password decides nothing then */
		remember(x, in);
		x->result = AUTH_CHALLENGE;
		take(x, "Password:", 9);
		return;
	}
	judge(x, check(x, span_str(x->user), in));
}

void sasl_work(struct auth_exchange *x)
{
	struct span in = buf_span(&x->in);
	char *out = NULL;
	size_t n = 0;
	int rc;

	if (!x->snapshot)
		x->snapshot = auth_snapshot_get(x->worker->auth, &x->why);
	if (!x->snapshot) {
		x->result = AUTH_TEMPORARY;
		return;
	}
	if (x->finished) {
		judge(x, in.n ? GSASL_MECHANISM_PARSE_ERROR : GSASL_OK);
	} else if (x->login) {
		login_step(x);
	} else {
		rc = gsasl_step(x->session, in.n ? (const char *)in.p : "", in.n, &out, &n);
		judge(x, rc);
		if (rc == GSASL_OK && n) {
			/* SMTP has no room for it in the 235: one more round, RFC 4954 4 */
			x->finished = true;
			x->result = AUTH_CHALLENGE;
		}
		if (rc == GSASL_OK || rc == GSASL_NEEDS_MORE)
			take(x, out, n);
		gsasl_free(out);
	}
}

/* On the pool. */
static void work(struct net_job *job)
{
	sasl_work((struct auth_exchange *)job);
}

/* Back on the loop. */
static void done(struct net_job *job)
{
	struct auth_exchange *x = (struct auth_exchange *)job;

	x->busy = false;
	auth_exchange_answer(x);
}

void sasl_step(struct auth_exchange *x)
{
	x->busy = true;
	x->job.work = work;
	x->job.done = done;
	net_pool_submit(x->worker->pool, x->worker->loop, &x->job);
}

int sasl_begin(struct auth_exchange *x, const struct auth_request *request)
{
	struct buf text;
	char name[32];

	snprintf(name, sizeof(name), "%.*s", SPAN_FMT(request->mechanism));
	x->login = strcmp(name, "LOGIN") == 0;
	if (request->binding) {
		buf_init(&text, sizeof(x->binding));
		if (base64_encode(span_of(request->binding, 32), &text) == 0)
			snprintf(x->binding, sizeof(x->binding), "%.*s", SPAN_FMT(buf_span(&text)));
		buf_done(&text);
	}
	if (!x->login) {
		if (gsasl_server_start(x->worker->auth->gsasl, name, &x->session) != GSASL_OK)
			return -ERR_NOMEM;
		gsasl_session_hook_set(x->session, x);
	}
	sasl_step(x);
	return 0;
}

void sasl_done(struct auth_exchange *x)
{
	if (x->session)
		gsasl_finish(x->session);
	x->session = NULL;
	auth_snapshot_unref(&x->snapshot);
}
