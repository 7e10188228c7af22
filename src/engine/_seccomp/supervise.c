/* execnode-execve-wrapper --supervise -- COMMAND ARG...: has every exec of a process tree asked about by the kernel.
 *
 * A filter stops execve(2) and execveat(2) until the escalation server has answered; the server gets the listener over
 * the inherited socket.  When the server is gone, so is the listener, and an exec fails with ENOSYS: nothing is run.
 * What the kernel asks about lies in the memory of the process that asks, where its other threads can change it after
 * it was judged: the answer keeps honest programs to the rules, and the sandbox keeps the others. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/_seccomp/escalation.h"
#include "engine/_seccomp/helper.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV /* Linux 5.19 */
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
/* int 0x80 and x32: their arguments are laid out differently, so these calls are not asked about but refused. */
enum { FOREIGN_EXECVE = 11, FOREIGN_EXECVEAT = 358, X32_EXECVE = 0x40000000 | 520, X32_EXECVEAT = 0x40000000 | 545 };
#elif defined(__aarch64__)
#define ARCH AUDIT_ARCH_AARCH64
enum { FOREIGN_EXECVE = 11, FOREIGN_EXECVEAT = 387, X32_EXECVE = -1, X32_EXECVEAT = -1 };
#else
#error "the filter knows x86-64 and arm64"
#endif

enum { EXIT_OURS = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

#define JUMP_IF(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)(value), yes, no)
#define RETURN(verdict) BPF_STMT(BPF_RET | BPF_K, verdict)
#define LOAD(member) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))

static struct sock_filter program[] = {
    LOAD(arch),
    JUMP_IF(ARCH, 0, 5),
    LOAD(nr),
    JUMP_IF(SYS_execve, 7, 0),
    JUMP_IF(SYS_execveat, 6, 0),
    JUMP_IF(X32_EXECVE, 4, 0),
    JUMP_IF(X32_EXECVEAT, 3, 5),
    LOAD(nr), /* of the foreign architecture */
    JUMP_IF(FOREIGN_EXECVE, 1, 0),
    JUMP_IF(FOREIGN_EXECVEAT, 0, 2),
    RETURN(SECCOMP_RET_ERRNO | EPERM),
    RETURN(SECCOMP_RET_USER_NOTIF),
    RETURN(SECCOMP_RET_ALLOW),
};

/* Stop all execs from here on; returns the listener, or -1 with errno. */
static int listen_to_execs(void)
{
    struct sock_fprog filter = {.len = sizeof program / sizeof *program, .filter = program};
    unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -1;
    /* An asking process is not to be interrupted by a signal, for it would ask again. */
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &filter);
    if (fd < 0 && errno == EINVAL)
        fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &filter);
    return (int)fd;
}

int supervise_main(int argc, char **argv)
{
    if (argc < 3 || strcmp(argv[1], "--") != 0)
        return usage("usage: execnode-execve-wrapper --supervise -- COMMAND [ARG...]\n"
                     "Run COMMAND and have the escalation server at descriptor $EXECNODE_ESCALATE_FD asked by the kernel\n"
                     "about each program that it or its children execute.\n");
    int listener = listen_to_execs();
    if (listener < 0)
        return escalation_failed(EXIT_OURS, errno == EBUSY ? "this process is supervised already, so nothing is run"
                                                           : "the kernel has no listener, so nothing is run");
    if (!escalation_wish(WISH_SUPERVISE, listener))
        return escalation_failed(EXIT_OURS, "cannot reach the escalation server at $" ESCALATION_VARIABLE ", so nothing is run");
    close(listener);
    execvp(argv[2], argv + 2);
    return escalation_failed(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN, argv[2]);
}
