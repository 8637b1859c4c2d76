/*
 * cmd/main.c - the program: which subcommand?
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "cmd/cmd.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *line;
} commands[] = {
	{ "serve", cmd_serve, "run the server in the foreground" },
	{ "check-config", cmd_check_config,
	    "is a configuration good? every error, with file, line and key" },
	{ "why", cmd_why, "where a message is, what happened, who must act, when it moves next" },
	{ "try", cmd_try, "what would the server say to this client and recipient, and why" },
	{ "queue", cmd_queue, "list, show, retry, hold, release, delete, bounce queued mail" },
	{ "newaliases", cmd_newaliases, "check the tables of aliases, have the server read them" },
	{ "sendmail", cmd_sendmail, "take mail from programs of this machine" },
	{ "mailq", cmd_mailq, "the queue in the shape of Postfix's" },
	{ "passwd", cmd_passwd, "add, change, check or delete users who may log in" },
	{ "spool", cmd_spool, "verify the queue on disk, show a message of it" },
	{ "stats", cmd_stats, "numbers of the running server" },
	{ "reload-certificates", cmd_reload_certificates, "take certificates that were renewed" },
	{ "reopen-logs", cmd_reopen_logs,
	    "go on in new log files, after the old ones were renamed" },
	{ "stop", cmd_stop, "end the running server cleanly" },
	{ "lab", cmd_lab, "what the simulator answers to which address" },
	{ "reference", cmd_reference,
	    "write the reference pages of configuration, filters, events" },
	{ "explain", cmd_explain, "what a code or a reply means, and what to do" },
};

static int usage(FILE *to)
{
	fprintf(to, "usage: postern COMMAND [ARGUMENTS]\n\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		fprintf(to, "  %-20s %s\n", commands[i].name, commands[i].line);
	return CMD_USAGE;
}

int main(int argc, char **argv)
{
	const char *base = argc > 0 ? strrchr(argv[0], '/') : NULL;

	/* Links to the program have the names that other software calls. */
	base = base ? base + 1 : argc > 0 ? argv[0] : "";
	if (strcmp(base, "sendmail") == 0)
		return cmd_sendmail(argc, argv);
	if (strcmp(base, "mailq") == 0)
		return cmd_mailq(argc, argv);
	if (strcmp(base, "newaliases") == 0)
		return cmd_newaliases(argc, argv);
	if (argc < 2)
		return usage(stderr);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
		usage(stdout);
		return 0;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "postern: no command \"%s\"\n", argv[1]);
	return usage(stderr);
}
