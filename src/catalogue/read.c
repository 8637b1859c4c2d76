/*
 * catalogue/read.c - rows out of YAML, with the checks that one row allows.
 *
 * A document is a mapping of lists, one a kind of row:
 *
 *     replies:        - id: rcpt_unknown ...
 *     failure_codes:  - code: 2001 ...
 *     enhanced:       - code: X.1.1 ...
 *     basic:          - code: 550 ...
 *     policy_codes:   - code: RCP-P1 ...
 *     digits:         - of: basic ...
 *
 * In an operator's document a row with the key of ours overrides the keys that it names.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "catalogue/rows-private.h"
#include "base/err.h"

static const char *const reply_keys[] = { "id", "code", "enhanced", "text", "policy_code", "stage",
	"cause", "acts", "if_it_recurs", "remedy", "duration", "failure_code", "rfc", "since",
	"postfix_lines", "artefact", NULL };
static const char *const failure_keys[] = { "code", "name", "category", "text", "cause", "acts",
	"remedy", NULL };
static const char *const enhanced_keys[] = { "code", "name", "cause", "acts", "remedy",
	"failure_code_4", "failure_code_5", "reply_codes", "rfc", NULL };
static const char *const basic_keys[] = { "code", "name", "cause", "acts", "remedy", "failure_code",
	"rfc", NULL };
static const char *const policy_keys[] = { "code", "group", "persistence", "reply_code", "enhanced",
	"cause", "acts", "if_it_recurs", "remedy", "duration", "failure_code", NULL };
static const char *const digit_keys[] = { "of", "place", "digit", "name", "cause", "acts", "remedy",
	"failure_code", NULL };

static const char *const categories[] = { "rejected", "permanent", "temporary", "communication",
	"informational", "unknown", NULL };

const struct yaml_node *cat_row_at(const struct cat_row *row, const char *key)
{
	const struct yaml_node *n = key ? yaml_get(row->node, key) : NULL;

	return n ? n : row->node;
}

/* A required string; a key that is there must not be empty, in an override too. */
static void need_string(
    struct cat_rows *rows, const struct yaml_node *node, const char *key, const char **r)
{
	const struct yaml_node *n = yaml_get(node, key);
	const char *text = NULL;

	if (!n) {
		if (!*r)
			yaml_need(rows->errors, node, key);
		return;
	}
	if (yaml_string(rows->errors, n, &text) < 0)
		return;
	if (span_trim(span_str(text)).n == 0)
		yaml_error(rows->errors, n, "is empty");
	else
		*r = text;
}

static void need_acts(struct cat_rows *rows, const struct yaml_node *node, const char *key,
    enum cat_acts *r, bool set)
{
	const struct yaml_node *n = set ? yaml_get(node, key) : yaml_need(rows->errors, node, key);
	unsigned v = 0;

	if (n && yaml_enum(rows->errors, n, cat_acts_names, &v) == 0)
		*r = (enum cat_acts)v;
}

static void read_u16(
    struct cat_rows *rows, const struct yaml_node *n, uint32_t min, uint32_t max, uint16_t *r)
{
	uint32_t v = *r;

	if (yaml_uint32(rows->errors, n, min, max, &v) == 0)
		*r = (uint16_t)v;
}

/* Digits, or digits "#" section. */
static bool rfc_is_valid(const char *s)
{
	size_t digits = strspn(s, "0123456789");

	if (digits == 0 || digits > 5)
		return false;
	if (s[digits] == '\0')
		return true;
	return s[digits] == '#' && s[digits + 1] != '\0' &&
	    s[digits + 1 +
		strspn(s + digits + 1,
		    "0123456789.ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")] == '\0';
}

static void need_rfc(
    struct cat_rows *rows, const struct yaml_node *node, const char *const **r, bool set)
{
	const struct yaml_node *n =
	    set ? yaml_get(node, "rfc") : yaml_need(rows->errors, node, "rfc");

