/*
 * envelope/envelope.h - what travels with a message: who sent it, to whom, how, and what became of
 * it.
 *
 * Two records of the spool come from here.  The message record is written once
 * and never changes: reverse-path, recipients with their DSN parameters, where it
 * came from.  The state record is rewritten after each attempt: for each recipient
 * its status, its next time and the last attempt.  Both are plain octets to the spool.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_ENVELOPE_ENVELOPE_H
#define POSTERN_ENVELOPE_ENVELOPE_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/ip.h"
#include "catalogue/catalogue.h"

/* RFC 3461 4.1; NEVER stands alone. */
enum {
	RCPT_NOTIFY_NEVER = 1,
	RCPT_NOTIFY_SUCCESS = 2,
	RCPT_NOTIFY_FAILURE = 4,
	RCPT_NOTIFY_DELAY = 8
};

/* How a recipient came out of an alias; RFC 3461 5.2.7 wants to know. */
enum {
	RCPT_ALIASED = 1,      /* its address is another than the client's, which is in `orcpt` */
	RCPT_EXPANDED = 2,     /* the client's recipient became several */
	RCPT_TELL_EXPANDED = 4 /* and its sender asked for SUCCESS: an "expanded" DSN is due, once,
				  by this recipient on behalf of all of them */
};

enum envelope_ret { ENVELOPE_RET_NONE, ENVELOPE_RET_FULL, ENVELOPE_RET_HDRS };
enum envelope_body { ENVELOPE_BODY_7BIT, ENVELOPE_BODY_8BITMIME, ENVELOPE_BODY_BINARYMIME };

/* Each recipient has exactly one next event: a time, an awaited answer, or an operator's hold. */
enum rcpt_status {
	RCPT_PENDING,   /* due at next_ms, no failed attempt since */
	RCPT_DEFERRED,  /* tried and put off; due at next_ms */
	RCPT_HELD,      /* an operator's hold */
	RCPT_DELIVERED, /* end: the next host or mailbox has it */
	RCPT_FAILED,    /* end: given up; a DSN was due unless NOTIFY says never */
	RCPT_DELETED,   /* end: an operator took it out */
};

/* What one attempt came to.  Spans live in the arena of the envelope. */
struct attempt {
	int64_t at_ms;        /* wall clock; 0: none yet */
	struct span host;     /* name of the next host, or the mailbox's path */
	struct span address;  /* its IP address and port, or empty */
	enum cat_stage stage; /* where it ended */
	bool remote;          /* reply and enhanced come from the other side */
	uint16_t code;        /* reply code; 0: none came */
	struct enhanced_status enhanced;
	struct span text;      /* the exact reply, lines joined by LF; or our own words */
	uint16_t failure_code; /* 0 for a success */
	struct span rule;      /* what decided the failure code */
};

struct rcpt {
	struct span address; /* as we deliver it */
	struct span orcpt;   /* "rfc822;a@b" decoded from xtext, or empty; RFC 3461 4.2 */
	uint8_t notify;  /* bits; 0: none given, which means FAILURE (and DELAY at our choice) */
	uint8_t aliased; /* bits */
	/* state */
	enum rcpt_status status;
	uint32_t attempts;
	int64_t next_ms; /* wall clock */
	bool delay_told; /* the sender knows that it is late */
	struct attempt last;
};

struct envelope {
	uint64_t id;              /* queue id, see queue_id_text() */
	int64_t received_ms;      /* wall clock */
	struct span reverse_path; /* empty: null sender */
	struct span envid;        /* decoded from xtext */
	enum envelope_ret ret;
	enum envelope_body body;
	bool smtputf8;
	bool require_tls;          /* only over verified TLS, RFC 8689 */
	bool is_dsn;               /* ours: never earns another DSN */
	bool is_postmaster_notice; /* for our postmaster: nobody hears of its failure */
	uint64_t size;             /* octets of the body record */
	struct span client_name;   /* "unknown" when it has none */
	struct ip client_ip;
	struct span helo;
	struct span protocol; /* "ESMTP", RFC 3848 */
	struct span auth_user;
	struct span session;    /* id of the session that it came in */
	struct span message_id; /* of the header, without < >; may be empty */
	size_t rcpt_count;
	struct rcpt *rcpts;
};

/* Encode the message record, and the state record (which also holds `held`-ness and attempts).
 * Return 0 or -ERR_NOMEM. */
int envelope_encode(const struct envelope *env, struct buf *out);
int envelope_encode_state(const struct envelope *env, struct buf *out);

/*
 * Decode.  Spans of the result point into `record`, which must stay as long; arrays come from the
 * arena.  decode_state lays a state over an envelope decoded before (same number of recipients).
 * Return 0, -ERR_CORRUPT, -ERR_VERSION, -ERR_NOMEM.
 */
int envelope_decode(struct span record, struct arena *arena, struct envelope *env_r);
int envelope_decode_state(struct span record, struct arena *arena, struct envelope *env);

/* The address that the client named, when an alias made another of it and ORCPT has it; else empty.
 */
struct span rcpt_original(const struct rcpt *r);

/* Has every recipient come to an end? */
bool envelope_finished(const struct envelope *env);

/* Earliest next_ms of the recipients that wait for a time; INT64_MAX when none does (all held or
 * ended). */
int64_t envelope_due(const struct envelope *env);

/*
 * Queue ids: 64 bits, rising, made from wall-clock microseconds; as text they have the shape of
 * Postfix's long queue ids (enable_long_queue_ids): seconds and microseconds in base 52, 'z', rest
 * in base 51, so that tools which read Postfix's logs accept them.
 */
#define QUEUE_ID_TEXT_MAX 24
uint64_t queue_id_new(void);               /* any thread; never twice in one process */
void queue_id_floor(uint64_t id);          /* later ids are above this one (set after recovery) */
void queue_id_text(uint64_t id, char *to); /* to holds QUEUE_ID_TEXT_MAX */
int queue_id_parse(struct span s, uint64_t *id_r); /* 0 or -ERR_SYNTAX */

#endif
