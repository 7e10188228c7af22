/* The keeper of placeholders; see missing.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/_seccomp/missing.h"
#include "engine/_seccomp/signals.h"

enum { BATCH = 200 }; /* descriptors in a message; the kernel takes 253 */

union control {
    struct cmsghdr header;
    char space[CMSG_SPACE(BATCH * sizeof(int))];
};

/* Out of the way of what ends the others: no terminal, no signal of a group, no mark in RLIMIT_RTTIME (lineage.py). */
static void step_aside(int link)
{
    sigset_t all;
    signals_fill(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    setsid();
    prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
    prctl(PR_SET_NAME, "execnode-keeper", 0, 0, 0);
    struct rlimit unmarked = {1, 1};
    setrlimit(RLIMIT_RTTIME, &unmarked);
    dup2(link, STDIN_FILENO);
    syscall(SYS_close_range, 1, ~0U, 0);
    if (chdir("/") < 0)
        return;
}

static void say(int link, pid_t pid)
{
    send(link, &pid, sizeof pid, MSG_NOSIGNAL);
}

static bool hear(int link)
{
    pid_t pid;
    ssize_t length;
    while ((length = recv(link, &pid, sizeof pid, 0)) < 0 && errno == EINTR)
        ;
    return length == sizeof pid;
}

/* One message: a pid, 0 if more messages come, and descriptors of what is held.  False at the end. */
static bool receive(struct placeholder *list, const struct placeholder *shared, size_t count, pid_t *pid)
{
    union control control;
    struct iovec word = {pid, sizeof *pid};
    struct msghdr message = {.msg_iov = &word, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (recvmsg(STDIN_FILENO, &message, MSG_CMSG_CLOEXEC) != sizeof *pid)
        return false;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    size_t given = header ? (header->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0, next = 0;
    for (size_t i = 0; i < count && next < given; i++)
        if (list[i].fd < 0 && shared[i].fd >= 0)
            memcpy(&list[i].fd, CMSG_DATA(header) + next++ * sizeof(int), sizeof(int));
    return true;
}

__attribute__((noreturn)) static void keep(struct placeholder *shared, size_t count, int link)
{
    struct placeholder list[count]; /* with descriptors of its own */
    struct pollfd end = {.fd = -1, .events = POLLIN};
    pid_t pid = 0;
    for (size_t i = 0; i < count; i++)
        list[i] = (struct placeholder){shared[i].path, -1, false};
    step_aside(link);
    say(STDIN_FILENO, pid);
    while (receive(list, shared, count, &pid)) {
        if (!pid)
            continue;
        end.fd = (int)syscall(SYS_pidfd_open, pid, 0);
        say(STDIN_FILENO, pid);
    }
    while (end.fd >= 0 && poll(&end, 1, -1) < 0)
        ;
    for (size_t i = 0; i < count; i++) {
        if (list[i].fd < 0)
            placeholder_sweep(list[i].path); /* its owner may have died before it could name it */
        else if (placeholder_remove(&list[i], false) || !shared[i].made)
            close(list[i].fd), list[i].fd = -1;
    }
    for (size_t i = 0; i < count; i++)
        if (list[i].fd >= 0)
            placeholder_remove(&list[i], true);
    _exit(0);
}

struct placeholder *placeholders_new(size_t count)
{
    size_t size = (count + 1) * sizeof(struct placeholder);
    void *list = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return list == MAP_FAILED ? NULL : list;
}

int keeper_start(struct placeholder *list, size_t count)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[1]);
        keep(list, count, ends[0]);
    }
    close(ends[0]);
    if (pid > 0 && hear(ends[1]))
        return ends[1];
    close(ends[1]);
    return -1;
}

static bool give(int keeper, const struct placeholder *list, size_t count, pid_t pid)
{
    union control control = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    struct iovec word = {&pid, sizeof pid};
    struct msghdr message = {.msg_iov = &word, .msg_iovlen = 1};
    size_t given = 0;
    for (size_t i = 0; i < count; i++)
        if (list[i].fd >= 0)
            memcpy(CMSG_DATA(&control.header) + given++ * sizeof(int), &list[i].fd, sizeof(int));
    if (given) {
        control.header.cmsg_len = CMSG_LEN(given * sizeof(int));
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(given * sizeof(int));
    }
    return sendmsg(keeper, &message, MSG_NOSIGNAL) == sizeof pid;
}

bool keeper_watch(int keeper, pid_t pid, const struct placeholder *list, size_t count)
{
    size_t first = 0;
    for (; count - first > BATCH; first += BATCH)
        if (!give(keeper, list + first, BATCH, 0))
            return false;
    if (!give(keeper, list + first, count - first, pid))
        return false;
    return hear(keeper);
}
