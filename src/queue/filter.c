/*
 * queue/filter.c - see queue/filter.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "queue/filter.h"
#include "base/err.h"
#include "yaml/yaml.h"

#include <stdio.h>

enum kind { TEXT, STATUS, CODE, NUMBER, TIME, SIZE };
enum field {
	F_ID,
	F_SENDER,
	F_RECIPIENT,
	F_DOMAIN,
	F_MESSAGE_ID,
	F_CLIENT,
	F_HOST,
	F_STATUS,
	F_STAGE,
	F_CODE,
	F_ENHANCED,
	F_FAILURE,
	F_REPLY,
	F_ATTEMPTS,
	F_AGE,
	F_NEXT,
	F_SIZE
};
enum op { EQ, NE, LT, LE, GT, GE };

static const struct queue_filter_field fields[] = {
	[F_ID] = { "id", "text", "queue id" },
	[F_SENDER] = { "sender", "text", "reverse-path; empty for the null sender" },
	[F_RECIPIENT] = { "recipient", "text", "the recipient's address" },
	[F_DOMAIN] = { "domain", "text", "domain of the recipient" },
	[F_MESSAGE_ID] = { "message_id", "text", "Message-ID without < >" },
	[F_CLIENT] = { "client", "text", "IP address that it came from" },
	[F_HOST] = { "host", "text", "host of the last attempt" },
	[F_STATUS] = { "status", "status", "pending, deferred or held" },
	[F_STAGE] = { "stage", "text", "stage at which the last attempt ended: connect, rcpt ..." },
	[F_CODE] = { "code", "code", "reply code of the last attempt: 451, 4xx" },
	[F_ENHANCED] = { "enhanced", "text",
	    "enhanced status code of the last attempt: 4.2.2, *.7.*" },
	[F_FAILURE] = { "failure", "code", "failure code of the last attempt: 3001, 30xx" },
	[F_REPLY] = { "reply", "text", "text of the last reply" },
	[F_ATTEMPTS] = { "attempts", "number", "failed attempts so far" },
	[F_AGE] = { "age", "duration", "time since it came in" },
	[F_NEXT] = { "next", "duration", "time until the next attempt" },
	[F_SIZE] = { "size", "size", "octets of the message" },
	{ NULL, NULL, NULL },
};

static const enum kind kinds[] = { [F_ID] = TEXT,
	[F_SENDER] = TEXT,
	[F_RECIPIENT] = TEXT,
	[F_DOMAIN] = TEXT,
	[F_MESSAGE_ID] = TEXT,
	[F_CLIENT] = TEXT,
	[F_HOST] = TEXT,
	[F_STATUS] = STATUS,
	[F_STAGE] = TEXT,
	[F_CODE] = CODE,
	[F_ENHANCED] = TEXT,
	[F_FAILURE] = CODE,
	[F_REPLY] = TEXT,
	[F_ATTEMPTS] = NUMBER,
	[F_AGE] = TIME,
	[F_NEXT] = TIME,
	[F_SIZE] = SIZE };

static const char *const stages[] = {
#define X(name) #name,
	CAT_STAGES(X)
#undef X
};

const struct queue_filter_field *queue_filter_fields(void)
{
	return fields;
}

const char *rcpt_status_name(enum rcpt_status status)
{
	static const char *const names[] = { "pending", "deferred", "held", "delivered", "failed",
		"deleted" };

	return (size_t)status < sizeof(names) / sizeof(names[0]) ? names[status] : "?";
}

void queue_filter_init(struct queue_filter *f)
{
	f->count = 0;
}

/* The word, and what is wrong with it. */
static int wrong(const char **why_r, const char *is, struct span what)
{
	static _Thread_local char text[256];

	snprintf(text, sizeof(text), "\"%.*s\" %s", (int)(what.n > 100 ? 100 : what.n),
	    (const char *)what.p, is);
	*why_r = text;
	return -ERR_SYNTAX;
}

static int find_field(struct span name)
{
	for (int i = 0; fields[i].name; i++)
		if (span_eq_nocase(name, span_str(fields[i].name)))
			return i;
	return -1;
}

