/*
 * tests/unit/test_auth.c - src/auth: the table of passwords, exchanges, lines of Dovecot.
 *
 * Exchanges run on a real loop and pool; GNU SASL's client half is the other side of
 * SCRAM.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "auth/auth-private.h"
#include "base/err.h"
#include "tests/unit/guard.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[64];

static void write_table(const char *user, const char *password, const char *senders)
{
	struct auth_hash hash;
	struct buf text;
	FILE *f = fopen(path, "w");

	buf_init(&text, 4096);
	assert_int_equal(auth_hash_new(span_str(password), AUTH_ITERATIONS_MIN, &hash), 0);
	assert_int_equal(auth_hash_text(&hash, &text), 0);
	fprintf(f, "# users\n\n%s:%s%s%s\n", user, buf_cstr(&text), senders ? ":" : "",
	    senders ? senders : "");
	fclose(f);
	buf_done(&text);
}

static void a_hash_is_right_for_its_password_alone(void **state)
{
	struct auth_hash hash;

	(void)state;
	assert_int_equal(auth_hash_new(SPAN_LIT("secret"), AUTH_ITERATIONS_MIN, &hash), 0);
	assert_int_equal(auth_hash_check(&hash, SPAN_LIT("secret")), 1);
	assert_int_equal(auth_hash_check(&hash, SPAN_LIT("Secret")), 0);
	assert_int_equal(auth_hash_check(&hash, SPAN_LIT("secret ")), 0);
	assert_true(auth_hash_check(&hash, SPAN_LIT("")) <= 0);
	assert_true(auth_hash_check(&hash, SPAN_LIT("se\0cret")) <= 0);
}

/* RFC 7677 3: user "user", password "pencil". */
static void the_hash_is_that_of_the_rfc(void **state)
{
	struct auth_table t;
	struct buf text;
	unsigned line;
	const char *why;

	(void)state;
	assert_int_equal(
	    auth_table_parse(SPAN_LIT("user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
				      "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
				      "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n"),
		&t, &line, &why),
	    0);
	assert_int_equal(
	    auth_hash_check(&auth_table_user(&t, SPAN_LIT("USER"))->hash, SPAN_LIT("pencil")), 1);
	buf_init(&text, 4096);
	assert_int_equal(auth_hash_text(&auth_table_user(&t, SPAN_LIT("user"))->hash, &text), 0);
	assert_string_equal(buf_cstr(&text),
	    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
	    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
	    ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=");
	buf_done(&text);
	auth_table_done(&t);
}

#define GOOD                                                                                       \
	"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=" \
	":"                                                                                        \
	"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static void a_bad_table_is_refused_with_its_line(void **state)
{
	static const struct {
		const char *text, *why;
		unsigned line;
	} rows[] = {
		{ "user\n", "NAME:HASH", 1 },
		{ "\n#\n:" GOOD "\n", "NAME:HASH", 3 },
		{ "us er:" GOOD, "NAME:HASH", 1 },
		{ "user:secret\n", "SCRAM-SHA-256", 1 },
		{ "user:{PLAIN}secret\n", "SCRAM-SHA-256", 1 },
		{ "user:SCRAM-SHA-256$1:W22ZaJ0SNY7soEsUEjb6gQ==$x:x\n", "iterations", 1 },
		{ "user:SCRAM-SHA-256$99999999:W22ZaJ0SNY7soEsUEjb6gQ==$x:x\n", "iterations", 1 },
		{ "user:SCRAM-SHA-256$4096:W22Z$x:x\n", "salt", 1 },
		{ "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$x:x\n", "stored key", 1 },
		{ "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
		  "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:AAAA\n",
		    "server key", 1 },
		{ "user:" GOOD "\nUser:" GOOD "\n", "twice", 2 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct guard g;
		struct auth_table t;
		struct span in = guard_copy(&g, span_str(rows[i].text));
		unsigned line = 0;
		const char *why = "";
		assert_int_equal(auth_table_parse(in, &t, &line, &why), -ERR_SYNTAX);
		assert_int_equal(line, rows[i].line);
		if (!strstr(why, rows[i].why))
			fail_msg("%s: %s", rows[i].text, why);
		guard_free(&g);
	}
}

static void users_write_as_themselves_and_as_the_table_says(void **state)
{
	static const struct {
		const char *sender;
		bool may;
	} rows[] = { { "", true }, { "ann@example.org", true }, { "ANN@example.org", true },
		{ "sales@example.org", true }, { "any@lists.example.org", true },
		{ "bob@example.org", false }, { "x@a.lists.example.org", false }, { "ann", false },
		{ "ann@example.org.evil.example", false } };
	struct auth_table t;
	unsigned line;
	const char *why;

	(void)state;
	assert_int_equal(
	    auth_table_parse(SPAN_LIT("ann@example.org:" GOOD
				      ":sales@example.org, @lists.example.org\nroot:" GOOD ":*\n"),
		&t, &line, &why),
	    0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (auth_user_may_send(auth_table_user(&t, SPAN_LIT("ann@example.org")),
			span_str(rows[i].sender)) != rows[i].may)
			fail_msg("%s", rows[i].sender);
	assert_true(auth_user_may_send(auth_table_user(&t, SPAN_LIT("root")), SPAN_LIT("x@y")));
	auth_table_done(&t);
}

static void a_name_that_does_not_exist_has_always_the_same_salt(void **state)
{
	struct auth a = { .secret = { 1, 2, 3 } }, b = { .secret = { 3, 2, 1 } };
	struct auth_table t = { .iterations = 5000 };
	struct auth_hash one, two, other, elsewhere;

	(void)state;
	sasl_decoy(&a, &t, SPAN_LIT("nobody"), &one);
	sasl_decoy(&a, &t, SPAN_LIT("NOBODY"), &two);
	sasl_decoy(&a, &t, SPAN_LIT("nobody2"), &other);
	sasl_decoy(&b, &t, SPAN_LIT("nobody"), &elsewhere);
	assert_int_equal(one.iterations, 5000);
	assert_int_equal(one.salt_n, AUTH_SALT_OCTETS);
	assert_memory_equal(one.salt, two.salt, one.salt_n);
	assert_memory_not_equal(one.stored_key, two.stored_key, AUTH_KEY_OCTETS);
	assert_memory_not_equal(one.salt, other.salt, one.salt_n);
	assert_memory_not_equal(one.salt, elsewhere.salt, one.salt_n);
}

/* ---- exchanges ---- */

struct side {
	struct net_loop *loop;
	struct net_pool *pool;
	struct auth *auth;
	struct auth_worker *worker;
	struct auth_exchange *x;
	/* what the client says next; NULL: gives up */
	const struct span *responses;
	size_t count, at;
	Gsasl_session *client;
	struct net_task task;
	/* the end */
	enum auth_result result;
	char user[64], why[128];
	char log[256]; /* challenges */
	bool leave;    /* end the exchange while the pool works on it */
};

static void respond(struct net_task *task)
{
	struct side *s = task->arg;
	struct span response = SPAN_LIT("");
	char *out = NULL;

	if (!s->client && s->at == s->count) {
		net_loop_stop(s->loop);
		return;
	}
	if (s->client) {
		size_t n = 0;
		const char *in = s->log;
		int rc = gsasl_step(s->client, in, strlen(in), &out, &n);
		if (rc != GSASL_OK && rc != GSASL_NEEDS_MORE) {
			snprintf(s->why, sizeof(s->why), "client: %s", gsasl_strerror(rc));
			net_loop_stop(s->loop);
			return;
		}
		response = span_of(out ? out : "", n);
	} else {
		response = s->responses[s->at++];
	}
	assert_int_equal(auth_respond(s->x, response), 0);
	gsasl_free(out);
}

static void answered(void *arg, const struct auth_answer *a)
{
	struct side *s = arg;

	s->result = a->result;
	if (a->result == AUTH_CHALLENGE) {
		snprintf(s->log, sizeof(s->log), "%.*s", SPAN_FMT(a->challenge));
		s->task = (struct net_task){ .run = respond, .arg = s };
		net_loop_post(s->loop, &s->task);
		return;
	}
	snprintf(s->user, sizeof(s->user), "%.*s", SPAN_FMT(a->user));
	snprintf(s->why, sizeof(s->why), "%s", a->why);
	net_loop_stop(s->loop);
}

static void begin(struct net_task *task)
{
	struct auth_request *r = task->arg;
	struct side *s = r->arg;

	assert_int_equal(auth_begin(s->worker, r, &s->x), 0);
	if (s->leave) {
		/* the pool has one thread: what is begun now ends after what was left */
		auth_end(&s->x);
		assert_int_equal(auth_begin(s->worker, r, &s->x), 0);
	}
}

/* auth: a reference to a backend, or NULL: one is made. */
static void open_side_with(struct side *s, struct auth *auth)
{
	struct auth_options o = { .password_file = path };
	char why[256];

	*s = (struct side){ .result = AUTH_TEMPORARY, .auth = auth };
	assert_int_equal(net_loop_new(&s->loop), 0);
	assert_int_equal(net_pool_new(1, &s->pool), 0);
	if (!auth)
		assert_int_equal(auth_new(&o, &s->auth, why, sizeof(why)), 0);
	assert_int_equal(auth_worker_new(s->auth, s->loop, s->pool, &s->worker), 0);
}

static void open_side(struct side *s)
{
	open_side_with(s, NULL);
}

static void run(struct side *s, struct auth_request *r)
{
	struct net_task task = { .run = begin, .arg = r };

	r->answered = answered;
	r->arg = s;
	net_loop_post(s->loop, &task);
	net_loop_run(s->loop);
}

static void close_side(struct side *s)
{
	auth_end(&s->x);
	auth_worker_free(&s->worker);
	net_pool_free(&s->pool);
	auth_unref(&s->auth);
	net_loop_free(&s->loop);
}

static void plain_and_login_let_in_whom_the_table_knows(void **state)
{
	const struct span ann[] = { SPAN_LIT("ann"), SPAN_LIT("secret") };
	const struct span wrong[] = { SPAN_LIT("ann"), SPAN_LIT("wrong") };
	const struct span nobody[] = { SPAN_LIT("nobody"), SPAN_LIT("secret") };
	const struct span plain[] = { SPAN_LIT("\0ann\0secret") };
	const struct span other[] = { SPAN_LIT("bob\0ann\0secret") };
	const struct span itself[] = { SPAN_LIT("ann\0ann\0secret") };
	const struct span garbage[] = { SPAN_LIT("ann secret") };
	const struct span nul[] = { SPAN_LIT("a\0nn"), SPAN_LIT("secret") };
	const struct {
		const char *mechanism;
		bool initial;
		const struct span *responses;
		size_t count;
		enum auth_result result;
	} rows[] = {
		{ "LOGIN", false, ann, 2, AUTH_OK },
		{ "LOGIN", true, ann, 2, AUTH_OK },
		{ "LOGIN", false, wrong, 2, AUTH_FAILED },
		{ "LOGIN", false, nobody, 2, AUTH_FAILED },
		{ "LOGIN", false, nul, 2, AUTH_FAILED },
		{ "PLAIN", false, plain, 1, AUTH_OK },
		{ "PLAIN", true, plain, 1, AUTH_OK },
		{ "PLAIN", true, itself, 1, AUTH_OK },
		{ "PLAIN", true, other, 1, AUTH_FAILED },
		{ "PLAIN", true, garbage, 1, AUTH_FAILED },
	};

	(void)state;
	write_table("ann", "secret", NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct side s;
		struct auth_request r = { .mechanism = span_str(rows[i].mechanism),
			.has_initial = rows[i].initial,
			.initial = rows[i].initial ? rows[i].responses[0] : SPAN_LIT("") };
		open_side(&s);
		s.responses = rows[i].responses;
		s.count = rows[i].count;
		s.at = rows[i].initial;
		run(&s, &r);
		if (s.result != rows[i].result)
			fail_msg("row %zu: %d %s", i, s.result, s.why);
		assert_true(s.result != AUTH_OK || strcmp(s.user, "ann") == 0);
		assert_null(strstr(s.why, "secret"));
		close_side(&s);
	}
}

static int client_callback(Gsasl *ctx, Gsasl_session *session, Gsasl_property property)
{
	const char *const *words = gsasl_callback_hook_get(ctx);

	switch (property) {
	case GSASL_AUTHID:
		return gsasl_property_set(session, property, words[0]);
	case GSASL_PASSWORD:
		return gsasl_property_set(session, property, words[1]);
	case GSASL_CB_TLS_EXPORTER:
		return words[2] ? gsasl_property_set(session, property, words[2])
				: GSASL_NO_CB_TLS_EXPORTER;
	default:
		return GSASL_NO_CALLBACK;
	}
}

static void scram_with_and_without_a_channel(void **state)
{
	/* base64 of 32 octets of 1, and of 2 */
	static const char ones[] = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
	static const char twos[] = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
	static const struct {
		const char *mechanism, *user, *password, *channel;
		enum auth_result result;
	} rows[] = {
		{ "SCRAM-SHA-256", "ann", "secret", NULL, AUTH_OK },
		{ "SCRAM-SHA-256", "ann", "wrong", NULL, AUTH_FAILED },
		{ "SCRAM-SHA-256", "nobody", "secret", NULL, AUTH_FAILED },
		{ "SCRAM-SHA-256-PLUS", "ann", "secret", ones, AUTH_OK },
		{ "SCRAM-SHA-256-PLUS", "ann", "secret", twos, AUTH_FAILED },
	};
	uint8_t binding[32];

	(void)state;
	memset(binding, 1, sizeof(binding));
	write_table("ann", "secret", NULL);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const char *words[] = { rows[i].user, rows[i].password, rows[i].channel };
		struct auth_request r = {
			.mechanism = span_str(rows[i].mechanism), .tls = true, .binding = binding
		};
		struct side s;
		Gsasl *ctx;
		open_side(&s);
		assert_int_equal(gsasl_init(&ctx), GSASL_OK);
		gsasl_callback_set(ctx, client_callback);
		gsasl_callback_hook_set(ctx, words);
		assert_int_equal(gsasl_client_start(ctx, rows[i].mechanism, &s.client), GSASL_OK);
		run(&s, &r);
		if (s.result != rows[i].result)
			fail_msg("row %zu: %d %s", i, s.result, s.why);
		gsasl_finish(s.client);
		gsasl_done(ctx);
		close_side(&s);
	}
}

static void a_changed_table_is_read_again_and_a_lost_one_is_no_wrong_password(void **state)
{
	struct auth_request r = { .mechanism = SPAN_LIT("PLAIN"),
		.has_initial = true,
		.initial = SPAN_LIT("\0bob\0secret") };
	struct auth *auth;
	struct side s;

	(void)state;
	write_table("ann", "secret", NULL);
	open_side(&s);
	auth = auth_ref(s.auth);
	run(&s, &r);
	assert_int_equal(s.result, AUTH_FAILED);
	close_side(&s);
	unlink(path);
	write_table("bob", "secret", "@example.org");
	open_side_with(&s, auth_ref(auth));
	run(&s, &r);
	assert_int_equal(s.result, AUTH_OK);
	assert_true(auth_may_send(s.auth, SPAN_LIT("bob"), SPAN_LIT("x@example.org")));
	assert_false(auth_may_send(s.auth, SPAN_LIT("bob"), SPAN_LIT("x@example.net")));
	close_side(&s);
	unlink(path);
	open_side_with(&s, auth);
	run(&s, &r);
	assert_int_equal(s.result, AUTH_TEMPORARY);
	close_side(&s);
}

static void an_exchange_may_end_while_it_is_worked_on(void **state)
{
	struct auth_request r = { .mechanism = SPAN_LIT("PLAIN"),
		.has_initial = true,
		.initial = SPAN_LIT("\0ann\0secret") };
	struct side s;

	(void)state;
	write_table("ann", "secret", NULL);
	open_side(&s);
	s.leave = true;
	run(&s, &r);
	assert_int_equal(s.result, AUTH_OK);
	close_side(&s);
}

static void options_that_make_no_sense_are_refused(void **state)
{
	struct auth *a = NULL;
	char why[256];

	(void)state;
	write_table("ann", "secret", NULL);
	assert_int_equal(auth_new(&(struct auth_options){ 0 }, &a, why, sizeof(why)), -ERR_INVAL);
	assert_int_equal(auth_new(&(struct auth_options){ .password_file = "/nowhere/at/all" }, &a,
			     why, sizeof(why)),
	    -ERR_NOTFOUND);
	assert_non_null(strstr(why, "/nowhere/at/all"));
	assert_int_equal(
	    auth_new(&(struct auth_options){ .password_file = path, .mechanisms = "GSSAPI" }, &a,
		why, sizeof(why)),
	    -ERR_SYNTAX);
	assert_non_null(strstr(why, "GSSAPI"));
	assert_int_equal(auth_new(&(struct auth_options){ .dovecot_socket = "/x",
				      .mechanisms = "SCRAM-SHA-256-PLUS" },
			     &a, why, sizeof(why)),
	    -ERR_SYNTAX);
	assert_null(a);
}

static void lines_of_dovecot_are_taken_apart(void **state)
{
	static const struct {
		const char *line;
		int rc;
		enum dovecot_verb verb;
		uint32_t number;
		const char *data, *user;
		bool temporary;
	} rows[] = {
		{ "VERSION\t1\t2", 0, DOVECOT_VERSION, 1, "", "", false },
		{ "DONE", 0, DOVECOT_DONE, 0, "", "", false },
		{ "MECH\tPLAIN\tplaintext", 0, DOVECOT_OTHER, 0, "", "", false },
		{ "OK\t7\tuser=ann\tx", 0, DOVECOT_OK, 7, "", "ann", false },
		{ "OK\t7", 0, DOVECOT_OK, 7, "", "", false },
		{ "CONT\t7\tYWJj", 0, DOVECOT_CONT, 7, "YWJj", "", false },
		{ "CONT\t7\t", 0, DOVECOT_CONT, 7, "", "", false },
		{ "CONT\t7", 0, DOVECOT_CONT, 7, "", "", false },
		{ "FAIL\t7\tuser=ann", 0, DOVECOT_FAIL, 7, "", "ann", false },
		{ "FAIL\t7\tuser=ann\ttemp", 0, DOVECOT_FAIL, 7, "", "ann", true },
		{ "OK", -ERR_PROTO, 0, 0, "", "", false },
		{ "OK\tx", -ERR_PROTO, 0, 0, "", "", false },
		{ "FAIL\t-1", -ERR_PROTO, 0, 0, "", "", false },
	};
	char to[8];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct guard g;
		struct dovecot_line l;
		struct span in = guard_copy(&g, span_str(rows[i].line));
		assert_int_equal(dovecot_line_parse(in, &l), rows[i].rc);
		if (rows[i].rc == 0) {
			assert_int_equal(l.verb, rows[i].verb);
			assert_int_equal(l.number, rows[i].number);
			assert_true(span_eq(l.data, span_str(rows[i].data)));
			assert_true(span_eq(l.user, span_str(rows[i].user)));
			assert_int_equal(l.temporary, rows[i].temporary);
		}
		guard_free(&g);
	}
	assert_int_equal(dovecot_unescape(SPAN_LIT("ann"), to, sizeof(to)), 3);
	assert_int_equal(dovecot_unescape(SPAN_LIT("a\1tb"), to, sizeof(to)), -ERR_PROTO);
	assert_int_equal(dovecot_unescape(SPAN_LIT("a\1"), to, sizeof(to)), -ERR_PROTO);
	assert_int_equal(dovecot_unescape(SPAN_LIT("12345678"), to, sizeof(to)), -ERR_PROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hash_is_right_for_its_password_alone),
		cmocka_unit_test(the_hash_is_that_of_the_rfc),
		cmocka_unit_test(a_bad_table_is_refused_with_its_line),
		cmocka_unit_test(users_write_as_themselves_and_as_the_table_says),
		cmocka_unit_test(a_name_that_does_not_exist_has_always_the_same_salt),
		cmocka_unit_test(plain_and_login_let_in_whom_the_table_knows),
		cmocka_unit_test(scram_with_and_without_a_channel),
		cmocka_unit_test(a_changed_table_is_read_again_and_a_lost_one_is_no_wrong_password),
		cmocka_unit_test(an_exchange_may_end_while_it_is_worked_on),
		cmocka_unit_test(options_that_make_no_sense_are_refused),
		cmocka_unit_test(lines_of_dovecot_are_taken_apart),
	};
	int r;

	snprintf(path, sizeof(path), "/tmp/postern-test-auth-%d", (int)getpid());
	r = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return r;
}
