/*
 * cmd/why.c - `postern why QUEUE-ID|MESSAGE-ID|ADDRESS|SESSION`: where a message is and why, in one
 * screen.
 *
 * Reads the history (finished mail too) and, when a server runs, asks it what the queue
 * holds now.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "cmd/common.h"
#include "control/control.h"
#include "history/history.h"

#include <stdio.h>
#include <stdlib.h>

/* Messages shown for an address, the newest first. */
#define MESSAGES_STANDARD 5
/* Events of one message that are read; a thousand recipients with some attempts. */
#define EVENTS_MAX 20000

struct why {
	struct config *cfg;
	json_t *events; /* of all messages found, in order */
	json_t *queue;  /* rows of the queue now, by queue id and recipient */
	bool json, server;
};

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static bool is(const json_t *ev, const char *type)
{
	return strcmp(str(ev, "event"), type) == 0;
}

static bool on_event(void *arg, struct span queue_id, struct span text)
{
	struct why *w = arg;
	json_t *ev = json_loadb((const char *)text.p, text.n, 0, NULL);

	(void)queue_id;
	if (ev)
		json_array_append_new(w->events, ev);
	return json_array_size(w->events) < EVENTS_MAX;
}

static void on_queue_row(void *arg, const json_t *answer)
{
	struct why *w = arg;

	if (json_object_get(answer, "queue_id"))
		json_array_append(w->queue, (json_t *)(uintptr_t)answer);
}

static void ask_queue(struct why *w, const char *id)
{
	json_t *request = json_pack("{s:s,s:s,s:[o]}", "command", "queue", "action", "list",
	    "filter", json_sprintf("id=%s", id));
	char *error = NULL;

	(void)control_request_send(w->cfg->run_directory, request, on_queue_row, w, &error);
	free(error);
	json_decref(request);
}

/* Events just emitted are in the file after this. */
static bool flush(struct why *w)
{
	json_t *request = json_pack("{s:s}", "command", "history-flush");
	char *error = NULL;
	int r = control_request_send(w->cfg->run_directory, request, on_queue_row, w, &error);

	free(error);
	json_decref(request);
	return r == 0;
}

/* Local time is what the reader's other logs have; seconds are enough. */
static const char *when(const json_t *o, const char *key)
{
	const char *t = str(o, key);

	return t[0] ? cmd_printable(t) : "-";
}

/* A label, then words wrapped at 80 columns behind it; nothing of a peer drives the terminal. */
static void say_wrapped(const char *label, const char *text)
{
	size_t column = 15;
	bool first = true;

	printf("    %-11s", label);
	text += strspn(text, " \n");
	while (*text) {
		size_t n = strcspn(text, " \n");
		if (!first && column + n + 1 > 80) {
			printf("\n%15s", "");
			column = 15;
		} else if (!first) {
			putchar(' ');
			column++;
		}
		for (size_t i = 0; i < n; i++)
			putchar((unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i]);
		text += n;
		text += strspn(text, " \n");
		column += n;
		first = false;
	}
	printf("\n");
}

/* The same of a cause or remedy: fields that the event knows are filled in. */
static void say_filled(const char *label, const char *text, const json_t *ev)
{
	struct reply_args args = { 0 };
	struct buf words;
	const char *filled;

	args.field[REPLY_FIELD_recipient] = span_str(str(ev, "recipient"));
	args.field[REPLY_FIELD_sender] = span_str(str(ev, "sender"));
	buf_init(&words, 65536); /* a row's text is far shorter, an address at most 320 octets */
	catalogue_fill(text, &args, &words);
	filled = buf_cstr(&words);
	say_wrapped(label, filled ? filled : text);
	buf_done(&words);
}

/* What the failure code means, who must act, what to do: from the catalogue. */
static void say_failure(struct why *w, const json_t *ev)
{
	const struct cat_failure *f = catalogue_failure(
	    w->cfg->catalogue, (uint16_t)json_integer_value(json_object_get(ev, "failure_code")));
	const struct cat_reply *row = NULL;
	const char *rule = str(ev, "rule");
	int reply = strncmp(rule, "reply ", 6) == 0
	    ? catalogue_reply_by_id(w->cfg->catalogue, span_str(rule + 6))
	    : str(ev, "reply_id")[0]
	    ? catalogue_reply_by_id(w->cfg->catalogue, span_str(str(ev, "reply_id")))
	    : -1;
	const struct cat_policy *policy = strncmp(rule, "policy code ", 12) == 0
	    ? catalogue_policy(w->cfg->catalogue, span_str(rule + 12))
	    : NULL;
	char text[160];

	row = reply >= 0 ? catalogue_reply(w->cfg->catalogue, reply) : NULL;
	if (f) {
		snprintf(text, sizeof(text), "%u %s", f->code, f->text);
		say_wrapped("code", text);
	}
	if (policy)
		say_wrapped("policy", policy->code);
	if (row || policy || f)
		say_filled("means", row ? row->cause : policy ? policy->cause : f->cause, ev);
	if (row || policy || f)
		say_wrapped("who acts",
		    cat_acts_text(row ? row->acts
			    : policy  ? policy->acts
				      : f->acts));
	if (row || policy || f)
		say_filled("what to do",
		    row          ? row->remedy
			: policy ? policy->remedy
				 : f->remedy,
		    ev);
	if (rule[0])
		say_wrapped("decided by", rule);
}

