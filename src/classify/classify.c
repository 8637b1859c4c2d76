/*
 * classify/classify.c - see classify/classify.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "classify/classify.h"
#include "catalogue/explain.h"

#include <stdio.h>

#define FAILURE_UNKNOWN 9999

/* What stands for a trouble that came without a reply; design: what the failure codes mean here. */
static const struct {
	const char *name;
	uint16_t failure_code;
	bool permanent;
	struct enhanced_status status;
} troubles[CLASSIFY_TROUBLE_COUNT] = {
	[CLASSIFY_REPLY] = { "reply", FAILURE_UNKNOWN, false, { 4, 0, 0 } },
	[CLASSIFY_DNS_NXDOMAIN] = { "no such domain", 2002, true, { 5, 1, 2 } },
	[CLASSIFY_DNS_NO_HOST] = { "domain without mail host", 4003, false, { 4, 4, 4 } },
	[CLASSIFY_DNS_NULL_MX] = { "null MX", 2002, true, { 5, 1, 10 } },
	[CLASSIFY_DNS_UNKNOWN] = { "DNS could not find out", 4003, false, { 4, 4, 3 } },
	[CLASSIFY_CONNECT] = { "no connection", 4003, false, { 4, 4, 1 } },
	[CLASSIFY_TIMEOUT] = { "time-out in dialogue", 4002, false, { 4, 4, 2 } },
	[CLASSIFY_LOST] = { "connection lost in dialogue", 4002, false, { 4, 4, 2 } },
	[CLASSIFY_GARBAGE] = { "not SMTP", 4002, false, { 4, 5, 0 } },
	[CLASSIFY_TOO_LARGE] = { "larger than announced SIZE", 1004, true, { 5, 3, 4 } },
	[CLASSIFY_LOCAL] = { "trouble of our own", 4999, false, { 4, 3, 0 } },
	[CLASSIFY_TLS_MISSING] = { "TLS required, not offered", 4002, false, { 4, 7, 4 } },
	[CLASSIFY_TLS_FAILED] = { "TLS failed", 4002, false, { 4, 7, 5 } },
	/* The operator can mend it; until then mail waits and is not lost to a changed password. */
	[CLASSIFY_AUTH] = { "our authentication", 3004, false, { 4, 7, 8 } },
	[CLASSIFY_UTF8] = { "SMTPUTF8 needed, not offered", 4002, true, { 5, 6, 7 } },
	[CLASSIFY_BINARY] = { "BINARYMIME needed, not offered", 4002, true, { 5, 6, 3 } },
	[CLASSIFY_NO_MAILBOX] = { "no such mailbox here", 2001, true, { 5, 1, 1 } },
	[CLASSIFY_8BIT] = { "8BITMIME needed, not offered", 4002, true, { 5, 6, 3 } },
	[CLASSIFY_REQUIRETLS] = { "REQUIRETLS needed, not offered", 4002, true, { 5, 7, 30 } },
	[CLASSIFY_REQUIRETLS_CLEAR] = { "REQUIRETLS without verified TLS", 4002, true,
	    { 5, 7, 10 } },
};

#define CONNECT (1u << CAT_STAGE_connect)
#define HELO    (1u << CAT_STAGE_helo | 1u << CAT_STAGE_starttls | 1u << CAT_STAGE_auth)
#define MAIL    (1u << CAT_STAGE_mail)
#define RCPT    (1u << CAT_STAGE_rcpt)
#define DATA    (1u << CAT_STAGE_data | 1u << CAT_STAGE_message)
#define ANY     0xffffu

static const struct {
	unsigned stages;
	uint16_t code_min, code_max;
	int subject, detail;
	uint16_t failure_code;
} table[] = {
#define ROW(stages, code_min, code_max, subject, detail, failure)                                  \
	{ stages, code_min, code_max, subject, detail, failure },
#include "classify/table.def"
#undef ROW
};

static bool part_fits(int want, bool has, uint16_t is)
{
	return want == -2 || (want == -1 ? !has : has && want == is);
}

static uint16_t by_table(const struct classify_input *in)
{
	bool has = in->enhanced.class_ != 0;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if ((table[i].stages & (1u << in->stage)) && in->code >= table[i].code_min &&
		    in->code <= table[i].code_max &&
		    part_fits(table[i].subject, has, in->enhanced.subject) &&
		    part_fits(table[i].detail, has, in->enhanced.detail))
			return table[i].failure_code;
	return 0;
}

/* A policy code in the text: three capitals, '-', P or T, digits, as a word of its own. */
static const struct cat_policy *find_policy(const struct catalogue *cat, struct span text)
{
	for (size_t i = 0; i + 6 <= text.n; i++) {
		size_t end = i + 5;
		if (text.p[i + 3] != '-' || (text.p[i + 4] != 'P' && text.p[i + 4] != 'T') ||
		    (i > 0 && ascii_is_alpha(text.p[i - 1])))
			continue;
		while (end < text.n && end < i + 8 && ascii_is_digit(text.p[end]))
			end++;
		if (end > i + 5) {
			const struct cat_policy *p =
			    catalogue_policy(cat, span_of(text.p + i, end - i));
			if (p)
				return p;
		}
	}
	return NULL;
}

