/*
 * tests/unit/test_config.c - the configuration: what is read, and that every error has its place.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/err.h"
#include "config/config.h"
#include "yaml/yaml.h"

#include <stdlib.h>
#include <unistd.h>

#define GOOD "hostname: mx.example.org\nlisten: [{address: '127.0.0.1:0'}]\n"

static int load(const char *text, struct yaml_errors *e, struct config **cfg_r)
{
	char path[] = "/tmp/postern-config-XXXXXX";
	int fd = mkstemp(path), r;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	yaml_errors_init(e);
	r = config_load(path, e, cfg_r);
	unlink(path);
	return r;
}

static void a_short_file_is_enough_and_the_rest_is_standard(void **state)
{
	struct yaml_errors e;
	struct config *cfg;

	(void)state;
	assert_int_equal(load(GOOD, &e, &cfg), 0);
	assert_string_equal(cfg->hostname, "mx.example.org");
	assert_int_equal(cfg->listen_count, 1);
	assert_int_equal(cfg->message_octets_max, 50 << 20);
	assert_int_equal(cfg->retry_first_ms, 300000);
	assert_int_equal(cfg->retry_max_ms, 3600000);
	assert_int_equal(cfg->queue_lifetime_ms, 345600000);
	assert_int_equal(cfg->mynetwork_count, 2);
	assert_string_equal(cfg->recipient_restrictions[2], "reject_unauth_destination");
	assert_true(cfg->workers >= 1);
	config_unref(&cfg);
	assert_null(cfg);
	yaml_errors_done(&e);
}

#define TLS GOOD "tls: {certificate: a.pem, key: a.key}\n"

static void tls_is_on_when_there_is_a_certificate(void **state)
{
	struct yaml_errors e;
	struct config *cfg;

	(void)state;
	assert_int_equal(load(GOOD, &e, &cfg), 0);
	assert_int_equal(cfg->listens[0].tls, CONFIG_TLS_NONE);
	config_unref(&cfg);
	yaml_errors_done(&e);
	assert_int_equal(load(TLS, &e, &cfg), 0);
	assert_int_equal(cfg->listens[0].tls, CONFIG_TLS_STARTTLS);
	assert_false(cfg->listens[0].tls_required);
	assert_string_equal(cfg->tls.certificates[0].key.path, "a.key");
	assert_non_null(strstr(cfg->tls.certificates[0].key.place, ":3: tls.key"));
	assert_int_equal(cfg->tls.min_version, 12);
	config_unref(&cfg);
	yaml_errors_done(&e);
	assert_int_equal(
	    load("hostname: a.b\n"
		 "listen: [{address: '127.0.0.1:0', service: submission}, {address: '127.0.0.1:0', "
		 "tls: none, proxy: [192.0.2.0/24]}, {address: '127.0.0.1:0', service: submission, "
		 "tls: implicit, tls_required: false}]\n"
		 "tls: {certificate: a.pem, min_version: 1.3, certificates: [{certificate: "
		 "b.pem}]}\n"
		 "ehlo_discard: [{networks: [\"::1\"], keywords: [dsn, chunking]}]\n",
		&e, &cfg),
	    0);
	assert_true(cfg->listens[0].tls_required);
	assert_int_equal(cfg->listens[1].tls, CONFIG_TLS_NONE);
	assert_int_equal(cfg->listens[1].proxy.count, 1);
	assert_int_equal(cfg->listens[2].tls, CONFIG_TLS_IMPLICIT);
	assert_false(cfg->listens[2].tls_required);
	assert_int_equal(cfg->tls.certificate_count, 2);
	assert_string_equal(cfg->tls.certificates[1].key.path, "b.pem"); /* both in one file */
	assert_int_equal(cfg->tls.min_version, 13);
	assert_int_equal(
	    cfg->ehlo_discards[0].keywords, 1u << CONFIG_EHLO_DSN | 1u << CONFIG_EHLO_CHUNKING);
	config_unref(&cfg);
	yaml_errors_done(&e);
}

