/*
 * spool/check.c - the operator's look: every record verified, nothing changed.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "spool/spool-private.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

struct look {
	void (*line)(void *arg, const char *text);
	void *arg;
	struct spool_check *check;
	uint32_t segment; /* dump */
};

static void look_notice(void *arg, const char *what, const char *text, int err)
{
	struct look *lk = arg;

	(void)what, (void)err;
	if (lk->line)
		lk->line(lk->arg, text);
}

static int open_for_look(const char *dir, struct look *lk, struct spool **sp_r)
{
	struct spool_options o;

	spool_options_init(&o, dir);
	o.read_only = true;
	o.notice = look_notice;
	o.notice_arg = lk;
	return spool_open_inner(&o, true, sp_r);
}

/* Bodies in files of their own are read from end to end. */
static void check_body(struct spool *sp, uint64_t id, struct look *lk)
{
	struct spool_body *b;
	uint8_t chunk[65536];
	uint64_t at = 0;
	ssize_t got;
	char text[128];
	int r = spool_body_open(sp, id, &b);

	if (r == 0) {
		while ((got = spool_body_read(b, at, chunk, sizeof(chunk))) > 0)
			at += (uint64_t)got;
		r = got < 0 ? (int)got : 0;
		spool_body_close(&b);
	}
	if (r == 0)
		return;
	lk->check->damaged++;
	snprintf(text, sizeof(text), "message %016llx: its body: %s", (unsigned long long)id,
	    err_text(r));
	if (lk->line)
		lk->line(lk->arg, text);
}

static int count_orphan(struct spool *sp, const char *name)
{
	const struct entry *e;
	uint64_t id;

	if (!body_name_parse(name, &id))
		return 0;
	e = index_find(&sp->index, id);
	if (!e || e->file_octets == 0) {
		sp->next_seq++; /* not used for anything else when nothing is written */
		spool_notice(sp, "orphan", 0, "%s/%s belongs to no message", sp->bodies, name);
	}
	return 0;
}

int spool_check_dir(const char *dir, void (*line)(void *arg, const char *text), void *arg,
    struct spool_check *check_r)
{
	struct spool_check check = { 0 };
	struct look lk = { .line = line, .arg = arg, .check = &check };
	struct spool_entry e;
	struct spool *sp;
	uint64_t cursor = 0, before;
	int r = open_for_look(dir, &lk, &sp);

	if (r < 0)
		return r;
	check.segments = sp->segment_count;
	check.records = sp->records;
	check.messages = check.live = atomic_load(&sp->messages);
	while (spool_next(sp, &cursor, &e))
		if (index_find(&sp->index, e.id)->file_octets > 0)
			check_body(sp, e.id, &lk);
	before = sp->next_seq;
	if (sp->bodies_fd >= 0)
		dir_each(sp->bodies, count_orphan, sp);
	check.orphans = sp->next_seq - before;
	check.damaged += atomic_load(&sp->damaged);
	check.torn = atomic_load(&sp->torn);
	check.first_damage_offset = sp->first_damage_offset;
	if (sp->first_damage_segment)
		snprintf(check.first_damage_file, sizeof(check.first_damage_file), "%08x.log",
		    sp->first_damage_segment);
	spool_close(&sp);
	*check_r = check;
	return 0;
}

static void dump_record(void *arg, const struct record_head *h, const struct record_meta *m,
    uint64_t offset, const uint8_t *payload)
{
	static const char *const names[] = { "", "message", "state", "done" };
	struct look *lk = arg;
	char text[256];
	int n;

	(void)payload;
	n = snprintf(text, sizeof(text),
	    "%08x %10llu %-7s id %016llx seq %llu octets %llu due %lld", lk->segment,
	    (unsigned long long)offset, names[h->type], (unsigned long long)h->id,
	    (unsigned long long)h->seq, (unsigned long long)record_octets(h), (long long)h->due_ms);
	if (h->type == RECORD_MESSAGE)
		n += snprintf(text + n, sizeof(text) - (size_t)n,
		    " envelope %u state %u inline %u file %llu", m->envelope_octets,
		    m->state_octets, m->inline_octets, (unsigned long long)m->file_octets);
	if (h->home)
		snprintf(text + n, sizeof(text) - (size_t)n, " home %08x", h->home);
	lk->line(lk->arg, text);
}

static void dump_gap(void *arg, uint64_t from, uint64_t to, bool tail)
{
	struct look *lk = arg;
	char text[128];

	snprintf(text, sizeof(text), "%08x %10llu no record until %llu%s", lk->segment,
	    (unsigned long long)from, (unsigned long long)to, tail ? ", the end" : "");
	lk->line(lk->arg, text);
}

int spool_dump_dir(const char *dir, void (*line)(void *arg, const char *text), void *arg)
{
	struct look lk = { .line = line, .arg = arg };
	struct look quiet = { 0 };
	struct scan_events ev = { dump_record, dump_gap, &lk };
	struct spool *sp;
	uint64_t end;
	int r = open_for_look(dir, &quiet, &sp);

	if (r < 0)
		return r;
	for (size_t i = 0; i < sp->segment_count && r == 0; i++) {
		int fd;
		lk.segment = sp->segments[i]->number;
		r = segment_fd(sp, sp->segments[i], &fd);
		if (r == 0)
			r = scan_segment(sp->io, fd, sp->key, SEGMENT_HEAD_OCTETS, &ev, &end);
	}
	spool_close(&sp);
	return r;
}
