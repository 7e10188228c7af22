#define _GNU_SOURCE
#include "engine/_seccomp/passed.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ON_EXEC = 1 << 2 }; /* CLOSE_RANGE_CLOEXEC */

bool passed_add(struct passed *passed, int fd)
{
    size_t place = passed->count;
    while (place > 0 && passed->list[place - 1] >= fd)
        place--;
    if (fd < 3 || (place < passed->count && passed->list[place] == fd))
        return true;
    int *list = realloc(passed->list, (passed->count + 1) * sizeof *list);
    if (!list)
        return false;
    memmove(list + place + 1, list + place, (passed->count - place) * sizeof *list);
    list[place] = fd;
    *passed = (struct passed){list, passed->count + 1};
    return true;
}

/* From Linux 5.11 one call does it. */
static void close_on_exec(int first, int last)
{
    struct rlimit most;
    if (first > last || syscall(SYS_close_range, first, last, ON_EXEC) == 0 || getrlimit(RLIMIT_NOFILE, &most) < 0)
        return;
    for (int fd = first; fd <= last && (rlim_t)fd < most.rlim_max; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

void passed_keep(const struct passed *passed)
{
    int next = 3;
    for (size_t i = 0; i < passed->count; i++) {
        close_on_exec(next, passed->list[i] - 1);
        next = passed->list[i] + 1;
    }
    close_on_exec(next, INT_MAX);
}

void passed_close(const struct passed *passed)
{
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    for (size_t i = 0; i < passed->count; i++)
        close(passed->list[i]);
}
