/*
 * history/history-private.h - what writer and reader of the file share.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_HISTORY_HISTORY_PRIVATE_H
#define POSTERN_HISTORY_HISTORY_PRIVATE_H

#include "history/history.h"

#include <sqlite3.h>

uint64_t history_name_hash(struct span name);

#endif
