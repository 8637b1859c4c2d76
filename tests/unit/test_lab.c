/*
 * tests/unit/test_lab.c - names of the simulator: what each asks for, and which port a domain gets.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/err.h"
#include "lab/lab-private.h"
#include "yaml/yaml.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct {
	const char *name;
	enum cat_stage stage, when;
	enum lab_kind kind;
	const char *id;   /* of the reply; NULL: none */
	const char *code; /* of lab_code */
	const char *enhanced;
	uint32_t seconds;
} names[] = {
#define AT(stage) CAT_STAGE_##stage
	{ "ok", AT(rcpt), AT(rcpt), LAB_OK, NULL, "", "", 0 },
	{ "TimeOut", AT(rcpt), AT(rcpt), LAB_TIMEOUT, NULL, "", "", 0 },
	{ "timeout-data", AT(rcpt), AT(data), LAB_TIMEOUT, NULL, "", "", 0 },
	{ "DISCONNECT-MESSAGE", AT(rcpt), AT(message), LAB_DISCONNECT, NULL, "", "", 0 },
	{ "slow", AT(connect), AT(connect), LAB_SLOW, NULL, "", "", 0 },
	{ "refused", AT(connect), AT(connect), LAB_REFUSE, NULL, "", "", 0 },
	{ "greylist-90s", AT(rcpt), AT(rcpt), LAB_GREYLIST, NULL, "", "", 90 },
	{ "greylist-1h", AT(rcpt), AT(rcpt), LAB_GREYLIST, NULL, "", "", 3600 },
	{ "pol-t1", AT(rcpt), AT(rcpt), LAB_REPLY, "policy_pol_t1", "", "", 0 },
	/* Codes that only a message can earn wait for its end, if they may. */
	{ "POL-P5", AT(rcpt), AT(message), LAB_REPLY, "policy_pol_p5", "", "", 0 },
	{ "POL-P5", AT(mail), AT(mail), LAB_REPLY, "policy_pol_p5", "", "", 0 },
	{ "MSG-P1", AT(rcpt), AT(message), LAB_REPLY, "policy_msg_p1", "", "", 0 },
	{ "MSG-T1", AT(rcpt), AT(rcpt), LAB_REPLY, "policy_msg_t1", "", "", 0 },
	{ "POL-T1-message", AT(rcpt), AT(message), LAB_REPLY, "policy_pol_t1", "", "", 0 },
	{ "550", AT(rcpt), AT(rcpt), LAB_REPLY, "lab_code", "550", "", 0 },
	{ "451-4.7.1", AT(rcpt), AT(rcpt), LAB_REPLY, "lab_code", "451", "4.7.1", 0 },
	{ "554-5.6.0-message", AT(rcpt), AT(message), LAB_REPLY, "lab_code", "554", "5.6.0", 0 },
	{ "599-5.123.456", AT(rcpt), AT(rcpt), LAB_REPLY, "lab_code", "599", "5.123.456", 0 },
	/* An enhanced status code alone: what the registry names with it. */
	{ "5.1.1", AT(rcpt), AT(rcpt), LAB_REPLY, "lab_code", "550", "5.1.1", 0 },
	{ "4.2.2", AT(rcpt), AT(rcpt), LAB_REPLY, "lab_code", "450", "4.2.2", 0 },
	{ "5.2.2", AT(rcpt), AT(rcpt), LAB_REPLY, "lab_code", "552", "5.2.2", 0 },
	{ "4.3.1", AT(rcpt), AT(rcpt), LAB_REPLY, "lab_code", "452", "4.3.1", 0 },
	{ "5.7.1", AT(rcpt), AT(rcpt), LAB_REPLY, "lab_code", "550", "5.7.1", 0 },
	{ "5.1.10", AT(rcpt), AT(rcpt), LAB_REPLY, "lab_code", "556", "5.1.10", 0 },
	{ "5.99.99", AT(rcpt), AT(rcpt), LAB_REPLY, "lab_code", "550", "5.99.99", 0 },
	{ "2004", AT(rcpt), AT(rcpt), LAB_REPLY, "lab_2004", "", "", 0 },
	{ "4002", AT(rcpt), AT(rcpt), LAB_GARBAGE, NULL, "", "", 0 },
	{ "5001", AT(rcpt), AT(rcpt), LAB_OK, NULL, "", "", 0 },
	{ "rcpt_unknown", AT(rcpt), AT(rcpt), LAB_REPLY, "rcpt_unknown", "", "", 0 },
#undef AT
};

