/*
 * smtp/server.h - the server half of an SMTP session (RFC 5321), without I/O.
 *
 * Octets go in with smtp_server_feed().  It stops at each *step*: something that the
 * host must decide or take.  The host answers a step with a reply id and goes on
 * feeding what was left.  Replies gather in the output buffer and are sent together
 * when the machine has eaten all that came (PIPELINING, RFC 2920: one write).
 * Nothing here opens a socket, reads a clock, logs or sleeps.  One session, one thread.
 *
 *   CONNECT -> HELO -> MAIL -> RCPT... -> DATA -> BODY... -> MESSAGE -> (MAIL ...) -> CLOSE
 *   (STARTTLS -> TLS -> HELO ...) (AUTH -> AUTH_RESPONSE ...) (XCLIENT -> CONNECT ...)
 *
 * Decide, then act: the machine checks syntax and sequence and refuses those by itself
 * (a REFUSED step tells the host, who only records it); the host decides the rest.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_SMTP_SERVER_H
#define POSTERN_SMTP_SERVER_H

#include "base/arena.h"
#include "base/buf.h"
#include "catalogue/catalogue.h"
#include "smtp/address.h"

struct smtp_server; /* opaque: smtp/server.c, private parts in smtp/server-private.h */

/* Extensions that EHLO announces.  Part of the table of commands: a bit that is off hides its
 * verbs. */
enum {
	SMTP_EXT_PIPELINING = 1 << 0,
	SMTP_EXT_SIZE = 1 << 1,
	SMTP_EXT_8BITMIME = 1 << 2,
	SMTP_EXT_ENHANCEDSTATUSCODES = 1 << 3,
	SMTP_EXT_DSN = 1 << 4,
	SMTP_EXT_VRFY = 1 << 5,
	SMTP_EXT_STARTTLS = 1 << 6, /* announced until TLS is active; RFC 3207 */
	SMTP_EXT_AUTH = 1 << 7,     /* announced with the mechanisms; RFC 4954 */
	SMTP_EXT_CHUNKING = 1 << 8, /* RFC 3030 */
	SMTP_EXT_BINARYMIME = 1 << 9,
	SMTP_EXT_SMTPUTF8 = 1 << 10,   /* RFC 6531 */
	SMTP_EXT_LIMITS = 1 << 11,     /* RFC 9422 */
	SMTP_EXT_REQUIRETLS = 1 << 12, /* announced once TLS is active; RFC 8689 */
	SMTP_EXT_ETRN = 1 << 13,       /* RFC 1985 */
	SMTP_EXT_XCLIENT =
	    1 << 14, /* only for peers that the host trusts; Postfix's XCLIENT_README */
	SMTP_EXT_XFORWARD = 1 << 15, /* likewise; XFORWARD_README */
};

/* Attributes of XCLIENT and XFORWARD.  The table in server-peer.c says which belong to which. */
#define SMTP_PEER_ATTRIBUTES(X)                                                                    \
	X(NAME, "the client's name")                                                               \
	X(ADDR, "its address, IPv6 with the prefix IPV6:")                                         \
	X(PORT, "its port")                                                                        \
	X(PROTO, "SMTP or ESMTP")                                                                  \
	X(HELO, "what it greeted with")                                                            \
	X(LOGIN, "the name it authenticated with")                                                 \
	X(DESTADDR, "the address that it connected to")                                            \
	X(DESTPORT, "and the port")                                                                \
	X(IDENT, "queue id that the message has there")                                            \
	X(SOURCE, "LOCAL or REMOTE")

enum smtp_peer_attribute {
#define X(name, doc) SMTP_PEER_##name,
	SMTP_PEER_ATTRIBUTES(X)
#undef X
	    SMTP_PEER_COUNT
};

enum smtp_peer_state {
	SMTP_PEER_ABSENT, /* not named: what is known stays */
	SMTP_PEER_VALUE,
	SMTP_PEER_UNAVAILABLE, /* [UNAVAILABLE]: there is none */
	SMTP_PEER_TEMPUNAVAIL, /* [TEMPUNAVAIL]: could not be found out */
};

