/*
 * tests/unit/test_smtp_proxy.c - PROXY headers: whole, octet by octet, and against a guard page.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/err.h"
#include "smtp/proxy.h"
#include "tests/unit/guard.h"

#define SIGNATURE                     "\r\n\r\n\0\r\nQUIT\n"
#define HEAD(ver_cmd, family, length) SIGNATURE ver_cmd family length
#define LINE_OF_107                                                                                \
	"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "                                   \
	"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"
#define V4   "\xc0\x00\x02\x01\x7f\x00\x00\x01\xdc\x04\x00\x19"
#define V6   "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
#define UNIX "/tmp/a-socket-of-some-length"

#define T(text)                                                                                    \
	{                                                                                          \
		(const uint8_t *)(text), sizeof(text) - 1                                          \
	}

static const struct {
	const char *name;
	struct span octets;
	int r;
	size_t used;
	const char *source, *dest; /* NULL: local */
	uint16_t source_port, dest_port;
} cases[] = {
	{ "version 1, IPv4", T("PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\r\nEHLO"), 1, 44,
	    "192.0.2.1", "198.51.100.2", 56324, 25 },
	{ "version 1, IPv6", T("PROXY TCP6 2001:db8::1 ::1 65535 0\r\n"), 1, 36, "2001:db8::1",
	    "::1", 65535, 0 },
	{ "version 1, a mapped address", T("PROXY TCP6 ::ffff:192.0.2.1 ::ffff:127.0.0.1 1 2\r\n"),
	    1, 50, "192.0.2.1", "127.0.0.1", 1, 2 },
	{ "version 1, unknown", T("PROXY UNKNOWN\r\n"), 1, 15, NULL, NULL, 0, 0 },
	{ "version 1, the longest", T(LINE_OF_107), 1, 107, NULL, NULL, 0, 0 },
	{ "version 1, too long", T("PROXY UNKNOWN " LINE_OF_107), -ERR_LIMIT, 0, NULL, NULL, 0, 0 },
	{ "version 1, another family", T("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n"), -ERR_SYNTAX, 0,
	    NULL, NULL, 0, 0 },
	{ "version 1, the family of the other", T("PROXY TCP4 2001:db8::1 ::1 1 2\r\n"),
	    -ERR_SYNTAX, 0, NULL, NULL, 0, 0 },
	{ "version 1, IPv4 in IPv6", T("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n"), -ERR_SYNTAX, 0,
	    NULL, NULL, 0, 0 },
	{ "version 1, two spaces", T("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n"), -ERR_SYNTAX, 0,
	    NULL, NULL, 0, 0 },
	{ "version 1, a port too large", T("PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n"),
	    -ERR_SYNTAX, 0, NULL, NULL, 0, 0 },
	{ "version 1, a port with a zero before", T("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n"),
	    -ERR_SYNTAX, 0, NULL, NULL, 0, 0 },
	{ "version 1, a port missing", T("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n"), -ERR_SYNTAX, 0,
	    NULL, NULL, 0, 0 },
	{ "version 1, more behind", T("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n"), -ERR_SYNTAX, 0,
	    NULL, NULL, 0, 0 },
	{ "version 1, LF alone", T("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n"), -ERR_SYNTAX, 0, NULL,
	    NULL, 0, 0 },
	{ "version 1, a NUL", T("PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2\r\n"), -ERR_SYNTAX, 0, NULL,
	    NULL, 0, 0 },
	{ "version 1, half", T("PROXY TCP4 192.0.2.1 192.0.2.2 1 2"), 0, 0, NULL, NULL, 0, 0 },
	{ "version 2, IPv4", T(HEAD("\x21", "\x11", "\x00\x0c") V4 "EHLO"), 1, 28, "192.0.2.1",
	    "127.0.0.1", 56324, 25 },
	{ "version 2, IPv6", T(HEAD("\x21", "\x21", "\x00\x24") V6 V6 "\x00\x01\x00\x02"), 1, 52,
	    "2001:db8::1", "2001:db8::1", 1, 2 },
	{ "version 2, TLVs", T(HEAD("\x21", "\x11", "\x00\x11") V4 "\x04\x00\x02hi"), 1, 33,
	    "192.0.2.1", "127.0.0.1", 56324, 25 },
	{ "version 2, LOCAL", T(HEAD("\x20", "\x00", "\x00\x00")), 1, 16, NULL, NULL, 0, 0 },
	{ "version 2, LOCAL with addresses", T(HEAD("\x20", "\x11", "\x00\x0c") V4), 1, 28, NULL,
	    NULL, 0, 0 },
	{ "version 2, no family", T(HEAD("\x21", "\x00", "\x00\x03") "abc"), 1, 19, NULL, NULL, 0,
	    0 },
	{ "version 2, a unix socket", T(HEAD("\x21", "\x31", "\x00\x1c") UNIX), 1, 44, NULL, NULL,
	    0, 0 },
	{ "version 2, datagrams", T(HEAD("\x21", "\x12", "\x00\x0c") V4), -ERR_UNSUPPORTED, 0, NULL,
	    NULL, 0, 0 },
	{ "version 2, too short for IPv4", T(HEAD("\x21", "\x11", "\x00\x0b") V4), -ERR_SYNTAX, 0,
	    NULL, NULL, 0, 0 },
	{ "version 2, too short for IPv6", T(HEAD("\x21", "\x21", "\x00\x0c") V4), -ERR_SYNTAX, 0,
	    NULL, NULL, 0, 0 },
	{ "version 2, another command", T(HEAD("\x22", "\x11", "\x00\x0c") V4), -ERR_SYNTAX, 0,
	    NULL, NULL, 0, 0 },
	{ "version 3", T(HEAD("\x31", "\x11", "\x00\x0c") V4), -ERR_VERSION, 0, NULL, NULL, 0, 0 },
	{ "version 2, too long", T(HEAD("\x21", "\x11", "\xff\xff") V4), -ERR_LIMIT, 0, NULL, NULL,
	    0, 0 },
	{ "version 2, half a head", T(SIGNATURE "\x21\x11"), 0, 0, NULL, NULL, 0, 0 },
	{ "version 2, half the addresses", T(HEAD("\x21", "\x11", "\x00\x0c") "\xc0\x00"), 0, 0,
	    NULL, NULL, 0, 0 },
	{ "another protocol", T("EHLO client.example\r\n"), -ERR_PROTO, 0, NULL, NULL, 0, 0 },
	{ "nearly the same", T("PROXYTCP4 "), -ERR_PROTO, 0, NULL, NULL, 0, 0 },
	{ "in small letters", T("proxy TCP4 "), -ERR_PROTO, 0, NULL, NULL, 0, 0 },
	{ "a ClientHello", T("\x16\x03\x01"), -ERR_PROTO, 0, NULL, NULL, 0, 0 },
	{ "one octet", T("P"), 0, 0, NULL, NULL, 0, 0 },
	{ "nothing", T(""), 0, 0, NULL, NULL, 0, 0 },
};

