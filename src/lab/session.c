/*
 * lab/session.c - one session of the simulator: the server machine, answered by verdicts.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/clock.h"
#include "base/map.h"
#include "catalogue/reply_ids.h"
#include "lab/lab-private.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Pace of `slow`, and how long a silent session is kept before it is dropped all the same. */
#define SLOW_MS    10
#define SILENCE_MS 600000

struct lab_session {
	struct lab *lab;
	struct lab_session *next, *prev;
	struct smtp_server *smtp;
	struct net_stream *stream;
	struct net_timer *timer;
	enum cat_stage stage;       /* of the listener's verdict */
	struct lab_verdict verdict; /* of the listener */
	struct lab_verdict later;   /* for DATA or the end of the message, when has_later */
	bool has_later, silent, slow, over;
	uint64_t deadline_ms;
	char sender[320];
};

static const struct reply_args no_args;

void lab_session_close(struct lab_session *s)
{
	if (s->prev)
		s->prev->next = s->next;
	else
		s->lab->sessions = s->next;
	if (s->next)
		s->next->prev = s->prev;
	s->lab->session_count--;
	net_stream_close(&s->stream);
	net_timer_free(&s->timer);
	smtp_server_free(&s->smtp);
	free(s);
}

static void answer_reply(struct lab_session *s, const struct lab_verdict *v, struct span recipient)
{
	struct reply_args args = no_args;
	ptrdiff_t at = span_rfind(recipient, '@');

	args.field[REPLY_FIELD_recipient] = recipient;
	args.field[REPLY_FIELD_sender] = span_str(s->sender);
	args.field[REPLY_FIELD_domain] =
	    at < 0 ? span_str("") : span_skip(recipient, (size_t)at + 1);
	args.field[REPLY_FIELD_client] = SPAN_LIT("localhost[127.0.0.1]");
	args.field[REPLY_FIELD_client_address] = SPAN_LIT("127.0.0.1");
	args.field[REPLY_FIELD_code] = span_str(v->code);
	args.field[REPLY_FIELD_enhanced] = span_str(v->enhanced);
	args.field[REPLY_FIELD_text] = span_str(v->text);
	args.field[REPLY_FIELD_detail] = SPAN_LIT("simulated");
	args.field[REPLY_FIELD_wait] = SPAN_LIT("a while");
	args.field[REPLY_FIELD_blocklist] = SPAN_LIT("list.example");
	args.field[REPLY_FIELD_helo] = SPAN_LIT("client.example");
	(void)smtp_server_answer(s->smtp, v->reply, &args);
}

static bool greylisted(struct lab_session *s, struct span recipient, uint32_t seconds)
{
	uint64_t key = map_hash(recipient, true) ^ (map_hash(span_str(s->sender), true) * 3);
	uint64_t now = net_loop_now_ms(s->lab->loop);
	size_t at = key % LAB_GREYLIST_MAX;

	/* One place a hash: a stranger that takes it only starts its waiting anew. */
	if (s->lab->greylist[at].key != key) {
		s->lab->greylist[at].key = key;
		s->lab->greylist[at].first_ms = now;
	}
	return now - s->lab->greylist[at].first_ms < (uint64_t)seconds * 1000;
}

/*
 * Do what a verdict says in the place of `good`.  Returns false when nothing may follow: the
 * session is silent, or over (its owner closes it).
 */
