/*
 * queue/recipients.h - a message's recipients as the queue gets them: aliases expanded.
 *
 * What NOTIFY and ORCPT become is RFC 3461 5.2.7: one address for another inherits both; of
 * several none tells of success any more, the first one says that the alias was expanded; a
 * list with an owner is a mailing list, and what its sender asked for ends there.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_QUEUE_RECIPIENTS_H
#define POSTERN_QUEUE_RECIPIENTS_H

#include "config/config.h"
#include "envelope/envelope.h"
#include "tables/alias-files.h"

/* Recipients of one message that share a sender. */
struct queue_group {
	struct queue_group *next;
	struct span sender;
	bool owned; /* the sender is an alias's owner, not the message's */
	struct rcpt *rcpts;
	size_t count, room;
};

/* Recipients as they come in, turned into those that the queue gets: aliases expanded, nobody
 * twice. */
struct queue_recipients {
	struct arena *arena; /* the caller's; holds all that the groups point at */
	const struct config *cfg;
	struct aliases *aliases; /* one snapshot for the whole message; NULL: none */
	struct queue_group first, *last;
	size_t groups;             /* that have recipients */
	size_t owners, owners_max; /* of lists; 0: as many as there are */
	struct map seen;
};

/* sender: of the message, in the arena.  aliases: NULL when there are none. */
void queue_recipients_init(struct queue_recipients *set, const struct config *cfg,
    struct alias_files *aliases, struct arena *arena, struct span sender);
void queue_recipients_done(struct queue_recipients *set);

/*
 * Add one.  The spans of `one` are copied.
 * 0, -ERR_BUSY (it has more owners than this message may have; nothing was added), -ERR_LOOP or
 * -ERR_LIMIT with the alias in *where_r (nothing was added), -ERR_NOMEM (a part may
 * be in: who is told to come again then gets it twice, never less).
 */
int queue_recipients_add(
    struct queue_recipients *set, const struct rcpt *one, struct span *where_r);

/* Is the address known here: listed, or an alias, or either without its extension? */
bool queue_recipient_known(
    const struct config *cfg, const struct aliases *aliases, struct span address);

#endif
