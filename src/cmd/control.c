/*
 * cmd/control.c - `postern stats`, `stop`, `reopen-logs`, `reload-certificates`: short requests to
 * the running server.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "cmd/cmd.h"
#include "cmd/common.h"
#include "control/control.h"

#include <stdio.h>
#include <stdlib.h>

static void print_stats(void *arg, const json_t *answer)
{
	const bool *json = arg;
	const char *key;
	json_t *value;
	char *text;

	if (*json) {
		text = json_dumps(answer, JSON_COMPACT);
		printf("%s\n", text);
		free(text);
		return;
	}
	json_object_foreach((json_t *)(uintptr_t)answer, key, value)
	{
		text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
		printf("%-20s %s\n", key, text);
		free(text);
	}
}

static int simple(int argc, char **argv, const char *command)
{
	const char *config = NULL;
	struct config *cfg;
	json_t *request;
	bool json = false;
	char *error;
	int r;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
			config = argv[++i];
		else if (strcmp(argv[i], "--json") == 0)
			json = true;
		else {
			fprintf(stderr, "usage: postern %s [--config FILE] [--json]\n", command);
			return CMD_USAGE;
		}
	}
	if (cmd_load_config(config, &cfg) < 0)
		return 1;
	request = json_pack("{s:s}", "command", command);
	r = control_request_send(cfg->run_directory, request, print_stats, &json, &error);
	if (r < 0)
		fprintf(stderr, "postern: %s\n",
		    error                    ? error
			: r == -ERR_NOTFOUND ? "no server runs"
					     : err_text(r));
	free(error);
	json_decref(request);
	config_unref(&cfg);
	return r < 0 ? 1 : 0;
}

int cmd_stats(int argc, char **argv)
{
	return simple(argc, argv, "stats");
}

int cmd_stop(int argc, char **argv)
{
	return simple(argc, argv, "stop");
}

int cmd_reopen_logs(int argc, char **argv)
{
	return simple(argc, argv, "reopen-logs");
}

int cmd_reload_certificates(int argc, char **argv)
{
	return simple(argc, argv, "reload-certificates");
}
