/*
 * smtp/params.c - parameters of MAIL and RCPT; see smtp/params.h.
 *
 * One row a parameter; a second one of the same name is as bad as a bad value,
 * because nobody can say which of the two the client meant.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "smtp/params.h"
#include "base/err.h"
#include "base/utf8.h"
#include "catalogue/reply_ids.h"
#include "smtp/address.h"
#include "smtp/server.h"

/* Take a value; 0, -ERR_SYNTAX, -ERR_RANGE, -ERR_NOMEM. */
typedef int param_fn(struct span value, struct arena *arena, struct smtp_params *p);

/* What a DSN will carry must fit into its header: no controls, no octets above ASCII. */
static bool is_printable(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < 32 || s.p[i] > 126)
			return false;
	return true;
}

static int take_size(struct span value, struct arena *arena, struct smtp_params *p)
{
	(void)arena;
	return span_u64(value, INT64_MAX, &p->size);
}

static int take_body(struct span value, struct arena *arena, struct smtp_params *p)
{
	const struct span seven = SPAN_LIT("7BIT"), eight = SPAN_LIT("8BITMIME"),
			  binary = SPAN_LIT("BINARYMIME");

	(void)arena;
	p->body_8bit = span_eq_nocase(value, eight);
	p->body_binary = span_eq_nocase(value, binary);
	return p->body_8bit || p->body_binary || span_eq_nocase(value, seven) ? 0 : -ERR_SYNTAX;
}

static int take_smtputf8(struct span value, struct arena *arena, struct smtp_params *p)
{
	(void)value, (void)arena;
	p->smtputf8 = true;
	return 0;
}

static int take_requiretls(struct span value, struct arena *arena, struct smtp_params *p)
{
	(void)value, (void)arena;
	p->require_tls = true;
	return 0;
}

/* Who submitted the message first, as another server believes: an address, or <> for "not known".
 */
static int take_auth(struct span value, struct arena *arena, struct smtp_params *p)
{
	struct smtp_address address;
	struct span text;
	int rc = smtp_xtext_decode(value, arena, &text);

	if (rc < 0)
		return rc;
	p->auth = SPAN_LIT("");
	if (!span_eq(text, SPAN_LIT("<>"))) {
		rc = smtp_mailbox_parse(text, SMTP_PATH_LENIENT | SMTP_PATH_UTF8, arena, &address);
		if (rc < 0)
			return rc == -ERR_NOMEM ? rc : -ERR_SYNTAX;
		p->auth = address.address;
	}
	p->has_auth = true;
	return 0;
}

static int take_ret(struct span value, struct arena *arena, struct smtp_params *p)
{
	const struct span full = SPAN_LIT("FULL"), hdrs = SPAN_LIT("HDRS");

	(void)arena;
	if (span_eq_nocase(value, full))
		p->ret = SMTP_RET_FULL;
	else if (span_eq_nocase(value, hdrs))
		p->ret = SMTP_RET_HDRS;
	else
		return -ERR_SYNTAX;
	return 0;
}

static int take_envid(struct span value, struct arena *arena, struct smtp_params *p)
{
	struct span envid;
	int rc = smtp_xtext_decode(value, arena, &envid);

	if (rc < 0)
		return rc;
	if (!is_printable(envid))
		return -ERR_SYNTAX;
	p->envid = envid;
	return 0;
}

static int notify_bit(struct span word)
{
	static const struct {
		const char *name;
		int bit;
	} words[] = {
		{ "NEVER", SMTP_NOTIFY_NEVER },
		{ "SUCCESS", SMTP_NOTIFY_SUCCESS },
		{ "FAILURE", SMTP_NOTIFY_FAILURE },
		{ "DELAY", SMTP_NOTIFY_DELAY },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (span_eq_nocase(word, span_str(words[i].name)))
			return words[i].bit;
	return 0;
}

static int take_notify(struct span value, struct arena *arena, struct smtp_params *p)
{
	unsigned bits = 0;

	(void)arena;
	for (;;) {
		ptrdiff_t comma = span_find(value, ',');
		struct span word = span_of(value.p, comma < 0 ? value.n : (size_t)comma);
		int bit = notify_bit(word);
		if (!bit)
			return -ERR_SYNTAX;
		bits |= (unsigned)bit;
		if (comma < 0)
			break;
		value = span_skip(value, word.n + 1);
	}
	if ((bits & SMTP_NOTIFY_NEVER) && bits != SMTP_NOTIFY_NEVER)
		return -ERR_SYNTAX;
	p->notify = (uint8_t)bits;
	return 0;
}

static size_t put_utf8(uint8_t *to, uint32_t c)
{
	static const uint8_t lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	for (size_t i = n - 1; i > 0; i--, c >>= 6)
		to[i] = (uint8_t)(0x80 | (c & 0x3f));
	to[0] = (uint8_t)(n == 1 ? c : lead[n] | c);
	return n;
}

/* The character of "\x{HEX}" at the start of s; octets read, or 0. */
static size_t take_embedded(struct span s, uint32_t *c_r)
{
	static const char digits[] = "0123456789ABCDEF";
	ptrdiff_t close = span_find(s, '}');
	uint32_t c = 0;

	if (!span_starts_nocase(s, SPAN_LIT("\\x{")) || close < 5 || close > 9)
		return 0;
	for (ptrdiff_t i = 3; i < close; i++) {
		const char *d = memchr(digits, ascii_upper(s.p[i]), 16);
		if (!d)
			return 0;
		c = c << 4 | (uint32_t)(d - digits);
	}
	*c_r = c;
	return c <= 0x10ffff ? (size_t)close + 1 : 0;
}

static bool is_printable_utf8(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < 32 || s.p[i] == 127)
			return false;
	return utf8_valid(s);
}