	if (!n || yaml_strings(rows->errors, n, rows->memory, r) < 0)
		return;
	if (n->count == 0)
		yaml_error(rows->errors, n, "names no RFC");
	for (const struct yaml_node *c = yaml_first(n); c; c = c->next)
		if (!rfc_is_valid((const char *)c->text.p))
			yaml_error(rows->errors, c,
			    "\"%.*s\" is not an RFC such as 5321 or 5321#4.2", SPAN_FMT(c->text));
}

static void read_duration(
    struct cat_rows *rows, const struct yaml_node *n, uint32_t *min_r, uint32_t *max_r)
{
	uint64_t ms[2] = { 0, 0 };
	size_t i = 0;

	if (!n || !yaml_is_sequence(rows->errors, n))
		return;
	if (n->count != 1 && n->count != 2) {
		yaml_error(
		    rows->errors, n, "must be one duration, or the shortest and the longest");
		return;
	}
	for (const struct yaml_node *c = n->first; c; c = c->next)
		if (yaml_duration(rows->errors, c, 1000, 400 * 86400000ull, &ms[i++]) < 0)
			return;
	if (n->count == 1)
		ms[1] = ms[0];
	if (ms[0] > ms[1]) {
		yaml_error(rows->errors, n, "the shortest comes first");
		return;
	}
	*min_r = (uint32_t)(ms[0] / 1000);
	*max_r = (uint32_t)(ms[1] / 1000);
}

static void read_enhanced(
    struct cat_rows *rows, const struct yaml_node *n, struct enhanced_status *r)
{
	struct enhanced_status v;

	if (!n)
		return;
	if (n->kind != YAML_KIND_SCALAR || n->text.n == 0 ||
	    enhanced_status_parse(n->text, &v) != n->text.n)
		yaml_error(rows->errors, n, "is not an enhanced status code such as 5.1.1");
	else
		*r = v;
}

static bool is_field(const struct yaml_node *n, const char *field)
{
	return n && n->kind == YAML_KIND_SCALAR && span_eq(n->text, span_str(field));
}

static void read_stages(struct cat_rows *rows, const struct yaml_node *n, uint16_t *r)
{
	uint16_t set = 0;

	if (!n || !yaml_is_sequence(rows->errors, n))
		return;
	for (const struct yaml_node *c = n->first; c; c = c->next) {
		unsigned v = 0;
		if (yaml_enum(rows->errors, c, cat_stage_names, &v) == 0)
			set |= (uint16_t)(1u << v);
	}
	if (n->count == 0)
		yaml_error(rows->errors, n, "names no stage");
	*r = set;
}

static bool id_is_valid(const char *id)
{
	size_t n = strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return id[n] == '\0' && n <= 48 && id[0] >= 'a' && id[0] <= 'z';
}

static bool policy_code_is_valid(const char *s)
{
	size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-");

	return s[n] == '\0' && n >= 2 && n <= 16 && s[0] >= 'A' && s[0] <= 'Z' &&
	    strchr(s, '-') != NULL;
}

static struct cat_row *find_reply(struct cat_rows *rows, const char *id)
{
	struct cat_rows_of *of = &rows->of[CAT_KIND_REPLY];

	for (size_t i = 0; i < of->count; i++)
		if (of->row[i].reply.id && strcmp(of->row[i].reply.id, id) == 0)
			return &of->row[i];
	return NULL;
}

/* Code and enhanced status of a reply, and whether they fit each other. */
static void read_codes(
    struct cat_rows *rows, const struct yaml_node *node, struct cat_reply *r, bool set)
{
	const struct yaml_node *code =
	    set ? yaml_get(node, "code") : yaml_need(rows->errors, node, "code");
	const struct yaml_node *enhanced = yaml_get(node, "enhanced");
	uint16_t was = r->code;

