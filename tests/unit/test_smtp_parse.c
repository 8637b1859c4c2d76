/*
 * tests/unit/test_smtp_parse.c - addresses, xtext, parameters and replies of src/smtp.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/buf.h"
#include "base/err.h"
#include "catalogue/reply_ids.h"
#include "smtp/address.h"
#include "smtp/params.h"
#include "smtp/reply.h"
#include "smtp/server.h"
#include "tests/unit/guard.h"

#define COUNT(rows) (sizeof(rows) / sizeof(*(rows)))
#define STRICT      (SMTP_PATH_NULL_OK | SMTP_PATH_POSTMASTER_OK)
#define LENIENT     (STRICT | SMTP_PATH_LENIENT)

static void assert_span(struct span s, const char *text)
{
	assert_int_equal(s.n, strlen(text));
	if (s.n)
		assert_memory_equal(s.p, text, s.n);
}

static void assert_enhanced(struct enhanced_status is, struct enhanced_status want)
{
	assert_int_equal(is.class_, want.class_);
	assert_int_equal(is.subject, want.subject);
	assert_int_equal(is.detail, want.detail);
}

static void paths_are_read_into_their_shortest_form(void **state)
{
	static const struct {
		const char *name, *in;
		unsigned flags;
		int rc;
		const char *address, *local, *domain;
		size_t used;
	} rows[] = {
		{ "plain", "<a@b.example>", STRICT, 0, "a@b.example", "a", "b.example", 13 },
		{ "null", "<>", STRICT, 0, "", "", "", 2 },
		{ "null where none may be", "<>", 0, -ERR_SYNTAX },
		{ "null, lenient, none may be", "<>", SMTP_PATH_LENIENT, -ERR_SYNTAX },
		{ "parameters follow", "<a@b> SIZE=3", STRICT, 0, "a@b", "a", "b", 5 },
		{ "quotes not needed", "<\"a.b\"@c>", STRICT, 0, "a.b@c", "a.b", "c", 9 },
		{ "quotes needed", "<\"a b\"@c>", STRICT, 0, "\"a b\"@c", "\"a b\"", "c", 9 },
		{ "quoted @ and >", "<\"a@>b\"@c>", STRICT, 0, "\"a@>b\"@c", "\"a@>b\"", "c", 10 },
		{ "backslash not needed", "<\"a\\bc\"@d>", STRICT, 0, "abc@d", "abc", "d", 10 },
		{ "backslash needed", "<\"a\\\"b\"@d>", STRICT, 0, "\"a\\\"b\"@d", "\"a\\\"b\"",
		    "d", 10 },
		{ "empty quoted local part", "<\"\"@d>", STRICT, 0, "\"\"@d", "\"\"", "d", 6 },
		{ "source route", "<@x.y,@z:a@b>", STRICT, 0, "a@b", "a", "b", 13 },
		{ "broken route", "<@x.y,z:a@b>", STRICT, -ERR_SYNTAX },
		{ "route without mailbox", "<@x.y:>", STRICT, -ERR_SYNTAX },
		{ "dot behind domain", "<a@b.c.>", STRICT, 0, "a@b.c", "a", "b.c", 8 },
		{ "two dots behind domain", "<a@b.c..>", STRICT, -ERR_SYNTAX },
		{ "literal", "<a@[192.0.2.1]>", STRICT, 0, "a@[192.0.2.1]", "a", "[192.0.2.1]",
		    15 },
		{ "literal v6", "<a@[IPv6:2001:db8::1]>", STRICT, 0, "a@[IPv6:2001:db8::1]", "a",
		    "[IPv6:2001:db8::1]", 22 },
		{ "literal v6 without tag", "<a@[2001:db8::1]>", STRICT, -ERR_SYNTAX },
		{ "v4 with the tag of v6", "<a@[IPv6:192.0.2.1]>", STRICT, -ERR_SYNTAX },
		{ "literal that is none", "<a@[300.0.0.1]>", STRICT, -ERR_SYNTAX },
		{ "open literal", "<a@[192.0.2.1>", STRICT, -ERR_SYNTAX },
		{ "address without brackets", "<a@192.0.2.1>", STRICT, -ERR_SYNTAX },
		{ "underscore", "<a@b_c.example>", STRICT, 0, "a@b_c.example", "a", "b_c.example",
		    15 },
		{ "hyphen first", "<a@-b.example>", STRICT, -ERR_SYNTAX },
		{ "hyphen last", "<a@b-.example>", STRICT, -ERR_SYNTAX },
		{ "empty label", "<a@b..c>", STRICT, -ERR_SYNTAX },
		{ "no domain", "<a@>", STRICT, -ERR_SYNTAX },
		{ "no local part", "<@b>", STRICT, -ERR_SYNTAX },
		{ "no @", "<foo>", STRICT, -ERR_SYNTAX },
		{ "no @, lenient", "<foo>", LENIENT, 0, "foo", "foo", "", 5 },
		{ "postmaster", "<PostMaster>", STRICT, 0, "PostMaster", "PostMaster", "", 12 },
		{ "postmaster not wanted", "<postmaster>", SMTP_PATH_NULL_OK, -ERR_SYNTAX },
		{ "no brackets", "a@b", STRICT, -ERR_SYNTAX },
		{ "no brackets, lenient", "a@b SIZE=1", LENIENT, 0, "a@b", "a", "b", 3 },
		{ "open bracket", "<a@b", STRICT, -ERR_SYNTAX },
		{ "open bracket, lenient", "<a@b", LENIENT, -ERR_SYNTAX },
		{ "blank within", "<a b@c>", STRICT, -ERR_SYNTAX },
		{ "blank in front", "< a@c>", STRICT, -ERR_SYNTAX },
		{ "dots in a row", "<a..b@c>", STRICT, -ERR_SYNTAX },
		{ "dots in a row, lenient", "<a..b@c>", LENIENT, 0, "\"a..b\"@c", "\"a..b\"", "c",
		    8 },
		{ "dot first, lenient", "<.a@c>", LENIENT, 0, "\".a\"@c", "\".a\"", "c", 6 },
		{ "dot last", "<a.@c>", STRICT, -ERR_SYNTAX },
		{ "every atext", "<!#$%&'*+-/=?^_`{|}~@c>", STRICT, 0, "!#$%&'*+-/=?^_`{|}~@c",
		    "!#$%&'*+-/=?^_`{|}~", "c", 23 },
		{ "comma", "<a,b@c>", STRICT, -ERR_SYNTAX },
		{ "octets above ASCII", "<\303\244@c>", STRICT, -ERR_SYNTAX },
		{ "UTF-8", "<\303\244@\303\266.example>", STRICT | SMTP_PATH_UTF8, 0,
		    "\303\244@\303\266.example", "\303\244", "\303\266.example", 15 },
		{ "no UTF-8", "<\344@c>", STRICT | SMTP_PATH_UTF8, -ERR_SYNTAX },
		{ "no UTF-8 in quotes", "<\"\344\"@c>", STRICT | SMTP_PATH_UTF8, -ERR_SYNTAX },
		{ "open quotes", "<\"a@c>", LENIENT, -ERR_SYNTAX },
		{ "backslash at the end", "<\"a\\", LENIENT, -ERR_SYNTAX },
		{ "nothing", "", LENIENT, -ERR_SYNTAX },
		{ "all digits last", "<a@b.123>", STRICT, -ERR_SYNTAX },
		{ "digits with a letter last", "<a@b.1x3>", STRICT, 0, "a@b.1x3", "a", "b.1x3", 9 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct arena arena;
		struct guard g;
		struct smtp_address a;
		struct span in = guard_copy(&g, span_str(rows[i].in));
		size_t used = 0;
		int rc;

		arena_init(&arena, 65536);
		rc = smtp_path_parse(in, rows[i].flags, &arena, &a, &used);
		if (rc != rows[i].rc)
			fail_msg("%s: %d instead of %d", rows[i].name, rc, rows[i].rc);
		if (rc == 0) {
			assert_span(a.address, rows[i].address);
			assert_span(a.local, rows[i].local);
			assert_span(a.domain, rows[i].domain);
			if (used != rows[i].used)
				fail_msg("%s: used %zu", rows[i].name, used);
		}
		for (size_t n = 0; n < in.n; n++) { /* no prefix reads over its end */
			struct guard h;
			struct span part = guard_copy(&h, span_of(in.p, n));
			smtp_path_parse(part, rows[i].flags, &arena, &a, &used);
			guard_free(&h);
		}
		arena_done(&arena);
		guard_free(&g);
	}
}

