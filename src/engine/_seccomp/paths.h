/* From the paths that a person writes to those that a plan has. */
#ifndef EXECNODE_PATHS_H
#define EXECNODE_PATHS_H

#include "engine/_seccomp/plan.h"

struct path_list {
    struct written {
        const char *path;
        enum access access;
        bool literal; /* no link is on the way to it; if it is one, that link is meant */
    } *list;
    size_t count;
};

/* False when out of memory. */
bool path_list_add(struct path_list *paths, struct written written);

/* Look all of them up and fill in, and sort, the plan's rules and its missing names.
 *
 * A link is followed; one that leads to what is not to be changed or seen is kept from being changed itself.  What does
 * not exist and was to be changed grants nothing; what was only to be read, or hidden, must not come into being where
 * that would be possible.  NULL, or what is wrong, as a sentence. */
const char *path_list_resolve(const struct path_list *paths, struct plan *plan);

#endif
