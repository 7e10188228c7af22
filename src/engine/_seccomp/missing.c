#define _GNU_SOURCE
#include "engine/_seccomp/missing.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    MARK = S_IFDIR | S_ISVTX | 0555, /* nobody makes such a folder for another purpose */
    TRIES = 100,
};

/* A folder may inherit S_ISGID from its parent. */
static bool is_marked(const struct stat *stat)
{
    return (stat->st_mode & ~(mode_t)S_ISGID) == MARK;
}

/* Whether a descriptor is of a placeholder that is still at `path`. */
static bool is_at(int fd, const char *path)
{
    struct stat held, there;
    return fstat(fd, &held) == 0 && is_marked(&held) && lstat(path, &there) == 0 && there.st_ino == held.st_ino &&
           there.st_dev == held.st_dev;
}

bool placeholder_is_at(const char *path)
{
    struct stat stat;
    return lstat(path, &stat) == 0 && is_marked(&stat);
}

static int open_placeholder(const char *path)
{
    return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Made or shared, or -1 with errno; EAGAIN: it was just going. */
static int try_to_hold(const char *path, bool *made)
{
    mode_t mask = umask(0);
    *made = mkdir(path, MARK & 07777) == 0;
    umask(mask);
    if (!*made && errno != EEXIST)
        return -1;
    int fd = open_placeholder(path);
    if (fd < 0) {
        if (errno == ENOENT)
            errno = EAGAIN;
        return -1;
    }
    struct stat stat;
    int error = EEXIST;
    if (*made && (fchmod(fd, MARK & 07777) < 0 || fstat(fd, &stat) < 0 || !is_marked(&stat))) {
        rmdir(path);
        error = EOPNOTSUPP; /* a file system without modes: nobody would know what this is */
    } else if (fstat(fd, &stat) == 0 && is_marked(&stat)) {
        if (flock(fd, LOCK_SH | LOCK_NB) == 0 && is_at(fd, path))
            return fd;
        error = EAGAIN;
    }
    close(fd);
    errno = error;
    return -1;
}

bool placeholder_hold(const char *path, struct placeholder *placeholder)
{
    *placeholder = (struct placeholder){path, -1, false};
    for (int tries = 0; tries < TRIES; tries++) {
        placeholder->fd = try_to_hold(path, &placeholder->made);
        if (placeholder->fd >= 0)
            return true;
        if (errno != EAGAIN) /* what is no folder, or no placeholder, is real */
            return errno == EEXIST || errno == ENOTDIR || errno == ELOOP || errno == EACCES;
        poll(NULL, 0, 1);
    }
    return false;
}

/* The lock is given up with the descriptor; taken for itself alone it says that nobody else relies on the folder. */
static void remove_if_last(int fd, const char *path, int wait)
{
    if (flock(fd, LOCK_EX | wait) == 0 && is_at(fd, path))
        rmdir(path);
}

bool placeholder_sweep(const char *path)
{
    int fd = open_placeholder(path);
    if (fd < 0)
        return true;
    remove_if_last(fd, path, LOCK_NB);
    bool gone = !is_at(fd, path);
    close(fd);
    return gone;
}

void placeholders_sweep(struct placeholder *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i].fd < 0)
            continue;
        remove_if_last(list[i].fd, list[i].path, LOCK_NB);
        close(list[i].fd);
        list[i].fd = -1;
    }
}

/* ---- the keeper -------------------------------------------------------------------------------------------------- */

/* Out of the way of what ends the others: no terminal, no signal of a group, no mark in RLIMIT_RTTIME (lineage.py). */
static void step_aside(int link)
{
    sigset_t all;
    sigfillset(&all);
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

/* Every folder is kept open: some file systems take a millisecond to free one, which happens when the last descriptor of
 * a removed one is closed, and here nobody waits for it. */
__attribute__((noreturn)) static void keep(struct placeholder *shared, size_t count, int link)
{
    struct placeholder list[count]; /* with descriptors of its own */
    pid_t pid = 0;
    struct pollfd end = {.fd = -1, .events = POLLIN};
    step_aside(link);
    memcpy(list, shared, sizeof list);
    for (size_t i = 0; i < count; i++)
        list[i].fd = -1;
    /* One process after the other, as long as the launcher lives: it sweeps too, and two at once would each see the
     * other's lock. */
    while (read(STDIN_FILENO, &pid, sizeof pid) == sizeof pid) {
        send(STDIN_FILENO, &pid, sizeof pid, MSG_NOSIGNAL);
        if (end.fd >= 0)
            close(end.fd);
        end.fd = (int)syscall(SYS_pidfd_open, pid, 0);
        for (size_t i = 0; i < count; i++)
            if (list[i].fd < 0)
                list[i].fd = open_placeholder(list[i].path);
    }
    while (end.fd >= 0 && poll(&end, 1, -1) < 0)
        ;
    for (size_t i = 0; i < count; i++) {
        list[i].made = shared[i].made;
        if (list[i].fd < 0)
            list[i].fd = open_placeholder(list[i].path);
        if (list[i].fd >= 0)
            remove_if_last(list[i].fd, list[i].path, list[i].made ? 0 : LOCK_NB);
    }
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
    if (pid > 0)
        return ends[1];
    close(ends[1]);
    return -1;
}

bool keeper_watch(int keeper, pid_t pid)
{
    if (send(keeper, &pid, sizeof pid, MSG_NOSIGNAL) != sizeof pid)
        return false;
    ssize_t length;
    while ((length = recv(keeper, &pid, sizeof pid, 0)) < 0 && errno == EINTR)
        ;
    return length == sizeof pid;
}
