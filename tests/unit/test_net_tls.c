/*
 * tests/unit/test_net_tls.c - TLS on streams: two streams of one loop, or one and a raw peer.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/err.h"
#include "net/tls.h"
#include "tests/unit/tls_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct tls_files files;

struct pair;

/* One end.  It takes what it gets into `seen`, as long as `appetite` lasts. */
struct side {
	struct pair *pair;
	struct net_stream *stream;
	struct buf seen;
	size_t appetite; /* octets it takes before it leaves the rest */
	size_t to_send;  /* octets of a pattern that it sends once it is secured */
	size_t sent, starved;
	bool secured, ended, drained, close_when_sent, abort_when_sent, linger;
	int err;
	char why[320];
	struct net_tls_info info;
	char version[16], name[128], subject[64], fingerprint[100];
	uint8_t exported[32];
	int exporter;
};

struct pair {
	struct net_loop *loop;
	struct net_timer *timer; /* a test that hangs fails */
	struct net_timer *feeder;
	struct side server, client;
	int fd; /* instead of the client: a raw peer */
	struct net_tls *server_tls, *client_tls;
	const char *const *verify;
	const char *sni;
	size_t want; /* octets, both ways together, after which it stops */
	bool timed_out, stop_at_end;
};

static void stop(struct pair *p)
{
	net_stream_close(&p->server.stream);
	net_stream_close(&p->client.stream);
	net_timer_free(&p->timer);
	net_timer_free(&p->feeder);
	net_loop_stop(p->loop);
}

static void check_done(struct pair *p)
{
	if (p->want && buf_len(&p->server.seen) + buf_len(&p->client.seen) >= p->want)
		stop(p);
}

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 131 + i / 1009);
}

static void send_some(struct side *me)
{
	struct buf out;
	int r = 0;

	while (me->stream && r == 0 && me->sent < me->to_send) {
		size_t n = me->to_send - me->sent < 50000 ? me->to_send - me->sent : 50000;
		buf_init(&out, 65536);
		for (size_t i = 0; i < n; i++)
			buf_add_char(&out, (char)pattern(me->sent + i));
		r = net_stream_write(me->stream, &out);
		assert_true(r >= 0);
		assert_int_equal(buf_len(&out), 0);
		me->sent += n;
		buf_done(&out);
	}
	if (me->sent < me->to_send)
		return;
	if (me->close_when_sent && me->linger)
		net_stream_close_lingering(&me->stream);
	else if (me->close_when_sent)
		net_stream_close(&me->stream);
	else if (me->abort_when_sent)
		net_stream_abort(&me->stream);
}

static size_t on_octets(void *arg, const uint8_t *data, size_t n)
{
	struct side *me = arg;
	size_t take = n < me->appetite ? n : me->appetite;

	assert_int_equal(buf_add(&me->seen, data, take), 0);
	me->appetite -= take;
	if (take < n)
		me->starved++;
	check_done(me->pair);
	return take;
}

static void on_drained(void *arg)
{
	struct side *me = arg;

	me->drained = true;
	send_some(me);
}

static void keep(char *to, size_t n, const char *text)
{
	snprintf(to, n, "%s", text ? text : "");
}

static void on_secured(void *arg)
{
	struct side *me = arg;
	const struct net_tls_info *info = net_stream_tls_info(me->stream);

	assert_non_null(info);
	me->secured = true;
	me->info = *info;
	keep(me->version, sizeof(me->version), info->version);
	keep(me->name, sizeof(me->name), info->name);
	keep(me->subject, sizeof(me->subject), info->peer_subject);
	keep(me->fingerprint, sizeof(me->fingerprint), info->peer_fingerprint);
	me->exporter = net_stream_tls_exporter(me->stream, me->exported);
	send_some(me);
	if (!me->pair->want && me->pair->server.secured && me->pair->client.secured &&
	    !me->pair->stop_at_end)
		stop(me->pair);
}

static void on_ended(void *arg, int err)
{
	struct side *me = arg;

	me->ended = true;
	me->err = err;
	keep(me->why, sizeof(me->why), net_stream_tls_why(me->stream));
	net_stream_close(&me->stream);
	if (!me->pair->client.stream && !me->pair->server.stream)
		stop(me->pair);
	else if (me->pair->fd >= 0)
		stop(me->pair);
}

static void on_timeout(void *arg)
{
	struct pair *p = arg;

	p->timed_out = true;
	stop(p);
}

