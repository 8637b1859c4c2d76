/*
 * tests/unit/smtp_talk.h - a server's part, spoken to the client machine by a test.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_TESTS_UNIT_SMTP_TALK_H
#define POSTERN_TESTS_UNIT_SMTP_TALK_H

#include "tests/unit/test.h"

#include "smtp/client.h"

static inline struct smtp_client *talk_new(const struct smtp_client_options *o)
{
	struct smtp_client *c;

	assert_int_equal(smtp_client_new(o, 0, &c), 0);
	return c;
}

/* The server says this; the step that follows. */
static inline int hear(struct smtp_client *c, const char *text)
{
	return smtp_client_feed(c, (const uint8_t *)text, strlen(text), 0);
}

/* The client wrote exactly this since the last time. */
static inline void wrote_is(struct smtp_client *c, const char *want)
{
	struct buf *out = smtp_client_output(c);

	assert_string_equal(buf_cstr(out), want);
	buf_consume(out, buf_len(out));
	smtp_client_sent(c, 0);
}

static inline void flush(struct smtp_client *c)
{
	struct buf *out = smtp_client_output(c);

	while (buf_len(out)) {
		buf_consume(out, buf_len(out));
		smtp_client_sent(c, 0);
	}
}

static inline void outcome_is(
    const struct smtp_outcome *o, enum cat_stage stage, int err, unsigned code, bool delivered)
{
	assert_true(o->is_set);
	assert_int_equal(o->stage, stage);
	assert_int_equal(o->err, err);
	assert_int_equal(o->reply.code, code);
	assert_int_equal(o->delivered, delivered);
}

#endif
