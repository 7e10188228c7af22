/* The log's spill file: what memory may not hold and somebody still wants. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "engine/core/log.h"
#include "faults.h"

#define KIB 1024u
#define MIB (1024u * KIB)

/* A log of 1 MiB of which 64 KiB may be in memory, and a reader that protects all of it. */
struct fixture {
    struct log_budget budget;
    struct log log;
    struct log_cursor reader;
};

static const char *folder(void)
{
    const char *path = getenv("TMPDIR");
    return path ? path : "/tmp";
}

static struct fixture *begin(enum log_policy policy)
{
    static struct fixture f;
    f = (struct fixture){.budget = {.memory_limit = SIZE_MAX, .spill_limit = UINT64_MAX, .spill_dir = folder()}};
    log_init(&f.log, &f.budget, policy, MIB, 64 * KIB);
    log_attach(&f.log, &f.reader, 0, true);
    return &f;
}

static void end(struct fixture *f)
{
    log_destroy(&f->log);
    CHECK_EQ(f->budget.memory_used, 0);
    CHECK_EQ(f->budget.spill_used, 0);
}

static uint8_t pattern(uint64_t pos) { return (uint8_t)(pos * 167 + (pos >> 8) * 13 + (pos >> 16)); }

static size_t put(struct log *log, size_t length)
{
    struct iovec iov[2];
    int count = 0;
    log_handed(log, log_next_seq(log) - 1);
    ssize_t room = log_reserve(log, length, iov, &count);
    CHECK(room >= 0);
    uint64_t pos = log->end;
    for (int i = 0; i < count && room; i++)
        for (size_t k = 0; k < iov[i].iov_len; k++)
            ((uint8_t *)iov[i].iov_base)[k] = pattern(pos++);
    if (room)
        CHECK_EQ(log_commit(log, LOG_STDOUT, (size_t)room), 0);
    return (size_t)room;
}

/* All of it: a full ring may take it in parts. */
static void put_all(struct log *log, size_t length)
{
    for (size_t taken; length; length -= taken) {
        taken = put(log, length);
        CHECK(taken > 0);
    }
}

/* Append until refused. */
static void fill(struct log *log)
{
    while (put(log, 10000))
        ;
}

/* Read and let go of `count` records, which must be what was written. */
static void consume(struct fixture *f, uint64_t count)
{
    static uint8_t data[LOG_CHUNK_MAX];
    for (; count && f->reader.next_seq < log_next_seq(&f->log); count--) {
        const struct log_record *record = log_find(&f->log, f->reader.next_seq);
        CHECK(record);
        CHECK_EQ(log_copy(&f->log, record->pos, record->length, data), 0);
        for (uint32_t i = 0; i < record->length; i++)
            if (data[i] != pattern(record->pos + i))
                test_fail(__FILE__, __LINE__, "byte %u of record %ju differs", i, (uintmax_t)f->reader.next_seq);
        f->reader.protected_seq = f->reader.needed_seq = ++f->reader.next_seq;
    }
}

static off_t file_size(const struct log *log)
{
    struct stat file;
    CHECK_EQ(fstat(log->spill_fd, &file), 0);
    return file.st_size;
}

/* ---- in order --------------------------------------------------------------------------------------------------- */

TEST(what_memory_does_not_hold_goes_to_a_file)
{
    struct fixture *f = begin(LOG_BLOCK);
    fill(&f->log);
    CHECK_EQ(f->log.base_seq, 1);
    CHECK_EQ(f->log.ring_cap, 64 * KIB);
    CHECK(f->log.end > MIB - 20 * KIB); /* nearly all of the retention is used */
    CHECK(f->log.spill_fd >= 0);
    CHECK_EQ(f->budget.spill_used, f->log.ring_start);
    consume(f, UINT64_MAX);
    end(f);
}

TEST(a_page_of_room_is_filled_before_anything_goes_to_the_file)
{
    struct fixture *f = begin(LOG_BLOCK);
    for (int i = 0; i < 6; i++)
        put_all(&f->log, 10000);
    CHECK_EQ(put(&f->log, 10000), 64 * KIB - 60000);
    CHECK_EQ(f->log.spill_fd, -1);
    CHECK_EQ(put(&f->log, 10000), 10000);
    CHECK(f->log.spill_fd >= 0);
    end(f);
}

