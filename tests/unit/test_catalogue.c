/*
 * tests/unit/test_catalogue.c - the compiled-in catalogue, rendering, operators' directories.
 *
 * CATALOGUE_BAD names the directory of bad documents: each says in "# error: LINE: KEY: TEXT" what
 * must be said of it.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"

#include "base/err.h"
#include "base/file.h"
#include "base/map.h"
#include "catalogue/catalogue.h"
#include "catalogue/reply_ids.h"
#include "yaml/yaml.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

static struct buf out;

static const char *render(const struct catalogue *cat, int reply, const struct reply_format *f,
    const struct reply_args *args, int *code_r)
{
	int code;

	buf_reset(&out);
	code = catalogue_render(cat, reply, f, args, &out);
	if (code_r)
		*code_r = code;
	return buf_cstr(&out);
}

static void letters_beyond_ascii_are_shown_only_to_who_can_read_them(void **state)
{
	struct reply_format f = { REPLY_STYLE_POSTFIX, NULL, false };
	struct reply_args a = { 0 };

	(void)state;
	/* two letters, half a letter, a control of C1 */
	a.field[REPLY_FIELD_recipient] = SPAN_LIT("\xc3\xa4\xe4\xbe\x8b@x.test \xe4\xbe \xc2\x85");
	assert_non_null(strstr(render(catalogue_builtin(), REPLY_RELAY_DENIED, &f, &a, NULL),
	    "<?????@x.test ?\? ?\?>"));
	f.utf8 = true;
	assert_non_null(strstr(render(catalogue_builtin(), REPLY_RELAY_DENIED, &f, &a, NULL),
	    "<\xc3\xa4\xe4\xbe\x8b@x.test ?\? ?\?>"));
}

static void replies_are_rendered_to_the_letter_of_postfix(void **state)
{
	struct reply_args a = { 0 };
	int code = 0;

	(void)state;
	a.field[REPLY_FIELD_recipient] = SPAN_LIT("u@example.org");
	a.field[REPLY_FIELD_hostname] = SPAN_LIT("mx.example.org");
	assert_string_equal(render(catalogue_builtin(), REPLY_RCPT_UNKNOWN, NULL, &a, &code),
	    "550 5.1.1 <u@example.org>: Recipient address rejected: User unknown in local "
	    "recipient "
	    "table\r\n");
	assert_int_equal(code, 550);
	assert_string_equal(render(catalogue_builtin(), REPLY_TIMEOUT, NULL, &a, NULL),
	    "421 4.4.2 mx.example.org Error: timeout exceeded\r\n");
	assert_string_equal(render(catalogue_builtin(), REPLY_DATA_GO, NULL, NULL, NULL),
	    "354 End data with <CR><LF>.<CR><LF>\r\n");
	assert_string_equal(render(catalogue_builtin(), -1, NULL, NULL, &code), "");
	assert_int_equal(code, -ERR_INVAL);
	render(catalogue_builtin(), REPLY_COUNT, NULL, NULL, &code);
	assert_int_equal(code, -ERR_INVAL);
}

static void style_postern_adds_policy_code_and_help(void **state)
{
	struct reply_format f = { REPLY_STYLE_POSTERN, "https://help" };
	struct reply_args a = { 0 };

	(void)state;
	assert_string_equal(render(catalogue_builtin(), REPLY_POLICY_DNS_P3, &f, &a, NULL),
	    "550 5.7.25 DNS-P3 Your mail server has no reverse DNS record; see "
	    "https://help/DNS-P3\r\n");
	a.field[REPLY_FIELD_session] = SPAN_LIT("s1A");
	f.help_url = "https://help/";
	assert_string_equal(render(catalogue_builtin(), REPLY_POLICY_DNS_P3, &f, &a, NULL),
	    "550 5.7.25 DNS-P3 Your mail server has no reverse DNS record; see "
	    "https://help/DNS-P3?id=s1A\r\n");
	a.field[REPLY_FIELD_session] = SPAN_LIT("s&x");
	f.help_url = "";
	assert_string_equal(render(catalogue_builtin(), REPLY_POLICY_DNS_P3, &f, &a, NULL),
	    "550 5.7.25 DNS-P3 Your mail server has no reverse DNS record\r\n");
	f.style = REPLY_STYLE_POSTFIX;
	f.help_url = "https://help";
	assert_string_equal(render(catalogue_builtin(), REPLY_POLICY_DNS_P3, &f, &a, NULL),
	    "550 5.7.25 Your mail server has no reverse DNS record\r\n");
}

