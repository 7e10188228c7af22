/* A small test harness.  A test is a function whose name reads as a sentence:
 *
 *     TEST(a_ring_doubles_until_its_limit) { CHECK_EQ(log.ring_cap, 4096); }
 *
 * Tests register themselves and run in the order of the file.  A failed check ends its test.  The program prints one
 * line, `NAME: 12 passed, 0 failed`, and what failed; with -v also each test (TAP); other arguments choose tests by a
 * part of their names.
 */
#ifndef EXECNODE_CHECK_H
#define EXECNODE_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct test {
    const char *name;
    void (*run)(void);
    struct test *next;
};

void test_register(struct test *test);

#define TEST(name)                                                                                                     \
    static void name(void);                                                                                            \
    __attribute__((constructor)) static void name##_register(void)                                                     \
    {                                                                                                                  \
        static struct test test = {#name, name, NULL};                                                                 \
        test_register(&test);                                                                                          \
    }                                                                                                                  \
    static void name(void)

/* End the running test: failed, or skipped with the reason. */
__attribute__((noreturn, format(printf, 3, 4))) void test_fail(const char *file, int line, const char *format, ...);
__attribute__((noreturn)) void test_skip(const char *reason);

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            test_fail(__FILE__, __LINE__, "%s", #condition);                                                           \
    } while (0)

/* Integers of any width and sign. */
#define CHECK_EQ(actual, expected)                                                                                     \
    check_equal(__FILE__, __LINE__, #actual, (intmax_t)(actual), #expected, (intmax_t)(expected))
#define CHECK_TEXT(actual, expected) check_text(__FILE__, __LINE__, #actual, actual, expected)
#define CHECK_BYTES(actual, expected, length) check_bytes(__FILE__, __LINE__, #actual, actual, expected, length)

void check_equal(const char *file, int line, const char *left, intmax_t actual, const char *right, intmax_t expected);
void check_text(const char *file, int line, const char *what, const char *actual, const char *expected);
void check_bytes(const char *file, int line, const char *what, const void *actual, const void *expected,
                 size_t length);

/* Run a part of a test in a process of its own (for what cannot be undone); what fails or is skipped there is here. */
void in_own_process(void (*part)(void));

/* Descriptors that this process has open. */
int open_descriptors(void);

/* Whether this process has a child, dead or alive. */
bool has_children(void);

#endif
