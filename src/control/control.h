/*
 * control/control.h - the control socket: one JSON request a line, answers streamed.
 *
 * RUN_DIRECTORY/control.sock, mode 0600; the peer must be root or our own user
 * (SO_PEERCRED).  A request is {"command": "...", ...}.  Answers are objects, a line
 * each; the last has "end": true, and "error" (text) and "code" when it failed.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_CONTROL_CONTROL_H
#define POSTERN_CONTROL_CONTROL_H

#include "base/buf.h"
#include "net/net.h"

#include <jansson.h>

struct control_server; /* opaque */
struct control_call;   /* a request under way; lives until control_end() */

/* `fn` is called on the loop for each request; it answers now or later. */
int control_server_start(struct net_loop *l, const char *run_directory,
    void (*fn)(void *arg, struct control_call *call), void *arg, struct control_server **s_r);
void control_server_stop(struct control_server **s); /* NULL is fine */

/* The request, until control_end(). */
const json_t *control_request(const struct control_call *call);
const char *control_string(const struct control_call *call, const char *key); /* NULL: none */

/*
 * Stream one answer: JSON without line end.  From the loop's thread.
 * Returns 0, 1 when much waits for the peer (stop streaming until `drained`), -ERR_CLOSED.
 */
int control_answer(struct control_call *call, struct span json);
void control_on_drained(struct control_call *call, void (*fn)(void *arg), void *arg);

/* The last answer; the call is gone after this.  error NULL: it went well. */
void control_end(struct control_call *call, const char *error);

/*
 * The client's side (blocking, for commands): send a request, give each answer to fn.
 * 0, -ERR_NOTFOUND (no server runs), -ERR_ACCESS, -ERR_CLOSED, -ERR_INVAL (the server said an
 * error: *error_r, free() it).
 */
int control_request_send(const char *run_directory, const json_t *request,
    void (*fn)(void *arg, const json_t *answer), void *arg, char **error_r);

#endif
