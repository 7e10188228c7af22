/* A program that says how it was started: one NAME=VALUE a line.
 *
 *     probe          report and exit
 *     probe resize   say "ready", wait for SIGWINCH, report the new size
 *     probe echo     report, then copy stdin to stdout
 *     probe flood SEED OUT ERR
 *                    write OUT bytes of a pattern to stdout and ERR to stderr, in pieces of many sizes
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static void report_size(void)
{
    struct winsize size = {0};
    if (ioctl(0, TIOCGWINSZ, &size) == 0)
        printf("size=%ux%u\n", size.ws_row, size.ws_col);
}

static void report_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(folder))
            count++;
    printf("descriptors=%d\n", count);
    for (int fd = 0; fd < 3; fd++) {
        struct stat status = {0};
        fstat(fd, &status);
        printf("fd%d=%s%s\n", fd, S_ISFIFO(status.st_mode) ? "pipe" : isatty(fd) ? "tty" : S_ISCHR(status.st_mode) ? "chr" : "?",
               fcntl(fd, F_GETFL) & O_NONBLOCK ? " nonblock" : "");
    }
}

/* The masks of /proc/self/status: blocked, ignored and caught signals. */
static void report_signals(void)
{
    char line[256];
    FILE *status = fopen("/proc/self/status", "re");
    while (status && fgets(line, sizeof line, status)) {
        unsigned long long mask;
        if (sscanf(line, "SigBlk: %llx", &mask) == 1)
            printf("blocked=%llx\n", mask);
        if (sscanf(line, "SigIgn: %llx", &mask) == 1)
            printf("ignored=%llx\n", mask);
    }
    if (status)
        fclose(status);
}

static void report(char **argv)
{
    struct rlimit files;
    int parent_signal = -1, terminal = open("/dev/tty", O_RDWR | O_CLOEXEC);
    char cwd[4096];
    printf("arg0=%s\n", argv[0]);
    for (char **each = environ; *each; each++)
        printf("env=%s\n", *each);
    printf("cwd=%s\n", getcwd(cwd, sizeof cwd) ? cwd : "?");
    printf("leads=%d\n", getpid() == getsid(0) && getpid() == getpgrp());
    printf("terminal=%s\n", terminal < 0 ? "none" : tcgetpgrp(terminal) == getpid() ? "foreground" : "background");
    if (terminal >= 0)
        close(terminal);
    prctl(PR_GET_PDEATHSIG, &parent_signal);
    printf("pdeathsig=%d\n", parent_signal);
    getrlimit(RLIMIT_NOFILE, &files);
    printf("nofile=%llu:%llu\n", (unsigned long long)files.rlim_cur, (unsigned long long)files.rlim_max);
    report_descriptors();
    report_signals();
    report_size();
    fflush(stdout);
    fprintf(stderr, "on stderr\n");
}

static void wait_for_size(void)
{
    sigset_t resize;
    int number;
    sigemptyset(&resize);
    sigaddset(&resize, SIGWINCH);
    sigprocmask(SIG_BLOCK, &resize, NULL);
    printf("ready\n");
    fflush(stdout);
    sigwait(&resize, &number);
    report_size();
}

/* Also the test's: what byte `offset` of a stream is.  No control characters, which a terminal would change. */
static char pattern(int stream, unsigned long offset)
{
    return (char)('A' + (offset * 7 + (offset >> 8) * 13 + (offset >> 16) + (unsigned)stream * 17) % 57);
}

static int flood(unsigned long seed, unsigned long left_out, unsigned long left_err)
{
    static char data[65536];
    unsigned long left[] = {left_out, left_err}, done[2] = {0};
    while (left[0] || left[1]) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        int stream = left[0] && (!left[1] || seed >> 62) ? 0 : 1;
        unsigned long length = 1 + (seed >> 40) % (1u << (seed >> 33) % 17);
        if (length > left[stream])
            length = left[stream];
        for (unsigned long i = 0; i < length; i++)
            data[i] = pattern(stream, done[stream] + i);
        for (unsigned long sent = 0; sent < length;) {
            ssize_t n = write(1 + stream, data + sent, length - sent);
            if (n < 0)
                return 1;
            sent += (unsigned long)n;
        }
        left[stream] -= length;
        done[stream] += length;
    }
    return 0;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    char data[4096];
    if (strcmp(verb, "resize") == 0) {
        wait_for_size();
        return 0;
    }
    if (strcmp(verb, "flood") == 0 && argc == 5)
        return flood(strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
    report(argv);
    if (strcmp(verb, "echo") == 0)
        for (ssize_t n; (n = read(0, data, sizeof data)) > 0;)
            if (write(1, data, (size_t)n) != n)
                return 1;
    return 0;
}