	if (is_field(code, "{code}"))
		r->code = 0;
	else
		read_u16(rows, code, 200, 599, &r->code);
	if (code && set && r->code / 100 != was / 100) {
		yaml_error(rows->errors, code,
		    "reply %s is %uxx in this program and stays so, not %uxx", r->id, was / 100,
		    r->code / 100);
		r->code = was;
		return;
	}
	/* "none" says that it is left out on purpose: in answers to HELO and EHLO, RFC 2034
	 * section 3. */
	if (is_field(enhanced, "{enhanced}") || is_field(enhanced, "none"))
		r->enhanced = (struct enhanced_status){ 0, 0, 0 };
	else
		read_enhanced(rows, enhanced, &r->enhanced);
	if ((!code && !enhanced) || (r->code == 0 && !set && !is_field(code, "{code}")))
		return;
	if (r->code == 0 && (!set && !is_field(enhanced, "{enhanced}")))
		yaml_error(rows->errors, enhanced ? enhanced : node,
		    "a row with code \"{code}\" has enhanced \"{enhanced}\"");
	else if (r->code != 0 && is_field(enhanced, "{enhanced}"))
		yaml_error(rows->errors, enhanced, "is a field, but the code is none");
	else if (r->code != 0 && r->enhanced.class_ != 0 && r->enhanced.class_ != r->code / 100)
		yaml_error(rows->errors, enhanced ? enhanced : code,
		    "class %u contradicts reply code %u", r->enhanced.class_, r->code);
	else if (r->code >= 400 && r->enhanced.class_ == 0 && !enhanced)
		yaml_error(rows->errors, node, "a refusal without an enhanced status code");
}

static void read_reply(struct cat_rows *rows, const struct yaml_node *node)
{
	struct cat_row *row, *old;
	struct cat_reply *r;
	const char *id = NULL;
	bool set;
	uint16_t failure = 0;

	yaml_check_keys(rows->errors, node, reply_keys);
	if (yaml_string(rows->errors, yaml_need(rows->errors, node, "id"), &id) < 0 || !id)
		return;
	if (!id_is_valid(id)) {
		yaml_error(rows->errors, yaml_get(node, "id"),
		    "\"%s\" is not an id: small letters, digits, underscores", id);
		return;
	}
	old = find_reply(rows, id);
	if (old && !(rows->overlay && old->ours && !old->node)) {
		yaml_error(rows->errors, yaml_get(node, "id"), "reply %s is in %s:%u already", id,
		    old->reply.file, old->reply.line);
		return;
	}
	set = old != NULL;
	row = set ? old : cat_rows_new(rows, CAT_KIND_REPLY);
	if (!row)
		return;
	row->node = node;
	r = &row->reply;
	r->id = id;
	r->file = node->file;
	r->line = node->line;
	read_codes(rows, node, r, set);
	need_string(rows, node, "text", &r->text);
	if (yaml_get(node, "policy_code")) {
		need_string(rows, node, "policy_code", &r->policy_code);
		if (r->policy_code && !policy_code_is_valid(r->policy_code)) {
			yaml_error(rows->errors, yaml_get(node, "policy_code"),
			    "\"%s\" is not a policy code such as POL-T1", r->policy_code);
			r->policy_code = NULL;
		}
	}
	read_stages(rows, set ? yaml_get(node, "stage") : yaml_need(rows->errors, node, "stage"),
	    &r->stages);
	need_string(rows, node, "cause", &r->cause);
	need_acts(rows, node, "acts", &r->acts, set);
	if (!set || yaml_get(node, "acts"))
		r->if_it_recurs = r->acts;
	need_acts(rows, node, "if_it_recurs", &r->if_it_recurs, true);
	need_string(rows, node, "remedy", &r->remedy);
	read_duration(rows, yaml_get(node, "duration"), &r->duration_min_s, &r->duration_max_s);
	failure = r->failure_code;
	read_u16(rows, yaml_get(node, "failure_code"), 1, 9999, &failure);
	r->failure_code = failure;
	need_rfc(rows, node, &r->rfc, set);
	if (rows->overlay && !r->since)
		r->since = "local";
	need_string(rows, node, "since", &r->since);
	yaml_strings(
	    rows->errors, yaml_get(node, "postfix_lines"), rows->memory, &r->postfix_lines);
	yaml_bool(rows->errors, yaml_get(node, "artefact"), &r->artefact);
	if (r->text)
		cat_check_text(rows->errors, cat_row_at(row, "text"), r);
	cat_check_fields(rows->errors, cat_row_at(row, "cause"), r->cause);
	cat_check_fields(rows->errors, cat_row_at(row, "remedy"), r->remedy);
}

