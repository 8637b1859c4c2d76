/*
 * base/json.h - writes JSON (RFC 8259) into a buffer.
 *
 * A writer knows where commas go and escapes what must be escaped.  Octets of
 * a peer need not be UTF-8: what is not becomes U+FFFD, so that every line
 * that we write can be read.  Errors stay in the buffer (`buf.failed`).
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_BASE_JSON_H
#define POSTERN_BASE_JSON_H

#include "base/buf.h"

struct json {
	struct buf *out;
	bool comma; /* the next value follows another */
};

/* Write into `out`, at its end.  No line end is added. */
void json_init(struct json *j, struct buf *out);

/* Containers; key is NULL inside an array and at the top. */
void json_object(struct json *j, const char *key);
void json_object_end(struct json *j);
void json_array(struct json *j, const char *key);
void json_array_end(struct json *j);

/* Values; key is NULL inside an array. */
void json_span(struct json *j, const char *key, struct span value);
void json_str(struct json *j, const char *key, const char *value);
void json_int(struct json *j, const char *key, int64_t value);
void json_bool(struct json *j, const char *key, bool value);
void json_null(struct json *j, const char *key);

/* A number of seconds with three digits behind the point, from milliseconds. */
void json_ms(struct json *j, const char *key, int64_t ms);

/* A value that is JSON already. */
void json_raw(struct json *j, const char *key, struct span value);

#endif
