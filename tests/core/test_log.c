/* The log in memory: records, the ring, retention, cursors. */
#include "engine/core/log.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "engine/core/crc32c.h"

#define KIB 1024u
#define MIB (1024u * KIB)

static struct log_budget plenty(void)
{
    return (struct log_budget){.memory_limit = SIZE_MAX, .spill_limit = UINT64_MAX};
}

/* What byte `pos` of a log's bytes is, in these tests. */
static uint8_t pattern(uint64_t pos) { return (uint8_t)(pos * 167 + (pos >> 8) * 13 + (pos >> 16)); }

/* Append one chunk of at most `length` bytes.  Returns how many were taken. */
static size_t put(struct log *log, int stream, size_t length)
{
    struct iovec iov[2];
    int count = 0;
    ssize_t room = log_reserve(log, length, iov, &count);
    CHECK(room >= 0 && (size_t)room <= length);
    uint64_t pos = log->end;
    for (int i = 0; i < count && room; i++)
        for (size_t k = 0; k < iov[i].iov_len; k++)
            ((uint8_t *)iov[i].iov_base)[k] = pattern(pos++);
    if (room)
        CHECK_EQ(log_commit(log, stream, (size_t)room), 0);
    return (size_t)room;
}

/* A chunk in a record of its own. */
static size_t put_record(struct log *log, int stream, size_t length)
{
    log_handed(log, log_next_seq(log) - 1);
    return put(log, stream, length);
}

static void fill(struct log *log, size_t length)
{
    while (put_record(log, LOG_STDOUT, length) == length)
        ;
}

static void check_contents(const struct log *log, uint64_t seq)
{
    static uint8_t data[LOG_CHUNK_MAX];
    const struct log_record *record = log_find(log, seq);
    CHECK(record);
    CHECK_EQ(log_copy(log, record->pos, record->length, data), 0);
    for (uint32_t i = 0; i < record->length; i++)
        if (data[i] != pattern(record->pos + i))
            test_fail(__FILE__, __LINE__, "byte %u of record %ju is not what was written", i, (uintmax_t)seq);
}

static void check_all_contents(const struct log *log)
{
    for (uint64_t seq = log->base_seq; seq < log_next_seq(log); seq++)
        check_contents(log, seq);
}

/* ---- records ---------------------------------------------------------------------------------------------------- */

TEST(a_new_log_is_empty_and_takes_no_memory)
{
    struct log_budget budget = plenty();
    struct log log;
    log_init(&log, &budget, LOG_BLOCK, MIB, MIB);
    CHECK_EQ(log_next_seq(&log), 1);
    CHECK(!log_find(&log, 0) && !log_find(&log, 1));
    CHECK_EQ(budget.memory_used, 0);
    log_destroy(&log);
}

TEST(records_are_numbered_from_1_and_know_their_stream_and_offset)
{
    struct log_budget budget = plenty();
    struct log log;
    log_init(&log, &budget, LOG_BLOCK, MIB, MIB);
    put(&log, LOG_STDOUT, 10);
    put(&log, LOG_STDERR, 20);
    put(&log, LOG_STDOUT, 30);
    CHECK_EQ(log_next_seq(&log), 4);
    const struct log_record expected[] = {
        {.pos = 0, .offset = 0, .length = 10, .stream = LOG_STDOUT},
        {.pos = 10, .offset = 0, .length = 20, .stream = LOG_STDERR},
        {.pos = 30, .offset = 10, .length = 30, .stream = LOG_STDOUT},
    };
    for (uint64_t seq = 1; seq <= 3; seq++) {
        const struct log_record *record = log_find(&log, seq), *wanted = &expected[seq - 1];
        CHECK(record->pos == wanted->pos && record->offset == wanted->offset && record->length == wanted->length);
        CHECK(record->stream == wanted->stream && !record->mark);
    }
    check_all_contents(&log);
    CHECK_EQ(log.total[LOG_STDOUT], 40);
    CHECK_EQ(log.total[LOG_STDERR], 20);
    log_destroy(&log);
}

