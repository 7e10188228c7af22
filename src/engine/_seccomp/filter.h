/* The system call filter: a pure function from a small description to BPF instructions (seccomp(2)).
 *
 * Nothing here makes a system call, and both architectures can be built on either, so that tests can run the
 * instructions in an interpreter of their own.  filter_table.h lists what is refused.
 */
#ifndef EXECNODE_FILTER_H
#define EXECNODE_FILTER_H

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>

enum filter_arch { FILTER_X86_64, FILTER_ARM64 };

enum filter_network {
    FILTER_FULL, /* sockets of any family */
    FILTER_TCP,  /* TCP sockets; Landlock decides on the ports */
    FILTER_NONE, /* stream sockets of the Unix family, and none of them connects by a name */
};

struct filter {
    enum filter_arch arch;
    enum filter_network network;
    bool listens;         /* with FILTER_TCP: listen(2) is allowed */
    bool private_ipc;     /* an IPC namespace of its own; else System V IPC and message queues are refused */
    bool private_pids;    /* a PID namespace of its own; else limits and priorities of others are out of reach */
    bool private_network; /* a network namespace of its own; else with FILTER_NONE no socket gets a name */
    bool read_only;       /* nothing at all may be changed: modes, owners, times and attributes neither */
};

enum { FILTER_MAX = 512 };

/* Write the program; returns how many instructions it has, at most FILTER_MAX.
 *
 * A foreign system call ABI (int 0x80, x32, AArch32) kills the process.  A refused call fails with EPERM, or with
 * ENOSYS where programs then fall back to an older one; a call younger than the table fails with ENOSYS. */
size_t filter_build(const struct filter *filter, struct sock_filter program[FILTER_MAX]);

/* The architecture this is compiled for. */
enum filter_arch filter_native(void);

#endif
