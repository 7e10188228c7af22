#define _GNU_SOURCE
#include "engine/core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/core/crc32c.h"

#define RING_MIN 4096u
#define RING_MAX ((size_t)1 << (sizeof(size_t) * 8 - 1))
/* From this size on rings are mapped: freeing one gives the memory back for certain. */
#define RING_MAP 65536u
#define RECORDS_MIN 16u
/* How much goes to the spill file at once. */
#define SPILL_STEP 262144u

static void *ring_new(size_t size)
{
    if (size < RING_MAP)
        return malloc(size);
    void *ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return ring == MAP_FAILED ? NULL : ring;
}

static void ring_free(void *ring, size_t size)
{
    if (size < RING_MAP)
        free(ring);
    else
        munmap(ring, size);
}

/* The smallest ring for `size` bytes. */
static size_t power_of_two(uint64_t size)
{
    size_t power = RING_MIN;
    while (power < size && power < RING_MAX)
        power *= 2;
    return power;
}

void log_init(struct log *log, struct log_budget *budget, enum log_policy policy, uint64_t retention,
              size_t memory_max)
{
    memset(log, 0, sizeof *log);
    log->budget = budget;
    log->policy = policy;
    log->retention = retention < LOG_RETENTION_MIN ? LOG_RETENTION_MIN : retention;
    log->memory_max = power_of_two(log->retention < memory_max ? log->retention : memory_max);
    log->spill_fd = -1;
    log->base_seq = 1;
    log->cursors.prev = log->cursors.next = &log->cursors;
}

void log_destroy(struct log *log)
{
    while (log->cursors.next != &log->cursors)
        log_detach(log->cursors.next);
    ring_free(log->ring, log->ring_cap);
    log->budget->memory_used -= log->ring_cap;
    if (log->spill_fd >= 0) {
        close(log->spill_fd);
        log->budget->spill_used -= log->ring_start - log->spill_start;
    }
    free(log->records);
    memset(log, 0, sizeof *log);
    log->spill_fd = -1;
}

/* ---- the ring ------------------------------------------------------------------------------------------------- */

static int ring_iov(const struct log *log, uint64_t pos, size_t length, struct iovec iov[2])
{
    if (length == 0)
        return 0;
    size_t at = pos & (log->ring_cap - 1);
    size_t first = log->ring_cap - at;
    if (first >= length) {
        iov[0] = (struct iovec){log->ring + at, length};
        return 1;
    }
    iov[0] = (struct iovec){log->ring + at, first};
    iov[1] = (struct iovec){log->ring, length - first};
    return 2;
}

static void ring_read(const struct log *log, uint64_t pos, size_t length, uint8_t *to)
{
    struct iovec iov[2];
    int count = ring_iov(log, pos, length, iov);
    for (int i = 0; i < count; i++) {
        memcpy(to, iov[i].iov_base, iov[i].iov_len);
        to += iov[i].iov_len;
    }
}

static int ring_resize(struct log *log, size_t capacity)
{
    uint8_t *ring = ring_new(capacity);
    if (!ring)
        return -ENOMEM;
    size_t held = log->end - log->ring_start;
    /* Absolute positions keep their meaning: byte `pos` lives at pos mod capacity, before and after. */
    for (size_t done = 0; done < held;) {
        uint64_t pos = log->ring_start + done;
        size_t room = capacity - (pos & (capacity - 1));
        size_t step = held - done < room ? held - done : room;
        ring_read(log, pos, step, ring + (pos & (capacity - 1)));
        done += step;
    }
    ring_free(log->ring, log->ring_cap);
    log->budget->memory_used += capacity;
    log->budget->memory_used -= log->ring_cap;
    log->ring = ring;
    log->ring_cap = capacity;
    return 0;
}

/* ---- the spill file ------------------------------------------------------------------------------------------- */

static int spill_open(struct log *log)
{
    const char *dir = log->budget->spill_dir;
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) { /* not every file system has O_TMPFILE */
        char path[PATH_MAX];
        if (snprintf(path, sizeof path, "%s/execnode-spill-XXXXXX", dir) >= (int)sizeof path)
            return -ENAMETOOLONG;
        fd = mkostemp(path, O_CLOEXEC);
        if (fd < 0)
            return -errno;
        unlink(path);
    }
    log->spill_fd = fd;
    log->spill_start = log->ring_start;
    log->spill_cap = log->retention;
    return 0;
}

