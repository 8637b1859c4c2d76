/*
 * policy/checks_recipient.c - may this client send to this recipient?
 *
 * Names and meaning are Postfix's (SMTPD_ACCESS_README).  "Could not find out" is
 * never a reason to refuse for good: it ends in a 4xx.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "policy/policy-private.h"
#include "catalogue/reply_ids.h"

static const struct span no_key = { (const uint8_t *)"", 0 };

static void refuse(
    struct policy_verdict *v, enum policy_decision decision, int reply, struct span recipient)
{
	v->decision = decision;
	v->reply = reply;
	v->args.field[REPLY_FIELD_recipient] = recipient;
}

void check_permit(struct policy_ask *ask, struct policy_verdict *v)
{
	(void)ask;
	v->decision = POLICY_PERMIT;
}

void check_reject(struct policy_ask *ask, struct policy_verdict *v)
{
	const struct fact *rcpt = policy_ask_fact(ask, FACT_recipient, no_key);

	if (rcpt)
		refuse(v, POLICY_REJECT, REPLY_RELAY_DENIED, rcpt->value);
}

void check_defer(struct policy_ask *ask, struct policy_verdict *v)
{
	const struct fact *rcpt = policy_ask_fact(ask, FACT_recipient, no_key);

	if (rcpt)
		refuse(v, POLICY_DEFER, REPLY_RELAY_DENIED_TEMP, rcpt->value);
}

void check_permit_mynetworks(struct policy_ask *ask, struct policy_verdict *v)
{
	const struct fact *net = policy_ask_fact(ask, FACT_client_in_mynetworks, no_key);

	if (net && net->state == FACT_ANSWER)
		v->decision = POLICY_PERMIT;
}

void check_permit_sasl_authenticated(struct policy_ask *ask, struct policy_verdict *v)
{
	const struct fact *user = policy_ask_fact(ask, FACT_sasl_user, no_key);

	if (user && user->state == FACT_ANSWER)
		v->decision = POLICY_PERMIT;
}

/* Only of whom has said who it is; Postfix's reject_authenticated_sender_login_mismatch. */
void check_reject_sender_login_mismatch(struct policy_ask *ask, struct policy_verdict *v)
{
	const struct fact *user = policy_ask_fact(ask, FACT_sasl_user, no_key), *sender, *owned;

	if (!user || user->state != FACT_ANSWER)
		return;
	owned = policy_ask_fact(ask, FACT_sender_owned, no_key);
	if (!owned || owned->state == FACT_ANSWER)
		return;
	sender = policy_ask_fact(ask, FACT_sender, no_key);
	if (!sender)
		return;
	v->decision = owned->state == FACT_UNKNOWN ? POLICY_DEFER : POLICY_REJECT;
	v->reply = owned->state == FACT_UNKNOWN ? REPLY_TEMPORARY_LOOKUP_FAILURE
						: REPLY_SENDER_LOGIN_MISMATCH;
	v->args.field[REPLY_FIELD_sender] = sender->value;
	v->args.field[REPLY_FIELD_detail] = user->value;
}

/* Domain of an address; empty for a bare local part, which is ours (RFC 5321 4.5.1, <postmaster>).
 */
static struct span domain_of(struct span address)
{
	ptrdiff_t at = span_rfind(address, '@');

	return at < 0 ? no_key : span_skip(address, (size_t)at + 1);
}

void check_reject_unauth_destination(struct policy_ask *ask, struct policy_verdict *v)
{
	const struct fact *rcpt = policy_ask_fact(ask, FACT_recipient, no_key), *class_;

	if (!rcpt)
		return;
	class_ = policy_ask_fact(ask, FACT_domain_class, domain_of(rcpt->value));
	if (!class_ || class_->state == FACT_ANSWER)
		return;
	if (class_->state == FACT_UNKNOWN)
		refuse(v, POLICY_DEFER, REPLY_TEMPORARY_LOOKUP_FAILURE, rcpt->value);
	else
		refuse(v, POLICY_REJECT, REPLY_RELAY_DENIED, rcpt->value);
}

void check_reject_unlisted_recipient(struct policy_ask *ask, struct policy_verdict *v)
{
	const struct fact *rcpt = policy_ask_fact(ask, FACT_recipient, no_key), *class_, *listed;

	if (!rcpt)
		return;
	class_ = policy_ask_fact(ask, FACT_domain_class, domain_of(rcpt->value));
	if (!class_ || class_->state == FACT_NONE)
		return;
	if (class_->state == FACT_UNKNOWN) {
		refuse(v, POLICY_DEFER, REPLY_TEMPORARY_LOOKUP_FAILURE, rcpt->value);
		return;
	}
	if (!span_eq(class_->value, SPAN_LIT("local")))
		return;
	listed = policy_ask_fact(ask, FACT_recipient_listed, rcpt->value);
	if (!listed || listed->state == FACT_ANSWER)
		return;
	if (listed->state == FACT_UNKNOWN)
		refuse(v, POLICY_DEFER, REPLY_TEMPORARY_LOOKUP_FAILURE, rcpt->value);
	else
		refuse(v, POLICY_REJECT, REPLY_RCPT_UNKNOWN, rcpt->value);
}
