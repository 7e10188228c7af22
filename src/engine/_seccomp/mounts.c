/* Theory of operation.
 *
 * What is to be seen at a place is first cloned from where it is, in the state in which the host has it (open_tree), so
 * that no mount can come out more writable than it was.  Then the root is made read-only as a whole, or replaced by a
 * hollow one, and the clones are put in their places, outermost first (move_mount).  Nothing of this is seen outside:
 * the namespace is made private first, and what was mounted goes away with it.
 *
 * One private tmpfs holds all that is not real: hollow folders, /dev, and the root when that is hollow.  While it is
 * being filled it lies on /proc, which a new proc then covers.
 */
#define _GNU_SOURCE
#include "engine/_seccomp/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "engine/_seccomp/sysmount.h"

#define SCRATCH "/proc"

struct build {
    const struct spots *spots;
    int *trees;       /* for every spot its clone, or -1: nothing to mount */
    char **kernel;    /* mounts through which the kernel is spoken to */
    const char *base; /* where the new root is being built: "" in place, or SCRATCH */
    int scratch;      /* the private tmpfs */
    int devices[8];   /* clones of the host's nodes, in the order of plan_devices */
    int console;      /* a clone of the terminal that the program is given, or -1 */
    bool nodes_work;  /* the first device could be made and opened */
    bool no_nodes;    /* or that is not allowed here */
    char place[PATH_MAX];
};

/* The path of something in the new root while this is being built.  Valid until the next call. */
static const char *at(struct build *b, const char *path)
{
    int length = snprintf(b->place, sizeof b->place, "%s%s", b->base, path);
    if (length >= (int)sizeof b->place)
        b->place[0] = '\0'; /* the kernel then says ENOENT */
    return b->place;
}

/* ---- hollow places ----------------------------------------------------------------------------------------------- */

static bool has_something_in_it(const struct build *b, int spot)
{
    for (size_t i = 0; i < b->spots->count; i++)
        if (b->spots->list[i].around == spot && b->trees[i] >= 0)
            return true;
    return false;
}

/* Make the folders on the way to `path`, relative to the tmpfs; from `path + skip` on they may be missing. */
static bool make_way(int scratch, char *path, size_t skip)
{
    for (char *slash = strchr(path + skip, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int made = mkdirat(scratch, path, 0755);
        *slash = '/';
        if (made < 0 && errno != EEXIST)
            return false;
    }
    return true;
}

/* A mount point for a clone: of the clone's own kind, for the kernel wants that. */
static bool make_point(int scratch, const char *path, int like)
{
    struct stat stat;
    if (fstat(like, &stat) < 0)
        return false;
    int made = S_ISDIR(stat.st_mode) ? mkdirat(scratch, path, 0755) : mknodat(scratch, path, S_IFREG | 0644, 0);
    return made == 0 || errno == EEXIST;
}

/* In a hollow folder, make what a clone is to be seen as: a point to mount it on, or of a link, as /bin may be one to
 * /usr/bin, another, and nothing is left to mount. */
static bool make_place(int scratch, const char *path, int *tree)
{
    char target[PATH_MAX] = "";
    if (readlinkat(*tree, "", target, sizeof target - 1) < 0)
        return make_point(scratch, path, *tree);
    close(*tree);
    *tree = -1;
    return symlinkat(target, scratch, path) == 0;
}

/* Make the places of what is seen in a hollow folder; `name` is the folder's in the tmpfs. */
static const char *fill_hollow(struct build *b, int spot, const char *name)
{
    char path[PATH_MAX];
    size_t skip = spot < 0 ? 0 : strlen(b->spots->list[spot].path);
    for (size_t i = 0; i < b->spots->count; i++) {
        const struct spot *inner = &b->spots->list[i];
        if (inner->around != spot || b->trees[i] < 0)
            continue;
        int length = snprintf(path, sizeof path, "%s%s", name, inner->path + skip);
        if (length >= (int)sizeof path) {
            errno = ENAMETOOLONG;
            return inner->path;
        }
        if (!make_way(b->scratch, path, strlen(name) + 1) || !make_place(b->scratch, path, &b->trees[i]))
            return inner->path;
    }
    return NULL;
}

/* The clone of a hollow file or folder in the tmpfs; `like` says which of the two. */
static const char *make_hollow(struct build *b, int spot)
{
    const char *path = b->spots->list[spot].path;
    char name[16];
    snprintf(name, sizeof name, "%d", spot);
    bool folder = has_something_in_it(b, spot);
    if (!make_point(b->scratch, name, b->trees[spot]))
        return path;
    const char *failed = fill_hollow(b, spot, name);
    /* Its mode says no to whoever has no capabilities: looking in is refused, not empty. */
    if (failed || fchmodat(b->scratch, name, folder ? 0111 : 0, 0) < 0)
        return failed ? failed : path;
    close(b->trees[spot]);
    b->trees[spot] = clone_tree(b->scratch, name, false);
    return b->trees[spot] < 0 || set_mount(b->trees[spot], "", ATTR_RDONLY | ATTR_NOEXEC) < 0 ? path : NULL;
}

/* ---- what is real ------------------------------------------------------------------------------------------------ */

/* Whether a name could be made in the folder of `path`: only not where the kernel says that the user may not.  Where
 * the folder has gone too it could, and in a user namespace of our own also in a folder of the user's that is closed to
 * it: inside it could be opened again. */
static bool can_be_made(const char *path)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *name = strrchr(folder, '/');
    name[name == folder] = '\0';
    return faccessat(AT_FDCWD, folder, W_OK, AT_EACCESS) == 0 || (errno != EACCES && errno != EROFS);
}

