/*
 * catalogue/names.c - names of who acts, stages and fields; the pieces of a text.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "catalogue/rows-private.h"

const char *const cat_acts_names[] = { "nobody", "message_author", "sender", "sender_admin",
	"sender_dns_admin", "recipient", "recipient_admin", "operator", NULL };

static const char *const acts_texts[CAT_ACTS_COUNT] = { "nobody", "the author of the message",
	"the sender", "the administrator of the sending server",
	"the administrator of the sender's DNS", "the recipient",
	"the administrator of the recipient's server", "the operator of this server" };

const char *const cat_stage_names[] = {
#define X(name) #name,
	CAT_STAGES(X)
#undef X
	    NULL
};

static const struct {
	const char *name, *what;
} fields[REPLY_FIELD_COUNT] = {
#define FIELD(name, what) { #name, what },
#include "catalogue/fields.def"
#undef FIELD
};

const char *cat_acts_name(enum cat_acts acts)
{
	return acts < CAT_ACTS_COUNT ? cat_acts_names[acts] : "unknown";
}

const char *cat_acts_text(enum cat_acts acts)
{
	return acts < CAT_ACTS_COUNT ? acts_texts[acts] : "not known";
}

const char *cat_stage_name(enum cat_stage stage)
{
	return stage < CAT_STAGE_COUNT ? cat_stage_names[stage] : "unknown";
}

const char *reply_field_name(enum reply_field field)
{
	return field < REPLY_FIELD_COUNT ? fields[field].name : "unknown";
}

const char *reply_field_what(enum reply_field field)
{
	return field < REPLY_FIELD_COUNT ? fields[field].what : "unknown";
}

int reply_field_by_name(struct span name)
{
	for (int i = 0; i < REPLY_FIELD_COUNT; i++)
		if (span_eq(name, span_str(fields[i].name)))
			return i;
	return -1;
}

bool cat_text_next(const char **text, struct cat_token *token_r)
{
	const char *s = *text;
	size_t n;

	if (*s == '\0')
		return false;
	*token_r = (struct cat_token){ .field = -1 };
	if (*s != '{') {
		n = strcspn(s, "{");
		token_r->literal = span_of(s, n);
		*text = s + n;
		return true;
	}
	n = strcspn(++s, "}");
	token_r->literal = span_of(s, n);
	token_r->field = reply_field_by_name(token_r->literal);
	token_r->bad = token_r->field < 0 || s[n] == '\0';
	*text = s + n + (s[n] != '\0');
	return true;
}

void cat_policy_reply_id(struct span code, char id_r[static 32])
{
	static const char prefix[] = "policy_";
	size_t at = sizeof(prefix) - 1;

	memcpy(id_r, prefix, at);
	for (size_t i = 0; i < code.n && at < 31; i++)
		id_r[at++] = code.p[i] == '-' ? '_' : (char)ascii_lower(code.p[i]);
	id_r[at] = '\0';
}

size_t enhanced_status_parse(struct span s, struct enhanced_status *status_r)
{
	uint16_t part[3] = { 0, 0, 0 };
	size_t at = 0;

	for (int i = 0; i < 3; i++) {
		size_t digits = 0;
		while (at < s.n && ascii_is_digit(s.p[at]) && digits < 4) {
			part[i] = (uint16_t)(part[i] * 10 + (s.p[at] - '0'));
			at++;
			digits++;
		}
		if (digits == 0 || digits > 3)
			return 0;
		if (i < 2 && (at == s.n || s.p[at++] != '.'))
			return 0;
	}
	if (part[0] != 2 && part[0] != 4 && part[0] != 5)
		return 0;
	/* "5.1.1.2" is an address or a version, no status. */
	if (s.p[1] != '.' ||
	    (at < s.n &&
		(ascii_is_alpha(s.p[at]) ||
		    (s.p[at] == '.' && at + 1 < s.n && ascii_is_digit(s.p[at + 1])))))
		return 0;
	*status_r = (struct enhanced_status){ (uint8_t)part[0], part[1], part[2] };
	return at;
}
