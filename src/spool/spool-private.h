/*
 * spool/spool-private.h - what the files of the spool share, and why nothing acknowledged is lost.
 *
 * The log is a row of segments, numbered from 1 and rising.  Records are only ever
 * appended to the last one (the tail).  A segment that is full is sealed and never
 * written again; when nothing in it is needed it is unlinked.
 *
 * What a message is, over time:
 *
 *   draft       octets in memory or in bodies/draft-*; nobody was promised anything
 *   written     its record is in the page cache; still nobody was promised anything
 *   durable     fdatasync returned; now it enters the index and `done` is called
 *   updated     a later STATE record replaces due time and state
 *   moved       a later MESSAGE record (origin = old segment) replaces both
 *   finished    taken out of sight at once; its DONE record follows
 *
 * Where the machine may stop, and what is found afterwards:
 *
 *  1. Before or during the write of a batch: the records that are whole are found
 *     (their client heard nothing and sends again: a second copy, no loss); a torn
 *     one fails its CRC and is skipped.  Older records were synced before.
 *  2. After fdatasync, before `done`: found; the client sends again.
 *  3. A new segment is made durable (header, fdatasync, then the directory) before
 *     the first batch that goes into it is acknowledged.  Found without its header,
 *     it is empty or its batch was not acknowledged.
 *  4. Seal: only cuts preallocated zeros off; found with them or without, it reads
 *     the same.  A hint is an extract with a CRC of its own: absent, short or
 *     damaged it is not used and the segment is read instead.  It is written after
 *     the seal, so it never speaks for octets that are still to come.
 *  5. Spilled body: file fsynced, renamed to its id, directory fsynced, and only
 *     then is the MESSAGE record written.  A file without a record is an orphan
 *     and removed at start.  It is unlinked only after DONE is durable, so no live
 *     record ever lacks its file.
 *  6. STATE or DONE not yet synced: the message is found with its older state and
 *     is delivered once more.  Never lost: DONE comes after delivery.
 *  7. Evacuation of S: survivors are copied to the tail (with their present state)
 *     and synced; then the index points at the copies; then S is unlinked; then the
 *     directory is synced.  Stopped in between, both copies are found and the later
 *     one counts.
 *  8. A DONE record must outlive every copy of its message, or the message would
 *     come back.  It names the segment that held the message (home) and is carried
 *     along by evacuation as long as that segment exists.  Copies in two segments
 *     exist only while one is being evacuated; as long as that goes on, no segment
 *     with a higher number is unlinked, and a segment counts as gone only after
 *     the directory was synced.  (A restart knows an unfinished evacuation by the
 *     origin in the copies.)
 *  9. fdatasync failed: the kernel may have dropped the pages and will not fail
 *     again for them, so they are never trusted.  The batch fails, the segment is
 *     cut back to what was synced before and sealed without a hint, and the log
 *     goes on in a new one.  STATE and DONE records of the batch are written again.
 *
 * Locks: `lock` guards the queue of requests; `index_lock` the index, the table of
 * segments and their counts.  Neither is held over I/O, nor both at once.
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_SPOOL_SPOOL_PRIVATE_H
#define POSTERN_SPOOL_SPOOL_PRIVATE_H

#include "spool/spool.h"
#include "base/err.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---- format: record.c ---- */

#define SPOOL_VERSION        1
#define SEGMENT_HEAD_OCTETS  64
#define RECORD_HEAD_OCTETS   48
#define RECORD_META_OCTETS   32
#define RECORD_ALIGN         8
#define RECORD_OCTETS_MAX    (1u << 30)  /* a length above it is damage */
#define ENVELOPE_OCTETS_MAX  (64u << 20) /* and of a state; far above any limit of the server */
#define BODY_FILE_OCTETS_MAX ((1ull << 40) - 1)

enum record_type { RECORD_MESSAGE = 1, RECORD_STATE = 2, RECORD_DONE = 3 };

