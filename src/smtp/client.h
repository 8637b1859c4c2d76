/*
 * smtp/client.h - the client half of an SMTP session (RFC 5321), without I/O.
 *
 * One machine is one connection.  It greets, then takes messages one after the
 * other; commands are pipelined when the server offers it (a send and a receive
 * cursor over one list of commands, RFC 2920).  Each recipient gets its own outcome.
 * Octets in, octets and steps out; no socket, clock or log.  One thread.
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
};

struct smtp_client_options {
	const char *hostname; /* for EHLO; outlives the machine */
	struct smtp_client_timeouts timeouts;
	bool no_pipelining;
};

void smtp_client_options_init(struct smtp_client_options *o, const char *hostname);

enum smtp_client_step {
	SMTP_CLIENT_WAIT,  /* send the output, give octets */
	SMTP_CLIENT_READY, /* greeted: a message can be given, or quit */
	SMTP_CLIENT_BODY,  /* wants body octets: smtp_client_body(), smtp_client_body_end() */
	SMTP_CLIENT_DONE,  /* the message came to its end: read the outcomes, then give the next or
			      quit */
	SMTP_CLIENT_DEAD,  /* the session ended: outcomes of the open message are final; close */
};

/* Where a recipient (or the session) ended, and with what. */
struct smtp_outcome {
	enum cat_stage stage;
	int err; /* 0: a reply came; else -ERR_TIMEOUT, -ERR_CLOSED, -ERR_PROTO, ... */
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
	bool body_8bit; /* BODY=8BITMIME when offered */
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

/* READY or DONE: begin a message.  The server's SIZE is checked here: too large ends at once as
 * DONE with a local outcome (stage mail, err -ERR_LIMIT). */
int smtp_client_send(struct smtp_client *c, const struct smtp_client_message *m, uint64_t now_ms);

/* BODY: octets of the body with CRLF line ends, any split; dots are stuffed here.  Then the end:
 * adds a missing last CRLF and the dot.  The host keeps an eye on buf_len(output) and gives no more
 * than it can send. */
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
/* The name in its banner; empty before. */
struct span smtp_client_server_name(const struct smtp_client *c);

#endif
