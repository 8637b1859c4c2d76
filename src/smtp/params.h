/*
 * smtp/params.h - parameters of MAIL and RCPT (RFC 1870, 6152, 3030, 3461, 4954, 6531, 8689).
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_SMTP_PARAMS_H
#define POSTERN_SMTP_PARAMS_H

#include "base/arena.h"

/* NOTIFY of RFC 3461 4.1; the bits that envelope/envelope.h keeps.  NEVER stands alone. */
enum {
	SMTP_NOTIFY_NEVER = 1,
	SMTP_NOTIFY_SUCCESS = 2,
	SMTP_NOTIFY_FAILURE = 4,
	SMTP_NOTIFY_DELAY = 8
};

enum smtp_ret { SMTP_RET_NONE, SMTP_RET_FULL, SMTP_RET_HDRS };

enum smtp_params_verb { SMTP_PARAMS_MAIL, SMTP_PARAMS_RCPT };

struct smtp_params {
	uint64_t size; /* SIZE, 0 when none */
	bool body_8bit;
	bool body_binary; /* BODY=BINARYMIME */
	bool smtputf8, require_tls;
	bool has_auth;
	struct span auth;  /* decoded; empty: AUTH=<> */
	uint8_t ret;       /* enum smtp_ret */
	uint8_t notify;    /* bits; 0 when none */
	struct span envid; /* decoded */
	struct span orcpt; /* "type;address", decoded */
	unsigned seen;     /* private: rows of the table that were given */
};

/*
 * Read what follows the path: parameters parted by spaces or tabs.
 *
 * extensions  SMTP_EXT_ bits: what is not announced is refused
 * arena       takes decoded values; others point into s
 * p_r         what was given, zero where nothing was
 * reply_r     on -ERR_SYNTAX the reply id that says what is wrong, ready to send
 * bad_r       and the parameter that it is about
 * Returns 0, -ERR_SYNTAX, -ERR_NOMEM.
 */
int smtp_params_parse(struct span s, enum smtp_params_verb verb, unsigned extensions,
    struct arena *arena, struct smtp_params *p_r, int *reply_r, struct span *bad_r);

#endif
