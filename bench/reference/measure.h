/* What every reference program shares: a clock, a way to fail, and the one form of report.
 *
 * A report is one line of JSON on standard output:
 *   {"total_ns": T, "bytes": B, "each_ns": [t, ...]}
 * total_ns is the whole workload, each_ns its single steps (empty when it has none), bytes what was received. */
#ifndef MEASURE_H
#define MEASURE_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline _Noreturn void die(const char *what) {
    fprintf(stderr, "reference: %s\n", what);
    exit(1);
}

/* Passes `result` through; a negative one ends the program with the name of the call and errno. */
static inline long check(long result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "reference: %s: %s\n", what, strerror(errno));
        exit(1);
    }
    return result;
}

static inline void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (!memory) die("out of memory");
    return memory;
}

static inline long number(const char *text) {
    char *end;
    long value = strtol(text, &end, 10);
    if (end == text || *end || value < 0) die("expected a number");
    return value;
}

static inline void report(uint64_t total, uint64_t bytes, const uint64_t *each, long count) {
    printf("{\"total_ns\": %llu, \"bytes\": %llu, \"each_ns\": [", (unsigned long long)total,
           (unsigned long long)bytes);
    for (long i = 0; i < count; i++)
        printf("%s%llu", i ? ", " : "", (unsigned long long)each[i]);
    printf("]}\n");
    fflush(stdout);
}

#endif
