/*
 * smtp/client.h - the client half of an SMTP or LMTP session (RFC 5321, 2033), without I/O.
 *
 * One machine is one connection.  It greets, starts TLS (RFC 3207) and authenticates
 * (RFC 4954) when its options say so, then takes messages one after the other; commands
 * are pipelined when the server offers it (a send and a receive cursor over one list of
 * commands, RFC 2920).  Each recipient gets its own outcome.
 * Octets in, octets and steps out; no socket, clock or log.  One thread.
 *
 *   WAIT -> [TLS -> WAIT] -> [AUTH -> WAIT -> (CHALLENGE -> WAIT)...] -> READY
 *   READY -> WAIT -> BODY... -> WAIT -> DONE -> (the next message, or quit) -> DEAD
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_SMTP_CLIENT_H
#define POSTERN_SMTP_CLIENT_H

#include "smtp/reply.h"

struct smtp_client; /* opaque: smtp/client.c */

/* Time-outs of RFC 5321 4.5.3.2, milliseconds. */
struct smtp_client_timeouts {
	uint32_t banner_ms, helo_ms, mail_ms, rcpt_ms, data_ms, block_ms, end_ms, quit_ms;
	uint32_t tls_ms, auth_ms; /* STARTTLS and handshake; each answer of AUTH */
};

/* Shall it be encrypted by STARTTLS? */
enum smtp_client_tls {
	SMTP_CLIENT_TLS_OFF,
	SMTP_CLIENT_TLS_OFFERED, /* when the server offers it; if it then refuses, in clear */
	SMTP_CLIENT_TLS_REQUIRED /* or the session ends, before anything of a message is said */
};

struct smtp_client_options {
	const char *hostname; /* for EHLO; outlives the machine */
	struct smtp_client_timeouts timeouts;
	bool no_pipelining;
	bool lmtp;                /* LHLO, and an answer for each recipient; RFC 2033 */
	enum smtp_client_tls tls; /* STARTTLS */
	bool tls_active;          /* the stream is TLS from its first octet on, RFC 8314 */
	bool tls_verified;        /* with tls_active: the certificate was verified */
	bool auth;                /* there are credentials: authenticate or end the session */
	bool auth_in_clear;       /* even where octets can be read on the way */
	bool chunking;            /* BDAT whenever it is offered, not only for binary messages */
};

void smtp_client_options_init(struct smtp_client_options *o, const char *hostname);

enum smtp_client_step {
	SMTP_CLIENT_WAIT,      /* send the output, give octets */
	SMTP_CLIENT_TLS,       /* the server is ready for TLS: do the handshake now, then
				* smtp_client_tls_active(), or smtp_client_lost(-ERR_TLS) */
	SMTP_CLIENT_AUTH,      /* the server offers smtp_client_mechanisms(): smtp_client_auth(), or
				* smtp_client_auth_fail() when none of them will do */
	SMTP_CLIENT_CHALLENGE, /* smtp_client_challenge() came: smtp_client_auth_response(), or
				* smtp_client_auth_fail() */
	SMTP_CLIENT_READY,     /* greeted: a message can be given, or quit */
	SMTP_CLIENT_BODY,      /* wants body octets: smtp_client_body(), smtp_client_body_end() */
	SMTP_CLIENT_DONE, /* the message came to its end: read the outcomes, then give the next or
			     quit */
	SMTP_CLIENT_DEAD, /* the session ended: outcomes of the open message are final; close */
};

/* Where a recipient (or the session) ended, and with what. */
struct smtp_outcome {
	enum cat_stage stage;
	int err;          /* 0: a reply came; else -ERR_TIMEOUT, -ERR_CLOSED, -ERR_PROTO, ...
			   * -ERR_LIMIT: larger than the server's SIZE.  -ERR_TLS: not encrypted (stage
			   * starttls, or auth: nothing secret goes out in clear), or the message wants a
			   * verified connection (stage mail).  -ERR_AUTH: the host gave up authenticating.
			   * -ERR_UNSUPPORTED: the server lacks `missing`, and without it the message (stage
			   * mail) or the session (stage auth) cannot be */
	unsigned missing; /* SMTP_EXT_ bit */
	struct smtp_reply
	    reply;      /* spans live until the next message is given or the machine is freed */
	bool delivered; /* final 2xx after the body (LMTP: for this recipient) */
	bool is_set;
};

struct smtp_client_rcpt {
	struct span address; /* without angle brackets */
	struct span orcpt;   /* decoded; sent when the server knows DSN */
	uint8_t notify;      /* bits as in envelope.h */
};

struct smtp_client_message {
	struct span reverse_path;
	uint64_t size;
	bool body_8bit;   /* BODY=8BITMIME when offered */
	bool need_8bit;   /* and it cannot go without */
	bool body_binary; /* BODY=BINARYMIME, and by BDAT: octets go as they are; RFC 3030 */
	bool smtputf8;    /* addresses or header need it; RFC 6531 */
	bool require_tls; /* REQUIRETLS; RFC 8689 */
	bool has_auth;    /* AUTH= when the session is authenticated; RFC 4954 5 */
	struct span auth; /* who submitted it; empty: AUTH=<> */
	struct span envid;
	uint8_t ret;
	const struct smtp_client_rcpt *rcpts; /* stay until DONE or DEAD */
	size_t rcpt_count;
};

