/* execnode-probe: tries what the node builds on, each in a child of its own, and prints one line for each:
 *
 *     NAME=yes DETAIL        or        NAME=no DETAIL
 *
 * A version number promises little: a container, a security module or a boot option may refuse what the kernel has.
 * So every probe does the thing, and where the thing is a prohibition it attempts what is forbidden.
 */
#define _GNU_SOURCE
#include "engine/_seccomp/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static const char USAGE[] = "usage: execnode-probe [--cgroup DIR] | --inside FOLDER PID NAME\n"
                            "Try what execnode needs of the kernel; with --cgroup also start and kill a process in DIR.\n"
                            "With --inside try what a sandbox must refuse, on things that are outside it.\n";

enum {
    DETAIL = 200,
    TIMEOUT_MS = 5000,
    /* linux/sched.h and linux/landlock.h of older systems lack these. */
    INTO_CGROUP_BIT = 33,
    SYS_LANDLOCK_CREATE_RULESET = 444,
    SYS_LANDLOCK_RESTRICT_SELF = 446,
    LANDLOCK_VERSION_FLAG = 1,
    LANDLOCK_READ_FILE = 1 << 2,
};

/* The head of the kernel's struct clone_args; its size says which version is meant. */
struct clone3_args {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

/* What a child reports through a pipe; at most PIPE_BUF bytes, so that it arrives whole. */
struct finding {
    bool ok;
    char detail[DETAIL];
};

typedef struct finding (*probe)(void);

/* ---- findings ------------------------------------------------------------------------------------------------ */

__attribute__((format(printf, 2, 3))) static struct finding finding(bool ok, const char *format, ...)
{
    struct finding found = {.ok = ok};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(found.detail, sizeof found.detail, format, arguments);
    va_end(arguments);
    return found;
}

/* What failed, and why: errno in words. */
static struct finding failed(const char *what)
{
    return finding(false, "%s: %s", what, strerror(errno));
}

static void report(const char *name, struct finding found)
{
    char line[DETAIL + 64];
    int length = snprintf(line, sizeof line, "%s=%s %s\n", name, found.ok ? "yes" : "no", found.detail);
    if (write(STDOUT_FILENO, line, (size_t)length) < 0)
        _exit(1);
}

/* Run a probe in a child, whose namespaces, filters and death are its own. */
static struct finding in_child(probe run)
{
    int ends[2];
    struct finding found;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return failed("pipe");
    pid_t pid = fork();
    if (pid < 0)
        return failed("fork");
    if (pid == 0) {
        close(ends[0]);
        found = run();
        _exit(write(ends[1], &found, sizeof found) < 0);
    }
    close(ends[1]);
    struct pollfd wait = {.fd = ends[0], .events = POLLIN};
    if (poll(&wait, 1, TIMEOUT_MS) != 1) {
        kill(pid, SIGKILL);
        found = finding(false, "no answer in %d s", TIMEOUT_MS / 1000);
    } else if (read(ends[0], &found, sizeof found) != sizeof found) {
        found = finding(false, "the probe died");
    }
    close(ends[0]);
    waitpid(pid, NULL, 0);
    return found;
}

/* ---- processes ----------------------------------------------------------------------------------------------- */

/* fork(2) through clone3 with a pidfd; 0 in the child, -1 with errno. */
static pid_t clone_with_pidfd(int *pidfd, int cgroup)
{
    struct clone3_args args = {
        .flags = CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)pidfd, .exit_signal = SIGCHLD, .cgroup = 0};
    if (cgroup >= 0) {
        args.flags |= 1ULL << INTO_CGROUP_BIT;
        args.cgroup = (uint64_t)cgroup;
    }
    /* Without a cgroup the first version's 64 bytes do, which any clone3 knows. */
    return (pid_t)syscall(SYS_clone3, &args, cgroup >= 0 ? sizeof args : 64);
}

__attribute__((noreturn)) static void wait_for_the_end(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;)
        pause();
}

static bool exits_within(int pidfd, int timeout_ms, siginfo_t *info)
{
    struct pollfd wait = {.fd = pidfd, .events = POLLIN};
    return poll(&wait, 1, timeout_ms) == 1 && waitid(P_PIDFD, (id_t)pidfd, info, WEXITED) == 0;
}