/* local@domain of these lengths, labels of at most 63 octets */
static size_t long_path(char *to, size_t local, size_t domain)
{
	size_t n = 0;

	to[n++] = '<';
	memset(to + n, 'l', local);
	n += local;
	to[n++] = '@';
	for (size_t i = 0; i < domain; i++)
		to[n++] = i % 64 == 63 ? '.' : 'd';
	to[n++] = '>';
	return n;
}

static void long_addresses_are_refused_where_rfc_5321_says(void **state)
{
	static const struct {
		size_t local, domain;
		unsigned flags;
		int rc;
	} rows[] = {
		{ 64, 189, STRICT, 0 }, /* 256 with the brackets */
		{ 64, 190, STRICT, -ERR_RANGE },
		{ 65, 10, STRICT, -ERR_RANGE },
		{ 65, 10, LENIENT, 0 },
		{ 1, 255, LENIENT, 0 },
		{ 1, 257, LENIENT, -ERR_RANGE },
		{ 889, 10, LENIENT, 0 },
		{ 890, 10, LENIENT, -ERR_RANGE },
	};
	char path[2048];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct arena arena;
		struct smtp_address a;
		size_t used, n = long_path(path, rows[i].local, rows[i].domain);
		int rc;

		arena_init(&arena, 65536);
		rc = smtp_path_parse(span_of(path, n), rows[i].flags, &arena, &a, &used);
		if (rc != rows[i].rc)
			fail_msg("row %zu: %d", i, rc);
		arena_done(&arena);
	}
}

