/*
 * cmd/queue.c - `postern queue`: list, show, retry, hold, release, delete, bounce.
 *
 * Asks the running server; only when none runs does list or show open the spool itself.
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

struct args {
	const char *action;
	struct config *cfg;
	json_t *filter;
	bool dry_run, json, show;
	json_int_t most;
	uint64_t rows;
};

static void usage(void)
{
	fprintf(stderr,
	    "usage: postern queue list|show|retry|hold|release|delete|bounce [OPTION...] "
	    "[FILTER...]\n"
	    "  --config FILE  --json  --dry-run  --most N\n"
	    "  A FILTER is a queue id, an address, or FIELD=VALUE[,VALUE...]; all must hold. "
	    "Fields:\n");
	for (const struct queue_filter_field *f = queue_filter_fields(); f->name; f++)
		fprintf(stderr, "  %-11s %-9s %s\n", f->name, f->value, f->text);
	fprintf(stderr,
	    "  Operators: = != and, for numbers, < <= > >=. In text * and ? stand for anything.\n"
	    "  retry, hold, release, delete and bounce want a filter; `id=*` means all.\n");
}

/* A bare word is a queue id or an address. */
static json_t *term(const char *word)
{
	uint64_t id;

	if (strpbrk(word, "=<>"))
		return json_string(word);
	if (queue_id_parse(span_str(word), &id) == 0)
		return json_sprintf("id=%s", word);
	return json_sprintf("recipient=%s", word);
}

static int parse(int argc, char **argv, struct args *a)
{
	const char *config = NULL;

	a->filter = json_array();
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
			config = argv[++i];
		else if (strcmp(argv[i], "--json") == 0)
			a->json = true;
		else if (strcmp(argv[i], "--dry-run") == 0)
			a->dry_run = true;
		else if (strcmp(argv[i], "--most") == 0 && i + 1 < argc)
			a->most = atoll(argv[++i]);
		else if (argv[i][0] == '-')
			return CMD_USAGE;
		else if (!a->action)
			a->action = argv[i];
		else
			json_array_append_new(a->filter, term(argv[i]));
	}
	if (!a->action)
		return CMD_USAGE;
	if (strcmp(a->action, "show") == 0) {
		a->action = "list";
		a->show = true;
	}
	if (strcmp(a->action, "list") != 0 && json_array_size(a->filter) == 0)
		return CMD_USAGE;
	return cmd_load_config(config, &a->cfg) < 0 ? 1 : 0;
}

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static void print_long(const json_t *row)
{
	const json_t *last = json_object_get(row, "last");
	const char *key;
	json_t *value;

	printf("%s\n", str(row, "queue_id"));
	json_object_foreach((json_t *)(uintptr_t)row, key, value)
	{
		char *text;
		if (value == last || strcmp(key, "queue_id") == 0)
			continue;
		text = json_dumps(value, JSON_ENCODE_ANY);
		printf("  %-12s %s\n", key,
		    json_is_string(value) ? cmd_printable(json_string_value(value)) : text);
		free(text);
	}
	if (!last)
		return;
	printf("  last attempt %s at %s %s, stage %s\n", str(last, "time"),
	    cmd_printable(str(last, "host")), str(last, "address"), str(last, "stage"));
	printf("    answer     %s\n", cmd_reply(last));
	printf("    code       %lld, who must act: %s (by %s)\n",
	    (long long)json_integer_value(json_object_get(last, "failure_code")), str(last, "acts"),
	    str(last, "rule"));
}

static void print_row(const json_t *row)
{
	const json_t *last = json_object_get(row, "last");
	char age[64], next[64] = "-";

	clock_duration(
	    (int64_t)(json_number_value(json_object_get(row, "age")) * 1000), age, sizeof(age));
	if (str(row, "next")[0])
		snprintf(next, sizeof(next), "%.16s", str(row, "next"));
	printf("%-14s %-8s %-9s %7lld  %s -> ", str(row, "queue_id"), str(row, "status"), age,
	    (long long)json_integer_value(json_object_get(row, "size")),
	    str(row, "sender")[0] ? cmd_printable(str(row, "sender")) : "<>");
	printf("%s", cmd_printable(str(row, "recipient")));
	if (last)
		printf("\n%15s%lld %s; next %s", "",
		    (long long)json_integer_value(json_object_get(last, "failure_code")),
		    cmd_reply(last), next);
	printf("\n");
}

