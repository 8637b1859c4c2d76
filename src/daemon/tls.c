/*
 * daemon/tls.c - from section `tls` to the contexts that servers and clients share.
 *
 * Each certificate is tried alone first, so that a line of the configuration can be
 * named for each that is unfit, and not only for the first.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "daemon/daemon-private.h"
#include "net/tls.h"

#include <stdio.h>
#include <stdlib.h>

struct reporter {
	void (*report)(void *arg, const char *line);
	void *arg;
	int bad;
};

static void complain(struct reporter *to, const char *place, const char *what)
{
	char line[768];

	snprintf(line, sizeof(line), "%s: %s", place ? place : "tls", what);
	to->report(to->arg, line);
	to->bad++;
}

static const char *or_null(const char *s)
{
	return s && s[0] ? s : NULL;
}

/* Whether it is the key that is wrong, or the certificate. */
static const char *place_of(const struct config_certificate *c, const char *why)
{
	return strstr(why, "key") && c->key.place ? c->key.place : c->chain.place;
}

static void try_certificates(const struct config *cfg, struct reporter *to)
{
	for (size_t i = 0; i < cfg->tls.certificate_count; i++) {
		const struct config_certificate *c = &cfg->tls.certificates[i];
		struct net_tls_certificate one = { c->chain.path, c->key.path };
		struct net_tls_server_options o = { .certificates = &one, .certificate_count = 1 };
		struct net_tls *t = NULL;
		char why[512];
		if (net_tls_server_new(&o, &t, why, sizeof(why)) < 0)
			complain(to, place_of(c, why), why);
		net_tls_unref(&t);
	}
}

static const char *options_place(const struct config_tls *tls, const char *why)
{
	if (strstr(why, "suites"))
		return tls->ciphersuites_place;
	if (strstr(why, "ciphers"))
		return tls->ciphers_place;
	return tls->client_ca.place;
}

static void make_server(const struct config *cfg, struct net_tls **server_r, struct reporter *to)
{
	const struct config_tls *tls = &cfg->tls;
	struct net_tls_certificate *all = calloc(tls->certificate_count, sizeof(*all));
	struct net_tls_server_options o = { .certificates = all,
		.certificate_count = tls->certificate_count,
		.version_min = (enum net_tls_version)tls->min_version,
		.ciphers = or_null(tls->ciphers),
		.ciphersuites = or_null(tls->ciphersuites),
		.ask = (enum net_tls_ask)tls->client_certificates,
		.client_ca_file = tls->client_ca.path };
	char why[512] = "out of memory";

	for (size_t i = 0; all && i < tls->certificate_count; i++)
		all[i] = (struct net_tls_certificate){ tls->certificates[i].chain.path,
			tls->certificates[i].key.path };
	if (!all || net_tls_server_new(&o, server_r, why, sizeof(why)) < 0)
		complain(to, options_place(tls, why), why);
	free(all);
}

static void make_client(const struct config *cfg, struct net_tls **client_r, struct reporter *to)
{
	struct net_tls_client_options o = {
		.version_min = (enum net_tls_version)cfg->tls.min_version,
		.ciphersuites = or_null(cfg->tls.ciphersuites),
		.ca_file = cfg->tls.ca.path,
	};
	char why[512];

	if (net_tls_client_new(&o, client_r, why, sizeof(why)) < 0)
		complain(to, cfg->tls.ca.place, why);
}

int daemon_tls(const struct config *cfg, struct net_tls **server_r, struct net_tls **client_r,
    void (*report)(void *arg, const char *line), void *arg)
{
	struct reporter to = { report, arg, 0 };
	struct net_tls *server = NULL, *client = NULL;

	try_certificates(cfg, &to);
	if (cfg->tls.certificate_count && !to.bad)
		make_server(cfg, &server, &to);
	make_client(cfg, &client, &to);
	if (to.bad) {
		net_tls_unref(&server);
		net_tls_unref(&client);
		return -ERR_CONFIG;
	}
	*server_r = server;
	*client_r = client;
	return 0;
}