static uint16_t by_catalogue(
    const struct catalogue *cat, const struct classify_input *in, const char **what_r)
{
	const struct cat_enhanced *e = in->enhanced.class_
	    ? catalogue_enhanced(cat, in->enhanced.subject, in->enhanced.detail)
	    : NULL;
	const struct cat_basic *b = catalogue_basic(cat, in->code);
	uint16_t code = 0;

	*what_r = "enhanced status code";
	if (e)
		code = in->code >= 500 ? e->failure_code_5 : e->failure_code_4;
	if (code && code != FAILURE_UNKNOWN)
		return code;
	*what_r = "reply code";
	if (b && b->failure_code)
		return b->failure_code;
	*what_r = "class of the reply code";
	return in->code >= 500 ? 1999 : in->code >= 400 ? 3999 : FAILURE_UNKNOWN;
}

/* Without what style postern adds: the policy code before the text, the help address behind it. */
static struct span bare_text(struct span text, const struct cat_policy *policy)
{
	static const char see[] = "; see http";
	size_t n = policy ? strlen(policy->code) : 0;
	const uint8_t *at;

	if (n && text.n > n && memcmp(text.p, policy->code, n) == 0 && text.p[n] == ' ')
		text = span_skip(text, n + 1);
	at = text.n ? memmem(text.p, text.n, see, strlen(see)) : NULL;
	if (at)
		text.n = (size_t)(at - text.p);
	return text;
}

/* The row of our catalogue whose text this is, or NULL: other servers use Postfix's words too. */
static const struct cat_reply *find_row(
    const struct catalogue *cat, const struct classify_input *in, struct span text)
{
	const struct cat_reply *best = NULL;
	int most = 0;

	for (size_t i = 0; i < catalogue_reply_count(cat); i++) {
		const struct cat_reply *row = catalogue_reply(cat, (int)i);
		struct reply_args args;
		int literal;
		if (row->code != in->code || row->artefact || !row->failure_code ||
		    row->enhanced.class_ != in->enhanced.class_ ||
		    row->enhanced.subject != in->enhanced.subject ||
		    row->enhanced.detail != in->enhanced.detail)
			continue;
		literal = cat_text_match(row->text, text, &args);
		if (literal > most) {
			most = literal;
			best = row;
		}
	}
	return best;
}

static void decide(
    const struct catalogue *cat, const struct classify_input *in, struct classify_result *r)
{
	const struct cat_policy *policy = find_policy(cat, in->text);
	const struct cat_reply *row = find_row(cat, in, bare_text(in->text, policy));
	const char *what;

	/* The words of a row say more than a policy code that several rows share, unless they
	 * disagree. */
	if (policy && row && (!row->policy_code || strcmp(row->policy_code, policy->code) != 0))
		row = NULL;
	if (policy && !row) {
		r->failure_code = policy->failure_code;
		r->acts = policy->acts;
		snprintf(r->rule, sizeof(r->rule), "policy code %s", policy->code);
		return;
	}
	if (row) {
		r->failure_code = row->failure_code;
		r->acts = row->acts;
		snprintf(r->rule, sizeof(r->rule), "reply %s", row->id);
		return;
	}
	r->failure_code = by_table(in);
	what = "table";
	if (!r->failure_code)
		r->failure_code = by_catalogue(cat, in, &what);
	snprintf(r->rule, sizeof(r->rule), "%s %u X.%u.%u", what, in->code, in->enhanced.subject,
	    in->enhanced.detail);
	if (!in->enhanced.class_)
		snprintf(r->rule, sizeof(r->rule), "%s %u", what, in->code);
}

void classify(
    const struct catalogue *cat, const struct classify_input *in, struct classify_result *r_r)
{
	struct classify_result r = { .acts = CAT_ACTS_COUNT };
	const struct cat_failure *failure;

	if (in->trouble == CLASSIFY_REPLY) {
		decide(cat, in, &r);
		/* The first digit is the peer's word on whether to come back, RFC 5321 4.2.1; a 2xx
		 * or 3xx where none belongs is a peer gone wrong, not a refusal. */
		r.permanent = in->code >= 500;
		r.status = in->enhanced.class_
		    ? in->enhanced
		    : (struct enhanced_status){ r.permanent ? 5 : 4, 0, 0 };
	} else {
		r.failure_code = troubles[in->trouble].failure_code;
		r.permanent = troubles[in->trouble].permanent;
		r.status = troubles[in->trouble].status;
		snprintf(r.rule, sizeof(r.rule), "%s", troubles[in->trouble].name);
	}
	failure = catalogue_failure(cat, r.failure_code);
	if (r.acts == CAT_ACTS_COUNT)
		r.acts = failure ? failure->acts : CAT_ACTS_NOBODY;
	*r_r = r;
}
