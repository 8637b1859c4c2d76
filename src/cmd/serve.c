/*
 * cmd/serve.c - `postern serve`: the server in the foreground; `postern check-config`.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "cmd/cmd.h"
#include "daemon/daemon.h"
#include "policy/policy.h"
#include "yaml/yaml.h"

#include <stdio.h>
#include <string.h>

#define DEFAULT_CONFIG "/etc/postern/postern.yaml"

static void say(const char *text)
{
	printf("%s\n", text);
	fflush(stdout);
}

/* Load, and have the checks named in restriction lists looked up; every error goes to stderr. */
static int load_config(const char *file, struct config **cfg_r)
{
	struct yaml_errors errors;
	struct policy_list list = { .count = 0 };
	struct config *cfg = NULL;
	int r, bad = 0;

	yaml_errors_init(&errors);
	r = config_load(file, &errors, &cfg);
	for (size_t i = 0; i < errors.kept; i++)
		fprintf(stderr, "%s\n", errors.line[i]);
	if (errors.count > errors.kept)
		fprintf(stderr, "%s: and %zu more errors\n", file, errors.count - errors.kept);
	if (r < 0 && !errors.count)
		fprintf(stderr, "%s: %s\n", file, err_text(r));
	yaml_errors_done(&errors);
	for (size_t i = 0; r == 0 && cfg->recipient_restrictions[i]; i++)
		if (policy_list_add(&list, span_str(cfg->recipient_restrictions[i])) < 0) {
			fprintf(stderr, "%s: no such restriction: \"%s\"\n",
			    cfg->recipient_restriction_places[i] ? cfg->recipient_restriction_places[i] :
			                                           file,
			    cfg->recipient_restrictions[i]);
			bad++;
		}
	if (r < 0 || bad) {
		config_unref(&cfg);
		return r < 0 ? r : -ERR_CONFIG;
	}
	*cfg_r = cfg;
	return 0;
}

int cmd_check_config(int argc, char **argv)
{
	const char *file = DEFAULT_CONFIG;
	struct config *cfg;

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
	if (load_config(file, &cfg) < 0)
		return 1;
	printf("%s: good\n", file);
	config_unref(&cfg);
	return 0;
}

int cmd_serve(int argc, char **argv)
{
	struct daemon_options o = { .say = say };
	const char *file = DEFAULT_CONFIG, *why;
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
	if (load_config(file, &o.cfg) < 0)
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
