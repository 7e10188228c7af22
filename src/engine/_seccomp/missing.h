/* Names that do not exist and must not come into being while a sandbox lives.
 *
 * The kernel can refuse a name only where something has it: nothing mounts on, and no rule of Landlock's speaks of, a
 * file that is not there.  So an empty folder is made in its place, marked by its mode, and mounted read-only inside.
 * Every sandbox that relies on it holds a shared lock (flock(2)) on it, and whoever leaves last removes it.  A keeper, a
 * process in a session of its own, does so when the others were killed.  One that was left behind all the same (the
 * keeper was killed too, or by a power cut) is known by its mode and goes with the next sandbox or sweep.
 */
#ifndef EXECNODE_MISSING_H
#define EXECNODE_MISSING_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

struct placeholder {
    const char *path; /* what there is now is read-only, whoever made it */
    int fd;           /* holds the lock; -1: not held, or not ours: somebody made it meanwhile */
    bool made;        /* by us: others may be unable to remove it, as in /tmp */
};

/* Whether what lstat(2) has told of `path` is one, or was and is just gone: then the name is missing. */
bool placeholder_is(const char *path, const struct stat *stat);

/* Make, or share, those that are not held yet.  False with errno. */
bool placeholders_hold(struct placeholder *list, size_t count);

/* Remove what one holds unless somebody else holds it too, and false then; or `wait` until nobody does. */
bool placeholder_remove(const struct placeholder *placeholder, bool wait);

/* Remove those that nobody else holds, and hold them no longer. */
void placeholders_drop(struct placeholder *list, size_t count);

/* Remove what is a placeholder at `path` and held by nobody.  True if there is none left. */
bool placeholder_sweep(const char *path);

/* A list that the keeper sees too, or NULL with errno.  Never freed. */
struct placeholder *placeholders_new(size_t count);

/* Start the keeper of the paths in `list`, which do not exist yet, and wait until no signal to our group reaches it.  It
 * sweeps when the descriptor returned is closed, by the death of its owner too, and the process named to it by
 * keeper_watch() is gone; and for those that were `made` here it waits until nobody else holds them.  -1 with errno. */
int keeper_start(struct placeholder *list, size_t count);

/* Name the process, and give the keeper a part in the locks; wait until it has both. */
bool keeper_watch(int keeper, pid_t pid, const struct placeholder *list, size_t count);

#endif
