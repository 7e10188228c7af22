#include "log_model.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/core/crc32c.h"
#include "engine/core/log.h"

#define LOGS 2
#define READERS 3
/* So much is appended in one run at most: it bounds the time. */
#define BYTES_MAX (2u << 20)

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: the log differs from its model: %s\n", __FILE__, __LINE__, #condition);            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

struct input {
    const uint8_t *at, *end;
    uint32_t noise; /* where the next contents start */
};

struct bytes {
    uint8_t *data;
    size_t length, cap;
};

struct model_record {
    uint64_t offset;
    uint32_t length;
    uint8_t stream, mark;
};

struct reader {
    struct log_cursor at;
    bool attached, protects;
};

struct model {
    struct log log;
    struct bytes streams[LOG_STREAMS];
    struct model_record *records; /* of seq 1 and on, never forgotten */
    size_t count, cap;
    uint64_t base, handed;
    struct reader readers[READERS];
};

/* ---- input ------------------------------------------------------------------------------------------------------ */

static unsigned take8(struct input *in) { return in->at < in->end ? *in->at++ : 0; }

static unsigned take16(struct input *in)
{
    unsigned high = take8(in);
    return high << 8 | take8(in);
}

/* 0 to `most`. */
static uint64_t take_up_to(struct input *in, uint64_t most)
{
    uint64_t value = take16(in);
    if (most > UINT16_MAX)
        value = value << 8 | take8(in);
    return most == UINT64_MAX ? value : value % (most + 1);
}

/* Contents that repeat only after a long while. */
static void fill(struct input *in, struct iovec part)
{
    static uint8_t noise[2 * LOG_CHUNK_MAX];
    if (!noise[0])
        for (uint32_t i = 0, state = 1; i < sizeof noise; i++) {
            state = state * 1664525u + 1013904223u;
            noise[i] = (uint8_t)(state >> 24) | 1;
        }
    memcpy(part.iov_base, noise + in->noise % LOG_CHUNK_MAX, part.iov_len);
    in->noise += 40503;
}

/* ---- the model's own view --------------------------------------------------------------------------------------- */

static void *grown(void *array, size_t count, size_t *cap, size_t size)
{
    if (count <= *cap)
        return array;
    while (*cap < count)
        *cap = *cap ? *cap * 2 : 64;
    array = realloc(array, *cap * size);
    REQUIRE(array);
    return array;
}

static struct model_record *model_record(const struct model *m, uint64_t seq) { return &m->records[seq - 1]; }

static uint64_t chunk_max(const struct model *m)
{
    return m->log.retention / 4 < LOG_CHUNK_MAX ? m->log.retention / 4 : LOG_CHUNK_MAX;
}

/* What the records from `base` on cost. */
static uint64_t cost_from(const struct model *m, uint64_t base)
{
    uint64_t cost = 0;
    for (uint64_t seq = base; seq <= m->count; seq++)
        cost += model_record(m, seq)->length + LOG_RECORD_COST;
    return cost;
}

static uint64_t first_protected(const struct model *m)
{
    uint64_t first = UINT64_MAX;
    for (int i = 0; i < READERS; i++)
        if (m->readers[i].attached && m->readers[i].at.protected_seq < first)
            first = m->readers[i].at.protected_seq;
    return first;
}

static void offsets_before(const struct model *m, uint64_t seq, uint64_t offset[LOG_STREAMS])
{
    for (int i = 0; i < LOG_STREAMS; i++)
        offset[i] = m->streams[i].length;
    for (uint64_t s = m->count; s >= seq && s >= m->base && s > 0; s--)
        if (!model_record(m, s)->mark)
            offset[model_record(m, s)->stream] = model_record(m, s)->offset;
}

static void handed(struct model *m, uint64_t seq)
{
    if (seq > m->handed)
        m->handed = seq;
}

static void model_append(struct model *m, int stream, const struct iovec iov[2], size_t length)
{
    struct bytes *bytes = &m->streams[stream];
    struct model_record *last = m->count >= m->base ? model_record(m, m->count) : NULL;
    if (last && !last->mark && last->stream == stream && m->count > m->handed &&
        last->length + length <= chunk_max(m)) {
        last->length += (uint32_t)length;
    } else {
        m->records = grown(m->records, ++m->count, &m->cap, sizeof *m->records);
        *model_record(m, m->count) =
            (struct model_record){.offset = bytes->length, .length = (uint32_t)length, .stream = (uint8_t)stream};
    }
    bytes->data = grown(bytes->data, bytes->length + length, &bytes->cap, 1);
    for (int i = 0; i < 2 && length; i++) {
        size_t part = length < iov[i].iov_len ? length : iov[i].iov_len;
        memcpy(bytes->data + bytes->length, iov[i].iov_base, part);
        bytes->length += part;
        length -= part;
    }
}