static const struct net_stream_events events = {
	.octets = on_octets, .drained = on_drained, .ended = on_ended, .secured = on_secured
};

static void side_init(struct pair *p, struct side *s, int fd)
{
	s->pair = p;
	s->appetite = SIZE_MAX;
	buf_init(&s->seen, 64u << 20);
	assert_int_equal(net_stream_open(p->loop, fd, &events, s, &s->stream), 0);
}

static struct net_tls *make_server(const struct net_tls_server_options *o)
{
	struct net_tls *t = NULL;
	char why[256] = "";
	int r = net_tls_server_new(o, &t, why, sizeof(why));

	if (r < 0)
		fail_msg("%s", why);
	return t;
}

static struct net_tls *simple_server(const char *name)
{
	struct net_tls_certificate c = { tls_file(&files, name, "pem"),
		tls_file(&files, name, "key") };
	struct net_tls_server_options o = { .certificates = &c, .certificate_count = 1 };

	return make_server(&o);
}

static struct net_tls *make_client(const struct net_tls_client_options *o)
{
	struct net_tls *t = NULL;
	char why[256] = "";
	int r = net_tls_client_new(o, &t, why, sizeof(why));

	if (r < 0)
		fail_msg("%s", why);
	return t;
}

static struct net_tls *simple_client(void)
{
	struct net_tls_client_options o = { .ca_file = tls_file(&files, "ca", "pem") };

	return make_client(&o);
}

static void open_loop(struct pair *p, int *fds)
{
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(net_loop_new(&p->loop), 0);
	assert_int_equal(net_timer_new(p->loop, on_timeout, p, &p->timer), 0);
	net_timer_set(p->timer, net_loop_now_ms(p->loop) + 30000);
}

static void open_pair(struct pair *p, struct net_tls *server, struct net_tls *client)
{
	int fds[2];

	open_loop(p, fds);
	p->fd = -1;
	p->server_tls = server;
	p->client_tls = client;
	side_init(p, &p->server, fds[0]);
	side_init(p, &p->client, fds[1]);
}

/* A raw peer, blocking, on the other end of the server. */
static void open_raw(struct pair *p, struct net_tls *server)
{
	int fds[2];

	open_loop(p, fds);
	fcntl(fds[1], F_SETFL, 0);
	p->fd = fds[1];
	p->server_tls = server;
	p->client_tls = NULL;
	side_init(p, &p->server, fds[0]);
	assert_int_equal(net_stream_tls_accept(p->server.stream, server), 0);
}

static void start_both(struct pair *p)
{
	assert_int_equal(net_stream_tls_accept(p->server.stream, p->server_tls), 0);
	assert_int_equal(
	    net_stream_tls_connect(p->client.stream, p->client_tls, p->sni, p->verify), 0);
}

static void run_pair(struct pair *p)
{
	net_loop_run(p->loop);
	assert_false(p->timed_out);
}

static void close_pair(struct pair *p)
{
	if (p->fd >= 0)
		close(p->fd);
	net_loop_free(&p->loop);
	buf_done(&p->server.seen);
	buf_done(&p->client.seen);
	net_tls_unref(&p->server_tls);
	net_tls_unref(&p->client_tls);
}

static void assert_pattern(const struct side *s, size_t n)
{
	struct span seen = buf_span(&s->seen);

	assert_int_equal(seen.n, n);
	for (size_t i = 0; i < n; i++)
		if (seen.p[i] != pattern(i))
			fail_msg("octet %zu is another", i);
}

/* ---- handshakes ---- */

static void both_sides_agree_and_know_what_on(void **state)
{
	struct pair p = { .sni = "mx.example.test" };

	(void)state;
	open_pair(&p, simple_server("mx"), simple_client());
	assert_null(net_stream_tls_info(p.server.stream));
	assert_string_equal(net_stream_tls_why(p.server.stream), "");
	start_both(&p);
	run_pair(&p);
	assert_true(p.server.secured && p.client.secured);
	assert_string_equal(p.server.version, "TLSv1.3");
	assert_string_equal(p.client.version, "TLSv1.3");
	assert_true(p.server.info.bits >= 128);
	assert_string_equal(p.server.name, "mx.example.test");
	assert_false(p.server.info.peer_certificate);
	assert_true(p.client.info.peer_certificate && p.client.info.peer_verified);
	assert_string_equal(p.client.subject, "mx.example.test");
	assert_int_equal(strlen(p.client.fingerprint), 95);
	/* Both have the same channel binding. */
	assert_int_equal(p.server.exporter, 0);
	assert_int_equal(p.client.exporter, 0);
	assert_memory_equal(p.server.exported, p.client.exported, 32);
	close_pair(&p);
}

