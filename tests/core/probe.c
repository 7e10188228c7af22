/* A program that says how it was started: one NAME=VALUE a line.
 *
 *     probe          report and exit
 *     probe resize   say "ready", wait for SIGWINCH, report the new size
 *     probe echo     report, then copy stdin to stdout
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

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    char data[4096];
    if (strcmp(verb, "resize") == 0) {
        wait_for_size();
        return 0;
    }
    report(argv);
    if (strcmp(verb, "echo") == 0)
        for (ssize_t n; (n = read(0, data, sizeof data)) > 0;)
            if (write(1, data, (size_t)n) != n)
                return 1;
    return 0;
}
