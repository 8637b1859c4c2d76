/*
 * cmd/common.h - what several subcommands need: the configuration, and peers' text made harmless.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_CMD_COMMON_H
#define POSTERN_CMD_COMMON_H

#include "config/config.h"

#include <jansson.h>

/*
 * Load the configuration; file NULL: $POSTERN_CONFIG, else /etc/postern/postern.yaml.  Every error
 * goes to standard error.  0 or a negative error.
 */
int cmd_load_config(const char *file, struct config **cfg_r);

/* The same of what any user may read: see config_load_plain(). */
int cmd_load_plain(const char *file, struct config **cfg_r);

/* A peer's text without what could drive a terminal; one of four static buffers, used in turn. */
const char *cmd_printable(const char *s);

/* "550 5.1.1 text" from an object with code, enhanced and text; static likewise. */
const char *cmd_reply(const json_t *o);

#endif
