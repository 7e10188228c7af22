/* What execnode-probe tries in a sandbox: things outside that it must not get at. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/_seccomp/helper.h"

/* What there is outside. */
struct world {
    const char *folder; /* with a file called `file` */
    pid_t pid;          /* a process of this user */
    const char *name;   /* of an abstract socket that listens */
};

/* The result of a system call: below 0 it was refused. */
typedef long (*trial)(const struct world *world);

static const char *in_folder(const struct world *world, const char *name)
{
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", world->folder, name);
    return path;
}

static long write_a_file(const struct world *world)
{
    return open(in_folder(world, "file"), O_WRONLY | O_CLOEXEC);
}

static long truncate_a_file(const struct world *world)
{
    return truncate(in_folder(world, "file"), 0);
}

static long make_a_file(const struct world *world)
{
    return open(in_folder(world, "new"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
}

static long change_a_mode(const struct world *world)
{
    return chmod(in_folder(world, "file"), 0700);
}

static long remove_a_file(const struct world *world)
{
    return unlink(in_folder(world, "file"));
}

static long write_a_kernel_setting(const struct world *world)
{
    (void)world;
    return open("/proc/sys/kernel/core_pattern", O_WRONLY | O_CLOEXEC);
}

static long make_an_internet_socket(const struct world *world)
{
    (void)world;
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static long connect_to_a_socket(const struct world *world)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(world->name);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || length >= sizeof address.sun_path)
        return -1;
    memcpy(address.sun_path + 1, world->name, length);
    return connect(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length));
}

static long send_a_signal(const struct world *world)
{
    return kill(world->pid, 0);
}

static long trace_a_process(const struct world *world)
{
    return ptrace(PTRACE_SEIZE, world->pid, 0, 0);
}

static long read_memory(const struct world *world)
{
    char byte;
    struct iovec here = {&byte, 1}, there = {&byte, 1}; /* nothing need be there */
    return process_vm_readv(world->pid, &here, 1, &there, 1, 0) < 0 && errno != EFAULT ? -1 : 0;
}

static long read_an_environment(const struct world *world)
{
    char path[32], byte;
    snprintf(path, sizeof path, "/proc/%d/environ", (int)world->pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -1 : read(fd, &byte, 1);
}

static long change_a_priority(const struct world *world)
{
    return setpriority(PRIO_PROCESS, (id_t)world->pid, getpriority(PRIO_PROCESS, (id_t)world->pid));
}

static long make_a_user_namespace(const struct world *world)
{
    (void)world;
    return unshare(CLONE_NEWUSER);
}

static long mount_something(const struct world *world)
{
    return mount("none", world->folder, "tmpfs", 0, NULL);
}

static long add_a_key(const struct world *world)
{
    (void)world;
    return syscall(SYS_add_key, "user", "execnode", "x", 1, -2); /* KEY_SPEC_PROCESS_KEYRING */
}

static long use_io_uring(const struct world *world)
{
    char parameters[120] = "";
    (void)world;
    return syscall(SYS_io_uring_setup, 1, parameters);
}

static long use_bpf(const struct world *world)
{
    const unsigned array_of_one[18] = {2, 4, 4, 1};
    (void)world;
    return syscall(SYS_bpf, 0, array_of_one, sizeof array_of_one);
}

/* Where there is no terminal the kernel would say ENOTTY. */
static long type_into_the_terminal(const struct world *world)
{
    (void)world;
    return ioctl(STDIN_FILENO, TIOCSTI, "") < 0 && errno == EPERM ? -1 : 0;
}

void trials_run(const char *folder, pid_t pid, const char *name)
{
    static const struct {
        const char *name;
        trial run;
    } trials[] = {
        {"write a file", write_a_file},
        {"truncate a file", truncate_a_file},
        {"make a file", make_a_file},
        {"change a mode", change_a_mode},
        {"remove a file", remove_a_file},
        {"write a kernel setting", write_a_kernel_setting},
        {"make an internet socket", make_an_internet_socket},
        {"connect to a socket", connect_to_a_socket},
        {"send a signal", send_a_signal},
        {"trace a process", trace_a_process},
        {"read memory", read_memory},
        {"read an environment", read_an_environment},
        {"change a priority", change_a_priority},
        {"make a user namespace", make_a_user_namespace},
        {"mount something", mount_something},
        {"add a key", add_a_key},
        {"use io_uring", use_io_uring},
        {"use bpf", use_bpf},
        {"type into the terminal", type_into_the_terminal},
    };
    const struct world world = {folder, pid, name};
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++)
        printf("%s=%s\n", trials[i].name, trials[i].run(&world) < 0 ? "refused" : "let through");
}
