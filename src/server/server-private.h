/*
 * server/server-private.h - a session and its worker.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_SERVER_SERVER_PRIVATE_H
#define POSTERN_SERVER_SERVER_PRIVATE_H

#include "envelope/envelope.h"
#include "mime/header.h"
#include "queue/recipients.h"
#include "server/server.h"
#include "smtp/server.h"

/* A transaction: a thousand recipients with their ORCPT fit in, or a few lists of a thousand. */
#define TRANSACTION_OCTETS_MAX (4u << 20)
/* Facts of one scope: names, addresses and answers of one session. */
#define FACTS_OCTETS_MAX (64u << 10)
/* The trace of one evaluation. */
#define TRACE_OCTETS_MAX 16384

/* How long a load balancer may take for its PROXY header, as Postfix's
 * smtpd_upstream_proxy_timeout. */
#define SESSION_PROXY_MS 5000

struct server_listener {
	struct server_worker *worker;
	struct net_listener *ln;
	const struct config_listen *listen;
	struct server_listener *next;
};

struct server_worker {
	struct net_loop *loop;
	struct config *cfg;
	struct server_shared *shared;
	struct server_hooks hooks;
	struct auth_worker *auth; /* NULL: nobody authenticates */
	struct server_listener *listeners;
	struct session *sessions; /* doubly linked */
	size_t session_count;
	void (*stopped)(void *arg);
	void *stopped_arg;
	bool stopping;
};

/* One message with the spool's writer. */
struct transaction_commit {
	struct spool_op op;
	struct session *session;
	int err; /* the writer's, good once `ops_left` is 0 */
};

/* A further message that the same octets become, for an alias with an owner: another sender. */
struct transaction_copy {
	struct envelope env;
	struct spool_draft *draft;
	struct transaction_commit commit;
};

/* Owners of lists in one message. */
#define TRANSACTION_COPIES_MAX 100

/* What MAIL began: dropped as a whole by transaction_reset(), the one place that does. */
struct transaction {
	struct arena arena;
	struct envelope env;
	struct queue_recipients set; /* while it is open */
	struct span first_rcpt;      /* as the client named it */
	size_t rcpt_count;           /* that the client named */
	struct spool_draft *draft;
	struct transaction_copy *copies;
	size_t copy_count;
	int draft_err;
	struct mime_header_reader headers; /* reads the body's header while it comes in */
	bool header_open;
	struct buf trace;
	bool open;
	bool chunked;                  /* it came by BDAT */
	bool has_date, has_message_id; /* header fields that a submission must have */
};

enum session_phase {
	SESSION_PROXY,     /* the PROXY header is due */
	SESSION_HANDSHAKE, /* no word from us but TLS's own */
	SESSION_TALK,      /* the machine has it */
};

/* XFORWARD, for the next message. */
struct forward {
	char name[256], address[IP_TEXT_MAX + 8], ident[256];
	char client[256 + IP_TEXT_MAX + 16];
};

#define SESSION_MAGIC 0x5e551011u

struct session {
	uint32_t magic;
	struct server_worker *worker;
	struct session *next, *prev;
	struct smtp_server *smtp;
	struct net_stream *stream;
	struct net_timer *timer;
	struct facts facts;
	struct transaction txn;
	const struct config_listen *listen;
	enum session_phase phase;
	struct ip peer_ip;   /* of the connection or PROXY header: what is trusted goes by it */
	struct ip client_ip; /* that, or XCLIENT's */
	struct ip dest_ip;
	uint16_t client_port, dest_port;
	enum fact_state name_state; /* what XCLIENT said of the name */
	char *client_name;          /* NULL: "unknown" */
	char *client_text;          /* name[address] */
	const char *client;         /* the same; good until the client is another */
	char *login;                /* who authenticated, or XCLIENT's LOGIN; NULL: nobody */
	struct auth_exchange *exchange;
	char mechanism[32]; /* of the exchange */
	struct forward *forward;
	unsigned extensions; /* those that go by no peer */
	size_t behind;       /* octets that came with a step, behind it */
	char id[16];
	uint64_t started_ms;
	uint32_t messages, refusals;
	int close_reply; /* that ended it; -1: the client left */
	bool opened;     /* its event was emitted */
	bool counted;    /* in server_clients */
	bool admitted;   /* it has one of the places that there are */
	bool committing; /* the writer has our op: the session must not go away */
	bool asking;     /* the backend of AUTH has a response of the client's */
	bool delayed;    /* too many errors: nothing is read until the timer says so */
	bool over;       /* close once the replies so far are sent */
	bool gone;       /* the peer is gone; free when the commit is answered */
	struct transaction_commit commit;
	_Atomic size_t ops_left; /* messages of it that are not on disk yet */
	struct net_task op_task;
};

