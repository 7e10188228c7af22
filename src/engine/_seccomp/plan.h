/* What a sandbox is to allow, and what of it this kernel cannot enforce. */
#ifndef EXECNODE_PLAN_H
#define EXECNODE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/_seccomp/filter.h"

enum access { ACCESS_DENY, ACCESS_READ, ACCESS_WRITE };

/* The rule with the longest path that contains a file decides about it; what no rule contains is invisible. */
struct rule {
    const char *path; /* absolute, without symbolic links, `.`, `..` or a slash at its end; "/" is the root */
    enum access access;
};

/* What a kernel may be unable to protect; plan.c has the names and what would help. */
enum protection {
    PROTECT_MOUNTS,    /* namespaces, for read-only and hidden paths below visible ones and for names to keep missing */
    PROTECT_PROC,      /* a /proc of its own */
    PROTECT_NETWORK,   /* a network namespace */
    PROTECT_LANDLOCK,  /* Landlock at all */
    PROTECT_TRUNCATE,  /* Landlock ABI 3 */
    PROTECT_PORTS,     /* ABI 4 */
    PROTECT_IOCTL,     /* ABI 5 */
    PROTECT_SIGNALS,   /* ABI 6 */
    PROTECTIONS
};

struct plan {
    struct rule *rules;
    size_t rule_count;
    const char **missing; /* these do not exist and must not come into being */
    size_t missing_count;
    enum filter_network network;
    uint16_t *connect_ports, *bind_ports; /* with FILTER_TCP */
    size_t connect_count, bind_count;
};

extern const char *const plan_minimal[]; /* what programs need of the system, to be read; NULL-terminated */
extern const char *const plan_devices[]; /* the small /dev: names of nodes, NULL-terminated */

/* Whether `path` is `folder` or in it. */
bool path_is_in(const char *path, const char *folder);

/* The rule that decides about `path`, or NULL; with `above`, about the folder that holds it. */
const struct rule *plan_decides(const struct plan *plan, const char *path, bool above);

/* Bring the rules into the order that the functions below want: by path, a folder before what is in it.  Of several
 * for one path one stays: deny beats write beats read. */
void plan_sort(struct plan *plan);

/* Whether Landlock and the filter can say all of a sorted plan, so that no namespace is needed: nothing in it is
 * writable, and nothing hidden lies in what is visible. */
bool plan_is_flat(const struct plan *plan);

/* A protection's name, as --accept-missing takes it, and what a person can do about it. */
const char *protection_name(enum protection protection);
const char *protection_remedy(enum protection protection);

#endif
