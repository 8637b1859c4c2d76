/*
 * spool/spool.h - the durable queue: an append-only log of segments, its index in memory.
 *
 * A message is two runs of octets to the spool: the envelope record and the body.
 * Its state is a third, rewritten after each attempt.  spool_commit() answers when
 * the message is on disk (one fdatasync for all that are ready), and only then may
 * the server say 250.  What was acknowledged is never lost; state that was not yet
 * synced when the machine died means a second delivery, never a lost one.
 *
 * Threads: one writer thread owns the tail of the log.  spool_commit(), _update(),
 * _finish(), the readers and _stats() may be called from any thread.  Done
 * functions run on the writer thread and must only hand over (post to a loop).
 *
 * SPDX-License-Identifier: MPL-2.0
 */
#ifndef POSTERN_SPOOL_SPOOL_H
#define POSTERN_SPOOL_SPOOL_H

#include "base/buf.h"
#include "base/span.h"

#include <sys/types.h>
#include <sys/uio.h>

struct spool;       /* opaque: spool/spool.c */
struct spool_draft; /* a body on its way in: spool/draft.c */
struct spool_body;  /* a body on its way out: spool/body.c */

/*
 * The system calls that the spool makes on its files, so that tests can fail, cut or count them
 * (disk full in mid-batch, stop at the n-th write).  spool_io_system is the real one.
 */
struct spool_io {
	int (*open)(const char *path, int flags, mode_t mode); /* files that are to be made */
	int (*fallocate)(int fd, off_t octets);
	int (*ftruncate)(int fd, off_t octets);
	int (*rename)(const char *from, const char *to);
	ssize_t (*pread)(int fd, void *to, size_t n, off_t at);
	ssize_t (*pwritev)(int fd, const struct iovec *iov, int count, off_t at);
	int (*fdatasync)(int fd);
	int (*fsync)(int fd);
	int (*unlink)(const char *path);
	int (*free_octets)(const char *dir, uint64_t *octets_r); /* statvfs */
};
extern const struct spool_io spool_io_system;

struct spool_options {
	const char *dir;
	uint32_t segment_octets; /* 64 MiB; at least 64 KiB */
	uint32_t batch_octets;   /* at most this in one write; 16 MiB */
	uint32_t lazy_ms; /* state and done records wait at most this long for company; 20 ms */
	uint32_t lazy_records;   /* ... or until so many; 1,000 */
	uint32_t spill_octets;   /* a larger body gets a file of its own; 64 KiB */
	uint64_t memory_octets;  /* all bodies of drafts in memory together; beyond it they spill */
	uint64_t queue_minfree;  /* refuse new messages below this much free space */
	uint64_t reserve_octets; /* given up for done records and DSNs when the disk is full; 64
				    MiB; 0: none */
	bool read_only; /* for `check` and `cat` on a stopped spool: no lock file change, no writer
			 */
	bool ack_before_commit; /* TEST ONLY: done functions run before the write; proves the crash
				   test */
	const struct spool_io *io; /* NULL: the system's */
	/* Something to tell the operator (damage, disk full, back again); may be called from the
	 * writer thread.  `what` is a short word for the event log, `text` a sentence. */
	void (*notice)(void *arg, const char *what, const char *text, int err);
	void *notice_arg;
};

/* The defaults named above, for a directory. */
void spool_options_init(struct spool_options *o, const char *dir);

/*
 * Open, recover, start the writer.  Makes the directory when it is missing.
 * Returns 0, -ERR_LOCKED (another process has it), -ERR_VERSION, -ERR_IO, -ERR_ACCESS,
 * -ERR_NOSPACE, -ERR_NOMEM. Damaged records are skipped and told through `notice`; they never stop
 * an opening.
 */
int spool_open(const struct spool_options *o, struct spool **sp_r);

/* Write out what waits, sync, stop the writer, write hints, unlock.  Drafts and bodies must be
 * gone. */
void spool_close(struct spool **sp);

/* ---- a message comes in ---- */

/* A draft takes the body as it arrives: in memory at first, in a file of its own above the limits.
 * One thread at a time. */
int spool_draft_new(struct spool *sp, struct spool_draft **d_r);
int spool_draft_write(
    struct spool_draft *d, struct span octets); /* 0, -ERR_NOSPACE, -ERR_IO, -ERR_NOMEM */
