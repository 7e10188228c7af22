#define _GNU_SOURCE
#include "spawning.h"

#include <errno.h>
#include <libgen.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

struct spawner *shared_spawner(void)
{
    static struct spawner spawner;
    if (!spawner.stack)
        CHECK_EQ(spawner_init(&spawner), 0);
    return &spawner;
}

char *probe_path(void)
{
    static char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    CHECK(n > 0);
    path[n] = 0;
    strcat(dirname(path), "/probe"); /* beside this program */
    return path;
}

static struct launch *launch_new(char *path, char *first, char *second)
{
    static struct launch pool[8];
    static unsigned next;
    struct launch *r = &pool[next++ % 8];
    *r = (struct launch){.paths = {path}, .argv = {path, first, second}, .envp = {"PATH=/usr/bin:/bin"}};
    r->plan = (struct spawn_plan){.paths = r->paths, .argv = r->argv, .envp = r->envp, .cwd = "/", .cgroup_fd = -1};
    return r;
}

struct launch *launch_probe(char *verb) { return launch_new(probe_path(), verb, NULL); }

struct launch *launch_path(char *path) { return launch_new(path, NULL, NULL); }

struct launch *launch_shell(char *script) { return launch_new("/bin/sh", "-c", script); }

void launch_terminal(struct launch *launch, unsigned short rows, unsigned short cols)
{
    launch->plan.tty = true;
    launch->plan.rows = rows;
    launch->plan.cols = cols;
}

void start(struct launch *launch, struct spawned *spawned)
{
    enum spawn_stage stage;
    int error = spawn(shared_spawner(), &launch->plan, spawned, &stage);
    if (error)
        test_fail(__FILE__, __LINE__, "%s: %s: %s", launch->paths[0], spawn_stage_name(stage), strerror(error));
    CHECK_EQ(stage, SPAWN_OK);
}

/* Read to the end; a terminal's line ends lose their \r. */
static void read_all(int fd, char *to, size_t room)
{
    size_t length = 0;
    while (length < room - 1) {
        struct pollfd ready = {fd, POLLIN, 0};
        if (poll(&ready, 1, 10000) != 1)
            test_fail(__FILE__, __LINE__, "no end of output after ten seconds");
        ssize_t n = read(fd, to + length, room - 1 - length);
        if (n <= 0)
            break;
        for (char *at = to + length, *end = at + n; at < end; at++)
            if (*at != '\r')
                to[length++] = *at;
    }
    to[length] = 0;
}

struct run finish(struct spawned *spawned)
{
    struct run run = {0};
    siginfo_t info = {0};
    read_all(spawned->output_fd, run.output, sizeof run.output);
    if (spawned->stderr_fd >= 0)
        read_all(spawned->stderr_fd, run.errors, sizeof run.errors);
    CHECK_EQ(waitid(P_PIDFD, (id_t)spawned->pidfd, &info, WEXITED), 0);
    CHECK_EQ(info.si_pid, spawned->pid);
    run.kind = info.si_code;
    run.status = info.si_status;
    int fds[] = {spawned->pidfd, spawned->stdin_fd, spawned->output_fd, spawned->stderr_fd};
    for (int i = 0; i < 4; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return run;
}

struct run run_launch(struct launch *launch)
{
    struct spawned spawned;
    start(launch, &spawned);
    return finish(&spawned);
}

struct run run_shell(char *script) { return run_launch(launch_shell(script)); }

const char *field(const struct run *run, const char *name)
{
    static char value[4096];
    size_t length = strlen(name);
    for (const char *line = run->output; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0 && line[length] == '=') {
            size_t size = strcspn(line + length + 1, "\n");
            snprintf(value, sizeof value, "%.*s", (int)size, line + length + 1);
            return value;
        }
    }
    return NULL;
}

void check_refusal(struct launch *launch, enum spawn_stage stage, int error)
{
    struct spawned spawned;
    enum spawn_stage found;
    struct spawner *spawner = shared_spawner();
    int before = open_descriptors();
    int result = spawn(spawner, &launch->plan, &spawned, &found);
    if (result == 0)
        finish(&spawned);
    if (result != error || found != stage)
        test_fail(__FILE__, __LINE__, "%s: %s: %s, not %s: %s", launch->paths[0], spawn_stage_name(found),
                  strerror(result), spawn_stage_name(stage), strerror(error));
    CHECK_EQ(open_descriptors(), before);
    CHECK(!has_children());
}

void refuse_call(long number, int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        test_skip("no seccomp filter can be set here");
}
