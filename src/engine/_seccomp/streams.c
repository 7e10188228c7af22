#define _GNU_SOURCE
#include "engine/_seccomp/streams.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/_seccomp/sysmount.h"

/* The device may have a node of its own here. */
static bool is_same(const struct stat *one, const struct stat *other)
{
    if (S_ISCHR(one->st_mode))
        return S_ISCHR(other->st_mode) && one->st_rdev == other->st_rdev;
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

static bool is_of(int fd, const struct stat *given)
{
    struct stat found;
    return fd >= 0 && fstat(fd, &found) == 0 && is_same(given, &found);
}

/* Where a file may be changed, its place is shared with whoever opened it, as usual. */
static bool is_better(int fd, const struct stat *given)
{
    struct statvfs mount;
    return S_ISCHR(given->st_mode) || (fstatvfs(fd, &mount) == 0 && mount.f_flag & ST_RDONLY);
}

static bool is_only_read(int flags, const struct stat *given)
{
    return S_ISREG(given->st_mode) && (flags & O_ACCMODE) == O_RDONLY;
}

static bool path_of(int fd, char path[PATH_MAX])
{
    char name[32];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = '\0';
    return length > 0;
}

static int open_again(const char *path, int flags)
{
    return open(path, (flags & O_ACCMODE) | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* The file on a mount of its own. */
static int open_apart(const char *path, const struct stat *given)
{
    char name[32];
    int tree = clone_tree(AT_FDCWD, path, false), fd = -1;
    snprintf(name, sizeof name, "/proc/self/fd/%d", tree);
    if (is_of(tree, given) && set_mount(tree, "", ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV) == 0)
        fd = open(name, O_RDONLY | O_CLOEXEC);
    if (tree >= 0)
        close(tree);
    return fd;
}

void streams_hold(int held[3])
{
    for (int stream = 0; stream < 3; stream++) {
        struct stat given;
        char path[PATH_MAX];
        int flags = fcntl(stream, F_GETFL);
        bool held_here = flags >= 0 && fstat(stream, &given) == 0 && is_only_read(flags, &given) && path_of(stream, path);
        held[stream] = held_here ? open_apart(path, &given) : -1;
    }
}

/* By its path, which a terminal has not; else the one that was held.  -1: neither is the same. */
static int find(int stream, int flags, const struct stat *given, int held)
{
    char path[PATH_MAX];
    int fd = path_of(stream, path) ? open_again(path, flags) : -1;
    if (!is_of(fd, given) && S_ISCHR(given->st_mode)) {
        if (fd >= 0)
            close(fd);
        fd = open_again("/dev/console", flags);
    }
    if (is_of(fd, given))
        return fd;
    if (fd >= 0)
        close(fd);
    return held < 0 ? -1 : fcntl(held, F_DUPFD_CLOEXEC, 3);
}

static void reopen(int stream, int flags, const struct stat *given, int held)
{
    int fd = find(stream, flags, given, held);
    if (fd < 0)
        return;
    off_t place = lseek(stream, 0, SEEK_CUR);
    if (is_better(fd, given) && fcntl(fd, F_SETFL, flags) == 0 && (place < 0 || lseek(fd, place, SEEK_SET) == place))
        dup2(fd, stream);
    close(fd);
}

void streams_reopen(const int held[3])
{
    for (int stream = 0; stream < 3; stream++) {
        struct stat given;
        int flags = fcntl(stream, F_GETFL);
        if (flags >= 0 && fstat(stream, &given) == 0 && (S_ISCHR(given.st_mode) || is_only_read(flags, &given)))
            reopen(stream, flags, &given, held[stream]);
        if (held[stream] >= 0)
            close(held[stream]);
    }
}
