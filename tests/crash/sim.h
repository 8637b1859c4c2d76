/*
 * tests/crash/sim.h - a disk that can lose its power.
 *
 * All calls of struct spool_io are carried out, and what they changed is noted until
 * a sync makes it durable.  At a chosen call the power goes: that call and all later
 * ones fail and change nothing.  sim_power_off() then takes back what was not synced:
 * all of it, nothing (the process died, the machine did not), or a part.
 *
 * A file's octets are durable after fsync or fdatasync of the file; names (made,
 * renamed, removed) after fsync of their directory, and the file system loses names
 * in the reverse of their order only, as a journal does.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_TESTS_CRASH_SIM_H
#define POSTERN_TESTS_CRASH_SIM_H

#include "spool/spool.h"

enum sim_loss { SIM_LOSE_ALL, SIM_LOSE_NOTHING, SIM_LOSE_SOME };

extern const struct spool_io sim_io;

/* Begin: the power goes at the n-th call (0: never). */
void sim_start(unsigned stop_at);

/* Calls so far; did the power go? */
unsigned sim_calls(void);
bool sim_stopped(void);

/* Take back what was not durable.  seed chooses the part. */
void sim_power_off(enum sim_loss loss, uint64_t seed);

#endif
