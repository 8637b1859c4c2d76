/*
 * base/random.h - octets that nobody can guess.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_BASE_RANDOM_H
#define POSTERN_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Fill n octets from the kernel's generator.  Aborts when the kernel has none (it never lacks). */
void random_fill(void *p, size_t n);

/* Evenly from 0 to below - 1; below 0 or 1 gives 0.  Any thread. */
uint64_t random_below(uint64_t below);

#endif