static void a_path_parse_without_memory_says_so(void **state)
{
	struct arena none;
	struct smtp_address a = { .domain = SPAN_LIT("as it was") };
	size_t used;

	(void)state;
	arena_init(&none, 0);
	assert_int_equal(smtp_path_parse(SPAN_LIT("<a@b>"), STRICT, &none, &a, &used), -ERR_NOMEM);
	assert_span(a.domain, "as it was");
}

static void a_mailbox_must_fill_its_span(void **state)
{
	struct arena arena;
	struct smtp_address a;

	(void)state;
	arena_init(&arena, 65536);
	assert_int_equal(smtp_mailbox_parse(SPAN_LIT("user@example.org"), 0, &arena, &a), 0);
	assert_span(a.domain, "example.org");
	assert_int_equal(
	    smtp_mailbox_parse(SPAN_LIT("user@example.org "), 0, &arena, &a), -ERR_SYNTAX);
	assert_int_equal(
	    smtp_mailbox_parse(SPAN_LIT("<user@example.org>"), 0, &arena, &a), -ERR_SYNTAX);
	assert_int_equal(smtp_mailbox_parse(SPAN_LIT("user"), 0, &arena, &a), -ERR_SYNTAX);
	arena_done(&arena);
}

static void xtext_goes_there_and_back(void **state)
{
	static const struct {
		const char *xtext;
		int rc;
		const char *plain;
	} rows[] = {
		{ "", 0, "" },
		{ "abc", 0, "abc" },
		{ "a+2Bb+3Dc", 0, "a+b=c" },
		{ "a+2bb", 0, "a+b" },
		{ "+", -ERR_SYNTAX, NULL },
		{ "+4", -ERR_SYNTAX, NULL },
		{ "+4G", -ERR_SYNTAX, NULL },
		{ "a b", -ERR_SYNTAX, NULL },
		{ "a\303", -ERR_SYNTAX, NULL },
	};
	struct arena arena;
	struct buf out;
	struct span back;
	uint8_t all[256];

	(void)state;
	arena_init(&arena, 65536);
	buf_init(&out, 4096);
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct guard g;
		struct span plain, in = guard_copy(&g, span_str(rows[i].xtext));
		assert_int_equal(smtp_xtext_decode(in, &arena, &plain), rows[i].rc);
		if (rows[i].rc == 0)
			assert_span(plain, rows[i].plain);
		guard_free(&g);
	}
	for (size_t i = 0; i < 256; i++)
		all[i] = (uint8_t)i;
	assert_int_equal(smtp_xtext_encode(span_of(all, 256), &out), 0);
	assert_int_equal(smtp_xtext_decode(buf_span(&out), &arena, &back), 0);
	assert_int_equal(back.n, 256);
	assert_memory_equal(back.p, all, 256);
	buf_done(&out);
	arena_done(&arena);
}