TEST(a_chunk_that_nobody_has_seen_grows)
{
    struct log_budget budget = plenty();
    struct log log;
    log_init(&log, &budget, LOG_BLOCK, MIB, MIB);
    put(&log, LOG_STDOUT, 10);
    put(&log, LOG_STDOUT, 20);
    CHECK_EQ(log_next_seq(&log), 2);
    CHECK_EQ(log_find(&log, 1)->length, 30);
    check_contents(&log, 1);
    log_destroy(&log);
}

TEST(a_chunk_that_was_handed_out_is_final)
{
    struct log_budget budget = plenty();
    struct log log;
    log_init(&log, &budget, LOG_BLOCK, MIB, MIB);
    put(&log, LOG_STDOUT, 10);
    log_handed(&log, 1);
    put(&log, LOG_STDOUT, 20);
    put(&log, LOG_STDOUT, 20);
    CHECK_EQ(log_find(&log, 1)->length, 10);
    CHECK_EQ(log_find(&log, 2)->length, 40);
    log_handed(&log, 1); /* an older reader changes nothing */
    CHECK_EQ(log.handed_seq, 1);
    log_destroy(&log);
}

TEST(chunks_of_different_streams_are_not_merged)
{
    struct log_budget budget = plenty();
    struct log log;
    log_init(&log, &budget, LOG_BLOCK, MIB, MIB);
    for (int i = 0; i < 6; i++)
        put(&log, i % 2 ? LOG_STDERR : LOG_STDOUT, 5);
    CHECK_EQ(log_next_seq(&log), 7);
    log_destroy(&log);
}

TEST(a_mark_ends_the_chunk_before_it)
{
    struct log_budget budget = plenty();
    struct log log;
    log_init(&log, &budget, LOG_BLOCK, MIB, MIB);
    put(&log, LOG_PTY, 5);
    CHECK_EQ(log_append_mark(&log, LOG_EXITED), 2);
    put(&log, LOG_PTY, 5);
    CHECK_EQ(log_append_mark(&log, LOG_CLOSED), 4);
    CHECK_EQ(log_find(&log, 1)->length, 5);
    CHECK_EQ(log_find(&log, 2)->mark, LOG_EXITED);
    CHECK_EQ(log_find(&log, 2)->length, 0);
    CHECK_EQ(log_find(&log, 3)->offset, 5);
    CHECK_EQ(log_find(&log, 4)->mark, LOG_CLOSED);
    CHECK_EQ(log.total[LOG_PTY], 10);
    log_destroy(&log);
}

TEST(a_merged_chunk_has_a_largest_size)
{
    struct log_budget budget = plenty();
    struct log log;
    log_init(&log, &budget, LOG_BLOCK, MIB, MIB);
    for (int i = 0; i < 40; i++)
        put(&log, LOG_STDOUT, 10000);
    for (uint64_t seq = 1; seq < log_next_seq(&log); seq++)
        CHECK(log_find(&log, seq)->length <= LOG_CHUNK_MAX);
    CHECK_EQ(log_find(&log, 1)->length, 60000);
    CHECK_EQ(put(&log, LOG_STDOUT, LOG_CHUNK_MAX + 1), LOG_CHUNK_MAX);
    log_destroy(&log);
}

TEST(offsets_before_each_record_are_known)
{
    struct log_budget budget = plenty();
    struct log log;
    uint64_t expected[LOG_STREAMS] = {0}, offset[LOG_STREAMS];
    log_init(&log, &budget, LOG_DROP_OLDEST, 16 * KIB, 16 * KIB);
    for (int i = 0; i < 500; i++) {
        put_record(&log, i % 3, 50 + (size_t)i % 7);
        if (i % 100 == 0)
            log_append_mark(&log, LOG_EXITED);
    }
    CHECK(log.base_seq > 1);
    memcpy(expected, log.base_offset, sizeof expected);
    for (uint64_t seq = log.base_seq; seq <= log_next_seq(&log); seq++) {
        log_offsets_at(&log, seq, offset);
        CHECK_BYTES(offset, expected, sizeof offset);
        const struct log_record *record = log_find(&log, seq);
        if (record && !record->mark)
            expected[record->stream] += record->length;
    }
    CHECK_BYTES(log.total, expected, sizeof expected);
    log_offsets_at(&log, 1, offset); /* no longer known: those of the oldest kept */
    CHECK_BYTES(offset, log.base_offset, sizeof offset);
    log_destroy(&log);
}

