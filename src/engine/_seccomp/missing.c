#define _GNU_SOURCE
#include "engine/_seccomp/missing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum {
    MARK = S_IFDIR | S_ISVTX | 0555, /* nobody makes an empty folder so for another purpose */
    TRIES = 100,
};

/* A folder may inherit S_ISGID from its parent. */
static bool is_marked(const struct stat *stat)
{
    return (stat->st_mode & ~(mode_t)S_ISGID) == MARK;
}

static int open_placeholder(const char *path)
{
    return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
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

bool placeholder_is_at(const char *path)
{
    struct stat stat;
    if (lstat(path, &stat) < 0 || !is_marked(&stat))
        return false;
    int fd = open_placeholder(path);
    bool is = fd >= 0 && is_placeholder(fd);
    if (fd >= 0)
        close(fd);
    return is;
}

/* Whether a descriptor is of a placeholder that is still at `path`. */
static bool is_at(int fd, const char *path)
{
    struct stat held, there;
    return fstat(fd, &held) == 0 && is_marked(&held) && lstat(path, &there) == 0 && there.st_ino == held.st_ino &&
           there.st_dev == held.st_dev;
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
static int try_to_hold(const char *path, bool *made)
{
    *made = mkdir(path, MARK & 07777) == 0;
    if (!*made && errno != EEXIST)
        return -1;
    int fd = open_placeholder(path), error = EAGAIN;
    if (fd < 0) {
        errno = errno == ENOENT ? EAGAIN : errno;
        return -1;
    }
    if (*made && !mark(fd)) {
        rmdir(path);
        error = EOPNOTSUPP;
    } else if (!*made && !is_placeholder(fd)) {
        error = EEXIST;
    } else if (flock(fd, LOCK_SH | LOCK_NB) == 0 && is_at(fd, path)) {
        return fd;
    }
    close(fd);
    errno = error;
    return -1;
}

static bool hold(struct placeholder *placeholder)
{
    for (int tries = 0; tries < TRIES; tries++) {
        placeholder->fd = try_to_hold(placeholder->path, &placeholder->made);
        if (placeholder->fd >= 0)
            return true;
        if (errno != EAGAIN) /* what is no folder, or no placeholder, is real */
            return errno == EEXIST || errno == ENOTDIR || errno == ELOOP || errno == EACCES || errno == EROFS;
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
    if (is_at(placeholder->fd, placeholder->path))
        rmdir(placeholder->path);
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
    struct placeholder placeholder = {path, open_placeholder(path), false};
    placeholders_drop(&placeholder, 1);
    return !placeholder_is_at(path);
}
