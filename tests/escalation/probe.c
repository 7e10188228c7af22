/* Says everything about itself that whoever executes a program decides, and ends as it is told.
 *
 * probe [--signal N | --exit N] [ARG...] */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int by_text(const void *one, const void *other)
{
    return strcmp(*(char *const *)one, *(char *const *)other);
}

static void print_signals(void)
{
    sigset_t blocked;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    for (int number = 1; number < 32; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
            printf("ignored %d\n", number);
        if (sigismember(&blocked, number) == 1)
            printf("blocked %d\n", number);
    }
}

int main(int argc, char **argv, char **env)
{
    int code = 7;
    size_t count = 0, length;
    char line[4096];
    for (int i = 0; i < argc; i++)
        printf("argv <%s>\n", argv[i]);
    while (env[count])
        count++;
    qsort(env, count, sizeof *env, by_text);
    for (size_t i = 0; i < count; i++)
        printf("env <%s>\n", env[i]);
    for (int fd = 0; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0)
            printf("fd %d\n", fd);
    mode_t mask = umask(0);
    printf("cwd <%s>\numask %o\n", getcwd(line, sizeof line), mask);
    print_signals();
    while ((length = fread(line, 1, sizeof line, stdin)) > 0)
        printf("stdin <%.*s>\n", (int)length, line);
    fflush(stdout);
    fprintf(stderr, "to stderr\n");
    if (argc > 2 && strcmp(argv[1], "--exit") == 0)
        code = atoi(argv[2]);
    if (argc > 2 && strcmp(argv[1], "--signal") == 0)
        kill(getpid(), atoi(argv[2]));
    return code;
}
