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
	{ "POL-T1 (any policy code)", "answers with that code" },
	{ "550, 451-4.7.1 (any reply code, with or without enhanced status code)", "answers so" },
	{ "5.1.1 (any enhanced status code of class 4 or 5)",
	    "answers with it and a fitting reply code" },
	{ "3001 (any failure code)", "a realistic reply that is filed under it" },
	{ "rcpt_unknown (any reply id)", "that very reply" },
	{ "greylist-60s", "refuses for so long, then takes it" },
	{ "timeout", "says nothing more" },
	{ "disconnect", "drops the connection" },
	{ "garbage", "answers what is no SMTP" },
	{ "slow", "takes it, sending its answers octet by octet" },
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
	/* A row of the message's end alone waits until then; asked for at an earlier stage it comes
	 * there. */
	v->at_message = stage == CAT_STAGE_rcpt && !(row->stages & (1u << CAT_STAGE_rcpt)) &&
	    (row->stages & (1u << CAT_STAGE_message | 1u << CAT_STAGE_data));
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

/* An enhanced status code alone: with the reply code that usually goes with it. */
static bool parse_enhanced(struct lab_verdict *v, const struct catalogue *cat, struct span name)
{
	struct enhanced_status e;
	char text[32];

	if (enhanced_status_parse(name, &e) != name.n || (e.class_ != 4 && e.class_ != 5))
		return false;
	snprintf(text, sizeof(text), "%u-%.*s", e.class_ == 4 ? 450 : 550, SPAN_FMT(name));
	return parse_code(v, cat, span_str(text));
}

static bool parse_policy(
    struct lab_verdict *v, const struct catalogue *cat, struct span name, enum cat_stage stage)
{
	char upper[16];
	const struct cat_policy *p;

	if (name.n >= sizeof(upper))
		return false;
	for (size_t i = 0; i < name.n; i++)
		upper[i] = (char)ascii_upper(name.p[i]);
	p = catalogue_policy(cat, span_of(upper, name.n));
	/* Rows of the code with its usual reply code first: they are the plainest. */
	for (int round = 0; p && round < 2; round++)
		for (size_t i = 0; i < catalogue_reply_count(cat); i++) {
			const struct cat_reply *row = catalogue_reply(cat, (int)i);
			if (row->policy_code && strcmp(row->policy_code, p->code) == 0 &&
			    (round == 1 || row->failure_code == p->failure_code) &&
			    set_reply(v, cat, (int)i, stage))
				return true;
		}
	return false;
}

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

bool lab_verdict_parse(
    const struct catalogue *cat, struct span name, enum cat_stage stage, struct lab_verdict *v_r)
{
	static const struct {
		const char *name;
		enum lab_kind kind;
	} words[] = { { "ok", LAB_OK }, { "timeout", LAB_TIMEOUT },
		{ "disconnect", LAB_DISCONNECT }, { "garbage", LAB_GARBAGE }, { "slow", LAB_SLOW },
		{ "refused", LAB_REFUSE } };
	static const struct span greylist = { (const uint8_t *)"greylist-", 9 };
	struct lab_verdict v = { .reply = -1 };
	uint64_t ms;
	int reply;

	*v_r = v;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (span_eq_nocase(name, span_str(words[i].name))) {
			v_r->kind = words[i].kind;
			return words[i].kind != LAB_REFUSE || stage == CAT_STAGE_connect;
		}
	if (span_starts_nocase(name, greylist) &&
	    yaml_duration_parse(span_skip(name, greylist.n), &ms) == 0 && ms <= 86400000) {
		v_r->kind = LAB_GREYLIST;
		v_r->seconds = (uint32_t)(ms / 1000);
		return true;
	}
	if (parse_policy(v_r, cat, name, stage) || parse_code(v_r, cat, name) ||
	    parse_enhanced(v_r, cat, name) || parse_failure(v_r, cat, name, stage))
		return true;
	reply = catalogue_reply_by_id(cat, name);
	return reply >= 0 && set_reply(v_r, cat, reply, stage);
}
