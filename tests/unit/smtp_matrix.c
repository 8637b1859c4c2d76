/*
 * tests/unit/smtp_matrix.c - every command in every state, with each extension on and off.
 *
 * The expectations are in smtp_matrix.def, written from RFC 5321 and Postfix's smtpd and
 * not from our table of commands.  With --page the same rows are printed as the page of the
 * reference.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "catalogue/reply_ids.h"
#include "smtp/server-private.h"
#include "tests/unit/smtp_host.h"

#include <stdio.h>
#include <stdlib.h>

#define COUNT(rows) (sizeof(rows) / sizeof(*(rows)))

enum { DENIED, START, READY, TLS, MAIL, RCPT, BDAT, AUTH, WAYS };

/* What brings a session into each state that reads lines. */
static const struct {
	const char *name;
	enum smtp_server_state state;
	bool tls;
	unsigned needs; /* extensions */
	const char *in;
} ways[WAYS] = {
	{ "DENIED", SMTP_ST_DENIED, false, 0, "" },
	{ "START", SMTP_ST_START, false, 0, "" },
	{ "READY", SMTP_ST_READY, false, 0, "EHLO x\r\n" },
	{ "READY under TLS", SMTP_ST_READY, true, 0, "EHLO x\r\n" },
	{ "MAIL", SMTP_ST_MAIL, false, 0, "EHLO x\r\nMAIL FROM:<a@b>\r\n" },
	{ "RCPT", SMTP_ST_RCPT, false, 0, "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n" },
	{ "BDAT", SMTP_ST_BDAT, false, SMTP_EXT_CHUNKING,
	    "EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nBDAT 1\r\nx" },
	{ "AUTH", SMTP_ST_AUTH, true, SMTP_EXT_AUTH, "EHLO x\r\nAUTH PLAIN\r\n" },
};