/* The file is a ring too: byte `pos` lives at pos mod spill_cap. */
static size_t spill_span(const struct log *log, uint64_t pos, size_t length, off_t *at)
{
    *at = (off_t)(pos % log->spill_cap);
    uint64_t room = log->spill_cap - (uint64_t)*at;
    return length < room ? length : (size_t)room;
}

static int spill_write(struct log *log, uint64_t pos, struct iovec iov)
{
    const uint8_t *from = iov.iov_base;
    size_t length = iov.iov_len;
    while (length) {
        off_t at;
        size_t span = spill_span(log, pos, length, &at);
        ssize_t n = pwrite(log->spill_fd, from, span, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        pos += (uint64_t)n;
        from += n;
        length -= (size_t)n;
    }
    return 0;
}

static int spill_read(const struct log *log, uint64_t pos, size_t length, uint8_t *to)
{
    while (length) {
        off_t at;
        size_t span = spill_span(log, pos, length, &at);
        ssize_t n = pread(log->spill_fd, to, span, at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        pos += (uint64_t)n;
        to += n;
        length -= (size_t)n;
    }
    return 0;
}

/* Move the oldest bytes of the ring to the spill file.  Returns true when at least one byte moved. */
static bool spill_oldest(struct log *log)
{
    struct log_budget *budget = log->budget;
    size_t held = log->end - log->ring_start;
    size_t step = held < SPILL_STEP ? held : SPILL_STEP;
    if (step == 0 || !budget->spill_dir || budget->spill_used + step > budget->spill_limit)
        return false;
    int error = log->spill_fd < 0 ? spill_open(log) : 0;
    struct iovec iov[2];
    uint64_t pos = log->ring_start;
    for (int i = 0, count = ring_iov(log, pos, step, iov); !error && i < count; i++) {
        error = spill_write(log, pos, iov[i]);
        pos += iov[i].iov_len;
    }
    log->spill_errno = -error;
    if (error)
        return false; /* a full disk: the bytes stay in memory, and the policy decides about new ones */
    log->ring_start += step;
    budget->spill_used += step;
    return true;
}

/* ---- records --------------------------------------------------------------------------------------------------- */

static struct log_record *record_at(const struct log *log, size_t index)
{
    return &log->records[(log->record_head + index) & (log->record_cap - 1)];
}

static struct log_record *record_new(struct log *log)
{
    if (log->record_count == log->record_cap) {
        size_t capacity = log->record_cap ? log->record_cap * 2 : RECORDS_MIN;
        struct log_record *records = malloc(capacity * sizeof *records);
        if (!records)
            return NULL;
        for (size_t i = 0; i < log->record_count; i++)
            records[i] = *record_at(log, i);
        free(log->records);
        log->records = records;
        log->record_cap = capacity;
        log->record_head = 0;
    }
    return record_at(log, log->record_count++);
}

const struct log_record *log_find(const struct log *log, uint64_t seq)
{
    if (seq < log->base_seq || seq - log->base_seq >= log->record_count)
        return NULL;
    return record_at(log, seq - log->base_seq);
}

/* The lowest protected_seq and needed_seq of all cursors. */
static void lowest_wanted(const struct log *log, uint64_t *protect, uint64_t *need)
{
    *protect = *need = UINT64_MAX;
    for (struct log_cursor *c = log->cursors.next; c != &log->cursors; c = c->next) {
        if (c->protected_seq < *protect)
            *protect = c->protected_seq;
        if (c->needed_seq < *need)
            *need = c->needed_seq;
    }
}

static uint64_t used(const struct log *log)
{
    uint64_t first = log->record_count ? record_at(log, 0)->pos : log->end;
    return log->end - first + log->record_count * LOG_RECORD_COST;
}

/* Evict the oldest record when the policy lets it go. */
static bool evict_oldest(struct log *log, uint64_t protect)
{
    if (log->record_count == 0)
        return false;
    struct log_record *oldest = record_at(log, 0);
    if (log->policy == LOG_BLOCK && log->base_seq >= protect)
        return false;
    uint64_t past = oldest->pos + oldest->length;
    log->base_offset[oldest->stream] += oldest->length; /* a mark's length is 0 */
    log->record_head = (log->record_head + 1) & (log->record_cap - 1);
    log->record_count--;
    log->base_seq++;
    if (log->spill_fd >= 0) {
        uint64_t to = past < log->ring_start ? past : log->ring_start;
        if (to > log->spill_start) {
            log->budget->spill_used -= to - log->spill_start;
            log->spill_start = to;
        }
        if (log->spill_start == log->ring_start && past >= log->ring_start) {
            close(log->spill_fd); /* empty: give the disk back */
            log->spill_fd = -1;
        }
    }
    if (past > log->ring_start)
        log->ring_start = past;
    return true;
}

/* ---- appending ------------------------------------------------------------------------------------------------- */

static size_t ring_room(const struct log *log) { return log->ring_cap - (size_t)(log->end - log->ring_start); }

static bool ring_grow(struct log *log)
{
    size_t capacity = log->ring_cap ? log->ring_cap * 2 : RING_MIN;
    size_t more = capacity - log->ring_cap;
    /* The first page is always granted: a log that could hold nothing would never move again. */
    if (capacity > log->memory_max || (log->ring_cap && log->budget->memory_used + more > log->budget->memory_limit))
        return false;
    return ring_resize(log, capacity) == 0;
}

/* Records are evicted whole, so none may be a large part of what is kept. */
static size_t chunk_max(const struct log *log)
{
    return log->retention / 4 < LOG_CHUNK_MAX ? (size_t)(log->retention / 4) : LOG_CHUNK_MAX;
}

ssize_t log_reserve(struct log *log, size_t want, struct iovec iov[2], int *iov_count)
{
    if (want > chunk_max(log))
        want = chunk_max(log);
    uint64_t protect, need;
    lowest_wanted(log, &protect, &need);
    while (used(log) + want + LOG_RECORD_COST > log->retention && evict_oldest(log, protect))
        ;
    uint64_t taken = used(log) + LOG_RECORD_COST;
    if (taken >= log->retention)
        return 0;
    if (want > log->retention - taken)
        want = (size_t)(log->retention - taken);
    while (ring_room(log) < want) {
        if (ring_grow(log))
            continue;
        bool kept = log->base_seq >= need || (log->policy == LOG_BLOCK && log->retention > log->memory_max);
        if (ring_room(log) >= RING_MIN && (kept || protect == need)) /* enough to go on with */
            break;
        /* Wanted bytes go to disk before unwanted ones are forgotten only when retention asks for more than memory. */
        bool moved = log->retention > log->memory_max || log->base_seq >= need ? spill_oldest(log) : false;
        if (!moved && !evict_oldest(log, need))
            break;
    }
    size_t room = ring_room(log);
    if (log->ring_cap == 0)
        return -ENOMEM;
    if (room > want)
        room = want;
    *iov_count = ring_iov(log, log->end, room, iov);
    return (ssize_t)room;
}

static void digest(struct log *log, int stream, size_t length)
{
    struct iovec iov[2];
    int count = ring_iov(log, log->end, length, iov);
    for (int i = 0; i < count; i++) {
        if (log->digest)
            log->digest(log->digest_arg, stream, iov[i].iov_base, iov[i].iov_len);
        else
            log->crc[stream] = crc32c(log->crc[stream], iov[i].iov_base, iov[i].iov_len);
    }
}

int log_commit(struct log *log, int stream, size_t length)
{
    struct log_record *last = log->record_count ? record_at(log, log->record_count - 1) : NULL;
    /* A chunk that nobody has seen yet may still grow: many small writes then cost one record, one frame. */
    if (last && !last->mark && last->stream == stream && log_next_seq(log) - 1 > log->handed_seq &&
        last->length + length <= chunk_max(log)) {
        last->length += (uint32_t)length;
    } else {
        struct log_record *record = record_new(log);
        if (!record)
            return -ENOMEM;
        *record = (struct log_record){
            .pos = log->end, .offset = log->total[stream], .length = (uint32_t)length, .stream = (uint8_t)stream};
    }
    digest(log, stream, length);
    log->end += length;
    log->total[stream] += length;
    return 0;
}

uint64_t log_append_mark(struct log *log, enum log_mark mark)
{
    struct log_record *record = record_new(log);
    if (!record)
        return 0;
    *record = (struct log_record){.pos = log->end, .mark = (uint8_t)mark};
    uint64_t seq = log_next_seq(log) - 1;
    if (mark == LOG_EXITED) {
        log->exited_seq = seq;
        memcpy(log->exited_offset, log->total, sizeof log->total);
    }
    return seq;
}

/* ---- reading --------------------------------------------------------------------------------------------------- */

int log_view(const struct log *log, uint64_t pos, size_t length, struct iovec iov[2])
{
    return pos < log->ring_start ? 0 : ring_iov(log, pos, length, iov);
}

int log_copy(const struct log *log, uint64_t pos, size_t length, void *to)
{
    uint8_t *at = to;
    if (pos < log->ring_start) {
        uint64_t spilled = log->ring_start - pos;
        size_t part = length < spilled ? length : (size_t)spilled;
        int error = spill_read(log, pos, part, at);
        if (error)
            return error;
        pos += part;
        at += part;
        length -= part;
    }
    ring_read(log, pos, length, at);
    return 0;
}

void log_offsets_at(const struct log *log, uint64_t seq, uint64_t offset[LOG_STREAMS])
{
    if (log->exited_seq && seq - log->exited_seq < 2) { /* before or after it: a mark has no bytes */
        memcpy(offset, log->exited_offset, sizeof log->exited_offset);
        return;
    }
    uint64_t end = log_next_seq(log);
    if (seq < log->base_seq || seq - log->base_seq < log->record_count / 2) { /* nearer to the oldest record */
        memcpy(offset, log->base_offset, sizeof log->base_offset);
        for (uint64_t s = log->base_seq; s < seq; s++) {
            const struct log_record *record = record_at(log, s - log->base_seq);
            offset[record->stream] += record->length; /* a mark's length is 0 */
        }
        return;
    }
    memcpy(offset, log->total, sizeof log->total);
    while (end > seq) {
        const struct log_record *record = record_at(log, --end - log->base_seq);
        if (!record->mark)
            offset[record->stream] = record->offset;
    }
}

void log_attach(struct log *log, struct log_cursor *cursor, uint64_t after_seq, bool protect)
{
    uint64_t next = log_next_seq(log);
    cursor->next_seq = after_seq < next ? after_seq + 1 : next;
    cursor->protected_seq = cursor->needed_seq = protect ? cursor->next_seq : UINT64_MAX;
    log_handed(log, cursor->next_seq - 1); /* what comes must not be merged into what this reader has */
    /* Positions before the first record kept are answered with a gap, counted from the oldest byte known. */
    if (cursor->next_seq < log->base_seq)
        memset(cursor->offset, 0, sizeof cursor->offset);
    else
        log_offsets_at(log, cursor->next_seq, cursor->offset);
    cursor->prev = log->cursors.prev;
    cursor->next = &log->cursors;
    cursor->prev->next = cursor->next->prev = cursor;
}

void log_detach(struct log_cursor *cursor)
{
    if (!cursor->next)
        return;
    cursor->prev->next = cursor->next;
    cursor->next->prev = cursor->prev;
    cursor->prev = cursor->next = NULL;
}

void log_shrink(struct log *log)
{
    size_t held = log->end - log->ring_start;
    if (held == 0) {
        ring_free(log->ring, log->ring_cap);
        log->budget->memory_used -= log->ring_cap;
        log->ring = NULL;
        log->ring_cap = 0;
    } else if (power_of_two(held) < log->ring_cap) {
        ring_resize(log, power_of_two(held));
    }
    size_t capacity = RECORDS_MIN;
    while (capacity < log->record_count)
        capacity *= 2;
    if (capacity < log->record_cap) {
        struct log_record *records = malloc(capacity * sizeof *records);
        if (!records)
            return;
        for (size_t i = 0; i < log->record_count; i++)
            records[i] = *record_at(log, i);
        free(log->records);
        log->records = records;
        log->record_cap = capacity;
        log->record_head = 0;
    }
}