static void parameters_each_have_their_own_refusal(void **state)
{
	const enum smtp_params_verb MAIL = SMTP_PARAMS_MAIL, RCPT = SMTP_PARAMS_RCPT;
	enum { DSN = SMTP_EXT_DSN };
	const struct {
		const char *in;
		enum smtp_params_verb verb;
		unsigned extensions;
		int reply; /* -1: fine */
		const char *bad;
	} rows[] = {
		{ "", MAIL, DSN, -1, NULL },
		{ " \t ", MAIL, DSN, -1, NULL },
		{ " SIZE=1000 BODY=8BITMIME RET=HDRS ENVID=a+2Bb", MAIL, DSN, -1, NULL },
		{ " size=9223372036854775807", MAIL, DSN, -1, NULL },
		{ " SIZE=9223372036854775808", MAIL, DSN, REPLY_SIZE_LIMIT,
		    "SIZE=9223372036854775808" },
		{ " SIZE=", MAIL, DSN, REPLY_BAD_SIZE, "SIZE=" },
		{ " SIZE=-1", MAIL, DSN, REPLY_BAD_SIZE, "SIZE=-1" },
		{ " SIZE=1 SIZE=1", MAIL, DSN, REPLY_BAD_SIZE, "SIZE=1" },
		{ " SIZE", MAIL, DSN, REPLY_UNSUPPORTED_OPTION, "SIZE" },
		{ " BODY=7bit", MAIL, DSN, -1, NULL },
		{ " BODY=BINARYMIME", MAIL, DSN, REPLY_UNSUPPORTED_OPTION, "BODY=BINARYMIME" },
		{ " RET=FULL", MAIL, 0, REPLY_DSN_DISABLED, "RET=FULL" },
		{ " RET=full", MAIL, DSN, -1, NULL },
		{ " RET=SOME", MAIL, DSN, REPLY_BAD_RET, "RET=SOME" },
		{ " RET=FULL RET=FULL", MAIL, DSN, REPLY_BAD_RET, "RET=FULL" },
		{ " ENVID=+", MAIL, DSN, REPLY_BAD_ENVID, "ENVID=+" },
		{ " ENVID=a+0D+0ABcc:x", MAIL, DSN, REPLY_BAD_ENVID, "ENVID=a+0D+0ABcc:x" },
		{ " ENVID=a ENVID=b", MAIL, DSN, REPLY_BAD_ENVID, "ENVID=b" },
		{ " NOTIFY=NEVER", MAIL, DSN, REPLY_UNSUPPORTED_OPTION, "NOTIFY=NEVER" },
		{ " AUTH=<>", MAIL, DSN, REPLY_UNSUPPORTED_OPTION, "AUTH=<>" },
		{ " SMTPUTF8", MAIL, DSN, REPLY_UNSUPPORTED_OPTION, "SMTPUTF8" },
		{ " =", MAIL, DSN, REPLY_UNSUPPORTED_OPTION, "=" },
		{ " NOTIFY=success,Delay,FAILURE", RCPT, DSN, -1, NULL },
		{ " NOTIFY=NEVER", RCPT, DSN, -1, NULL },
		{ " NOTIFY=NEVER,DELAY", RCPT, DSN, REPLY_BAD_NOTIFY, "NOTIFY=NEVER,DELAY" },
		{ " NOTIFY=", RCPT, DSN, REPLY_BAD_NOTIFY, "NOTIFY=" },
		{ " NOTIFY=DELAY,", RCPT, DSN, REPLY_BAD_NOTIFY, "NOTIFY=DELAY," },
		{ " NOTIFY=DELAY NOTIFY=DELAY", RCPT, DSN, REPLY_BAD_NOTIFY, "NOTIFY=DELAY" },
		{ " NOTIFY=DELAY", RCPT, 0, REPLY_DSN_DISABLED, "NOTIFY=DELAY" },
		{ " ORCPT=rfc822;a@b", RCPT, DSN, -1, NULL },
		{ " ORCPT=rfc822;k+C3+A4the@b", RCPT, DSN, -1, NULL },
		{ " ORCPT=rfc822;k+C3the@b", RCPT, DSN, REPLY_BAD_ORCPT, "ORCPT=rfc822;k+C3the@b" },
		{ " ORCPT=rfc822;", RCPT, DSN, REPLY_BAD_ORCPT, "ORCPT=rfc822;" },
		{ " ORCPT=;a@b", RCPT, DSN, REPLY_BAD_ORCPT, "ORCPT=;a@b" },
		{ " ORCPT=a@b", RCPT, DSN, REPLY_BAD_ORCPT, "ORCPT=a@b" },
		{ " ORCPT=rf c;a@b", RCPT, DSN, REPLY_BAD_ORCPT, "ORCPT=rf" },
		{ " ORCPT=rfc822;a+0Ab", RCPT, DSN, REPLY_BAD_ORCPT, "ORCPT=rfc822;a+0Ab" },
		{ " ORCPT="
		  "utf-8;a\\x{E9}\\x{1F4EC}@b",
		    RCPT, DSN, -1, NULL },
		{ " ORCPT="
		  "utf-8;a\xc3\xa9@b",
		    RCPT, DSN, -1, NULL },
		{ " ORCPT="
		  "utf-8;\\x{D800}@b",
		    RCPT, DSN, REPLY_BAD_ORCPT,
		    "ORCPT="
		    "utf-8;\\x{D800}@b" },
		{ " ORCPT="
		  "utf-8;\\x{110000}@b",
		    RCPT, DSN, REPLY_BAD_ORCPT,
		    "ORCPT="
		    "utf-8;\\x{110000}@b" },
		{ " ORCPT="
		  "utf-8;\\x{}@b",
		    RCPT, DSN, REPLY_BAD_ORCPT,
		    "ORCPT="
		    "utf-8;\\x{}@b" },
		{ " ORCPT="
		  "utf-8;\\x{E9@b",
		    RCPT, DSN, REPLY_BAD_ORCPT,
		    "ORCPT="
		    "utf-8;\\x{E9@b" },
		{ " ORCPT="
		  "utf-8;\\x{0A}@b",
		    RCPT, DSN, REPLY_BAD_ORCPT,
		    "ORCPT="
		    "utf-8;\\x{0A}@b" },
		{ " ORCPT="
		  "utf-8;\\y@b",
		    RCPT, DSN, REPLY_BAD_ORCPT,
		    "ORCPT="
		    "utf-8;\\y@b" },
		{ " ORCPT="
		  "utf-8;a\\",
		    RCPT, DSN, REPLY_BAD_ORCPT,
		    "ORCPT="
		    "utf-8;a\\" },
		{ " ORCPT="
		  "utf-8;a+",
		    RCPT, DSN, REPLY_BAD_ORCPT,
		    "ORCPT="
		    "utf-8;a+" },
		{ " ORCPT="
		  "utf-8;a+0",
		    RCPT, DSN, REPLY_BAD_ORCPT,
		    "ORCPT="
		    "utf-8;a+0" },
		{ " ORCPT="
		  "utf-8;a+FF",
		    RCPT, DSN, REPLY_BAD_ORCPT,
		    "ORCPT="
		    "utf-8;a+FF" },
		{ " ORCPT="
		  "utf-8;a\xc3",
		    RCPT, DSN, REPLY_BAD_ORCPT,
		    "ORCPT="
		    "utf-8;a\xc3" },
		{ " ORCPT="
		  "rfc822;\xc3\xa9@b",
		    RCPT, DSN, REPLY_BAD_ORCPT,
		    "ORCPT="
		    "rfc822;\xc3\xa9@b" },
		{ " SIZE=1", RCPT, DSN, REPLY_UNSUPPORTED_OPTION, "SIZE=1" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct arena arena;
		struct guard g;
		struct smtp_params p;
		struct span bad = { 0 }, in = guard_copy(&g, span_str(rows[i].in));
		int reply = -1, rc;

		arena_init(&arena, 65536);
		rc = smtp_params_parse(
		    in, rows[i].verb, rows[i].extensions, &arena, &p, &reply, &bad);
		if (rc != (rows[i].reply < 0 ? 0 : -ERR_SYNTAX) || reply != rows[i].reply)
			fail_msg("\"%s\": %d, reply %d", rows[i].in, rc, reply);
		if (rows[i].bad)
			assert_span(bad, rows[i].bad);
		arena_done(&arena);
		guard_free(&g);
	}
}

static void parameters_are_decoded(void **state)
{
	struct arena arena;
	struct smtp_params p;
	struct span bad;
	int reply;

	(void)state;
	arena_init(&arena, 65536);
	assert_int_equal(smtp_params_parse(SPAN_LIT(" SIZE=77 BODY=8bitmime RET=FULL ENVID=a+2Bb"),
			     SMTP_PARAMS_MAIL, SMTP_EXT_DSN, &arena, &p, &reply, &bad),
	    0);
	assert_int_equal(p.size, 77);
	assert_true(p.body_8bit);
	assert_int_equal(p.ret, SMTP_RET_FULL);
	assert_span(p.envid, "a+b");
	assert_int_equal(smtp_params_parse(SPAN_LIT("NOTIFY=DELAY,FAILURE ORCPT=rfc822;x+2By@z"),
			     SMTP_PARAMS_RCPT, SMTP_EXT_DSN, &arena, &p, &reply, &bad),
	    0);
	assert_int_equal(p.notify, SMTP_NOTIFY_DELAY | SMTP_NOTIFY_FAILURE);
	assert_span(p.orcpt, "rfc822;x+y@z");
	assert_int_equal(
	    smtp_params_parse(SPAN_LIT("ORCPT=UTF-8;\\x{e9}\\x{2B}\\x{20ac}+C3+A9\xc3\xa9@z"),
		SMTP_PARAMS_RCPT, SMTP_EXT_DSN, &arena, &p, &reply, &bad),
	    0);
	assert_span(p.orcpt, "UTF-8;\xc3\xa9+\xe2\x82\xac\xc3\xa9\xc3\xa9@z");
	arena_done(&arena);
}

struct reply_row {
	const char *name, *in;
	int rc;
	uint16_t code;
	struct enhanced_status enhanced;
	const char *text, *raw;
	unsigned lines;
};

static const struct reply_row reply_rows[] = {
	{ "one line", "250 2.1.5 Ok\r\n", 1, 250, { 2, 1, 5 }, "Ok", "250 2.1.5 Ok", 1 },
	{ "bare LF", "250 Ok\n", 1, 250, { 0 }, "Ok", "250 Ok", 1 },
	{ "code alone", "354\r\n", 1, 354, { 0 }, "", "354", 1 },
	{ "two lines", "550-5.1.1 No\r\n550 5.1.1 Never\r\n", 1, 550, { 5, 1, 1 }, "No\nNever",
	    "550-5.1.1 No\r\n550 5.1.1 Never", 2 },
	{ "enhanced on the first only", "550-5.7.1 a\r\n550-b\r\n550 c\r\n", 1, 550, { 5, 7, 1 },
	    "a\nb\nc", "550-5.7.1 a\r\n550-b\r\n550 c", 3 },
	{ "enhanced of another class", "250 5.1.1 Ok\r\n", 1, 250, { 0 }, "5.1.1 Ok",
	    "250 5.1.1 Ok", 1 },
	{ "enhanced alone", "421 4.7.0\r\n", 1, 421, { 4, 7, 0 }, "", "421 4.7.0", 1 },
	{ "no enhanced but a version", "220 2.0.0beta\r\n", 1, 220, { 0 }, "2.0.0beta",
	    "220 2.0.0beta", 1 },
	{ "codes differ", "250-a\r\n251 b\r\n", -ERR_PROTO },
	{ "code too low", "150 a\r\n", -ERR_PROTO },
	{ "code too high", "600 a\r\n", -ERR_PROTO },
	{ "no digits", "SSH-2.0-x\r\n", -ERR_PROTO },
	{ "other separator", "250:a\r\n", -ERR_PROTO },
	{ "empty line", "\r\n", -ERR_PROTO },
	{ "four digits", "2500 a\r\n", -ERR_PROTO },
	{ "not whole", "250-a\r\n250", 0 },
};

/* rc as the parser gives it, fed in pieces of `step` octets */
static int feed_by(struct smtp_reply_parser *p, struct span in, size_t step, size_t *used_r,
    const struct smtp_reply **r_r)
{
	*used_r = 0;
	while (*used_r < in.n) {
		struct span part = span_skip(in, *used_r);
		size_t used;
		int rc;
		if (part.n > step)
			part.n = step;
		rc = smtp_reply_feed(p, part, &used, r_r);
		*used_r += used;
		if (rc != 0)
			return rc;
	}
	return 0;
}

static void replies_are_read_however_they_are_split(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(reply_rows); i++) {
		const struct reply_row *row = &reply_rows[i];
		for (size_t step = 1; step <= strlen(row->in); step++) {
			struct smtp_reply_parser p;
			const struct smtp_reply *r = NULL;
			struct guard g;
			struct span in = guard_copy(&g, span_str(row->in));
			size_t used;
			int rc;

			smtp_reply_parser_init(&p);
			rc = feed_by(&p, in, step, &used, &r);
			if (rc != row->rc)
				fail_msg("%s by %zu: %d", row->name, step, rc);
			if (rc == 1) {
				assert_int_equal(used, in.n);
				assert_int_equal(r->code, row->code);
				assert_enhanced(r->enhanced, row->enhanced);
				assert_span(r->text, row->text);
				assert_span(r->raw, row->raw);
				assert_int_equal(r->lines, row->lines);
			}
			smtp_reply_parser_done(&p);
			guard_free(&g);
		}
	}
}

