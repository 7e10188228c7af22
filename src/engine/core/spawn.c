#define _GNU_SOURCE
#include "engine/core/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/_seccomp/confine.h"
#include "engine/core/pty.h"

#define STACK_SIZE 65536

const char *spawn_stage_name(enum spawn_stage stage)
{
    static const char *const names[SPAWN_STAGES] = {
        [SPAWN_OK] = "ok",           [SPAWN_PIPE] = "pipe",         [SPAWN_PTY] = "pty",
        [SPAWN_CLONE] = "clone",     [SPAWN_SESSION] = "setsid",    [SPAWN_TERMINAL] = "terminal",
        [SPAWN_STDIO] = "stdio",       [SPAWN_INHERIT] = "inherit",   [SPAWN_CHDIR] = "chdir",
        [SPAWN_RLIMIT] = "setrlimit", [SPAWN_SANDBOX] = "sandbox",   [SPAWN_EXEC] = "execve",
    };
    return names[stage];
}

int spawner_init(struct spawner *spawner)
{
    spawner->null_fd = above_stdio(open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (spawner->null_fd < 0)
        return -errno;
    spawner->stack =
        mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (spawner->stack != MAP_FAILED)
        return 0;
    int error = errno;
    close(spawner->null_fd);
    return -error;
}

void spawner_destroy(struct spawner *spawner)
{
    munmap(spawner->stack, STACK_SIZE);
    close(spawner->null_fd);
}

/* ---- the child: shared memory, no allocation, no locks ---------------------------------------------------------- */

/* AddressSanitizer marks the frames of functions that it instruments.  Here they are never left, so that the next
 * child, on the same stack, would find the marks. */
#define ON_CHILD_STACK __attribute__((no_sanitize("address")))

struct child {
    const struct spawn_plan *plan;
    int stdio[3];
    pid_t parent;
    enum spawn_stage stage; /* the failure it reports */
    int error;
};

ON_CHILD_STACK __attribute__((noreturn)) static void child_fail(struct child *child, enum spawn_stage stage)
{
    child->stage = stage;
    child->error = errno;
    _exit(127);
}

/* Every signal to its default action, none blocked: what the node ignores or catches is its own affair.  Not by
 * sigaction(3), which keeps its hands off signals 32 and 33: posix_spawn(3) leaves those ignored in its children. */
ON_CHILD_STACK static void child_signals(void)
{
    static const unsigned long fresh[8]; /* the kernel's struct sigaction: SIG_DFL, no flags, an empty mask */
    for (int number = 1; number < _NSIG; number++)
        syscall(SYS_rt_sigaction, number, fresh, NULL, _NSIG / 8); /* fails for SIGKILL and SIGSTOP, rightly */
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, NULL);
}

/* A copy of a descriptor above all numbers that the program finds taken. */
ON_CHILD_STACK static int child_lift(struct child *child, int fd)
{
    int lifted = fcntl(fd, F_DUPFD_CLOEXEC, 3 + (int)child->plan->inherit_count);
    if (lifted < 0)
        child_fail(child, SPAWN_INHERIT);
    return lifted;
}

/* 0 to 2, and what is inherited from 3 on.  A number to be filled may be that of another to be kept, the ruleset's too:
 * all of those are lifted out of the way first. */
ON_CHILD_STACK static void child_files(struct child *child, struct confinement *confinement)
{
    const struct spawn_plan *plan = child->plan;
    int lifted[SPAWN_INHERIT_MAX];
    for (size_t i = 0; i < plan->inherit_count; i++)
        lifted[i] = child_lift(child, plan->inherit[i]);
    if (plan->inherit_count && confinement->ruleset >= 0)
        confinement->ruleset = child_lift(child, confinement->ruleset);
    for (int fd = 0; fd < 3; fd++)
        if (dup2(child->stdio[fd], fd) < 0)
            child_fail(child, SPAWN_STDIO);
    for (size_t i = 0; i < plan->inherit_count; i++)
        if (dup2(lifted[i], 3 + (int)i) < 0) /* without close-on-exec */
            child_fail(child, SPAWN_INHERIT);
}

ON_CHILD_STACK static void child_close_files(const struct spawn_plan *plan)
{
    unsigned first = 3 + (unsigned)plan->inherit_count;
    if (syscall(SYS_close_range, first, ~0U, 0) == 0)
        return;
    long limit = sysconf(_SC_OPEN_MAX); /* a kernel before 5.9 */
    for (int fd = (int)first; fd < limit; fd++)
        close(fd);
}

/* execvp(3)'s rule: a program that may not be run is remembered, but a later folder may hold one that may. */
ON_CHILD_STACK static void child_exec(const struct spawn_plan *plan)
{
    int error = ENOENT;
    for (const char *const *path = plan->paths; *path; path++) {
        execve(*path, plan->argv, plan->envp);
        if (errno == EACCES)
            error = EACCES;
        else if (errno != ENOENT && errno != ENOTDIR && errno != ESTALE && errno != ENODEV && errno != ETIMEDOUT)
            return;
        else if (error != EACCES)
            error = errno;
    }
    errno = error;
}