/* Cause, acts and remedy, which every kind but replies has in the same way. */
static void read_care(struct cat_rows *rows, const struct yaml_node *node, const char **cause,
    enum cat_acts *acts, const char **remedy, bool set)
{
	need_string(rows, node, "cause", cause);
	need_acts(rows, node, "acts", acts, set);
	need_string(rows, node, "remedy", remedy);
}

/* The row of this kind that `same` takes for the one of the node: to be overridden, or an error. */
static struct cat_row *new_or_ours(struct cat_rows *rows, enum cat_kind kind,
    const struct yaml_node *node, const char *key,
    bool (*same)(const struct cat_row *, const void *), const void *arg, bool *set_r)
{
	struct cat_rows_of *of = &rows->of[kind];
	struct cat_row *row = NULL;

	for (size_t i = 0; i < of->count && !row; i++)
		if (same(&of->row[i], arg))
			row = &of->row[i];
	*set_r = row != NULL;
	if (row && !(rows->overlay && row->ours && !row->node)) {
		yaml_error(rows->errors, cat_row_at(&(struct cat_row){ .node = node }, key),
		    "is in the catalogue already");
		return NULL;
	}
	if (!row)
		row = cat_rows_new(rows, kind);
	if (row)
		row->node = node;
	return row;
}

static bool same_failure(const struct cat_row *row, const void *arg)
{
	return row->failure.code == *(const uint16_t *)arg;
}

static void read_failure(struct cat_rows *rows, const struct yaml_node *node)
{
	struct cat_row *row;
	struct cat_failure *f;
	const struct yaml_node *n;
	uint16_t code = 0;
	unsigned category = 0;
	bool set;

	yaml_check_keys(rows->errors, node, failure_keys);
	read_u16(rows, yaml_need(rows->errors, node, "code"), 1000, 9999, &code);
	if (code == 0)
		return;
	row = new_or_ours(rows, CAT_KIND_FAILURE, node, "code", same_failure, &code, &set);
	if (!row)
		return;
	f = &row->failure;
	f->code = code;
	f->file = node->file;
	f->line = node->line;
	need_string(rows, node, "name", &f->name);
	n = set ? yaml_get(node, "category") : yaml_need(rows->errors, node, "category");
	if (n && yaml_enum(rows->errors, n, categories, &category) == 0)
		f->category = categories[category];
	need_string(rows, node, "text", &f->text);
	read_care(rows, node, &f->cause, &f->acts, &f->remedy, set);
}

static bool same_enhanced(const struct cat_row *row, const void *arg)
{
	const struct enhanced_status *s = arg;

	return row->enhanced.subject == s->subject && row->enhanced.detail == s->detail;
}

