/*
 * base/crc32c.h - CRC-32C (Castagnoli), as in iSCSI, ext4 and SCTP.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_BASE_CRC32C_H
#define POSTERN_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC of n octets, going on from `crc` (0 to begin).  Uses SSE 4.2 where the processor has it. */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);

#endif