/* ---- comparing -------------------------------------------------------------------------------------------------- */

/* Some bytes of a kept record, by log_copy() and, when they are in memory, by log_view(). */
static void compare_bytes(const struct model *m, uint64_t seq, size_t skip, size_t length)
{
    const struct log_record *record = log_find(&m->log, seq);
    const uint8_t *expected = m->streams[record->stream].data + model_record(m, seq)->offset + skip;
    struct iovec iov[2];
    uint8_t *copy = malloc(length + 1);
    REQUIRE(copy);
    REQUIRE(log_copy(&m->log, record->pos + skip, length, copy) == 0);
    REQUIRE(length == 0 || memcmp(copy, expected, length) == 0);
    free(copy);
    int count = log_view(&m->log, record->pos + skip, length, iov);
    REQUIRE(count > 0 || length == 0 || record->pos + skip < m->log.ring_start);
    for (int i = 0; i < count; i++) {
        REQUIRE(iov[i].iov_len <= length);
        REQUIRE(memcmp(iov[i].iov_base, expected, iov[i].iov_len) == 0);
        expected += iov[i].iov_len;
        length -= iov[i].iov_len;
    }
    REQUIRE(count == 0 || length == 0);
}

static void compare_record(const struct model *m, uint64_t seq, bool contents)
{
    const struct log_record *record = log_find(&m->log, seq);
    const struct model_record *expected = model_record(m, seq);
    REQUIRE(record);
    REQUIRE(record->mark == expected->mark && record->length == expected->length);
    if (record->mark)
        return;
    REQUIRE(record->stream == expected->stream && record->offset == expected->offset);
    if (contents)
        compare_bytes(m, seq, 0, record->length);
}

static void compare(const struct model *m, bool contents)
{
    const struct log *log = &m->log;
    uint64_t offset[LOG_STREAMS];
    REQUIRE(log->base_seq == m->base && log_next_seq(log) == m->count + 1 && log->handed_seq == m->handed);
    REQUIRE(!log_find(log, m->base - 1) && !log_find(log, m->count + 1) && !log_find(log, UINT64_MAX));
    for (uint64_t seq = m->base; seq <= m->count; seq++)
        if (contents || seq == m->base || seq == m->count)
            compare_record(m, seq, contents);
    for (int i = 0; i < LOG_STREAMS; i++)
        REQUIRE(log->total[i] == m->streams[i].length);
    if (contents) {
        offsets_before(m, m->base, offset);
        REQUIRE(memcmp(offset, log->base_offset, sizeof offset) == 0);
    }
    REQUIRE(log->ring_cap <= log->memory_max && (log->ring_cap & (log->ring_cap - 1)) == 0);
    REQUIRE(log->end - log->ring_start <= log->ring_cap);
    if (log->spill_fd >= 0) {
        struct stat file;
        REQUIRE(fstat(log->spill_fd, &file) == 0 && file.st_nlink == 0);
        REQUIRE((uint64_t)file.st_size <= log->retention);
        REQUIRE(log->spill_start <= log->ring_start && log->ring_start - log->spill_start <= log->retention);
    }
}

/* The accounts are the sums of what the logs hold. */
static void compare_accounts(const struct log_budget *budget, const struct model *models, int count)
{
    uint64_t memory = 0, spilled = 0;
    for (int i = 0; i < count; i++) {
        const struct log *log = &models[i].log;
        memory += log->ring_cap;
        spilled += log->spill_fd >= 0 ? log->ring_start - log->spill_start : 0;
    }
    REQUIRE(budget->memory_used == memory && budget->spill_used == spilled);
}

/* ---- what may happen -------------------------------------------------------------------------------------------- */

