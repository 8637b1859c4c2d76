/*
 * lab/verdict.c - from a name to what the simulator does.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "catalogue/reply_ids.h"
#include "lab/lab-private.h"
#include "yaml/yaml.h"

#include <stdio.h>

static const struct lab_row rows[] = {
	{ "ok", "takes the mail" },
	{ "POL-T1 (any policy code)",
	    "answers with that code, at the end of the message if it is about the message" },
	{ "550, 451-4.7.1 (any reply code, with or without enhanced status code)", "answers so" },
	{ "5.1.1 (any enhanced status code of class 4 or 5)",
	    "answers with it and the reply code that goes with it" },
	{ "3001 (any failure code)",
	    "a realistic reply that is filed under it; 4002: garbage; 5001 and 5999: takes the "
	    "mail, no reply says these" },
	{ "rcpt_unknown (any reply id)", "that very reply" },
	{ "greylist-60s", "refuses for so long, then takes it" },
	{ "timeout", "says nothing more" },
	{ "disconnect", "drops the connection" },
	{ "garbage", "answers what is no SMTP" },
	{ "slow", "takes it, sending its answers octet by octet" },
	{ "timeout-data, 554-5.6.0-message (-data or -message behind any of these)",
	    "the same, after DATA or at the end of the message" },
	{ "any@NAME.connect.lab.test, .helo., .mail.", "the same, at an earlier stage" },
	{ "any@refused.connect.lab.test", "nobody listens there" },
	{ NULL, NULL },
};

const struct lab_row *lab_rows(void)
{
	return rows;
}

static bool set_reply(
    struct lab_verdict *v, const struct catalogue *cat, int reply, enum cat_stage stage)
{
	const struct cat_reply *row = catalogue_reply(cat, reply);

	if (!row || row->artefact || (row->code && row->code < 400))
		return false;
	v->kind = LAB_REPLY;
	v->reply = reply;
	/* A row that is not for RCPT but for the message waits until its end; asked for at an
	 * earlier stage it comes there. */
	if (stage == CAT_STAGE_rcpt && !(row->stages & (1u << CAT_STAGE_rcpt)) &&
	    (row->stages & (1u << CAT_STAGE_message | 1u << CAT_STAGE_data)))
		v->when = CAT_STAGE_message;
	return true;
}

/* "550", "550-5.7.1", "550-5-7-1" is not one: digits, then perhaps '-' and an enhanced status code.
 */
static bool parse_code(struct lab_verdict *v, const struct catalogue *cat, struct span name)
{
	struct enhanced_status e = { 0, 0, 0 };
	const struct cat_enhanced *row;
	const struct cat_basic *basic;
	uint64_t code;

	if (name.n < 3 || span_u64(span_of(name.p, 3), 599, &code) < 0 || code < 400)
		return false;
	if (name.n > 3 &&
	    (name.p[3] != '-' || enhanced_status_parse(span_skip(name, 4), &e) != name.n - 4 ||
		e.class_ != code / 100))
		return false;
	row = e.class_ ? catalogue_enhanced(cat, e.subject, e.detail) : NULL;
	basic = catalogue_basic(cat, (uint16_t)code);
	v->kind = LAB_REPLY;
	v->reply = REPLY_LAB_CODE;
	snprintf(v->code, sizeof(v->code), "%u", (unsigned)code);
	if (e.class_)
		snprintf(
		    v->enhanced, sizeof(v->enhanced), "%u.%u.%u", e.class_, e.subject, e.detail);
	snprintf(v->text, sizeof(v->text), "%s",
	    row         ? row->name
		: basic ? basic->name
			: "As you asked");
	return true;
}

/*
 * The reply code that goes with an enhanced status code: 450 or 550 where the registry names it or
 * nothing else of that class, else the first that it names and that leaves the session open.
 */
static unsigned usual_code(const struct catalogue *cat, const struct enhanced_status *e)
{
	const struct cat_enhanced *row = catalogue_enhanced(cat, e->subject, e->detail);
	unsigned plain = e->class_ == 4 ? 450 : 550, first = 0;
	uint64_t code;

	for (size_t i = 0; row && row->reply_codes[i]; i++) {
		if (span_u64(span_str(row->reply_codes[i]), 599, &code) < 0 ||
		    code / 100 != e->class_ || code == 421 || code == 521)
			continue;
		if (code == plain)
			return plain;
		if (!first)
			first = (unsigned)code;
	}
	return first ? first : plain;
}

/* An enhanced status code alone. */
static bool parse_enhanced(struct lab_verdict *v, const struct catalogue *cat, struct span name)
{
	struct enhanced_status e;
	char text[32];

	if (enhanced_status_parse(name, &e) != name.n || (e.class_ != 4 && e.class_ != 5))
		return false;
	snprintf(text, sizeof(text), "%u-%.*s", usual_code(cat, &e), SPAN_FMT(name));
	return parse_code(v, cat, span_str(text));
}

