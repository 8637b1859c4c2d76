/*
 * tables/alias-files.h - the files of aliases: read at the start, and again when they change.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_TABLES_ALIAS_FILES_H
#define POSTERN_TABLES_ALIAS_FILES_H

#include "tables/aliases.h"

struct alias_files; /* opaque: tables/alias-files.c */

struct alias_files_options {
	const char *const *local;    /* files in the form of aliases(5); NULL at the end */
	const char *const *virtual_; /* in the form of virtual(5) */
	/* Something was read anew, or could not be; `good` says which.  From the thread that asked,
	 * with no lock held. */
	void (*notice)(void *arg, bool good, const char *line);
	void *arg;
};

/*
 * Read all files.  Each error goes to `report`.  Names of files are borrowed.
 * 0, -ERR_CONFIG, -ERR_NOMEM.
 */
int alias_files_new(const struct alias_files_options *o,
    void (*report)(void *arg, const char *line), void *arg, struct alias_files **f_r);
void alias_files_free(struct alias_files **f); /* NULL is fine */

/*
 * The tables as they are now; a reference that the caller gives back.  At most once a second the
 * files are looked at; when one has changed all are read again, and when that fails the old tables
 * stay and `notice` is told.  Any thread.
 */
struct aliases *alias_files_get(struct alias_files *f);

/* Look now, and say what is wrong.  0: they are read; -ERR_CONFIG, -ERR_NOMEM: the old ones stay.
 * Any thread. */
int alias_files_reload(
    struct alias_files *f, void (*report)(void *arg, const char *line), void *arg);

#endif
