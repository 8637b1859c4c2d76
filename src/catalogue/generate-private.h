/*
 * catalogue/generate-private.h - what the parts of the generator share.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_CATALOGUE_GENERATE_PRIVATE_H
#define POSTERN_CATALOGUE_GENERATE_PRIVATE_H

#include "catalogue/rows-private.h"

/* Write a file; 0 or a negative error, which was printed. */
int generate_write(const char *path, const struct buf *text);

/* Write replies.md and codes.md into a directory that exists. */
int generate_docs(const struct cat_tables *t, const char *outdir);

#endif
