/* The file system of a sandbox: what of the real one is seen, and how, with a /dev and a /proc of its own. */
#ifndef EXECNODE_MOUNTS_H
#define EXECNODE_MOUNTS_H

#include "engine/_seccomp/spots.h"

/* Build it in this process's mount namespace, which must be new; the process must be the first of a new PID namespace
 * if `private_proc`.  NULL, or what failed, with errno. */
const char *mounts_build(const struct spots *spots, bool private_proc);

#endif
