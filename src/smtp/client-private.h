/*
 * smtp/client-private.h - what the files of the client machine share.
 *
 *   client.c          life and the public functions
 *   client-reply.c    what replies mean: states and outcomes
 *   client-command.c  what goes over the wire: commands, the body, EHLO's keywords
 *   client-secure.c   STARTTLS and AUTH
 *   client-chunk.c    the body by BDAT
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_SMTP_CLIENT_PRIVATE_H
#define POSTERN_SMTP_CLIENT_PRIVATE_H

#include "base/arena.h"
#include "smtp/client.h"
#include "smtp/server.h"

enum smtp_client_state {
	SMTP_CL_BANNER,
	SMTP_CL_EHLO,
	SMTP_CL_HELO,
	SMTP_CL_STARTTLS,    /* it is in the output */
	SMTP_CL_TLS,         /* 220 came: the handshake is the host's */
	SMTP_CL_AUTH_WANTED, /* the host chooses a mechanism */
	SMTP_CL_AUTH,        /* AUTH or a response is in the output */
	SMTP_CL_CHALLENGE,   /* 334 came */
	SMTP_CL_READY,
	SMTP_CL_COMMANDS, /* RSET, MAIL, RCPT, DATA: the cursors tell which */
	SMTP_CL_BODY,     /* 354 came, or BDAT may begin */
	SMTP_CL_END,      /* the dot or the last chunk is given */
	SMTP_CL_DRAIN,    /* a chunk was refused: the answers to those behind it must come */
	SMTP_CL_DONE,
	SMTP_CL_QUIT,
	SMTP_CL_DEAD
};

/* Places in the list of commands: these, then one for each recipient, then DATA (with BDAT: none;
 * the chunks begin when all is answered). */
enum { CMD_RSET, CMD_MAIL };

/* Chunks under way at a time, with PIPELINING. */
#define CHUNKS_MAX 8
/* A chunk is about so large, RFC 3030 leaves it to us: few replies, and little to hold in memory.
 */
#define CHUNK_OCTETS 65536

struct client_rcpt {
	struct smtp_outcome outcome;
	uint64_t ends_at; /* of its RCPT, in the stream of output */
};

/* Chunks of the message: numbers count from its first one. */
struct client_chunks {
	struct buf text;              /* not yet a chunk */
	size_t sent, got;             /* cursors, as those of the commands */
	uint64_t ends_at[CHUNKS_MAX]; /* by number modulo CHUNKS_MAX */
	bool last_sent;
};

struct smtp_client {
	struct smtp_client_options o;
	enum smtp_client_state state;
	struct smtp_reply_parser parser;
	struct buf out;
	uint64_t written;    /* octets ever put into out */
	uint64_t ends_at;    /* of EHLO, HELO, QUIT, or the dot */
	uint64_t list_at[3]; /* of RSET, MAIL, DATA */
	uint64_t deadline_ms;
	bool failed;     /* out of memory */
	bool expected;   /* the reply that is coming answers something */
	bool need_reset; /* the server has a transaction that never ended */
	bool pipelining;
	bool tls, tls_verified, tls_refused;
	bool authenticated, auth_given_up;
	bool by_bdat;        /* this message */
	unsigned challenges; /* of this AUTH */
	struct buf secret;   /* an initial response that waits, then a challenge; wiped */
	bool has_initial;    /* `secret` is one */
	struct span mechanisms;
	uint32_t rcpt_max, rcpt_domain_max, mail_max, mails; /* LIMITS; messages begun */
	struct client_chunks chunks;
	size_t end_at;          /* LMTP: the recipient that the next answer is for */
	bool body_bol, body_cr; /* where the body stands: start of line, last octet was CR */
	unsigned extensions;
	uint64_t size_max;
	struct span server_name;
	struct arena session_arena, arena;
	struct smtp_outcome session;
	/* the message */
	struct smtp_client_message message;
	struct client_rcpt *rcpts;
	size_t rcpt_count;
	size_t open;      /* recipients without an outcome */
	size_t sent, got; /* cursors: next command to write, next to be answered */
};

static inline size_t cmd_data(const struct smtp_client *c)
{
	return CMD_MAIL + 1 + c->rcpt_count;
}

