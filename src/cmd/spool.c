/*
 * cmd/spool.c - postern spool check|cat|dump|stats [--dir DIR] [--envelope] [QUEUE-ID]
 *
 * All of them only read, so that they may be used beside a running server; what it
 * writes or removes meanwhile can then be missing from the picture.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/err.h"
#include "cmd/cmd.h"
#include "envelope/envelope.h"
#include "spool/spool.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DIR_DEFAULT "var/spool"
/* Envelope and state of a message with very many recipients. */
#define RECORD_OCTETS_MAX ((size_t)128 << 20)

struct spool_args {
	const char *dir;
	const char *id; /* NULL: none given */
	bool envelope;
};

static int usage(FILE *to)
{
	fprintf(to,
	    "usage: postern spool COMMAND [--dir DIR] [QUEUE-ID]\n"
	    "\n"
	    "  check                      verify every record and body; 1: damage was found\n"
	    "  cat [--envelope] QUEUE-ID  a message as it was received; or what is known of it\n"
	    "  dump                       one line for each record\n"
	    "  stats                      the numbers\n"
	    "\n"
	    "  --dir DIR                  the spool's directory (" DIR_DEFAULT ")\n");
	return CMD_USAGE;
}

static int failed(const struct spool_args *a, int err)
{
	fprintf(stderr, "postern spool: \"%s\": %s\n", a->dir, err_text(err));
	return 1;
}

static void print_line(void *arg, const char *text)
{
	(void)arg;
	printf("%s\n", text);
}

static void tell_notice(void *arg, const char *what, const char *text, int err)
{
	(void)arg, (void)what, (void)err;
	fprintf(stderr, "postern spool: %s\n", text);
}

static int run_check(const struct spool_args *a)
{
	struct spool_check c;
	int r = spool_check_dir(a->dir, print_line, NULL, &c);

	if (r < 0)
		return failed(a, r);
	printf("segments %" PRIu64 ", records %" PRIu64 ", messages %" PRIu64 ", damaged %" PRIu64
	       ", unfinished writes at the end %" PRIu64 ", files without a message %" PRIu64 "\n",
	    c.segments, c.records, c.messages, c.damaged, c.torn, c.orphans);
	if (c.first_damage_file[0])
		printf("first damage: %s at octet %" PRIu64 "\n", c.first_damage_file,
		    c.first_damage_offset);
	return c.damaged > 0 ? 1 : 0;
}

static int run_dump(const struct spool_args *a)
{
	int r = spool_dump_dir(a->dir, print_line, NULL);

	return r < 0 ? failed(a, r) : 0;
}

static int open_to_read(const struct spool_args *a, struct spool **sp_r)
{
	struct spool_options o;

	spool_options_init(&o, a->dir);
	o.read_only = true;
	o.notice = tell_notice;
	return spool_open(&o, sp_r);
}

static int run_stats(const struct spool_args *a)
{
	struct spool_stats s;
	struct spool *sp;
	int r = open_to_read(a, &sp);

	if (r < 0)
		return failed(a, r);
	spool_stats(sp, &s);
	spool_close(&sp);
	printf("messages       %" PRIu64 "\nsegments       %" PRIu64 "\nlive octets    %" PRIu64
	       "\noctets on disk %" PRIu64 "\nindex octets   %" PRIu64 "\ndamaged        %" PRIu64
	       "\n",
	    s.messages, s.segments, s.live_octets, s.disk_octets, s.index_octets, s.damaged);
	return 0;
}

/* ---- cat ---- */

/* Octets of a peer go to a terminal: what is not printable becomes '?'. */
static void print_span(const char *name, struct span s)
{
	if (s.n == 0)
		return;
	printf("%s: ", name);
	for (size_t i = 0; i < s.n; i++)
		putchar(s.p[i] == '\n' ? '/' : s.p[i] < 32 || s.p[i] == 127 ? '?' : s.p[i]);
	putchar('\n');
}

static void print_time(const char *name, int64_t ms)
{
	char text[CLOCK_ISO8601_MAX];

	if (ms == INT64_MAX) {
		printf("%s: held\n", name);
		return;
	}
	clock_iso8601(ms, text);
	printf("%s: %s\n", name, text);
}

static const char *status_text(enum rcpt_status status)
{
	switch (status) {
	case RCPT_PENDING:
		return "pending";
	case RCPT_DEFERRED:
		return "deferred";
	case RCPT_HELD:
		return "held";
	case RCPT_DELIVERED:
		return "delivered";
	case RCPT_FAILED:
		return "failed";
	case RCPT_DELETED:
		return "deleted";
	}
	return "?";
}