static const struct {
	const char *name, *text, *error; /* error: a part of one line; it names line and key */
} bad[] = {
	{ "empty", "", "the file is empty" },
	{ "no hostname", "listen: [{address: '127.0.0.1:25'}]\n", "hostname" },
	{ "no listen", "hostname: a.b\n", "listen" },
	{ "unknown key", GOOD "hostnam: x\n", ":3: hostnam: " },
	{ "unknown key of a section", GOOD "limits: {hop: 3}\n", ":3: limits.hop: " },
	{ "bad number", GOOD "limits: {hops: 4x0}\n", ":3: limits.hops: " },
	{ "number out of range", GOOD "limits:\n  recipients: 5\n", ":4: limits.recipients: " },
	{ "bad duration", GOOD "delivery: {retry_first: 5}\n", ":3: delivery.retry_first: " },
	{ "bad address", "hostname: a.b\nlisten: [{address: 'localhost:25'}]\n",
	    ":2: listen[0].address: " },
	{ "bad port", "hostname: a.b\nlisten: [{address: '127.0.0.1:99999'}]\n",
	    ":2: listen[0].address: " },
	{ "bad network", GOOD "mynetworks: [10.0.0.1/8]\n", ":3: mynetworks[0]: " },
	{ "TLS without a certificate",
	    "hostname: a.b\nlisten: [{address: '127.0.0.1:25', tls: starttls}]\n",
	    ":2: listen[0].tls: there is no tls.certificate" },
	{ "TLS required where there is none",
	    "hostname: a.b\nlisten: [{address: '127.0.0.1:25', tls_required: true}]\n",
	    ":2: listen[0].tls_required: " },
	{ "a key without certificate", GOOD "tls: {key: a.key}\n", ":3: tls.key: " },
	{ "a version that is none", GOOD "tls: {min_version: 1.4}\n", ":3: tls.min_version: " },
	{ "certificates required without authority", GOOD "tls: {client_certificates: require}\n",
	    ":3: tls.client_certificates: " },
	{ "a network of no PROXY",
	    "hostname: a.b\nlisten: [{address: '127.0.0.1:25', proxy: [nowhere]}]\n",
	    ":2: listen[0].proxy[0]: " },
	{ "a network of no XCLIENT", GOOD "xclient_hosts: [300.0.0.0]\n",
	    ":3: xclient_hosts[0]: " },
	{ "a keyword of no EHLO", GOOD "ehlo_discard: [{networks: [\"::1\"], keywords: [dns]}]\n",
	    ":3: ehlo_discard[0].keywords[0]: " },
	{ "duplicate key", GOOD "hostname: c.d\n", ":3: hostname: " },
	{ "bad domain", GOOD "local: {domains: [-a..b.]}\n", ":3: local.domains[0]: " },
	{ "address without domain", GOOD "local: {domains: [a.b], recipients: [ann]}\n",
	    ":3: local.recipients[0]: " },
	{ "local and relay", GOOD "local: {domains: [a.b]}\nrelay_domains: [a.b]\n",
	    "relay_domains too" },
	{ "open relay", GOOD "restrictions: {recipient: [permit_mynetworks]}\n", "open relay" },
	{ "route twice", GOOD "routes: [{domain: a.b, to: c}, {domain: A.b, to: d}]\n",
	    "named twice" },
	{ "route by strange address", GOOD "routes: [{domain: '@a.b', to: c}]\n",
	    "is not a domain" },
	{ "route by domain and address", GOOD "routes: [{domain: a.b, address: x@a.b, to: c}]\n",
	    "either domain or address" },
	{ "sender that is a domain", GOOD "sender_routes: [{sender: a.b, to: c}]\n",
	    "is not an address or @domain" },
	{ "LMTP to a relative path", GOOD "routes: [{domain: a.b, to: 'lmtp:unix:x'}]\n",
	    "not the full path" },
	{ "LMTP to nowhere", GOOD "routes: [{domain: a.b, to: 'lmtp:'}]\n",
	    "no host behind lmtp:" },
	{ "TLS over a unix socket", GOOD "routes: [{domain: a.b, to: 'lmtp:unix:/x', tls: may}]\n",
	    "no TLS over a unix" },
	{ "names without verify", GOOD "routes: [{domain: a.b, to: c, tls_names: [d.e]}]\n",
	    "verify or implicit only" },
	{ "discard with a way", GOOD "routes: [{domain: a.b, to: discard, hostname: a.b}]\n",
	    "has no tls" },
	{ "two sources of a family",
	    GOOD "routes: [{domain: a.b, to: c, source: [192.0.2.1, 192.0.2.2]}]\n",
	    "second address" },
	{ "no password file",
	    GOOD "routes: [{domain: a.b, to: c, auth: {user: u, password_file: /nowhere/x}}]\n",
	    "/nowhere/x: " },
	{ "auth without user",
	    GOOD "routes: [{domain: a.b, to: c, auth: {password_file: /nowhere/x}}]\n",
	    "\"user\"" },
	{ "mailboxes by SMTP", GOOD "local: {delivery: 'host:25'}\n", "`maildir` or `lmtp:...`" },
	{ "delivery.tls", GOOD "delivery: {tls: implicit}\n", "none, may, encrypt" },
	{ "route without target", GOOD "routes: [{domain: a.b}]\n", ":3: routes[0]: key \"to\"" },
	{ "hard below soft", GOOD "limits: {errors_soft: 9, errors_hard: 3}\n", "errors_hard" },
	/* What is written disagrees with a standard that is not. */
	{ "soft above the standard", GOOD "limits: {errors_soft: 99}\n",
	    ":3: limits.errors_soft: " },
	{ "first retry above the standard", GOOD "delivery: {retry_first: 2h}\n",
	    ":3: delivery.retry_first: retry_max is below" },
	{ "retry below the standard", GOOD "delivery: {retry_max: 1m}\n",
	    ":3: delivery.retry_max: " },
	{ "segment below the standard", GOOD "spool: {segment_size: 64KiB}\n",
	    ":3: spool.segment_size: spill_size (65536)" },
	{ "style", GOOD "reply_style: exim\n", ":3: reply_style: " },
	{ "a list where a mapping belongs", GOOD "limits: [1]\n", ":3: limits: " },
};

