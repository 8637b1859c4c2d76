/*
 * spool/recover.c - from the files to the index.
 *
 * Segments are read in the order of their numbers, records in the order in which
 * they stand; of several records for a message the later one counts, and a DONE
 * record ends it.  A segment with a sound hint is not read, only its hint.  Nothing
 * is changed before the version of every segment is known to be ours, and nothing
 * at all when the spool is opened for reading only.
 *
 * Afterwards every segment is sealed: a new run begins a new one, because what the
 * kernel still holds for the end of an old one is not to be trusted after a crash.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#include "spool/spool-private.h"
#include "base/file.h"
#include "base/random.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- names ---- */

static bool hex_parse(const char *s, size_t digits, uint64_t *v_r)
{
	uint64_t v = 0;

	for (size_t i = 0; i < digits; i++) {
		char c = s[i];
		if (c >= '0' && c <= '9')
			v = v << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	*v_r = v;
	return true;
}

bool segment_name_parse(const char *name, const char *suffix, uint32_t *number_r)
{
	uint64_t v;

	if (strlen(name) < 9 || !hex_parse(name, 8, &v) || name[8] != '.' ||
	    strcmp(name + 9, suffix) != 0 || v == 0)
		return false;
	*number_r = (uint32_t)v;
	return true;
}

bool body_name_parse(const char *name, uint64_t *id_r)
{
	return strlen(name) == 16 && hex_parse(name, 16, id_r);
}

int dir_each(const char *dir, int (*fn)(struct spool *sp, const char *name), struct spool *sp)
{
	DIR *d = opendir(dir);
	struct dirent *de;
	int r = 0;

	if (!d)
		return err_from_errno(errno);
	while (r >= 0 && (errno = 0, de = readdir(d)))
		r = fn(sp, de->d_name);
	if (r >= 0 && errno)
		r = err_from_errno(errno);
	closedir(d);
	return r < 0 ? r : 0;
}

/* ---- the key ---- */

static int key_read(struct spool *sp, bool *found_r)
{
	static const char first[] = "postern spool ";
	struct spool_file_name path;
	struct buf text;
	struct span s;
	uint64_t version = 0;
	ptrdiff_t line;
	int r;

	*found_r = false;
	snprintf(path.text, sizeof(path.text), "%s/format", sp->dir);
	buf_init(&text, 4096);
	r = file_read(path.text, &text);
	s = buf_span(&text);
	if (r < 0 || !span_starts_nocase(s, span_str(first)))
		goto out;
	s = span_skip(s, sizeof(first) - 1);
	line = span_find(s, '\n');
	if (line < 0 || span_u64((struct span){ s.p, (size_t)line }, UINT32_MAX, &version) < 0)
		goto out;
	if (version != SPOOL_VERSION) {
		r = -ERR_VERSION;
		goto out;
	}
	s = span_skip(s, (size_t)line + 1);
	if (s.n >= 20 && memcmp(s.p, "key ", 4) == 0 &&
	    hex_parse((const char *)s.p + 4, 16, &sp->key))
		*found_r = true;
out:
	buf_done(&text);
	return r == -ERR_NOTFOUND || r == -ERR_NOMEM ? 0 : r;
}

/* Durable before the first segment: without it damage to one head would cost a whole segment. */
static int key_write(struct spool *sp)
{
	struct spool_file_name path, temp;
	char text[80];
	int fd, n, r;

	snprintf(path.text, sizeof(path.text), "%s/format", sp->dir);
	snprintf(temp.text, sizeof(temp.text), "%s/format.new", sp->dir);
	n = snprintf(text, sizeof(text), "postern spool %d\nkey %016llx\n", SPOOL_VERSION,
	    (unsigned long long)sp->key);
	fd = sp->io->open(temp.text, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_from_errno(errno);
	r = file_write_all(fd, text, (size_t)n);
	if (r == 0 && sp->io->fsync(fd) < 0)
		r = err_from_errno(errno);
	close(fd);
	if (r == 0 && sp->io->rename(temp.text, path.text) < 0)
		r = err_from_errno(errno);
	if (r == 0 && sp->io->fsync(sp->dir_fd) < 0)
		r = err_from_errno(errno);
	return r;
}

/* ---- segments ---- */

static int found_name(struct spool *sp, const char *name)
{
	uint32_t number;

	if (!segment_name_parse(name, "log", &number))
		return 0;
	if (number >= sp->next_segment)
		sp->next_segment = number + 1;
	return segment_add(sp, number) ? 0 : -ERR_NOMEM;
}

/* Look at the heads alone: version of each, and the key. */
static int heads_read(struct spool *sp, bool *key_found)
{
	for (size_t i = 0; i < sp->segment_count; i++) {
		struct segment *s = sp->segments[i];
		uint8_t head[SEGMENT_HEAD_OCTETS];
		struct segment_head h;
		int fd, r;

		r = segment_fd(sp, s, &fd);
		if (r == -ERR_NOTFOUND && sp->o.read_only)
			continue; /* a server beside us has just removed it */
		if (r < 0)
			return r;
		r = segment_pread(sp->io, fd, head, sizeof(head), 0);
		if (r == 0)
			r = segment_get_head(head, &h);
		if (r == -ERR_VERSION)
			return r;
		if (r < 0 || h.number != s->number || (*key_found && h.key != sp->key)) {
			s->suspect = true; /* told when it is read */
			continue;
		}
		if (!*key_found) {
			sp->key = h.key;
			*key_found = true;
		}
	}
	return 0;
}

void hint_entry_of(const struct record_head *h, const struct record_meta *m, uint64_t offset,
    struct hint_entry *e_r)
{
	*e_r = (struct hint_entry){
		.id = h->id,
		.due_ms = h->due_ms,
		.file_octets = m->file_octets,
		.offset = (uint32_t)offset,
		.octets = (uint32_t)record_octets(h),
		.home = h->home,
		.type = h->type,
		.state_inside = m->state_octets > 0,
	};
}

struct loading {
	struct spool *sp;
	struct segment *segment;
	struct hint hint;
	bool last, nomem;
};

static bool load_message(struct spool *sp, struct segment *s, const struct hint_entry *e)
{
	struct entry *x = index_insert(&sp->index, e->id);
	struct segment *origin;

	if (!x)
		return false;
	if (x->segment)
		segment_dead(sp, x->segment, x->octets);
	else
		atomic_fetch_add(&sp->messages, 1);
	if (x->state_segment)
		segment_dead(sp, x->state_segment, x->state_octets);
	*x = (struct entry){
		.id = e->id,
		.due_ms = e->due_ms,
		.segment = s->number,
		.offset = e->offset,
		.octets = e->octets,
		.file_octets = e->file_octets,
		.flags = e->state_inside ? ENTRY_STATE_INSIDE : 0,
	};
	segment_live(sp, s->number, e->octets);
	origin = e->home ? segment_find(sp, e->home) : NULL;
	if (origin)
		origin->evacuating = true;
	return true;
}

static void load_state(struct spool *sp, struct segment *s, const struct hint_entry *e)
{
	struct entry *x = index_find(&sp->index, e->id);

	if (!x)
		return; /* its message comes later, with this state inside, or is no more */
	if (x->state_segment)
		segment_dead(sp, x->state_segment, x->state_octets);
	x->due_ms = e->due_ms;
	x->state_segment = s->number;
	x->state_offset = e->offset;
	x->state_octets = e->octets;
	x->flags = 0;
	segment_live(sp, s->number, e->octets);
}

static void load_done(struct spool *sp, struct segment *s, const struct hint_entry *e)
{
	struct entry *x = index_find(&sp->index, e->id);

	if (!x) {
		/* Its copy, carried along by an evacuation, or the message is damaged. */
		segment_grave(sp, e->home, s->number, e->octets);
		return;
	}
	segment_grave(sp, x->segment, s->number, e->octets);
	if (x->state_segment)
		segment_dead(sp, x->state_segment, x->state_octets);
	segment_dead(sp, x->segment, x->octets);
	index_remove(&sp->index, e->id);
	atomic_fetch_sub(&sp->messages, 1);
}

static void load_entry(struct loading *ld, const struct hint_entry *e)
{
	struct spool *sp = ld->sp;

	sp->records++;
	if (e->id > atomic_load(&sp->max_id))
		atomic_store(&sp->max_id, e->id);
	if (e->type == RECORD_MESSAGE) {
		if (!load_message(sp, ld->segment, e))
			ld->nomem = true;
	} else if (e->type == RECORD_STATE) {
		load_state(sp, ld->segment, e);
	} else {
		load_done(sp, ld->segment, e);
	}
}

static void scanned_record(void *arg, const struct record_head *h, const struct record_meta *m,
    uint64_t offset, const uint8_t *payload)
{
	struct loading *ld = arg;
	struct hint_entry e;

	(void)payload;
	hint_entry_of(h, m, offset, &e);
	hint_add(&ld->hint, &e);
	if (h->seq > ld->hint.max_seq)
		ld->hint.max_seq = h->seq;
	load_entry(ld, &e);
}

static void scanned_gap(void *arg, uint64_t from, uint64_t to, bool tail)
{
	struct loading *ld = arg;

	if (tail && ld->last) {
		/* A batch that was never acknowledged; or its last record is damaged. */
		atomic_fetch_add(&ld->sp->torn, 1);
		spool_notice(ld->sp, "torn", 0,
		    "segment %08x ends in %llu octets at %llu that are no record: a write was cut "
		    "short",
		    ld->segment->number, (unsigned long long)(to - from), (unsigned long long)from);
		return;
	}
	ld->hint.damaged++;
	spool_damage(ld->sp, ld->segment->number, from, "no valid record");
}

/* The segment is complete now: cut preallocated and torn octets off, and write its hint. */
static void load_seal(struct loading *ld, const struct stat *st)
{
	struct spool *sp = ld->sp;
	struct segment *s = ld->segment;
	struct spool_file_name path;
	int fd;

	if (sp->o.read_only)
		return;
	/* Behind damage that is not at the end of the log nothing is cut: it may be looked at. */
	if (ld->last && (uint64_t)st->st_size > ld->hint.end) {
		segment_path(sp, s->number, "log", &path);
		fd = open(path.text, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return;
		if (sp->io->ftruncate(fd, (off_t)ld->hint.end) == 0 && sp->io->fdatasync(fd) == 0)
			s->disk_octets = ld->hint.end;
		close(fd);
	}
	if (ld->hint.damaged == 0 && !s->suspect)
		hint_write(sp, s->number, &ld->hint);
}

static int load_segment(struct loading *ld)
{
	struct spool *sp = ld->sp;
	struct segment *s = ld->segment;
	struct scan_events ev = { scanned_record, scanned_gap, ld };
	struct stat st;
	int fd, r;

	r = segment_fd(sp, s, &fd);
	if (r < 0)
		return r == -ERR_NOTFOUND && sp->o.read_only ? 0 : r;
	if (fstat(fd, &st) < 0)
		return err_from_errno(errno);
	s->disk_octets = (uint64_t)st.st_size;
	if (!sp->scan_all && !s->suspect &&
	    hint_load(sp, s->number, (uint64_t)st.st_size, &ld->hint) == 0) {
		s->size = ld->hint.end;
		for (size_t i = 0; i < hint_count(&ld->hint); i++) {
			struct hint_entry e;
			hint_get(&ld->hint, i, &e);
			load_entry(ld, &e);
		}
		return ld->nomem ? -ERR_NOMEM : 0;
	}
	hint_reset(&ld->hint);
	r = scan_segment(sp->io, fd, sp->key, SEGMENT_HEAD_OCTETS, &ev, &ld->hint.end);
	if (r < 0)
		return r;
	if (ld->nomem)
		return -ERR_NOMEM;
	/* A head that was never finished belongs to a segment that was only being made. */
	if (s->suspect && (hint_count(&ld->hint) > 0 || !ld->last))
		spool_damage(sp, s->number, 0, "the head of the segment is damaged");
	else if (s->suspect)
		atomic_fetch_add(&sp->torn, 1);
	s->size = ld->hint.end;
	load_seal(ld, &st);
	return 0;
}

static int load_segments(struct spool *sp)
{
	struct loading ld = { .sp = sp };
	int r = 0;

	hint_init(&ld.hint);
	for (size_t i = 0; i < sp->segment_count && r == 0; i++) {
		ld.segment = sp->segments[i];
		ld.last = i + 1 == sp->segment_count;
		r = load_segment(&ld);
		if (ld.hint.max_seq >= sp->next_seq)
			sp->next_seq = ld.hint.max_seq + 1;
	}
	hint_done(&ld.hint);
	for (size_t i = 0; i < sp->segment_count; i++) {
		sp->segments[i]->sealed = true;
		segment_dead(sp, sp->segments[i]->number, 0);
		if (sp->segments[i]->evacuating)
			atomic_store(&sp->want_evacuation, true);
	}
	return r;
}

/* ---- what nothing refers to ---- */

static int orphan_body(struct spool *sp, const char *name)
{
	struct spool_file_name path;
	const struct entry *e;
	uint64_t id;

	if (strncmp(name, "draft-", 6) != 0) {
		if (!body_name_parse(name, &id))
			return 0;
		e = index_find(&sp->index, id);
		if (e && e->file_octets > 0)
			return 0;
		/* Its record may be among the damaged ones; then the body is all that is left. */
		if (atomic_load(&sp->damaged) > 0) {
			spool_notice(sp, "orphan", 0,
			    "%s/%s belongs to no message; kept because of the damage", sp->bodies,
			    name);
			return 0;
		}
	}
	snprintf(path.text, sizeof(path.text), "%s/%.64s", sp->bodies, name);
	sp->io->unlink(path.text);
	return 0;
}

static int orphan_hint(struct spool *sp, const char *name)
{
	struct spool_file_name path;
	uint32_t number;

	if (segment_name_parse(name, "hint", &number) && !segment_find(sp, number)) {
		segment_path(sp, number, "hint", &path);
		sp->io->unlink(path.text);
	}
	return 0;
}

int recover(struct spool *sp)
{
	bool found = false, in_file;
	int r;

	sp->next_segment = 1;
	sp->next_seq = 1;
	r = key_read(sp, &found);
	in_file = found;
	if (r == 0)
		r = dir_each(sp->dir, found_name, sp);
	if (r == 0)
		r = heads_read(sp, &found);
	if (r < 0)
		return r;
	if (!found)
		random_fill(&sp->key, sizeof(sp->key));
	if (!in_file && !sp->o.read_only)
		r = key_write(sp);
	if (r == 0)
		r = load_segments(sp);
	if (r < 0 || sp->o.read_only)
		return r;
	segment_reap(sp);
	dir_each(sp->bodies, orphan_body, sp);
	dir_each(sp->dir, orphan_hint, sp);
	return 0;
}
