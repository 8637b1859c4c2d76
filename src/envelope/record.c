/*
 * envelope/record.c - the message record: written once, never changed.
 *
 * 'E', version, then in this order: id, time of reception, size, flags, body type,
 * RET, reverse-path, ENVID, client name, client address (family, octets), HELO,
 * protocol, user, session, Message-ID, number of recipients, and for each address,
 * ORCPT, NOTIFY and what aliases did.  Nothing may follow.  The spool guards it with a CRC; what is
 * read here is bounded all the same, for a spool is a directory that others can write to.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "envelope/private.h"

enum {
	FLAG_SMTPUTF8 = 1,
	FLAG_DSN = 2,
	FLAG_REQUIRE_TLS = 4,
	FLAGS = 7,
	FLAG_POSTMASTER = 8, /* from ENVELOPE_VERSION_FLAGS on */
	FLAGS_2 = 15
};

/* Each recipient has at least two lengths and NOTIFY. */
#define RCPT_OCTETS_MIN 3

static size_t ip_octets(unsigned family)
{
	return family == 4 ? 4 : family == 6 ? 16 : 0;
}

int envelope_encode(const struct envelope *env, struct buf *out)
{
	buf_add_char(out, ENVELOPE_MAGIC);
	buf_add_char(out, env->is_postmaster_notice ? ENVELOPE_VERSION_FLAGS : ENVELOPE_VERSION);
	put_number(out, env->id);
	put_number(out, (uint64_t)env->received_ms);
	put_number(out, env->size);
	put_number(out,
	    (env->smtputf8 ? FLAG_SMTPUTF8 : 0u) | (env->is_dsn ? FLAG_DSN : 0u) |
		(env->require_tls ? FLAG_REQUIRE_TLS : 0u) |
		(env->is_postmaster_notice ? FLAG_POSTMASTER : 0u));
	put_number(out, env->body);
	put_number(out, env->ret);
	put_span(out, env->reverse_path);
	put_span(out, env->envid);
	put_span(out, env->client_name);
	put_number(out, env->client_ip.family);
	buf_add(out, env->client_ip.octets, ip_octets(env->client_ip.family));
	put_span(out, env->helo);
	put_span(out, env->protocol);
	put_span(out, env->auth_user);
	put_span(out, env->session);
	put_span(out, env->message_id);
	put_number(out, env->rcpt_count);
	for (size_t i = 0; i < env->rcpt_count; i++) {
		put_span(out, env->rcpts[i].address);
		put_span(out, env->rcpts[i].orcpt);
		/* Above NOTIFY's four bits, so that a record without aliases is what it was. */
		put_number(out, env->rcpts[i].notify | (unsigned)env->rcpts[i].aliased << 4);
	}
	return out->failed ? -ERR_NOMEM : 0;
}

static void get_ip(struct reader *r, struct ip *ip_r)
{
	unsigned family = (unsigned)get_number(r, 6);
	size_t n = ip_octets(family);

	*ip_r = (struct ip){ 0 };
	if (r->bad || (n == 0 && family != 0) || n > r->n) {
		r->bad = true;
		return;
	}
	ip_r->family = (uint8_t)family;
	memcpy(ip_r->octets, r->p, n);
	r->p += n;
	r->n -= n;
}

static int get_rcpts(struct reader *r, struct arena *arena, struct envelope *env)
{
	size_t n = (size_t)get_number(r, r->n / RCPT_OCTETS_MIN);

	if (r->bad)
		return -ERR_CORRUPT;
	env->rcpt_count = n;
	env->rcpts = NULL;
	if (n == 0)
		return 0;
	env->rcpts = arena_zalloc(arena, n * sizeof(*env->rcpts));
	if (!env->rcpts)
		return -ERR_NOMEM;
	for (size_t i = 0; i < n; i++) {
		struct rcpt *rcpt = &env->rcpts[i];
		unsigned bits;
		rcpt->address = get_span(r);
		rcpt->orcpt = get_span(r);
		bits = (unsigned)get_number(r, 127);
		rcpt->notify = bits & 15;
		rcpt->aliased = (uint8_t)(bits >> 4);
		if ((rcpt->notify & RCPT_NOTIFY_NEVER) && rcpt->notify != RCPT_NOTIFY_NEVER)
			r->bad = true;
		/* Until a state says otherwise: due at once. */
		rcpt->status = RCPT_PENDING;
		rcpt->next_ms = env->received_ms;
	}
	return r->bad ? -ERR_CORRUPT : 0;
}

int envelope_decode(struct span record, struct arena *arena, struct envelope *env_r)
{
	struct reader r = { record.p, record.n, false };
	struct envelope env = { 0 };
	uint64_t flags, version;
	int err;

	if (get_number(&r, 127) != ENVELOPE_MAGIC || r.bad)
		return -ERR_CORRUPT;
	version = get_number(&r, UINT64_MAX);
	if (r.bad || (version != ENVELOPE_VERSION && version != ENVELOPE_VERSION_FLAGS))
		return r.bad ? -ERR_CORRUPT : -ERR_VERSION;
	env.id = get_number(&r, UINT64_MAX);
	env.received_ms = (int64_t)get_number(&r, UINT64_MAX);
	env.size = get_number(&r, UINT64_MAX);
	flags = get_number(&r, version == ENVELOPE_VERSION ? FLAGS : FLAGS_2);
	env.smtputf8 = (flags & FLAG_SMTPUTF8) != 0;
	env.is_dsn = (flags & FLAG_DSN) != 0;
	env.require_tls = (flags & FLAG_REQUIRE_TLS) != 0;
	env.is_postmaster_notice = (flags & FLAG_POSTMASTER) != 0;
	env.body = (enum envelope_body)get_number(&r, ENVELOPE_BODY_BINARYMIME);
	env.ret = (enum envelope_ret)get_number(&r, ENVELOPE_RET_HDRS);
	env.reverse_path = get_span(&r);
	env.envid = get_span(&r);
	env.client_name = get_span(&r);
	get_ip(&r, &env.client_ip);
	env.helo = get_span(&r);
	env.protocol = get_span(&r);
	env.auth_user = get_span(&r);
	env.session = get_span(&r);
	env.message_id = get_span(&r);
	err = get_rcpts(&r, arena, &env);
	if (err < 0)
		return err;
	if (r.n > 0 || (version == ENVELOPE_VERSION_FLAGS && !env.is_postmaster_notice))
		return -ERR_CORRUPT;
	*env_r = env;
	return 0;
}
