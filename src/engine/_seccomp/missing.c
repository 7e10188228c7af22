#define _GNU_SOURCE
#include "engine/_seccomp/missing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "engine/_seccomp/linkless.h"

enum {
    MARK = S_IFDIR | S_ISVTX | 0555, /* nobody makes an empty folder so for another purpose */
    TRIES = 100,
};

/* The folder of a path, and the name in it.  No link is on the way, and none is followed that somebody inside has just
 * put there: it would lead to where nothing is to be made, marked or removed.  -1 with errno. */
static int open_folder(const char *path, const char **name)
{
    char folder[PATH_MAX];
    *name = strrchr(path, '/') + 1;
    int length = (int)(*name - path);
    if (snprintf(folder, sizeof folder, "%.*s", length > 1 ? length - 1 : 1, path) >= (int)sizeof folder) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open_linkless(AT_FDCWD, folder, O_DIRECTORY);
}

/* A folder may inherit S_ISGID from its parent. */
static bool is_marked(const struct stat *stat)
{
    return (stat->st_mode & ~(mode_t)S_ISGID) == MARK;
}

static int open_placeholder(int folder, const char *name)
{
    return openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* A program inside can give any folder of its user the mark, and what is in it would be taken for missing. */
static bool is_empty(int fd)
{
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = copy < 0 ? NULL : fdopendir(copy);
    if (!folder) {
        close(copy);
        return false;
    }
    struct dirent *entry;
    errno = 0;
    while ((entry = readdir(folder)) && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0))
        ;
    bool empty = !entry && !errno;
    closedir(folder);
    return empty;
}

static bool is_placeholder(int fd)
{
    struct stat stat;
    return fstat(fd, &stat) == 0 && is_marked(&stat) && is_empty(fd);
}

static bool was_placeholder(int folder, const char *name, const struct stat *stat)
{
    if (!is_marked(stat))
        return false;
    int fd = open_placeholder(folder, name);
    if (fd < 0)
        return errno == ENOENT; /* it was just removed */
    bool is = is_placeholder(fd);
    close(fd);
    return is;
}

bool placeholder_is(const char *path, const struct stat *stat)
{
    return was_placeholder(AT_FDCWD, path, stat);
}

/* Whether a descriptor is of a placeholder that still has this name. */
static bool is_at(int fd, int folder, const char *name)
{
    struct stat held, there;
    return fstat(fd, &held) == 0 && is_marked(&held) && fstatat(folder, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
           there.st_ino == held.st_ino && there.st_dev == held.st_dev;
}

/* An ACL of the folder around may have changed the mode; a file system without modes is refused, for nobody would know
 * what this is. */
static bool mark(int fd)
{
    struct stat stat;
    if (fstat(fd, &stat) == 0 && is_marked(&stat))
        return true;
    return fchmod(fd, MARK & 07777) == 0 && fstat(fd, &stat) == 0 && is_marked(&stat);
}

/* Made or shared, or -1 with errno; EAGAIN: it was just going. */
static int try_to_hold(int folder, const char *name, bool *made)
{
    *made = mkdirat(folder, name, MARK & 07777) == 0;
    if (!*made && errno != EEXIST)
        return -1;
    int fd = open_placeholder(folder, name), error = EAGAIN;
    if (fd < 0) {
        errno = errno == ENOENT ? EAGAIN : errno;
        return -1;
    }
    if (*made && !mark(fd)) {
        unlinkat(folder, name, AT_REMOVEDIR);
        error = EOPNOTSUPP;
    } else if (!*made && !is_placeholder(fd)) {
        error = EEXIST;
    } else if (flock(fd, LOCK_SH | LOCK_NB) == 0 && is_at(fd, folder, name)) {
        return fd;
    }
    close(fd);
    errno = error;
    return -1;
}

static int find_and_hold(const char *path, bool *made)
{
    const char *name;
    int folder = open_folder(path, &name), fd = folder < 0 ? -1 : try_to_hold(folder, name, made), error = errno;
    if (folder >= 0)
        close(folder);
    errno = error;
    return fd;
}

static bool hold(struct placeholder *placeholder)
{
    for (int tries = 0; tries < TRIES; tries++) {
        placeholder->fd = find_and_hold(placeholder->path, &placeholder->made);
        if (placeholder->fd >= 0)
            return true;
        /* What is no folder, or no placeholder, is real.  Without openat2(2) there are no mounts either, which says more. */
        if (errno != EAGAIN)
            return errno == EEXIST || errno == ENOTDIR || errno == ELOOP || errno == EACCES || errno == EROFS ||
                   errno == ENOSYS;
        poll(NULL, 0, 1);
    }
    return false;
}

bool placeholders_hold(struct placeholder *list, size_t count)
{
    mode_t mask = umask(0);
    bool held = true;
    for (size_t i = 0; held && i < count; i++)
        held = list[i].fd >= 0 || hold(&list[i]);
    umask(mask);
    return held;
}

/* The lock is given up with the descriptor; taken for itself alone it says that nobody else relies on the folder. */
bool placeholder_remove(const struct placeholder *placeholder, bool wait)
{
    if (flock(placeholder->fd, LOCK_EX | (wait ? 0 : LOCK_NB)) < 0)
        return false;
    const char *name;
    int folder = open_folder(placeholder->path, &name);
    if (folder >= 0 && is_at(placeholder->fd, folder, name))
        unlinkat(folder, name, AT_REMOVEDIR);
    if (folder >= 0)
        close(folder);
    return true;
}

void placeholders_drop(struct placeholder *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i].fd < 0)
            continue;
        placeholder_remove(&list[i], false);
        close(list[i].fd);
        list[i].fd = -1;
    }
}

bool placeholder_sweep(const char *path)
{
    const char *name;
    int folder = open_folder(path, &name);
    if (folder < 0)
        return errno != EMFILE && errno != ENFILE && errno != ENOMEM; /* there is no such name any more */
    struct placeholder placeholder = {path, open_placeholder(folder, name), false};
    placeholders_drop(&placeholder, 1);
    struct stat stat;
    bool left = fstatat(folder, name, &stat, AT_SYMLINK_NOFOLLOW) == 0 && was_placeholder(folder, name, &stat);
    close(folder);
    return !left;
}