struct smtp_peer {
	enum smtp_peer_state state[SMTP_PEER_COUNT];
	struct span value[SMTP_PEER_COUNT]; /* decoded from xtext, printable */
};

struct smtp_server_options {
	const struct catalogue *catalogue; /* the session refs it */
	struct reply_format format;
	const char *hostname;        /* our name in banner and EHLO; outlives the session */
	unsigned extensions;         /* SMTP_EXT_ bits */
	uint64_t message_octets_max; /* 0: no limit; announced with SIZE */
	uint32_t
	    rcpt_max; /* recipients of one message; 452 4.5.3 above; RFC 5321 4.5.3.1.8: >= 100 */
	uint32_t line_octets_max; /* of a command, CRLF included; default 2048 */
	uint32_t
	    error_soft_limit; /* after so many errors `delay` is asked of the host; Postfix: 10 */
	uint32_t error_hard_limit; /* 421 4.7.0 too many errors and close; Postfix: 20 */
	uint32_t junk_limit;       /* NOOP, VRFY, RSET, HELO without mail; Postfix: 100 */
	uint32_t hops_max;         /* Received header fields; above: 554 5.4.6; Postfix: 50 */
	uint32_t timeout_ms;       /* idle time in a command; RFC 5321 4.5.3.2.7: 5 minutes */
	bool helo_required;        /* 503 5.5.1 Error: send HELO/EHLO first */
	bool nul_refused;      /* a NUL in a message is a fault; default: let through, as Postfix */
	bool tls;              /* TLS is active from the first octet on (implicit TLS, RFC 8314) */
	bool tls_required;     /* 530 5.7.0 Must issue a STARTTLS command first */
	bool auth_without_tls; /* AUTH is offered and taken in clear as well */
	bool auth_required;    /* 530 5.7.0 Authentication required, before MAIL, VRFY and ETRN */
	/* what EHLO announces and AUTH takes, "PLAIN LOGIN"; those that end in -PLUS only under
	 * TLS; outlives the session */
	const char *auth_mechanisms;
	struct span session; /* id for the help address; outlives the session */
};

/* Defaults for a server of this name. */
void smtp_server_options_init(
    struct smtp_server_options *o, const struct catalogue *cat, const char *hostname);

enum smtp_step_kind {
	SMTP_STEP_NONE,
	SMTP_STEP_CONNECT, /* answer: REPLY_BANNER or a refusal (4xx/5xx; the session then only
			      takes QUIT, 521/421: closes) */
	SMTP_STEP_HELO,    /* answer: REPLY_EHLO_OK / REPLY_HELO_OK or a refusal */
	SMTP_STEP_MAIL,    /* answer: REPLY_MAIL_OK or a refusal */
	SMTP_STEP_RCPT,    /* answer: REPLY_RCPT_OK or a refusal */
	SMTP_STEP_DATA, /* answer: REPLY_DATA_GO or a refusal; also at the first BDAT of a message
			 * (`chunked`), where REPLY_DATA_GO means yes and is not sent */
	SMTP_STEP_BODY, /* octets of the message, CRLF line ends, dots unstuffed; no answer, just go
			   on */
	SMTP_STEP_MESSAGE, /* end of data; answer when durable: REPLY_QUEUED (REPLY_BDAT_QUEUED when
			    * `chunked`) or a refusal.  `size`: octets of the message.  `fault`
			    * tells a refusal that the machine wants (bare LF, loop, size): the host
			    * answers with it. */
	SMTP_STEP_VRFY,    /* answer: REPLY_VRFY_OK or a refusal */
	SMTP_STEP_ETRN,    /* `argument`: a domain, "@domain" or "#queue"; answer: REPLY_ETRN_... */
	SMTP_STEP_STARTTLS, /* answer: REPLY_TLS_READY or a refusal */
	SMTP_STEP_TLS,  /* send what is in the output, throw away what came in clear behind it, do
			 * the  handshake, then smtp_server_tls_active(); the machine waits for that
			 */
	SMTP_STEP_AUTH, /* `argument`: mechanism, upper case; `octets`: initial response if
			 * `has_initial`.  answer: REPLY_AUTH_CHALLENGE with the server's octets
			 * (may be none) in args' `detail`, which the machine encodes;
			 * REPLY_AUTH_OK, with which the session counts as authenticated; or a
			 * refusal */
	SMTP_STEP_AUTH_RESPONSE, /* `octets`: the client's response, decoded; answer as AUTH's */
	SMTP_STEP_AUTH_END, /* the exchange ended by the machine's own refusal (aborted with "*",
			     * bad base64, too long), told by REFUSED before; no answer */
	SMTP_STEP_XCLIENT,  /* `peer`: believe it and forget what was known of the client; all
			     * that EHLO, AUTH and MAIL brought is cleared; no answer; CONNECT
			     * comes next */
	SMTP_STEP_XFORWARD, /* `peer`: who the client got the next message from, for the log and
			     * checks only; answer: REPLY_OK or a refusal */
	SMTP_STEP_RESET,    /* the transaction ended without a message (RSET, HELO, QUIT, too many
			       errors); no answer */
	SMTP_STEP_REFUSED,  /* the machine refused something by itself; no answer; recorded by the
			       host */
	SMTP_STEP_CLOSE, /* send what is in the output, then close; `reply` says why (or -1: peer is
			    gone) */
};