static struct finding probe_clone3(void)
{
    int pidfd = -1;
    siginfo_t info = {0};
    pid_t pid = clone_with_pidfd(&pidfd, -1);
    if (pid < 0)
        return failed("clone3");
    if (pid == 0)
        wait_for_the_end();
    if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0) {
        struct finding found = failed("pidfd_send_signal");
        kill(pid, SIGKILL);
        return found;
    }
    if (!exits_within(pidfd, TIMEOUT_MS, &info) || info.si_status != SIGKILL)
        return finding(false, "the end of the child was not reported by its pidfd");
    close(pidfd);
    if (syscall(SYS_close_range, 1000000, ~0U, 0) < 0)
        return finding(true, "clone3 with a pidfd; close_range: %s", strerror(errno));
    return finding(true, "clone3 with a pidfd, close_range");
}

static struct finding probe_cgroup(const char *path)
{
    int pidfd = -1;
    siginfo_t info = {0};
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0)
        return failed(path);
    pid_t pid = clone_with_pidfd(&pidfd, folder);
    if (pid < 0)
        return failed("clone3 with CLONE_INTO_CGROUP");
    if (pid == 0)
        wait_for_the_end();
    int file = openat(folder, "cgroup.kill", O_WRONLY | O_CLOEXEC);
    bool killed = file >= 0 && write(file, "1", 1) == 1;
    struct finding found = killed ? finding(true, "a process started in a cgroup died by its cgroup.kill")
                                  : failed("cgroup.kill");
    if (!killed)
        kill(pid, SIGKILL);
    if (!exits_within(pidfd, TIMEOUT_MS, &info) || info.si_status != SIGKILL)
        found = finding(false, "a process outlived its cgroup.kill");
    close(file);
    close(pidfd);
    close(folder);
    return found;
}

static struct finding probe_lineage(void)
{
    const rlim_t mark = (rlim_t)1 << 52; /* 142 years */
    struct rlimit limit = {mark, mark};
    uint64_t soft, hard;
    if (setrlimit(RLIMIT_RTTIME, &limit) < 0)
        return failed("setrlimit RLIMIT_RTTIME");
    pid_t pid = fork();
    if (pid < 0)
        return failed("fork");
    if (pid == 0)
        wait_for_the_end();
    struct finding found = finding(true, "a mark in RLIMIT_RTTIME is inherited and can be read in /proc");
    if (!read_marks(pid, &soft, &hard))
        found = failed("/proc/PID/limits");
    else if (soft != mark || hard != mark)
        found = finding(false, "the child does not have its parent's RLIMIT_RTTIME");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return found;
}

/* An orphan must come to this process. */
static struct finding probe_subreaper(void)
{
    int ends[2];
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return failed("PR_SET_CHILD_SUBREAPER");
    if (pipe2(ends, O_CLOEXEC) < 0)
        return failed("pipe");
    pid_t middle = fork();
    if (middle < 0)
        return failed("fork");
    if (middle == 0) {
        pid_t orphan = fork();
        if (orphan == 0) {
            char byte;
            close(ends[1]);
            _exit(read(ends[0], &byte, 1) != 0);
        }
        _exit(orphan < 0);
    }
    waitpid(middle, NULL, 0);
    close(ends[1]); /* the orphan ends now, and not before */
    if (waitpid(-1, NULL, 0) < 0)
        return finding(false, "an orphan went to another process");
    return finding(true, "orphans come to the node");
}

/* ---- prohibitions -------------------------------------------------------------------------------------------- */

static struct finding probe_landlock(void)
{
    long abi = syscall(SYS_LANDLOCK_CREATE_RULESET, NULL, 0, LANDLOCK_VERSION_FLAG);
    if (abi < 0)
        return errno == EOPNOTSUPP ? finding(false, "switched off at boot (add landlock to lsm=)")
                                   : failed("landlock_create_ruleset");
    static const char file[] = "/proc/self/exe";
    int before = open(file, O_RDONLY | O_CLOEXEC);
    if (before < 0)
        return failed(file);
    close(before);
    uint64_t handled = LANDLOCK_READ_FILE;
    int ruleset = (int)syscall(SYS_LANDLOCK_CREATE_RULESET, &handled, sizeof handled, 0);
    if (ruleset < 0)
        return failed("landlock_create_ruleset");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return failed("PR_SET_NO_NEW_PRIVS");
    if (syscall(SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0) < 0)
        return failed("landlock_restrict_self");
    if (open(file, O_RDONLY | O_CLOEXEC) >= 0)
        return finding(false, "ABI %ld, but a forbidden read was let through", abi);
    return finding(errno == EACCES, "ABI %ld, a forbidden read is refused", abi);
}