/* The head of each record, host order here, little endian on disk. */
struct record_head {
	uint32_t payload_octets; /* behind the head, without padding */
	uint8_t type;
	uint64_t seq;
	uint64_t id;
	int64_t due_ms;
	uint32_t home; /* DONE: segment of the message; MESSAGE: origin when moved, else 0 */
	uint32_t crc;  /* of meta, envelope and state (MESSAGE) or of the payload (STATE) */
};

/* The head of a MESSAGE's payload. */
struct record_meta {
	uint32_t envelope_octets;
	uint32_t state_octets;
	uint32_t inline_octets; /* prefix, and the body when it did not spill */
	uint32_t inline_crc;
	uint64_t file_octets; /* of the spilled body; 0: none */
	uint32_t file_crc;
};

struct segment_head {
	uint32_t version;
	uint32_t number;
	uint64_t key;
	int64_t created_ms;
};

static inline uint64_t record_round(uint64_t n)
{
	return (n + RECORD_ALIGN - 1) & ~(uint64_t)(RECORD_ALIGN - 1);
}

/* Octets of a whole record in the log. */
static inline uint64_t record_octets(const struct record_head *h)
{
	return record_round(RECORD_HEAD_OCTETS + (uint64_t)h->payload_octets);
}

void record_put_head(uint8_t *to, const struct record_head *h, uint64_t key);
/* Is there a record's head here?  `key` is the spool's secret: a body that looks like a record is
 * none. */
bool record_get_head(const uint8_t *from, uint64_t key, struct record_head *h_r);
void record_put_meta(uint8_t *to, const struct record_meta *m);
void record_get_meta(const uint8_t *from, struct record_meta *m_r);
/* Do the lengths add up? */
bool record_meta_fits(const struct record_head *h, const struct record_meta *m);
/* Verify a whole payload (not a spilled file). */
bool record_verify(const struct record_head *h, const uint8_t *payload, struct record_meta *meta_r);

void segment_put_head(uint8_t *to, const struct segment_head *h);
/* 0, -ERR_CORRUPT, -ERR_VERSION (it is ours, of another version). */
int segment_get_head(const uint8_t *from, struct segment_head *h_r);