/*
 * An address of the type utf-8 (RFC 6533 3): UTF-8 as it is, or its characters as \x{HEX}. xtext's
 * own "+HH" has no place there, but says nothing else either.
 */
static int decode_unitext(struct span value, struct arena *arena, struct span *out_r)
{
	uint8_t *out = arena_alloc(arena, value.n + 1);
	size_t n = 0;

	if (!out)
		return -ERR_NOMEM;
	while (value.n) {
		uint32_t c = value.p[0];
		size_t used = 1;
		if (c == '\\' && !(used = take_embedded(value, &c)))
			return -ERR_SYNTAX;
		if (c == '+' && used == 1) {
			struct span octet;
			int rc = smtp_xtext_decode(
			    span_of(value.p, value.n < 3 ? value.n : 3), arena, &octet);
			if (rc < 0)
				return rc;
			out[n++] = octet.p[0];
			used = 3;
		} else if (used == 1) {
			out[n++] = (uint8_t)c; /* an octet of UTF-8: judged with the others */
		} else {
			n += put_utf8(out + n, c);
		}
		value = span_skip(value, used);
	}
	*out_r = span_of(out, n);
	return is_printable_utf8(*out_r) ? 0 : -ERR_SYNTAX;
}

/* "rfc822;xtext": the type is an atom, both halves say something; RFC 3461 4.2. */
static int take_orcpt(struct span value, struct arena *arena, struct smtp_params *p)
{
	ptrdiff_t semicolon = span_find(value, ';');
	struct span type, address, value_text;
	bool unitext;
	uint8_t *joined;
	int rc;

	if (semicolon <= 0)
		return -ERR_SYNTAX;
	for (ptrdiff_t i = 0; i < semicolon; i++)
		if (!ascii_is_alpha(value.p[i]) && !ascii_is_digit(value.p[i]) && value.p[i] != '-')
			return -ERR_SYNTAX;
	type = span_of(value.p, (size_t)semicolon);
	unitext = span_eq_nocase(type, SPAN_LIT("utf-8"));
	value_text = span_skip(value, (size_t)semicolon + 1);
	rc = unitext ? decode_unitext(value_text, arena, &address)
		     : smtp_xtext_decode(value_text, arena, &address);
	if (rc < 0)
		return rc;
	/* Postfix writes UTF-8 as xtext and calls it rfc822; it is what RFC 6533 means by utf-8. */
	if (!unitext && !is_printable(address) && is_printable_utf8(address))
		type = SPAN_LIT("utf-8");
	else if (address.n == 0 || (!unitext && !is_printable(address)))
		return -ERR_SYNTAX;
	joined = arena_alloc(arena, type.n + 1 + address.n);
	if (!joined)
		return -ERR_NOMEM;
	memcpy(joined, type.p, type.n);
	joined[type.n] = ';';
	memcpy(joined + type.n + 1, address.p, address.n);
	p->orcpt = span_of(joined, type.n + 1 + address.n);
	return 0;
}

/*
 * SIZE and BODY need no bit: a server that does not announce them loses nothing by
 * understanding them.  DSN's do: who asks for a notification must not be told yes.
 */
