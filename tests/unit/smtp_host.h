/*
 * tests/unit/smtp_host.h - a host for the server machine that says yes, or what it was told.
 *
 * Everything it sees goes into a log of words, bodies joined, so that two runs over
 * different splits of the same octets can be compared.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_TESTS_UNIT_SMTP_HOST_H
#define POSTERN_TESTS_UNIT_SMTP_HOST_H

#include "base/buf.h"
#include "smtp/server.h"

struct smtp_host {
	struct smtp_server *server;
	struct buf log;     /* "CONNECT HELO(x) MAIL(a@b) ..." */
	struct buf output;  /* what the client would have got */
	struct buf body;    /* of the open message */
	struct buf message; /* the last one that was accepted */
	uint64_t now_ms;
	int answers[32]; /* by step kind: reply id for the next step of that kind, -1: yes */
	unsigned messages;
	bool closed;
	int close_reply;
	bool early;
	unsigned auth_rounds; /* responses of the exchange that is open */
};

/* Options are the test's; the server is made from them. */
void smtp_host_init(struct smtp_host *h, const struct smtp_server_options *o);
void smtp_host_done(struct smtp_host *h);

/* Answer steps until the machine wants octets; then feed `in` in pieces of at most `step`
 * octets (0: all at once), answering all along. */
void smtp_host_feed(struct smtp_host *h, struct span in, size_t step);
void smtp_host_say(struct smtp_host *h, const char *lines); /* a C string, all at once */

/* Log and output as C strings; and forget them. */
const char *smtp_host_log(struct smtp_host *h);
const char *smtp_host_output(struct smtp_host *h);
void smtp_host_forget(struct smtp_host *h);

/* Does the output begin with this reply?  (Its text counts up to the first field.) */
bool smtp_host_said(struct smtp_host *h, const struct cat_reply *row);

#endif