static bool act(struct lab_session *s, const struct lab_verdict *v, int good, struct span recipient)
{
	static const char garbage[] = "\0\xff\x16 this is no SMTP\r\n";
	struct reply_args args = no_args;
	struct buf *out = smtp_server_output(s->smtp);
	char wait[64];

	switch (v->kind) {
	case LAB_REPLY:
		answer_reply(s, v, recipient);
		return true;
	case LAB_GREYLIST:
		if (!greylisted(s, recipient, v->seconds))
			break;
		clock_duration((int64_t)v->seconds * 1000, wait, sizeof(wait));
		args.field[REPLY_FIELD_recipient] = recipient;
		args.field[REPLY_FIELD_wait] = span_str(wait);
		(void)smtp_server_answer(s->smtp, REPLY_LAB_GREYLISTED, &args);
		return true;
	case LAB_TIMEOUT:
		s->silent = true;
		return false;
	case LAB_DISCONNECT:
		s->over = true;
		return false;
	case LAB_GARBAGE:
		buf_add(out, garbage, sizeof(garbage) - 1);
		s->over = true;
		return false;
	case LAB_SLOW:
		s->slow = true;
		break;
	case LAB_OK:
	case LAB_REFUSE:
		break;
	}
	args.field[REPLY_FIELD_queue_id] = SPAN_LIT("LAB");
	(void)smtp_server_answer(s->smtp, good, &args);
	return true;
}

static bool step_rcpt(struct lab_session *s, const struct smtp_step *step)
{
	struct lab_verdict v = { .kind = LAB_OK, .reply = -1, .when = CAT_STAGE_rcpt };
	const struct catalogue *cat = s->lab->cfg->catalogue;

	if (s->stage == CAT_STAGE_rcpt &&
	    !lab_verdict_parse(cat, step->address.local, s->stage, &v)) {
		v.kind = LAB_REPLY;
		v.reply = REPLY_LAB_UNKNOWN;
	}
	if (v.when != CAT_STAGE_rcpt) {
		s->later = v;
		s->has_later = true;
		v.kind = LAB_OK;
	}
	return act(s, &v, REPLY_RCPT_OK, step->address.address);
}

/* What a recipient of this message has put off until this stage, else nothing. */
static const struct lab_verdict *put_off(const struct lab_session *s, enum cat_stage stage)
{
	static const struct lab_verdict ok = { .kind = LAB_OK };

	return s->has_later && s->later.when == stage ? &s->later : &ok;
}

static bool take_step(struct lab_session *s, const struct smtp_step *step)
{
	static const struct lab_verdict ok = { .kind = LAB_OK };
	struct span none = span_str("");

	switch (step->kind) {
	case SMTP_STEP_CONNECT:
		return act(
		    s, s->stage == CAT_STAGE_connect ? &s->verdict : &ok, REPLY_BANNER, none);
	case SMTP_STEP_HELO:
		return act(s, s->stage == CAT_STAGE_helo ? &s->verdict : &ok,
		    step->esmtp ? REPLY_EHLO_OK : REPLY_HELO_OK, none);
	case SMTP_STEP_MAIL:
		s->has_later = false;
		snprintf(s->sender, sizeof(s->sender), "%.*s", SPAN_FMT(step->address.address));
		return act(s, s->stage == CAT_STAGE_mail ? &s->verdict : &ok, REPLY_MAIL_OK, none);
	case SMTP_STEP_RCPT:
		return step_rcpt(s, step);
	case SMTP_STEP_DATA:
		return act(s, put_off(s, CAT_STAGE_data), REPLY_DATA_GO, none);
	case SMTP_STEP_MESSAGE:
		if (step->fault >= 0)
			(void)smtp_server_answer(s->smtp, step->fault, &step->args);
		else
			return act(s, put_off(s, CAT_STAGE_message), REPLY_QUEUED, none);
		return true;
	case SMTP_STEP_VRFY:
		return act(s, &ok, REPLY_VRFY_OK, none);
	case SMTP_STEP_STARTTLS: /* the lab announces none of these */
	case SMTP_STEP_AUTH:
	case SMTP_STEP_AUTH_RESPONSE:
	case SMTP_STEP_ETRN:
	case SMTP_STEP_XFORWARD:
	case SMTP_STEP_TLS:
	case SMTP_STEP_AUTH_END:
	case SMTP_STEP_XCLIENT:
	case SMTP_STEP_NONE:
	case SMTP_STEP_BODY:
	case SMTP_STEP_RESET:
	case SMTP_STEP_REFUSED:
		return true;
	case SMTP_STEP_CLOSE:
		s->over = true;
		return false;
	}
	return true;
}