static void codes_of_access_tables_come_from_fields(void **state)
{
	static const struct {
		const char *code, *enhanced, *line;
	} rows[] = {
		{ "554", "5.1.0", "554 5.1.0 <a@b>: Sender address rejected: no\r\n" },
		{ "450", "5.7.1", "450 4.7.1 <a@b>: Sender address rejected: no\r\n" },
		{ "550", "", "550 <a@b>: Sender address rejected: no\r\n" },
		{ "5x0", "5.7.1", "451 4.3.5 <a@b>: Sender address rejected: no\r\n" },
		{ "", "", "451 4.3.5 <a@b>: Sender address rejected: no\r\n" },
		{ "999", "5.7.1", "451 4.3.5 <a@b>: Sender address rejected: no\r\n" },
	};
	struct reply_args a = { 0 };

	(void)state;
	a.field[REPLY_FIELD_sender] = SPAN_LIT("a@b");
	a.field[REPLY_FIELD_text] = SPAN_LIT("no");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		a.field[REPLY_FIELD_code] = span_str(rows[i].code);
		a.field[REPLY_FIELD_enhanced] = span_str(rows[i].enhanced);
		assert_string_equal(
		    render(catalogue_builtin(), REPLY_ACCESS_SENDER, NULL, &a, NULL), rows[i].line);
	}
}

/* Every line begins with the code and a separator, has at most 512 octets, and is printable. */
static void check_lines(struct span s, int code)
{
	char lead[8];

	snprintf(lead, sizeof(lead), "%d", code);
	while (s.n > 0) {
		ptrdiff_t lf = span_find(s, '\n');
		assert_true(lf >= 4 && lf < 512);
		assert_memory_equal(s.p, lead, 3);
		assert_true(s.p[3] == ' ' || s.p[3] == '-');
		assert_int_equal(s.p[lf - 1], '\r');
		for (ptrdiff_t i = 0; i < lf - 1; i++)
			assert_true(s.p[i] >= 0x20 && s.p[i] <= 0x7e);
		s = span_skip(s, (size_t)lf + 1);
	}
}

static void no_field_makes_a_line_too_long_or_unprintable(void **state)
{
	static uint8_t junk[3000];
	struct reply_format f = { REPLY_STYLE_POSTERN, "https://mx.example.org/codes/" };

	(void)state;
	for (size_t i = 0; i < sizeof(junk); i++)
		junk[i] = (uint8_t)(i * 7);
	for (size_t n = 0; n < sizeof(junk); n = n * 3 + 1) {
		struct reply_args a;
		for (int k = 0; k < REPLY_FIELD_COUNT; k++)
			a.field[k] = span_of(junk, n);
		for (int r = 0; r < REPLY_COUNT; r++) {
			int code = 0;
			f.style = r % 2 ? REPLY_STYLE_POSTERN : REPLY_STYLE_POSTFIX;
			render(catalogue_builtin(), r, &f, &a, &code);
			assert_true(code >= 200 && code <= 599);
			check_lines(buf_span(&out), code);
		}
	}
}

static void the_command_gives_way_before_the_recipient(void **state)
{
	char detail[600], name[100];
	struct reply_args a = { 0 };

	(void)state;
	memset(detail, 'd', sizeof(detail));
	memset(name, 'n', sizeof(name));
	a.field[REPLY_FIELD_detail] = span_of(detail, sizeof(detail));
	a.field[REPLY_FIELD_sender] = span_of(name, sizeof(name));
	render(catalogue_builtin(), REPLY_SENDER_LOGIN_MISMATCH, NULL, &a, NULL);
	assert_int_equal(buf_len(&out), 512);
	assert_memory_equal(buf_span(&out).p + 11, name, sizeof(name));
}

static void a_full_buffer_is_no_memory_and_keeps_its_content(void **state)
{
	struct buf small;

	(void)state;
	buf_init(&small, 16);
	buf_add_str(&small, "abc");
	assert_int_equal(
	    catalogue_render(catalogue_builtin(), REPLY_DATA_GO, NULL, NULL, &small), -ERR_NOMEM);
	assert_int_equal(buf_len(&small), 3);
	buf_done(&small);
}

static void each_line_of_postfix_belongs_to_one_row(void **state)
{
	const struct catalogue *cat = catalogue_builtin();
	struct map owner;
	size_t lines = 0;

	(void)state;
	map_init(&owner, false);
	for (size_t i = 0; i < catalogue_reply_count(cat); i++) {
		const struct cat_reply *r = catalogue_reply(cat, (int)i);
		for (const char *const *l = r->postfix_lines; *l; l++, lines++) {
			if (map_get(&owner, span_str(*l)))
				fail_msg("\"%s\" is of %s too", *l, r->id);
			map_put(&owner, span_str(*l), (void *)(uintptr_t)r);
		}
	}
	assert_int_equal(lines, 155);
	map_done(&owner);
}

