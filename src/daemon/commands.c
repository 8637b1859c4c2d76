/*
 * daemon/commands.c - the control socket's commands.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "daemon/daemon-private.h"

void daemon_control(void *arg, struct control_call *call)
{
	struct daemon *d = arg;
	const char *command = control_string(call, "command");

	if (command && strcmp(command, "stop") == 0) {
		control_end(call, NULL);
		daemon_stop(d);
		return;
	}
	control_end(call, "no such command");
}
