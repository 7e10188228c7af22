#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A program that hangs is a failure too. */
#define SECONDS_MAX 50

static struct test *first, **last = &first;
static const struct test *volatile running;
static jmp_buf leave;
static char message[4096];
enum outcome { PASSED, FAILED, SKIPPED };

void test_register(struct test *test)
{
    *last = test;
    last = &test->next;
}

void test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int prefix = snprintf(message, sizeof message, "%s:%d: ", file, line);
    vsnprintf(message + prefix, sizeof message - (size_t)prefix, format, args);
    va_end(args);
    longjmp(leave, FAILED);
}

void test_skip(const char *reason)
{
    snprintf(message, sizeof message, "%s", reason);
    longjmp(leave, SKIPPED);
}

void check_equal(const char *file, int line, const char *left, intmax_t actual, const char *right, intmax_t expected)
{
    if (actual != expected)
        test_fail(file, line, "%s is %jd, not %s = %jd", left, actual, right, expected);
}

void check_text(const char *file, int line, const char *what, const char *actual, const char *expected)
{
    if (!actual || strcmp(actual, expected) != 0)
        test_fail(file, line, "%s is \"%s\", not \"%s\"", what, actual ? actual : "(none)", expected);
}

void check_bytes(const char *file, int line, const char *what, const void *actual, const void *expected,
                 size_t length)
{
    const uint8_t *a = actual, *b = expected;
    for (size_t i = 0; i < length; i++)
        if (a[i] != b[i])
            test_fail(file, line, "%s: byte %zu of %zu is %#x, not %#x", what, i, length, a[i], b[i]);
}

void in_own_process(void (*part)(void))
{
    int ends[2], status;
    if (pipe(ends) < 0)
        test_fail(__FILE__, __LINE__, "pipe: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        enum outcome outcome = (enum outcome)setjmp(leave);
        close(ends[0]);
        if (outcome == PASSED)
            part();
        else if (write(ends[1], message, strlen(message)) < 0)
            _exit(FAILED);
        _exit((int)outcome);
    }
    close(ends[1]);
    ssize_t n = read(ends[0], message, sizeof message - 1);
    message[n > 0 ? n : 0] = 0;
    close(ends[0]);
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        test_fail(__FILE__, __LINE__, "fork: %s", strerror(errno));
    if (!WIFEXITED(status))
        test_fail(__FILE__, __LINE__, "died of signal %d", WTERMSIG(status));
    if (WEXITSTATUS(status) != PASSED)
        longjmp(leave, WEXITSTATUS(status) == SKIPPED ? SKIPPED : FAILED);
}

int open_descriptors(void)
{
    int count = -1; /* the folder's own */
    DIR *folder = opendir("/proc/self/fd");
    if (!folder)
        return -1;
    for (struct dirent *entry; (entry = readdir(folder));)
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

bool has_children(void)
{
    siginfo_t info;
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || errno != ECHILD;
}

/* "a_ring_doubles" reads "a ring doubles". */
static const char *sentence(const char *name)
{
    static char words[256];
    snprintf(words, sizeof words, "%s", name);
    for (char *at = words; *at; at++)
        if (*at == '_')
            *at = ' ';
    return words;
}

static bool chosen(const struct test *test, char **patterns)
{
    for (char **pattern = patterns; *pattern; pattern++)
        if (strstr(test->name, *pattern))
            return true;
    return !*patterns;
}

static void on_alarm(int number)
{
    (void)number;
    dprintf(STDOUT_FILENO, "not ok - %s\n# not over after %d s\n", running->name, SECONDS_MAX);
    _exit(1);
}

int main(int argc, char **argv)
{
    static int counts[3], number; /* static: they outlive longjmp() */
    bool verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGALRM, on_alarm);
    alarm(SECONDS_MAX);
    for (struct test *volatile test = first; test; test = test->next) {
        running = test;
        if (!chosen(test, argv + 1 + verbose))
            continue;
        enum outcome outcome = (enum outcome)setjmp(leave);
        if (outcome == PASSED)
            test->run();
        counts[outcome]++;
        number++;
        if (verbose || outcome != PASSED)
            printf("%s %d - %s%s%s\n", outcome == FAILED ? "not ok" : "ok", number, sentence(test->name),
                   outcome == SKIPPED ? " # SKIP " : "", outcome == SKIPPED ? message : "");
        if (outcome == FAILED)
            printf("# %s\n", message);
    }
    if (verbose)
        printf("1..%d\n", number);
    printf("# %s: %d passed, %d failed", program_invocation_short_name, counts[PASSED], counts[FAILED]);
    if (counts[SKIPPED])
        printf(", %d skipped", counts[SKIPPED]);
    printf("\n");
    return counts[FAILED] || number == 0;
}