static void print_rcpt(const struct rcpt *r)
{
	const struct attempt *a = &r->last;

	print_span("\nrecipient", r->address);
	print_span("  original", r->orcpt);
	printf("  status: %s, attempts %u\n", status_text(r->status), r->attempts);
	if (r->status == RCPT_PENDING || r->status == RCPT_DEFERRED)
		print_time("  next", r->next_ms);
	if (a->at_ms == 0)
		return;
	print_time("  last", a->at_ms);
	print_span("  host", a->host);
	print_span("  address", a->address);
	if (a->code)
		printf("  reply: %u", a->code);
	if (a->code && a->enhanced.class_)
		printf(" %u.%u.%u", a->enhanced.class_, a->enhanced.subject, a->enhanced.detail);
	if (a->code)
		putchar('\n');
	print_span("  text", a->text);
	if (a->failure_code)
		printf("  failure code: %u\n", a->failure_code);
	print_span("  rule", a->rule);
}

static void print_envelope(const struct envelope *env)
{
	char ip[IP_TEXT_MAX], id[QUEUE_ID_TEXT_MAX];

	queue_id_text(env->id, id);
	printf("queue id: %s\n", id);
	print_time("received", env->received_ms);
	if (env->reverse_path.n == 0)
		printf("sender: <>\n");
	print_span("sender", env->reverse_path);
	print_span("envelope id", env->envid);
	print_span("client", env->client_name);
	if (env->client_ip.family) {
		ip_text(&env->client_ip, ip);
		printf("client address: %s\n", ip);
	}
	print_span("greeting", env->helo);
	print_span("protocol", env->protocol);
	print_span("user", env->auth_user);
	print_span("session", env->session);
	print_span("message id", env->message_id);
	printf("octets: %" PRIu64 "\n", env->size);
	for (size_t i = 0; i < env->rcpt_count; i++)
		print_rcpt(&env->rcpts[i]);
}

static int cat_envelope(struct spool *sp, uint64_t id)
{
	struct envelope env;
	struct arena arena;
	struct buf record, state;
	int r;

	arena_init(&arena, RECORD_OCTETS_MAX * 2);
	buf_init(&record, RECORD_OCTETS_MAX);
	buf_init(&state, RECORD_OCTETS_MAX);
	r = spool_read(sp, id, &record, &state);
	if (r == 0)
		r = envelope_decode(buf_span(&record), &arena, &env);
	if (r == 0 && buf_len(&state) > 0)
		r = envelope_decode_state(buf_span(&state), &arena, &env);
	if (r == 0)
		print_envelope(&env);
	arena_done(&arena);
	buf_done(&record);
	buf_done(&state);
	return r;
}

static int cat_body(struct spool *sp, uint64_t id)
{
	struct spool_body *b;
	uint8_t chunk[65536];
	uint64_t at = 0;
	ssize_t n;
	int r = spool_body_open(sp, id, &b);

	if (r < 0)
		return r;
	while ((n = spool_body_read(b, at, chunk, sizeof(chunk))) > 0) {
		if (fwrite(chunk, 1, (size_t)n, stdout) != (size_t)n) {
			n = -ERR_IO;
			break;
		}
		at += (uint64_t)n;
	}
	spool_body_close(&b);
	if (n == 0 && fflush(stdout) != 0)
		n = -ERR_IO;
	return n < 0 ? (int)n : 0;
}

static int run_cat(const struct spool_args *a)
{
	struct spool *sp;
	uint64_t id;
	int r;

	if (!a->id)
		return usage(stderr);
	if (queue_id_parse(span_str(a->id), &id) < 0) {
		fprintf(stderr, "postern spool: \"%s\" is no queue id\n", a->id);
		return 1;
	}
	r = open_to_read(a, &sp);
	if (r < 0)
		return failed(a, r);
	r = a->envelope ? cat_envelope(sp, id) : cat_body(sp, id);
	spool_close(&sp);
	if (r < 0)
		fprintf(stderr, "postern spool: message \"%s\": %s\n", a->id, err_text(r));
	return r < 0 ? 1 : 0;
}

int cmd_spool(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(const struct spool_args *a);
	} commands[] = {
		{ "check", run_check },
		{ "cat", run_cat },
		{ "dump", run_dump },
		{ "stats", run_stats },
	};
	static const struct option options[] = {
		{ "dir", required_argument, NULL, 'd' },
		{ "envelope", no_argument, NULL, 'e' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 },
	};
	struct spool_args a = { .dir = DIR_DEFAULT };
	int c;

	optind = 1;
	while ((c = getopt_long(argc, argv, "d:eh", options, NULL)) != -1) {
		if (c == 'h') {
			usage(stdout);
			return 0;
		}
		if (c == 'd')
			a.dir = optarg;
		else if (c == 'e')
			a.envelope = true;
		else
			return usage(stderr);
	}
	if (optind >= argc || argc - optind > 2)
		return usage(stderr);
	if (optind + 1 < argc)
		a.id = argv[optind + 1];
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (strcmp(argv[optind], commands[i].name) == 0)
			return commands[i].run(&a);
	fprintf(stderr, "postern spool: no command \"%s\"\n", argv[optind]);
	return usage(stderr);
}
