/*
 * deliver/auth.c - mechanisms of AUTH for a relay host; see deliver/auth.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "deliver/auth.h"
#include "base/err.h"

struct deliver_auth_mechanism {
	const char *name;
	int (*initial)(struct deliver_auth *x, struct buf *out); /* NULL: none */
	int (*respond)(struct deliver_auth *x, struct span challenge, struct buf *out);
};

/* RFC 4616: authorization identity (none), user, password. */
static int plain_initial(struct deliver_auth *x, struct buf *out)
{
	buf_add_char(out, '\0');
	buf_add_str(out, x->user);
	buf_add_char(out, '\0');
	buf_add_str(out, x->password);
	return out->failed ? -ERR_NOMEM : 1;
}

/* All was said; a server that asks on is refused, or mad. */
static int plain_respond(struct deliver_auth *x, struct span challenge, struct buf *out)
{
	(void)x;
	(void)challenge;
	(void)out;
	return -ERR_AUTH;
}

/* No standard, but everywhere: two questions, whose words differ from server to server. */
static int login_respond(struct deliver_auth *x, struct span challenge, struct buf *out)
{
	(void)challenge;
	if (x->round > 2)
		return -ERR_AUTH;
	return buf_add_str(out, x->round == 1 ? x->user : x->password);
}

/* The password does not leave us, and the server proves that it knows it; RFC 7677. */
static int scram_initial(struct deliver_auth *x, struct buf *out)
{
	int r = auth_client_new(x->user, x->password, &x->scram);

	if (r == 0)
		r = auth_client_step(x->scram, span_of("", 0), out);
	return r < 0 ? r : 1;
}

static int scram_respond(struct deliver_auth *x, struct span challenge, struct buf *out)
{
	int r = x->scram ? auth_client_step(x->scram, challenge, out) : -ERR_AUTH;

	return r < 0 ? r : 0;
}

/* Best first. */
static const struct deliver_auth_mechanism mechanisms[] = {
	{ "SCRAM-SHA-256", scram_initial, scram_respond },
	{ "PLAIN", plain_initial, plain_respond },
	{ "LOGIN", NULL, login_respond },
};

static bool is_offered(struct span offered, const char *name)
{
	while (offered.n) {
		ptrdiff_t space = span_find(offered, ' ');
		struct span word = span_of(offered.p, space < 0 ? offered.n : (size_t)space);
		if (span_eq_nocase(word, span_str(name)))
			return true;
		offered = space < 0 ? span_of(NULL, 0) : span_skip(offered, (size_t)space + 1);
	}
	return false;
}

int deliver_auth_choose(
    struct deliver_auth *x, struct span offered, const char *user, const char *password)
{
	*x = (struct deliver_auth){ .user = user, .password = password };
	for (size_t i = 0; i < sizeof(mechanisms) / sizeof(*mechanisms); i++)
		if (is_offered(offered, mechanisms[i].name)) {
			x->mechanism = &mechanisms[i];
			return 0;
		}
	return -ERR_UNSUPPORTED;
}

const char *deliver_auth_name(const struct deliver_auth *x)
{
	return x->mechanism ? x->mechanism->name : "";
}

int deliver_auth_initial(struct deliver_auth *x, struct buf *out)
{
	return x->mechanism->initial ? x->mechanism->initial(x, out) : 0;
}

int deliver_auth_respond(struct deliver_auth *x, struct span challenge, struct buf *out)
{
	x->round++;
	return x->mechanism->respond(x, challenge, out);
}

void deliver_auth_done(struct deliver_auth *x)
{
	auth_client_free(&x->scram);
}
