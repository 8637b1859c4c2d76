/*
 * lab/lab.h - the simulator: the server machine with verdicts that the address asks for.
 *
 * From RCPT on the local part says what it answers (`POL-T1@lab.test`, `554-5.7.1@lab.test`,
 * `3001@lab.test`, `greylist-60s@lab.test`, `timeout@lab.test`, `ok@lab.test`); for connect,
 * greeting and MAIL the domain does (`any@421.connect.lab.test`).  It runs on a loop beside the
 * real server, on loopback only, and keeps nothing.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_LAB_LAB_H
#define POSTERN_LAB_LAB_H

#include "config/config.h"
#include "net/net.h"

struct lab; /* opaque */

/* Serve on a listening socket (taken over).  0 or a negative error. */
int lab_start(struct net_loop *l, struct config *cfg, int fd, struct lab **lab_r);

/*
 * The port where mail for a domain of the simulator goes: the main one for lab.test, one of its own
 * for a domain such as 421.connect.lab.test.  Any thread.  0 or -ERR_NOTFOUND (the name asks for
 * nothing that is known).
 */
int lab_port_for(struct lab *lab, struct span domain, uint16_t *port_r);

/* Close the listener and every session, at once. */
void lab_stop(struct lab *lab);
void lab_free(struct lab **lab); /* after the loop has run out; NULL is fine */

/* Names that the simulator knows, for `postern lab` and the documentation; NULL at the end. */
struct lab_row {
	const char *name, *text;
};
const struct lab_row *lab_rows(void);

#endif
