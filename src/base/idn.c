/*
 * base/idn.c - see base/idn.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/idn.h"
#include "base/err.h"
#include "base/utf8.h"

#include <idn2.h>

static bool is_ascii(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] > 126 || s.p[i] == 0)
			return false;
	return true;
}

int idn_to_ascii(struct span domain, char *to)
{
	char name[IDN_NAME_MAX * 4];
	char *out = NULL;
	size_t n;
	int r;

	if (is_ascii(domain)) {
		if (domain.n >= IDN_NAME_MAX)
			return -ERR_SYNTAX;
		for (size_t i = 0; i < domain.n; i++)
			to[i] = (char)ascii_lower(domain.p[i]);
		to[domain.n] = '\0';
		return (int)domain.n;
	}
	if (domain.n >= sizeof(name) || memchr(domain.p, 0, domain.n) || !utf8_valid(domain))
		return -ERR_SYNTAX;
	memcpy(name, domain.p, domain.n);
	name[domain.n] = '\0';
	r = idn2_to_ascii_8z(name, &out, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT);
	if (r != IDN2_OK)
		return r == IDN2_MALLOC ? -ERR_NOMEM : -ERR_SYNTAX;
	n = strlen(out);
	r = n < IDN_NAME_MAX ? (int)n : -ERR_SYNTAX;
	if (r >= 0)
		memcpy(to, out, n + 1);
	idn2_free(out);
	return r;
}

bool idn_same(struct span a, struct span b)
{
	char x[IDN_NAME_MAX], y[IDN_NAME_MAX];
	int n, m;

	if (span_eq_nocase(a, b))
		return true;
	n = idn_to_ascii(a, x);
	m = idn_to_ascii(b, y);
	return n >= 0 && n == m && memcmp(x, y, (size_t)n) == 0;
}
