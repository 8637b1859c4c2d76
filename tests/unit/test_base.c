/*
 * tests/unit/test_base.c - src/base alone.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/arena.h"
#include "base/base64.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/err.h"
#include "base/ip.h"
#include "base/json.h"
#include "base/map.h"
#include "base/utf8.h"

static void numbers_are_parsed_whole_and_bounded(void **state)
{
	static const struct {
		const char *text;
		uint64_t max;
		int result;
		uint64_t value;
	} rows[] = {
		{ "0", 9, 0, 0 },
		{ "18446744073709551615", UINT64_MAX, 0, UINT64_MAX },
		{ "18446744073709551616", UINT64_MAX, -ERR_RANGE, 0 },
		{ "10", 9, -ERR_RANGE, 0 },
		{ "9", 9, 0, 9 },
		{ "5", 3, -ERR_RANGE, 0 },
		{ "", 9, -ERR_SYNTAX, 0 },
		{ "1 ", 99, -ERR_SYNTAX, 0 },
		{ "-1", 99, -ERR_SYNTAX, 0 },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		uint64_t v = 77;
		assert_int_equal(span_u64(span_str(rows[i].text), rows[i].max, &v), rows[i].result);
		assert_true(v == (rows[i].result == 0 ? rows[i].value : 77));
	}
}

static void an_arena_keeps_to_its_maximum_and_reuses_its_block(void **state)
{
	struct arena a;
	void *first;

	(void)state;
	arena_init(&a, 16384);
	first = arena_alloc(&a, 100);
	assert_non_null(first);
	assert_null(arena_alloc(&a, 20000));
	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_non_null(arena_alloc(&a, 8000));
	arena_reset(&a);
	assert_ptr_equal(arena_alloc(&a, 100), first);
	arena_done(&a);
}

static void a_buffer_fails_once_and_stays_failed(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	assert_int_equal(buf_add_str(&b, "12345678"), 0);
	assert_int_equal(buf_add_str(&b, "90x"), -ERR_NOMEM);
	assert_int_equal(buf_add_str(&b, "9"), -ERR_NOMEM);
	assert_int_equal(buf_len(&b), 8);
	buf_reset(&b);
	assert_int_equal(buf_add_str(&b, "abc"), 0);
	buf_consume(&b, 1);
	assert_string_equal(buf_cstr(&b), "bc");
	buf_done(&b);
}

static void a_formatted_text_goes_in_whole_or_not_at_all(void **state)
{
	struct buf b;

	(void)state;
	for (size_t before = 0; before < 600; before++) {
		buf_init(&b, 600);
		for (size_t i = 0; i < before; i++)
			assert_int_equal(buf_add_char(&b, 'x'), 0);
		/* Formatting needs an octet more than the text, for its NUL. */
		assert_int_equal(
		    buf_addf(&b, "%d-%s", 12345, "abcd"), before <= 589 ? 0 : -ERR_NOMEM);
		assert_int_equal(buf_len(&b), before <= 589 ? before + 10 : before);
		assert_true(b.failed == (before > 589));
		if (!b.failed)
			assert_memory_equal(buf_span(&b).p + before, "12345-abcd", 10);
		else
			assert_int_equal(buf_addf(&b, "y"), -ERR_NOMEM);
		assert_true(before == 0 || buf_span(&b).p[before - 1] == 'x');
		buf_done(&b);
	}
}

static void a_map_survives_many_puts_and_deletes(void **state)
{
	struct map m;
	static char keys[1000][8];
	size_t at = 0, seen = 0;

	(void)state;
	map_init(&m, true);
	for (int i = 0; i < 1000; i++) {
		snprintf(keys[i], sizeof(keys[i]), "k%d", i);
		assert_int_equal(map_put(&m, span_str(keys[i]), keys[i]), 0);
	}
	for (int i = 0; i < 1000; i += 2)
		assert_ptr_equal(map_del(&m, span_str(keys[i])), keys[i]);
	for (int round = 0; round < 5000; round++) {
		assert_int_equal(map_put(&m, span_str("churn"), keys), 0);
		assert_non_null(map_del(&m, span_str("CHURN")));
	}
	for (int i = 0; i < 1000; i++)
		assert_true(!!map_get(&m, span_str(keys[i])) == (i % 2));
	while (map_next(&m, &at, NULL, NULL))
		seen++;
	assert_int_equal(seen, 500);
	assert_int_equal(m.count, 500);
	map_done(&m);
}

static void json_escapes_and_replaces_what_is_not_utf8(void **state)
{
	struct buf b;
	struct json_writer j;

	(void)state;
	buf_init(&b, 4096);
	json_writer_init(&j, &b);
	json_put_object(&j, NULL);
	json_put_span(&j, "a", span_of("x\"\\\n\0\xff\xc3\xa9", 8));
	json_put_array(&j, "b");
	json_put_int(&j, NULL, -3);
	json_put_bool(&j, NULL, true);
	json_put_array_end(&j);
	json_put_ms(&j, "t", 1500);
	json_put_object_end(&j);
	assert_string_equal(buf_cstr(&b),
	    "{\"a\":\"x\\\"\\\\\\n\\u0000\xef\xbf\xbd\xc3\xa9\",\"b\":[-3,true],\"t\":1.500}");
	buf_done(&b);
}