TEST(a_view_shows_memory_only_and_a_copy_joins_file_and_memory)
{
    struct fixture *f = begin(LOG_BLOCK);
    struct iovec iov[2];
    uint8_t data[2000];
    fill(&f->log);
    uint64_t border = f->log.ring_start;
    CHECK_EQ(log_view(&f->log, border - 1, 2, iov), 0);
    CHECK(log_view(&f->log, border, 1000, iov) > 0);
    CHECK_EQ(log_copy(&f->log, border - 1000, sizeof data, data), 0);
    for (unsigned i = 0; i < sizeof data; i++)
        CHECK_EQ(data[i], pattern(border - 1000 + i));
    end(f);
}

TEST(the_file_wraps_around_and_never_outgrows_the_retention)
{
    struct fixture *f = begin(LOG_BLOCK);
    for (int round = 0; round < 40; round++) {
        fill(&f->log);
        CHECK(file_size(&f->log) <= MIB);
        consume(f, 7 + (uint64_t)round);
    }
    CHECK(f->log.end > 5 * MIB);
    consume(f, UINT64_MAX);
    end(f);
}

TEST(an_empty_file_is_closed_and_another_one_opened_when_needed)
{
    struct fixture *f = begin(LOG_BLOCK);
    int before = open_descriptors();
    for (int round = 0; round < 3; round++) {
        f->budget.spill_limit = UINT64_MAX;
        fill(&f->log);
        CHECK_EQ(open_descriptors(), before + 1);
        f->budget.spill_limit = 0; /* no more of it: what was read has to go */
        while (f->log.spill_fd >= 0) {
            consume(f, UINT64_MAX);
            put_all(&f->log, 10000);
        }
        CHECK_EQ(f->budget.spill_used, 0);
        CHECK_EQ(open_descriptors(), before);
        consume(f, UINT64_MAX);
    }
    end(f);
}