/* How far the list of commands goes. */
static inline size_t cmd_end(const struct smtp_client *c)
{
	return cmd_data(c) + (c->by_bdat ? 0 : 1);
}

/* Octets of output that the host has taken so far. */
static inline uint64_t octets_left(const struct smtp_client *c)
{
	return c->written - buf_len(&c->out);
}

/* Where the end of a command stands in the stream of output. */
static inline uint64_t *ends_at(struct smtp_client *c, size_t command)
{
	if (command <= CMD_MAIL)
		return &c->list_at[command];
	return command == cmd_data(c) ? &c->list_at[2] : &c->rcpts[command - CMD_MAIL - 1].ends_at;
}

/* client-reply.c.  The one place that changes the state. */
void smtp_client_state_set(struct smtp_client *c, enum smtp_client_state state);
/* Account for what was added to the output since its length was `before`. */
void smtp_client_wrote(struct smtp_client *c, size_t before);
/* Give this outcome to every recipient that has none. */
void smtp_client_settle_all(struct smtp_client *c, const struct smtp_outcome *o);
/* The session ends: err, and the reply that ended it or NULL. */
void smtp_client_die(struct smtp_client *c, int err, const struct smtp_reply *r);
void smtp_client_say_quit(struct smtp_client *c, uint64_t now_ms);
/* The session cannot go on: keep the reply (or err) as its outcome, in the stage that is now, and
 * leave politely. */
void smtp_client_refused(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms);
void smtp_client_unfit(
    struct smtp_client *c, enum cat_stage stage, int err, unsigned missing, uint64_t now_ms);
/* EHLO, HELO or LHLO. */
void smtp_client_greet(
    struct smtp_client *c, const char *verb, enum smtp_client_state state, uint64_t now_ms);
/* Nothing is asked for: the host may give a message. */
void smtp_client_ready(struct smtp_client *c);
/* The message came to its end; the connection can take another. */
void smtp_client_done(struct smtp_client *c);
/* Give an outcome to a recipient that has none yet. */
void smtp_client_settle(struct smtp_client *c, size_t i, const struct smtp_outcome *o);
/* Write what may be written now of the list of commands. */
void smtp_client_write_commands(struct smtp_client *c, uint64_t now_ms);
/* Is anything of ours waiting for a reply, and has it left us as a whole? */
bool smtp_client_is_expected(struct smtp_client *c);
/* A whole reply is here. */
void smtp_client_on_reply(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms);

/* client-command.c.  Write one command of the list to the output. */
void smtp_client_write(struct smtp_client *c, size_t command);

/* Take extensions from EHLO's answer, RFC 5321 4.1.1.1. */
void smtp_client_keywords(struct smtp_client *c, struct span text);

/* Body octets with CRLF line ends (and dots stuffed, with DATA), and its end. */
void smtp_client_stuff(struct smtp_client *c, struct buf *out, struct span octets);
void smtp_client_stuff_end(struct smtp_client *c, struct buf *out);

/* client-secure.c.  Greeted: STARTTLS, AUTH, or ready. */
void smtp_client_greeted(struct smtp_client *c, uint64_t now_ms);
void smtp_client_on_starttls(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms);
void smtp_client_on_auth(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms);

/* client-chunk.c.  Begin; take octets; may more be taken; the end; write what may be written; the
 * answer to a chunk. */
void smtp_client_chunks_begin(struct smtp_client *c, uint64_t now_ms);
void smtp_client_chunks_take(struct smtp_client *c, struct span octets, uint64_t now_ms);
bool smtp_client_chunks_room(const struct smtp_client *c);
void smtp_client_chunks_end(struct smtp_client *c, uint64_t now_ms);
void smtp_client_chunks_write(struct smtp_client *c, uint64_t now_ms);
bool smtp_client_chunk_expected(const struct smtp_client *c);
void smtp_client_on_chunk(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms);
/* client-reply.c: the answer to the end of the message. */
void smtp_client_on_end(struct smtp_client *c, const struct smtp_reply *r, uint64_t now_ms);
struct smtp_reply smtp_client_keep(struct arena *arena, const struct smtp_reply *r);

#endif
