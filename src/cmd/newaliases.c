/*
 * cmd/newaliases.c - `postern newaliases`: check the tables of aliases, and have the server read
 * them.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "cmd/cmd.h"
#include "cmd/common.h"
#include "control/control.h"
#include "daemon/daemon.h"
#include "tables/alias-files.h"

#include <stdio.h>
#include <stdlib.h>

static void report(void *arg, const char *line)
{
	(void)arg;
	fprintf(stderr, "%s\n", line);
}

static void on_answer(void *arg, const json_t *answer)
{
	const char *line = json_string_value(json_object_get(answer, "error_line"));

	if (line)
		report(arg, line);
}

/* 0, also when none runs: it reads them when it starts. */
static int tell_server(const struct config *cfg)
{
	json_t *request = json_pack("{s:s}", "command", "newaliases");
	char *error;
	int r = control_request_send(cfg->run_directory, request, on_answer, NULL, &error);

	json_decref(request);
	if (r == -ERR_NOTFOUND)
		r = 0;
	if (r < 0)
		fprintf(stderr, "newaliases: the server: %s\n", error ? error : err_text(r));
	free(error);
	return r;
}

int cmd_newaliases(int argc, char **argv)
{
	const char *config = NULL;
	struct alias_files *files;
	struct config *cfg;
	int r;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) {
			config = argv[++i];
		} else {
			fprintf(stderr, "usage: newaliases [--config FILE]\n");
			return CMD_USAGE;
		}
	}
	if (cmd_load_config(config, &cfg) < 0)
		return 1;
	r = daemon_aliases(cfg, NULL, &files, report, NULL);
	alias_files_free(&files);
	if (r == 0)
		r = tell_server(cfg);
	config_unref(&cfg);
	return r < 0 ? 1 : 0;
}