ON_CHILD_STACK static int child_main(void *arg)
{
    struct child *child = arg;
    const struct spawn_plan *plan = child->plan;
    /* Die with the node, also when it is killed; it may have died before the request was made. */
    if (!plan->outlive)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!plan->outlive && getppid() != child->parent)
        _exit(127);
    if (setsid() < 0)
        child_fail(child, SPAWN_SESSION);
    struct confinement confinement = {.ruleset = -1};
    if (plan->confinement)
        confinement = *plan->confinement; /* the plan's own is shared with the parent */
    child_files(child, &confinement);
    if (plan->tty && ioctl(0, TIOCSCTTY, 0) < 0)
        child_fail(child, SPAWN_TERMINAL);
    if (!plan->confinement)
        child_close_files(plan);
    if (chdir(plan->cwd) < 0)
        child_fail(child, SPAWN_CHDIR);
    for (size_t i = 0; i < plan->rlimit_count; i++)
        if (setrlimit(plan->rlimits[i].resource, &plan->rlimits[i].limit) < 0)
            child_fail(child, SPAWN_RLIMIT);
    if (plan->confinement) { /* last: it takes the right to raise a limit, and needs its ruleset */
        if (confine(&confinement))
            child_fail(child, SPAWN_SANDBOX);
        child_close_files(plan);
    }
    child_signals();
    child_exec(plan);
    child_fail(child, SPAWN_EXEC);
}

/* clone3(2) with the child going straight to child_main on its own stack; glibc has no wrapper for it.  The parent is
 * suspended until the child execs or exits.  Returns the pid or -errno. */
static long clone3_vfork(struct clone_args *args, struct child *child)
{
    long result;
#if defined(__x86_64__)
    register long (*entry)(void *) __asm__("r8") = (long (*)(void *))(uintptr_t)child_main;
    register void *arg __asm__("r9") = child;
    __asm__ volatile("syscall\n\t"
                     "testq %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xorl %%ebp, %%ebp\n\t"
                     "movq %%r9, %%rdi\n\t"
                     "call *%%r8\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(result)
                     : "a"((long)SYS_clone3), "D"(args), "S"(sizeof *args), "r"(entry), "r"(arg)
                     : "rcx", "r11", "memory", "cc");
#elif defined(__aarch64__)
    register long x0 __asm__("x0") = (long)args;
    register long x1 __asm__("x1") = sizeof *args;
    register long x8 __asm__("x8") = SYS_clone3;
    register void *entry __asm__("x9") = (void *)(uintptr_t)child_main;
    register void *arg __asm__("x10") = child;
    __asm__ volatile("svc #0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "mov x0, x10\n\t"
                     "blr x9\n\t"
                     "brk #0\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x1), "r"(x8), "r"(entry), "r"(arg)
                     : "memory", "cc");
    result = x0;
#else
    (void)args;
    (void)child;
    result = -ENOSYS;
#endif
    return result;
}

/* Returns the pid, or -errno. */
static pid_t start_child(struct spawner *spawner, struct child *child, int *pidfd)
{
    int fd = -1;
    struct clone_args args = {
        .flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)&fd,
        .exit_signal = SIGCHLD,
        .stack = (uint64_t)(uintptr_t)spawner->stack,
        .stack_size = STACK_SIZE,
    };
    if (child->plan->cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)child->plan->cgroup_fd;
    }
    /* No handler of the node may run in the child while the memory is shared. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    long pid = clone3_vfork(&args, child);
    if (pid == -ENOSYS && child->plan->cgroup_fd < 0) { /* hidden by a seccomp filter, as in older containers */
        pid = clone(child_main, (char *)spawner->stack + STACK_SIZE,
                    CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, child, &fd);
        if (pid < 0)
            pid = -errno;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    *pidfd = fd;
    return (pid_t)pid;
}

/* ---- the parent's ends ------------------------------------------------------------------------------------------ */

static void close_all(int fds[], int count)
{
    for (int i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* A pipe whose end `ours` (0 or 1) does not block and whose ends are clear of the child's descriptors 0 to 2. */
static int open_pipe(int ends[2], int ours)
{
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    for (int i = 0; i < 2; i++) {
        ends[i] = above_stdio(ends[i]);
        if (ends[i] < 0)
            return -1;
    }
    return fcntl(ends[ours], F_SETFL, O_NONBLOCK);
}

int spawn(struct spawner *spawner, const struct spawn_plan *plan, struct spawned *spawned, enum spawn_stage *stage)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1}; /* [0] is read from, [1] written to */
    struct child child = {.plan = plan, .parent = getpid()};
    *stage = plan->tty ? SPAWN_PTY : SPAWN_PIPE;
    if (plan->tty) {
        if (pty_open(plan->rows, plan->cols, &out[0], &out[1]) < 0)
            goto failed;
        in[1] = fcntl(out[0], F_DUPFD_CLOEXEC, 3);
        if (in[1] < 0)
            goto failed;
        child.stdio[0] = child.stdio[1] = child.stdio[2] = out[1];
    } else {
        if ((plan->stdin_pipe && open_pipe(in, 1) < 0) || open_pipe(out, 0) < 0 || open_pipe(err, 0) < 0)
            goto failed;
        child.stdio[0] = plan->stdin_pipe ? in[0] : spawner->null_fd;
        child.stdio[1] = out[1];
        child.stdio[2] = err[1];
    }
    *stage = SPAWN_CLONE;
    int pidfd;
    pid_t pid = start_child(spawner, &child, &pidfd);
    if (pid < 0) {
        errno = -pid;
        goto failed;
    }
    if (child.stage != SPAWN_OK) {
        while (waitid(P_PIDFD, (id_t)pidfd, &(siginfo_t){0}, WEXITED) < 0 && errno == EINTR)
            ; /* it is dying, but may not be dead yet */
        close(pidfd);
        *stage = child.stage;
        errno = child.error;
        goto failed;
    }
    close_all((int[]){in[0], out[1], err[1]}, 3);
    *spawned = (struct spawned){pid, pidfd, in[1], out[0], err[0]};
    *stage = SPAWN_OK;
    return 0;

failed:;
    int error = errno;
    close_all((int[]){in[0], in[1], out[0], out[1], err[0], err[1]}, 6);
    return error;
}
