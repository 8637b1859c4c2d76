/*
 * deliver/transaction.c - a message over a connection: to whom, and what each of them got.
 *
 * A group may need several transactions: the host says how many recipients and domains
 * one may have (LIMITS, RFC 9422).  Whoever the host cannot take at all (an address
 * beyond ASCII without SMTPUTF8) is judged here and does not stop the others.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"
#include "base/idn.h"
#include "base/utf8.h"
#include "deliver/delivery-private.h"
#include "smtp/server.h"

#include <stdio.h>

/* The body is read and sent in pieces of this size, the next when the last is with the kernel. */
#define BODY_CHUNK 65536

static const char *const stage_names[] = {
#define X(name) #name,
	CAT_STAGES(X)
#undef X
};

static enum classify_trouble trouble_of_lack(const struct smtp_outcome *o)
{
	switch (o->missing) {
	case SMTP_EXT_STARTTLS:
		return o->stage == CAT_STAGE_auth ? CLASSIFY_AUTH : CLASSIFY_TLS_MISSING;
	case SMTP_EXT_AUTH:
		return CLASSIFY_AUTH;
	case SMTP_EXT_SMTPUTF8:
		return CLASSIFY_UTF8;
	case SMTP_EXT_8BITMIME:
		return CLASSIFY_8BIT;
	case SMTP_EXT_BINARYMIME:
		return CLASSIFY_BINARY;
	case SMTP_EXT_REQUIRETLS:
		return CLASSIFY_REQUIRETLS;
	default:
		return CLASSIFY_GARBAGE;
	}
}

static enum classify_trouble trouble_of(const struct delivery *d, const struct smtp_outcome *o)
{
	if (o->missing)
		return trouble_of_lack(o);
	switch (-o->err) {
	case 0:
		/* A password that is no longer right, TLS that is out of order: nothing that the
		 * recipient's side says of the message. */
		if (o->stage == CAT_STAGE_auth)
			return CLASSIFY_AUTH;
		return o->stage == CAT_STAGE_starttls && secure_level(d) >= CONFIG_ROUTE_TLS_ENCRYPT
		    ? CLASSIFY_TLS_MISSING
		    : CLASSIFY_REPLY;
	case ERR_TIMEOUT:
		return CLASSIFY_TIMEOUT;
	case ERR_PROTO:
	case ERR_LINE_TOO_LONG:
	case ERR_SYNTAX:
		return CLASSIFY_GARBAGE;
	case ERR_LIMIT:
		return CLASSIFY_TOO_LARGE;
	case ERR_TLS:
		return o->stage == CAT_STAGE_mail ? CLASSIFY_REQUIRETLS_CLEAR : CLASSIFY_TLS_FAILED;
	case ERR_AUTH:
		return CLASSIFY_AUTH;
	case ERR_NOMEM:
	case ERR_STOPPED:
		return CLASSIFY_LOCAL;
	default:
		return CLASSIFY_LOST;
	}
}

/* Our own words for what is no reply. */
static void say(const struct delivery *d, const struct smtp_outcome *o, enum classify_trouble t,
    char *to, size_t n)
{
	const char *host = d->target.host;

	switch (t) {
	case CLASSIFY_TLS_MISSING:
		snprintf(to, n, "TLS is required for %s, and it does not offer STARTTLS", host);
		break;
	case CLASSIFY_TLS_FAILED:
		snprintf(to, n, "TLS with %s failed: %s", host,
		    d->tls_why[0] ? d->tls_why : err_text(o->err));
		break;
	case CLASSIFY_AUTH:
		if (o->missing == SMTP_EXT_STARTTLS)
			snprintf(to, n,
			    "%s is not under TLS, and our password does not go in clear", host);
		else if (o->missing == SMTP_EXT_AUTH)
			snprintf(
			    to, n, "we have credentials for %s, and it does not offer AUTH", host);
		else
			snprintf(to, n, "no authentication with %s: it offers \"%.*s\"", host,
			    SPAN_FMT(smtp_client_mechanisms(d->client)));
		break;
	case CLASSIFY_UTF8:
		snprintf(to, n, "%s does not offer SMTPUTF8, which the address or the header needs",
		    host);
		break;
	case CLASSIFY_BINARY:
		snprintf(to, n, "%s does not offer BINARYMIME, and the message is binary%s%s", host,
		    d->body.why ? " and cannot be converted: " : "",
		    d->body.why ? d->body.why : "");
		break;
	case CLASSIFY_8BIT:
		snprintf(to, n,
		    "%s does not offer 8BITMIME, and the message is 8-bit and cannot be "
		    "converted%s%s",
		    host, d->body.why ? ": " : "", d->body.why ? d->body.why : "");
		break;
	case CLASSIFY_REQUIRETLS:
		snprintf(to, n,
		    "the sender requires TLS all the way, and %s does not offer REQUIRETLS", host);
		break;
	case CLASSIFY_REQUIRETLS_CLEAR:
		snprintf(to, n,
		    "the sender requires TLS all the way, and %s has none that verifies%s%s", host,
		    d->tls_why[0] ? ": " : "", d->tls_why);
		break;
	case CLASSIFY_TOO_LARGE:
		snprintf(to, n, "the message is larger than the host takes while in stage %s",
		    stage_names[o->stage]);
		break;
	default:
		snprintf(to, n, "%s while in stage %s", err_text(o->err), stage_names[o->stage]);
		break;
	}
}

