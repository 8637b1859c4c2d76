/*
 * tests/unit/test_cmd_spool.c - postern spool check|cat|dump|stats.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "tests/unit/test.h"
#include "tests/unit/spool_help.h"

#include "base/file.h"
#include "cmd/cmd.h"
#include "envelope/envelope.h"

#include <fcntl.h>

static char dir[64], id_text[QUEUE_ID_TEXT_MAX];

/* Run a command; what it printed is in `out`. */
static int run(struct buf *out, const char *a, const char *b, const char *c)
{
	char path[128];
	const char *words[] = { "spool", "--dir", dir, a, b, c };
	char *argv[8] = { 0 };
	int argc = 0, saved, fd, r;

	for (size_t i = 0; i < 6; i++)
		if (words[i])
			argv[argc++] = strdup(words[i]);
	snprintf(path, sizeof(path), "%s.out", dir);
	fflush(stdout);
	saved = dup(1);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_true(saved >= 0 && fd >= 0);
	dup2(fd, 1);
	r = cmd_spool(argc, argv);
	fflush(stdout);
	dup2(saved, 1);
	close(saved);
	close(fd);
	buf_reset(out);
	assert_int_equal(file_read(path, out), 0);
	unlink(path);
	while (argc > 0)
		free(argv[--argc]);
	return r;
}

static struct spool *fill(void)
{
	struct rcpt rcpt = { .address = SPAN_LIT("to@example.net"), .status = RCPT_DEFERRED };
	struct envelope env = { .rcpt_count = 1, .rcpts = &rcpt };
	struct spool_options o;
	struct spool_draft *d;
	struct spool *sp = NULL;
	struct waiter w;
	struct buf rec;

	small_options(&o, dir);
	assert_int_equal(spool_open(&o, &sp), 0);
	env.id = queue_id_new();
	env.reverse_path = SPAN_LIT("from@example.org");
	queue_id_text(env.id, id_text);
	buf_init(&rec, 65536);
	assert_int_equal(envelope_encode(&env, &rec), 0);
	assert_int_equal(spool_draft_new(sp, &d), 0);
	assert_int_equal(spool_draft_write(d, SPAN_LIT("Subject: x\r\n\r\nbody\r\n")), 0);
	spool_commit(
	    sp, env.id, buf_span(&rec), SPAN_LIT("Received: y\r\n"), &d, 1, false, waiter_init(&w));
	assert_int_equal(waiter_wait(&w), 0);
	rcpt.attempts = 2;
	rcpt.last = (struct attempt){ .at_ms = 1, .code = 451, .text = SPAN_LIT("not now") };
	buf_reset(&rec);
	assert_int_equal(envelope_encode_state(&env, &rec), 0);
	spool_update(sp, env.id, buf_span(&rec), 5, true, waiter_init(&w));
	assert_int_equal(waiter_wait(&w), 0);
	buf_done(&rec);
	return sp;
}

static bool has(struct buf *out, const char *text)
{
	return strstr(buf_cstr(out), text) != NULL;
}

static void a_message_and_its_envelope_are_shown_beside_a_running_server(void **state)
{
	struct spool *sp;
	struct buf out;

	(void)state;
	dir_fresh(dir);
	buf_init(&out, 1 << 20);
	sp = fill();
	for (int turn = 0; turn < 2; turn++) {
		assert_int_equal(run(&out, "cat", id_text, NULL), 0);
		assert_string_equal(buf_cstr(&out), "Received: y\r\nSubject: x\r\n\r\nbody\r\n");
		assert_int_equal(run(&out, "cat", "--envelope", id_text), 0);
		assert_true(has(&out, "sender: from@example.org\n"));
		assert_true(has(&out, "recipient: to@example.net\n"));
		assert_true(has(&out, "status: deferred, attempts 2\n"));
		assert_true(has(&out, "reply: 451\n") && has(&out, "text: not now\n"));
		assert_int_equal(run(&out, "check", NULL, NULL), 0);
		assert_true(has(&out, "messages 1, damaged 0"));
		assert_int_equal(run(&out, "dump", NULL, NULL), 0);
		assert_true(has(&out, "message id ") && has(&out, "state   id "));
		assert_int_equal(run(&out, "stats", NULL, NULL), 0);
		assert_true(has(&out, "messages       1\n"));
		spool_close(&sp);
	}
	buf_done(&out);
	dir_remove(dir);
}

static void damage_and_wrong_use_have_their_exit_codes(void **state)
{
	char path[128];
	struct spool *sp;
	struct buf out;
	int fd;

	(void)state;
	dir_fresh(dir);
	buf_init(&out, 1 << 20);
	sp = fill();
	spool_close(&sp);
	snprintf(path, sizeof(path), "%s/00000001.log", dir);
	fd = open(path, O_WRONLY);
	assert_true(fd >= 0 && pwrite(fd, "?", 1, 150) == 1);
	close(fd);
	assert_int_equal(run(&out, "check", NULL, NULL), 1);
	assert_true(has(&out, "first damage: 00000001.log at octet 64\n"));
	assert_int_equal(run(&out, "cat", id_text, NULL), 1);
	assert_int_equal(run(&out, "cat", "nonsense", NULL), 1);
	assert_int_equal(run(&out, "cat", NULL, NULL), CMD_USAGE);
	assert_int_equal(run(&out, "turn", NULL, NULL), CMD_USAGE);
	buf_done(&out);
	dir_remove(dir);
	assert_int_equal(run(&out, "check", NULL, NULL), 1);
	buf_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_and_its_envelope_are_shown_beside_a_running_server),
		cmocka_unit_test(damage_and_wrong_use_have_their_exit_codes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