static void on_answer(void *arg, const json_t *answer)
{
	struct args *a = arg;
	const json_t *sum = json_object_get(answer, "summary");
	long long rcpts, messages;

	if (a->json) {
		char *text = json_dumps(answer, JSON_COMPACT);
		printf("%s\n", text);
		free(text);
		return;
	}
	if (!sum) {
		a->rows++;
		if (a->show)
			print_long(answer);
		else
			print_row(answer);
		return;
	}
	rcpts = json_integer_value(json_object_get(sum, "recipients"));
	messages = json_integer_value(json_object_get(sum, "messages"));
	printf("%lld recipient%s of %lld message%s", rcpts, rcpts == 1 ? "" : "s", messages,
	    messages == 1 ? "" : "s");
	if (json_object_get(sum, "changed"))
		printf(json_is_true(json_object_get(sum, "dry_run"))
			? "; dry run, nothing changed"
			: "; changed %lld, in delivery just now %lld, failed %lld",
		    (long long)json_integer_value(json_object_get(sum, "changed")),
		    (long long)json_integer_value(json_object_get(sum, "busy")),
		    (long long)json_integer_value(json_object_get(sum, "failed")));
	printf("\n");
}

static void on_row(void *arg, const struct rcpt *r, struct span json)
{
	json_t *row = json_loadb((const char *)json.p, json.n, 0, NULL);

	(void)r;
	if (row)
		on_answer(arg, row);
	json_decref(row);
}

/* No server runs: read the spool, under its lock. */
static int list_stopped(struct args *a)
{
	struct spool_options o;
	struct queue_filter f;
	struct spool *sp;
	struct spool_entry e;
	uint64_t cursor = 0;
	const char *why;
	int r;

	queue_filter_init(&f);
	for (size_t i = 0; i < json_array_size(a->filter); i++)
		if (queue_filter_add(
			&f, span_str(json_string_value(json_array_get(a->filter, i))), &why) < 0) {
			fprintf(stderr, "postern: %s\n", why);
			return 1;
		}
	spool_options_init(&o, a->cfg->spool_directory);
	o.read_only = true;
	r = spool_open(&o, &sp);
	if (r < 0) {
		fprintf(stderr, "postern: cannot open spool %s: %s\n", a->cfg->spool_directory,
		    err_text(r));
		return 1;
	}
	while (spool_next(sp, &cursor, &e) && (!a->most || a->rows < (uint64_t)a->most))
		(void)queue_listing(sp, a->cfg->catalogue, e.id, &f, clock_wall_ms(), on_row, a);
	spool_close(&sp);
	if (!a->json)
		printf("%llu recipients (no server runs)\n", (unsigned long long)a->rows);
	return 0;
}

static int run(struct args *a)
{
	json_t *request = json_pack("{s:s,s:s,s:O,s:b,s:I}", "command", "queue", "action",
	    a->action, "filter", a->filter, "dry_run", a->dry_run, "most", a->most);
	char *error;
	int r = control_request_send(a->cfg->run_directory, request, on_answer, a, &error);

	json_decref(request);
	if (r == -ERR_NOTFOUND && strcmp(a->action, "list") == 0)
		return list_stopped(a);
	if (r < 0)
		fprintf(stderr, "postern: %s\n",
		    error                    ? error
			: r == -ERR_NOTFOUND ? "no server runs"
					     : err_text(r));
	free(error);
	return r < 0 ? 1 : 0;
}

int cmd_queue(int argc, char **argv)
{
	struct args a = { 0 };
	int r = parse(argc, argv, &a);

	if (r == 0)
		r = run(&a);
	else if (r == CMD_USAGE)
		usage();
	json_decref(a.filter);
	config_unref(&a.cfg);
	return r;
}
