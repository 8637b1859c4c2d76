/*
 * lab/lab-private.h - listeners, verdicts, sessions of the simulator.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_LAB_LAB_PRIVATE_H
#define POSTERN_LAB_LAB_PRIVATE_H

#include "lab/lab.h"
#include "smtp/server.h"

#include <pthread.h>

/* Listeners for domains that ask for a verdict before RCPT; the one used longest ago makes room. */
#define LAB_LISTENERS_MAX 64
#define LAB_GREYLIST_MAX  1024
#define LAB_NAME_MAX      64
/* More than all workers' deliveries together keep open; a stranger on this host gets no further. */
#define LAB_SESSIONS_MAX 4096

enum lab_kind {
	LAB_OK,
	LAB_REPLY,      /* `reply` with `args` */
	LAB_GREYLIST,   /* for `seconds` */
	LAB_TIMEOUT,    /* say nothing more */
	LAB_DISCONNECT, /* drop the connection */
	LAB_REFUSE,     /* connect only: nobody listens */
	LAB_GARBAGE,    /* what is no SMTP */
	LAB_SLOW,       /* take it, octet by octet */
};

struct lab_verdict {
	enum lab_kind kind;
	int reply;
	enum cat_stage when; /* where it is said: as asked, or data, or message */
	uint32_t seconds;
	char code[4], enhanced[16];
	char text[160];
};

/*
 * A name ("POL-T1", "554-5.7.1", "3001", "greylist-60s", "timeout-data") as a verdict for a stage;
 * false: it is none.  At RCPT a name may put its verdict off: what only the message can bring about
 * waits for its end, and "-data" or "-message" behind a name says where.
 */
bool lab_verdict_parse(
    const struct catalogue *cat, struct span name, enum cat_stage stage, struct lab_verdict *v_r);

struct lab_listener {
	struct lab *lab;
	char name[LAB_NAME_MAX]; /* "421.connect"; "" for the main one */
	enum cat_stage stage;    /* connect, helo or mail; rcpt for the main one */
	struct lab_verdict verdict;
	uint16_t port;
	int fd; /* until it is started on the loop; of a port that refuses, for good */
	struct net_listener *ln;
	struct net_task task;
	uint64_t used; /* counts up */
	struct lab_listener *next;
};

struct lab {
	struct net_loop *loop;
	struct config *cfg;
	pthread_mutex_t lock; /* the listeners and what is in them; the rest is the loop's */
	struct lab_listener *listeners;
	size_t count;
	uint64_t uses;
	struct lab_session *sessions;
	size_t session_count;
	struct {
		uint64_t key;
		uint64_t first_ms;
	} greylist[LAB_GREYLIST_MAX];
	bool stopped;
};

/* session.c */
void lab_session_start(struct lab_listener *l, int fd);
void lab_session_close(struct lab_session *s);

#endif
