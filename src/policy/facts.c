/*
 * policy/facts.c - see policy/facts.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "policy/facts.h"
#include "base/err.h"

static const struct {
	const char *name;
	enum fact_scope scope;
} kinds[] = {
#define X(name, scope, key, says) { #name, FACT_SCOPE_##scope },
	FACT_KINDS(X)
#undef X
};

void facts_init(struct facts *f, size_t octets_max)
{
	for (int i = 0; i < FACT_SCOPE_COUNT; i++) {
		arena_init(&f->arena[i], octets_max);
		f->head[i] = NULL;
	}
}

void facts_done(struct facts *f)
{
	for (int i = 0; i < FACT_SCOPE_COUNT; i++) {
		arena_done(&f->arena[i]);
		f->head[i] = NULL;
	}
}

void facts_clear(struct facts *f, enum fact_scope scope)
{
	for (int i = scope; i < FACT_SCOPE_COUNT; i++) {
		arena_reset(&f->arena[i]);
		f->head[i] = NULL;
	}
}

const struct fact *facts_get(const struct facts *f, struct fact_key key)
{
	/* A handful of facts a scope: a list beats a table. */
	for (const struct fact *x = f->head[kinds[key.kind].scope]; x; x = x->next)
		if (x->key.kind == key.kind && span_eq_nocase(x->key.key, key.key))
			return x;
	return NULL;
}

int facts_set(struct facts *f, struct fact_key key, enum fact_state state, struct span value)
{
	enum fact_scope scope = kinds[key.kind].scope;
	struct arena *a = &f->arena[scope];
	struct fact *x;

	if (facts_get(f, key))
		return -ERR_EXISTS;
	x = arena_alloc(a, sizeof(*x));
	if (!x)
		return -ERR_NOMEM;
	*x = (struct fact){ { key.kind, arena_span(a, key.key) }, state, arena_span(a, value),
		f->head[scope] };
	if (!x->key.key.p || !x->value.p)
		return -ERR_NOMEM;
	f->head[scope] = x;
	return 0;
}

const char *fact_kind_name(enum fact_kind kind)
{
	return kinds[kind].name;
}

enum fact_scope fact_kind_scope(enum fact_kind kind)
{
	return kinds[kind].scope;
}

int fact_kind_by_name(struct span name)
{
	for (int i = 0; i < FACT_KIND_COUNT; i++)
		if (span_eq(name, span_str(kinds[i].name)))
			return i;
	return -1;
}

const char *fact_state_name(enum fact_state state)
{
	switch (state) {
	case FACT_ABSENT:
		return "absent";
	case FACT_ANSWER:
		return "answer";
	case FACT_NONE:
		return "none";
	case FACT_UNKNOWN:
		return "unknown";
	}
	return "?";
}