static void one_reply_is_taken_at_a_time(void **state)
{
	struct smtp_reply_parser p;
	const struct smtp_reply *r;
	struct span in = SPAN_LIT("250 a\r\n550 b\r\nxyz\r\n250 c\r\n");
	size_t used;

	(void)state;
	smtp_reply_parser_init(&p);
	assert_int_equal(smtp_reply_feed(&p, in, &used, &r), 1);
	assert_int_equal(used, 7);
	assert_false(smtp_reply_pending(&p));
	in = span_skip(in, used);
	assert_int_equal(smtp_reply_feed(&p, in, &used, &r), 1);
	assert_int_equal(r->code, 550);
	in = span_skip(in, used);
	assert_int_equal(smtp_reply_feed(&p, in, &used, &r), -ERR_PROTO);
	/* what comes behind garbage is never believed */
	assert_int_equal(smtp_reply_feed(&p, SPAN_LIT("250 c\r\n"), &used, &r), -ERR_PROTO);
	smtp_reply_parser_done(&p);
}

static void replies_have_limits(void **state)
{
	struct smtp_reply_parser p;
	const struct smtp_reply *r;
	struct buf in;
	size_t used;

	(void)state;
	smtp_reply_parser_init(&p);
	buf_init(&in, 200000);
	buf_add_str(&in, "250 ");
	while (buf_len(&in) < SMTP_REPLY_LINE_MAX + 1)
		buf_add_char(&in, 'x');
	assert_int_equal(feed_by(&p, buf_span(&in), 100, &used, &r), -ERR_LINE_TOO_LONG);
	smtp_reply_parser_reset(&p);
	buf_reset(&in);
	for (unsigned i = 0; i <= SMTP_REPLY_LINES_MAX; i++)
		buf_add_str(&in, "250-x\r\n");
	assert_int_equal(feed_by(&p, buf_span(&in), 1000, &used, &r), -ERR_LIMIT);
	smtp_reply_parser_reset(&p);
	buf_reset(&in);
	while (buf_len(&in) < SMTP_REPLY_MAX)
		buf_addf(&in, "250-%01000d\r\n", 0);
	assert_int_equal(feed_by(&p, buf_span(&in), 1000, &used, &r), -ERR_LIMIT);
	buf_done(&in);
	smtp_reply_parser_done(&p);
}

