#define _GNU_SOURCE
#include "engine/_seccomp/sysmount.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/_seccomp/linkless.h"
#include "engine/_seccomp/plan.h"

enum {
    SYS_OPEN_TREE = 428,
    SYS_MOVE_MOUNT = 429,
    SYS_MOUNT_SETATTR = 442,
    CLONE_TREE = 1,
    FROM_FD_ITSELF = 0x4, /* MOVE_MOUNT_F_EMPTY_PATH */
    RECURSIVE = 0x8000,   /* AT_RECURSIVE */
};

struct attr {
    uint64_t set, clear, propagation, userns_fd;
};

int clone_tree(int folder, const char *path, bool whole)
{
    int fd = open_linkless(folder, path, O_NOFOLLOW);
    if (fd < 0)
        return -1;
    int tree = (int)syscall(SYS_OPEN_TREE, fd, "", CLONE_TREE | O_CLOEXEC | AT_EMPTY_PATH | (whole ? RECURSIVE : 0));
    close(fd);
    return tree;
}

int put_tree(int tree, const char *path)
{
    return (int)syscall(SYS_MOVE_MOUNT, tree, "", AT_FDCWD, path, FROM_FD_ITSELF);
}

static int change(int folder, const char *path, unsigned flags, struct attr attr)
{
    flags |= AT_SYMLINK_NOFOLLOW | (*path ? 0 : AT_EMPTY_PATH);
    return (int)syscall(SYS_MOUNT_SETATTR, folder, path, flags, &attr, sizeof attr);
}

int set_mount(int folder, const char *path, uint64_t attributes)
{
    return change(folder, path, 0, (struct attr){.set = attributes});
}

int set_mounts(int folder, const char *path, uint64_t attributes)
{
    return change(folder, path, RECURSIVE, (struct attr){.set = attributes});
}

int clear_mount(int tree, uint64_t attributes)
{
    return change(tree, "", 0, (struct attr){.clear = attributes});
}

int make_all_private(void)
{
    return change(AT_FDCWD, "/", RECURSIVE, (struct attr){.propagation = MS_PRIVATE});
}

/* ---- /proc/self/mountinfo ---------------------------------------------------------------------------------------- */

static bool speaks_to_the_kernel(const char *type)
{
    static const char *const types[] = {"proc",      "sysfs",      "cgroup",   "cgroup2",     "debugfs", "tracefs",
                                        "securityfs", "configfs",  "efivarfs", "binfmt_misc", "bpf",     "pstore",
                                        "selinuxfs", "resctrl",    "nfsd",     "fusectl",     "smackfs", "devtmpfs"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(type, types[i]) == 0)
            return true;
    return false;
}

/* Blanks and backslashes in a path are written as \ooo. */
static void unescape(char *text)
{
    char *to = text;
    for (; *text; text++, to++) {
        if (text[0] == '\\' && text[1] && text[2] && text[3]) {
            *to = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
            text += 3;
        } else {
            *to = *text;
        }
    }
    *to = '\0';
}

/* One line: ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS; its POINT, or NULL when it is of no
 * concern. */
static char *kernel_mount(char *line)
{
    char *rest = strstr(line, " - "), *point = line;
    if (!rest)
        return NULL;
    *rest = '\0';
    char *type = rest + 3;
    type[strcspn(type, " ")] = '\0';
    if (!speaks_to_the_kernel(type))
        return NULL;
    for (int field = 0; field < 4; field++)
        point += strcspn(point, " ") + 1;
    point[strcspn(point, " ")] = '\0';
    unescape(point);
    /* The host's are covered, and must not be taken for the private ones on them. */
    return path_is_in(point, "/dev") || path_is_in(point, "/proc") ? NULL : point;
}

char **kernel_mounts(void)
{
    FILE *list = fopen("/proc/self/mountinfo", "re");
    char *line = NULL, **points = calloc(1, sizeof *points);
    size_t size = 0, count = 0;
    while (list && points && getline(&line, &size, list) > 0) {
        char *point = kernel_mount(line);
        if (!point)
            continue;
        char **more = realloc(points, (count + 2) * sizeof *points);
        points = more && (more[count++] = strdup(point)) ? more : NULL;
        if (points)
            points[count] = NULL;
    }
    free(line);
    if (list)
        fclose(list);
    return list ? points : NULL;
}

const char *seal_mounts(char *const *points)
{
    for (; *points; points++)
        /* One that lies under another mount cannot be named, nor reached. */
        if (set_mount(AT_FDCWD, *points, ATTR_RDONLY) < 0 && errno != EINVAL && errno != ENOENT)
            return *points;
    return NULL;
}