static void check(size_t i, int r, const struct smtp_proxy *p, size_t used)
{
	char text[IP_TEXT_MAX];

	if (r != cases[i].r)
		fail_msg("%s: %d, not %d", cases[i].name, r, cases[i].r);
	if (r != 1) {
		assert_int_equal(used, 9999); /* outputs stay as they were */
		return;
	}
	if (used != cases[i].used)
		fail_msg("%s: %zu octets, not %zu", cases[i].name, used, cases[i].used);
	assert_int_equal(p->local, !cases[i].source);
	if (p->local)
		return;
	ip_text(&p->source, text);
	assert_string_equal(text, cases[i].source);
	ip_text(&p->dest, text);
	assert_string_equal(text, cases[i].dest);
	assert_int_equal(p->source_port, cases[i].source_port);
	assert_int_equal(p->dest_port, cases[i].dest_port);
}

static void a_header_is_read_whole_and_not_an_octet_beyond(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct guard g;
		struct smtp_proxy p;
		size_t used = 9999;
		int r = smtp_proxy_parse(guard_copy(&g, cases[i].octets), &p, &used);
		check(i, r, &p, used);
		guard_free(&g);
	}
}

static void it_may_come_octet_by_octet(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct smtp_proxy p;
		size_t used = 9999;
		int r = 0;
		for (size_t n = 0; r == 0 && n <= cases[i].octets.n; n++)
			r = smtp_proxy_parse(span_of(cases[i].octets.p, n), &p, &used);
		check(i, r, &p, used);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_header_is_read_whole_and_not_an_octet_beyond),
		cmocka_unit_test(it_may_come_octet_by_octet),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
