/*
 * catalogue/catalogue.h - what we say and what we understand: one snapshot of all codes.
 *
 * The rows of catalogue/ are compiled into the program; an operator's directory
 * overrides texts and adds rows when it is loaded.  Both end in a snapshot that
 * never changes and is counted: a session holds one from its first octet to its
 * last, whatever is reloaded meanwhile.
 *
 * Reading a snapshot needs no lock; ref and unref may be called from any thread.
 * No I/O except in catalogue_load().
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_CATALOGUE_CATALOGUE_H
#define POSTERN_CATALOGUE_CATALOGUE_H

#include "base/buf.h"
#include "base/span.h"

struct catalogue;   /* opaque: catalogue/snapshot.c */
struct yaml_errors; /* yaml/yaml.h */

/* Subject and detail are numbers of up to three digits, not digits; class 0 means "none". */
struct enhanced_status {
	uint8_t class_;
	uint16_t subject;
	uint16_t detail;
};

/* How a reply is rendered: Postfix's words to the letter, or with policy code and help address. */
enum reply_style { REPLY_STYLE_POSTFIX, REPLY_STYLE_POSTERN };

/* Who must act (design: words). */
enum cat_acts {
	CAT_ACTS_NOBODY,
	CAT_ACTS_MESSAGE_AUTHOR,
	CAT_ACTS_SENDER,
	CAT_ACTS_SENDER_ADMIN,
	CAT_ACTS_SENDER_DNS_ADMIN,
	CAT_ACTS_RECIPIENT,
	CAT_ACTS_RECIPIENT_ADMIN,
	CAT_ACTS_OPERATOR,
	CAT_ACTS_COUNT
};

/* "sender_admin"; and for people: "the administrator of the sending server".  Never NULL. */
const char *cat_acts_name(enum cat_acts acts);
const char *cat_acts_text(enum cat_acts acts);

/* Stages of a session; a row has a set of them, an attempt has one. */
#define CAT_STAGES(X)                                                                              \
	X(connect) X(helo) X(starttls) X(auth) X(mail) X(rcpt) X(data) X(message) X(session)
enum cat_stage {
#define X(name) CAT_STAGE_##name,
	CAT_STAGES(X)
#undef X
	    CAT_STAGE_COUNT
};

/* One reply.  Pointers live as long as the snapshot. */
struct cat_reply {
	const char *id; /* "rcpt_unknown"; constant REPLY_RCPT_UNKNOWN when it is ours */
	uint16_t code;  /* 550; 0 when the field {code} holds it */
	struct enhanced_status enhanced; /* class 0: none, or the field {enhanced} holds it */
	const char *text;                /* with {fields}, without code and enhanced status */
	const char *policy_code;         /* "RCP-P1", or NULL */
	uint16_t stages;                 /* bits of enum cat_stage */
	const char *cause;
	enum cat_acts acts;
	enum cat_acts if_it_recurs; /* same as acts when the row says nothing */
	const char *remedy;
	uint32_t duration_min_s; /* how long the condition lasts; 0: not known */
	uint32_t duration_max_s;
	uint16_t failure_code;  /* under which a sender files it; 0 for a 2xx or 3xx */
	const char *const *rfc; /* "5321#3.3", ends with NULL */
	const char *since;
	const char *const
	    *postfix_lines; /* lines of Postfix's list that it covers, ends with NULL */
	bool artefact;      /* only an accident of that list; we never send it */
	const char *file;   /* where the row stands */
	unsigned line;
};

struct cat_failure {
	uint16_t code;
	const char *name;     /* "mailbox_full" */
	const char *category; /* "temporary", "rejected", ... as the seed groups them */
	const char *text;     /* one sentence */
	const char *cause;
	enum cat_acts acts;
	const char *remedy;
	const char *file;
	unsigned line;
};

struct cat_enhanced {
	uint16_t subject, detail; /* the class is any */
	const char *name;
	const char *cause;
	enum cat_acts acts;
	const char *remedy;
	uint16_t failure_code_4, failure_code_5; /* for class 4 and class 5; 0: a success only */
	const char *const *reply_codes;          /* that the registry names with it; empty: any */
	const char *const *rfc;
	const char *file;
	unsigned line;
};

struct cat_basic {
	uint16_t code;
	const char *name;
	const char *cause;
	enum cat_acts acts;
	const char *remedy;
	uint16_t failure_code;
	const char *const *rfc;
	const char *file;
	unsigned line;
};

/* What one digit of a code says by itself, for codes that have no row (RFC 5321 4.2.1, RFC 3463 3).
 */
enum cat_digit_of { CAT_DIGIT_OF_BASIC, CAT_DIGIT_OF_ENHANCED };

struct cat_digit {
	enum cat_digit_of of;
	uint8_t place;  /* basic: 1 to 3; enhanced: 1 class, 2 subject */
	uint16_t digit; /* CAT_DIGIT_ANY: whatever it is */
	const char *name;
	const char *cause;
	enum cat_acts acts;
	const char *remedy;
	uint16_t
	    failure_code; /* what it is filed under when nothing else is known; 0: no failure */
	const char *file;
	unsigned line;
};

