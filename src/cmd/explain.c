/*
 * cmd/explain.c - postern explain [--json] [--catalogue DIR] WORDS...
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "catalogue/explain.h"
#include "cmd/cmd.h"
#include "yaml/yaml.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#define OUTPUT_OCTETS_MAX (16u << 20)

static int usage(FILE *to)
{
	fprintf(to,
	    "usage: postern explain [--json] [--catalogue DIR] CODE | ID | REPLY...\n"
	    "\n"
	    "  postern explain 550              a reply code\n"
	    "  postern explain 5.7.1            an enhanced status code\n"
	    "  postern explain POL-T1           a policy code\n"
	    "  postern explain 3001             a failure code\n"
	    "  postern explain rcpt_unknown     the id of a reply\n"
	    "  postern explain '550 5.1.1 ...'  a whole reply, or a log line with one\n"
	    "  postern explain -                the same from standard input\n"
	    "\n"
	    "  --json             one JSON object\n"
	    "  --catalogue DIR    with the rows of an operator's directory\n"
	    "\n"
	    "Exit code 0: known; 1: not known; 2: usage.\n");
	return CMD_USAGE;
}

static void read_stdin(struct buf *input)
{
	char chunk[4096];
	size_t n;

	while (
	    buf_len(input) < EXPLAIN_INPUT_MAX && (n = fread(chunk, 1, sizeof(chunk), stdin)) > 0)
		buf_add(input, chunk, n);
}

static int load(const char *dir, const struct catalogue **cat_r)
{
	struct yaml_errors errors;
	int r;

	yaml_errors_init(&errors);
	r = catalogue_load(dir, &errors, cat_r);
	for (size_t i = 0; i < errors.kept; i++)
		fprintf(stderr, "%s\n", errors.line[i]);
	if (r < 0 && errors.count == 0)
		fprintf(stderr, "postern explain: \"%s\": %s\n", dir, err_text(r));
	yaml_errors_done(&errors);
	return r;
}

static int run(const struct catalogue *cat, struct span words, bool json)
{
	struct arena arena;
	struct explain x;
	struct buf out;
	int known;

	arena_init(&arena, 1 << 20);
	buf_init(&out, OUTPUT_OCTETS_MAX);
	known = explain(cat, words, &arena, &x);
	if (known >= 0) {
		if (json) {
			explain_json(cat, &x, &out);
			buf_add_char(&out, '\n');
		} else {
			explain_text(cat, &x, &out);
		}
	}
	if (known < 0 || out.failed) {
		fprintf(stderr, "postern explain: %s\n", err_text(ERR_NOMEM));
		known = 0;
	} else {
		fwrite(buf_span(&out).p, 1, buf_len(&out), known || json ? stdout : stderr);
	}
	buf_done(&out);
	arena_done(&arena);
	return known > 0 ? 0 : 1;
}

int cmd_explain(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
		{ "catalogue", required_argument, NULL, 'c' }, { "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 } };
	const struct catalogue *cat = catalogue_builtin();
	const char *dir = NULL;
	bool json = false;
	struct buf words;
	int option, r;

	optind = 1;
	/* "+": what follows the first word is the reply, whatever it looks like. */
	while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		if (option == 'j')
			json = true;
		else if (option == 'c')
			dir = optarg;
		else if (option == 'h')
			return usage(stdout), 0;
		else
			return usage(stderr);
	}
	if (optind == argc)
		return usage(stderr);
	if (dir && load(dir, &cat) < 0)
		return 1;
	buf_init(&words, EXPLAIN_INPUT_MAX * 2);
	if (optind + 1 == argc && strcmp(argv[optind], "-") == 0)
		read_stdin(&words);
	else
		for (int i = optind; i < argc; i++) {
			if (i > optind)
				buf_add_char(&words, ' ');
			buf_add_str(&words, argv[i]);
		}
	r = run(cat, buf_span(&words), json);
	buf_done(&words);
	if (dir)
		catalogue_unref(&cat);
	return r;
}
