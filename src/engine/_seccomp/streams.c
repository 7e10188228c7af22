#define _GNU_SOURCE
#include "engine/_seccomp/streams.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* The device may have a node of its own here. */
static bool is_same(const struct stat *one, const struct stat *other)
{
    if (S_ISCHR(one->st_mode))
        return S_ISCHR(other->st_mode) && one->st_rdev == other->st_rdev;
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

/* Where a file may be changed, its place is shared with whoever opened it, as usual. */
static bool is_better(int fd, const struct stat *given)
{
    struct stat found;
    struct statvfs mount;
    if (fstat(fd, &found) < 0 || !is_same(given, &found))
        return false;
    return S_ISCHR(given->st_mode) || (fstatvfs(fd, &mount) == 0 && mount.f_flag & ST_RDONLY);
}

static int open_here(int stream, int flags)
{
    char name[32], path[PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/fd/%d", stream);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length < 0)
        return -1;
    path[length] = '\0';
    return open(path, (flags & O_ACCMODE) | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static void reopen(int stream, int flags, const struct stat *given)
{
    int fd = open_here(stream, flags);
    if (fd < 0)
        return;
    off_t place = lseek(stream, 0, SEEK_CUR);
    if (is_better(fd, given) && fcntl(fd, F_SETFL, flags) == 0 && (place < 0 || lseek(fd, place, SEEK_SET) == place))
        dup2(fd, stream);
    close(fd);
}

void streams_reopen(void)
{
    for (int stream = 0; stream < 3; stream++) {
        struct stat given;
        int flags = fcntl(stream, F_GETFL);
        if (flags < 0 || fstat(stream, &given) < 0)
            continue;
        if (S_ISCHR(given.st_mode) || (S_ISREG(given.st_mode) && (flags & O_ACCMODE) == O_RDONLY))
            reopen(stream, flags, &given);
    }
}
