/* Runs a command on a kernel that gives less than this one:
 *
 *     other_kernel [--landlock ABI] [--refuse WHAT=ERRNO]... -- COMMAND [ARG...]
 *
 * A filter stops the command at every call in question and this program answers in the kernel's place (seccomp_unotify(2)):
 * with another ABI of Landlock, which then knows nothing younger than it; or with an error.  What is not refused, the
 * real kernel does.  WHAT is a system call, `mount-TYPE`, or `namespaces`, `user-namespace`, `network-namespace`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    REFUSALS_MAX = 16,
    CREATE_RULESET = 444,
    ADD_RULE = 445,
    RESTRICT_SELF = 446,
    ANY_NAMESPACE = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |
                    CLONE_NEWNET,
};

/* What a kernel with an ABI of Landlock knows. */
static const struct landlock {
    uint64_t attr_size, files, ports, scopes, rule_types, restrict_flags;
} landlocks[] = {
    {0, 0, 0, 0, 0, 0},
    {8, (1 << 13) - 1, 0, 0, 1, 0},
    {8, (1 << 14) - 1, 0, 0, 1, 0},
    {8, (1 << 15) - 1, 0, 0, 1, 0},
    {16, (1 << 15) - 1, 3, 0, 2, 0},
    {16, (1 << 16) - 1, 3, 0, 2, 0},
    {24, (1 << 16) - 1, 3, 3, 2, 0},
    {24, (1 << 16) - 1, 3, 3, 2, 7},
};

static const struct {
    const char *name;
    int number;
} calls[] = {
    {"clone3", SYS_clone3},
    {"close_range", SYS_close_range},
    {"landlock_create_ruleset", CREATE_RULESET},
    {"mount_setattr", 442},
    {"move_mount", SYS_move_mount},
    {"open_tree", SYS_open_tree},
    {"openat2", SYS_openat2},
    {"pivot_root", SYS_pivot_root},
    {"seccomp", SYS_seccomp},
};

static const struct {
    const char *name;
    uint64_t flags;
} namespaces[] = {
    {"namespaces", ANY_NAMESPACE},
    {"user-namespace", CLONE_NEWUSER},
    {"network-namespace", CLONE_NEWNET},
};

static const struct {
    const char *name;
    int value;
} errors[] = {{"EPERM", EPERM}, {"EACCES", EACCES}, {"ENOSPC", ENOSPC}, {"ENOSYS", ENOSYS}, {"EINVAL", EINVAL}};

struct refusal {
    int number;       /* of a system call, or -1 */
    uint64_t flags;   /* of clone(2), or 0 */
    const char *type; /* of mount(2), or NULL */
    int error;
};

static struct refusal refusals[REFUSALS_MAX];
static size_t refusal_count;
static int abi = -1; /* the real one */

/* ---- options ----------------------------------------------------------------------------------------------------- */

static void add_refusal(const char *what)
{
    const char *error = strchr(what, '=');
    size_t length = error ? (size_t)(error - what) : 0;
    struct refusal refusal = {.number = -1};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (strlen(calls[i].name) == length && strncmp(what, calls[i].name, length) == 0)
            refusal.number = calls[i].number;
    for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces; i++)
        if (strlen(namespaces[i].name) == length && strncmp(what, namespaces[i].name, length) == 0)
            refusal.flags = namespaces[i].flags;
    if (strncmp(what, "mount-", 6) == 0)
        refusal.type = strndup(what + 6, length - 6);
    for (size_t i = 0; error && i < sizeof errors / sizeof *errors; i++)
        if (strcmp(error + 1, errors[i].name) == 0)
            refusal.error = errors[i].value;
    if (!refusal.error || (refusal.number < 0 && !refusal.flags && !refusal.type) || refusal_count == REFUSALS_MAX) {
        fprintf(stderr, "other_kernel: %s?\n", what);
        exit(2);
    }
    refusals[refusal_count++] = refusal;
}

