/*
 * cmd/common.c - see cmd/common.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "cmd/common.h"
#include "base/err.h"
#include "policy/policy.h"
#include "yaml/yaml.h"

#include <stdio.h>
#include <stdlib.h>

#define DEFAULT_CONFIG "/etc/postern/postern.yaml"

/* Restriction lists name checks of policy/, which config/ does not know. */
static int check_restrictions(const char *file, const struct config *cfg)
{
	int bad = 0;

	for (size_t i = 0; cfg->recipient_restrictions[i]; i++) {
		struct policy_list list = { .count = 0 };
		const char *place = cfg->recipient_restriction_places[i];
		if (policy_list_add(&list, span_str(cfg->recipient_restrictions[i])) == 0)
			continue;
		fprintf(stderr, "%s: there is no restriction \"%s\"\n", place ? place : file,
		    cfg->recipient_restrictions[i]);
		bad++;
	}
	return bad;
}

int cmd_load_config(const char *file, struct config **cfg_r)
{
	struct yaml_errors errors;
	struct config *cfg = NULL;
	int r;

	if (!file)
		file = getenv("POSTERN_CONFIG");
	if (!file)
		file = DEFAULT_CONFIG;
	yaml_errors_init(&errors);
	r = config_load(file, &errors, &cfg);
	for (size_t i = 0; i < errors.kept; i++)
		fprintf(stderr, "%s\n", errors.line[i]);
	if (errors.count > errors.kept)
		fprintf(stderr, "%s: and %zu more errors\n", file, errors.count - errors.kept);
	if (r < 0 && !errors.count)
		fprintf(stderr, "%s: %s\n", file, err_text(r));
	yaml_errors_done(&errors);
	if (r == 0 && check_restrictions(file, cfg))
		r = -ERR_CONFIG;
	if (r < 0)
		config_unref(&cfg);
	else
		*cfg_r = cfg;
	return r;
}

int cmd_load_plain(const char *file, struct config **cfg_r)
{
	struct yaml_errors errors;
	int r;

	if (!file)
		file = getenv("POSTERN_CONFIG");
	if (!file)
		file = DEFAULT_CONFIG;
	yaml_errors_init(&errors);
	r = config_load_plain(file, &errors, cfg_r);
	for (size_t i = 0; i < errors.kept; i++)
		fprintf(stderr, "%s\n", errors.line[i]);
	if (r < 0 && !errors.count)
		fprintf(stderr, "%s: %s\n", file, err_text(r));
	yaml_errors_done(&errors);
	return r;
}

static char *next_buffer(size_t *n_r)
{
	static char room[4][2048];
	static unsigned turn;

	*n_r = sizeof(room[0]);
	return room[turn++ % 4];
}

const char *cmd_printable(const char *s)
{
	size_t n, at = 0;
	char *to = next_buffer(&n);

	for (; *s && at + 1 < n; s++) {
		unsigned char c = (unsigned char)*s;
		to[at++] = c == '\n' ? ' ' : c < 0x20 || c == 0x7f ? '?' : (char)c;
	}
	to[at] = '\0';
	return to;
}

const char *cmd_reply(const json_t *o)
{
	const char *enhanced = json_string_value(json_object_get(o, "enhanced"));
	const char *text = json_string_value(json_object_get(o, "text"));
	long long code = json_integer_value(json_object_get(o, "code"));
	size_t n;
	char *to = next_buffer(&n);
	int at = 0;

	if (code)
		at += snprintf(to, n, "%lld ", code);
	if (enhanced)
		at += snprintf(to + at, n - (size_t)at, "%s ", enhanced);
	snprintf(to + at, n - (size_t)at, "%.1500s", cmd_printable(text ? text : ""));
	return to;
}