static void read_enhanced_row(struct cat_rows *rows, const struct yaml_node *node)
{
	const struct yaml_node *n = yaml_need(rows->errors, node, "code");
	struct enhanced_status s = { 0 };
	struct cat_row *row;
	struct cat_enhanced *x;
	char five[16] = "5";
	bool set;

	yaml_check_keys(rows->errors, node, enhanced_keys);
	if (!n)
		return;
	/* The class is any: read X.1.1 as 5.1.1. */
	if (n->kind == YAML_KIND_SCALAR && n->text.n > 1 && n->text.n < sizeof(five) &&
	    n->text.p[0] == 'X')
		memcpy(five + 1, n->text.p + 1, n->text.n - 1);
	if (enhanced_status_parse(span_str(five), &s) != strlen(five)) {
		yaml_error(rows->errors, n, "is not an enhanced status code such as X.1.1");
		return;
	}
	row = new_or_ours(rows, CAT_KIND_ENHANCED, node, "code", same_enhanced, &s, &set);
	if (!row)
		return;
	x = &row->enhanced;
	x->subject = s.subject;
	x->detail = s.detail;
	x->file = node->file;
	x->line = node->line;
	need_string(rows, node, "name", &x->name);
	read_care(rows, node, &x->cause, &x->acts, &x->remedy, set);
	read_u16(rows, yaml_get(node, "failure_code_4"), 1, 9999, &x->failure_code_4);
	read_u16(rows, yaml_get(node, "failure_code_5"), 1, 9999, &x->failure_code_5);
	yaml_strings(rows->errors, yaml_get(node, "reply_codes"), rows->memory, &x->reply_codes);
	need_rfc(rows, node, &x->rfc, set);
}

static bool same_basic(const struct cat_row *row, const void *arg)
{
	return row->basic.code == *(const uint16_t *)arg;
}

static void read_basic(struct cat_rows *rows, const struct yaml_node *node)
{
	struct cat_row *row;
	struct cat_basic *b;
	uint16_t code = 0;
	bool set;

	yaml_check_keys(rows->errors, node, basic_keys);
	read_u16(rows, yaml_need(rows->errors, node, "code"), 100, 599, &code);
	if (code == 0)
		return;
	row = new_or_ours(rows, CAT_KIND_BASIC, node, "code", same_basic, &code, &set);
	if (!row)
		return;
	b = &row->basic;
	b->code = code;
	b->file = node->file;
	b->line = node->line;
	need_string(rows, node, "name", &b->name);
	read_care(rows, node, &b->cause, &b->acts, &b->remedy, set);
	read_u16(rows, yaml_get(node, "failure_code"), 1, 9999, &b->failure_code);
	if (code >= 400 && b->failure_code == 0)
		yaml_need(rows->errors, node, "failure_code");
	if (code < 400 && b->failure_code != 0)
		yaml_error(rows->errors, cat_row_at(row, "failure_code"), "%u is no failure", code);
	need_rfc(rows, node, &b->rfc, set);
}

static bool same_policy(const struct cat_row *row, const void *arg)
{
	return row->policy.code && strcmp(row->policy.code, arg) == 0;
}

static void read_policy(struct cat_rows *rows, const struct yaml_node *node)
{
	static const char *const persistence[] = { "temporary", "permanent", NULL };
	const struct yaml_node *n;
	struct cat_row *row;
	struct cat_policy *p;
	const char *code = NULL;
	unsigned permanent;
	bool set;

	yaml_check_keys(rows->errors, node, policy_keys);
	if (yaml_string(rows->errors, yaml_need(rows->errors, node, "code"), &code) < 0 || !code)
		return;
	if (!policy_code_is_valid(code)) {
		yaml_error(rows->errors, yaml_get(node, "code"),
		    "\"%s\" is not a policy code such as POL-T1", code);
		return;
	}
	row = new_or_ours(rows, CAT_KIND_POLICY, node, "code", same_policy, code, &set);
	if (!row)
		return;
	p = &row->policy;
	p->code = code;
	p->file = node->file;
	p->line = node->line;
	need_string(rows, node, "group", &p->group);
	permanent = p->permanent;
	n = set ? yaml_get(node, "persistence") : yaml_need(rows->errors, node, "persistence");
	if (n && yaml_enum(rows->errors, n, persistence, &permanent) == 0)
		p->permanent = permanent;
	n = set ? yaml_get(node, "reply_code") : yaml_need(rows->errors, node, "reply_code");
	read_u16(rows, n, 400, 599, &p->reply_code);
	n = set ? yaml_get(node, "enhanced") : yaml_need(rows->errors, node, "enhanced");
	read_enhanced(rows, n, &p->enhanced);
	if (p->reply_code != 0 && p->reply_code / 100 != (p->permanent ? 5 : 4))
		yaml_error(rows->errors, cat_row_at(row, "reply_code"), "reply code %u is not %s",
		    p->reply_code, persistence[p->permanent]);
	if (p->enhanced.class_ != 0 && p->enhanced.class_ != (p->permanent ? 5 : 4))
		yaml_error(rows->errors, cat_row_at(row, "enhanced"), "class %u is not %s",
		    p->enhanced.class_, persistence[p->permanent]);
	read_care(rows, node, &p->cause, &p->acts, &p->remedy, set);
	cat_check_fields(rows->errors, cat_row_at(row, "cause"), p->cause);
	cat_check_fields(rows->errors, cat_row_at(row, "remedy"), p->remedy);
	if (!set || yaml_get(node, "acts"))
		p->if_it_recurs = p->acts;
	need_acts(rows, node, "if_it_recurs", &p->if_it_recurs, true);
	read_duration(rows, yaml_get(node, "duration"), &p->duration_min_s, &p->duration_max_s);
	n = set ? yaml_get(node, "failure_code") : yaml_need(rows->errors, node, "failure_code");
	read_u16(rows, n, 1, 9999, &p->failure_code);
}