static void a_server_can_insist_on_a_version(void **state)
{
	struct net_tls_certificate c = { tls_file(&files, "mx", "pem"),
		tls_file(&files, "mx", "key") };
	struct net_tls_server_options o = {
		.certificates = &c, .certificate_count = 1, .version_min = NET_TLS_1_3
	};
	struct pair p = { .fd = -1 };
	/* A ClientHello of TLS 1.2 as OpenSSL 1.0 sent it: no supported_versions. */
	static const uint8_t hello[] =
	    "\x16\x03\x01\x00\x35\x01\x00\x00\x31\x03\x03"
	    "0123456789abcdef0123456789abcdef"
	    "\x00\x00\x02\xc0\x2f\x01\x00\x00\x06\x00\x0d\x00\x02\x00\x00";

	(void)state;
	open_raw(&p, make_server(&o));
	assert_int_equal(write(p.fd, hello, sizeof(hello) - 1), sizeof(hello) - 1);
	run_pair(&p);
	assert_true(p.server.ended);
	assert_int_equal(p.server.err, -ERR_TLS);
	assert_non_null(strstr(p.server.why, "version"));
	close_pair(&p);
}

static void tls_1_2_works_with_its_ciphers(void **state)
{
	struct net_tls_certificate c = { tls_file(&files, "rsa", "pem"),
		tls_file(&files, "rsa", "key") };
	struct net_tls_server_options o = { .certificates = &c,
		.certificate_count = 1,
		.ciphers = "ECDHE-RSA-AES128-GCM-SHA256",
		.ciphersuites = "" };
	struct pair p = {
		.want = 200000, .server = { .to_send = 100000 }, .client = { .to_send = 100000 }
	};

	(void)state;
	open_pair(&p, make_server(&o), simple_client());
	start_both(&p);
	run_pair(&p);
	assert_string_equal(p.server.version, "TLSv1.2");
	assert_int_equal(p.server.info.bits, 128);
	assert_int_equal(p.server.exporter, 0);
	assert_memory_equal(p.server.exported, p.client.exported, 32);
	assert_pattern(&p.server, 100000);
	assert_pattern(&p.client, 100000);
	close_pair(&p);
}

/* ---- verification ---- */

static void expect_verification(
    const char *server, const char *const *verify, const char *why, const char *server_why)
{
	struct pair p = { .verify = verify };

	open_pair(&p, simple_server(server), simple_client());
	start_both(&p);
	if (!why) {
		run_pair(&p);
		assert_true(p.client.secured && p.client.info.peer_verified);
	} else {
		run_pair(&p);
		assert_false(p.client.secured);
		assert_int_equal(p.client.err, -ERR_TLS);
		if (!strstr(p.client.why, why))
			fail_msg("\"%s\" does not say \"%s\"", p.client.why, why);
		/* The server hears of it by an alert. */
		if (server_why && !strstr(p.server.why, server_why))
			fail_msg("server: \"%s\" does not say \"%s\"", p.server.why, server_why);
	}
	close_pair(&p);
}

#define NAMES(...)                                                                                 \
	(const char *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}

static void a_certificate_of_the_name_verifies(void **state)
{
	(void)state;
	expect_verification("mx", NAMES("mx.example.test"), NULL, NULL);
	expect_verification("mx", NAMES("other.test", "MX.Example.Test"), NULL, NULL);
	expect_verification("mx", NAMES("127.0.0.1"), NULL, NULL);
	expect_verification("wild", NAMES("a.wild.test"), NULL, NULL);
}

static void a_certificate_of_another_name_does_not(void **state)
{
	(void)state;
	expect_verification("mx", NAMES("other.test"),
	    "certificate is for mx.example.test, not for other.test", "bad certificate");
	expect_verification("mx", NAMES("127.0.0.2"), "not for 127.0.0.2", NULL);
	expect_verification("wild", NAMES("a.b.wild.test"), "certificate is for *.wild.test", NULL);
	expect_verification("wild", NAMES("wild.test"), "certificate is for *.wild.test", NULL);
}