static struct finding probe_seccomp(void)
{
    struct sock_filter refuse_uname[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_uname, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EDOM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof refuse_uname / sizeof *refuse_uname, refuse_uname};
    struct utsname name;
    uint32_t notify = SECCOMP_RET_USER_NOTIF;
    bool notifies = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &notify) == 0;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return failed("PR_SET_NO_NEW_PRIVS");
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        return failed("seccomp");
    if (uname(&name) == 0 || errno != EDOM)
        return finding(false, "a filter was installed, but a forbidden call was let through");
    return finding(true, "a forbidden call is refused; user notification %s", notifies ? "too" : "is missing");
}

/* ---- namespaces ---------------------------------------------------------------------------------------------- */

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool written = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    close(fd);
    return written;
}

/* Enter a user namespace as its root, with `more` namespaces.  What failed, or NULL. */
static const char *enter_user_namespace(int more)
{
    char map[64];
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (unshare(CLONE_NEWUSER) < 0)
        return "unshare CLONE_NEWUSER";
    if (!write_file("/proc/self/setgroups", "deny"))
        return "/proc/self/setgroups";
    snprintf(map, sizeof map, "0 %u 1", uid);
    if (!write_file("/proc/self/uid_map", map))
        return "/proc/self/uid_map";
    snprintf(map, sizeof map, "0 %u 1", gid);
    if (!write_file("/proc/self/gid_map", map))
        return "/proc/self/gid_map";
    return unshare(more) < 0 ? "unshare" : NULL;
}

/* AppArmor on Ubuntu lets the namespace be made and then takes its capabilities away: so mount something. */
static struct finding probe_user_namespace(void)
{
    const char *obstacle = enter_user_namespace(CLONE_NEWNS);
    if (obstacle)
        return failed(obstacle);
    if (mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return failed("mount / as slave");
    if (mount("tmpfs", "/proc", "tmpfs", 0, NULL) < 0)
        return failed("mount tmpfs");
    return finding(true, "user and mount namespaces, with a mount of its own");
}

static struct finding probe_network_namespace(void)
{
    const char *obstacle = enter_user_namespace(CLONE_NEWNET);
    if (obstacle)
        return failed(obstacle);
    struct ifreq interface = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &interface) < 0)
        return failed("bring up lo");
    return finding(true, "an empty network with a loopback of its own");
}

/* A container often masks parts of /proc, and then a private one may not be mounted. */
static struct finding probe_pid_namespace(void)
{
    const char *obstacle = enter_user_namespace(CLONE_NEWPID | CLONE_NEWNS);
    if (obstacle)
        return failed(obstacle);
    pid_t pid = fork();
    if (pid < 0)
        return failed("fork");
    if (pid == 0) {
        if (mount("none", "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 || mount("proc", "/proc", "proc", 0, NULL) < 0)
            _exit(errno);
        _exit(getpid() == 1 ? 0 : EDOM);
    }
    int status;
    if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
        return finding(false, "its first process died");
    errno = WEXITSTATUS(status);
    return errno ? failed("mount a private /proc") : finding(true, "processes and /proc of its own");
}

/* ---- the applet ---------------------------------------------------------------------------------------------- */

int probe_main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "--inside") == 0) {
        trials_run(argv[2], (pid_t)atoi(argv[3]), argv[4]);
        return 0;
    }
    if (argc != 1 && (argc != 3 || strcmp(argv[1], "--cgroup") != 0))
        return usage(USAGE);
    static const struct {
        const char *name;
        probe run;
    } probes[] = {
        {"clone3", probe_clone3},
        {"lineage", probe_lineage},
        {"subreaper", probe_subreaper},
        {"landlock", probe_landlock},
        {"seccomp", probe_seccomp},
        {"user-namespace", probe_user_namespace},
        {"network-namespace", probe_network_namespace},
        {"pid-namespace", probe_pid_namespace},
    };
    if (argc == 3)
        report("cgroup", probe_cgroup(argv[2]));
    for (size_t i = 0; i < sizeof probes / sizeof *probes; i++)
        report(probes[i].name, in_child(probes[i].run));
    return 0;
}
