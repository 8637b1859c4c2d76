/*
 * base/err.c - see base/err.h.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "base/err.h"

#include <errno.h>
#include <stddef.h>

struct err_row {
	const char *name;
	const char *text;
	enum err_fault fault;
};

static const struct err_row rows[] = {
	{ "none", "no error", ERR_FAULT_BUG },
#define ERR(name, text, fault) { #name, text, ERR_FAULT_##fault },
#include "base/err.def"
#undef ERR
};

static const struct err_row *row(int err)
{
	static const struct err_row unknown = { "unknown", "unknown error", ERR_FAULT_BUG };

	if (err < 0)
		err = -err;
	return err < ERR_COUNT ? &rows[err] : &unknown;
}

const char *err_text(int err)
{
	return row(err)->text;
}

const char *err_name(int err)
{
	return row(err)->name;
}

enum err_fault err_fault(int err)
{
	return row(err)->fault;
}

int err_from_errno(int errnum)
{
	switch (errnum) {
	case ENOMEM:
		return -ERR_NOMEM;
	case ENOSPC:
	case EDQUOT:
		return -ERR_NOSPACE;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
		return -ERR_LIMIT;
	case ENOENT:
		return -ERR_NOTFOUND;
	case EEXIST:
		return -ERR_EXISTS;
	case EACCES:
	case EPERM:
	case EROFS:
		return -ERR_ACCESS;
	case ECONNREFUSED:
		return -ERR_REFUSED;
	case ETIMEDOUT:
		return -ERR_TIMEOUT;
	case ECONNRESET:
	case EPIPE:
		return -ERR_CLOSED;
	case EHOSTUNREACH:
	case ENETUNREACH:
	case EADDRNOTAVAIL:
		return -ERR_UNREACHABLE;
	case EINVAL:
		return -ERR_INVAL;
	default:
		return -ERR_IO;
	}
}