static void judge_one(struct delivery *d, size_t i, const struct smtp_outcome *o)
{
	struct work *w = d->group->work;
	char text[480];
	struct judged j = { .trouble = trouble_of(d, o),
		.stage = o->stage,
		.transport = route_transport(&d->group->route),
		.host = span_str(d->target.host),
		.address = span_str(d->address),
		.tls = span_str(d->tls),
		.delivered = o->delivered,
		.success = SUCCESS_RELAYED };

	if (d->options && d->options->lmtp)
		j.success = SUCCESS_DELIVERED;
	if (smtp_client_extensions(d->client) & SMTP_EXT_DSN)
		j.success = SUCCESS_SILENT;
	if (d->require_tls &&
	    (j.trouble == CLASSIFY_TLS_MISSING || j.trouble == CLASSIFY_TLS_FAILED))
		j.trouble = CLASSIFY_REQUIRETLS_CLEAR;
	if (o->err == 0) {
		j.reply = &o->reply;
	} else {
		say(d, o, j.trouble, text, sizeof(text));
		j.text = text;
	}
	rcpt_judge(w, &w->env.rcpts[i], &j);
}

void transaction_forget(struct delivery *d)
{
	delivery_body_close(&d->body);
	d->sent = d->body_begun = false;
	d->chosen_count = 0;
}

/* The group is judged: hand it back; then look what the connection can still do. */
void group_over(struct delivery *d)
{
	struct group *g = d->group;

	d->group = d->room_of = NULL;
	transaction_forget(d);
	group_done(g);
}

void transaction_judge(struct delivery *d)
{
	d->welcome = false;
	for (size_t i = 0; i < d->chosen_count; i++)
		d->welcome = d->welcome || smtp_client_outcome(d->client, i)->delivered;
	for (size_t i = 0; i < d->chosen_count; i++)
		judge_one(d, d->chosen[i], smtp_client_outcome(d->client, i));
	transaction_forget(d);
}

void transaction_judge_rest(struct delivery *d, const struct smtp_outcome *session)
{
	struct group *g = d->group;

	for (size_t i = 0; d->sent && i < d->chosen_count; i++) {
		const struct smtp_outcome *o = smtp_client_outcome(d->client, i);
		judge_one(d, d->chosen[i], o && o->is_set ? o : session);
	}
	for (size_t i = 0; i < g->count; i++)
		if (!g->work->judged[g->rcpts[i]])
			judge_one(d, g->rcpts[i], session);
	group_over(d);
}

bool transaction_is_lacking(const struct delivery *d)
{
	const struct smtp_outcome *o = smtp_client_outcome(d->client, 0);

	return o->is_set && o->stage == CAT_STAGE_mail && (o->missing || o->err == -ERR_TLS);
}

static struct span domain_of(struct span address)
{
	ptrdiff_t at = span_rfind(address, '@');

	return at < 0 ? span_of(NULL, 0) : span_skip(address, (size_t)at + 1);
}

/* Would it be one domain too many?  Counted anew each time: hosts that have such a limit have a
 * small one. */
static bool is_new_domain(
    const struct delivery *d, const struct envelope *env, struct span domain, uint32_t *domains)
{
	if (smtp_client_rcpt_domain_max(d->client) == 0)
		return false;
	for (size_t i = 0; i < d->chosen_count; i++)
		if (span_eq_nocase(domain, domain_of(env->rcpts[d->chosen[i]].address)))
			return false;
	return ++*domains > smtp_client_rcpt_domain_max(d->client);
}

/* Without SMTPUTF8 a domain goes as A-labels (RFC 5890 2.3.2.1); a local part has no such form. */
static struct span ascii_address(struct work *w, struct span address)
{
	ptrdiff_t at = span_rfind(address, '@');
	struct span local = span_of(address.p, (size_t)(at + 1));
	char name[IDN_NAME_MAX];
	char *ascii;