static void say_next(struct why *w, const char *id, const char *recipient, const json_t *ev)
{
	size_t i;
	const json_t *row;
	char wait[64], text[160];

	json_array_foreach(w->queue, i, row)
	{
		if (strcmp(str(row, "queue_id"), id) != 0 ||
		    strcmp(str(row, "recipient"), recipient) != 0)
			continue;
		if (strcmp(str(row, "status"), "held") == 0) {
			say_wrapped("next",
			    "on hold until an operator releases it (postern queue release)");
			return;
		}
		clock_duration((int64_t)(json_number_value(json_object_get(row, "next_in")) * 1000),
		    wait, sizeof(wait));
		snprintf(text, sizeof(text), "attempt %lld in %s, at %s",
		    (long long)json_integer_value(json_object_get(row, "attempts")) + 1, wait,
		    when(row, "next"));
		say_wrapped("next", text);
		return;
	}
	if (is(ev, "deferred"))
		say_wrapped("next", w->server ? "being tried just now" : when(ev, "next"));
	else if (is(ev, "failed"))
		say_wrapped("next", "nothing: it was given up");
}

/* The latest word on one recipient. */
static void say_recipient(struct why *w, const char *id, const char *recipient, const json_t *last)
{
	static const struct {
		const char *event, *state;
	} states[] = { { "delivered", "delivered" },
		{ "deferred", "waiting: the last attempt failed" }, { "failed", "failed for good" },
		{ "received", "in the queue, not tried yet" }, { "held", "on hold" },
		{ "released", "released, due now" }, { "retry", "due now" },
		{ "deleted", "taken out by the operator" },
		{ "dsn_undeliverable", "failed for good, and nobody can be told" } };
	const char *state = str(last, "event");
	char text[2048];

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (is(last, states[i].event))
			state = states[i].state;
	printf("  %s\n", cmd_printable(recipient));
	snprintf(text, sizeof(text), "%s (%s)", state, when(last, "time"));
	say_wrapped("state", text);
	if (str(last, "host")[0]) {
		snprintf(text, sizeof(text), "%s %s, stage %s", str(last, "host"),
		    str(last, "address"), str(last, "stage"));
		say_wrapped("where", text);
	}
	if (str(last, "tls")[0])
		say_wrapped("tls", str(last, "tls"));
	if (str(last, "text")[0])
		say_wrapped(json_object_get(last, "code") ? "answer" : "trouble", cmd_reply(last));
	if (json_object_get(last, "failure_code"))
		say_failure(w, last);
	say_next(w, id, recipient, last);
}

static const json_t *latest(struct why *w, const char *id, const char *recipient)
{
	const json_t *ev, *found = NULL;
	size_t i;

	json_array_foreach(w->events, i, ev)
	{
		bool this = strcmp(str(ev, "queue_id"), id) == 0 &&
		    strcmp(str(ev, "recipient"), recipient) == 0;
		if (this && !is(ev, "bounced"))
			found = ev;
	}
	return found;
}

/* Recipients with the same last word share one paragraph only when there are many. */
#define RECIPIENTS_SHOWN 12

/* Who was told what: the event's `detail` says it. */
static void say_notification(const json_t *ev)
{
	const char *of = str(ev, "detail"), *what = "";
	bool sender = strcmp(of, "failure") == 0 || strcmp(of, "delay") == 0 ||
	    strcmp(of, "success") == 0 || !of[0];

	if (strcmp(of, "delay") == 0 || strcmp(of, "copy of delay") == 0)
		what = " of the delay";
	printf("  The %s was told%s: notification %s to %s, %s\n", sender ? "sender" : "postmaster",
	    what, str(ev, "other_id"), cmd_printable(str(ev, "recipient")), when(ev, "time"));
}