static void every_row_can_be_found_and_is_whole(void **state)
{
	const struct catalogue *cat = catalogue_builtin();

	(void)state;
	assert_int_equal(catalogue_reply_count(cat), REPLY_COUNT);
	for (int i = 0; i < REPLY_COUNT; i++) {
		const struct cat_reply *r = catalogue_reply(cat, i);
		assert_int_equal(catalogue_reply_by_id(cat, span_str(r->id)), i);
		assert_true(r->cause[0] && r->remedy[0] && r->rfc[0] && r->stages);
		if (r->code == 0 || r->code >= 400)
			assert_non_null(catalogue_failure(cat, r->failure_code));
		if (r->policy_code) {
			assert_non_null(catalogue_policy(cat, span_str(r->policy_code)));
			assert_true(catalogue_reply_by_policy(cat, span_str(r->policy_code)) >= 0);
		}
	}
	assert_int_equal(catalogue_reply_by_id(cat, SPAN_LIT("no_such")), -1);
	assert_int_equal(catalogue_reply_by_policy(cat, SPAN_LIT("pol-t1")), REPLY_POLICY_POL_T1);
	assert_int_equal(catalogue_enhanced(cat, 7, 25)->failure_code_5, 3004);
	assert_null(catalogue_enhanced(cat, 7, 99));
	assert_int_equal(catalogue_basic(cat, 550)->code, 550);
	assert_null(catalogue_basic(cat, 559));
	assert_null(catalogue_failure(cat, 1005));
	assert_non_null(catalogue_digit(cat, CAT_DIGIT_OF_BASIC, 3, 7));
}

static void an_enhanced_status_is_read_strictly(void **state)
{
	static const struct {
		const char *text;
		size_t used;
	} rows[] = { { "5.1.1", 5 }, { "5.1.1 x", 5 }, { "4.999.999", 9 }, { "2.0.0", 5 },
		{ "3.1.1", 0 }, { "5.1", 0 }, { "5..1", 0 }, { "5.1.1000", 0 }, { "15.1.1", 0 },
		{ "5.1.1.2", 0 }, { "5.1.1a", 0 }, { "5.1.1.", 5 }, { "", 0 }, { "05.1.1", 0 } };
	struct enhanced_status s;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (enhanced_status_parse(span_str(rows[i].text), &s) != rows[i].used)
			fail_msg("\"%s\"", rows[i].text);
	enhanced_status_parse(SPAN_LIT("5.7.25"), &s);
	assert_true(s.class_ == 5 && s.subject == 7 && s.detail == 25);
}

/* A directory with one document; load it. */
static int load(
    const char *name, struct span text, struct yaml_errors *errors, const struct catalogue **cat_r)
{
	char dir[] = "/tmp/postern-catalogue-XXXXXX", path[512];
	FILE *f;
	int r;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fwrite(text.p, 1, text.n, f);
	fclose(f);
	r = catalogue_load(dir, errors, cat_r);
	unlink(path);
	rmdir(dir);
	return r;
}

static void operators_override_texts_and_add_rows(void **state)
{
	static const char text[] = "replies:\n"
				   "  - id: rcpt_unknown\n"
				   "    text: \"<{recipient}>: nobody of this name\"\n"
				   "    remedy: Ring us up.\n"
				   "  - id: local_holiday\n"
				   "    code: 450\n"
				   "    enhanced: 4.3.2\n"
				   "    text: \"Closed for the holidays\"\n"
				   "    stage: [rcpt]\n"
				   "    cause: It is a holiday here.\n"
				   "    acts: nobody\n"
				   "    remedy: Come back in January.\n"
				   "    failure_code: 3100\n"
				   "    rfc: [5321#4.2.2]\n"
				   "failure_codes:\n"
				   "  - code: 3100\n"
				   "    name: holiday\n"
				   "    category: temporary\n"
				   "    text: The receiver is on holiday.\n"
				   "    cause: Some places close in December.\n"
				   "    acts: nobody\n"
				   "    remedy: Wait.\n"
				   "  - code: 3001\n"
				   "    remedy: Wait for the owner of the mailbox.\n";
	const struct catalogue *ours = catalogue_builtin(), *cat = NULL, *second;
	struct yaml_errors errors;
	struct reply_args a = { 0 };
	int id;

	(void)state;
	yaml_errors_init(&errors);
	if (load("a.yaml", span_str(text), &errors, &cat) != 0)
		fail_msg("%s", errors.kept ? errors.line[0] : "?");
	a.field[REPLY_FIELD_recipient] = SPAN_LIT("x@y");
	assert_string_equal(render(cat, REPLY_RCPT_UNKNOWN, NULL, &a, NULL),
	    "550 5.1.1 <x@y>: nobody of this name\r\n");
	assert_string_equal(catalogue_reply(cat, REPLY_RCPT_UNKNOWN)->remedy, "Ring us up.");
	assert_int_equal(catalogue_reply(cat, REPLY_RCPT_UNKNOWN)->failure_code, 2001);
	id = catalogue_reply_by_id(cat, SPAN_LIT("local_holiday"));
	assert_int_equal(id, REPLY_COUNT);
	assert_string_equal(catalogue_reply(cat, id)->since, "local");
	assert_string_equal(catalogue_failure(cat, 3100)->name, "holiday");
	assert_string_equal(catalogue_failure(cat, 3001)->name, "mailbox_full");
	/* Ours is what it was. */
	assert_string_not_equal(catalogue_reply(ours, REPLY_RCPT_UNKNOWN)->remedy, "Ring us up.");
	assert_int_equal(catalogue_reply_by_id(ours, SPAN_LIT("local_holiday")), -1);
	assert_null(catalogue_failure(ours, 3100));
	second = catalogue_ref(cat);
	catalogue_unref(&cat);
	assert_null(cat);
	assert_string_equal(catalogue_failure(second, 3100)->name, "holiday");
	catalogue_unref(&second);
	assert_int_equal(catalogue_load("/nonexistent", &errors, &cat), -ERR_NOTFOUND);
	assert_null(cat);
	yaml_errors_done(&errors);
}