static void each_name_asks_for_what_it_says(void **state)
{
	const struct catalogue *cat = catalogue_builtin();

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct lab_verdict v;
		const char *id = NULL;

		if (!lab_verdict_parse(cat, span_str(names[i].name), names[i].stage, &v))
			fail_msg("%s is no name", names[i].name);
		if (v.kind == LAB_REPLY)
			id = catalogue_reply(cat, v.reply)->id;
		if (v.kind != names[i].kind || v.when != names[i].when ||
		    v.seconds != names[i].seconds || strcmp(v.code, names[i].code) != 0 ||
		    strcmp(v.enhanced, names[i].enhanced) != 0 ||
		    strcmp(id ? id : "", names[i].id ? names[i].id : "") != 0)
			fail_msg("%s: kind %d, reply %s, %s %s, at %s, %u s", names[i].name,
			    (int)v.kind, id ? id : "none", v.code, v.enhanced,
			    cat_stage_name(v.when), v.seconds);
	}
}

static void what_is_no_name_is_refused_and_leaves_the_output_alone(void **state)
{
	static const char *const bad[] = { "", "okay", "-data", "-message", "ok-data",
		"slow-message", "greylist-60s-data", "greylist-", "greylist-2d", "greylist-x",
		"250", "354", "600", "55", "5500", "550-", "550-4.1.1", "550-5.1", "550-5.1.1.1",
		"2.1.5", "3.1.1", "5.1", "5.1.1234", "POL-T99", "POL", "1000", "0000",
		"no_such_reply", "banner", "queued", "refused", "timeout-rcpt",
		"timeout-data-data" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct lab_verdict v = { .seconds = 77 };
		if (lab_verdict_parse(catalogue_builtin(), span_str(bad[i]), CAT_STAGE_rcpt, &v))
			fail_msg("%s is taken as %d", bad[i], (int)v.kind);
		assert_int_equal(v.seconds, 77);
	}
}

static void every_row_of_the_catalogue_that_refuses_has_its_name(void **state)
{
	const struct catalogue *cat = catalogue_builtin();
	struct lab_verdict v;
	size_t refusing = 0;

	(void)state;
	for (size_t i = 0; i < catalogue_reply_count(cat); i++) {
		const struct cat_reply *row = catalogue_reply(cat, (int)i);
		/* `ok` and `timeout` are words of the simulator before they are rows. */
		bool word = strcmp(row->id, "ok") == 0 || strcmp(row->id, "timeout") == 0;
		bool wanted = !word && !row->artefact && (!row->code || row->code >= 400);
		bool is = lab_verdict_parse(cat, span_str(row->id), CAT_STAGE_rcpt, &v) &&
		    v.kind == LAB_REPLY;
		if (is != wanted || (is && v.reply != (int)i))
			fail_msg("%s", row->id);
		refusing += wanted;
	}
	assert_true(refusing > 100);
}

/* ---- ports ---- */

struct world {
	struct net_loop *loop;
	struct config *cfg;
	struct lab *lab;
	uint16_t port;
};

static void world_begin(struct world *w)
{
	static const char text[] = "hostname: mx.example.org\nlisten: [{address: '127.0.0.1:0'}]\n"
				   "lab: {enabled: true, domain: play.test}\n";
	char path[] = "/tmp/postern-lab-XXXXXX";
	struct ip ip = { 4, { 127, 0, 0, 1 } };
	struct yaml_errors e;
	int fd = mkstemp(path);

	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	yaml_errors_init(&e);
	assert_int_equal(config_load(path, &e, &w->cfg), 0);
	yaml_errors_done(&e);
	unlink(path);
	assert_int_equal(net_loop_new(&w->loop), 0);
	fd = net_listen_socket(&ip, 0, false, &w->port);
	assert_true(fd >= 0);
	assert_int_equal(lab_start(w->loop, w->cfg, fd, &w->lab), 0);
}

static void world_end(struct world *w)
{
	lab_stop(w->lab);
	net_loop_stop(w->loop);
	net_loop_run(w->loop);
	lab_free(&w->lab);
	net_loop_free(&w->loop);
	config_unref(&w->cfg);
}

static int port_of(struct world *w, const char *domain, uint16_t *port_r)
{
	return lab_port_for(w->lab, span_str(domain), port_r);
}