TEST(the_crc_of_each_stream_is_that_of_all_its_bytes)
{
    struct log_budget budget = plenty();
    struct log log;
    log_init(&log, &budget, LOG_DROP_OLDEST, 8 * KIB, 8 * KIB);
    uint32_t crc[2] = {0};
    for (int i = 0; i < 3000; i++) {
        uint64_t pos = log.end;
        size_t length = put(&log, i & 1, 1 + (size_t)i % 300);
        uint8_t data[300];
        for (size_t k = 0; k < length; k++)
            data[k] = pattern(pos + k);
        crc[i & 1] = crc32c_portable(crc[i & 1], data, length);
    }
    CHECK_EQ(log.crc[0], crc[0]);
    CHECK_EQ(log.crc[1], crc[1]);
    CHECK_EQ(log.crc[2], 0);
    log_destroy(&log);
}

static void count_bytes(void *arg, int stream, const void *data, size_t length)
{
    uint64_t *counts = arg;
    const uint8_t *at = data;
    for (size_t i = 0; i < length; i++)
        CHECK_EQ(at[i], pattern(counts[stream]++));
}

TEST(a_digest_function_gets_every_byte_once_in_order)
{
    struct log_budget budget = plenty();
    struct log log;
    uint64_t counts[LOG_STREAMS] = {0};
    log_init(&log, &budget, LOG_DROP_OLDEST, 8 * KIB, 8 * KIB);
    log.digest = count_bytes;
    log.digest_arg = counts;
    for (int i = 0; i < 1000; i++)
        put(&log, LOG_PTY, 777);
    CHECK_EQ(counts[LOG_PTY], log.total[LOG_PTY]);
    CHECK_EQ(log.crc[LOG_PTY], 0);
    log_destroy(&log);
}

/* ---- the ring --------------------------------------------------------------------------------------------------- */

TEST(the_ring_doubles_up_to_its_limit_and_gives_all_back)
{
    struct log_budget budget = plenty();
    struct log log;
    log_init(&log, &budget, LOG_DROP_OLDEST, MIB, MIB);
    size_t before = 0;
    for (int i = 0; i < 400; i++) {
        put_record(&log, LOG_STDOUT, 8000);
        CHECK_EQ(budget.memory_used, log.ring_cap);
        CHECK(log.ring_cap >= before && (log.ring_cap & (log.ring_cap - 1)) == 0);
        before = log.ring_cap;
    }
    CHECK_EQ(log.ring_cap, MIB);
    check_all_contents(&log);
    log_destroy(&log);
    CHECK_EQ(budget.memory_used, 0);
}

TEST(a_chunk_across_the_end_of_the_ring_is_seen_in_two_parts)
{
    struct log_budget budget = plenty();
    struct log log;
    struct iovec iov[2];
    log_init(&log, &budget, LOG_DROP_OLDEST, LOG_RETENTION_MIN, LOG_RETENTION_MIN);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(put_record(&log, LOG_STDOUT, 1000), 1000);
    CHECK_EQ(log.ring_cap, 4096);
    const struct log_record *record = log_find(&log, 5);
    CHECK_EQ(log_view(&log, record->pos, record->length, iov), 2);
    CHECK_EQ(iov[0].iov_len, 96);
    CHECK_EQ(iov[1].iov_len, 904);
    CHECK(iov[1].iov_base == log.ring);
    CHECK_EQ(*(uint8_t *)iov[1].iov_base, pattern(4096));
    check_all_contents(&log);
    log_destroy(&log);
}