static bool is_reported(const struct yaml_errors *errors, const char *name, const char *want)
{
	char place[300];
	bool line = ascii_is_digit((uint8_t)want[0]);

	snprintf(place, sizeof(place), line ? "/%s:%s" : "/%s:", name, want);
	for (size_t i = 0; i < errors->kept; i++)
		if (strstr(errors->line[i], place) && (line || strstr(errors->line[i], want)))
			return true;
	return false;
}

/* Every "# error: " of the document is among the errors. */
static void check_bad(const char *name, struct buf *text)
{
	struct yaml_errors errors;
	const struct catalogue *cat = NULL;
	const char *at = buf_cstr(text);
	size_t wanted = 0;

	yaml_errors_init(&errors);
	assert_int_equal(load(name, buf_span(text), &errors, &cat), -ERR_CONFIG);
	assert_null(cat);
	while ((at = strstr(at, "# error: "))) {
		char want[300];
		size_t n;
		at += strlen("# error: ");
		n = strcspn(at, "\n");
		snprintf(want, sizeof(want), "%.*s", (int)n, at);
		wanted++;
		if (!is_reported(&errors, name, want))
			fail_msg("%s: \"%s\" is not among: %s", name, want, errors.line[0]);
	}
	assert_true(wanted > 0);
	if (errors.count != wanted)
		fail_msg("%s: %zu errors, not %zu: %s; %s", name, errors.count, wanted,
		    errors.line[0], errors.kept > 1 ? errors.line[1] : "");
	yaml_errors_done(&errors);
}

static void each_bad_document_is_refused_with_line_and_key(void **state)
{
	DIR *d = opendir(getenv("CATALOGUE_BAD"));
	struct dirent *e;
	size_t files = 0;

	(void)state;
	assert_non_null(d);
	while ((e = readdir(d))) {
		char path[512];
		struct buf text;
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", getenv("CATALOGUE_BAD"), e->d_name);
		buf_init(&text, 1 << 20);
		assert_int_equal(file_read(path, &text), 0);
		check_bad(e->d_name, &text);
		buf_done(&text);
		files++;
	}
	closedir(d);
	assert_true(files >= 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replies_are_rendered_to_the_letter_of_postfix),
		cmocka_unit_test(letters_beyond_ascii_are_shown_only_to_who_can_read_them),
		cmocka_unit_test(style_postern_adds_policy_code_and_help),
		cmocka_unit_test(codes_of_access_tables_come_from_fields),
		cmocka_unit_test(no_field_makes_a_line_too_long_or_unprintable),
		cmocka_unit_test(the_command_gives_way_before_the_recipient),
		cmocka_unit_test(a_full_buffer_is_no_memory_and_keeps_its_content),
		cmocka_unit_test(each_line_of_postfix_belongs_to_one_row),
		cmocka_unit_test(every_row_can_be_found_and_is_whole),
		cmocka_unit_test(an_enhanced_status_is_read_strictly),
		cmocka_unit_test(operators_override_texts_and_add_rows),
		cmocka_unit_test(each_bad_document_is_refused_with_line_and_key),
	};
	int failed;

	buf_init(&out, 1 << 20);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	buf_done(&out);
	return failed;
}
