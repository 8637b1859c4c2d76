/*
 * envelope/state.c - the state record: what became of each recipient so far.
 *
 * 'S', version, number of recipients, and for each: flags, status, attempts, next
 * time, and the last attempt unless there was none, or it is the same as that of
 * the recipient before (recipients of one transaction share host and reply).
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "envelope/private.h"

/* What a recipient takes at least: flags, status, attempts, next time. */
#define RCPT_OCTETS_MIN 4

static bool attempt_eq(const struct attempt *a, const struct attempt *b)
{
	return a->at_ms == b->at_ms && a->stage == b->stage && a->remote == b->remote &&
	    a->code == b->code && a->enhanced.class_ == b->enhanced.class_ &&
	    a->enhanced.subject == b->enhanced.subject &&
	    a->enhanced.detail == b->enhanced.detail && a->failure_code == b->failure_code &&
	    span_eq(a->host, b->host) && span_eq(a->address, b->address) &&
	    span_eq(a->text, b->text) && span_eq(a->rule, b->rule);
}

static void put_attempt(struct buf *out, const struct attempt *a)
{
	put_number(out, (uint64_t)a->at_ms);
	put_span(out, a->host);
	put_span(out, a->address);
	put_number(out, a->stage);
	put_number(out, a->code);
	put_number(out, a->enhanced.class_);
	put_number(out, a->enhanced.subject);
	put_number(out, a->enhanced.detail);
	put_span(out, a->text);
	put_number(out, a->failure_code);
	put_span(out, a->rule);
}

int envelope_encode_state(const struct envelope *env, struct buf *out)
{
	bool told = false;

	for (size_t i = 0; i < env->rcpt_count; i++)
		told = told || env->rcpts[i].delay_told;
	buf_add_char(out, STATE_MAGIC);
	buf_add_char(out, told ? STATE_VERSION_FLAGS : STATE_VERSION);
	put_number(out, env->rcpt_count);
	for (size_t i = 0; i < env->rcpt_count; i++) {
		const struct rcpt *rcpt = &env->rcpts[i];
		bool has = rcpt->last.at_ms != 0;
		bool same = has && i > 0 && attempt_eq(&rcpt->last, &env->rcpts[i - 1].last);
		unsigned flags = (has ? STATE_HAS_ATTEMPT : 0u) | (same ? STATE_SAME_ATTEMPT : 0u) |
		    (has && rcpt->last.remote ? STATE_REMOTE : 0u) |
		    (rcpt->delay_told ? STATE_DELAY_TOLD : 0u);

		put_number(out, flags);
		put_number(out, rcpt->status);
		put_number(out, rcpt->attempts);
		put_number(out, (uint64_t)rcpt->next_ms);
		if (has && !same)
			put_attempt(out, &rcpt->last);
	}
	return out->failed ? -ERR_NOMEM : 0;
}

static void get_attempt(struct reader *r, struct attempt *a_r)
{
	a_r->at_ms = (int64_t)get_number(r, UINT64_MAX);
	a_r->host = get_span(r);
	a_r->address = get_span(r);
	a_r->stage = (enum cat_stage)get_number(r, CAT_STAGE_COUNT - 1);
	a_r->code = (uint16_t)get_number(r, 999);
	a_r->enhanced.class_ = (uint8_t)get_number(r, 9);
	a_r->enhanced.subject = (uint16_t)get_number(r, 999);
	a_r->enhanced.detail = (uint16_t)get_number(r, 999);
	a_r->text = get_span(r);
	a_r->failure_code = (uint16_t)get_number(r, UINT16_MAX);
	a_r->rule = get_span(r);
	if (a_r->at_ms == 0)
		r->bad = true;
}

static void get_rcpt(
    struct reader *r, struct rcpt *rcpt, const struct rcpt *before, unsigned flags_max)
{
	unsigned flags = (unsigned)get_number(r, flags_max);
	bool has = flags & STATE_HAS_ATTEMPT, same = flags & STATE_SAME_ATTEMPT;

	rcpt->status = (enum rcpt_status)get_number(r, RCPT_DELETED);
	rcpt->attempts = (uint32_t)get_number(r, UINT32_MAX);
	rcpt->next_ms = (int64_t)get_number(r, UINT64_MAX);
	rcpt->delay_told = (flags & STATE_DELAY_TOLD) != 0;
	rcpt->last = (struct attempt){ 0 };
	if (!has) {
		if (flags & STATE_FLAGS)
			r->bad = true;
		return;
	}
	/* One spelling: what is the same is the same in this too. */
	if (same &&
	    (!before || before->last.at_ms == 0 ||
		before->last.remote != ((flags & STATE_REMOTE) != 0))) {
		r->bad = true;
		return;
	}
	if (same)
		rcpt->last = before->last;
	else
		get_attempt(r, &rcpt->last);
	rcpt->last.remote = (flags & STATE_REMOTE) != 0;
}

int envelope_decode_state(struct span record, struct arena *arena, struct envelope *env)
{
	struct reader r = { record.p, record.n, false };
	struct rcpt *rcpts;
	uint64_t version;
	bool told = false;
	size_t n;

	if (get_number(&r, 127) != STATE_MAGIC || r.bad)
		return -ERR_CORRUPT;
	version = get_number(&r, UINT64_MAX);
	if (r.bad || (version != STATE_VERSION && version != STATE_VERSION_FLAGS))
		return r.bad ? -ERR_CORRUPT : -ERR_VERSION;
	n = (size_t)get_number(&r, r.n / RCPT_OCTETS_MIN);
	if (r.bad || n != env->rcpt_count)
		return -ERR_CORRUPT;
	if (n == 0)
		return r.n > 0 ? -ERR_CORRUPT : 0;
	/* Into a copy: a damaged state leaves the envelope as it was. */
	rcpts = arena_alloc(arena, n * sizeof(*rcpts));
	if (!rcpts)
		return -ERR_NOMEM;
	memcpy(rcpts, env->rcpts, n * sizeof(*rcpts));
	for (size_t i = 0; i < n && !r.bad; i++) {
		get_rcpt(&r, &rcpts[i], i > 0 ? &rcpts[i - 1] : NULL,
		    version == STATE_VERSION ? STATE_FLAGS : STATE_FLAGS_2);
		told = told || rcpts[i].delay_told;
	}
	if (r.bad || r.n > 0 || (version == STATE_VERSION_FLAGS && !told))
		return -ERR_CORRUPT;
	env->rcpts = rcpts;
	return 0;
}

struct span rcpt_original(const struct rcpt *r)
{
	struct span type = SPAN_LIT("rfc822;");

	if (!r->aliased || !span_starts_nocase(r->orcpt, type))
		return (struct span){ (const uint8_t *)"", 0 };
	return span_skip(r->orcpt, type.n);
}

bool envelope_finished(const struct envelope *env)
{
	for (size_t i = 0; i < env->rcpt_count; i++) {
		switch (env->rcpts[i].status) {
		case RCPT_PENDING:
		case RCPT_DEFERRED:
		case RCPT_HELD:
			return false;
		case RCPT_DELIVERED:
		case RCPT_FAILED:
		case RCPT_DELETED:
			break;
		}
	}
	return true;
}

int64_t envelope_due(const struct envelope *env)
{
	int64_t due = INT64_MAX;

	for (size_t i = 0; i < env->rcpt_count; i++) {
		const struct rcpt *rcpt = &env->rcpts[i];
		if ((rcpt->status == RCPT_PENDING || rcpt->status == RCPT_DEFERRED) &&
		    rcpt->next_ms < due)
			due = rcpt->next_ms;
	}
	return due;
}
