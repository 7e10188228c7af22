/* The output log: the only buffer between a child process and its readers.
 *
 * A log is an append-only sequence of records, numbered by `seq` from 1 without holes.  A record is either a chunk of
 * one stream's bytes or a mark (the process exited, the process closed).  Every reader is a cursor: a position in the
 * sequence.  Nothing else remembers output.
 *
 * Bytes enter at the end of a ring in memory.  When the ring may not grow and the bytes are still wanted, the oldest
 * go to an unlinked spill file; what is no longer wanted is evicted, whole records at a time, from the front:
 *
 *      evicted | spill file: [spill_start, ring_start) | ring: [ring_start, end) | next read(2)
 *              ^ first record kept (base_seq)
 *
 * `retention` bounds what is kept.  At the bound the policy decides: `block` refuses to grow while a cursor still
 * protects the oldest record (the child then blocks in write(2), as on any full pipe); `drop-oldest` evicts it, and a
 * cursor that stood before it learns of the gap and its size.
 *
 * All positions are absolute byte counts since the start, 64 bits wide: they never wrap in practice.
 */
#ifndef EXECNODE_LOG_H
#define EXECNODE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum log_stream { LOG_STDOUT, LOG_STDERR, LOG_PTY, LOG_STREAMS };

enum log_mark { LOG_OUTPUT = 0, LOG_EXITED = 1, LOG_CLOSED = 2 };

enum log_policy { LOG_BLOCK, LOG_DROP_OLDEST };

/* What a record costs beyond its bytes; counted against the retention so that one-byte chunks cannot outgrow it. */
#define LOG_RECORD_COST sizeof(struct log_record)

/* The largest chunk one record holds, and the largest read(2) done for it. */
#define LOG_CHUNK_MAX 65536u

/* The smallest retention a log works with. */
#define LOG_RETENTION_MIN 4096u

struct log_record {
    uint64_t pos;    /* of its first byte among all bytes of the log */
    uint64_t offset; /* of its first byte within its stream */
    uint32_t length; /* bytes; 0 for a mark */
    uint8_t stream;  /* enum log_stream; meaningless for a mark */
    uint8_t mark;    /* enum log_mark */
};

/* Node-wide accounts, shared by all logs of an engine. */
struct log_budget {
    size_t memory_used, memory_limit; /* ring bytes */
    uint64_t spill_used, spill_limit; /* bytes that live in spill files */
    const char *spill_dir;            /* where spill files are made */
};

/* A position in a log.  Owned by whoever reads; linked into the log while attached. */
struct log_cursor {
    struct log_cursor *prev, *next;
    uint64_t next_seq;              /* the record it wants next */
    uint64_t protected_seq;         /* under `block`, records from here on may not be evicted; UINT64_MAX: none */
    uint64_t needed_seq;            /* ... not even where memory is short: at least protected_seq */
    uint64_t offset[LOG_STREAMS];   /* bytes of each stream that lie before next_seq */
};

/* Called with every chunk as it is committed, for a digest computed elsewhere. */
typedef void (*log_digest_fn)(void *arg, int stream, const void *data, size_t length);

struct log {
    struct log_budget *budget;
    enum log_policy policy;
    uint64_t retention; /* bytes kept at most, memory and spill together */
    size_t memory_max;  /* the ring's largest capacity */

    uint8_t *ring;
    size_t ring_cap; /* a power of two, or 0 */
    uint64_t ring_start, end;

    int spill_fd;
    int spill_errno; /* the last failure to spill; 0 when none */
    uint64_t spill_start, spill_cap;

    struct log_record *records; /* circular; record i is records[(head + i) & (record_cap - 1)] */
    size_t record_cap, record_head, record_count;
    uint64_t base_seq; /* seq of the first record kept */
    /* The LOG_EXITED mark and the bytes before it: told to every reader, also when its record is evicted. */
    uint64_t exited_seq, exited_offset[LOG_STREAMS];
    uint64_t handed_seq; /* highest seq that any reader has seen: later chunks may still be merged */

    uint64_t total[LOG_STREAMS];       /* bytes ever appended */
    uint64_t base_offset[LOG_STREAMS]; /* bytes evicted, so the offset of the first byte kept */
    uint32_t crc[LOG_STREAMS];         /* CRC-32C of all bytes, unless a digest function takes them */
    log_digest_fn digest;
    void *digest_arg;

    struct log_cursor cursors; /* list head */
};

void log_init(struct log *log, struct log_budget *budget, enum log_policy policy, uint64_t retention,
              size_t memory_max);
void log_destroy(struct log *log);

/* The seq that the next record will get. */
static inline uint64_t log_next_seq(const struct log *log) { return log->base_seq + log->record_count; }

/* Prepare room for up to `want` bytes (at most LOG_CHUNK_MAX): fills iov[2] and *iov_count.
 * Returns the room in bytes; 0: the log may not grow now; -errno: out of memory. */
ssize_t log_reserve(struct log *log, size_t want, struct iovec iov[2], int *iov_count);

/* The first `length` reserved bytes were filled from `stream`: make them a record, or part of the last one.
 * Returns 0 or -ENOMEM; the bytes are then not part of the log. */
int log_commit(struct log *log, int stream, size_t length);

/* Append a mark.  Returns its seq, or 0 when out of memory. */
uint64_t log_append_mark(struct log *log, enum log_mark mark);

/* The record `seq`, or NULL when it is evicted or yet to come. */
const struct log_record *log_find(const struct log *log, uint64_t seq);

/* Point iov[2] at `length` bytes from `pos`.  Returns the count, or 0 when part of them is in the spill file. */
int log_view(const struct log *log, uint64_t pos, size_t length, struct iovec iov[2]);

/* Copy `length` bytes from `pos`, wherever they are.  Returns 0 or -errno (reading the spill file failed). */
int log_copy(const struct log *log, uint64_t pos, size_t length, void *to);

/* A reader has been given everything up to `seq`: that is final now. */
static inline void log_handed(struct log *log, uint64_t seq)
{
    if (seq > log->handed_seq)
        log->handed_seq = seq;
}

/* Attach a cursor that wants everything after `after_seq`, protecting it when `protect` is set. */
void log_attach(struct log *log, struct log_cursor *cursor, uint64_t after_seq, bool protect);
void log_detach(struct log_cursor *cursor);

/* Bytes of each stream before record `seq` (log_next_seq: all). */
void log_offsets_at(const struct log *log, uint64_t seq, uint64_t offset[LOG_STREAMS]);

/* Drop whatever memory a finished log does not need: the ring shrinks to what it holds. */
void log_shrink(struct log *log);

#endif
