/*
 * cmd/cmd.h - the subcommands of `postern`: arguments only, the work is done below.
 *
 * Each takes its own name as argv[0] and returns the exit code: 0 yes, 1 no or failed, 2 usage.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_CMD_CMD_H
#define POSTERN_CMD_CMD_H

#define CMD_USAGE 2

/* What a code or a reply means.  0 known, 1 not known, 2 usage. */
int cmd_explain(int argc, char **argv);

/* Run the server in the foreground.  1: it could not start. */
int cmd_serve(int argc, char **argv);

/* Is a configuration good?  0 yes, 1 no: every error on standard error. */
int cmd_check_config(int argc, char **argv);

/* Look at the queue, and change it.  0, 1 failed, 2 usage. */
int cmd_queue(int argc, char **argv);

/* Where a message is and why.  0 known, 1 not known or failed, 2 usage. */
int cmd_why(int argc, char **argv);

/* Users of the table that AUTH asks.  0, 1 failed (--check: or not the password), 2 usage. */
int cmd_passwd(int argc, char **argv);

/* End the running server cleanly; its numbers.  1: no server runs. */
int cmd_stop(int argc, char **argv);
int cmd_stats(int argc, char **argv);
/* Go on in new files, for logs that were renamed. */
int cmd_reopen_logs(int argc, char **argv);
/* Take certificates that were renewed.  1: they are unfit, or no server runs. */
int cmd_reload_certificates(int argc, char **argv);

/* A look at the spool: check, cat, dump, stats.  check: 1 when there is damage. */
int cmd_spool(int argc, char **argv);

/* Write the pages of docs/reference that come from tables in the code. */
int cmd_reference(int argc, char **argv);

/* What the simulator answers to which address. */
int cmd_lab(int argc, char **argv);

/* What would the server say to a recipient, and why.  0 taken, 1 refused, 2 usage. */
int cmd_try(int argc, char **argv);

/* Check the tables of aliases and tell the server.  0 good, 1 not. */
int cmd_newaliases(int argc, char **argv);

/* Mail from programs of this machine, and the queue as they like to see it; exit codes of
 * sysexits.h. */
int cmd_sendmail(int argc, char **argv);
int cmd_mailq(int argc, char **argv);

#endif