static void every_error_names_its_line_and_key(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct yaml_errors e;
		struct config *cfg = NULL;
		bool found = false;
		print_message("# %s\n", bad[i].name);
		assert_int_equal(load(bad[i].text, &e, &cfg), -ERR_CONFIG);
		assert_null(cfg);
		for (size_t k = 0; k < e.kept; k++)
			found = found || strstr(e.line[k], bad[i].error);
		if (!found && e.kept)
			print_message("# got: %s\n", e.line[0]);
		assert_true(found);
		yaml_errors_done(&e);
	}
}

static void all_errors_are_told_not_the_first(void **state)
{
	struct yaml_errors e;
	struct config *cfg = NULL;

	(void)state;
	assert_int_equal(load("hostname: '..'\nx: 1\nlimits: {hops: a}\n", &e, &cfg), -ERR_CONFIG);
	assert_true(e.count >= 4);
	yaml_errors_done(&e);
}

static void domains_recipients_and_routes_are_found(void **state)
{
	static const char text[] =
	    GOOD "local: {domains: [example.org], recipients: [ann@example.org]}\n"
		 "relay_domains: [relay.test]\nrelay_host: '[192.0.2.9]:26'\n"
		 "routes:\n  - {domain: a.test, to: 'mail.a.test:2525'}\n  - {domain: .b.test, to: "
		 "'mx:b.test'}\n"
		 "lab: {enabled: true}\n";
	struct yaml_errors e;
	struct config *cfg;
	struct ip ip;

	(void)state;
	assert_int_equal(load(text, &e, &cfg), 0);
	assert_string_equal(config_domain_class(cfg, SPAN_LIT("EXAMPLE.org")), "local");
	assert_string_equal(config_domain_class(cfg, SPAN_LIT("")), "local");
	assert_string_equal(config_domain_class(cfg, SPAN_LIT("relay.test")), "relay");
	assert_string_equal(config_domain_class(cfg, SPAN_LIT("421.connect.lab.test")), "relay");
	assert_null(config_domain_class(cfg, SPAN_LIT("notlab.test")));
	assert_true(config_recipient_listed(cfg, SPAN_LIT("Ann@Example.org")));
	assert_true(config_recipient_listed(cfg, SPAN_LIT("POSTMASTER@example.org")));
	assert_true(config_recipient_listed(cfg, SPAN_LIT("postmaster")));
	assert_false(config_recipient_listed(cfg, SPAN_LIT("bob@example.org")));
	assert_string_equal(
	    config_route(cfg, SPAN_LIT("a.test"), SPAN_LIT(""))->host, "mail.a.test");
	assert_true(config_route(cfg, SPAN_LIT("x.b.test"), SPAN_LIT(""))->mx);
	assert_string_equal(config_route(cfg, SPAN_LIT("b.test"), SPAN_LIT(""))->host, "192.0.2.9");
	assert_int_equal(config_route(cfg, SPAN_LIT("b.test"), SPAN_LIT(""))->port, 26);
	ip_parse(SPAN_LIT("127.9.9.9"), &ip);
	assert_non_null(config_in_mynetworks(cfg, &ip));
	ip_parse(SPAN_LIT("128.0.0.1"), &ip);
	assert_null(config_in_mynetworks(cfg, &ip));
	config_unref(&cfg);
	yaml_errors_done(&e);
}

