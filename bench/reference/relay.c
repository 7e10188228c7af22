/* relay PROGRAM [ARG...]
 *
 * The kernel's price of a byte: a child's pipe -> a ring of 256 KiB -> a Unix socket, read by another process.
 * Three processes, as with a node: the writer, the relay, the sink. The time is the sink's, from start to end. */
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

extern char **environ;

enum { RING = 256 * 1024 };

/* The stretch of `length` bytes at position `at` of the ring, as the one or two parts that it has in memory. */
static int parts(char *ring, uint64_t at, uint64_t length, struct iovec part[2]) {
    size_t offset = at % RING, first = RING - offset < length ? RING - offset : length;
    part[0] = (struct iovec){ring + offset, first};
    part[1] = (struct iovec){ring, length - first};
    return first < length ? 2 : 1;
}

static int start(char **argv, pid_t *pid) {
    int ends[2];
    check(pipe2(ends, O_CLOEXEC), "pipe2");
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    errno = posix_spawn(pid, argv[0], &actions, NULL, argv, environ);
    check(errno ? -1 : 0, "posix_spawn");
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    return ends[0];
}

static void relay(char **argv, int out) {
    static char ring[RING];
    pid_t pid;
    int in = start(argv, &pid), status;
    check(fcntl(in, F_SETFL, O_NONBLOCK), "fcntl");
    check(fcntl(out, F_SETFL, O_NONBLOCK), "fcntl");
    uint64_t head = 0, tail = 0;
    struct iovec part[2];
    while (in >= 0 || tail < head) {
        struct pollfd ready[2] = {
            {.fd = head - tail < RING ? in : -1, .events = POLLIN},
            {.fd = tail < head ? out : -1, .events = POLLOUT},
        };
        check(poll(ready, 2, -1), "poll");
        if (ready[0].revents) {
            long got = check(readv(in, part, parts(ring, head, RING - (head - tail), part)), "readv");
            head += (uint64_t)got;
            if (!got) {
                close(in);
                in = -1;
            }
        }
        if (ready[1].revents)
            tail += (uint64_t)check(writev(out, part, parts(ring, tail, head - tail, part)), "writev");
    }
    check(waitpid(pid, &status, 0), "waitpid");
    _exit(status != 0);
}

int main(int argc, char **argv) {
    if (argc < 2) die("usage: relay PROGRAM [ARG...]");
    static char buffer[1 << 20];
    int ends[2], status;
    uint64_t bytes = 0, begun = now_ns();
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
    pid_t pid = (pid_t)check(fork(), "fork");
    if (!pid) {
        close(ends[0]);
        relay(argv + 1, ends[1]);
    }
    close(ends[1]);
    for (long got; (got = check(read(ends[0], buffer, sizeof buffer), "read"));)
        bytes += (uint64_t)got;
    uint64_t total = now_ns() - begun;
    check(waitpid(pid, &status, 0), "waitpid");
    if (status != 0) die("the command failed");
    report(total, bytes, NULL, 0);
    return 0;
}
