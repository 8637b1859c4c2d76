/*
 * auth/client.c - see auth/client.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "auth/client.h"
#include "base/err.h"

#include <gsasl.h>
#include <stdlib.h>

struct auth_client {
	const char *user, *password;
	Gsasl *gsasl;
	Gsasl_session *session;
	unsigned round;
};

static int callback(Gsasl *gsasl, Gsasl_session *session, Gsasl_property property)
{
	const struct auth_client *c = gsasl_callback_hook_get(gsasl);

	switch (property) {
	case GSASL_AUTHID:
		return gsasl_property_set(session, property, c->user);
	case GSASL_PASSWORD:
		return gsasl_property_set(session, property, c->password);
	default:
		return GSASL_NO_CALLBACK;
	}
}

int auth_client_new(const char *user, const char *password, struct auth_client **c_r)
{
	struct auth_client *c = calloc(1, sizeof(*c));

	if (!c)
		return -ERR_NOMEM;
	c->user = user;
	c->password = password;
	if (gsasl_init(&c->gsasl) != GSASL_OK) {
		free(c);
		return -ERR_NOMEM;
	}
	gsasl_callback_set(c->gsasl, callback);
	gsasl_callback_hook_set(c->gsasl, c);
	if (gsasl_client_start(c->gsasl, "SCRAM-SHA-256", &c->session) != GSASL_OK) {
		auth_client_free(&c);
		return -ERR_NOMEM;
	}
	*c_r = c;
	return 0;
}

void auth_client_free(struct auth_client **c)
{
	if (!*c)
		return;
	if ((*c)->session)
		gsasl_finish((*c)->session);
	gsasl_done((*c)->gsasl);
	free(*c);
	*c = NULL;
}

/* "r=...,s=...,i=4096": are the iterations a number that we are willing to go? */
static bool is_bearable(struct span challenge)
{
	while (challenge.n) {
		ptrdiff_t comma = span_find(challenge, ',');
		struct span word = span_of(challenge.p, comma < 0 ? challenge.n : (size_t)comma);
		uint64_t n;
		challenge = span_skip(challenge, word.n + 1);
		if (word.n > 2 && word.p[0] == 'i' && word.p[1] == '=')
			return span_u64(span_skip(word, 2), AUTH_CLIENT_ITERATIONS_MAX, &n) == 0;
	}
	return false;
}

int auth_client_step(struct auth_client *c, struct span challenge, struct buf *out)
{
	char *response = NULL;
	size_t n = 0;
	int rc;

	if (c->round++ == 1 && !is_bearable(challenge))
		return -ERR_AUTH;
	rc = gsasl_step(
	    c->session, challenge.n ? (const char *)challenge.p : "", challenge.n, &response, &n);
	if (rc == GSASL_OK || rc == GSASL_NEEDS_MORE)
		buf_add(out, response, n);
	gsasl_free(response);
	if (rc == GSASL_MALLOC_ERROR || out->failed)
		return -ERR_NOMEM;
	return rc == GSASL_OK ? 1 : rc == GSASL_NEEDS_MORE ? 0 : -ERR_AUTH;
}