static int try_connect(uint16_t port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int r = connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ? errno : 0;

	close(fd);
	return r;
}

static void a_domain_keeps_its_port_and_the_simulators_own_has_the_main_one(void **state)
{
	struct world w;
	uint16_t a = 0, b = 0, again = 0, none = 7;

	(void)state;
	world_begin(&w);
	assert_int_equal(port_of(&w, "play.test", &a), 0);
	assert_int_equal(a, w.port);
	assert_int_equal(port_of(&w, "421.connect.play.test", &a), 0);
	assert_int_equal(port_of(&w, "421.helo.play.test", &b), 0);
	assert_int_equal(port_of(&w, "421.CONNECT.Play.Test", &again), 0);
	assert_int_equal(a, again);
	assert_true(a != b && a != w.port && b != w.port);
	/* Connections wait in the kernel until the loop runs. */
	assert_int_equal(try_connect(a), 0);
	assert_int_equal(port_of(&w, "nonsense.play.test", &none), -ERR_NOTFOUND);
	assert_int_equal(port_of(&w, "nonsense.helo.play.test", &none), -ERR_NOTFOUND);
	assert_int_equal(port_of(&w, "421.rcpt.play.test", &none), -ERR_NOTFOUND);
	assert_int_equal(port_of(&w, "refused.helo.play.test", &none), -ERR_NOTFOUND);
	assert_int_equal(none, 7);
	world_end(&w);
}

static void a_refused_port_stays_ours_and_refuses(void **state)
{
	struct world w;
	uint16_t port = 0, other;
	struct ip ip = { 4, { 127, 0, 0, 1 } };

	(void)state;
	world_begin(&w);
	assert_int_equal(port_of(&w, "refused.connect.play.test", &port), 0);
	assert_int_equal(try_connect(port), ECONNREFUSED);
	/* Nobody else can come to listen there meanwhile. */
	assert_int_equal(net_listen_socket(&ip, port, false, &other), -ERR_EXISTS);
	world_end(&w);
}

static void ports_are_bounded_and_the_one_used_longest_ago_makes_room(void **state)
{
	struct world w;
	uint16_t first = 0, second = 0, refused = 0, port = 0;
	char name[64];

	(void)state;
	world_begin(&w);
	assert_int_equal(port_of(&w, "refused.connect.play.test", &refused), 0);
	assert_int_equal(port_of(&w, "400.connect.play.test", &first), 0);
	assert_int_equal(port_of(&w, "401.connect.play.test", &second), 0);
	for (unsigned i = 402; i < 462; i++) {
		snprintf(name, sizeof(name), "%u.connect.play.test", i);
		assert_int_equal(port_of(&w, name, &port), 0);
	}
	assert_int_equal(w.lab->count, LAB_LISTENERS_MAX);
	/* Used again just now: the second is the oldest. */
	assert_int_equal(port_of(&w, "400.connect.play.test", &port), 0);
	assert_int_equal(port, first);
	assert_int_equal(port_of(&w, "timeout.mail.play.test", &port), 0);
	assert_int_equal(port, second);
	assert_int_equal(w.lab->count, LAB_LISTENERS_MAX);
	/* Neither an unknown name nor the port that refuses takes a place, nor lose theirs. */
	assert_int_equal(port_of(&w, "nonsense.mail.play.test", &port), -ERR_NOTFOUND);
	assert_int_equal(port_of(&w, "timeout.mail.play.test", &port), 0);
	assert_int_equal(port, second);
	assert_int_equal(port_of(&w, "refused.connect.play.test", &port), 0);
	assert_int_equal(port, refused);
	assert_int_equal(port_of(&w, "play.test", &port), 0);
	assert_int_equal(port, w.port);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_name_asks_for_what_it_says),
		cmocka_unit_test(what_is_no_name_is_refused_and_leaves_the_output_alone),
		cmocka_unit_test(every_row_of_the_catalogue_that_refuses_has_its_name),
		cmocka_unit_test(a_domain_keeps_its_port_and_the_simulators_own_has_the_main_one),
		cmocka_unit_test(a_refused_port_stays_ours_and_refuses),
		cmocka_unit_test(ports_are_bounded_and_the_one_used_longest_ago_makes_room),
	};

	return cmocka_run_group_tests_name("lab", tests, NULL, NULL);
}