	if (at < 0 || ascii_valid(address) || !ascii_valid(local) ||
	    idn_to_ascii(domain_of(address), name) < 0)
		return address;
	ascii = arena_printf(&w->arena, "%.*s%s", SPAN_FMT(local), name);
	return ascii ? span_str(ascii) : address;
}

/* Who goes in this transaction: as many as the host takes at a time. */
static int choose(struct delivery *d)
{
	struct group *g = d->group;
	struct envelope *env = &g->work->env;
	bool utf8 = smtp_client_extensions(d->client) & SMTP_EXT_SMTPUTF8;
	uint32_t max = smtp_client_rcpt_max(d->client), domains = 0;

	d->chosen_count = 0;
	/* Once for a group: a host may take one recipient at a time of a thousand. */
	if (d->room_of != g) {
		d->chosen = arena_alloc(&g->work->arena, g->count * sizeof(*d->chosen));
		d->rcpts = arena_alloc(&g->work->arena, g->count * sizeof(*d->rcpts));
		d->room_of = d->chosen && d->rcpts ? g : NULL;
	}
	if (!d->room_of)
		return -ERR_NOMEM;
	for (size_t i = 0; i < g->count && (max == 0 || d->chosen_count < max); i++) {
		static const struct smtp_outcome no_utf8 = { .stage = CAT_STAGE_rcpt,
			.err = -ERR_UNSUPPORTED,
			.missing = SMTP_EXT_SMTPUTF8,
			.is_set = true };
		const struct rcpt *rc = &env->rcpts[g->rcpts[i]];
		struct span address = route_final_address(d->cfg, rc->address);
		if (!utf8)
			address = ascii_address(g->work, address);
		if (g->work->judged[g->rcpts[i]])
			continue;
		if (!utf8 && !ascii_valid(address) && g->target_at + 1 >= g->target_count) {
			judge_one(d, g->rcpts[i], &no_utf8);
			continue;
		}
		if (is_new_domain(d, env, domain_of(rc->address), &domains))
			continue;
		d->rcpts[d->chosen_count] =
		    (struct smtp_client_rcpt){ address, rc->orcpt, rc->notify };
		d->chosen[d->chosen_count++] = g->rcpts[i];
	}
	return d->chosen_count > 0;
}

/* Is it of any use to say SMTPUTF8?  RFC 6531 3.1 asks for it only where it is. */
static bool needs_utf8(const struct delivery *d, struct span reverse_path)
{
	bool needs = d->body.header_utf8 || !ascii_valid(reverse_path);

	for (size_t i = 0; i < d->chosen_count && !needs; i++)
		needs = !ascii_valid(d->rcpts[i].address);
	return needs;
}

int transaction_begin(struct delivery *d)
{
	struct group *g = d->group;
	struct envelope *env = &g->work->env;
	bool utf8 = smtp_client_extensions(d->client) & SMTP_EXT_SMTPUTF8;
	struct smtp_client_message m = { .reverse_path = utf8
		    ? env->reverse_path
		    : ascii_address(g->work, env->reverse_path),
		.size = env->size,
		.require_tls = d->require_tls,
		.has_auth = d->options && d->options->auth_parameter,
		.envid = env->envid,
		.ret = (uint8_t)env->ret };
	int r;

	d->sent = false;
	r = choose(d);
	if (r <= 0)
		return r;
	m.rcpts = d->rcpts;
	m.rcpt_count = d->chosen_count;
	delivery_body_close(&d->body);
	r = delivery_body_open(
	    &d->body, d->agent->deps.spool, env, smtp_client_extensions(d->client));
	if (r < 0)
		return r;
	m.body_8bit = d->body.is_8bit;
	m.body_binary = d->body.is_binary;
	m.need_8bit = d->body.needs_8bit;
	m.smtputf8 = needs_utf8(d, m.reverse_path);
	d->sent = true;
	r = smtp_client_send(d->client, &m, net_loop_now_ms(d->agent->deps.loop));
	return r < 0 ? r : 1;
}

int transaction_give_body(struct delivery *d)
{
	uint64_t now = net_loop_now_ms(d->agent->deps.loop);
	char chunk[BODY_CHUNK];
	ssize_t got;

	if (net_stream_waiting(d->stream) > 0)
		return 0;
	d->body_begun = true;
	got = delivery_body_read(&d->body, chunk, sizeof(chunk));
	if (got < 0) {
		smtp_client_body_fail(d->client);
		return (int)got;
	}
	if (got == 0)
		return smtp_client_body_end(d->client, now) < 0 ? -ERR_NOMEM : 1;
	return smtp_client_body(d->client, span_of(chunk, (size_t)got), now) < 0 ? -ERR_NOMEM : 1;
}
