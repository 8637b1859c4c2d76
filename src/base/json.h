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

struct json_writer {
	struct buf *out;
	bool comma; /* the next value follows another */
};

/* Write into `out`, at its end.  No line end is added. */
void json_writer_init(struct json_writer *j, struct buf *out);

/* Containers; key is NULL inside an array and at the top. */
void json_put_object(struct json_writer *j, const char *key);
void json_put_object_end(struct json_writer *j);
void json_put_array(struct json_writer *j, const char *key);
void json_put_array_end(struct json_writer *j);

/* Values; key is NULL inside an array. */
void json_put_span(struct json_writer *j, const char *key, struct span value);
void json_put_str(struct json_writer *j, const char *key, const char *value);
void json_put_int(struct json_writer *j, const char *key, int64_t value);
void json_put_bool(struct json_writer *j, const char *key, bool value);
void json_put_null(struct json_writer *j, const char *key);

/* A number of seconds with three digits behind the point, from milliseconds. */
void json_put_ms(struct json_writer *j, const char *key, int64_t ms);

/* A value that is JSON already. */
void json_put_raw(struct json_writer *j, const char *key, struct span value);

#endif