/* One parsed step.  Spans are good until the step is answered (BODY: until the next feed). */
struct smtp_step {
	enum smtp_step_kind kind;
	struct span command;         /* the command line as received, without CRLF */
	struct span helo;            /* HELO */
	bool esmtp;                  /* HELO: it was EHLO */
	struct smtp_address address; /* MAIL, RCPT; VRFY: as far as it is one */
	uint64_t size;               /* MAIL: SIZE=, 0 when none */
	bool body_8bit;              /* MAIL: BODY=8BITMIME */
	bool body_binary;            /* MAIL: BODY=BINARYMIME */
	bool smtputf8;               /* MAIL, VRFY */
	bool require_tls;            /* MAIL: REQUIRETLS */
	bool has_auth;               /* MAIL: AUTH= was given; RFC 4954 5 */
	struct span auth;            /* MAIL: decoded; empty: AUTH=<> */
	bool chunked;                /* DATA, MESSAGE: by BDAT */
	uint8_t ret;                 /* MAIL: 0 none, 1 FULL, 2 HDRS */
	struct span envid;           /* MAIL: decoded */
	uint8_t notify;              /* RCPT: bits as in envelope.h */
	struct span orcpt;           /* RCPT: "type;address", decoded */
	struct span octets;          /* BODY; AUTH, AUTH_RESPONSE: secret */
	bool has_initial;            /* AUTH */
	struct span argument;        /* AUTH, ETRN */
	struct smtp_peer peer;       /* XCLIENT, XFORWARD */
	int fault;                   /* MESSAGE: reply id that the machine wants, or -1 */
	int reply;                   /* REFUSED, CLOSE: reply id, or -1 */
	struct reply_args args;      /* MESSAGE with fault, REFUSED: its arguments */
};

int smtp_server_new(const struct smtp_server_options *o, uint64_t now_ms, struct smtp_server **s_r);
void smtp_server_free(struct smtp_server **s);

/*
 * Give the session octets from the peer.
 *
 * buf/len   any split of the stream, down to one octet at a time; not kept, but for BODY's octets
 *           which point into it until the next call
 * now_ms    monotonic milliseconds; drives the deadline of RFC 5321 4.5.3.2
 * used_r    octets taken, always set; less than len when a step waits
 *
 * Returns 1 when a step waits (smtp_server_step()), 0 when more octets are needed, -ERR_NOMEM
 * (fatal).  Call it with len 0 for the first step (CONNECT) and after an answer to learn what
 * follows. While a step waits for its answer nothing is taken.
 */
