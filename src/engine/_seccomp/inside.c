#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/_seccomp/confine.h"
#include "engine/_seccomp/landlock.h"
#include "engine/_seccomp/launch.h"
#include "engine/_seccomp/mounts.h"
#include "engine/_seccomp/streams.h"

static void tell(int link, struct note note)
{
    while (send(link, &note, sizeof note, MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

__attribute__((noreturn)) static void fail_in(int kind, int link, const char *what)
{
    struct note note = {.kind = kind, .value = errno};
    snprintf(note.what, sizeof note.what, "%s", what);
    tell(link, note);
    _exit(1);
}

__attribute__((noreturn)) static void fail(int link, const char *what)
{
    fail_in(NOTE_FAILED, link, what);
}

/* ---- preparing --------------------------------------------------------------------------------------------------- */

static bool write_line(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return written;
}

/* Stay who we are: one user and one group, mapped to themselves.  `uid` and `gid` are from before the namespace. */
static const char *map_user(uid_t uid, gid_t gid)
{
    char map[48];
    if (!write_line("/proc/self/setgroups", "deny"))
        return "/proc/self/setgroups";
    snprintf(map, sizeof map, "%u %u 1", uid, uid);
    if (!write_line("/proc/self/uid_map", map))
        return "/proc/self/uid_map";
    snprintf(map, sizeof map, "%u %u 1", gid, gid);
    return write_line("/proc/self/gid_map", map) ? NULL : "/proc/self/gid_map";
}

/* The second wall, and those things that mounts say nothing about. */
static void give_up_rights(const struct inside *inside)
{
    const struct plan *plan = inside->launch->plan;
    struct filter filter = {.arch = filter_native(), .network = plan->network, .listens = plan->bind_count > 0,
                            .private_ipc = true, .private_pids = true,
                            .private_network = inside->launch->own_network};
    struct sock_filter program[FILTER_MAX];
    struct confinement confinement = {.ruleset = -1, .bounds = true};
    int abi = landlock_abi();
    if (abi > 0 && (confinement.ruleset = landlock_ruleset(plan, abi, true)) < 0)
        fail(inside->link, "landlock");
    confinement.program = (struct sock_fprog){(unsigned short)filter_build(&filter, program), program};
    const char *failed = confine(&confinement);
    if (failed)
        fail(inside->link, failed);
    close(confinement.ruleset);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static void wait_for_go(int link)
{
    unsigned char order = 0;
    while (recv(link, &order, 1, 0) < 0 && errno == EINTR)
        ;
    if (order != ORDER_GO)
        _exit(1); /* the launcher is gone */
}

/* ---- the program ------------------------------------------------------------------------------------------------- */

/* As execvp(3), but no shell is tried for what is not executable. */
void exec_program(const char *program, char *const *argv)
{
    char path[4096];
    const char *folders = getenv("PATH");
    int error = ENOENT;
    if (strchr(program, '/') || !*program) {
        execve(program, argv, environ);
        return;
    }
    for (const char *from = folders ? folders : "/usr/local/bin:/usr/bin:/bin"; from;) {
        int length = (int)strcspn(from, ":");
        if (snprintf(path, sizeof path, "%.*s%s%s", length, from, length ? "/" : "", program) < (int)sizeof path)
            execve(path, argv, environ);
        if (errno == EACCES)
            error = EACCES;
        else if (errno != ENOENT && errno != ENOTDIR)
            return;
        from = from[length] ? from + length + 1 : NULL;
    }
    errno = error;
}

/* In the child of a vfork(2): shares init's memory until the exec.  A task has memory of its own. */
__attribute__((noreturn)) static void become_program(const struct inside *inside, volatile int *error)
{
    setpgid(0, 0);
    if (inside->terminal >= 0)
        tcsetpgrp(inside->terminal, getpid()); /* SIGTTOU is blocked */
    passed_keep(inside->launch->passed);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (inside->launch->task)
        _exit(inside->launch->task->run(inside->launch->task->context));
    exec_program(inside->launch->program, inside->launch->argv);
    *error = errno;
    _exit(127);
}

static pid_t start_program(const struct inside *inside)
{
    volatile int error = 0;
    pid_t pid = inside->launch->task ? fork() : vfork();
    if (pid == 0)
        become_program(inside, &error);
    if (pid < 0)
        fail(inside->link, "fork");
    if (error) {
        errno = error;
        fail(inside->link, "execve");
    }
    return pid;
}

/* ---- pid 1 ------------------------------------------------------------------------------------------------------- */

/* The launcher need not wait until the kernel has taken the namespaces apart: this is the last process in them. */
static void end_the_rest(void)
{
    if (kill(-1, SIGKILL) < 0 && errno == ESRCH)
        return;
    while (wait(NULL) > 0 || errno == EINTR)
        ;
}

static void reap(const struct inside *inside, pid_t program)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
        if (pid != program)
            continue;
        if (WIFSTOPPED(status)) {
            tell(inside->link, (struct note){NOTE_STOPPED, WSTOPSIG(status), ""});
        } else {
            end_the_rest();
            tell(inside->link, (struct note){NOTE_ENDED, status, ""});
            _exit(0);
        }
    }
}

static void obey(const struct inside *inside, pid_t program)
{
    unsigned char order;
    ssize_t length = recv(inside->link, &order, 1, 0);
    if (length == 0)
        _exit(1);
    if (length < 0)
        return;
    if (order == ORDER_FOREGROUND)
        tcsetpgrp(inside->terminal, program);
    else
        kill(-program, order);
}

__attribute__((noreturn)) static void be_init(const struct inside *inside, pid_t program)
{
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    int signals = signalfd(-1, &children, SFD_CLOEXEC);
    struct pollfd wait[] = {{.fd = inside->link, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    struct signalfd_siginfo info;
    for (;;) {
        reap(inside, program);
        if (poll(wait, 2, -1) < 0)
            continue;
        if (wait[0].revents)
            obey(inside, program);
        if (wait[1].revents && read(signals, &info, sizeof info) < 0)
            continue;
    }
}

void inside_main(const struct inside *inside)
{
    const struct launch *launch = inside->launch;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (poll(&(struct pollfd){.fd = inside->link}, 1, 0) == 1) /* hung up: it died before that */
        _exit(1);
    int held[3] = {-1, -1, -1};
    const char *failed = launch->own_user ? map_user(launch->uid, launch->gid) : NULL;
    if (!failed && launch->own_network && unshare(CLONE_NEWNET) < 0)
        failed = "unshare";
    if (!failed) {
        wait_for_go(inside->link);
        streams_hold(held);
        failed = mounts_build(launch->spots, launch->own_proc);
    }
    if (failed)
        fail_in(NOTE_UNBUILT, inside->link, failed);
    streams_reopen(held);
    if (chdir(launch->cwd) < 0 && chdir("/") < 0)
        fail(inside->link, "chdir");
    give_up_rights(inside);
    pid_t program = start_program(inside);
    tell(inside->link, (struct note){NOTE_RUNNING, program, ""});
    passed_close(launch->passed);
    if (launch->status_fd >= 0)
        close(launch->status_fd);
    be_init(inside, program);
}