static bool parse_policy(
    struct lab_verdict *v, const struct catalogue *cat, struct span name, enum cat_stage stage)
{
	const struct cat_policy *p;
	int plain = catalogue_reply_by_policy(cat, name);
	char upper[16];

	if (plain >= 0)
		return set_reply(v, cat, plain, stage);
	/* A code of the operator's own may have other rows only. */
	if (name.n >= sizeof(upper))
		return false;
	for (size_t i = 0; i < name.n; i++)
		upper[i] = (char)ascii_upper(name.p[i]);
	p = catalogue_policy(cat, span_of(upper, name.n));
	for (size_t i = 0; p && i < catalogue_reply_count(cat); i++) {
		const struct cat_reply *row = catalogue_reply(cat, (int)i);
		if (row->policy_code && strcmp(row->policy_code, p->code) == 0 &&
		    set_reply(v, cat, (int)i, stage))
			return true;
	}
	return false;
}

/* No reply is a time-out, a broken dialogue or garbage; this is the one that answers at once. */
#define FAILURE_PROTOCOL 4002

/* A failure code: our own row for it in the simulator's list, else one that names a recipient. */
static bool parse_failure(
    struct lab_verdict *v, const struct catalogue *cat, struct span name, enum cat_stage stage)
{
	uint64_t code;
	char id[32];
	int own;

	if (name.n != 4 || span_u64(name, 9999, &code) < 0 ||
	    !catalogue_failure(cat, (uint16_t)code))
		return false;
	if (code == FAILURE_PROTOCOL) {
		v->kind = LAB_GARBAGE;
		return true;
	}
	snprintf(id, sizeof(id), "lab_%u", (unsigned)code);
	own = catalogue_reply_by_id(cat, span_str(id));
	if (own >= 0)
		return set_reply(v, cat, own, stage);
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < catalogue_reply_count(cat); i++) {
			const struct cat_reply *row = catalogue_reply(cat, (int)i);
			unsigned wanted = round == 0 ? 1u << CAT_STAGE_rcpt : ~0u;
			/* 421 closes the session with it, which is another matter. */
			if (row->failure_code == code && row->code && row->code != 421 &&
			    row->code != 521 && (row->stages & wanted) &&
			    set_reply(v, cat, (int)i, stage))
				return true;
		}
	/* 5001, 5999: no reply at all has them; they come as mails of their own later. */
	v->kind = LAB_OK;
	return true;
}

static bool parse_word(struct lab_verdict *v, struct span name, enum cat_stage stage)
{
	static const struct {
		const char *name;
		enum lab_kind kind;
	} words[] = { { "ok", LAB_OK }, { "timeout", LAB_TIMEOUT },
		{ "disconnect", LAB_DISCONNECT }, { "garbage", LAB_GARBAGE }, { "slow", LAB_SLOW },
		{ "refused", LAB_REFUSE } };
	static const struct span greylist = { (const uint8_t *)"greylist-", 9 };
	uint64_t ms;

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (span_eq_nocase(name, span_str(words[i].name))) {
			v->kind = words[i].kind;
			return v->kind != LAB_REFUSE || stage == CAT_STAGE_connect;
		}
	if (!span_starts_nocase(name, greylist) ||
	    yaml_duration_parse(span_skip(name, greylist.n), &ms) < 0 || ms > 86400000)
		return false;
	v->kind = LAB_GREYLIST;
	v->seconds = (uint32_t)(ms / 1000);
	return true;
}

static bool parse_name(
    struct lab_verdict *v, const struct catalogue *cat, struct span name, enum cat_stage stage)
{
	int reply;

	if (parse_word(v, name, stage) || parse_policy(v, cat, name, stage) ||
	    parse_code(v, cat, name) || parse_enhanced(v, cat, name) ||
	    parse_failure(v, cat, name, stage))
		return true;
	reply = catalogue_reply_by_id(cat, name);
	return reply >= 0 && set_reply(v, cat, reply, stage);
}

bool lab_verdict_parse(
    const struct catalogue *cat, struct span name, enum cat_stage stage, struct lab_verdict *v_r)
{
	static const enum cat_stage later[] = { CAT_STAGE_data, CAT_STAGE_message };
	struct lab_verdict v = { .reply = -1, .when = stage };

	if (parse_name(&v, cat, name, stage)) {
		*v_r = v;
		return true;
	}
	for (size_t i = 0; stage == CAT_STAGE_rcpt && i < 2; i++) {
		struct span word = span_str(cat_stage_name(later[i]));
		v = (struct lab_verdict){ .reply = -1, .when = later[i] };
		if (name.n <= word.n + 1 || !span_ends_nocase(name, word) ||
		    name.p[name.n - word.n - 1] != '-' ||
		    !parse_name(&v, cat, span_of(name.p, name.n - word.n - 1), later[i]))
			continue;
		/* To take it, slowly or later, is nothing to put off. */
		if (v.kind == LAB_OK || v.kind == LAB_SLOW || v.kind == LAB_GREYLIST)
			return false;
		*v_r = v;
		return true;
	}
	return false;
}
