#define _GNU_SOURCE
#include "engine/_seccomp/confine.h"

#include <linux/capability.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SYS_RESTRICT_SELF = 446 };

/* AddressSanitizer marks the stack; the engine's child, on a stack of its own, never returns to unmark it. */
#define ON_CHILD_STACK __attribute__((no_sanitize("address")))

/* A program of root's would get its capabilities back by execve(2) but for SECBIT_NOROOT and no_new_privs. */
ON_CHILD_STACK static const char *drop_capabilities(bool bounds)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}, {0}};
    prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
                                 SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED, 0, 0, 0);
    for (unsigned long capability = 0; bounds && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0; capability++)
        ;
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return syscall(SYS_capset, &header, none) < 0 ? "capset" : NULL;
}

ON_CHILD_STACK const char *confine(const struct confinement *confinement)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return "PR_SET_NO_NEW_PRIVS";
    const char *failed = drop_capabilities(confinement->bounds);
    if (failed)
        return failed;
    if (confinement->ruleset >= 0 && syscall(SYS_RESTRICT_SELF, confinement->ruleset, 0) < 0)
        return "landlock_restrict_self";
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &confinement->program) < 0)
        return "seccomp";
    return NULL;
}