static char **read_options(int argc, char **argv)
{
    int i = 1;
    for (; i + 1 < argc && strcmp(argv[i], "--") != 0; i += 2) {
        if (strcmp(argv[i], "--landlock") == 0)
            abi = atoi(argv[i + 1]);
        else
            add_refusal(argv[i + 1]);
    }
    if (i + 1 >= argc || abi >= (int)(sizeof landlocks / sizeof *landlocks))
        exit(2);
    return argv + i + 1;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

static int install(void)
{
    static const int looked_at[] = {SYS_clone, SYS_unshare, SYS_mount, ADD_RULE, RESTRICT_SELF};
    struct sock_filter program[64];
    unsigned short count = 0;
    program[count++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; i < sizeof looked_at / sizeof *looked_at + sizeof calls / sizeof *calls; i++) {
        size_t other = i - sizeof looked_at / sizeof *looked_at;
        int number = i < sizeof looked_at / sizeof *looked_at ? looked_at[i] : calls[other].number;
        program[count++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1);
        program[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF);
    }
    program[count++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog whole = {count, program};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &whole);
}

static bool pass_fd(int socket, int fd)
{
    char room[CMSG_SPACE(sizeof fd)] = "";
    struct iovec byte = {(char[]){0}, 1};
    struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    return sendmsg(socket, &message, 0) == 1;
}

static int take_fd(int socket)
{
    int fd;
    char room[CMSG_SPACE(sizeof fd)], byte;
    struct iovec one = {&byte, 1};
    struct msghdr message = {.msg_iov = &one, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&message))
        return -1;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

/* *listener is then where the kernel asks. */
static pid_t start(char **command, int *listener)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -1;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        int fd = install();
        if (fd < 0 || !pass_fd(ends[1], fd))
            _exit(126);
        close(fd);
        execvp(command[0], command);
        _exit(127);
    }
    close(ends[1]);
    *listener = take_fd(ends[0]);
    close(ends[0]);
    return pid;
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static bool read_memory(const struct seccomp_notif *asked, uint64_t from, void *to, size_t length)
{
    struct iovec here = {to, length}, there = {(void *)(uintptr_t)from, length};
    return process_vm_readv((pid_t)asked->pid, &here, 1, &there, 1, 0) > 0;
}

/* A kernel of that ABI says EINVAL or E2BIG to what it does not know. */
static int answer_landlock(const struct seccomp_notif *asked, long *value)
{
    const struct landlock *known = &landlocks[abi];
    const uint64_t *args = (const uint64_t *)asked->data.args;
    uint64_t attr[8] = {0};
    if (abi == 0)
        return EOPNOTSUPP;
    if (asked->data.nr == ADD_RULE)
        return args[1] > known->rule_types ? EINVAL : 0;
    if (asked->data.nr == RESTRICT_SELF)
        return args[1] & ~known->restrict_flags ? EINVAL : 0;
    if (args[2] == 1 && !args[0]) {
        *value = abi;
        return 0;
    }
    if (args[2] || args[1] > known->attr_size || !read_memory(asked, args[0], attr, args[1]))
        return EINVAL;
    return attr[0] & ~known->files || attr[1] & ~known->ports || attr[2] & ~known->scopes ? EINVAL : 0;
}

static bool is_refused(const struct refusal *refusal, const struct seccomp_notif *asked)
{
    const struct seccomp_data *data = &asked->data;
    uint64_t flags = data->nr == SYS_clone || data->nr == SYS_unshare ? data->args[0] : 0;
    char type[32] = "";
    if (refusal->number >= 0)
        return data->nr == refusal->number;
    if (data->nr == SYS_clone3)
        read_memory(asked, data->args[0], &flags, sizeof flags);
    if (refusal->flags)
        return flags & refusal->flags;
    if (data->nr == SYS_mount && data->args[2])
        read_memory(asked, data->args[2], type, strlen(refusal->type) + 1);
    return data->nr == SYS_mount && strcmp(type, refusal->type) == 0;
}

static void answer(int listener)
{
    struct seccomp_notif asked = {0};
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) < 0)
        return; /* it was killed meanwhile */
    long value = -1;
    int error = 0, number = asked.data.nr;
    for (size_t i = 0; i < refusal_count && !error; i++)
        if (is_refused(&refusals[i], &asked))
            error = refusals[i].error;
    if (!error && abi >= 0 && number >= CREATE_RULESET && number <= RESTRICT_SELF)
        error = answer_landlock(&asked, &value);
    struct seccomp_notif_resp said = {.id = asked.id, .error = -error, .val = error ? 0 : value};
    if (!error && value < 0)
        said = (struct seccomp_notif_resp){.id = asked.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &said);
}

int main(int argc, char **argv)
{
    char **command = read_options(argc, argv);
    int listener = -1, status;
    pid_t pid = start(command, &listener);
    if (pid < 0 || listener < 0)
        return 126;
    struct pollfd wait = {.fd = listener, .events = POLLIN};
    while (poll(&wait, 1, -1) < 0 || !(wait.revents & POLLHUP)) /* until nobody is left under the filter */
        if (wait.revents & POLLIN)
            answer(listener);
    if (waitpid(pid, &status, 0) < 0)
        return 126;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    raise(WTERMSIG(status));
    return 126;
}
