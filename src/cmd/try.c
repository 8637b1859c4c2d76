/*
 * cmd/try.c - `postern try`: what would the server say to this client and recipient, and why?
 *
 * The very checks of a session, on facts from the command line and the configuration.
 * Nothing is sent and nobody is asked.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "catalogue/reply_ids.h"
#include "cmd/cmd.h"
#include "cmd/common.h"
#include "daemon/daemon.h"
#include "queue/recipients.h"
#include "server/server.h"
#include "smtp/address.h"

#include <stdio.h>

static const struct span no_key = { (const uint8_t *)"", 0 };

static void give(struct facts *f, enum fact_kind kind, const char *value)
{
	if (value)
		(void)facts_set(f, (struct fact_key){ kind, no_key }, FACT_ANSWER, span_str(value));
}

static void say_error(void *arg, const char *line)
{
	(void)arg;
	fprintf(stderr, "%s\n", line);
}

/* Where an alias leads to. */
static void show_expansion(
    const struct config *cfg, struct alias_files *aliases, struct span address)
{
	struct rcpt one = { .address = address };
	struct queue_recipients set;
	struct arena arena;
	struct span where;
	int r;

	arena_init(&arena, 4u << 20);
	queue_recipients_init(&set, cfg, aliases, &arena, SPAN_LIT("sender@invalid"));
	r = queue_recipients_add(&set, &one, &where);
	if (r < 0)
		printf("alias:  %s at %.*s\n", err_text(r), SPAN_FMT(where));
	for (struct queue_group *g = &set.first; r == 0 && g; g = g->next)
		for (size_t i = 0; i < g->count && g->rcpts[i].aliased; i++)
			printf("alias:  %s%s%.*s\n",
			    cmd_printable(arena_str(&arena, g->rcpts[i].address)),
			    g->owned ? ", from " : "",
			    SPAN_FMT(g->owned ? g->sender : span_of("", 0)));
	queue_recipients_done(&set);
	arena_done(&arena);
}

static int judge(
    const struct config *cfg, const char *to, const struct ip *client, struct facts *facts)
{
	struct server_lists lists;
	struct smtp_address address;
	struct server_case c;
	struct reply_args args = { 0 };
	struct reply_format format = { cfg->reply_style, cfg->help_url };
	struct arena arena;
	struct alias_files *aliases;
	struct buf trace, line;
	int reply, code;

	arena_init(&arena, 65536);
	if (server_lists_init(&lists, cfg) < 0 ||
	    smtp_mailbox_parse(
		span_str(to), SMTP_PATH_LENIENT | SMTP_PATH_POSTMASTER_OK, &arena, &address) < 0) {
		fprintf(stderr, "postern: \"%s\" is no address\n", to);
		arena_done(&arena);
		return CMD_USAGE;
	}
	if (daemon_aliases(cfg, NULL, &aliases, say_error, NULL) < 0) {
		arena_done(&arena);
		return 1;
	}
	c = (struct server_case){
		.cfg = cfg, .lists = &lists, .client = *client, .aliases = aliases
	};
	buf_init(&trace, 65536);
	buf_init(&line, 8192);
	reply = server_judge_recipient(&c, facts, address.address, &args, &trace);
	args.field[REPLY_FIELD_recipient] = address.address;
	code = catalogue_render(cfg->catalogue, reply, &format, &args, &line);
	printf("%.*s", SPAN_FMT(buf_span(&line)));
	printf("reply:  %s\nchecks: %s\n", catalogue_reply(cfg->catalogue, reply)->id,
	    cmd_printable(buf_cstr(&trace)));
	if (reply == REPLY_RCPT_OK)
		show_expansion(cfg, aliases, address.address);
	alias_files_free(&aliases);
	buf_done(&trace);
	buf_done(&line);
	arena_done(&arena);
	return code > 0 && code < 400 ? 0 : 1;
}

int cmd_try(int argc, char **argv)
{
	const char *config = NULL, *to = NULL, *client = "192.0.2.1", *user = NULL, *helo = NULL,
		   *from = NULL;
	const struct {
		const char *name;
		const char **value;
	} options[] = { { "--config", &config }, { "--to", &to }, { "--client", &client },
		{ "--user", &user }, { "--helo", &helo }, { "--from", &from } };
	struct config *cfg;
	struct facts facts;
	struct ip ip;
	int r;

	for (int i = 1; i < argc; i++) {
		bool known = false;
		for (size_t k = 0; k < sizeof(options) / sizeof(options[0]); k++)
			if (strcmp(argv[i], options[k].name) == 0 && i + 1 < argc) {
				*options[k].value = argv[++i];
				known = true;
				break;
			}
		if (!known)
			to = NULL, i = argc;
	}
	if (!to || ip_parse(span_str(client), &ip) < 0) {
		fprintf(stderr,
		    "usage: postern try [--config FILE] [--client IP] [--user NAME] [--helo NAME] "
		    "[--from ADDRESS] --to ADDRESS\n"
		    "  Without --client it is a stranger, 192.0.2.1.\n");
		return CMD_USAGE;
	}
	if (cmd_load_config(config, &cfg) < 0)
		return 1;
	facts_init(&facts, 65536);
	give(&facts, FACT_client_address, client);
	give(&facts, FACT_sasl_user, user);
	give(&facts, FACT_helo, helo);
	give(&facts, FACT_sender, from);
	r = judge(cfg, to, &ip, &facts);
	facts_done(&facts);
	config_unref(&cfg);
	return r;
}