static void an_expired_or_self_signed_one_does_not(void **state)
{
	(void)state;
	expect_verification("old", NAMES("mx.example.test"), "expired", "expired");
	expect_verification("self", NAMES("mx.example.test"), "self-signed", "unknown ca");
}

static void without_names_any_certificate_will_do_and_info_says_what_it_is(void **state)
{
	static const struct {
		const char *server, *sni;
		bool verified;
	} cases[] = { { "mx", "mx.example.test", true }, { "mx", "other.test", false },
		{ "mx", NULL, false }, { "self", "mx.example.test", false },
		{ "old", "mx.example.test", false } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pair p = { .sni = cases[i].sni };
		open_pair(&p, simple_server(cases[i].server), simple_client());
		start_both(&p);
		run_pair(&p);
		assert_true(p.client.secured && p.client.info.peer_certificate);
		assert_int_equal(p.client.info.peer_verified, cases[i].verified);
		close_pair(&p);
	}
}

/* ---- SNI ---- */

static void the_name_picks_the_certificate(void **state)
{
	struct net_tls_certificate c[] = {
		{ tls_file(&files, "mx", "pem"), tls_file(&files, "mx", "key") },
		{ tls_file(&files, "wild", "pem"), tls_file(&files, "wild", "key") },
		{ tls_file(&files, "one", "pem"), tls_file(&files, "one", "key") },
	};
	struct net_tls_server_options o = { .certificates = c, .certificate_count = 3 };
	static const char *const cases[][2] = {
		{ "mx.example.test", "mx.example.test" },
		{ "a.wild.test", "*.wild.test" },
		{ "A.WILD.TEST", "*.wild.test" },
		{ "one.wild.test", "one.wild.test" }, /* exact before wildcard */
		{ "a.b.wild.test", "mx.example.test" },
		{ "unknown.test", "mx.example.test" },
		{ NULL, "mx.example.test" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pair p = { .sni = cases[i][0] };
		open_pair(&p, make_server(&o), simple_client());
		start_both(&p);
		run_pair(&p);
		assert_string_equal(p.client.subject, cases[i][1]);
		close_pair(&p);
	}
}

static void two_kinds_of_key_for_one_name_serve_both_kinds_of_client(void **state)
{
	struct net_tls_certificate c[] = {
		{ tls_file(&files, "mx", "pem"), tls_file(&files, "mx", "key") },
		{ tls_file(&files, "rsa", "pem"), tls_file(&files, "rsa", "key") },
	};
	struct net_tls_server_options o = { .certificates = c, .certificate_count = 2 };
	static const char *const ciphers[] = { "ECDHE-RSA-AES256-GCM-SHA384",
		"ECDHE-ECDSA-AES256-GCM-SHA384" };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct net_tls_client_options client = { .ciphers = ciphers[i],
			.ciphersuites = "" };
		struct pair p = { .sni = NULL };
		open_pair(&p, make_server(&o), make_client(&client));
		start_both(&p);
		run_pair(&p);
		assert_string_equal(p.client.version, "TLSv1.2");
		assert_true(p.client.secured);
		close_pair(&p);
	}
}

/* ---- client certificates ---- */

static void client_certificate(enum net_tls_ask ask, const char *name, bool secured, bool shown,
    bool verified, const char *why)
{
	struct net_tls_certificate c = { tls_file(&files, "mx", "pem"),
		tls_file(&files, "mx", "key") };
	struct net_tls_certificate own = { name ? tls_file(&files, name, "pem") : NULL,
		name ? tls_file(&files, name, "key") : NULL };
	struct net_tls_server_options o = { .certificates = &c,
		.certificate_count = 1,
		.ask = ask,
		.client_ca_file = tls_file(&files, "ca", "pem") };
	struct net_tls_client_options co = { .certificate = name ? &own : NULL };
	struct pair p = { .sni = NULL };

	open_pair(&p, make_server(&o), make_client(&co));
	start_both(&p);
	run_pair(&p);
	assert_int_equal(p.server.secured, secured);
	if (secured) {
		assert_int_equal(p.server.info.peer_certificate, shown);
		assert_int_equal(p.server.info.peer_verified, verified);
		assert_int_equal(strlen(p.server.fingerprint), shown ? 95 : 0);
	} else if (!strstr(p.server.why, why)) {
		fail_msg("\"%s\" does not say \"%s\"", p.server.why, why);
	}
	close_pair(&p);
}