static void utf8_refuses_overlong_and_surrogates(void **state)
{
	(void)state;
	assert_true(utf8_valid(span_str("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x93\xa7")));
	assert_false(utf8_valid(span_str("\xc0\xaf")));
	assert_false(utf8_valid(span_str("\xe0\x80\x80")));
	assert_false(utf8_valid(span_str("\xed\xa0\x80")));
	assert_false(utf8_valid(span_str("\xf4\x90\x80\x80")));
	assert_false(utf8_valid(span_str("\xe2\x82")));
}

static void crc32c_has_the_published_check_values(void **state)
{
	static const uint8_t zeros[32];

	(void)state;
	/* RFC 3720 B.4 and the catalogue of CRCs. */
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
	assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aau);
	assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xe3069283u);
}

static void networks_match_by_prefix(void **state)
{
	struct ip_net net;
	struct ip ip;

	(void)state;
	assert_int_equal(ip_net_parse(span_str("192.0.2.0/25"), &net), 0);
	assert_int_equal(ip_parse(span_str("192.0.2.127"), &ip), 0);
	assert_true(ip_net_has(&net, &ip));
	assert_int_equal(ip_parse(span_str("::ffff:192.0.2.128"), &ip), 0);
	assert_int_equal(ip.family, 4);
	assert_false(ip_net_has(&net, &ip));
	assert_int_equal(ip_net_parse(span_str("192.0.2.1/24"), &net), -ERR_INVAL);
	assert_int_equal(ip_net_parse(span_str("192.0.2.0/33"), &net), -ERR_SYNTAX);
	assert_int_equal(ip_net_parse(span_str("[2001:db8::]/32"), &net), 0);
	assert_int_equal(ip_parse(span_str("2001:db8:ffff::1"), &ip), 0);
	assert_true(ip_net_has(&net, &ip));
}

static void dates_are_as_rfc_5322_wants_them(void **state)
{
	char text[CLOCK_RFC5322_MAX], iso[CLOCK_ISO8601_MAX], span[64];

	(void)state;
	clock_rfc5322(784111777000, text);
	assert_string_equal(text, "Sun, 6 Nov 1994 08:49:37 +0000 (UTC)");
	clock_iso8601(784111777042, iso);
	assert_string_equal(iso, "1994-11-06T08:49:37.042Z");
	clock_duration(97200000, span, sizeof(span));
	assert_string_equal(span, "1 day 3 hours");
	clock_duration(300000, span, sizeof(span));
	assert_string_equal(span, "5 minutes");
	clock_duration(0, span, sizeof(span));
	assert_string_equal(span, "0 seconds");
}

/* The vectors of RFC 4648 10, both ways. */
static void base64_goes_both_ways(void **state)
{
	static const char *const rows[][2] = { { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" },
		{ "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" },
		{ "foobar", "Zm9vYmFy" }, { "\xff\xfe\xfd", "//79" } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		uint8_t octets[16];
		struct buf text;
		size_t n = 99;
		buf_init(&text, 64);
		assert_int_equal(base64_encode(span_str(rows[i][0]), &text), 0);
		assert_true(span_eq(buf_span(&text), span_str(rows[i][1])));
		assert_int_equal(base64_decode(span_str(rows[i][1]), octets, &n), 0);
		assert_true(span_eq(span_of(octets, n), span_str(rows[i][0])));
		buf_done(&text);
	}
}

static void base64_with_a_second_spelling_is_refused(void **state)
{
	static const char *const bad[] = { "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "=",
		"====", "Zg==Zg==", "Zm 9", "Zm9v\n", "Zm9*", "A===" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		uint8_t octets[16];
		size_t n;
		assert_int_equal(base64_decode(span_str(bad[i]), octets, &n), -ERR_SYNTAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_parsed_whole_and_bounded),
		cmocka_unit_test(an_arena_keeps_to_its_maximum_and_reuses_its_block),
		cmocka_unit_test(a_buffer_fails_once_and_stays_failed),
		cmocka_unit_test(a_formatted_text_goes_in_whole_or_not_at_all),
		cmocka_unit_test(a_map_survives_many_puts_and_deletes),
		cmocka_unit_test(json_escapes_and_replaces_what_is_not_utf8),
		cmocka_unit_test(utf8_refuses_overlong_and_surrogates),
		cmocka_unit_test(crc32c_has_the_published_check_values),
		cmocka_unit_test(base64_goes_both_ways),
		cmocka_unit_test(base64_with_a_second_spelling_is_refused),
		cmocka_unit_test(networks_match_by_prefix),
		cmocka_unit_test(dates_are_as_rfc_5322_wants_them),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
