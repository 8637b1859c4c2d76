/*
 * smtp/client-private.h - what the files of the client machine share.
 *
 *   client.c          life and the public functions
 *   client-reply.c    what replies mean: states and outcomes
 *   client-command.c  what goes over the wire: commands, the body, EHLO's keywords
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
	SMTP_CL_READY,
	SMTP_CL_COMMANDS, /* RSET, MAIL, RCPT, DATA: the cursors tell which */
	SMTP_CL_BODY,     /* 354 came */
	SMTP_CL_END,      /* the dot is in the output */
	SMTP_CL_DONE,
	SMTP_CL_QUIT,
	SMTP_CL_DEAD
};

/* Places in the list of commands: these, then one for each recipient, then DATA. */
enum { CMD_RSET, CMD_MAIL };

struct client_rcpt {
	struct smtp_outcome outcome;
	uint64_t ends_at; /* of its RCPT, in the stream of output */
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

/* Body octets with dots stuffed, and its end. */
void smtp_client_stuff(struct smtp_client *c, struct span octets);
void smtp_client_stuff_end(struct smtp_client *c);

#endif
