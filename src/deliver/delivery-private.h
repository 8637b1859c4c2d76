/*
 * deliver/delivery-private.h - one connection and the group that it works on.
 *
 *   smtp.c         its life: connect, TLS, the steps of the client machine, its end
 *   transaction.c  a message over it: to whom, what each of them got
 *   secure.c       how it is encrypted, and for whom that failed
 *   auth.c         mechanisms of AUTH
 *   body.c         the body as it goes over the wire
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_DELIVER_DELIVERY_PRIVATE_H
#define POSTERN_DELIVER_DELIVERY_PRIVATE_H

#include "deliver/auth.h"
#include "deliver/deliver-private.h"

#define DELIVERY_MAGIC 0xde11fe12u

/* A message's body on its way out. */
struct delivery_body {
	struct spool_body *spool; /* NULL: closed */
	uint64_t at;
	/* what MAIL says of it */
	bool is_8bit, is_binary;
	bool needs_8bit;              /* it is 8-bit and stays so */
	const char *why;              /* it could not be converted; NULL: it was, or need not be */
	struct mime_convert *convert; /* NULL: it goes as it is */
	struct buf converted;         /* what was not taken yet */
	bool ended;
	bool header_utf8; /* its header needs SMTPUTF8 */
};

struct delivery {
	uint32_t magic;
	struct deliver_agent *agent;
	struct config *cfg; /* a reference: routes and names live in it */
	struct site *site;
	struct group *group;            /* NULL: saying QUIT, or idle */
	struct delivery *site_next;     /* in the site's list of idle ones */
	struct delivery *older, *newer; /* in the agent's */
	bool is_idle;
	uint64_t idle_until_ms;
	const struct config_route *options; /* of its site; NULL: none */
	bool require_tls;
	struct smtp_client *client;
	struct net_stream *stream;
	struct net_timer *timer;
	/* the connection */
	struct target target;
	char address[IP_TEXT_MAX + 120];
	bool connected, handshake;
	bool in_clear;     /* TLS failed here just now: this time without */
	unsigned messages; /* that it was given */
	bool welcome;      /* the last of them was taken for somebody */
	char tls[200];     /* what was agreed, for events; "" in clear */
	char tls_why[200]; /* why it was not */
	struct deliver_auth auth;
	/* the open message */
	struct delivery_body body;
	struct group
	    *room_of;   /* `chosen` and `rcpts` have room for this group, in its work's arena */
	size_t *chosen; /* indices into the envelope */
	size_t chosen_count;
	struct smtp_client_rcpt *rcpts; /* of these */
	bool sent, body_begun;
	bool reused; /* the open message is not the first of this connection */
};

/* transaction.c.  Begin the next message (a part of the group's recipients): 1 when there is one, 0
 * when nobody is left, or an error. */
int transaction_begin(struct delivery *d);
int transaction_give_body(struct delivery *d); /* 1: gave some, 0: wait for the kernel, or error */
void transaction_judge(struct delivery *d);    /* the message came to its end */
/* Every recipient of the group without an outcome gets this one; then the group is over. */
void transaction_judge_rest(struct delivery *d, const struct smtp_outcome *session);
bool transaction_is_lacking(const struct delivery *d); /* another host may have what this lacks */
void transaction_forget(struct delivery *d);
void group_over(struct delivery *d);

/* secure.c */
enum config_route_tls secure_level(const struct delivery *d);
void secure_options(const struct delivery *d, struct smtp_client_options *o);
int secure_begin(struct delivery *d); /* the handshake; 0 or an error */
void secure_done(struct delivery *d); /* what was agreed */
bool secure_is_verified(const struct delivery *d);
void secure_failed(struct delivery *d); /* why, while the stream is there */
bool secure_falls_back(struct delivery *d, const struct smtp_outcome *session);

/* body.c.  For a host with these extensions; what it has not is made up for by a conversion. */
int delivery_body_open(
    struct delivery_body *b, struct spool *spool, const struct envelope *env, unsigned extensions);
ssize_t delivery_body_read(struct delivery_body *b, char *to, size_t n); /* 0: its end */
void delivery_body_close(struct delivery_body *b);

#endif