/* Where the operator stands, which one, and how long it is. */
static ptrdiff_t find_op(struct span s, enum op *op_r, size_t *octets_r)
{
	for (size_t i = 0; i < s.n; i++) {
		bool eq = i + 1 < s.n && s.p[i + 1] == '=';
		*octets_r = eq && s.p[i] != '=' ? 2 : 1;
		if (s.p[i] == '=')
			*op_r = EQ;
		else if (s.p[i] == '!' && eq)
			*op_r = NE;
		else if (s.p[i] == '<')
			*op_r = eq ? LE : LT;
		else if (s.p[i] == '>')
			*op_r = eq ? GE : GT;
		else
			continue;
		return (ptrdiff_t)i;
	}
	return -1;
}

static bool code_pattern(struct span v)
{
	for (size_t i = 0; i < v.n; i++)
		if (!ascii_is_digit(v.p[i]) && ascii_lower(v.p[i]) != 'x')
			return false;
	return v.n > 0;
}

static int read_value(enum kind kind, struct span v, int64_t *number_r, const char **why_r)
{
	uint64_t n = 0;

	switch (kind) {
	case TEXT:
		return 0;
	case STATUS:
		for (int i = 0; i <= RCPT_DELETED; i++)
			if (span_eq_nocase(v, span_str(rcpt_status_name((enum rcpt_status)i))))
				return 0;
		return wrong(why_r, "is no status: pending, deferred, held", v);
	case CODE:
		return code_pattern(v) ? 0 : wrong(why_r, "is no code, nor one with x", v);
	case NUMBER:
		if (span_u64(v, INT64_MAX, &n) < 0)
			return wrong(why_r, "is no number", v);
		break;
	case TIME:
		if (yaml_duration_parse(v, &n) < 0 || n > INT64_MAX)
			return wrong(why_r, "is no duration such as 10m or 2h", v);
		break;
	case SIZE:
		if (yaml_size_parse(v, &n) < 0 || n > INT64_MAX)
			return wrong(why_r, "is no size such as 10k or 1M", v);
		break;
	}
	*number_r = (int64_t)n;
	return 0;
}

int queue_filter_add(struct queue_filter *f, struct span text, const char **why_r)
{
	struct queue_filter_term t = { .count = 0 };
	struct span rest;
	size_t octets;
	enum op op = EQ;
	ptrdiff_t at = find_op(text, &op, &octets);
	enum kind kind;

	if (f->count == QUEUE_FILTER_TERMS_MAX) {
		*why_r = "too many terms";
		return -ERR_LIMIT;
	}
	if (at <= 0)
		return wrong(why_r, "is no term: FIELD=VALUE, FIELD>VALUE ...", text);
	t.field = find_field(span_of(text.p, (size_t)at));
	if (t.field < 0)
		return wrong(why_r, "is no field", span_of(text.p, (size_t)at));
	t.op = op;
	kind = kinds[t.field];
	if (op > NE && (kind == TEXT || kind == STATUS || kind == CODE))
		return wrong(why_r, "can only be = or !=", span_of(text.p, (size_t)at));
	rest = span_skip(text, (size_t)at + octets);
	for (;;) {
		ptrdiff_t comma = span_find(rest, ',');
		struct span v = comma < 0 ? rest : span_of(rest.p, (size_t)comma);
		int r;
		if (t.count == QUEUE_FILTER_VALUES_MAX) {
			*why_r = "too many values";
			return -ERR_LIMIT;
		}
		r = read_value(kind, v, &t.numbers[t.count], why_r);
		if (r < 0)
			return r;
		t.values[t.count++] = v;
		if (comma < 0)
			break;
		rest = span_skip(rest, (size_t)comma + 1);
	}
	f->terms[f->count++] = t;
	return 0;
}

