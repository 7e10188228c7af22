/* Give up, for this process and all that it will start, every privilege and what a ruleset and a filter forbid. */
#ifndef EXECNODE_CONFINE_H
#define EXECNODE_CONFINE_H

#include <linux/filter.h>
#include <stdbool.h>

struct confinement {
    int ruleset;               /* of Landlock, or -1 */
    struct sock_fprog program; /* of seccomp */
    bool bounds;               /* empty the bounding set too: forty calls that no_new_privs has made needless */
};

/* NULL, or the name of the system call that failed, with errno.  Async-signal-safe, and fit for a child that shares its
 * parent's memory: it calls the kernel and nothing else. */
const char *confine(const struct confinement *confinement);

#endif
