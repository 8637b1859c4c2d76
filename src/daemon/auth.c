/*
 * daemon/auth.c - from section `auth` to the backend that all workers share.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "daemon/daemon-private.h"

#include <stdio.h>

int daemon_auth(const struct config *cfg, struct auth **a_r,
    void (*report)(void *arg, const char *line), void *arg)
{
	struct auth_options o = { .password_file = cfg->auth_password_file,
		.dovecot_socket = cfg->auth_dovecot_socket,
		.mechanisms = cfg->auth_mechanisms };
	char why[512], line[768];

	*a_r = NULL;
	if (!o.password_file && !o.dovecot_socket)
		return 0;
	if (auth_new(&o, a_r, why, sizeof(why)) == 0)
		return 0;
	snprintf(line, sizeof(line), "%s: %s", cfg->auth_place, why);
	report(arg, line);
	return -ERR_CONFIG;
}