/* Send what waits: all at once, or one octet and the next a little later. */
static void send_output(struct lab_session *s)
{
	struct buf *out = smtp_server_output(s->smtp);
	struct buf one;

	if (!buf_len(out))
		return;
	if (!s->slow || s->over) {
		/* A peer that reads nothing of so many replies is left. */
		if (net_stream_write(s->stream, out) < 0)
			s->over = true;
		return;
	}
	buf_init(&one, 16);
	buf_add(&one, buf_span(out).p, 1);
	buf_consume(out, 1);
	if (net_stream_write(s->stream, &one) < 0)
		s->over = true;
	buf_done(&one);
	net_timer_set(s->timer, net_loop_now_ms(s->lab->loop) + SLOW_MS);
}

/* Octets taken; the session may be gone when s->over is set by then. */
static size_t feed(struct lab_session *s, const uint8_t *p, size_t n)
{
	size_t used = 0, some;

	while (!s->silent && !s->over) {
		int r = smtp_server_feed(
		    s->smtp, p + used, n - used, net_loop_now_ms(s->lab->loop), &some);
		used += some;
		if (r < 0)
			s->over = true;
		if (r <= 0 || !take_step(s, smtp_server_step(s->smtp)))
			break;
	}
	send_output(s);
	return s->silent ? n : used;
}

static size_t on_octets(void *arg, const uint8_t *p, size_t n)
{
	struct lab_session *s = arg;
	size_t used;

	if (!s->silent)
		s->deadline_ms = net_loop_now_ms(s->lab->loop) + SILENCE_MS;
	used = feed(s, p, n);
	if (s->over)
		lab_session_close(s);
	return used;
}

static void on_ended(void *arg, int err)
{
	(void)err;
	lab_session_close(arg);
}

static void on_timer(void *arg)
{
	struct lab_session *s = arg;

	if (s->slow && buf_len(smtp_server_output(s->smtp)))
		send_output(s);
	else if (net_loop_now_ms(s->lab->loop) < s->deadline_ms)
		net_timer_set(s->timer, s->deadline_ms);
	else
		s->over = true;
	if (s->over)
		lab_session_close(s);
}

static const struct net_stream_events stream_events = {
	.octets = on_octets,
	.ended = on_ended,
};

void lab_session_start(struct lab_listener *l, int fd)
{
	struct lab *lab = l->lab;
	struct lab_session *s =
	    lab->session_count < LAB_SESSIONS_MAX ? calloc(1, sizeof(*s)) : NULL;
	struct smtp_server_options o;

	if (!s || net_timer_new(lab->loop, on_timer, s, &s->timer) < 0) {
		free(s);
		close(fd);
		return;
	}
	s->lab = lab;
	s->next = lab->sessions;
	if (s->next)
		s->next->prev = s;
	lab->sessions = s;
	lab->session_count++;
	pthread_mutex_lock(&lab->lock);
	s->stage = l->stage;
	s->verdict = l->verdict;
	pthread_mutex_unlock(&lab->lock);
	smtp_server_options_init(&o, lab->cfg->catalogue, lab->cfg->lab_domain);
	/* A policy code is shown only in our own style. */
	o.format = (struct reply_format){ REPLY_STYLE_POSTERN, lab->cfg->help_url };
	if (smtp_server_new(&o, net_loop_now_ms(lab->loop), &s->smtp) < 0) {
		close(fd);
		lab_session_close(s);
		return;
	}
	if (net_stream_open(lab->loop, fd, &stream_events, s, &s->stream) < 0) {
		lab_session_close(s);
		return;
	}
	s->deadline_ms = net_loop_now_ms(lab->loop) + SILENCE_MS;
	net_timer_set(s->timer, s->deadline_ms);
	(void)feed(s, NULL, 0);
	if (s->over)
		lab_session_close(s);
}