/* '*' and '?' without case; linear: one place to come back to is enough. */
static bool glob(struct span pattern, struct span s)
{
	size_t p = 0, i = 0, star = SIZE_MAX, mark = 0;

	while (i < s.n) {
		if (p < pattern.n && pattern.p[p] == '*') {
			star = p++;
			mark = i;
		} else if (p < pattern.n &&
		    (pattern.p[p] == '?' || ascii_lower(pattern.p[p]) == ascii_lower(s.p[i]))) {
			p++;
			i++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			i = ++mark;
		} else {
			return false;
		}
	}
	while (p < pattern.n && pattern.p[p] == '*')
		p++;
	return p == pattern.n;
}

static bool code_match(struct span pattern, unsigned code)
{
	char text[12];
	int n = snprintf(text, sizeof(text), "%u", code);

	if ((size_t)n != pattern.n)
		return false;
	for (int i = 0; i < n; i++)
		if (ascii_lower(pattern.p[i]) != 'x' && pattern.p[i] != (uint8_t)text[i])
			return false;
	return true;
}

static struct span domain_of(struct span address)
{
	ptrdiff_t at = span_rfind(address, '@');

	return at < 0 ? span_of(address.p, 0) : span_skip(address, (size_t)at + 1);
}

static struct span text_of(
    int field, const struct envelope *env, const struct rcpt *r, char *room, size_t n)
{
	switch (field) {
	case F_ID:
		queue_id_text(env->id, room);
		return span_str(room);
	case F_SENDER:
		return env->reverse_path;
	case F_RECIPIENT:
		return r->address;
	case F_DOMAIN:
		return domain_of(r->address);
	case F_MESSAGE_ID:
		return env->message_id;
	case F_CLIENT:
		ip_text(&env->client_ip, room);
		return span_str(room);
	case F_HOST:
		return r->last.host;
	case F_STATUS:
		return span_str(rcpt_status_name(r->status));
	case F_STAGE:
		return span_str(r->last.at_ms ? stages[r->last.stage] : "");
	case F_ENHANCED:
		if (!r->last.enhanced.class_)
			return span_str("");
		snprintf(room, n, "%u.%u.%u", r->last.enhanced.class_, r->last.enhanced.subject,
		    r->last.enhanced.detail);
		return span_str(room);
	case F_REPLY:
		return r->last.text;
	default:
		return span_str("");
	}
}

static int64_t number_of(
    int field, const struct envelope *env, const struct rcpt *r, int64_t now_ms)
{
	switch (field) {
	case F_ATTEMPTS:
		return r->attempts;
	case F_AGE:
		return now_ms - env->received_ms;
	case F_NEXT:
		return r->status == RCPT_HELD ? INT64_MAX
		    : r->next_ms > now_ms     ? r->next_ms - now_ms
					      : 0;
	case F_SIZE:
		return (int64_t)env->size;
	default:
		return 0;
	}
}

static bool value_match(const struct queue_filter_term *t, size_t i, const struct envelope *env,
    const struct rcpt *r, int64_t now_ms)
{
	char room[64];
	int64_t n;

	switch (kinds[t->field]) {
	case TEXT:
	case STATUS:
		return glob(t->values[i], text_of(t->field, env, r, room, sizeof(room)));
	case CODE:
		return code_match(
		    t->values[i], t->field == F_CODE ? r->last.code : r->last.failure_code);
	case NUMBER:
	case TIME:
	case SIZE:
		break;
	}
	n = number_of(t->field, env, r, now_ms);
	switch ((enum op)t->op) {
	case EQ:
	case NE:
		return n == t->numbers[i];
	case LT:
		return n < t->numbers[i];
	case LE:
		return n <= t->numbers[i];
	case GT:
		return n > t->numbers[i];
	case GE:
		return n >= t->numbers[i];
	}
	return false;
}

bool queue_filter_match(
    const struct queue_filter *f, const struct envelope *env, const struct rcpt *r, int64_t now_ms)
{
	for (size_t k = 0; k < f->count; k++) {
		const struct queue_filter_term *t = &f->terms[k];
		bool any = false;
		for (size_t i = 0; i < t->count && !any; i++)
			any = value_match(t, i, env, r, now_ms);
		if (any == (t->op == NE))
			return false;
	}
	return true;
}
