/* From a plan to the mounts that enforce it: pure, and shared by nobody but mounts.c and the tests. */
#ifndef EXECNODE_SPOTS_H
#define EXECNODE_SPOTS_H

#include "engine/_seccomp/plan.h"

enum spot_kind {
    SPOT_HOLLOW, /* an empty folder or file in the place of what is not to be seen */
    SPOT_READ,   /* what is there, read-only */
    SPOT_WRITE,  /* what is there, writable */
};

/* One mount. */
struct spot {
    char *path;
    enum spot_kind kind;
    int around; /* the index of the spot whose mount this one lies in, -1 for the root's */
};

struct spots {
    struct spot *list; /* a folder before what is in it */
    size_t count;
    enum spot_kind root; /* what the root itself is: SPOT_HOLLOW when no rule covers it */
};

/* The mounts for a sorted plan, or false with errno.
 *
 * Besides the paths where access changes, every folder between a writable mount and a mount in it gets one of its own:
 * a mount point cannot be renamed, and else the way to a protected path could be moved aside and replaced. */
bool spots_of(const struct plan *plan, struct spots *spots);
void spots_free(struct spots *spots);

#endif
