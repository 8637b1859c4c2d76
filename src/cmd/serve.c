/*
 * cmd/serve.c - `postern serve`: the server in the foreground; `postern check-config`.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "auth/auth.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "cmd/common.h"
#include "daemon/daemon.h"
#include "net/tls.h"
#include "tables/alias-files.h"

#include <stdio.h>
#include <string.h>

static void say(const char *text)
{
	printf("%s\n", text);
	fflush(stdout);
}

static void report(void *arg, const char *line)
{
	(void)arg;
	fprintf(stderr, "%s\n", line);
}

int cmd_check_config(int argc, char **argv)
{
	const char *file = NULL;
	struct net_tls *server = NULL, *client = NULL;
	struct auth *auth = NULL;
	struct alias_files *aliases = NULL;
	struct config *cfg;
	int r;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
			file = argv[++i];
		else if (argv[i][0] != '-' && i + 1 == argc)
			file = argv[i];
		else {
			fprintf(stderr, "usage: postern check-config [--config] FILE\n");
			return CMD_USAGE;
		}
	}
	if (cmd_load_config(file, &cfg) < 0)
		return 1;
	r = daemon_tls(cfg, &server, &client, report, NULL);
	if (daemon_auth(cfg, &auth, report, NULL) < 0)
		r = -ERR_CONFIG;
	if (daemon_aliases(cfg, NULL, &aliases, report, NULL) < 0)
		r = -ERR_CONFIG;
	alias_files_free(&aliases);
	net_tls_unref(&server);
	net_tls_unref(&client);
	auth_unref(&auth);
	if (r == 0)
		printf("%s: good\n", cfg->file);
	config_unref(&cfg);
	return r == 0 ? 0 : 1;
}

int cmd_serve(int argc, char **argv)
{
	struct daemon_options o = { .say = say };
	const char *file = NULL, *why;
	struct daemon *d;
	bool ack_early = false;
	int r;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
			file = argv[++i];
		else if (strcmp(argv[i], "--words") == 0)
			o.words = true;
#ifdef POSTERN_TEST_ACK_BEFORE_COMMIT
		else if (strcmp(argv[i], "--test-ack-before-commit") == 0)
			ack_early = true;
#endif
		else {
			fprintf(stderr, "usage: postern serve [--config FILE] [--words]\n");
			return CMD_USAGE;
		}
	}
	if (cmd_load_config(file, &o.cfg) < 0)
		return 1;
	o.cfg->test_ack_before_commit = ack_early;
	r = daemon_start(&o, &d, &why);
	config_unref(&o.cfg);
	if (r < 0) {
		fprintf(stderr, "postern: %s\n", why);
		return 1;
	}
	say("ready");
	daemon_run(d);
	daemon_free(&d);
	return 0;
}