static inline void put_u32(uint8_t *to, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		to[i] = (uint8_t)(v >> (8 * i));
}
static inline void put_u64(uint8_t *to, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		to[i] = (uint8_t)(v >> (8 * i));
}
static inline uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t get_u64(const uint8_t *p)
{
	return (uint64_t)get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

/* ---- index.c ---- */

enum {
	ENTRY_FINISHED = 1,     /* out of sight; its DONE record is on its way */
	ENTRY_HIDDEN = 2,       /* its MESSAGE record is on its way */
	ENTRY_STATE_INSIDE = 4, /* moved: the state stands in the MESSAGE record */
};
#define ENTRY_UNSEEN (ENTRY_FINISHED | ENTRY_HIDDEN)

/* One queued message: 48 octets. */
struct entry {
	uint64_t id;
	int64_t due_ms;
	uint32_t segment, offset, octets;                   /* its MESSAGE record */
	uint32_t state_segment, state_offset, state_octets; /* its STATE record; segment 0: none */
	uint64_t file_octets : 40;                          /* of the spilled body */
	uint64_t pending : 16; /* STATE records on their way, see spool_read() */
	uint64_t flags : 8;
};

struct index_chunk;
struct index_slot {
	uint64_t first;
	struct index_chunk *chunk;
};

/* A sorted row of sorted chunks: ids rise, so nearly all insertions are at the end. */
struct index {
	struct index_slot *slots;
	size_t count, cap; /* of slots */
	size_t entries;    /* with the finished ones */
	size_t chunks_octets;
	size_t walk_slot, walk_at; /* where the last index_after() ended */
};

void index_init(struct index *ix);
void index_done(struct index *ix);
/* Pointers are good until the next insertion or removal. */
struct entry *index_find(const struct index *ix, uint64_t id);
/* First entry with a larger id, or NULL. */
struct entry *index_after(struct index *ix, uint64_t id);
/* A cleared entry for a new id; NULL without memory; an id that is there gives that entry. */
struct entry *index_insert(struct index *ix, uint64_t id);
void index_remove(struct index *ix, uint64_t id);
size_t index_octets(const struct index *ix);

/* ---- segment.c ---- */

/* DONE records in `segment` that are needed as long as the owner of the list exists. */
struct grave {
	uint32_t segment;
	uint64_t octets;
};

struct segment {
	uint32_t number;
	int fd;        /* -1: not open just now */
	unsigned refs; /* readers and the table; index_lock */
	bool sealed;
	bool suspect;      /* no hint: fdatasync failed, or damage was found in it */
	bool evacuating;   /* begun; nothing above it is unlinked */
	bool passed;       /* evacuated, but for finished messages whose DONE is on its way */
	bool gone;         /* unlinked */
	unsigned failures; /* evacuations that met an I/O error */
	uint64_t size;     /* end of the records */
	uint64_t disk_octets;
	uint64_t live;      /* octets of records that are needed */
	uint64_t used_tick; /* for closing the descriptor least recently used */
	struct grave *graves;
	size_t grave_count, grave_cap;
};

struct spool_file_name {
	char text[4096];
};

void segment_path(
    const struct spool *sp, uint32_t number, const char *suffix, struct spool_file_name *to);
void body_path(const struct spool *sp, uint64_t id, struct spool_file_name *to);
/* All with index_lock held. */
struct segment *segment_find(const struct spool *sp, uint32_t number);
struct segment *segment_add(struct spool *sp, uint32_t number); /* NULL: no memory */
void segment_dead(
    struct spool *sp, uint32_t number, uint64_t octets); /* so many octets fewer are needed */
void segment_live(struct spool *sp, uint32_t number, uint64_t octets);
/* A DONE record in `in` is needed while `home` exists. */
void segment_grave(struct spool *sp, uint32_t home, uint32_t in, uint64_t octets);
/* ... and now in another segment, or not needed. */
void segment_ungrave(struct spool *sp, uint32_t home, uint32_t in, uint64_t octets);
void segment_unref(struct spool *sp, struct segment *s);
/* Without index_lock: an open descriptor of a segment on which the caller holds a ref. */
int segment_fd(struct spool *sp, struct segment *s, int *fd_r);
/* Read all of n octets.  0, -ERR_CORRUPT (the file is too short), -ERR_IO. */
int segment_pread(const struct spool_io *io, int fd, void *to, size_t n, uint64_t at);
/* The writer's: a new tail, durable with its name; urgent: may use the reserve. */
int segment_create_tail(struct spool *sp, uint64_t room, bool urgent);
void segment_seal_tail(struct spool *sp);
/* The writer's: unlink what nothing needs, oldest first. */
void segment_reap(struct spool *sp);

/* ---- hint.c ---- */

#define HINT_ENTRY_OCTETS 40

/* What recovery needs to know of one record; read from a segment or from its hint. */
struct hint_entry {
	uint64_t id;
	int64_t due_ms;
	uint64_t file_octets;
	uint32_t offset, octets;
	uint32_t home;
	uint8_t type;
	bool state_inside;
};

struct hint {
	struct buf entries; /* encoded, HINT_ENTRY_OCTETS each */
	uint64_t max_seq;
	uint64_t end; /* of the records */
	uint64_t damaged;
	bool failed; /* no memory for some of them: not to be written */
};

void hint_init(struct hint *h);
void hint_done(struct hint *h);
void hint_reset(struct hint *h);
void hint_add(struct hint *h, const struct hint_entry *e);
size_t hint_count(const struct hint *h);
void hint_get(const struct hint *h, size_t i, struct hint_entry *e_r);
int hint_write(struct spool *sp, uint32_t number, const struct hint *h);
/* 0 or a negative error, after which the segment is to be scanned. */
int hint_load(struct spool *sp, uint32_t number, uint64_t file_octets, struct hint *h);

/* ---- scan.c ---- */

struct scan_events {
	void (*record)(void *arg, const struct record_head *h, const struct record_meta *m,
	    uint64_t offset, const uint8_t *payload);
	/* Octets from..to hold no valid record.  tail: nothing valid follows. */
	void (*gap)(void *arg, uint64_t from, uint64_t to, bool tail);
	void *arg;
};

/* Read a segment from `start`; *end_r is the end of its last valid record. */
int scan_segment(const struct spool_io *io, int fd, uint64_t key, uint64_t start,
    const struct scan_events *ev, uint64_t *end_r);

/* ---- requests: writer.c ---- */

enum req_kind { REQ_COMMIT, REQ_UPDATE, REQ_FINISH, REQ_FAIL };

/* One record on its way to the log.  Allocated by the caller's thread, freed by the writer. */
struct req {
	struct req *next;
	struct req *state_prev, *state_next; /* STATE records on their way; index_lock */
	struct spool_op *op;                 /* NULL: nobody waits, or was told already */
	struct spool_draft *draft;           /* COMMIT */
	uint64_t id;
	int64_t due_ms;
	uint64_t file_octets;
	uint32_t head_octets; /* in `record`: head and payload, but the body in `draft` */
	uint32_t body_octets; /* of it that is in memory */
	uint32_t octets;      /* all of the record in the log */
	uint32_t crc;
	uint32_t home;
	uint32_t segment, offset; /* where it was written */
	int err;
	enum req_kind kind;
	bool urgent, reserve;
	bool hidden;      /* COMMIT: its entry is in the index */
	bool skip;        /* nothing to write after all */
	uint8_t record[]; /* and RECORD_ALIGN octets of zeros */
};

struct batch {
	struct iovec *iov;
	int count, cap;
	uint64_t octets;
};

struct spool {
	struct spool_options o;
	char *dir, *bodies;
	int dir_fd, bodies_fd; /* for syncing them */
	const struct spool_io *io;
	uint64_t key;
	int lock_fd;
	bool scan_all;    /* no hints: everything is verified */
	uint64_t records; /* found at recovery */
	uint64_t first_damage_offset;
	uint32_t first_damage_segment; /* 0: none */
	size_t spill_octets;           /* the option, or a quarter of a segment */

	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct req *first, **last; /* the queue, oldest first */
	struct spool_op *failed;   /* ops that found no memory for a request */
	size_t urgent, lazy;       /* in the queue */
	uint64_t lazy_since_ms;
	uint64_t wrote_ms; /* when a list was last taken */
	uint64_t wakes_ms; /* while `waiting`: when the writer wakes by itself */
	bool waiting, stopping, started;
	pthread_t thread;

	/* The spiller makes bodies of their own durable before the writer refers to them. */
	pthread_cond_t spill_wake;
	struct req *spill_first, **spill_last;
	size_t spilling;
	bool spill_waiting, spill_stopping, spill_started;
	pthread_t spill_thread;

	pthread_mutex_t index_lock;
	struct index index;
	struct segment **segments; /* by number */
	size_t segment_count, segment_cap, open_fds;
	struct req *states; /* newest first */
	uint64_t tick;

	/* The writer's own. */
	struct segment *tail; /* NULL: the next batch makes one */
	struct hint tail_hint;
	uint64_t next_seq;
	uint32_t next_segment;
	struct batch batch;
	struct evacuation *evacuation; /* NULL: none goes on */
	uint64_t evacuate_ms;          /* after trouble: not before this time */
	uint64_t retry_ms;             /* trouble: not before this time */
	bool reaping;                  /* a segment may be ready for unlink */
	uint64_t reap_ms;              /* after trouble: not before this time */

	/* Read from any thread. */
	atomic_bool want_evacuation;
	atomic_ullong memory_octets, free_octets, free_checked_ms;
	atomic_ullong messages, commits, batches, syncs, octets_written, evacuated, unlinked;
	atomic_ullong damaged, torn, max_id, reserve_octets;
	atomic_int last_error;
	atomic_ullong last_error_ms;
	atomic_bool full;      /* new messages are refused */
	atomic_bool disk_full; /* ... because a write or fallocate said so */
};

void writer_init(struct spool *sp);
int writer_start(struct spool *sp);
void writer_stop(struct spool *sp);
void writer_push(struct spool *sp, struct req *r);
/*
 * The writer's: write at the end of the tail and sync.  The tail's size is left alone.
 * *durable_r: so many octets are on disk, all of them when it returns 0.  Changes `iov`.
 */
int writer_append(
    struct spool *sp, struct iovec *iov, int count, uint64_t octets, uint64_t *durable_r);
/* After a failure: nothing behind `size` counts; the log goes on in another segment. */
void writer_abandon_tail(struct spool *sp, uint64_t size, int err);
void writer_error(struct spool *sp, int err);
void req_free(struct req *r);

/* ---- spill.c ---- */
int spill_start(struct spool *sp);
void spill_stop(struct spool *sp);
void spill_push(struct spool *sp, struct req *r);

/* ---- space.c ---- */
/* Free octets of the file system, at most a second old; sets and clears `full`. */
void space_check(struct spool *sp, bool now);
bool space_for(struct spool *sp, uint64_t octets);
void space_full(struct spool *sp, int err); /* the disk said so */
bool space_give_reserve(struct spool *sp);  /* true: there is more room now */
void space_restore(struct spool *sp);
void space_init(struct spool *sp);

/* ---- evacuate.c ---- */
/* One step, if any segment wants it and it is time. */
void evacuate_step(struct spool *sp);

void evacuate_done(struct spool *sp);

/* ---- recover.c ---- */
int recover(struct spool *sp);
/* Names in the spool's directories: `fn` gets each; a negative result ends it. */
int dir_each(const char *dir, int (*fn)(struct spool *sp, const char *name), struct spool *sp);
bool segment_name_parse(const char *name, const char *suffix, uint32_t *number_r);
bool body_name_parse(const char *name, uint64_t *id_r);
void hint_entry_of(const struct record_head *h, const struct record_meta *m, uint64_t offset,
    struct hint_entry *e_r);

/* ---- draft.c ---- */
struct spool_draft {
	struct spool *sp;
	uint8_t *mem;
	size_t octets, cap;
	int fd; /* -1: in memory */
	uint64_t file_octets;
	uint32_t file_crc;
	uint64_t name;
	int err;
	bool kept; /* the file has the message's name now */
};
void draft_path(const struct spool *sp, uint64_t name, struct spool_file_name *to);
/* Zeros behind the body in memory, as many as padding may need. */
void draft_pad(struct spool_draft *d);

/* ---- read.c ---- */
/* Where a message is, with a ref on its segments.  Read meta, envelope and state. */
struct place {
	struct entry entry;
	struct segment *segment, *state_segment;
};
int place_find(struct spool *sp, uint64_t id, struct place *p_r);
void place_done(struct spool *sp, struct place *p);
/* The record's head and everything up to the inline body, verified, appended to `to`. */
int place_read_head(struct spool *sp, const struct place *p, struct buf *to,
    struct record_head *h_r, struct record_meta *m_r);

/* Damage was met: counted, told. */
void spool_damage(struct spool *sp, uint32_t segment, uint64_t offset, const char *what);
/* spool_open() with `scan_all`. */
int spool_open_inner(const struct spool_options *o, bool scan_all, struct spool **sp_r);
void spool_notice(struct spool *sp, const char *what, int err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