#define CAT_DIGIT_ANY UINT16_MAX

struct cat_policy {
	const char *code; /* "POL-T1" */
	const char *group;
	bool permanent;
	struct enhanced_status enhanced;
	uint16_t reply_code; /* 550, 451, 421: what we send with it */
	const char *cause;
	enum cat_acts acts;
	enum cat_acts if_it_recurs;
	const char *remedy;
	uint32_t duration_min_s, duration_max_s;
	uint16_t failure_code;
	const char *file;
	unsigned line;
};

/* Values of the fields of a text; index by enum reply_field.  Spans are borrowed for the call. */
enum reply_field {
#define FIELD(name, what) REPLY_FIELD_##name,
#include "catalogue/fields.def"
#undef FIELD
	REPLY_FIELD_COUNT
};

struct reply_args {
	struct span field[REPLY_FIELD_COUNT];
};

/* How a snapshot renders; one per service.  All strings must outlive the call only. */
struct reply_format {
	enum reply_style style;
	const char *help_url; /* "https://mx.example.org/codes/"; NULL or "": none */
	bool utf8;            /* fields may show letters beyond ASCII; RFC 6531 3.7.4.2 */
};

/* The compiled-in snapshot; never NULL, never freed (ref and unref still balance). */
const struct catalogue *catalogue_builtin(void);

/*
 * The compiled-in rows with an operator's directory laid over them.
 *
 * dir      its *.yaml files, in order of name, rows of the same shape as ours
 * errors   gets every error, each with file, line and key; the caller's
 * Returns 0 with a reference in *cat_r, -ERR_CONFIG (see errors), -ERR_NOTFOUND, -ERR_NOMEM.
 */
int catalogue_load(const char *dir, struct yaml_errors *errors, const struct catalogue **cat_r);

const struct catalogue *catalogue_ref(const struct catalogue *cat);
void catalogue_unref(const struct catalogue **cat);

/*
 * Rows.  `reply` is a constant REPLY_X of catalogue/reply_ids.h (generated) or a number from
 * catalogue_reply_by_id(); those are 0 .. catalogue_reply_count() - 1.  Unknown: NULL or -1.
 */
size_t catalogue_reply_count(const struct catalogue *cat);
const struct cat_reply *catalogue_reply(const struct catalogue *cat, int reply);
int catalogue_reply_by_id(const struct catalogue *cat, struct span id);
const struct cat_failure *catalogue_failure(const struct catalogue *cat, uint16_t code);
const struct cat_enhanced *catalogue_enhanced(
    const struct catalogue *cat, uint16_t subject, uint16_t detail);
const struct cat_basic *catalogue_basic(const struct catalogue *cat, uint16_t code);
const struct cat_policy *catalogue_policy(const struct catalogue *cat, struct span code);

/* The reply that says no more than this policy code (id "policy_pol_t1"), either case; or -1. */
int catalogue_reply_by_policy(const struct catalogue *cat, struct span code);

/* What a digit says: the row for that digit, else the one for any, else NULL. */
const struct cat_digit *catalogue_digit(
    const struct catalogue *cat, enum cat_digit_of of, uint8_t place, uint16_t digit);

/* Name and meaning of a field ("recipient"), and a field by its name or -1. */
const char *reply_field_name(enum reply_field field);
const char *reply_field_what(enum reply_field field);
int reply_field_by_name(struct span name);

/* "rcpt". */
const char *cat_stage_name(enum cat_stage stage);

/*
 * Render a reply as it goes over the wire: every line "550 5.1.1 text CRLF" (RFC 5321 4.2, RFC
 * 2034), at most 512 octets each, fields made printable (controls and octets above 126 become '?',
 * which is Postfix's way) and cut where the line would be too long: first {command} and {detail},
 * then others; code and enhanced status are never cut.  A row whose code is a field takes the
 * fields {code} and {enhanced}; a code that is none there becomes 451 4.3.5, because a table of
 * ours is wrong then, and an enhanced status of another class gets the class of the code.
 *
 * In style postern the policy code follows the enhanced status, and "; see HELP/CODE?id=SESSION"
 * the text where there is room.  format NULL is Postfix's style, args NULL has every field empty.
 *
 * Returns the reply code, -ERR_NOMEM when `out` is at its maximum, -ERR_INVAL for no such reply.
 */
int catalogue_render(const struct catalogue *cat, int reply, const struct reply_format *format,
    const struct reply_args *args, struct buf *out);

/*
 * Add a text, cause or remedy with its fields filled in, for people: what is not known (args may be
 * NULL) stands as the field's name in capitals, CLIENT-ADDRESS.  text NULL adds nothing.
 * Returns 0 or -ERR_NOMEM.
 */
int catalogue_fill(const char *text, const struct reply_args *args, struct buf *out);

/*
 * Read an enhanced status code at the start of s: "5.1.1", subject and detail up to 999.
 * Returns octets taken, or 0 when there is none.  RFC 3463 2.
 */
size_t enhanced_status_parse(struct span s, struct enhanced_status *status_r);

#endif
