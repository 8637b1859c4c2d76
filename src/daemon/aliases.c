/*
 * daemon/aliases.c - from section `aliases` to the tables that all workers share.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "daemon/daemon-private.h"

#include <stdlib.h>

static void on_notice(void *arg, bool good, const char *line)
{
	struct event ev = { .type = EVENT_NOTICE,
		.text = span_str(line),
		.detail = good ? SPAN_LIT("aliases")
			       : SPAN_LIT("aliases: the tables as they were stay in force") };

	event_emit(arg, &ev);
}

int daemon_aliases(const struct config *cfg, struct event_sink *events, struct alias_files **f_r,
    void (*report)(void *arg, const char *line), void *arg)
{
	struct alias_files_options o = { .local = cfg->alias_files,
		.virtual_ = cfg->alias_virtual,
		.notice = events ? on_notice : NULL,
		.arg = events };

	*f_r = NULL;
	if (!cfg->alias_files[0] && !cfg->alias_virtual[0])
		return 0;
	return alias_files_new(&o, report, arg, f_r);
}

/* Lines of the last look that went wrong, one answer each. */
static void answer_line(void *arg, const char *line)
{
	struct control_call *call = arg;
	json_t *o = json_pack("{s:s}", "error_line", line);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	if (text)
		(void)control_answer(call, span_str(text));
	free(text);
	json_decref(o);
}

void daemon_command_aliases(struct daemon *d, struct control_call *call)
{
	int r = d->shared.aliases ? alias_files_reload(d->shared.aliases, answer_line, call) : 0;

	if (d->pickup)
		pickup_all(d->pickup);
	control_end(call, r == 0 ? NULL : "the tables of aliases as they were stay in force");
}
