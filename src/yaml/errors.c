/*
 * yaml/errors.c - the list of errors of a read.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "yaml/yaml.h"

#include <stdarg.h>
#include <stdio.h>

/* Each line is cut at ERROR_OCTETS_MAX, so the arena never fills before the list does. */
#define ERROR_OCTETS_MAX 1024

void yaml_errors_init(struct yaml_errors *e)
{
	*e = (struct yaml_errors){ .kept = 0 };
	arena_init(&e->memory, (size_t)YAML_ERRORS_MAX * ERROR_OCTETS_MAX * 2);
}

void yaml_errors_done(struct yaml_errors *e)
{
	arena_done(&e->memory);
	e->kept = e->count = 0;
}

__attribute__((format(printf, 5, 0))) static void file_error(struct yaml_errors *e,
    const char *file, unsigned line, const char *key, const char *fmt, va_list ap)
{
	char text[ERROR_OCTETS_MAX];
	const char *made;
	int n;

	e->count++;
	if (e->kept == YAML_ERRORS_MAX)
		return;
	if (line > 0)
		n = snprintf(text, sizeof(text), "%s:%u: %s%s", file, line, key ? key : "",
		    key && *key ? ": " : "");
	else
		n = snprintf(
		    text, sizeof(text), "%s: %s%s", file, key ? key : "", key && *key ? ": " : "");
	if (n >= 0 && (size_t)n < sizeof(text))
		vsnprintf(text + n, sizeof(text) - (size_t)n, fmt, ap);
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	made = arena_str(&e->memory, span_str(text));
	if (made)
		e->line[e->kept++] = made;
}

void yaml_error(struct yaml_errors *e, const struct yaml_node *at, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	file_error(e, at->file, at->line, at->path, fmt, ap);
	va_end(ap);
}

void yaml_error_at(
    struct yaml_errors *e, const char *file, unsigned line, const char *key, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	file_error(e, file, line, key, fmt, ap);
	va_end(ap);
}