static void a_client_certificate_is_taken_for_what_it_is(void **state)
{
	(void)state;
	client_certificate(NET_TLS_ASK_NONE, "person", true, false, false, NULL);
	client_certificate(NET_TLS_ASK, NULL, true, false, false, NULL);
	client_certificate(NET_TLS_ASK, "person", true, true, true, NULL);
	client_certificate(NET_TLS_ASK, "self", true, true, false, NULL);
	client_certificate(NET_TLS_ASK, "old", true, true, false, NULL);
}

static void a_required_client_certificate_must_verify(void **state)
{
	(void)state;
	client_certificate(NET_TLS_ASK_REQUIRE, "person", true, true, true, NULL);
	client_certificate(
	    NET_TLS_ASK_REQUIRE, NULL, false, false, false, "the peer showed no certificate");
	client_certificate(NET_TLS_ASK_REQUIRE, "self", false, false, false, "self-signed");
	client_certificate(NET_TLS_ASK_REQUIRE, "old", false, false, false, "expired");
}

/* ---- octets ---- */

static void a_lot_goes_both_ways_at_once(void **state)
{
	size_t n = 6u << 20;
	struct pair p = { .want = 2 * n, .server = { .to_send = n }, .client = { .to_send = n } };

	(void)state;
	open_pair(&p, simple_server("mx"), simple_client());
	start_both(&p);
	run_pair(&p);
	assert_true(p.server.drained && p.client.drained);
	assert_pattern(&p.server, n);
	assert_pattern(&p.client, n);
	close_pair(&p);
}

/* Gives a side that stopped eating a little more, and looks that it got nothing meanwhile. */
static void feed_more(void *arg)
{
	struct pair *p = arg;

	/* Backpressure: what this side holds is one read at most, the rest waits with the sender.
	 */
	assert_true(p->server.starved <= 2 + buf_len(&p->server.seen) / 1000);
	p->server.appetite += 100000;
	if (p->server.stream)
		net_stream_resume(p->server.stream);
	if (p->feeder)
		net_timer_set(p->feeder, net_loop_now_ms(p->loop) + 1);
}

static void a_side_that_stops_taking_holds_the_other_back(void **state)
{
	size_t n = 8u << 20;
	struct pair p = { .want = n, .client = { .to_send = n } };

	(void)state;
	open_pair(&p, simple_server("mx"), simple_client());
	p.server.appetite = 1000;
	assert_int_equal(net_timer_new(p.loop, feed_more, &p, &p.feeder), 0);
	net_timer_set(p.feeder, net_loop_now_ms(p.loop) + 5);
	start_both(&p);
	run_pair(&p);
	assert_true(p.server.starved > 0);
	assert_pattern(&p.server, n);
	close_pair(&p);
}

/* Eats one octet at a time; the rest lies in the stream and in OpenSSL, the socket is empty. */
static size_t one_octet(void *arg, const uint8_t *data, size_t n)
{
	struct side *me = arg;

	(void)n;
	assert_int_equal(buf_add(&me->seen, data, 1), 0);
	net_stream_resume(me->stream);
	check_done(me->pair);
	return 1;
}

static void octets_that_lie_decrypted_come_without_the_socket(void **state)
{
	static const struct net_stream_events slow = {
		.octets = one_octet, .drained = on_drained, .ended = on_ended, .secured = on_secured
	};
	size_t n = 65536 + 100; /* one read of the stream, and a rest of the last record */
	struct pair p = { .want = n, .client = { .to_send = n } };
	int fds[2];

	(void)state;
	open_loop(&p, fds);
	p.fd = -1;
	p.server_tls = simple_server("mx");
	p.client_tls = simple_client();
	side_init(&p, &p.client, fds[1]);
	p.server.pair = &p;
	buf_init(&p.server.seen, 1u << 20);
	assert_int_equal(net_stream_open(p.loop, fds[0], &slow, &p.server, &p.server.stream), 0);
	start_both(&p);
	run_pair(&p);
	assert_pattern(&p.server, n);
	close_pair(&p);
}

static void a_close_comes_behind_the_last_octet(void **state)
{
	struct pair p = { .stop_at_end = true,
		.client = { .to_send = 3000000, .close_when_sent = true } };

	(void)state;
	open_pair(&p, simple_server("mx"), simple_client());
	start_both(&p);
	run_pair(&p);
	assert_true(p.server.ended);
	assert_int_equal(p.server.err, 0);
	assert_pattern(&p.server, 3000000);
	close_pair(&p);
}

