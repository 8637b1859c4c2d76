/*
 * base/err.h - one enum of errors for the whole program.
 *
 * A function that can fail in several ways returns int: >= 0 is success,
 * negative is -ERR_X.  Libraries return errors and stay silent; the program
 * reports them once, where it handles them.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_BASE_ERR_H
#define POSTERN_BASE_ERR_H

enum err {
	ERR_NONE = 0,
#define ERR(name, text, fault) ERR_##name,
#include "base/err.def"
#undef ERR
	ERR_COUNT
};

enum err_fault {
	ERR_FAULT_BUG,
	ERR_FAULT_CONFIG,
	ERR_FAULT_PEER,
	ERR_FAULT_RESOURCE,
	ERR_FAULT_SYSTEM
};

/* Text of an error; takes either sign.  Static memory; "unknown error" for any other number. */
const char *err_text(int err);

/* Its name in lower case ("line_too_long"), for events; takes either sign. */
const char *err_name(int err);

/* Whose fault it is; takes either sign.  An unknown number is a bug. */
enum err_fault err_fault(int err);

/* The negative error for an errno value; what has no row of its own is -ERR_IO. */
int err_from_errno(int errnum);

#endif
