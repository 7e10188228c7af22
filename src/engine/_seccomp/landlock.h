/* Landlock rulesets from plans; see landlock(7) and Documentation/userspace-api/landlock.rst. */
#ifndef EXECNODE_LANDLOCK_H
#define EXECNODE_LANDLOCK_H

#include <stdint.h>

#include "engine/_seccomp/plan.h"

/* The kernel's ABI version, 0 when there is no Landlock, at most LANDLOCK_KNOWN. */
enum { LANDLOCK_KNOWN = 7 };
int landlock_abi(void);

/* What of a sorted plan an ABI cannot enforce: a set of 1 << enum protection.  `namespaced`: mounts already enforce the
 * paths, and Landlock is the second wall. */
uint32_t landlock_lacks(const struct plan *plan, int abi, bool namespaced);

/* A ruleset's descriptor, or -1 with errno.  For a plan that is not `namespaced` it must be flat (plan_is_flat). */
int landlock_ruleset(const struct plan *plan, int abi, bool namespaced);

#endif