TEST(bytes_stay_in_place_when_a_wrapped_ring_grows)
{
    struct log_budget budget = plenty();
    struct log log;
    struct log_cursor cursor = {0};
    budget.memory_limit = 0; /* the first page only */
    log_init(&log, &budget, LOG_BLOCK, MIB, MIB);
    for (int i = 0; i < 9; i++)
        CHECK_EQ(put_record(&log, LOG_STDOUT, 1000), 1000);
    CHECK_EQ(log.ring_cap, 4096);
    CHECK(log.base_seq > 1);
    log_attach(&log, &cursor, 0, true);
    budget.memory_limit = SIZE_MAX;
    put_record(&log, LOG_STDOUT, 60000);
    CHECK_EQ(log.ring_cap, 64 * KIB);
    check_all_contents(&log);
    log_destroy(&log);
}

TEST(the_first_page_is_granted_whatever_the_budget_says)
{
    struct log_budget budget = {.memory_used = 10 * MIB, .memory_limit = 10 * MIB};
    struct log log;
    log_init(&log, &budget, LOG_DROP_OLDEST, MIB, MIB);
    CHECK_EQ(put(&log, LOG_STDOUT, 3000), 3000);
    CHECK_EQ(put(&log, LOG_STDOUT, 3000), 3000); /* the older chunk has to go */
    CHECK_EQ(log.ring_cap, 4096);
    check_all_contents(&log);
    log_destroy(&log);
    CHECK_EQ(budget.memory_used, 10 * MIB);
}

TEST(logs_share_the_memory_that_the_budget_has)
{
    struct log_budget budget = {.memory_limit = 64 * KIB};
    struct log logs[4];
    struct log_cursor cursors[4] = {{0}};
    for (int i = 0; i < 4; i++) {
        log_init(&logs[i], &budget, LOG_BLOCK, MIB, MIB);
        log_attach(&logs[i], &cursors[i], 0, true);
    }
    for (int i = 0; i < 4; i++)
        fill(&logs[i], 1000);
    CHECK_EQ(logs[0].ring_cap, 64 * KIB);
    for (int i = 1; i < 4; i++)
        CHECK_EQ(logs[i].ring_cap, 4 * KIB); /* granted above the limit: one page each */
    log_destroy(&logs[0]);
    CHECK_EQ(budget.memory_used, 12 * KIB);
    CHECK_EQ(put(&logs[1], LOG_STDOUT, 1000), 1000);
    for (int i = 1; i < 4; i++)
        log_destroy(&logs[i]);
    CHECK_EQ(budget.memory_used, 0);
}

TEST(a_finished_log_shrinks_to_what_it_holds)
{
    struct log_budget budget = plenty();
    struct log log;
    log_init(&log, &budget, LOG_DROP_OLDEST, MIB, MIB);
    for (int i = 0; i < 10000; i++)
        put_record(&log, i & 1, 100);
    put_record(&log, LOG_STDOUT, 60000);
    log.retention = 400 * KIB; /* as if more than half of it had gone */
    put_record(&log, LOG_STDERR, 10);
    log_shrink(&log);
    CHECK_EQ(log.ring_cap, 512 * KIB);
    CHECK(log.record_cap >= log.record_count && log.record_cap < 4 * log.record_count);
    CHECK_EQ(budget.memory_used, log.ring_cap);
    check_all_contents(&log);
    log_destroy(&log);
}

TEST(an_empty_log_shrinks_to_nothing_and_can_be_used_again)
{
    struct log_budget budget = plenty();
    struct log log;
    log_init(&log, &budget, LOG_BLOCK, MIB, MIB);
    log_append_mark(&log, LOG_EXITED);
    log_shrink(&log);
    CHECK_EQ(budget.memory_used, 0);
    CHECK_EQ(put(&log, LOG_STDOUT, 100), 100);
    check_contents(&log, 2);
    log_destroy(&log);
}