static bool may_be_missing(const struct build *b, const struct spot *spot)
{
    enum spot_kind around = spot->around < 0 ? b->spots->root : b->spots->list[spot->around].kind;
    if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
        return false;
    return spot->kind == SPOT_WRITE || around != SPOT_WRITE || !can_be_made(spot->path);
}

/* What is missing stays missing, and a rule for it grants nothing.  But what was to be protected and has just gone could
 * be made again by anybody inside. */
static const char *clone_spots(struct build *b)
{
    for (size_t i = 0; i < b->spots->count; i++) {
        const struct spot *spot = &b->spots->list[i];
        b->trees[i] = clone_tree(AT_FDCWD, spot->path, true);
        if (b->trees[i] < 0 && !may_be_missing(b, spot))
            return spot->path;
        uint64_t attributes = ATTR_NOSUID | ATTR_NODEV | (spot->kind == SPOT_WRITE ? 0 : ATTR_RDONLY);
        if (b->trees[i] >= 0 && spot->kind != SPOT_HOLLOW && set_mounts(b->trees[i], "", attributes) < 0)
            return spot->path;
    }
    return NULL;
}

static const char *place_spots(struct build *b)
{
    for (size_t i = 0; i < b->spots->count; i++) {
        if (b->trees[i] < 0)
            continue;
        const struct spot *spot = &b->spots->list[i];
        /* What another sandbox kept missing may go at any moment where this user cannot make it. */
        if (put_tree(b->trees[i], at(b, spot->path)) < 0 && (spot->kind == SPOT_HOLLOW || !may_be_missing(b, spot)))
            return spot->path;
        close(b->trees[i]);
    }
    return NULL;
}

/* ---- /dev, /proc ------------------------------------------------------------------------------------------------- */

