/*
 * smtp/server-peer.c - XCLIENT and XFORWARD: a trusted proxy or filter tells who the client is.
 *
 * Both are Postfix's (XCLIENT_README, XFORWARD_README).  XCLIENT begins the session anew
 * with another client; XFORWARD only says where the next message came from.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "base/ip.h"
#include "catalogue/reply_ids.h"
#include "smtp/server-private.h"

/* A name of DNS, and Postfix's limit for all of them. */
#define VALUE_OCTETS_MAX 255

enum { XCLIENT = 1, XFORWARD = 2, BOTH = 3 };

static const struct {
	const char *name;
	unsigned verbs;
} attributes[SMTP_PEER_COUNT] = {
	[SMTP_PEER_NAME] = { "NAME", BOTH },
	[SMTP_PEER_ADDR] = { "ADDR", BOTH },
	[SMTP_PEER_PORT] = { "PORT", BOTH },
	[SMTP_PEER_PROTO] = { "PROTO", BOTH },
	[SMTP_PEER_HELO] = { "HELO", BOTH },
	[SMTP_PEER_LOGIN] = { "LOGIN", XCLIENT },
	[SMTP_PEER_DESTADDR] = { "DESTADDR", XCLIENT },
	[SMTP_PEER_DESTPORT] = { "DESTPORT", XCLIENT },
	[SMTP_PEER_IDENT] = { "IDENT", XFORWARD },
	[SMTP_PEER_SOURCE] = { "SOURCE", XFORWARD },
};

static bool is_address(struct span value)
{
	struct ip ip;

	if (span_starts_nocase(value, SPAN_LIT("IPV6:")))
		return ip_parse(span_skip(value, 5), &ip) == 0 && ip.family == 6;
	return ip_parse(value, &ip) == 0 && ip.family == 4;
}

static bool is_good(enum smtp_peer_attribute a, struct span value)
{
	uint64_t port;

	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] < 33 || value.p[i] > 126)
			return false;
	/* clang-format off */
	switch (a) {
	case SMTP_PEER_NAME: return smtp_domain_valid(value);
	case SMTP_PEER_ADDR:
	case SMTP_PEER_DESTADDR: return is_address(value);
	case SMTP_PEER_PORT:
	case SMTP_PEER_DESTPORT: return span_u64(value, 65535, &port) == 0;
	case SMTP_PEER_PROTO:
		return span_eq_nocase(value, SPAN_LIT("SMTP")) || span_eq_nocase(value, SPAN_LIT("ESMTP"));
	case SMTP_PEER_SOURCE:
		return span_eq_nocase(value, SPAN_LIT("LOCAL")) || span_eq_nocase(value, SPAN_LIT("REMOTE"));
	case SMTP_PEER_HELO:
	case SMTP_PEER_LOGIN:
	case SMTP_PEER_IDENT: return value.n > 0;
	case SMTP_PEER_COUNT: break;
	}
	/* clang-format on */
	return false;
}

static int find(struct span name, unsigned verb)
{
	for (int i = 0; i < SMTP_PEER_COUNT; i++)
		if ((attributes[i].verbs & verb) &&
		    span_eq_nocase(name, span_str(attributes[i].name)))
			return i;
	return -1;
}

/* One NAME=VALUE: the reply that it earns, or -1. */
static int take(struct smtp_server *s, unsigned verb, struct span word, struct reply_args *args)
{
	ptrdiff_t equals = span_find(word, '=');
	struct span name, value;
	int a, rc;

	args->field[REPLY_FIELD_attribute] = span_str(verb == XCLIENT ? "XCLIENT" : "XFORWARD");
	if (equals <= 0)
		return REPLY_ATTRIBUTE_EXPECTED;
	name = span_of(word.p, (size_t)equals);
	args->field[REPLY_FIELD_detail] = name;
	a = find(name, verb);
	if (a < 0)
		return REPLY_BAD_ATTRIBUTE;
	rc = smtp_xtext_decode(span_skip(word, name.n + 1), &s->arena, &value);
	if (rc == -ERR_NOMEM) {
		s->failed = true;
		return -1;
	}
	args->field[REPLY_FIELD_attribute] = span_str(attributes[a].name);
	args->field[REPLY_FIELD_detail] = span_skip(word, name.n + 1);
	if (rc < 0)
		return REPLY_BAD_ATTRIBUTE_VALUE;
	if (value.n > VALUE_OCTETS_MAX)
		return REPLY_ATTRIBUTE_TOO_LONG;
	s->step.peer.value[a] = SPAN_LIT("");
	if (span_eq_nocase(value, SPAN_LIT("[UNAVAILABLE]"))) {
		s->step.peer.state[a] = SMTP_PEER_UNAVAILABLE;
	} else if (span_eq_nocase(value, SPAN_LIT("[TEMPUNAVAIL]"))) {
		s->step.peer.state[a] = SMTP_PEER_TEMPUNAVAIL;
	} else if (is_good((enum smtp_peer_attribute)a, value)) {
		s->step.peer.state[a] = SMTP_PEER_VALUE;
		s->step.peer.value[a] = value;
	} else {
		return REPLY_BAD_ATTRIBUTE_VALUE;
	}
	return -1;
}

/* All attributes; false when one was bad and the command refused. */
static bool read_peer(struct smtp_server *s, unsigned verb, struct span args)
{
	struct reply_args fields = { 0 };
	int reply = args.n ? -1 : REPLY_ATTRIBUTE_EXPECTED;

	for (; args.n && reply < 0 && !s->failed; args = span_trim(args)) {
		struct span word = smtp_word(args);
		reply = take(s, verb, word, &fields);
		args = span_skip(args, word.n);
	}
	if (reply >= 0)
		smtp_server_refuse(s, reply, &fields);
	return reply < 0 && !s->failed;
}

void smtp_server_on_xclient(struct smtp_server *s, struct span args)
{
	if (!read_peer(s, XCLIENT, args))
		return;
	/* another client speaks from here on: nothing that this one said holds for it */
	s->esmtp = s->authenticated = false;
	smtp_server_state_set(s, SMTP_ST_CONNECT);
	s->step.kind = SMTP_STEP_XCLIENT;
}

void smtp_server_on_xforward(struct smtp_server *s, struct span args)
{
	if (read_peer(s, XFORWARD, args))
		smtp_server_ask(s, SMTP_STEP_XFORWARD);
}