int smtp_client_new(const struct smtp_client_options *o, uint64_t now_ms, struct smtp_client **c_r);
void smtp_client_free(struct smtp_client **c);

/* Octets from the peer; all are taken.  Returns the step, or -ERR_NOMEM (fatal). */
int smtp_client_feed(struct smtp_client *c, const uint8_t *buf, size_t len, uint64_t now_ms);

/* The step now (the same that feed returned). */
enum smtp_client_step smtp_client_step(const struct smtp_client *c);

/*
 * TLS: the handshake succeeded.  verified: and the certificate is that of a name that was asked
 * for, from a trusted root.  All that the server said in clear is forgotten; it is greeted again.
 */
int smtp_client_tls_active(struct smtp_client *c, bool verified, uint64_t now_ms);
bool smtp_client_is_tls(const struct smtp_client *c);

/* AUTH: what the server offers, parted by spaces; until the session's end. */
struct span smtp_client_mechanisms(const struct smtp_client *c);

/*
 * AUTH: begin.  mechanism: a name of the list, upper case.  initial: the first response, or NULL
 * for none; where it does not fit on a command line (RFC 4954 4) it waits for the first challenge,
 * which the machine answers by itself.  Nothing secret is kept once it is in the output.
 * The step, -ERR_INVAL (not the step for it, not a mechanism's name), -ERR_NOMEM (fatal).
 */
int smtp_client_auth(
    struct smtp_client *c, const char *mechanism, const struct span *initial, uint64_t now_ms);

/* CHALLENGE: what the server said, decoded, may be empty; good until it is answered. */
struct span smtp_client_challenge(const struct smtp_client *c);
int smtp_client_auth_response(struct smtp_client *c, struct span octets, uint64_t now_ms);

/* AUTH, CHALLENGE: it will not do (no mechanism, a server that does not prove itself).  The session
 * ends politely with the outcome -ERR_AUTH in stage auth. */
int smtp_client_auth_fail(struct smtp_client *c, uint64_t now_ms);
bool smtp_client_is_authenticated(const struct smtp_client *c);

/*
 * READY or DONE: begin a message.  What the server lacks is seen here: it ends at once as DONE
 * with a local outcome in stage mail: -ERR_LIMIT (SIZE), -ERR_UNSUPPORTED (SMTPUTF8, 8BITMIME,
 * BINARYMIME, REQUIRETLS), -ERR_TLS (REQUIRETLS on a connection that is not verified TLS). Returns
 * the step, -ERR_INVAL (no recipients, an address with controls in it, more recipients than
 * smtp_client_rcpt_max()), -ERR_NOMEM.
 */
int smtp_client_send(struct smtp_client *c, const struct smtp_client_message *m, uint64_t now_ms);

/* BODY: octets of the body with CRLF line ends, any split; dots are stuffed here, or chunks made of
 * them.  Then the end: adds a missing last CRLF (not to a binary one) and the dot.  The host keeps
 * an eye on buf_len(output) and gives no more than it can send; it looks at the step before each
 * call, since with BDAT the server may refuse midway. */
int smtp_client_body(struct smtp_client *c, struct span octets, uint64_t now_ms);
int smtp_client_body_end(struct smtp_client *c, uint64_t now_ms);
/* The body cannot be read to its end: the connection is of no further use (never send a dot). */
void smtp_client_body_fail(struct smtp_client *c);

/* READY or DONE: say QUIT; the step becomes WAIT until the answer, then DEAD. */
int smtp_client_quit(struct smtp_client *c, uint64_t now_ms);

/* Connection lost (err: -ERR_CLOSED, -ERR_TIMEOUT ...).  Step becomes DEAD. */
void smtp_client_lost(struct smtp_client *c, int err);

/* Octets to send.  Consume what was sent before feeding what was read after it: a reply that comes
 * while its command is still in here is taken for one that answers nothing, and ends the session.
 */
struct buf *smtp_client_output(struct smtp_client *c);
/* The host sent octets: moves the deadline of the body blocks on. */
void smtp_client_sent(struct smtp_client *c, uint64_t now_ms);
uint64_t smtp_client_deadline(const struct smtp_client *c);

/* Outcome of recipient i of the message; of the session (banner or EHLO refused, connection lost).
 */
const struct smtp_outcome *smtp_client_outcome(const struct smtp_client *c, size_t i);
const struct smtp_outcome *smtp_client_session_outcome(const struct smtp_client *c);

/* What the server offers: bits SMTP_EXT_ of smtp/server.h, and its SIZE (0: none said). */
unsigned smtp_client_extensions(const struct smtp_client *c);
uint64_t smtp_client_size_max(const struct smtp_client *c);
/* Its LIMITS, RFC 9422: recipients of one message, domains of them, messages of one session; 0:
 * none said.  And has it taken as many messages as it takes? */
uint32_t smtp_client_rcpt_max(const struct smtp_client *c);
uint32_t smtp_client_rcpt_domain_max(const struct smtp_client *c);
bool smtp_client_is_used_up(const struct smtp_client *c);
/* The name in its banner; empty before. */
struct span smtp_client_server_name(const struct smtp_client *c);

#endif
