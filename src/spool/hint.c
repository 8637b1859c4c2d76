/*
 * spool/hint.c - the extract of a sealed segment, so that a start need not read bodies.
 *
 * Head of 64 octets: magic (8), version, number (4 each), key, count, end, highest
 * sequence, damaged (8 each), CRC of the entries, CRC of the head's first 60 octets
 * (4 each).  Then the entries in the order of the records.  A hint is only ever an
 * optimization: it is not synced, and whatever is wrong with it, the segment itself
 * is read instead.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "spool/spool-private.h"
#include "base/crc32c.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define HINT_HEAD_OCTETS 64
/* A segment of 4 GiB full of DONE records; memory is bounded by the file's size long before. */
#define HINT_OCTETS_MAX ((size_t)4 << 30)

static const uint8_t hint_magic[8] = { 'P', 'o', 's', 't', 'e', 'r', 'n', 'H' };

void hint_init(struct hint *h)
{
	*h = (struct hint){ 0 };
	buf_init(&h->entries, HINT_OCTETS_MAX);
}

void hint_done(struct hint *h)
{
	buf_done(&h->entries);
}

void hint_reset(struct hint *h)
{
	buf_reset(&h->entries);
	h->max_seq = h->end = h->damaged = 0;
	h->failed = false;
}

void hint_add(struct hint *h, const struct hint_entry *e)
{
	uint8_t *to = buf_reserve(&h->entries, HINT_ENTRY_OCTETS);

	if (!to) {
		h->failed = true;
		return;
	}
	put_u64(to, e->id);
	put_u64(to + 8, (uint64_t)e->due_ms);
	put_u64(to + 16, e->file_octets);
	put_u32(to + 24, e->offset);
	put_u32(to + 28, e->octets);
	put_u32(to + 32, e->home);
	put_u32(to + 36, e->type | (e->state_inside ? 256u : 0));
	buf_commit(&h->entries, HINT_ENTRY_OCTETS);
}

size_t hint_count(const struct hint *h)
{
	return buf_len(&h->entries) / HINT_ENTRY_OCTETS;
}

void hint_get(const struct hint *h, size_t i, struct hint_entry *e_r)
{
	const uint8_t *p = buf_span(&h->entries).p + i * HINT_ENTRY_OCTETS;
	uint32_t type = get_u32(p + 36);

	*e_r = (struct hint_entry){
		.id = get_u64(p),
		.due_ms = (int64_t)get_u64(p + 8),
		.file_octets = get_u64(p + 16),
		.offset = get_u32(p + 24),
		.octets = get_u32(p + 28),
		.home = get_u32(p + 32),
		.type = (uint8_t)type,
		.state_inside = (type & 256) != 0,
	};
}

int hint_write(struct spool *sp, uint32_t number, const struct hint *h)
{
	struct spool_file_name path;
	struct span entries = buf_span(&h->entries);
	uint8_t head[HINT_HEAD_OCTETS];
	int fd, r;

	if (h->failed)
		return -ERR_NOMEM;
	memcpy(head, hint_magic, sizeof(hint_magic));
	put_u32(head + 8, SPOOL_VERSION);
	put_u32(head + 12, number);
	put_u64(head + 16, sp->key);
	put_u64(head + 24, hint_count(h));
	put_u64(head + 32, h->end);
	put_u64(head + 40, h->max_seq);
	put_u32(head + 48, (uint32_t)h->damaged);
	put_u32(head + 52, 0);
	put_u32(head + 56, crc32c(0, entries.p, entries.n));
	put_u32(head + 60, crc32c(0, head, 60));
	segment_path(sp, number, "hint", &path);
	fd = sp->io->open(path.text, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_from_errno(errno);
	r = file_write_all(fd, head, sizeof(head));
	if (r == 0)
		r = file_write_all(fd, entries.p, entries.n);
	close(fd);
	if (r < 0)
		sp->io->unlink(path.text);
	return r;
}

/* Could this entry have come from a record of the segment? */
static bool entry_fits(const struct hint_entry *e, uint64_t end)
{
	return e->type >= RECORD_MESSAGE && e->type <= RECORD_DONE &&
	    e->offset >= SEGMENT_HEAD_OCTETS && e->octets >= RECORD_HEAD_OCTETS &&
	    (uint64_t)e->offset + e->octets <= end && e->file_octets <= BODY_FILE_OCTETS_MAX;
}

int hint_load(struct spool *sp, uint32_t number, uint64_t file_octets, struct hint *h)
{
	struct spool_file_name path;
	struct span all;
	int r;

	hint_reset(h);
	segment_path(sp, number, "hint", &path);
	r = file_read(path.text, &h->entries);
	if (r < 0)
		return r;
	all = buf_span(&h->entries);
	if (all.n < HINT_HEAD_OCTETS || memcmp(all.p, hint_magic, sizeof(hint_magic)) != 0 ||
	    get_u32(all.p + 60) != crc32c(0, all.p, 60) || get_u32(all.p + 8) != SPOOL_VERSION ||
	    get_u32(all.p + 12) != number || get_u64(all.p + 16) != sp->key)
		return -ERR_CORRUPT;
	h->end = get_u64(all.p + 32);
	h->max_seq = get_u64(all.p + 40);
	h->damaged = get_u32(all.p + 48);
	if (get_u64(all.p + 24) != (all.n - HINT_HEAD_OCTETS) / HINT_ENTRY_OCTETS ||
	    (all.n - HINT_HEAD_OCTETS) % HINT_ENTRY_OCTETS != 0 || h->end > file_octets ||
	    get_u32(all.p + 56) != crc32c(0, all.p + HINT_HEAD_OCTETS, all.n - HINT_HEAD_OCTETS))
		return -ERR_CORRUPT;
	buf_consume(&h->entries, HINT_HEAD_OCTETS);
	for (size_t i = 0; i < hint_count(h); i++) {
		struct hint_entry e;
		hint_get(h, i, &e);
		if (!entry_fits(&e, h->end))
			return -ERR_CORRUPT;
	}
	return 0;
}