/* clang-format off */
static const struct param {
	const char *name;
	enum smtp_params_verb verb;
	param_fn *take;
	unsigned extension;
	bool bare;  /* a keyword without value */
	int bad;    /* the value is bad */
	int twice;  /* it was given already */
	int absent; /* the extension is off */
	const char *rfc;
} params[] = {
	{ "SIZE",       SMTP_PARAMS_MAIL, take_size,       0,                   false, REPLY_BAD_SIZE,           REPLY_BAD_SIZE,             0,                        "1870#6.1" },
	{ "BODY",       SMTP_PARAMS_MAIL, take_body,       0,                   false, REPLY_UNSUPPORTED_OPTION, REPLY_UNSUPPORTED_OPTION,   0,                        "6152#2" },
	{ "RET",        SMTP_PARAMS_MAIL, take_ret,        SMTP_EXT_DSN,        false, REPLY_BAD_RET,            REPLY_BAD_RET,              REPLY_DSN_DISABLED,       "3461#4.3" },
	{ "ENVID",      SMTP_PARAMS_MAIL, take_envid,      SMTP_EXT_DSN,        false, REPLY_BAD_ENVID,          REPLY_BAD_ENVID,            REPLY_DSN_DISABLED,       "3461#4.4" },
	{ "AUTH",       SMTP_PARAMS_MAIL, take_auth,       SMTP_EXT_AUTH,       false, REPLY_UNSUPPORTED_OPTION, REPLY_MULTIPLE_AUTH_OPTION, REPLY_UNSUPPORTED_OPTION, "4954#5" },
	{ "SMTPUTF8",   SMTP_PARAMS_MAIL, take_smtputf8,   SMTP_EXT_SMTPUTF8,   true,  REPLY_UNSUPPORTED_OPTION, REPLY_UNSUPPORTED_OPTION,   REPLY_UNSUPPORTED_OPTION, "6531#3.4" },
	{ "REQUIRETLS", SMTP_PARAMS_MAIL, take_requiretls, SMTP_EXT_REQUIRETLS, true,  REPLY_UNSUPPORTED_OPTION, REPLY_UNSUPPORTED_OPTION,   REPLY_UNSUPPORTED_OPTION, "8689#2" },
	{ "NOTIFY",     SMTP_PARAMS_RCPT, take_notify,     SMTP_EXT_DSN,        false, REPLY_BAD_NOTIFY,         REPLY_BAD_NOTIFY,           REPLY_DSN_DISABLED,       "3461#4.1" },
	{ "ORCPT",      SMTP_PARAMS_RCPT, take_orcpt,      SMTP_EXT_DSN,        false, REPLY_BAD_ORCPT,          REPLY_BAD_ORCPT,            REPLY_DSN_DISABLED,       "3461#4.2" },
};
/* clang-format on */

#define BINARY (SMTP_EXT_CHUNKING | SMTP_EXT_BINARYMIME)

/* One "NAME=value"; returns as smtp_params_parse(). */
static int take_param(struct span word, enum smtp_params_verb verb, unsigned extensions,
    struct arena *arena, struct smtp_params *p, int *reply_r)
{
	ptrdiff_t equals = span_find(word, '=');
	struct span name = span_of(word.p, equals < 0 ? word.n : (size_t)equals);

	*reply_r = REPLY_UNSUPPORTED_OPTION;
	for (size_t i = 0; i < sizeof(params) / sizeof(*params); i++) {
		const struct param *row = &params[i];
		int rc;
		if (row->verb != verb || !span_eq_nocase(name, span_str(row->name)))
			continue;
		*reply_r = row->absent;
		if (row->extension & ~extensions)
			return -ERR_SYNTAX;
		*reply_r = REPLY_UNSUPPORTED_OPTION;
		if (row->bare != (equals < 0))
			return -ERR_SYNTAX;
		*reply_r = row->twice;
		if (p->seen & (1u << i))
			return -ERR_SYNTAX;
		*reply_r = row->bad;
		p->seen |= 1u << i;
		rc = row->take(span_skip(word, name.n + 1), arena, p);
		/* what only BDAT can carry */
		if (p->body_binary && (BINARY & ~extensions))
			return -ERR_SYNTAX;
		if (rc == -ERR_RANGE) /* digits enough, but more than any file holds */
			*reply_r = REPLY_SIZE_LIMIT;
		return rc == -ERR_RANGE ? -ERR_SYNTAX : rc;
	}
	return -ERR_SYNTAX;
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

int smtp_params_parse(struct span s, enum smtp_params_verb verb, unsigned extensions,
    struct arena *arena, struct smtp_params *p_r, int *reply_r, struct span *bad_r)
{
	struct smtp_params p = { 0 };

	for (s = span_trim(s); s.n; s = span_trim(s)) {
		struct span word = { s.p, 0 };
		int rc, reply;

		while (word.n < s.n && !is_blank(s.p[word.n]))
			word.n++;
		rc = take_param(word, verb, extensions, arena, &p, &reply);
		if (rc == -ERR_SYNTAX) {
			*reply_r = reply;
			*bad_r = word;
		}
		if (rc < 0)
			return rc;
		s = span_skip(s, word.n);
	}
	*p_r = p;
	return 0;
}