uint64_t spool_draft_size(const struct spool_draft *d);
void spool_draft_free(struct spool_draft **d); /* drops it; NULL is fine */

/*
 * One request to the writer.  The caller owns it and keeps it until `done` was called, once,
 * on the writer thread; err is 0 or negative.
 */
struct spool_op {
	void (*done)(struct spool_op *op, int err);
	void *arg;
	struct spool_op *next; /* the spool's */
	int err;               /* the spool's */
};

/*
 * Make a message durable: `envelope` record (copied) and the draft's body; the spool takes the
 * draft (and frees it, also on an error).  done gets 0 once it is on disk and indexed;
 * -ERR_NOSPACE, -ERR_IO. `prefix` is written before the body (trace header fields), copied; may be
 * empty. reserve: may use the reserve (our own DSNs).
 */
void spool_commit(struct spool *sp, uint64_t id, struct span envelope, struct span prefix,
    struct spool_draft **draft, int64_t due_ms, bool reserve, struct spool_op *op);

/*
 * Replace the state of a message and its due time (INT64_MAX: held, not due).  Lazy unless
 * `urgent`. done may be NULL when op is NULL: nobody waits.  Unknown id: -ERR_NOTFOUND.
 */
void spool_update(struct spool *sp, uint64_t id, struct span state, int64_t due_ms, bool urgent,
    struct spool_op *op);

/* The message is finished: it leaves the index at once, its done record follows lazily. */
void spool_finish(struct spool *sp, uint64_t id, struct spool_op *op);

/* ---- reading ---- */

/* Envelope and (possibly empty) state record of a message, appended to the buffers.
 * 0, -ERR_NOTFOUND, -ERR_CORRUPT, -ERR_IO, -ERR_NOMEM. */
int spool_read(struct spool *sp, uint64_t id, struct buf *envelope_r, struct buf *state_r);

/* The body as a stream.  Stays readable while open, even when the message is finished or moved. */
int spool_body_open(struct spool *sp, uint64_t id, struct spool_body **b_r);
uint64_t spool_body_size(const struct spool_body *b);
ssize_t spool_body_read(
    struct spool_body *b, uint64_t at, void *to, size_t n); /* octets, 0 at the end, -ERR_X */
void spool_body_close(struct spool_body **b);

/* One entry of the index. */
struct spool_entry {
	uint64_t id;
	int64_t due_ms;
	uint64_t octets; /* envelope and body on disk */
	bool has_state;
};

/*
 * Walk the index in order of id, without holding it up: entries that come or go meanwhile may be
 * missed.  *cursor starts at 0 and is the last id seen.  Returns false at the end.
 */
bool spool_next(struct spool *sp, uint64_t *cursor, struct spool_entry *entry_r);
bool spool_find(struct spool *sp, uint64_t id, struct spool_entry *entry_r);

struct spool_stats {
	uint64_t messages, segments, live_octets, disk_octets, reserve_octets;
	uint64_t commits, batches, syncs, octets_written, evacuated, unlinked;
	uint64_t damaged;       /* records skipped at recovery or found bad when read */
	uint64_t torn;          /* ends of the log cut off at recovery: batches that a crash tore */
	uint64_t max_id;        /* highest id in the log, dead or alive: for queue_id_floor() */
	uint64_t index_octets;  /* memory of the index */
	uint64_t memory_octets; /* bodies of drafts in memory */
	int last_error;         /* of the writer; 0 when all is well */
};
void spool_stats(struct spool *sp, struct spool_stats *stats_r);

/* Would a message of this size be taken now?  0, -ERR_NOSPACE, -ERR_IO (the writer is in trouble).
 */
int spool_room(struct spool *sp, uint64_t octets);

/* ---- the operator's look, on a stopped spool or on a copy ---- */

struct spool_check {
	uint64_t segments, records, messages, live, damaged, torn, orphans;
	uint64_t first_damage_offset;
	char first_damage_file[64];
};

/* Verify every record of a directory without changing it; `line` gets a sentence for each finding.
 */
int spool_check_dir(const char *dir, void (*line)(void *arg, const char *text), void *arg,
    struct spool_check *check_r);

/* A line for each record, in the order of the log. */
int spool_dump_dir(const char *dir, void (*line)(void *arg, const char *text), void *arg);

#endif