int smtp_server_feed(
    struct smtp_server *s, const uint8_t *buf, size_t len, uint64_t now_ms, size_t *used_r);

/* The step that waits. */
const struct smtp_step *smtp_server_step(const struct smtp_server *s);

/*
 * Answer it.  Steps without an answer are passed by the next feed.
 * reply     id; a 2xx or 3xx goes on, a 4xx or 5xx refuses, 421 and 521 close after it
 * args      for its text; {hostname}, {session}, {command} are filled in by the machine
 * Returns the reply code sent or -ERR_INVAL (no step waits), -ERR_NOMEM (fatal).
 */
int smtp_server_answer(struct smtp_server *s, int reply, const struct reply_args *args);

/*
 * What the host may change while the session runs; RFC 3207 4.2 and 4954 4.
 *
 * set_extensions  which bits are on, before CONNECT or HELO is answered (a client that some
 *                 keywords are kept from, a peer that may say XCLIENT)
 * tls_active      the handshake of a TLS step succeeded: all that the client said in clear is
 *                 forgotten, the session is as after the banner.  (When it fails, the host closes.)
 * set_authenticated  XCLIENT's LOGIN: as if the client had authenticated
 */
void smtp_server_set_extensions(struct smtp_server *s, unsigned extensions);
unsigned smtp_server_extensions(const struct smtp_server *s);
void smtp_server_tls_active(struct smtp_server *s, uint64_t now_ms);
void smtp_server_set_authenticated(struct smtp_server *s, bool authenticated);
bool smtp_server_is_tls(const struct smtp_server *s);
bool smtp_server_is_authenticated(const struct smtp_server *s);

/* The host ends the session: 421 with this reply id (shutdown, no resources), then CLOSE. */
int smtp_server_abort(struct smtp_server *s, int reply, const struct reply_args *args);

/* The peer closed or was lost: ends what was open; the next feed gives RESET (if a transaction was)
 * and CLOSE. */
void smtp_server_eof(struct smtp_server *s);

/* Octets to send; consume what was sent.  Send before waiting for more octets. */
struct buf *smtp_server_output(struct smtp_server *s);

/* Give back memory that an idle session does not need; for after the output was sent. */
void smtp_server_trim(struct smtp_server *s);

/* When the session times out, monotonic ms; at that time call smtp_server_timeout(): 421 4.4.2 and
 * CLOSE. */
uint64_t smtp_server_deadline(const struct smtp_server *s);
void smtp_server_timeout(struct smtp_server *s, uint64_t now_ms);

/* The client sent octets before its banner or before a reply that ends a pipelined group; counted
 * by the host (early talker).  Set by the host who knows what was in the socket before the banner.
 */
bool smtp_server_early(const struct smtp_server *s);
void smtp_server_set_early(struct smtp_server *s);

/* Errors so far, and how long the host should wait before the next reply (soft limit reached): ms.
 */
uint32_t smtp_server_errors(const struct smtp_server *s);
uint32_t smtp_server_delay_ms(const struct smtp_server *s);

/* Is a transaction open (MAIL accepted)?  Are we in the body? */
bool smtp_server_in_transaction(const struct smtp_server *s);
bool smtp_server_in_body(const struct smtp_server *s);

/*
 * Where the client is or was last: its last verb, CONNECT before any, DATA within the message,
 * END-OF-MESSAGE behind it, UNKNOWN.  Static.
 */
const char *smtp_server_after(const struct smtp_server *s);

/* Which commands came, how often with success, and how often, as Postfix writes it:
 * " ehlo=1 mail=1 rcpt=0/2 quit=1 commands=3/5", appended; nothing when none came. */
void smtp_server_counts(const struct smtp_server *s, struct buf *out);

/* "SMTP", "ESMTP", "ESMTPSA" ... as RFC 3848 and RFC 6531 3.7.3 write it in Received. */
const char *smtp_server_protocol(const struct smtp_server *s);

#endif