/* Records up to log.base_seq were evicted to reserve `want` bytes: was that allowed, and needed? */
static void check_eviction(struct model *m, size_t want)
{
    const struct log *log = &m->log;
    uint64_t before = m->base;
    m->base = log->base_seq;
    if (m->base == before)
        return;
    REQUIRE(m->base > before && m->base <= m->count + 1);
    REQUIRE(log->policy == LOG_DROP_OLDEST || m->base <= first_protected(m));
    /* With memory for all of it, only the retention evicts, and one record less would not have been enough. */
    if (log->memory_max >= log->retention && log->budget->memory_limit == SIZE_MAX)
        REQUIRE(cost_from(m, m->base - 1) + want + LOG_RECORD_COST > log->retention);
}

static void append(struct model *m, struct input *in)
{
    unsigned choice = take8(in);
    int stream = choice % LOG_STREAMS;
    size_t want = (take16(in) >> (choice & 24) / 2) + 1, count = 0; /* up to 64 KiB, 4 KiB, 256 or 16 bytes */
    struct iovec iov[2] = {{0}};
    int iov_count = 0;
    ssize_t room = log_reserve(&m->log, want, iov, &iov_count);
    want = want < chunk_max(m) ? want : chunk_max(m);
    check_eviction(m, want);
    REQUIRE(room >= 0 && (size_t)room <= want);
    if (room == 0) { /* only what is protected is a reason to refuse */
        REQUIRE(m->log.policy == LOG_BLOCK && first_protected(m) <= m->base && m->base <= m->count);
        return;
    }
    for (int i = 0; i < iov_count; count += iov[i++].iov_len)
        fill(in, iov[i]);
    REQUIRE(count == (size_t)room);
    size_t length = choice & 32 ? count : 1 + take16(in) % count;
    REQUIRE(log_commit(&m->log, stream, length) == 0);
    model_append(m, stream, iov, length);
    REQUIRE(m->log.end - log_find(&m->log, m->base)->pos + m->log.record_count * LOG_RECORD_COST <= m->log.retention);
}

static void append_mark(struct model *m, enum log_mark mark)
{
    m->records = grown(m->records, ++m->count, &m->cap, sizeof *m->records);
    *model_record(m, m->count) = (struct model_record){.mark = (uint8_t)mark};
    REQUIRE(log_append_mark(&m->log, mark) == m->count);
}

static void attach(struct model *m, struct reader *reader, struct input *in)
{
    unsigned choice = take8(in);
    uint64_t after = choice & 2 ? m->count : choice & 4 ? UINT64_MAX - (choice & 1) : take_up_to(in, m->count + 2);
    uint64_t offset[LOG_STREAMS];
    log_detach(&reader->at);
    reader->protects = choice & 1;
    reader->attached = true;
    log_attach(&m->log, &reader->at, after, reader->protects);
    if (after > m->count)
        after = m->count;
    handed(m, after);
    REQUIRE(reader->at.next_seq == after + 1);
    REQUIRE(reader->at.protected_seq == (reader->protects ? after + 1 : UINT64_MAX));
    offsets_before(m, after + 1, offset);
    if (after + 1 < m->base)
        memset(offset, 0, sizeof offset);
    REQUIRE(memcmp(reader->at.offset, offset, sizeof offset) == 0);
}

/* Take some records, as a channel does. */
static void read_on(struct model *m, struct reader *reader, struct input *in)
{
    struct log_cursor *at = &reader->at;
    if (at->next_seq < m->base) { /* a gap */
        at->next_seq = m->base;
        log_offsets_at(&m->log, m->base, at->offset);
    }
    for (unsigned i = take8(in) % 32 + 1; i && at->next_seq <= m->count; i--, at->next_seq++) {
        const struct model_record *record = model_record(m, at->next_seq);
        compare_record(m, at->next_seq, true);
        if (record->mark)
            continue;
        REQUIRE(at->offset[record->stream] == record->offset);
        at->offset[record->stream] += record->length;
    }
    handed(m, at->next_seq - 1);
    log_handed(&m->log, at->next_seq - 1);
}

static void acknowledge(struct reader *reader, struct input *in)
{
    struct log_cursor *at = &reader->at;
    if (reader->protects && at->protected_seq < at->next_seq)
        at->needed_seq = at->protected_seq += 1 + take_up_to(in, at->next_seq - at->protected_seq - 1);
}

