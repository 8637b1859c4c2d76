/*
 * fuzz/fuzz_auth.c - what src/auth reads: tables, lines of Dovecot, responses of clients.
 *
 * The first octet chooses.  An exchange gets its responses parted by LF; whatever they
 * are, nobody gets in but ann with her password.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "fuzz/fuzz.h"

#include "auth/auth-private.h"
#include "base/err.h"

#include <stdio.h>
#include <unistd.h>

/* RFC 7677 3: the password is "pencil". */
static const char line[] =
    "ann:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n";

static void table(struct span s)
{
	struct auth_table t;
	const char *why = NULL;
	unsigned number = 0;
	int r = auth_table_parse(s, &t, &number, &why);

	FUZZ_CHECK(r == 0 || (r == -ERR_SYNTAX && why && number > 0));
	if (r == 0) {
		const struct auth_user *u = auth_table_user(&t, SPAN_LIT("ann"));
		FUZZ_CHECK(!u || auth_user_may_send(u, SPAN_LIT("ann")));
		auth_table_done(&t);
	}
}

static void dovecot(struct span s)
{
	struct dovecot_line l;
	char name[AUTH_USER_MAX + 1];
	int n;

	if (dovecot_line_parse(s, &l) < 0)
		return;
	n = dovecot_unescape(l.user, name, sizeof(name));
	for (int i = 0; i < n; i++)
		FUZZ_CHECK((uint8_t)name[i] >= 32);
}

static struct auth *backend(void)
{
	static struct auth *a;
	struct auth_options o;
	char path[64], why[256];
	FILE *f;

	if (a)
		return a;
	snprintf(path, sizeof(path), "/tmp/postern-fuzz-auth-%d", (int)getpid());
	f = fopen(path, "w");
	FUZZ_CHECK(f && fputs(line, f) >= 0 && fclose(f) == 0);
	o = (struct auth_options){ .password_file = path };
	FUZZ_CHECK(auth_new(&o, &a, why, sizeof(why)) == 0);
	unlink(path);
	return a;
}

static void exchange(unsigned which, struct span s)
{
	static const char *const names[] = { "PLAIN", "LOGIN", "SCRAM-SHA-256",
		"SCRAM-SHA-256-PLUS" };
	struct auth_worker w = { .auth = backend() };
	struct auth_exchange x = { .worker = &w, .login = which == 1, .binding = "AQEB" };
	bool pencil = false;

	buf_init(&x.in, AUTH_RESPONSE_MAX);
	buf_init(&x.out, AUTH_RESPONSE_MAX);
	x.snapshot = w.auth->snapshot;
	atomic_fetch_add(&x.snapshot->refs, 1);
	if (which != 1) {
		FUZZ_CHECK(gsasl_server_start(w.auth->gsasl, names[which], &x.session) == GSASL_OK);
		gsasl_session_hook_set(x.session, &x);
	}
	for (int round = 0; round < 5; round++) {
		ptrdiff_t lf = span_find(s, '\n');
		struct span response = span_of(s.p, lf < 0 ? s.n : (size_t)lf);
		pencil |= span_ends_nocase(response, SPAN_LIT("pencil"));
		s = span_skip(s, response.n + 1);
		buf_reset(&x.in);
		if (buf_add_span(&x.in, response) < 0)
			break;
		sasl_work(&x);
		x.started = true;
		if (x.result != AUTH_CHALLENGE)
			break;
	}
	/* Nobody finds a SCRAM proof by chance, and a password has to be said. */
	FUZZ_CHECK(x.result != AUTH_OK || (which < 2 && pencil));
	sasl_done(&x);
	buf_done(&x.in);
	buf_done(&x.out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span s = span_of(data, size);

	if (size == 0)
		return 0;
	s = span_skip(s, 1);
	switch (data[0] % 8) {
	case 0:
	case 1:
		table(s);
		break;
	case 2:
	case 3:
		dovecot(s);
		break;
	default:
		exchange(data[0] % 4, s);
	}
	return 0;
}
