/* spawn COUNT INFLIGHT PROGRAM [ARG...]
 *
 * The kernel's price of a command: posix_spawn with two pipes, drain both, wait. COUNT times, INFLIGHT at once. */
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

extern char **environ;

struct child {
    pid_t pid;
    long index;
    int open; /* of its two pipes */
    uint64_t begun;
};

static void start(struct child *child, struct pollfd ends[2], char **argv) {
    int out[2], err[2];
    child->begun = now_ns();
    check(pipe2(out, O_CLOEXEC), "pipe2");
    check(pipe2(err, O_CLOEXEC), "pipe2");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, err[1], 2);
    errno = posix_spawn(&child->pid, argv[0], &actions, NULL, argv, environ);
    check(errno ? -1 : 0, "posix_spawn");
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    close(err[1]);
    child->open = 2;
    ends[0] = (struct pollfd){.fd = out[0], .events = POLLIN};
    ends[1] = (struct pollfd){.fd = err[0], .events = POLLIN};
}

static void reap(struct child *child) {
    int status;
    check(waitpid(child->pid, &status, 0), "waitpid");
    if (status != 0) die("the command failed");
}

int main(int argc, char **argv) {
    if (argc < 4) die("usage: spawn COUNT INFLIGHT PROGRAM [ARG...]");
    long count = number(argv[1]), slots = number(argv[2]), started = 0, done = 0;
    if (slots > count) slots = count;
    struct child *children = allocate((size_t)slots, sizeof *children);
    struct pollfd *ends = allocate((size_t)slots * 2, sizeof *ends);
    uint64_t *each = allocate((size_t)count, sizeof *each);
    uint64_t bytes = 0, begun = now_ns();
    static char buffer[65536];

    for (; started < slots; started++) {
        children[started].index = started;
        start(&children[started], &ends[started * 2], argv + 3);
    }
    while (done < count) {
        check(poll(ends, (nfds_t)slots * 2, -1), "poll");
        for (long i = 0; i < slots * 2; i++) {
            if (!ends[i].revents) continue;
            long got = check(read(ends[i].fd, buffer, sizeof buffer), "read");
            bytes += (uint64_t)got;
            if (got) continue;
            close(ends[i].fd);
            ends[i] = (struct pollfd){.fd = -1};
            struct child *child = &children[i / 2];
            if (--child->open) continue;
            reap(child);
            each[child->index] = now_ns() - child->begun;
            done++;
            if (started < count) {
                child->index = started++;
                start(child, &ends[i / 2 * 2], argv + 3);
            }
        }
    }
    report(now_ns() - begun, bytes, each, count);
    return 0;
}