static void reader_step(struct model *m, struct input *in)
{
    unsigned choice = take8(in);
    struct reader *reader = &m->readers[choice % READERS];
    if (!reader->attached || choice >> 2 == 0) {
        attach(m, reader, in);
    } else if (choice >> 2 == 1) {
        log_detach(&reader->at);
        reader->attached = false;
    } else if (choice & 128) {
        acknowledge(reader, in);
    } else {
        read_on(m, reader, in);
    }
}

static void peek(const struct model *m, struct input *in)
{
    uint64_t offset[LOG_STREAMS], expected[LOG_STREAMS];
    if (m->base > m->count)
        return;
    uint64_t seq = m->base + take_up_to(in, m->count - m->base);
    const struct model_record *record = model_record(m, seq);
    size_t skip = (size_t)take_up_to(in, record->length);
    compare_record(m, seq, false);
    if (!record->mark)
        compare_bytes(m, seq, skip, (size_t)take_up_to(in, record->length - skip));
    offsets_before(m, seq, expected);
    log_offsets_at(&m->log, seq, offset);
    REQUIRE(memcmp(offset, expected, sizeof offset) == 0);
}

/* Memory and disk get scarce, or are there again; what is in use already stays. */
static void change_limits(struct log_budget *budget, struct input *in)
{
    unsigned choice = take8(in);
    budget->memory_limit = choice & 1 ? (size_t)take16(in) * 8 : SIZE_MAX;
    budget->spill_limit = choice & 2 ? (uint64_t)take16(in) * 32 : UINT64_MAX;
}

static void step(struct model *m, struct log_budget *budget, struct input *in)
{
    unsigned choice = take8(in) >> 1;
    if (choice < 64) {
        append(m, in);
    } else if (choice < 100) {
        reader_step(m, in);
    } else if (choice < 114) {
        peek(m, in);
    } else if (choice < 118) {
        append_mark(m, choice & 1 ? LOG_EXITED : LOG_CLOSED);
    } else if (choice < 121) {
        log_shrink(&m->log);
    } else if (choice < 124) {
        uint64_t seq = take_up_to(in, m->count);
        log_handed(&m->log, seq);
        handed(m, seq);
    } else if (choice < 126) {
        change_limits(budget, in);
    } else {
        compare(m, true);
    }
}

/* ---- a run ------------------------------------------------------------------------------------------------------ */

static void begin(struct model *m, struct log_budget *budget, struct input *in)
{
    unsigned choice = take8(in);
    uint64_t retention = choice & 2 ? take16(in) * 4u : LOG_RETENTION_MIN << (choice >> 5);
    size_t memory = choice & 4 ? LOG_RETENTION_MIN << (choice >> 3 & 3) : choice & 8 ? SIZE_MAX : take16(in) * 4u;
    log_init(&m->log, budget, choice & 1 ? LOG_DROP_OLDEST : LOG_BLOCK, retention, memory);
    m->base = 1;
}

static void end(struct model *m)
{
    compare(m, true);
    for (int i = 0; i < LOG_STREAMS; i++)
        REQUIRE(m->log.crc[i] == crc32c(0, m->streams[i].data, m->streams[i].length));
    log_destroy(&m->log);
    for (int i = 0; i < READERS; i++)
        REQUIRE(!m->readers[i].at.next);
    for (int i = 0; i < LOG_STREAMS; i++)
        free(m->streams[i].data);
    free(m->records);
}

static uint64_t appended(const struct model *models)
{
    uint64_t sum = 0;
    for (int i = 0; i < LOGS; i++)
        for (int k = 0; k < LOG_STREAMS; k++)
            sum += models[i].streams[k].length;
    return sum;
}

void log_model_run(const uint8_t *input, size_t length, const char *spill_dir)
{
    struct input in = {input, input + length, 0};
    struct log_budget budget = {.memory_limit = SIZE_MAX, .spill_limit = UINT64_MAX};
    struct model *models = calloc(LOGS, sizeof *models);
    REQUIRE(models);
    budget.spill_dir = take8(&in) & 1 ? spill_dir : NULL;
    for (int i = 0; i < LOGS; i++)
        begin(&models[i], &budget, &in);
    while (in.at < in.end && appended(models) < BYTES_MAX) {
        struct model *m = &models[*in.at & 1];
        step(m, &budget, &in);
        compare(m, false);
        compare_accounts(&budget, models, LOGS);
    }
    for (int i = 0; i < LOGS; i++)
        end(&models[i]);
    REQUIRE(budget.memory_used == 0 && budget.spill_used == 0);
    free(models);
}