/* session.c */
void session_start(struct server_worker *w, int fd, const struct config_listen *listen);
void session_run(struct session *s);  /* take what waits, answer, send */
void session_free(struct session *s); /* of a session that is gone and waits for no commit */
void session_abort(struct session *s, int reply); /* 421 and close */
void session_answer(struct session *s, int reply, const struct reply_args *args);
void session_refused(
    struct session *s, int reply, const struct reply_args *args, struct span trace);

/* tls.c */
void session_starttls(struct session *s); /* answers the step */
/* Begin the handshake; `first`: octets of it that came with a PROXY header.  false: cannot. */
bool session_handshake(struct session *s, struct span first);
void session_secured(void *arg); /* the stream's event */
void session_tls_failed(struct session *s, const char *why);
void session_tls_facts(struct session *s);
void session_tls_received(const struct session *s, struct buf *out); /* lines of Received */
struct net_tls_info;
void session_tls_words(const struct net_tls_info *info, struct buf *out);

/* auth.c */
/* AUTH or a response: false when the answer comes later. */
bool session_auth(struct session *s, const struct smtp_step *step);
void session_auth_end(struct session *s);    /* the exchange is over, whatever it was at */
void session_forget_user(struct session *s); /* nobody has authenticated any more */
void session_auth_options(const struct session *s, struct smtp_server_options *o);

/* peer.c */
void peer_connected(struct session *s);   /* from the connection */
bool peer_may_connect(struct session *s); /* false: close it; else the phase is set */
/* 1: the header was read, *used_r of the octets; 0: more; negative: close. */
int peer_proxy(struct session *s, struct span octets, size_t *used_r);
void peer_proxy_missing(struct session *s);
void peer_know(struct session *s); /* facts and texts anew */
void peer_extensions(struct session *s);
void peer_xclient(struct session *s, const struct smtp_peer *peer);
int peer_xforward(struct session *s, const struct smtp_peer *peer); /* a reply id */
void peer_forward_reset(struct session *s);
void peer_done(struct session *s);
const char *peer_name(const struct session *s); /* "unknown" when it has none */

/* receive.c */
void transaction_init(struct transaction *t);
void transaction_reset(struct session *s);
void transaction_done(struct session *s);
void transaction_mail(struct session *s, const struct smtp_step *step);
void transaction_rcpt(struct session *s, const struct smtp_step *step);
void transaction_data(struct session *s);
void transaction_body(struct session *s, struct span octets);
/* true: the answer comes later (the commit is under way) */
bool transaction_message(struct session *s, const struct smtp_step *step);

/* recipient.c: the checks; returns the reply id, REPLY_RCPT_OK when it may come in. */
int recipient_check(
    struct session *s, struct span address, struct reply_args *args_r, struct buf *trace_r);

/* clients.c */
struct server_clients;
int server_clients_new(struct server_clients **c_r);
void server_clients_free(struct server_clients **c);
bool server_clients_enter(struct server_clients *c, const struct ip *ip, uint32_t max);
void server_clients_leave(struct server_clients *c, const struct ip *ip);

#endif
