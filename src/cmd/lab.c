/*
 * cmd/lab.c - `postern lab`: what the simulator answers to which address.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "cmd/cmd.h"
#include "lab/lab.h"

#include <stdio.h>

int cmd_lab(int argc, char **argv)
{
	(void)argv;
	if (argc != 1) {
		fprintf(stderr, "usage: postern lab\n");
		return CMD_USAGE;
	}
	printf("Mail to NAME@lab.test (or another domain, see lab.domain) goes to the simulator. "
	       "Names:\n\n");
	for (const struct lab_row *r = lab_rows(); r->name; r++)
		printf("  %s\n      %s\n", r->name, r->text);
	return 0;
}