static void say_message(struct why *w, const char *id)
{
	const json_t *ev, *received = NULL, *finished = NULL;
	json_t *seen = json_object();
	size_t i, shown = 0;

	json_array_foreach(w->events, i, ev)
	{
		if (strcmp(str(ev, "queue_id"), id) != 0)
			continue;
		if (is(ev, "received") && !received)
			received = ev;
		if (is(ev, "finished"))
			finished = ev;
	}
	printf("%s", id);
	if (received) {
		printf("  from %s  %lld octets  came in %s",
		    str(received, "sender")[0] ? cmd_printable(str(received, "sender")) : "<>",
		    (long long)json_integer_value(json_object_get(received, "size")),
		    when(received, "time"));
		printf("\n  client %s", cmd_printable(str(received, "client")));
		if (str(received, "message_id")[0])
			printf("  message id <%s>", cmd_printable(str(received, "message_id")));
	}
	printf("\n");
	json_array_foreach(w->events, i, ev)
	{
		const char *recipient = str(ev, "recipient");
		if (strcmp(str(ev, "queue_id"), id) != 0 || !recipient[0] || is(ev, "bounced") ||
		    json_object_get(seen, recipient))
			continue;
		json_object_set_new(seen, recipient, json_true());
		if (shown++ < RECIPIENTS_SHOWN)
			say_recipient(w, id, recipient, latest(w, id, recipient));
	}
	if (shown > RECIPIENTS_SHOWN)
		printf("  and %zu more recipients; postern why --json shows all\n",
		    shown - RECIPIENTS_SHOWN);
	json_array_foreach(w->events, i, ev)
	{
		if (is(ev, "bounced") && strcmp(str(ev, "queue_id"), id) == 0)
			say_notification(ev);
	}
	if (finished)
		printf("  Left the queue %s\n", when(finished, "time"));
	json_decref(seen);
}

static void say_refused(struct why *w, const json_t *ev)
{
	printf("refused %s  client %s  from %s  to %s\n", when(ev, "time"),
	    cmd_printable(str(ev, "client")),
	    str(ev, "sender")[0] ? cmd_printable(str(ev, "sender")) : "<>",
	    cmd_printable(str(ev, "recipient")));
	say_wrapped("our answer", cmd_reply(ev));
	say_failure(w, ev);
	if (str(ev, "trace")[0])
		say_wrapped("checks", str(ev, "trace"));
}

static void say_all(struct why *w)
{
	json_t *seen = json_object();
	const json_t *ev;
	size_t i;

	json_array_foreach(w->events, i, ev)
	{
		const char *id = str(ev, "queue_id");
		if (!id[0]) {
			say_refused(w, ev);
			printf("\n");
		} else if (!json_object_get(seen, id)) {
			json_object_set_new(seen, id, json_true());
			if (w->server)
				ask_queue(w, id);
			say_message(w, id);
			printf("\n");
		}
	}
	json_decref(seen);
}

int cmd_why(int argc, char **argv)
{
	const char *config = NULL, *key = NULL;
	struct why w = { 0 };
	size_t most = MESSAGES_STANDARD, i;
	json_t *ev;
	int r;

	for (int k = 1; k < argc; k++) {
		if (strcmp(argv[k], "--config") == 0 && k + 1 < argc)
			config = argv[++k];
		else if (strcmp(argv[k], "--most") == 0 && k + 1 < argc)
			most = (size_t)atoll(argv[++k]);
		else if (strcmp(argv[k], "--json") == 0)
			w.json = true;
		else if (argv[k][0] != '-' && !key)
			key = argv[k];
		else
			key = NULL, k = argc;
	}
	if (!key) {
		fprintf(stderr,
		    "usage: postern why [--config FILE] [--json] [--most N] "
		    "QUEUE-ID|MESSAGE-ID|ADDRESS|SESSION\n");
		return CMD_USAGE;
	}
	if (cmd_load_config(config, &w.cfg) < 0)
		return 1;
	w.events = json_array();
	w.queue = json_array();
	w.server = flush(&w);
	r = history_find(
	    w.cfg->history_directory, span_str(key), most > 0 ? most : 1, on_event, &w);
	if (r == -ERR_NOTFOUND)
		fprintf(stderr,
		    "postern: nothing is known of %s (history is kept for a time; see "
		    "history.keep)\n",
		    key);
	else if (r < 0)
		fprintf(stderr, "postern: cannot read history in %s: %s\n",
		    w.cfg->history_directory, err_text(r));
	else if (w.json)
		json_array_foreach(w.events, i, ev)
		{
			char *text = json_dumps(ev, JSON_COMPACT);
			printf("%s\n", text);
			free(text);
		}
	else
		say_all(&w);
	json_decref(w.events);
	json_decref(w.queue);
	config_unref(&w.cfg);
	return r < 0 ? 1 : 0;
}
