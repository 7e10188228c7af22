#define _GNU_SOURCE
#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned calls_left, calls_chosen, short_most, short_turn;
static bool ever_after, fired;
static int fault_errno;

void faults_at(unsigned n, int error, unsigned calls)
{
    calls_left = n;
    calls_chosen = calls;
    fault_errno = error;
    ever_after = fired = false;
}

void faults_from(unsigned n, int error, unsigned calls)
{
    faults_at(n, error, calls);
    ever_after = true;
}

void faults_short(unsigned most) { short_most = most; }

bool faults_clear(void)
{
    calls_left = calls_chosen = short_most = 0;
    return fired;
}

static bool fails(enum fault_call call)
{
    if (!(calls_chosen & call) || calls_left == 0 || --calls_left > 0)
        return false;
    if (ever_after)
        calls_left = 1;
    fired = true;
    errno = call == FAULT_MALLOC ? ENOMEM : fault_errno;
    return true;
}

static bool interrupted(size_t *length)
{
    if (!short_most)
        return false;
    if (*length > short_most)
        *length = short_most;
    errno = EINTR;
    return ++short_turn % 2;
}

#define WRAP(result, name, ...)                                                                                        \
    result __real_##name(__VA_ARGS__);                                                                                 \
    result __wrap_##name(__VA_ARGS__);                                                                                 \
    result __wrap_##name(__VA_ARGS__)

WRAP(void *, malloc, size_t size) { return fails(FAULT_MALLOC) ? NULL : __real_malloc(size); }

WRAP(void *, calloc, size_t count, size_t size) { return fails(FAULT_MALLOC) ? NULL : __real_calloc(count, size); }

WRAP(void *, realloc, void *old, size_t size) { return fails(FAULT_MALLOC) ? NULL : __real_realloc(old, size); }

WRAP(void *, mmap, void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    return fails(FAULT_MALLOC) ? MAP_FAILED : __real_mmap(at, length, protection, flags, fd, offset);
}

/* The variadic ones are all called with at most one argument more, of a register's size. */
WRAP(int, open, const char *path, int flags, long mode)
{
    return fails(FAULT_OPEN) ? -1 : __real_open(path, flags, mode);
}

WRAP(int, mkostemp, char *path, int flags) { return fails(FAULT_OPEN) ? -1 : __real_mkostemp(path, flags); }

WRAP(int, pipe2, int ends[2], int flags) { return fails(FAULT_OPEN) ? -1 : __real_pipe2(ends, flags); }

WRAP(int, fcntl, int fd, int operation, long argument)
{
    return fails(FAULT_FCNTL) ? -1 : __real_fcntl(fd, operation, argument);
}

WRAP(int, ioctl, int fd, unsigned long request, void *argument)
{
    return fails(FAULT_IOCTL) ? -1 : __real_ioctl(fd, request, argument);
}

WRAP(ssize_t, pread, int fd, void *to, size_t length, off_t at)
{
    return fails(FAULT_PREAD) || interrupted(&length) ? -1 : __real_pread(fd, to, length, at);
}

WRAP(ssize_t, pwrite, int fd, const void *from, size_t length, off_t at)
{
    return fails(FAULT_PWRITE) || interrupted(&length) ? -1 : __real_pwrite(fd, from, length, at);
}

WRAP(pid_t, setsid, void) { return fails(FAULT_CHILD) ? -1 : __real_setsid(); }

WRAP(int, dup2, int fd, int to) { return fails(FAULT_CHILD) ? -1 : __real_dup2(fd, to); }

WRAP(int, waitid, idtype_t type, id_t id, siginfo_t *info, int options)
{
    return fails(FAULT_WAIT) ? -1 : __real_waitid(type, id, info, options);
}

WRAP(int, epoll_ctl, int epoll, int operation, int fd, struct epoll_event *event)
{
    return fails(FAULT_EPOLL) ? -1 : __real_epoll_ctl(epoll, operation, fd, event);
}
