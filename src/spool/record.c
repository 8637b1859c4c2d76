/*
 * spool/record.c - the format on disk: heads of segments and records.
 *
 * All numbers are little endian.  A record begins on a multiple of 8:
 *
 *    0  magic, "PSR1" xor the low half of the spool's key
 *    4  CRC of octets 8..47, begun with the high half of the key
 *    8  type   9..11 zero
 *   12  octets of the payload
 *   16  sequence
 *   24  id
 *   32  due time, milliseconds since 1970
 *   40  home
 *   44  CRC of the payload (of a MESSAGE: of meta, envelope and state)
 *   48  payload, then zeros to a multiple of 8
 *
 * The key is random and never leaves the spool: a message whose body imitates
 * records cannot make one, should a scan come to read it after damage.
 *
 * The payload of a MESSAGE: octets of envelope, of state, of the inline body, CRC
 * of the inline body (4 each), octets of the spilled file (8), its CRC (4), zero
 * (4); then envelope, state, inline body.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "spool/spool-private.h"
#include "base/crc32c.h"

#define RECORD_MAGIC 0x31525350u /* "PSR1" */

static const uint8_t segment_magic[8] = { 'P', 'o', 's', 't', 'e', 'r', 'n', 'S' };

void record_put_head(uint8_t *to, const struct record_head *h, uint64_t key)
{
	put_u32(to, RECORD_MAGIC ^ (uint32_t)key);
	put_u32(to + 8, h->type);
	put_u32(to + 12, h->payload_octets);
	put_u64(to + 16, h->seq);
	put_u64(to + 24, h->id);
	put_u64(to + 32, (uint64_t)h->due_ms);
	put_u32(to + 40, h->home);
	put_u32(to + 44, h->crc);
	put_u32(to + 4, crc32c((uint32_t)(key >> 32), to + 8, RECORD_HEAD_OCTETS - 8));
}

bool record_get_head(const uint8_t *from, uint64_t key, struct record_head *h_r)
{
	uint32_t type;

	if (get_u32(from) != (RECORD_MAGIC ^ (uint32_t)key) ||
	    get_u32(from + 4) != crc32c((uint32_t)(key >> 32), from + 8, RECORD_HEAD_OCTETS - 8))
		return false;
	type = get_u32(from + 8);
	*h_r = (struct record_head){
		.payload_octets = get_u32(from + 12),
		.type = (uint8_t)type,
		.seq = get_u64(from + 16),
		.id = get_u64(from + 24),
		.due_ms = (int64_t)get_u64(from + 32),
		.home = get_u32(from + 40),
		.crc = get_u32(from + 44),
	};
	return type >= RECORD_MESSAGE && type <= RECORD_DONE &&
	    h_r->payload_octets <= RECORD_OCTETS_MAX;
}

void record_put_meta(uint8_t *to, const struct record_meta *m)
{
	put_u32(to, m->envelope_octets);
	put_u32(to + 4, m->state_octets);
	put_u32(to + 8, m->inline_octets);
	put_u32(to + 12, m->inline_crc);
	put_u64(to + 16, m->file_octets);
	put_u32(to + 24, m->file_crc);
	put_u32(to + 28, 0);
}

void record_get_meta(const uint8_t *from, struct record_meta *m_r)
{
	*m_r = (struct record_meta){
		.envelope_octets = get_u32(from),
		.state_octets = get_u32(from + 4),
		.inline_octets = get_u32(from + 8),
		.inline_crc = get_u32(from + 12),
		.file_octets = get_u64(from + 16),
		.file_crc = get_u32(from + 24),
	};
}

bool record_meta_fits(const struct record_head *h, const struct record_meta *m)
{
	return m->file_octets <= BODY_FILE_OCTETS_MAX &&
	    m->envelope_octets <= ENVELOPE_OCTETS_MAX && m->state_octets <= ENVELOPE_OCTETS_MAX &&
	    (uint64_t)RECORD_META_OCTETS + m->envelope_octets + m->state_octets +
		m->inline_octets ==
	    h->payload_octets;
}

bool record_verify(const struct record_head *h, const uint8_t *payload, struct record_meta *meta_r)
{
	struct record_meta m = { 0 };
	size_t first = h->payload_octets;

	if (h->type == RECORD_MESSAGE) {
		if (first < RECORD_META_OCTETS)
			return false;
		record_get_meta(payload, &m);
		if (!record_meta_fits(h, &m))
			return false;
		first -= m.inline_octets;
		if (crc32c(0, payload + first, m.inline_octets) != m.inline_crc)
			return false;
	}
	if (crc32c(0, payload, first) != h->crc)
		return false;
	*meta_r = m;
	return true;
}

/* 0 magic, 8 version, 12 number, 16 key, 24 created, 32..59 zero, 60 CRC of 0..59. */
void segment_put_head(uint8_t *to, const struct segment_head *h)
{
	memset(to, 0, SEGMENT_HEAD_OCTETS);
	memcpy(to, segment_magic, sizeof(segment_magic));
	put_u32(to + 8, h->version);
	put_u32(to + 12, h->number);
	put_u64(to + 16, h->key);
	put_u64(to + 24, (uint64_t)h->created_ms);
	put_u32(to + 60, crc32c(0, to, 60));
}

int segment_get_head(const uint8_t *from, struct segment_head *h_r)
{
	/* Place and extent of magic, version and CRC are the same in every version to come. */
	if (memcmp(from, segment_magic, sizeof(segment_magic)) != 0 ||
	    get_u32(from + 60) != crc32c(0, from, 60))
		return -ERR_CORRUPT;
	*h_r = (struct segment_head){
		.version = get_u32(from + 8),
		.number = get_u32(from + 12),
		.key = get_u64(from + 16),
		.created_ms = (int64_t)get_u64(from + 24),
	};
	return h_r->version == SPOOL_VERSION ? 0 : -ERR_VERSION;
}