static void a_reply_in_a_log_is_read_at_once(void **state)
{
	static const struct {
		const char *in;
		int rc;
		uint16_t code;
		struct enhanced_status enhanced;
		const char *text;
		unsigned lines;
	} rows[] = {
		{ "550 5.1.1 no such user", 0, 550, { 5, 1, 1 }, "no such user", 1 },
		{ "550-5.7.1 a\r\n550 5.7.1 b\r\n", 0, 550, { 5, 7, 1 }, "a\nb", 2 },
		{ "550 5.7.1 a\nb\nc", 0, 550, { 5, 7, 1 }, "a\nb\nc", 3 },
		{ "450 4.2.1", 0, 450, { 4, 2, 1 }, "", 1 },
		{ "no such user", -ERR_SYNTAX },
		{ "", -ERR_SYNTAX },
		{ "5500 x", -ERR_SYNTAX },
	};
	struct buf text;

	(void)state;
	buf_init(&text, 4096);
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct smtp_reply r;
		struct guard g;
		struct span in = guard_copy(&g, span_str(rows[i].in));

		buf_reset(&text);
		buf_add_str(&text, "before"); /* it appends */
		assert_int_equal(smtp_reply_parse(in, &text, &r), rows[i].rc);
		if (rows[i].rc == 0) {
			assert_int_equal(r.code, rows[i].code);
			assert_enhanced(r.enhanced, rows[i].enhanced);
			assert_span(r.text, rows[i].text);
			assert_int_equal(r.lines, rows[i].lines);
		}
		guard_free(&g);
	}
	buf_done(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_are_read_into_their_shortest_form),
		cmocka_unit_test(long_addresses_are_refused_where_rfc_5321_says),
		cmocka_unit_test(a_path_parse_without_memory_says_so),
		cmocka_unit_test(a_mailbox_must_fill_its_span),
		cmocka_unit_test(xtext_goes_there_and_back),
		cmocka_unit_test(parameters_each_have_their_own_refusal),
		cmocka_unit_test(parameters_are_decoded),
		cmocka_unit_test(replies_are_read_however_they_are_split),
		cmocka_unit_test(one_reply_is_taken_at_a_time),
		cmocka_unit_test(replies_have_limits),
		cmocka_unit_test(a_reply_in_a_log_is_read_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