TEST(the_file_is_nowhere_to_be_found)
{
    char path[] = "/tmp/execnode-spill-test-XXXXXX";
    CHECK(mkdtemp(path));
    struct fixture *f = begin(LOG_BLOCK);
    struct stat file;
    f->budget.spill_dir = path;
    fill(&f->log);
    CHECK_EQ(fstat(f->log.spill_fd, &file), 0);
    CHECK_EQ(file.st_nlink, 0);
    CHECK_EQ(file.st_mode & 0777, 0600);
    CHECK_EQ(fcntl(f->log.spill_fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(rmdir(path), 0);
    end(f);
}

TEST(a_file_system_without_nameless_files_will_do)
{
    struct fixture *f = begin(LOG_BLOCK);
    struct stat file;
    char path[] = "/tmp/execnode-spill-test-XXXXXX";
    CHECK(mkdtemp(path));
    f->budget.spill_dir = path;
    faults_at(1, EOPNOTSUPP, FAULT_OPEN);
    fill(&f->log);
    CHECK(faults_clear());
    CHECK_EQ(fstat(f->log.spill_fd, &file), 0);
    CHECK_EQ(file.st_nlink, 0);
    CHECK_EQ(fcntl(f->log.spill_fd, F_GETFD), FD_CLOEXEC);
    CHECK_EQ(rmdir(path), 0);
    consume(f, UINT64_MAX);
    end(f);
}

TEST(drop_oldest_spills_before_it_drops)
{
    struct fixture *f = begin(LOG_DROP_OLDEST);
    for (int i = 0; i < 100; i++)
        put_all(&f->log, 10000);
    CHECK_EQ(f->log.base_seq, 1);
    for (int i = 0; i < 100; i++)
        put_all(&f->log, 10000);
    uint64_t kept = f->log.end - log_find(&f->log, f->log.base_seq)->pos;
    CHECK(kept > MIB - 40 * KIB && kept <= MIB);
    f->reader.next_seq = f->log.base_seq;
    consume(f, UINT64_MAX);
    end(f);
}

TEST(small_writes_and_interrupts_are_carried_on)
{
    struct fixture *f = begin(LOG_BLOCK);
    faults_short(777);
    for (int round = 0; round < 10; round++) {
        fill(&f->log);
        consume(f, 30);
    }
    consume(f, UINT64_MAX);
    faults_clear();
    end(f);
}

/* ---- out of order ----------------------------------------------------------------------------------------------- */

TEST(all_spill_files_together_keep_to_their_limit)
{
    struct fixture *f = begin(LOG_BLOCK);
    f->budget.spill_limit = 100 * KIB;
    fill(&f->log);
    CHECK(f->budget.spill_used <= 100 * KIB);
    CHECK_EQ(f->log.base_seq, 1);
    CHECK(f->log.end <= 164 * KIB);
    consume(f, UINT64_MAX);
    end(f);
}

TEST(no_file_is_made_without_a_folder_for_it)
{
    struct fixture *f = begin(LOG_BLOCK);
    f->budget.spill_dir = NULL;
    fill(&f->log);
    CHECK_EQ(f->log.spill_fd, -1);
    CHECK(f->log.end <= 64 * KIB);
    CHECK_EQ(f->log.base_seq, 1);
    end(f);
}

TEST(a_missing_folder_stops_the_log_and_loses_nothing)
{
    struct fixture *f = begin(LOG_BLOCK);
    f->budget.spill_dir = "/nowhere/at/all";
    fill(&f->log);
    CHECK_EQ(f->log.spill_errno, ENOENT);
    CHECK(f->log.end > 50 * KIB && f->log.end <= 64 * KIB);
    consume(f, UINT64_MAX);
    put_all(&f->log, 10000); /* there is memory for it again */
    end(f);
}

TEST(a_full_disk_stops_the_log_and_loses_nothing)
{
    struct fixture *f = begin(LOG_BLOCK);
    struct rlimit before, tight;
    CHECK_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    tight = (struct rlimit){200 * KIB, before.rlim_max};
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
    fill(&f->log);
    CHECK_EQ(f->log.spill_errno, EFBIG);
    CHECK_EQ(put(&f->log, 10000), 0);
    CHECK(f->log.end >= 192 * KIB && f->log.end <= 264 * KIB);
    consume(f, 3);
    CHECK_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
    fill(&f->log);
    CHECK_EQ(f->log.spill_errno, 0);
    CHECK(f->log.end > 900 * KIB);
    consume(f, UINT64_MAX);
    end(f);
}

TEST(drop_oldest_goes_on_with_memory_when_the_disk_is_full)
{
    struct fixture *f = begin(LOG_DROP_OLDEST);
    faults_from(1, ENOSPC, FAULT_PWRITE);
    for (int i = 0; i < 100; i++)
        put_all(&f->log, 10000);
    CHECK(faults_clear());
    CHECK_EQ(f->log.spill_errno, ENOSPC);
    CHECK(f->log.end - log_find(&f->log, f->log.base_seq)->pos > 32 * KIB);
    f->reader.next_seq = f->log.base_seq;
    consume(f, UINT64_MAX);
    end(f);
}

TEST(a_write_that_fails_halfway_is_done_again)
{
    struct fixture *f = begin(LOG_BLOCK);
    for (unsigned n = 1; n < 40; n++) {
        faults_short(5000);
        faults_at(n, ENOSPC, FAULT_PWRITE);
        fill(&f->log);
        faults_clear();
        fill(&f->log);
        consume(f, 20);
    }
    consume(f, UINT64_MAX);
    end(f);
}

TEST(a_file_that_cannot_be_read_is_an_error_and_no_bytes)
{
    struct fixture *f = begin(LOG_BLOCK);
    uint8_t data[100];
    fill(&f->log);
    faults_at(1, EIO, FAULT_PREAD);
    CHECK_EQ(log_copy(&f->log, 0, sizeof data, data), -EIO);
    CHECK(faults_clear());
    CHECK_EQ(log_copy(&f->log, 0, sizeof data, data), 0);
    CHECK_EQ(ftruncate(f->log.spill_fd, 0), 0);
    CHECK_EQ(log_copy(&f->log, 0, sizeof data, data), -EIO);
    end(f);
}

/* Allocations, and opening and writing the file: each fails once while a log is filled, read, shrunk and filled. */
TEST(whatever_fails_nothing_is_lost)
{
    for (unsigned n = 1;; n++) {
        struct fixture *f = begin(LOG_BLOCK);
        struct iovec iov[2];
        int count;
        uint64_t written = 0;
        faults_at(n, ENOSPC, FAULTS_ALL & ~FAULT_PREAD);
        for (int i = 0; i < 300; i++) {
            ssize_t room = log_reserve(&f->log, 3000, iov, &count);
            CHECK(room >= 0 || room == -ENOMEM);
            if (room <= 0) {
                f->reader.next_seq = f->log.base_seq;
                consume(f, 10);
                continue;
            }
            uint64_t pos = f->log.end;
            for (int v = 0; v < count; v++)
                for (size_t k = 0; k < iov[v].iov_len; k++)
                    ((uint8_t *)iov[v].iov_base)[k] = pattern(pos++);
            log_handed(&f->log, log_next_seq(&f->log) - 1);
            if (log_commit(&f->log, LOG_STDOUT, (size_t)room) == 0)
                written += (uint64_t)room;
            CHECK_EQ(f->log.total[LOG_STDOUT], written);
            if (i % 90 == 0)
                log_shrink(&f->log);
        }
        consume(f, UINT64_MAX);
        log_shrink(&f->log);
        bool failed = faults_clear();
        end(f);
        if (!failed)
            return;
    }
}