static void the_nearest_row_of_the_transport_table_counts(void **state)
{
	static const char text[] =
	    GOOD "relay_host: {to: 'rest:587', tls: encrypt}\n"
		 "routes:\n"
		 "  - {domain: .org, to: 'org:1'}\n"
		 "  - {domain: .example.org, to: 'below:2'}\n"
		 "  - {domain: example.org, to: 'domain:3'}\n"
		 "  - {address: Ann@example.org, to: 'ann:4', tls: implicit, tls_names: [a.b]}\n"
		 "  - {domain: lmtp.test, to: 'lmtp:unix:/run/lmtp', source: ['192.0.2.1', "
		 "'2001:db8::1'],\n"
		 "     hostname: other.example.net}\n"
		 "  - {domain: lmtp2.test, to: 'lmtp:host'}\n"
		 "sender_routes:\n"
		 "  - {sender: bob@example.net, to: 'bob:5'}\n"
		 "  - {sender: '@example.net', to: 'net:6'}\n"
		 "local: {domains: [here.test], delivery: 'lmtp:127.0.0.1:24'}\n"
		 "delivery: {tls: verify}\n";
	static const struct {
		const char *to, *from, *host;
	} rows[] = {
		{ "x@example.org", "", "domain" },
		{ "ann@EXAMPLE.org", "bob@example.net", "ann" },
		{ "x@a.b.example.org", "", "below" },
		{ "x@other.org", "", "org" },
		{ "x@org", "", "rest" },
		{ "x@example.net", "", "rest" },
		{ "x@example.net", "Bob@Example.net", "bob" },
		{ "x@example.net", "ann@example.net", "net" },
		{ "x@example.net", "ann@sub.example.net", "rest" },
		{ "x@example.org", "bob@example.net", "domain" },
		{ "", "", "rest" },
	};
	const struct config_route *r;
	struct yaml_errors e;
	struct config *cfg;

	(void)state;
	assert_int_equal(load(text, &e, &cfg), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_string_equal(
		    config_route(cfg, span_str(rows[i].to), span_str(rows[i].from))->host,
		    rows[i].host);
	r = config_route(cfg, SPAN_LIT("ann@example.org"), SPAN_LIT(""));
	assert_true(r->tls_implicit && r->tls == CONFIG_ROUTE_TLS_VERIFY && r->number);
	assert_string_equal(r->tls_names[0], "a.b");
	r = config_route(cfg, SPAN_LIT("x@lmtp.test"), SPAN_LIT(""));
	assert_true(r->lmtp && r->tls == CONFIG_ROUTE_TLS_NONE);
	assert_string_equal(r->path, "/run/lmtp");
	assert_int_equal(r->source4.family, 4);
	assert_int_equal(r->source6.family, 6);
	assert_string_equal(r->hostname, "other.example.net");
	r = config_route(cfg, SPAN_LIT("x@lmtp2.test"), SPAN_LIT(""));
	assert_int_equal(r->port, 24);
	assert_int_equal(r->tls, CONFIG_ROUTE_TLS_MAY); /* whatever delivery.tls says */
	assert_int_equal(r->number, 0);
	assert_int_equal(
	    config_route(cfg, SPAN_LIT("a@b"), SPAN_LIT(""))->tls, CONFIG_ROUTE_TLS_ENCRYPT);
	assert_true(cfg->local_delivery->lmtp);
	config_unref(&cfg);
	yaml_errors_done(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_short_file_is_enough_and_the_rest_is_standard),
		cmocka_unit_test(tls_is_on_when_there_is_a_certificate),
		cmocka_unit_test(every_error_names_its_line_and_key),
		cmocka_unit_test(all_errors_are_told_not_the_first),
		cmocka_unit_test(domains_recipients_and_routes_are_found),
		cmocka_unit_test(the_nearest_row_of_the_transport_table_counts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
