/*
 * smtp/server-private.h - what the files of the server machine share.
 *
 *   server.c              life, steps and answers, the one place that changes the state
 *   server-command.c      line reader, table of commands, those without a transaction
 *   server-ehlo.c         what EHLO announces
 *   server-transaction.c  MAIL, RCPT, DATA, VRFY
 *   server-body.c         octets between 354 and the final dot
 *   server-chunk.c        BDAT and the octets of its chunks
 *   server-auth.c         AUTH and its exchange
 *   server-peer.c         XCLIENT and XFORWARD
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_SMTP_SERVER_PRIVATE_H
#define POSTERN_SMTP_SERVER_PRIVATE_H

#include "smtp/params.h"
#include "smtp/server.h"

struct smtp_command;

/* One row per state; enum, name and documentation come from here.  MAIL to END: a transaction. */
#define SMTP_SERVER_STATES(X)                                                                      \
	X(CONNECT, "the host has not yet said whether it takes the connection")                    \
	X(DENIED, "connection refused; only QUIT gets its usual answer")                           \
	X(START, "banner sent, a greeting is required and has not come")                           \
	X(READY, "no transaction")                                                                 \
	X(AUTH, "the next line is a response of an AUTH exchange")                                 \
	X(TLS, "STARTTLS was taken, the handshake is the host's")                                  \
	X(SKIP, "a chunk that was refused is read away before its refusal is said")                \
	X(MAIL, "MAIL accepted, no recipient yet")                                                 \
	X(RCPT, "at least one recipient accepted")                                                 \
	X(BODY, "reading the octets of the message")                                               \
	X(BDAT, "a message has begun with BDAT, its next chunk is awaited")                        \
	X(CHUNK, "reading the octets of a chunk")                                                  \
	X(END, "end of data seen, the host has the message")                                       \
	X(CLOSED, "nothing is read any more")

enum smtp_server_state {
#define X(name, doc) SMTP_ST_##name,
	SMTP_SERVER_STATES(X)
#undef X
	    SMTP_ST_COUNT
};

/* Where the reader of the body stands.  Only a true CRLF leads to BOL. */
enum smtp_body_at {
	SMTP_BODY_BOL,   /* at the start of a line */
	SMTP_BODY_MID,   /* within a line */
	SMTP_BODY_CR,    /* within a line, the last octet was CR */
	SMTP_BODY_DOT,   /* a dot at the start of a line is held back */
	SMTP_BODY_DOT_CR /* and a CR behind it */
};

/* Where the look-out for Received fields stands; enough of a header for that. */
enum smtp_header_at {
	SMTP_HEADER_BOL,
	SMTP_HEADER_NAME,
	SMTP_HEADER_BLANK, /* blanks between name and colon */
	SMTP_HEADER_REST,  /* behind the colon, or a folded line */
	SMTP_HEADER_DONE
};

/* All that the machine keeps of one transaction; smtp_server_txn_reset() clears it as a whole. */
struct smtp_txn {
	uint32_t rcpts;                    /* accepted */
	uint32_t overshoot;                /* refused because there were too many */
	uint64_t octets;                   /* of the body so far, dots unstuffed */
	uint64_t chunk_octets, chunk_left; /* of the chunk that is coming in */
	bool chunk_last, chunked;
	bool binary;   /* BODY=BINARYMIME: no lines in it, no line is wrong */
	bool smtputf8; /* MAIL declared it */
	uint32_t hops;
	int line_fault; /* a bare CR or LF: reply id or -1; goes before any other */
	int fault;      /* what else is wrong with the message: reply id or -1 */
	enum smtp_body_at at;
	enum smtp_header_at header;
	uint8_t name_n; /* octets of this field's name */
	bool maybe_hop; /* and so far they are those of "Received" */
};

/* Rows of the table of commands, and one for verbs that it does not have. */
#define SMTP_COUNTS_MAX 32

struct smtp_server {
	struct smtp_server_options o;
	enum smtp_server_state state;
	struct smtp_step step;
	bool waiting; /* the step waits for an answer */
	bool failed;  /* out of memory: fatal */
	bool esmtp;   /* greeted with EHLO */
	bool tls, authenticated;
	bool early;         /* the client spoke out of turn */
	bool want_reset;    /* a RESET step is due */
	bool want_tls;      /* a TLS step is due */
	bool want_auth_end; /* an AUTH_END step is due */
	bool closing;       /* a CLOSE step is due, after RESET */
	bool touched;       /* something happened that starts the time-out afresh */
	int close_reply;    /* its reply, -1: none */
	uint32_t errors, junk;
	uint64_t deadline_ms;
	/* the command line: `line` holds it, or as much as there is */
	struct buf line;
	bool line_long; /* over the limit: the rest is eaten */
	bool line_cr;   /* the last octet was CR */
	bool line_done; /* it was run: the next octet begins another */
	/* spans of the step, dropped with it */
	struct arena arena;
	struct smtp_txn txn;
	struct buf out;
	/* a refused chunk: how much of it is to come, what is said then, and where that leads */
	uint64_t skip_left;
	struct buf held;
	enum smtp_server_state skip_back;
	struct buf secret;   /* an AUTH response, decoded; wiped with its step */
	char *client;        /* name[address] for replies, kept from a refused CONNECT */
	char numbers[2][24]; /* texts of {limit} and {octets} */
	/* how often each command came, and with what success */
	struct {
		uint16_t all, good;
	} counts[SMTP_COUNTS_MAX];
	int counted;       /* row of the command at hand, -1: none, or it is settled */
	int counted_code;  /* what it was answered last, 0: nothing yet */
	const char *after; /* the last verb, for "lost connection after" */
};