static const struct row {
	const char *line;
	unsigned extension; /* 0: none */
	const char *extension_name, *absent;
	const char *replies[WAYS];
	const char *after;
} rows[] = {
#define SMTP_EXT_0 0
#define ROW(line, ext, absent, denied, start, ready, tls, mail, rcpt, bdat, auth, after)           \
	{ line, SMTP_EXT_##ext, #ext, #absent,                                                     \
		{ #denied, #start, #ready, #tls, #mail, #rcpt, #bdat, #auth }, after },
#include "tests/unit/smtp_matrix.def"
#undef ROW
};

#define EXTENSIONS 16

static const struct cat_reply *reply_by_id(const char *id)
{
	const struct cat_reply *row;

	for (int i = 0; (row = catalogue_reply(catalogue_builtin(), i)); i++)
		if (strcmp(row->id, id) == 0)
			return row;
	fprintf(stderr, "no reply %s\n", id);
	abort();
}

static enum smtp_server_state state_after(char letter, size_t way)
{
	/* clang-format off */
	switch (letter) {
	case 'S': return SMTP_ST_START;
	case 'R': return SMTP_ST_READY;
	case 'M': return SMTP_ST_MAIL;
	case 'T': return SMTP_ST_RCPT;
	case 'B': return SMTP_ST_BDAT;
	case 'A': return SMTP_ST_BODY;
	case 'H': return SMTP_ST_AUTH;
	case 'X': return SMTP_ST_CLOSED;
	default: return ways[way].state;
	}
	/* clang-format on */
}

static bool bring(struct smtp_host *h, size_t way, unsigned extensions)
{
	struct smtp_server_options o;

	smtp_server_options_init(&o, catalogue_builtin(), "mx.example.org");
	o.extensions = extensions;
	o.auth_mechanisms = "PLAIN LOGIN";
	o.helo_required = true;
	o.tls = ways[way].tls;
	smtp_host_init(h, &o);
	if (way == DENIED)
		h->answers[SMTP_STEP_CONNECT] = REPLY_CLIENT_ACCESS_DENIED;
	smtp_host_say(h, ways[way].in);
	smtp_host_say(h, "");
	smtp_host_forget(h);
	return h->server->state == ways[way].state;
}

/* One command in one state with the extensions that are on; prints what is wrong. */
static bool play(const struct row *row, size_t way, unsigned extensions)
{
	/* BINARYMIME cannot be had without CHUNKING */
	unsigned needed = row->extension == SMTP_EXT_BINARYMIME
	    ? SMTP_EXT_BINARYMIME | SMTP_EXT_CHUNKING
	    : row->extension;
	bool off = needed & ~extensions, ok;
	const char *id = row->replies[way];
	enum smtp_server_state after = state_after(row->after[way], way);
	struct smtp_host h;

	ok = bring(&h, way, extensions);
	if (!ok)
		printf("# %s cannot be reached\n", ways[way].name);
	/* A command of an extension that is off is refused as such in every state that has been
	 * greeted, but for the parameters of MAIL and RCPT, to which the state comes first. */
	if (off && way >= START && way != AUTH) {
		bool parameter =
		    strncmp(row->line, "MAIL", 4) == 0 || strncmp(row->line, "RCPT", 4) == 0;
		bool form = strcmp(row->absent, "bad_syntax") == 0;
		bool valid = strcmp(id, "mail_ok") == 0 || strcmp(id, "rcpt_ok") == 0 ||
		    strcmp(id, "auth_first") == 0;
		if (strcmp(id, "tls_already_active") != 0 &&
		    (form || strcmp(id, "helo_first") != 0) && (!parameter || form || valid)) {
			id = row->absent;
			after = strstr(id, "_closing") ? SMTP_ST_CLOSED : ways[way].state;
		}
	}
	if (off && way == DENIED && strcmp(row->absent, "bad_syntax") == 0)
		id = row->absent;
	smtp_host_say(&h, row->line);
	smtp_host_say(&h, "\r\n");
	if (ok && !smtp_host_said(&h, reply_by_id(id))) {
		printf("# \"%s\" in %s, extensions %#x: %s instead of %s\n", row->line,
		    ways[way].name, extensions, smtp_host_output(&h), id);
		ok = false;
	}
	if (ok && h.server->state != after) {
		printf("# \"%s\" in %s, extensions %#x: state %d\n", row->line, ways[way].name,
		    extensions, h.server->state);
		ok = false;
	}
	smtp_host_done(&h);
	return ok;
}

static bool play_row(const struct row *row)
{
	bool ok = true;

	for (int bit = -1; bit < EXTENSIONS; bit++) {
		unsigned extensions = (1u << EXTENSIONS) - 1;
		if (bit >= 0)
			extensions &= ~(1u << bit);
		for (size_t way = 0; way < WAYS; way++)
			if (!(ways[way].needs & ~extensions))
				ok &= play(row, way, extensions);
	}
	return ok;
}

static bool has_every_verb(void)
{
	bool all = true;

	for (size_t i = 0; i < smtp_command_count; i++) {
		const char *verb = smtp_commands[i].verb;
		bool found = false;
		for (size_t j = 0; j < COUNT(rows); j++)
			found |= strncmp(rows[j].line, verb, strlen(verb)) == 0;
		if (!found)
			printf("# %s is not in the matrix\n", verb);
		all &= found;
	}
	return all;
}

static void print_text(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s > 126)
			printf("\\x%02x", (unsigned char)*s);
		else
			putchar(*s);
}

static void print_page(void)
{
	printf(
	    "<!-- Generated by tests/unit/smtp_matrix.c from tests/unit/smtp_matrix.def -->\n"
	    "# Every command in every state\n\n"
	    "What the server answers to a command when the host has nothing against it, by reply "
	    "id.\nTests play each row in each state with every extension on, and again with each "
	    "one "
	    "off.\nWhere a row names an extension and that is off, the command earns the reply in "
	    "the column\n`off` from START on (parameters of MAIL and RCPT only where the command "
	    "itself is in order).\n\n| command | extension | off |");
	for (size_t way = 0; way < WAYS; way++)
		printf(" %s |", ways[way].name);
	printf("\n|---|---|---|");
	for (size_t way = 0; way < WAYS; way++)
		printf("---|");
	for (size_t i = 0; i < COUNT(rows); i++) {
		printf("\n| `");
		print_text(rows[i].line[0] ? rows[i].line : " ");
		if (rows[i].extension)
			printf("` | %s | [%s](replies.md#%s) |", rows[i].extension_name,
			    rows[i].absent, rows[i].absent);
		else
			printf("` | | |");
		for (size_t way = 0; way < WAYS; way++)
			printf(
			    " [%s](replies.md#%s) |", rows[i].replies[way], rows[i].replies[way]);
	}
	printf("\n");
}

int main(int argc, char **argv)
{
	bool all = true;

	if (argc == 2 && strcmp(argv[1], "--page") == 0) {
		print_page();
		return 0;
	}
	for (size_t i = 0; i < COUNT(rows); i++) {
		bool ok = play_row(&rows[i]);
		printf("%sok %zu - ", ok ? "" : "not ", i + 1);
		print_text(rows[i].line);
		printf(" in every state\n");
		all &= ok;
	}
	printf("%sok %zu - every verb of the table is in the matrix\n",
	    has_every_verb() ? "" : "not ", COUNT(rows) + 1);
	printf("1..%zu\n", COUNT(rows) + 1);
	return all && has_every_verb() ? 0 : 1;
}
