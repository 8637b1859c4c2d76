/*
 * classify/classify.h - from what a delivery came to, to a failure code.
 *
 * First the catalogue's own rows (a policy code or a text that we would send
 * ourselves), then a table over stage, reply code and enhanced status code.
 * No I/O, no state; any thread.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_CLASSIFY_CLASSIFY_H
#define POSTERN_CLASSIFY_CLASSIFY_H

#include "catalogue/catalogue.h"

/* What went wrong when no reply came, or before one could. */
enum classify_trouble {
	CLASSIFY_REPLY,        /* a reply came: code, enhanced, text */
	CLASSIFY_DNS_NXDOMAIN, /* the domain does not exist */
	CLASSIFY_DNS_NO_HOST,  /* it exists, but nothing there takes mail */
	CLASSIFY_DNS_NULL_MX,  /* it says that it takes no mail, RFC 7505 */
	CLASSIFY_DNS_UNKNOWN,  /* could not find out */
	CLASSIFY_CONNECT,      /* refused, unreachable, timed out while connecting */
	CLASSIFY_TIMEOUT,      /* inside the dialogue */
	CLASSIFY_LOST,         /* connection lost inside the dialogue */
	CLASSIFY_GARBAGE,      /* what came was no SMTP */
	CLASSIFY_TOO_LARGE,    /* larger than the SIZE that the next host announces */
	CLASSIFY_LOCAL,        /* a trouble of our own */
	CLASSIFY_TLS_MISSING,  /* TLS is wanted here, and the next host has none or refused it */
	CLASSIFY_TLS_FAILED,   /* the handshake or the certificate */
	CLASSIFY_AUTH,         /* our credentials: refused, or they cannot be given */
	CLASSIFY_UTF8,         /* needs SMTPUTF8, the next host lacks it, RFC 6531 3.5 */
	CLASSIFY_BINARY,       /* needs BINARYMIME, the next host lacks it, RFC 3030 */
	CLASSIFY_REQUIRETLS,   /* the message asks for it, the next host lacks it, RFC 8689 */
	CLASSIFY_REQUIRETLS_CLEAR, /* and no verified TLS can be had */
	CLASSIFY_NO_MAILBOX,       /* a domain of ours, and no such address in it */
	CLASSIFY_8BIT,             /* needs 8BITMIME, the next host lacks it, RFC 6152 3 */
	CLASSIFY_TROUBLE_COUNT
};

struct classify_input {
	enum classify_trouble trouble;
	enum cat_stage stage;
	uint16_t code;
	struct enhanced_status enhanced;
	struct span text; /* lines joined by LF, without codes */
};

struct classify_result {
	uint16_t failure_code;
	enum cat_acts acts;
	bool permanent;                /* trying again is of no use */
	struct enhanced_status status; /* for a DSN: the reply's, or what stands for the trouble */
	char rule[64]; /* "reply rcpt_unknown", "policy POL-T1", "table 550 X.1.1", "trouble
			  connect" */
};

void classify(
    const struct catalogue *cat, const struct classify_input *in, struct classify_result *result_r);

#endif
