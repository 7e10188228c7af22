/* The mount system calls of Linux 5.2 to 5.12 that older C libraries have no names for. */
#ifndef EXECNODE_SYSMOUNT_H
#define EXECNODE_SYSMOUNT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/mount.h>

enum {
    ATTR_RDONLY = 1,
    ATTR_NOSUID = 2,
    ATTR_NODEV = 4,
    ATTR_NOEXEC = 8,
};

/* A descriptor of a copy of what is at `path` (a link at its end is meant itself, and none may be on the way), with what is mounted in it if
 * `whole`; -1 with errno. */
int clone_tree(int folder, const char *path, bool whole);

/* Mount a copy at `path`.  0, or -1 with errno. */
int put_tree(int tree, const char *path);

/* Add attributes to the mount at a path, or of a descriptor with the path ""; or to it and to all mounted in it. */
int set_mount(int folder, const char *path, uint64_t attributes);
int set_mounts(int folder, const char *path, uint64_t attributes);

/* Take attributes away again from the mount of a descriptor. */
int clear_mount(int tree, uint64_t attributes);

/* What is mounted from now on stays in this mount namespace, and what others mount stays out. */
int make_all_private(void);

/* Where the kernel is spoken to: the points of procfs, sysfs, cgroups and their like but for those in /dev and /proc,
 * NULL-terminated.  NULL with errno. */
char **kernel_mounts(void);

/* Make what is mounted at these points read-only.  NULL, or the point where that failed, with errno. */
const char *seal_mounts(char *const *points);

#endif