/* Whether a node can be made and used: a user namespace forbids the one, some containers the other. */
static bool make_node(struct build *b, const char *path, dev_t device)
{
    if (b->no_nodes)
        return false;
    if (mknodat(b->scratch, path, S_IFCHR | 0666, device) < 0) {
        b->no_nodes = true;
    } else if (!b->nodes_work) { /* the first tells for all */
        int fd = openat(b->scratch, path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
            close(fd);
        else
            unlinkat(b->scratch, path, 0);
        b->nodes_work = fd >= 0;
        b->no_nodes = fd < 0;
    }
    return !b->no_nodes;
}

/* A copy of what is without devices by now.  To write to a device takes no mount that can be written; to change the
 * mode of its node does. */
static int clone_device(const char *path)
{
    int tree = clone_tree(AT_FDCWD, path, false);
    if (tree < 0 || (clear_mount(tree, ATTR_NODEV) == 0 && set_mount(tree, "", ATTR_RDONLY) == 0))
        return tree;
    close(tree);
    return -1;
}

/* A node of its own, which is quicker; else a file to mount the host's on. */
static bool make_device(struct build *b, int index)
{
    char host[32], path[32];
    struct stat node;
    snprintf(host, sizeof host, "/dev/%s", plan_devices[index]);
    snprintf(path, sizeof path, "dev/%s", plan_devices[index]);
    if (stat(host, &node) < 0 || !S_ISCHR(node.st_mode))
        return true; /* then there is none inside either */
    if (make_node(b, path, node.st_rdev))
        return true;
    b->devices[index] = clone_device(host);
    return b->devices[index] >= 0 && mknodat(b->scratch, path, S_IFREG | 0666, 0) == 0;
}

/* The new devpts has not the terminal that the program is given, so that ttyname(3) would not find it; it looks for
 * /dev/console too.  Whatever fails here leaves it without a name, no more. */
static void make_console(struct build *b)
{
    enum { UNIX98_PTY = 136 }; /* the major number, devices.txt of Linux */
    struct stat held, named;
    char path[32];
    int fd = 0;
    while (fd < 3 && (fstat(fd, &held) < 0 || !S_ISCHR(held.st_mode) || major(held.st_rdev) != UNIX98_PTY))
        fd++;
    snprintf(path, sizeof path, "/dev/pts/%u", minor(held.st_rdev));
    if (fd == 3 || lstat(path, &named) < 0 || named.st_dev != held.st_dev || named.st_ino != held.st_ino)
        return;
    if (mknodat(b->scratch, "dev/console", S_IFREG | 0600, 0) == 0)
        b->console = clone_device(path);
}

static const char *make_dev(struct build *b)
{
    static const char *const links[][2] = {{"/proc/self/fd", "dev/fd"},
                                           {"/proc/self/fd/0", "dev/stdin"},
                                           {"/proc/self/fd/1", "dev/stdout"},
                                           {"/proc/self/fd/2", "dev/stderr"},
                                           {"pts/ptmx", "dev/ptmx"}};
    if (mkdirat(b->scratch, "dev", 0755) < 0 || mkdirat(b->scratch, "dev/pts", 0755) < 0 ||
        mkdirat(b->scratch, "dev/shm", 01777) < 0)
        return "/dev";
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        if (symlinkat(links[i][0], b->scratch, links[i][1]) < 0)
            return links[i][1];
    for (int i = 0; plan_devices[i]; i++)
        if (!make_device(b, i))
            return plan_devices[i];
    make_console(b);
    return NULL;
}

static const char *place_dev(struct build *b, int tree)
{
    char path[32];
    if (put_tree(tree, at(b, "/dev")) < 0)
        return "/dev";
    close(tree);
    for (int i = 0; plan_devices[i]; i++) {
        if (b->devices[i] < 0)
            continue;
        snprintf(path, sizeof path, "/dev/%s", plan_devices[i]);
        if (put_tree(b->devices[i], at(b, path)) < 0)
            return plan_devices[i];
        close(b->devices[i]);
    }
    if (b->console >= 0) {
        if (put_tree(b->console, at(b, "/dev/console")) < 0)
            return "/dev/console";
        close(b->console);
    }
    if (mount("devpts", at(b, "/dev/pts"), "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620") < 0)
        return "/dev/pts";
    return NULL;
}

/* Read-only as a whole: /proc/sys, sysrq-trigger and many more lie in it, and other kernels have others yet. */
static const char *place_proc(struct build *b, int host)
{
    if (host >= 0)
        return put_tree(host, at(b, "/proc")) < 0 ? "/proc" : NULL;
    unsigned long flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    return mount("proc", at(b, "/proc"), "proc", flags, NULL) < 0 ? "mount proc" : NULL;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

/* Fill the private tmpfs; *dev and *root are clones of what was made in it. */
static const char *make_scratch(struct build *b, int *dev, int *root)
{
    if (mount("execnode", SCRATCH, "tmpfs", MS_NOSUID, "mode=0755") < 0)
        return "mount tmpfs";
    b->scratch = open(SCRATCH, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (b->scratch < 0)
        return SCRATCH;
    const char *failed = make_dev(b);
    for (size_t i = 0; !failed && i < b->spots->count; i++)
        if (b->spots->list[i].kind == SPOT_HOLLOW && b->trees[i] >= 0)
            failed = make_hollow(b, (int)i);
    if (!failed && b->spots->root == SPOT_HOLLOW) {
        if (mkdirat(b->scratch, "root", 0755) < 0 || mkdirat(b->scratch, "root/dev", 0755) < 0 ||
            mkdirat(b->scratch, "root/proc", 0755) < 0)
            return "/";
        failed = fill_hollow(b, -1, "root");
        *root = clone_tree(b->scratch, "root", false);
        if (!failed && *root < 0)
            failed = "/";
    }
    *dev = clone_tree(b->scratch, "dev", false);
    return failed ? failed : *dev < 0 ? "/dev" : NULL;
}

/* What is mounted at `base` becomes the root, and all that was before is gone. */
static const char *enter_root(struct build *b)
{
    if (chdir(b->base) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
        return "pivot_root";
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return "umount";
    return set_mount(AT_FDCWD, "/", ATTR_RDONLY | ATTR_NOSUID) < 0 ? "mount_setattr" : NULL;
}

static const char *assemble(struct build *b, int host_proc)
{
    int dev = -1, root = -1;
    const char *failed = make_scratch(b, &dev, &root);
    if (failed)
        return failed;
    close(b->scratch);
    if (root >= 0) {
        if (put_tree(root, SCRATCH) < 0)
            return "/";
        close(root);
        b->base = SCRATCH;
    }
    if ((failed = place_dev(b, dev)) || (failed = place_proc(b, host_proc)) || (failed = place_spots(b)))
        return failed;
    if (root >= 0 && (failed = enter_root(b)))
        return failed;
    return seal_mounts(b->kernel);
}

const char *mounts_build(const struct spots *spots, bool private_proc)
{
    struct build b = {.spots = spots, .base = "", .devices = {-1, -1, -1, -1, -1, -1, -1, -1}, .console = -1};
    if (make_all_private() < 0)
        return "mount_setattr";
    if (!(b.kernel = kernel_mounts()))
        return "/proc/self/mountinfo";
    b.trees = calloc(spots->count + 1, sizeof *b.trees);
    int host_proc = private_proc ? -1 : clone_tree(AT_FDCWD, "/proc", true);
    if (!b.trees || (!private_proc && (host_proc < 0 || set_mounts(host_proc, "", ATTR_RDONLY) < 0)))
        return "/proc";
    const char *failed = clone_spots(&b);
    uint64_t attributes = ATTR_NOSUID | ATTR_NODEV | (spots->root == SPOT_WRITE ? 0 : ATTR_RDONLY);
    if (!failed && spots->root != SPOT_HOLLOW && set_mounts(AT_FDCWD, "/", attributes) < 0)
        failed = "/";
    mode_t mask = umask(0);
    if (!failed)
        failed = assemble(&b, host_proc);
    umask(mask);
    free(b.trees);
    return failed;
}
