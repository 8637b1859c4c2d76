/*
 * spool/body.c - a body on its way out.
 *
 * What stands in the log is read and verified when the body is opened: no octet of
 * a damaged message leaves.  A body in a file of its own may be large; its CRC is
 * followed as it is read from front to back, and the read that would end it fails
 * when it does not agree, so that the dialogue is broken off before its last dot.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "spool/spool-private.h"
#include "base/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* More than any envelope needs; it is only read past. */
#define HEAD_OCTETS_MAX ((size_t)2 * ENVELOPE_OCTETS_MAX + 4096)

struct spool_body {
	struct spool *sp;
	uint64_t id;
	uint8_t *mem; /* prefix, and the body when it did not spill */
	uint64_t mem_octets;
	int fd; /* -1: none */
	uint64_t file_octets, checked;
	uint32_t file_crc, crc;
};

static int open_inline(
    struct spool *sp, const struct place *p, const struct record_meta *m, struct spool_body *b)
{
	uint64_t at = (uint64_t)p->entry.offset + RECORD_HEAD_OCTETS + RECORD_META_OCTETS +
	    m->envelope_octets + m->state_octets;
	int fd, r;

	if (m->inline_octets == 0)
		return 0;
	b->mem = malloc(m->inline_octets);
	if (!b->mem)
		return -ERR_NOMEM;
	r = segment_fd(sp, p->segment, &fd);
	if (r == 0)
		r = segment_pread(sp->io, fd, b->mem, m->inline_octets, at);
	if (r == 0 && crc32c(0, b->mem, m->inline_octets) != m->inline_crc)
		r = -ERR_CORRUPT;
	b->mem_octets = m->inline_octets;
	return r;
}

static int open_file(struct spool *sp, const struct record_meta *m, struct spool_body *b)
{
	struct spool_file_name path;
	struct stat st;

	if (m->file_octets == 0)
		return 0;
	body_path(sp, b->id, &path);
	b->fd = open(path.text, O_RDONLY | O_CLOEXEC);
	if (b->fd < 0)
		return err_from_errno(errno);
	if (fstat(b->fd, &st) < 0)
		return err_from_errno(errno);
	b->file_octets = m->file_octets;
	b->file_crc = m->file_crc;
	return (uint64_t)st.st_size == m->file_octets ? 0 : -ERR_CORRUPT;
}

static int open_once(struct spool *sp, struct place *p, struct spool_body *b)
{
	struct record_head h;
	struct record_meta m;
	struct buf head;
	int r = place_find(sp, b->id, p);

	if (r < 0)
		return r;
	buf_init(&head, HEAD_OCTETS_MAX);
	r = place_read_head(sp, p, &head, &h, &m);
	buf_done(&head);
	if (r == 0)
		r = open_inline(sp, p, &m, b);
	if (r == 0)
		r = open_file(sp, &m, b);
	return r;
}

int spool_body_open(struct spool *sp, uint64_t id, struct spool_body **b_r)
{
	int r = 0;

	for (int tries = 0; tries < 4; tries++) {
		struct spool_body *b = calloc(1, sizeof(*b));
		struct place p = { 0 };
		bool found;

		if (!b)
			return -ERR_NOMEM;
		b->sp = sp;
		b->id = id;
		b->fd = -1;
		r = open_once(sp, &p, b);
		found = p.segment != NULL;
		if (r == -ERR_CORRUPT && found)
			spool_damage(sp, p.entry.segment, p.entry.offset, "a body cannot be read");
		place_done(sp, &p);
		if (r == 0) {
			*b_r = b;
			return 0;
		}
		spool_body_close(&b);
		if (r != -ERR_NOTFOUND || !found)
			return r;
	}
	/* In the index still, and no file: it is lost. */
	return r;
}

uint64_t spool_body_size(const struct spool_body *b)
{
	return b->mem_octets + b->file_octets;
}

static ssize_t read_file(struct spool_body *b, uint64_t at, void *to, size_t n)
{
	ssize_t got;

	do
		got = b->sp->io->pread(b->fd, to, n, (off_t)at);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return -ERR_IO;
	if (got == 0)
		return -ERR_CORRUPT;
	if (at == b->checked) {
		b->crc = crc32c(b->crc, to, (size_t)got);
		b->checked += (uint64_t)got;
		if (b->checked == b->file_octets && b->crc != b->file_crc) {
			spool_damage(b->sp, 0, 0, "a body in a file of its own has changed");
			return -ERR_CORRUPT;
		}
	}
	return got;
}

ssize_t spool_body_read(struct spool_body *b, uint64_t at, void *to, size_t n)
{
	if (at < b->mem_octets) {
		if (n > b->mem_octets - at)
			n = (size_t)(b->mem_octets - at);
		memcpy(to, b->mem + at, n);
		return (ssize_t)n;
	}
	at -= b->mem_octets;
	if (at >= b->file_octets || n == 0)
		return 0;
	if (n > b->file_octets - at)
		n = (size_t)(b->file_octets - at);
	return read_file(b, at, to, n);
}

void spool_body_close(struct spool_body **b)
{
	struct spool_body *old = *b;

	*b = NULL;
	if (!old)
		return;
	if (old->fd >= 0)
		close(old->fd);
	free(old->mem);
	free(old);
}