TEST(no_size_is_too_large_to_ask_for)
{
    struct log_budget budget = plenty();
    struct log log;
    log_init(&log, &budget, LOG_BLOCK, UINT64_MAX, SIZE_MAX);
    CHECK(log.memory_max >= MIB);
    CHECK_EQ(put(&log, LOG_STDOUT, 1000), 1000);
    log_destroy(&log);
}

/* ---- retention -------------------------------------------------------------------------------------------------- */

TEST(drop_oldest_keeps_the_newest_and_never_refuses)
{
    struct log_budget budget = plenty();
    struct log log;
    log_init(&log, &budget, LOG_DROP_OLDEST, 64 * KIB, 64 * KIB);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(put_record(&log, LOG_STDOUT, 1000), 1000);
    CHECK_EQ(log_next_seq(&log), 1001);
    CHECK_EQ(log_next_seq(&log) - log.base_seq, 64 * KIB / (1000 + LOG_RECORD_COST));
    CHECK_EQ(log.base_offset[LOG_STDOUT], (log.base_seq - 1) * 1000);
    check_all_contents(&log);
    log_destroy(&log);
}

TEST(drop_oldest_keeps_most_of_its_retention_when_nobody_reads)
{
    struct log_budget budget = plenty();
    struct log log;
    log_init(&log, &budget, LOG_DROP_OLDEST, 64 * KIB, 64 * KIB);
    for (int i = 0; i < 10000; i++) {
        put(&log, LOG_STDOUT, 100); /* merged, since unseen */
        uint64_t kept = log.end - log_find(&log, log.base_seq)->pos;
        CHECK(log.end < 64 * KIB || kept >= 32 * KIB);
    }
    log_destroy(&log);
}

TEST(block_keeps_what_a_cursor_protects)
{
    struct log_budget budget = plenty();
    struct log log;
    struct log_cursor cursor = {0};
    log_init(&log, &budget, LOG_BLOCK, 64 * KIB, 64 * KIB);
    log_attach(&log, &cursor, 0, true);
    fill(&log, 1000);
    CHECK_EQ(log.base_seq, 1);
    CHECK_EQ(put_record(&log, LOG_STDOUT, 1000), 0);
    cursor.protected_seq = cursor.needed_seq = 3; /* two records are no longer wanted */
    CHECK_EQ(put_record(&log, LOG_STDOUT, 1000), 1000);
    CHECK(log.base_seq > 1 && log.base_seq <= 3);
    check_all_contents(&log);
    log_destroy(&log);
}

TEST(block_keeps_what_the_slowest_cursor_protects)
{
    struct log_budget budget = plenty();
    struct log log;
    struct log_cursor fast = {0}, slow = {0}, viewer = {0};
    log_init(&log, &budget, LOG_BLOCK, 64 * KIB, 64 * KIB);
    log_attach(&log, &fast, 0, true);
    log_attach(&log, &slow, 0, true);
    log_attach(&log, &viewer, 0, false);
    fill(&log, 1000);
    fast.protected_seq = fast.needed_seq = log_next_seq(&log);
    CHECK_EQ(put_record(&log, LOG_STDOUT, 1000), 0);
    log_detach(&slow);
    CHECK_EQ(put_record(&log, LOG_STDOUT, 1000), 1000); /* the viewer protects nothing */
    log_destroy(&log);
}

TEST(block_lets_go_of_what_nobody_protects)
{
    struct log_budget budget = plenty();
    struct log log;
    log_init(&log, &budget, LOG_BLOCK, 64 * KIB, 64 * KIB);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(put_record(&log, LOG_STDOUT, 1000), 1000);
    CHECK(log.base_seq > 900);
    log_destroy(&log);
}

TEST(drop_oldest_drops_what_a_cursor_would_protect)
{
    struct log_budget budget = plenty();
    struct log log;
    struct log_cursor cursor = {0};
    log_init(&log, &budget, LOG_DROP_OLDEST, 64 * KIB, 64 * KIB);
    log_attach(&log, &cursor, 0, true);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(put_record(&log, LOG_STDOUT, 1000), 1000);
    CHECK_EQ(cursor.next_seq, 1);
    CHECK(log.base_seq > 1);
    log_destroy(&log);
}