static void an_end_without_close_notify_is_told_as_such(void **state)
{
	struct pair p = { .stop_at_end = true,
		.client = { .to_send = 1000, .abort_when_sent = true } };

	(void)state;
	open_pair(&p, simple_server("mx"), simple_client());
	start_both(&p);
	run_pair(&p);
	assert_int_equal(p.server.err, -ERR_CLOSED);
	assert_non_null(strstr(p.server.why, "close_notify"));
	assert_pattern(&p.server, 1000); /* what came before is whole */
	close_pair(&p);
}

static void a_lingering_close_sends_close_notify_too(void **state)
{
	struct pair p = { .stop_at_end = true,
		.client = { .to_send = 1000, .close_when_sent = true, .linger = true } };

	(void)state;
	open_pair(&p, simple_server("mx"), simple_client());
	start_both(&p);
	run_pair(&p);
	assert_int_equal(p.server.err, 0);
	assert_pattern(&p.server, 1000);
	close_pair(&p);
}

/* ---- STARTTLS ---- */

struct dialogue {
	struct side side; /* first */
	const char *says; /* what it says in clear when the other has said `until` */
	const char *until;
	size_t takes; /* of what came it takes so much, then begins TLS */
	struct net_tls *tls;
	bool server;
};

static size_t in_clear(void *arg, const uint8_t *data, size_t n)
{
	struct dialogue *d = arg;
	struct buf out;

	if (net_stream_tls_info(d->side.stream))
		return on_octets(arg, data, n);
	assert_true(n >= d->takes);
	assert_memory_equal(data, d->until, d->takes);
	if (d->says) {
		buf_init(&out, 4096);
		buf_add_str(&out, d->says);
		assert_int_equal(net_stream_write(d->side.stream, &out), 0);
		buf_done(&out);
	}
	if (d->server)
		assert_int_equal(net_stream_tls_accept(d->side.stream, d->tls), 0);
	else
		assert_int_equal(net_stream_tls_connect(d->side.stream, d->tls, NULL, NULL), 0);
	/* Nothing can be said in clear from here on. */
	buf_init(&out, 4096);
	buf_add_str(&out, "x");
	assert_int_equal(net_stream_write(d->side.stream, &out), -ERR_TLS);
	buf_done(&out);
	return d->takes;
}

static const struct net_stream_events dialogue_events = {
	.octets = in_clear, .drained = on_drained, .ended = on_ended, .secured = on_secured
};

static void converse(
    struct dialogue *server, struct dialogue *client, const char *first, struct pair *p)
{
	struct buf out;
	int fds[2];

	open_loop(p, fds);
	p->fd = -1;
	server->server = true;
	server->tls = p->server_tls = simple_server("mx");
	client->tls = p->client_tls = simple_client();
	server->side.pair = client->side.pair = p;
	server->side.appetite = client->side.appetite = SIZE_MAX;
	buf_init(&server->side.seen, 1u << 20);
	buf_init(&client->side.seen, 1u << 20);
	assert_int_equal(
	    net_stream_open(p->loop, fds[0], &dialogue_events, server, &server->side.stream), 0);
	assert_int_equal(
	    net_stream_open(p->loop, fds[1], &dialogue_events, client, &client->side.stream), 0);
	buf_init(&out, 4096);
	buf_add_str(&out, first);
	assert_int_equal(net_stream_write(client->side.stream, &out), 0);
	buf_done(&out);
	net_loop_run(p->loop);
	net_stream_close(&server->side.stream);
	net_stream_close(&client->side.stream);
	net_loop_free(&p->loop);
	net_tls_unref(&p->server_tls);
	net_tls_unref(&p->client_tls);
	assert_false(p->timed_out);
}

static void tls_begins_in_the_middle_and_what_came_behind_in_clear_is_gone(void **state)
{
	static const char *const firsts[] = { "STARTTLS\r\n", "STARTTLS\r\nEVIL\r\n" };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct dialogue server = {
			.until = "STARTTLS\r\n", .takes = 10, .says = "220 ok\r\n"
		};
		struct dialogue client = { .until = "220 ok\r\n",
			.takes = 8,
			.side = { .to_send = 1000, .close_when_sent = true } };
		struct pair p = { .stop_at_end = true };
		converse(&server, &client, firsts[i], &p);
		assert_true(server.side.secured && client.side.secured);
		assert_pattern(&server.side, 1000);
		buf_done(&server.side.seen);
		buf_done(&client.side.seen);
	}
}

