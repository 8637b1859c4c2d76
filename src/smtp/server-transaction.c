/*
 * smtp/server-transaction.c - MAIL, RCPT, DATA and VRFY, RFC 5321 4.1.1.2 to 4.1.1.6.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "base/utf8.h"
#include "catalogue/reply_ids.h"
#include "smtp/server-private.h"

/* Recipients above the limit that are not counted as errors; Postfix's overshoot limit. */
#define RCPT_OVERSHOOT_MAX 1000

/*
 * "FROM:" or "TO:" and the path behind it, blanks between them as Postfix takes them.
 * Returns 0 with the parameters in *rest_r, or refuses and returns -1.
 */
static int read_path(struct smtp_server *s, struct span args, struct span word, unsigned flags,
    int bad_syntax, int bad_path, struct span *rest_r)
{
	struct span path;
	size_t used = 0;
	int rc;

	path = span_trim(span_skip(args, word.n));
	if (!span_starts_nocase(args, word) || path.n == 0) {
		smtp_server_refuse(s, bad_syntax, NULL);
		return -1;
	}
	if (s->o.extensions & SMTP_EXT_SMTPUTF8)
		flags |= SMTP_PATH_UTF8;
	rc = smtp_path_parse(path, flags | SMTP_PATH_LENIENT, &s->arena, &s->step.address, &used);
	if (rc == -ERR_NOMEM) {
		s->failed = true;
		return -1;
	}
	*rest_r = span_skip(path, used);
	if (rc < 0 || (rest_r->n && !smtp_is_blank(rest_r->p[0]))) {
		smtp_server_refuse(s, bad_path, NULL);
		return -1;
	}
	return 0;
}

/* Parameters behind the path; 0, or refuses and returns -1. */
static int read_params(
    struct smtp_server *s, struct span rest, enum smtp_params_verb verb, struct smtp_params *p_r)
{
	struct reply_args args = { 0 };
	int reply = -1;
	int rc = smtp_params_parse(rest, verb, smtp_server_offered(s), &s->arena, p_r, &reply,
	    &args.field[REPLY_FIELD_detail]);

	if (rc == 0)
		return 0;
	if (rc == -ERR_NOMEM)
		s->failed = true;
	else
		smtp_server_refuse(s, reply, &args);
	return -1;
}

void smtp_server_on_mail(struct smtp_server *s, struct span args)
{
	const struct span from = SPAN_LIT("FROM:");
	struct smtp_params p;
	struct span rest;

	if (read_path(s, args, from, SMTP_PATH_NULL_OK, REPLY_SYNTAX_MAIL, REPLY_BAD_SENDER_SYNTAX,
		&rest) < 0 ||
	    read_params(s, rest, SMTP_PARAMS_MAIL, &p) < 0)
		return;
	if (!p.smtputf8 && !ascii_valid(s->step.address.address)) {
		smtp_server_refuse(s, REPLY_SMTPUTF8_NEEDED, NULL);
		return;
	}
	if (s->o.message_octets_max && p.size > s->o.message_octets_max) {
		struct reply_args size = { 0 };
		size.field[REPLY_FIELD_limit] = smtp_server_number(s, 0, s->o.message_octets_max);
		size.field[REPLY_FIELD_octets] = smtp_server_number(s, 1, p.size);
		smtp_server_refuse(s, REPLY_SIZE_FIXED_LIMIT, &size);
		return;
	}
	if (p.has_auth && p.auth.n && !s->authenticated) {
		smtp_server_refuse(s, REPLY_AUTH_FIRST, NULL);
		return;
	}
	s->step.size = p.size;
	s->step.body_8bit = p.body_8bit;
	s->step.body_binary = p.body_binary;
	s->step.smtputf8 = p.smtputf8;
	s->step.require_tls = p.require_tls;
	s->step.has_auth = p.has_auth;
	s->step.auth = p.auth;
	s->step.ret = p.ret;
	s->step.envid = p.envid;
	smtp_server_ask(s, SMTP_STEP_MAIL);
}

void smtp_server_on_rcpt(struct smtp_server *s, struct span args)
{
	const struct span to = SPAN_LIT("TO:");
	struct smtp_params p;
	struct span rest;

	if (read_path(s, args, to, SMTP_PATH_POSTMASTER_OK, REPLY_SYNTAX_RCPT,
		REPLY_BAD_RECIPIENT_SYNTAX, &rest) < 0 ||
	    read_params(s, rest, SMTP_PARAMS_RCPT, &p) < 0)
		return;
	if (!s->txn.smtputf8 && !ascii_valid(s->step.address.address)) {
		smtp_server_refuse(s, REPLY_SMTPUTF8_NEEDED, NULL);
		return;
	}
	if (s->o.rcpt_max && s->txn.rcpts >= s->o.rcpt_max) {
		struct reply_args limit = { 0 };
		limit.field[REPLY_FIELD_limit] = smtp_server_number(s, 0, s->o.rcpt_max);
		smtp_server_refuse(s, REPLY_TOO_MANY_RECIPIENTS, &limit);
		if (s->txn.overshoot++ < RCPT_OVERSHOOT_MAX)
			s->errors--; /* the client cannot know how many we take */
		return;
	}
	s->step.notify = p.notify;
	s->step.orcpt = p.orcpt;
	smtp_server_ask(s, SMTP_STEP_RCPT);
}

void smtp_server_on_data(struct smtp_server *s, struct span args)
{
	if (args.n)
		smtp_server_refuse(s, REPLY_SYNTAX_DATA, NULL);
	else if (s->txn.binary)
		smtp_server_refuse(s, REPLY_DATA_FOR_BINARY, NULL);
	else
		smtp_server_ask(s, SMTP_STEP_DATA);
}

/* An address with or without brackets, a local part alone; SMTPUTF8 may follow, RFC 6531 3.7.4.2.
 */
void smtp_server_on_vrfy(struct smtp_server *s, struct span args)
{
	static const struct span keyword = { (const uint8_t *)" SMTPUTF8", 9 };
	unsigned flags = SMTP_PATH_LENIENT;
	size_t used = 0;
	int rc;

	if (s->o.extensions & SMTP_EXT_SMTPUTF8) {
		flags |= SMTP_PATH_UTF8;
		s->step.smtputf8 = span_ends_nocase(args, keyword);
		if (s->step.smtputf8)
			args = span_trim(span_of(args.p, args.n - keyword.n));
	}
	if (args.n == 0) {
		smtp_server_refuse(s, REPLY_SYNTAX_VRFY, NULL);
		return;
	}
	rc = smtp_path_parse(args, flags, &s->arena, &s->step.address, &used);
	if (rc == -ERR_NOMEM)
		s->failed = true;
	else if (rc < 0 || used != args.n)
		smtp_server_refuse(s, REPLY_BAD_RECIPIENT_SYNTAX, NULL);
	else if (!s->step.smtputf8 && !ascii_valid(args))
		smtp_server_refuse(s, REPLY_SMTPUTF8_NEEDED, NULL);
	else
		smtp_server_ask(s, SMTP_STEP_VRFY);
}