TEST(single_bytes_count_with_what_their_records_cost)
{
    struct log_budget budget = plenty();
    struct log log;
    log_init(&log, &budget, LOG_DROP_OLDEST, 64 * KIB, 64 * KIB);
    for (int i = 0; i < 20000; i++)
        put_record(&log, i & 1, 1);
    CHECK(log.record_count * (LOG_RECORD_COST + 1) <= 64 * KIB);
    CHECK(log.record_cap * LOG_RECORD_COST <= 128 * KIB);
    log_destroy(&log);
}

TEST(a_retention_too_small_to_work_with_is_raised)
{
    struct log_budget budget = plenty();
    struct log log;
    log_init(&log, &budget, LOG_DROP_OLDEST, 0, 0);
    CHECK_EQ(log.retention, LOG_RETENTION_MIN);
    for (int i = 0; i < 100; i++)
        CHECK(put(&log, LOG_STDOUT, 5000) > 0);
    check_all_contents(&log);
    log_destroy(&log);
}

/* ---- cursors ---------------------------------------------------------------------------------------------------- */

TEST(a_cursor_starts_after_the_record_it_names)
{
    struct log_budget budget = plenty();
    struct log log;
    struct log_cursor cursor = {0};
    log_init(&log, &budget, LOG_BLOCK, MIB, MIB);
    for (int i = 0; i < 5; i++)
        put_record(&log, LOG_STDERR, 100);
    log_attach(&log, &cursor, 3, false);
    CHECK_EQ(cursor.next_seq, 4);
    CHECK_EQ(cursor.offset[LOG_STDERR], 300);
    CHECK_EQ(cursor.offset[LOG_STDOUT], 0);
    log_detach(&cursor);
    log_attach(&log, &cursor, UINT64_MAX, false); /* the end, for whoever is ahead of it */
    CHECK_EQ(cursor.next_seq, 6);
    log_destroy(&log);
}

TEST(a_cursor_at_the_end_misses_nothing_that_comes)
{
    struct log_budget budget = plenty();
    struct log log;
    struct log_cursor cursor = {0};
    log_init(&log, &budget, LOG_BLOCK, MIB, MIB);
    put(&log, LOG_STDOUT, 100);
    log_attach(&log, &cursor, 1, true); /* it has record 1, which must not grow any more */
    put(&log, LOG_STDOUT, 50);
    CHECK_EQ(log_find(&log, 1)->length, 100);
    CHECK_EQ(cursor.next_seq, 2);
    CHECK_EQ(log_find(&log, 2)->length, 50);
    CHECK_EQ(log_find(&log, 2)->offset, cursor.offset[LOG_STDOUT]);
    log_destroy(&log);
}

TEST(a_cursor_before_the_oldest_record_counts_from_zero)
{
    struct log_budget budget = plenty();
    struct log log;
    struct log_cursor cursor = {0};
    log_init(&log, &budget, LOG_DROP_OLDEST, 4 * KIB, 4 * KIB);
    for (int i = 0; i < 100; i++)
        put_record(&log, LOG_STDOUT, 1000);
    log_attach(&log, &cursor, 10, false);
    CHECK_EQ(cursor.next_seq, 11);
    CHECK_EQ(cursor.offset[LOG_STDOUT], 0);
    log_destroy(&log);
}

TEST(a_cursor_may_be_detached_twice_and_is_by_the_end_of_the_log)
{
    struct log_budget budget = plenty();
    struct log log;
    struct log_cursor first = {0}, second = {0};
    log_init(&log, &budget, LOG_BLOCK, MIB, MIB);
    log_attach(&log, &first, 0, true);
    log_attach(&log, &second, 0, true);
    log_detach(&first);
    log_detach(&first);
    CHECK(!first.next && log.cursors.next == &second);
    log_destroy(&log);
    CHECK(!second.next && !second.prev);
}
