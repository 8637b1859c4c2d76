/*
 * cmd/mailq.c - `mailq`: the queue in the shape of Postfix's, which people and tools read.
 *
 * Asks the running server; when none runs it reads the spool itself.  Recipients of a message
 * stand below it, under the answer that they wait for.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "cmd/common.h"
#include "control/control.h"
#include "queue/listing.h"

#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>
#include <time.h>

/* The longest line of an answer begins at the left. */
#define LINE_COLUMNS 78

struct listing {
	struct config *cfg;
	char id[QUEUE_ID_TEXT_MAX], reason[2048];
	uint64_t messages, octets;
};

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

/* "2026-11-25T20:31:00.123Z" as "Wed Nov 25 20:31:00" of the local clock. */
static void local_time(const char *iso, char *to, size_t n)
{
	struct tm tm = { 0 };
	time_t t;

	to[0] = '\0';
	if (!strptime(iso, "%Y-%m-%dT%H:%M:%S", &tm))
		return;
	t = timegm(&tm);
	if (localtime_r(&t, &tm))
		strftime(to, n, "%a %b %d %H:%M:%S", &tm);
}

static void put_reason(struct listing *l, const json_t *row)
{
	const json_t *last = json_object_get(row, "last");
	char reason[sizeof(l->reason)] = "";
	int n;

	if (last)
		snprintf(reason, sizeof(reason), "%.300s%s%.1500s",
		    cmd_printable(str(last, "host")), str(last, "host")[0] ? " said: " : "",
		    cmd_reply(last));
	if (strcmp(reason, l->reason) == 0)
		return;
	snprintf(l->reason, sizeof(l->reason), "%s", reason);
	n = (int)strlen(reason) + 2;
	if (reason[0])
		printf("%*s(%s)\n", n < LINE_COLUMNS ? LINE_COLUMNS - n : 0, "", reason);
}

static void put_row(void *arg, const json_t *row)
{
	struct listing *l = arg;
	const char *id = str(row, "queue_id"), *status = str(row, "status");
	long long size = (long long)json_integer_value(json_object_get(row, "size"));
	char when[64], marked[QUEUE_ID_TEXT_MAX + 1];

	if (!id[0])
		return; /* the sum at the end */
	if (strcmp(id, l->id) != 0) {
		if (l->messages == 0)
			printf("%-17s %8s %-19s %s\n", "----Queue ID-----", "--Size--",
			    "----Arrival Time---", "--Sender/Recipient------");
		else
			printf("\n");
		l->messages++;
		l->octets += (uint64_t)size;
		l->reason[0] = '\0';
		snprintf(l->id, sizeof(l->id), "%s", id);
		snprintf(marked, sizeof(marked), "%s%s", id,
		    strcmp(status, "held") == 0          ? "!"
			: strcmp(status, "pending") == 0 ? "*"
							 : "");
		local_time(str(row, "received"), when, sizeof(when));
		printf("%-17s %8lld %19s %s\n", marked, size, when,
		    str(row, "sender")[0] ? cmd_printable(str(row, "sender")) : "MAILER-DAEMON");
	}
	put_reason(l, row);
	printf("%-17s %8s %-19s %s\n", "", "", "", cmd_printable(str(row, "recipient")));
}

static void on_row(void *arg, const struct rcpt *r, struct span json)
{
	json_t *row = json_loadb((const char *)json.p, json.n, 0, NULL);

	(void)r;
	if (row)
		put_row(arg, row);
	json_decref(row);
}

static int list_stopped(struct listing *l)
{
	struct spool_options o;
	struct queue_filter f;
	struct spool *sp;
	struct spool_entry e;
	uint64_t cursor = 0;
	int r;

	queue_filter_init(&f);
	spool_options_init(&o, l->cfg->spool_directory);
	o.read_only = true;
	r = spool_open(&o, &sp);
	if (r == -ERR_NOTFOUND)
		return 0; /* none was ever made */
	if (r < 0) {
		fprintf(stderr, "mailq: cannot open spool %s: %s\n", l->cfg->spool_directory,
		    err_text(r));
		return r == -ERR_ACCESS ? EX_NOPERM : EX_UNAVAILABLE;
	}
	while (spool_next(sp, &cursor, &e))
		(void)queue_listing(sp, l->cfg->catalogue, e.id, &f, clock_wall_ms(), on_row, l);
	spool_close(&sp);
	return 0;
}

static int list(struct listing *l)
{
	json_t *request =
	    json_pack("{s:s,s:s,s:[]}", "command", "queue", "action", "list", "filter");
	char *error;
	int r = control_request_send(l->cfg->run_directory, request, put_row, l, &error), code = 0;

	json_decref(request);
	if (r == -ERR_NOTFOUND) {
		code = list_stopped(l);
	} else if (r < 0) {
		fprintf(stderr, "mailq: %s\n", error ? error : err_text(r));
		code = r == -ERR_ACCESS ? EX_NOPERM : EX_UNAVAILABLE;
	}
	free(error);
	return code;
}

int cmd_mailq(int argc, char **argv)
{
	struct listing l = { .messages = 0 };
	const char *config = NULL;
	int code;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) {
			config = argv[++i];
		} else if (strcmp(argv[i], "-v") != 0 && strcmp(argv[i], "-Ac") != 0) {
			fprintf(stderr, "usage: mailq [--config FILE]\n");
			return EX_USAGE;
		}
	}
	if (cmd_load_plain(config, &l.cfg) < 0)
		return EX_CONFIG;
	code = list(&l);
	if (code == 0 && l.messages == 0)
		printf("Mail queue is empty\n");
	else if (code == 0)
		printf("\n-- %llu Kbytes in %llu Request%s.\n",
		    (unsigned long long)((l.octets + 1023) / 1024), (unsigned long long)l.messages,
		    l.messages == 1 ? "" : "s");
	config_unref(&l.cfg);
	return code;
}