/* server.c */
void smtp_server_state_set(struct smtp_server *s, enum smtp_server_state state);
/* The one end of a transaction.  told: the host knows already (it answered MESSAGE). */
void smtp_server_txn_reset(struct smtp_server *s, bool told);
/* Add a reply of the machine's own to the output; its code, 0 when out of memory. */
int smtp_server_say(struct smtp_server *s, int reply, const struct reply_args *args);
/* Refuse: say it, count it, make it the REFUSED step. */
void smtp_server_refuse(struct smtp_server *s, int reply, const struct reply_args *args);
/* A command of this row came (NULL: of none); how the one before ended is settled. */
void smtp_server_count(struct smtp_server *s, const struct smtp_command *row);
/* Nothing more is read; RESET when due, then CLOSE. */
void smtp_server_close(struct smtp_server *s, int reply);
/* Make this the step, waiting for its answer. */
void smtp_server_ask(struct smtp_server *s, enum smtp_step_kind kind);
struct span smtp_server_number(struct smtp_server *s, unsigned which, uint64_t n);

/* What may be used now: STARTTLS until TLS is active, REQUIRETLS from then on. */
unsigned smtp_server_offered(const struct smtp_server *s);
/* A blank of a command line. */
static inline bool smtp_is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}
/* The word that the span starts with, up to a blank. */
struct span smtp_word(struct span s);

/* server-ehlo.c: the reply to EHLO ends the output and begins at `from`: go on with the keywords.
 */
void smtp_server_add_keywords(struct smtp_server *s, int code, size_t from);
/* Is this one of the mechanisms that may be used now? */
bool smtp_server_has_mechanism(const struct smtp_server *s, struct span mechanism);

/* server-command.c: take octets until a line is whole and run it.  Returns octets taken. */
size_t smtp_server_line(struct smtp_server *s, const uint8_t *buf, size_t len);

/* server-body.c: take octets until a step is due or all are taken.  Returns octets taken. */
size_t smtp_server_body(struct smtp_server *s, const uint8_t *buf, size_t len);
/* The same for a chunk. */
size_t smtp_server_chunk(struct smtp_server *s, const uint8_t *buf, size_t len);
/* All of the message is here: ask the host. */
void smtp_server_message_end(struct smtp_server *s);

/* server-chunk.c */
void smtp_server_on_bdat(struct smtp_server *s, struct span args);
/* BDAT that earns this reply: its octets are read away first. */
void smtp_server_refuse_bdat(struct smtp_server *s, struct span args, int reply);
/* The host refused the chunk that it was asked about; its reply begins at `from` in the output. */
void smtp_server_chunk_refused(struct smtp_server *s, size_t from, int reply);
/* A chunk is here as a whole, or read away as a whole. */
void smtp_server_chunk_end(struct smtp_server *s);
size_t smtp_server_skip(struct smtp_server *s, size_t len);

/* server-auth.c */
#define SMTP_SASL_LINE_MAX (12288 + 2) /* RFC 4954 4 */
void smtp_server_on_auth(struct smtp_server *s, struct span args);
/* A line within the exchange; too_long: it was cut. */
void smtp_server_auth_line(struct smtp_server *s, struct span line, bool too_long);
/* The host's 334 with what its mechanism says, encoded.  Returns the code. */
int smtp_server_auth_challenge(struct smtp_server *s, int code, struct span octets);
void smtp_server_wipe(struct buf *b);

/* server-transaction.c */
void smtp_server_on_mail(struct smtp_server *s, struct span args);
void smtp_server_on_rcpt(struct smtp_server *s, struct span args);
void smtp_server_on_data(struct smtp_server *s, struct span args);
void smtp_server_on_vrfy(struct smtp_server *s, struct span args);

/* server-peer.c */
void smtp_server_on_xclient(struct smtp_server *s, struct span args);
void smtp_server_on_xforward(struct smtp_server *s, struct span args);

/*
 * The table of commands, for HELP, documentation and the matrix test.  `states` has
 * a reply id for each state in which the command is refused without a look at its
 * arguments, or -1.
 */
enum {
	SMTP_CMD_LAST =
	    1, /* ends a pipelined group: octets behind it came too early, RFC 2920 3.1 */
	SMTP_CMD_JUNK = 2,    /* counted against junk_limit */
	SMTP_CMD_QUIT = 4,    /* is answered after a refused connection as well */
	SMTP_CMD_PRE_TLS = 8, /* taken in clear although TLS is required; RFC 3207 4 */
	SMTP_CMD_USER = 16,   /* only after AUTH where that is required; RFC 4954 6 */
	SMTP_CMD_CHUNK = 32,  /* octets follow whatever it earns */
	SMTP_CMD_UTF8 = 64    /* may hold letters outside ASCII; RFC 6531 */
};

struct smtp_command {
	const char *verb;
	void (*run)(struct smtp_server *s, struct span args); /* NULL: not implemented */
	unsigned valid;                                       /* bits of states */
	unsigned flags;
	unsigned extension; /* bit that must be on, 0: none */
	int absent;         /* reply when it is off or there is no handler */
	int misuse[4];      /* reply where not valid in START, READY, MAIL and RCPT, BDAT */
	const char *rfc;
};

extern const struct smtp_command smtp_commands[];
extern const size_t smtp_command_count;
/* Reply that a command earns in a state by the table alone, or -1 when its handler decides. */
int smtp_command_misuse(const struct smtp_command *row, enum smtp_server_state state);

#endif