static void a_server_that_says_more_before_tls_is_not_believed(void **state)
{
	struct dialogue server = {
		.until = "STARTTLS\r\n", .takes = 10, .says = "220 ok\r\n250 evil\r\n"
	};
	struct dialogue client = { .until = "220 ok\r\n", .takes = 8 };
	struct pair p = { .stop_at_end = true };

	(void)state;
	converse(&server, &client, "STARTTLS\r\n", &p);
	assert_false(client.side.secured);
	assert_int_equal(client.side.err, -ERR_TLS);
	assert_non_null(strstr(client.side.why, "in clear"));
	assert_int_equal(buf_len(&client.side.seen), 0);
	buf_done(&server.side.seen);
	buf_done(&client.side.seen);
}

/* ---- peers that speak no TLS, or stop ---- */

static void other_protocols_are_named(void **state)
{
	static const char *const cases[][2] = {
		{ "EHLO client.example\r\n", "does not speak TLS" },
		{ "GET / HTTP/1.0\r\n\r\n", "HTTP" },
		{ "\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff", "" },
		{ "\x80\x2e\x01\x00\x02\x00\x15\x00", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pair p = { .fd = -1 };
		size_t n = i < 2 ? strlen(cases[i][0]) : i == 2 ? 10 : 8;
		open_raw(&p, simple_server("mx"));
		assert_int_equal(write(p.fd, cases[i][0], n), n);
		shutdown(p.fd, SHUT_WR);
		run_pair(&p);
		assert_false(p.server.secured);
		assert_int_equal(p.server.err, -ERR_TLS);
		assert_true(p.server.why[0] != '\0');
		if (!strstr(p.server.why, cases[i][1]))
			fail_msg("\"%s\" does not say \"%s\"", p.server.why, cases[i][1]);
		close_pair(&p);
	}
}

static void an_end_in_the_handshake_is_told(void **state)
{
	struct pair p = { .fd = -1 };

	(void)state;
	open_raw(&p, simple_server("mx"));
	assert_int_equal(write(p.fd, "\x16\x03\x01\x02\x00\x01", 6), 6);
	shutdown(p.fd, SHUT_WR);
	run_pair(&p);
	assert_int_equal(p.server.err, -ERR_TLS);
	assert_non_null(strstr(p.server.why, "closed the connection"));
	close_pair(&p);
}

static void give_up(void *arg)
{
	struct pair *p = arg;
	struct buf out;

	/* Not a word in clear to a peer that was promised TLS. */
	buf_init(&out, 64);
	buf_add_str(&out, "421 too late\r\n");
	assert_int_equal(net_stream_write(p->server.stream, &out), -ERR_TLS);
	buf_done(&out);
	stop(p);
}

static void a_handshake_that_stalls_can_be_closed_by_its_owner(void **state)
{
	struct pair p = { .fd = -1 };
	char rest[64];

	(void)state;
	open_raw(&p, simple_server("mx"));
	assert_int_equal(write(p.fd, "\x16\x03\x01\x02\x00\x01", 6), 6);
	assert_int_equal(net_timer_new(p.loop, give_up, &p, &p.feeder), 0);
	net_timer_set(p.feeder, net_loop_now_ms(p.loop) + 20);
	run_pair(&p);
	assert_false(p.server.ended || p.server.secured);
	assert_int_equal(read(p.fd, rest, sizeof(rest)), 0);
	close_pair(&p);
}

/* ---- what an operator can get wrong ---- */

static void write_file(const char *name, const char *text)
{
	FILE *f = fopen(tls_file(&files, name, "pem"), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void a_bad_context_says_what_is_wrong_with_which_file(void **state)
{
	const char *mx = tls_file(&files, "mx", "pem");
	const char *key = tls_file(&files, "mx", "key");
	const char *rsa_key = tls_file(&files, "rsa", "key");
	const char *none = tls_file(&files, "none", "pem");
	const char *junk = tls_file(&files, "junk", "pem");
	struct {
		struct net_tls_server_options o;
		struct net_tls_certificate c;
		int err;
		const char *says;
	} cases[] = {
		{ .c = { none, key }, .err = -ERR_NOTFOUND, .says = "none.pem\": No such file" },
		{ .c = { mx, none }, .err = -ERR_NOTFOUND, .says = "cannot read key" },
		{ .c = { mx, rsa_key },
		    .err = -ERR_INVAL,
		    .says = "does not belong to certificate" },
		{ .c = { junk, key }, .err = -ERR_INVAL, .says = "no usable certificate" },
		{ .c = { mx, mx }, .err = -ERR_INVAL, .says = "no usable key" },
		{ .o = { .ciphers = "NONSENSE" },
		    .c = { mx, key },
		    .err = -ERR_INVAL,
		    .says = "no usable ciphers" },
		{ .o = { .ciphersuites = "NONSENSE" },
		    .c = { mx, key },
		    .err = -ERR_INVAL,
		    .says = "cipher suites" },
		{ .o = { .ask = NET_TLS_ASK, .client_ca_file = none },
		    .c = { mx, key },
		    .err = -ERR_NOTFOUND,
		    .says = "CA file" },
		{ .o = { .ask = NET_TLS_ASK, .client_ca_file = junk },
		    .c = { mx, key },
		    .err = -ERR_INVAL,
		    .says = "no usable CA" },
	};

	(void)state;
	write_file("junk", "this is no PEM\n");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct net_tls *t = NULL;
		char why[256] = "";
		cases[i].o.certificates = &cases[i].c;
		cases[i].o.certificate_count = 1;
		assert_int_equal(
		    net_tls_server_new(&cases[i].o, &t, why, sizeof(why)), cases[i].err);
		assert_null(t);
		if (!strstr(why, cases[i].says))
			fail_msg("\"%s\" does not say \"%s\"", why, cases[i].says);
	}
}

static int make_files(void **state)
{
	(void)state;
	tls_files_init(&files);
	tls_files_make(
	    &files, "mx", "mx.example.test", "DNS:mx.example.test,IP:127.0.0.1", 5, false, false);
	tls_files_make(&files, "rsa", "mx.example.test", "DNS:mx.example.test", 5, true, false);
	tls_files_make(&files, "wild", "*.wild.test", "DNS:*.wild.test", 5, false, false);
	tls_files_make(&files, "one", "one.wild.test", NULL, 5, false, false);
	tls_files_make(&files, "old", "mx.example.test", "DNS:mx.example.test", -2, false, false);
	tls_files_make(&files, "self", "mx.example.test", "DNS:mx.example.test", 5, false, true);
	tls_files_make(&files, "person", "A Person", NULL, 5, false, false);
	return 0;
}

static int remove_files(void **state)
{
	(void)state;
	tls_files_done(&files);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_sides_agree_and_know_what_on),
		cmocka_unit_test(a_server_can_insist_on_a_version),
		cmocka_unit_test(tls_1_2_works_with_its_ciphers),
		cmocka_unit_test(a_certificate_of_the_name_verifies),
		cmocka_unit_test(a_certificate_of_another_name_does_not),
		cmocka_unit_test(an_expired_or_self_signed_one_does_not),
		cmocka_unit_test(without_names_any_certificate_will_do_and_info_says_what_it_is),
		cmocka_unit_test(the_name_picks_the_certificate),
		cmocka_unit_test(two_kinds_of_key_for_one_name_serve_both_kinds_of_client),
		cmocka_unit_test(a_client_certificate_is_taken_for_what_it_is),
		cmocka_unit_test(a_required_client_certificate_must_verify),
		cmocka_unit_test(a_lot_goes_both_ways_at_once),
		cmocka_unit_test(a_side_that_stops_taking_holds_the_other_back),
		cmocka_unit_test(octets_that_lie_decrypted_come_without_the_socket),
		cmocka_unit_test(a_close_comes_behind_the_last_octet),
		cmocka_unit_test(an_end_without_close_notify_is_told_as_such),
		cmocka_unit_test(a_lingering_close_sends_close_notify_too),
		cmocka_unit_test(tls_begins_in_the_middle_and_what_came_behind_in_clear_is_gone),
		cmocka_unit_test(a_server_that_says_more_before_tls_is_not_believed),
		cmocka_unit_test(other_protocols_are_named),
		cmocka_unit_test(an_end_in_the_handshake_is_told),
		cmocka_unit_test(a_handshake_that_stalls_can_be_closed_by_its_owner),
		cmocka_unit_test(a_bad_context_says_what_is_wrong_with_which_file),
	};
	return cmocka_run_group_tests(tests, make_files, remove_files);
}
