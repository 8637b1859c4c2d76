/*
 * tables/aliases-private.h - a snapshot of aliases from the inside.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_TABLES_ALIASES_PRIVATE_H
#define POSTERN_TABLES_ALIASES_PRIVATE_H

#include "base/map.h"
#include "tables/aliases.h"

#include <stdatomic.h>

struct alias_target {
	struct span address; /* "user@domain", "user", "@domain" (virtual: the same user there) */
	bool final;          /* \user: this mailbox, whatever else the name means */
};

struct alias {
	struct span name; /* normal form */
	struct alias_target *targets;
	size_t count, room;
};

struct aliases {
	_Atomic unsigned refs;
	struct arena arena;
	struct map local;    /* local part -> struct alias */
	struct map virtual_; /* user@domain, @domain or user -> struct alias */
};

#endif
