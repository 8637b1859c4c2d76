/*
 * base/json.c - see base/json.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/json.h"
#include "base/utf8.h"

void json_writer_init(struct json_writer *j, struct buf *out)
{
	*j = (struct json_writer){ .out = out };
}

static void quoted(struct buf *out, struct span s)
{
	size_t plain = 0; /* start of octets that go out as they are */
	size_t i = 0;

	buf_add_char(out, '"');
	while (i < s.n) {
		uint8_t c = s.p[i];
		size_t len = 1;
		if (c >= 0x80) {
			len = utf8_char_octets(span_skip(s, i));
			if (len > 0) {
				i += len;
				continue;
			}
		} else if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
			i++;
			continue;
		}
		buf_add(out, s.p + plain, i - plain);
		if (c >= 0x80)
			buf_add_str(out, "\xef\xbf\xbd");
		else if (c == '"' || c == '\\')
			buf_addf(out, "\\%c", c);
		else if (c == '\n')
			buf_add_str(out, "\\n");
		else if (c == '\r')
			buf_add_str(out, "\\r");
		else if (c == '\t')
			buf_add_str(out, "\\t");
		else
			buf_addf(out, "\\u%04x", c);
		plain = ++i;
	}
	if (s.n > plain)
		buf_add(out, s.p + plain, s.n - plain);
	buf_add_char(out, '"');
}

static void lead(struct json_writer *j, const char *key)
{
	if (j->comma)
		buf_add_char(j->out, ',');
	j->comma = true;
	if (key) {
		quoted(j->out, span_str(key));
		buf_add_char(j->out, ':');
	}
}

void json_put_object(struct json_writer *j, const char *key)
{
	lead(j, key);
	buf_add_char(j->out, '{');
	j->comma = false;
}

void json_put_object_end(struct json_writer *j)
{
	buf_add_char(j->out, '}');
	j->comma = true;
}

void json_put_array(struct json_writer *j, const char *key)
{
	lead(j, key);
	buf_add_char(j->out, '[');
	j->comma = false;
}

void json_put_array_end(struct json_writer *j)
{
	buf_add_char(j->out, ']');
	j->comma = true;
}

void json_put_span(struct json_writer *j, const char *key, struct span value)
{
	lead(j, key);
	quoted(j->out, value);
}

void json_put_str(struct json_writer *j, const char *key, const char *value)
{
	json_put_span(j, key, span_str(value));
}

void json_put_int(struct json_writer *j, const char *key, int64_t value)
{
	lead(j, key);
	buf_addf(j->out, "%lld", (long long)value);
}

void json_put_bool(struct json_writer *j, const char *key, bool value)
{
	lead(j, key);
	buf_add_str(j->out, value ? "true" : "false");
}

void json_put_null(struct json_writer *j, const char *key)
{
	lead(j, key);
	buf_add_str(j->out, "null");
}

void json_put_ms(struct json_writer *j, const char *key, int64_t ms)
{
	lead(j, key);
	buf_addf(j->out, "%s%lld.%03lld", ms < 0 ? "-" : "", (long long)(ms < 0 ? -ms : ms) / 1000,
	    (long long)(ms < 0 ? -ms : ms) % 1000);
}

void json_put_raw(struct json_writer *j, const char *key, struct span value)
{
	lead(j, key);
	buf_add_span(j->out, value);
}