static bool same_digit(const struct cat_row *row, const void *arg)
{
	const struct cat_digit *d = arg;

	return row->digit.of == d->of && row->digit.place == d->place &&
	    row->digit.digit == d->digit;
}

static void read_digit(struct cat_rows *rows, const struct yaml_node *node)
{
	static const char *const of[] = { "basic", "enhanced", NULL };
	const struct yaml_node *n = yaml_need(rows->errors, node, "of");
	struct cat_digit key = { .digit = CAT_DIGIT_ANY };
	struct cat_row *row;
	uint16_t place = 0;
	unsigned v = 0;
	bool set;

	yaml_check_keys(rows->errors, node, digit_keys);
	if (!n || yaml_enum(rows->errors, n, of, &v) < 0)
		return;
	key.of = (enum cat_digit_of)v;
	read_u16(rows, yaml_need(rows->errors, node, "place"), 1, 3, &place);
	key.place = (uint8_t)place;
	n = yaml_need(rows->errors, node, "digit");
	if (!n || place == 0)
		return;
	if (!is_field(n, "any"))
		read_u16(rows, n, 0, 999, &key.digit);
	row = new_or_ours(rows, CAT_KIND_DIGIT, node, "digit", same_digit, &key, &set);
	if (!row)
		return;
	row->digit.of = key.of;
	row->digit.place = key.place;
	row->digit.digit = key.digit;
	row->digit.file = node->file;
	row->digit.line = node->line;
	need_string(rows, node, "name", &row->digit.name);
	read_care(rows, node, &row->digit.cause, &row->digit.acts, &row->digit.remedy, set);
	read_u16(rows, yaml_get(node, "failure_code"), 1, 9999, &row->digit.failure_code);
}

void cat_rows_read_node(struct cat_rows *rows, const struct yaml_node *root)
{
	static const struct {
		const char *key;
		void (*read)(struct cat_rows *, const struct yaml_node *);
	} kinds[] = {
		{ "replies", read_reply },
		{ "failure_codes", read_failure },
		{ "enhanced", read_enhanced_row },
		{ "basic", read_basic },
		{ "policy_codes", read_policy },
		{ "digits", read_digit },
	};
	static const char *const keys[] = { "replies", "failure_codes", "enhanced", "basic",
		"policy_codes", "digits", NULL };

	if (!yaml_is_mapping(rows->errors, root))
		return;
	yaml_check_keys(rows->errors, root, keys);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		const struct yaml_node *list = yaml_get(root, kinds[i].key);
		if (!list || !yaml_is_sequence(rows->errors, list))
			continue;
		for (const struct yaml_node *n = yaml_first(list); n; n = n->next)
			if (yaml_is_mapping(rows->errors, n))
				kinds[i].read(rows, n);
			else if (yaml_is_empty(n))
				yaml_error(rows->errors, n, "is empty");
	}
}
