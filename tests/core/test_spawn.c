/* Starts that succeed: what the child finds, what the parent holds. */
#define _GNU_SOURCE
#include "engine/core/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "engine/core/pty.h"
#include "spawning.h"

/* ---- the end ---------------------------------------------------------------------------------------------------- */

TEST(the_exit_code_comes_from_the_pidfd)
{
    for (int code = 0; code < 256; code += 51) {
        char script[32];
        snprintf(script, sizeof script, "exit %d", code);
        struct run run = run_shell(script);
        CHECK_EQ(run.kind, CLD_EXITED);
        CHECK_EQ(run.status, code);
    }
}

TEST(a_death_by_signal_is_told_apart_from_an_exit)
{
    struct run run = run_shell("kill -KILL $$");
    CHECK_EQ(run.kind, CLD_KILLED);
    CHECK_EQ(run.status, SIGKILL);
}

/* ---- what the program finds ------------------------------------------------------------------------------------- */

TEST(arg0_environment_and_folder_are_exactly_as_asked)
{
    struct launch *r = launch_probe(NULL);
    char *environment[] = {"A=1", "B=\xff\xfe", "novalue", NULL};
    r->argv[0] = "-login";
    r->plan.envp = environment;
    r->plan.cwd = "/proc";
    struct run run = run_launch(r);
    CHECK_TEXT(field(&run, "arg0"), "-login");
    CHECK_TEXT(field(&run, "cwd"), "/proc");
    CHECK(strstr(run.output, "\nenv=A=1\nenv=B=\xff\xfe\nenv=novalue\ncwd="));
}

TEST(stdin_is_empty_unless_a_pipe_is_asked_for)
{
    struct launch *r = launch_probe("echo");
    struct run run = run_launch(r);
    CHECK_TEXT(field(&run, "fd0"), "chr");
    CHECK_TEXT(field(&run, "fd1"), "pipe");
    CHECK_TEXT(field(&run, "fd2"), "pipe");
    CHECK_EQ(run.status, 0);
}

TEST(what_is_written_to_the_pipe_reaches_the_program)
{
    struct launch *r = launch_probe("echo");
    struct spawned spawned;
    r->plan.stdin_pipe = true;
    start(r, &spawned);
    CHECK_EQ(write(spawned.stdin_fd, "word=hello\n", 11), 11);
    close(spawned.stdin_fd);
    spawned.stdin_fd = -1;
    struct run run = finish(&spawned);
    CHECK_TEXT(field(&run, "fd0"), "pipe");
    CHECK_TEXT(field(&run, "word"), "hello");
}

TEST(stdout_and_stderr_are_apart)
{
    struct launch *r = launch_probe(NULL);
    struct run run = run_launch(r);
    CHECK_TEXT(run.errors, "on stderr\n");
    CHECK(!strstr(run.output, "on stderr"));
}

TEST(no_descriptor_above_2_is_left_open)
{
    struct launch *r = launch_probe(NULL);
    int numbers[] = {3, 7, 100, 500}, opened[4];
    for (int i = 0; i < 4; i++)
        opened[i] = fcntl(0, F_DUPFD, numbers[i]); /* without close-on-exec */
    struct run run = run_launch(r);
    for (int i = 0; i < 4; i++)
        close(opened[i]);
    CHECK_TEXT(field(&run, "descriptors"), "3");
}

/* The program compares what it finds from 3 on with the paths it was told. */
static struct launch *launch_heir(char *script, const int *inherit, size_t count)
{
    struct launch *r = launch_shell(script);
    r->plan.inherit = inherit;
    r->plan.inherit_count = count;
    return r;
}

TEST(inherited_descriptors_are_3_4_and_so_on_whatever_their_numbers)
{
    char *show = "for fd in 3 4 5 6; do echo fd$fd=$(readlink /proc/self/fd/$fd); done; echo count=$(ls /proc/self/fd | wc -l)";
    int root = open("/", O_RDONLY | O_CLOEXEC), proc = open("/proc", O_RDONLY | O_CLOEXEC);
    int numbers[][2] = {{3, 4}, {4, 3}, {4, 5}, {0, 1}, {200, 3}, {7, 7}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        pid_t pid = fork(); /* whose descriptors may be overwritten */
        if (pid == 0) {
            int source[2] = {fcntl(root, F_DUPFD, 100), fcntl(proc, F_DUPFD, 101)};
            shared_spawner();
            for (int j = 0; j < 2; j++)
                dup2(source[j], numbers[i][j]);
            bool same = numbers[i][0] == numbers[i][1];
            struct run run = run_launch(launch_heir(show, numbers[i], 2));
            CHECK_TEXT(field(&run, "fd3"), same ? "/proc" : "/");
            CHECK_TEXT(field(&run, "fd4"), "/proc");
            CHECK_TEXT(field(&run, "fd5"), "");
            CHECK_TEXT(field(&run, "count"), "6"); /* the folder of ls too */;
            _exit(0);
        }
        int status;
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
    }
    close(root);
    close(proc);
}

TEST(as_many_as_allowed_are_inherited_and_stay_open_here)
{
    int source = open("/proc", O_RDONLY | O_CLOEXEC), all[SPAWN_INHERIT_MAX];
    for (int i = 0; i < SPAWN_INHERIT_MAX; i++)
        all[i] = source;
    int before = open_descriptors();
    struct run run = run_launch(launch_heir("echo count=$(ls /proc/self/fd | wc -l)", all, SPAWN_INHERIT_MAX));
    CHECK_TEXT(field(&run, "count"), "68");
    CHECK_EQ(open_descriptors(), before);
    CHECK_EQ(fcntl(source, F_GETFD), FD_CLOEXEC);
    close(source);
}

TEST(a_descriptor_that_is_not_open_cannot_be_inherited)
{
    check_refusal(launch_heir("true", (int[]){0, 999}, 2), SPAWN_INHERIT, EBADF);
    check_refusal(launch_heir("true", (int[]){-1}, 1), SPAWN_INHERIT, EBADF);
}

/* posix_spawn(3) ignores the C library's own two in its children, and make(1) uses it. */
static void ignore_internal_signals(unsigned long action)
{
    unsigned long kernel_action[8] = {action};
    for (int number = 32; number < 34; number++)
        CHECK_EQ(syscall(SYS_rt_sigaction, number, kernel_action, NULL, 8), 0);
}

TEST(signals_are_as_in_a_fresh_login)
{
    struct launch *r = launch_probe(NULL);
    sigset_t mask, before, after;
    int ignored[] = {SIGPIPE, SIGHUP, SIGINT, SIGRTMIN + 1, SIGRTMAX, SIGXFSZ};
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGUSR1);
    sigaddset(&mask, SIGRTMAX);
    CHECK_EQ(sigprocmask(SIG_BLOCK, &mask, &before), 0);
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    ignore_internal_signals((unsigned long)SIG_IGN);
    struct run run = run_launch(r);
    sigprocmask(SIG_SETMASK, &before, &after);
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_DFL);
    ignore_internal_signals((unsigned long)SIG_DFL);
    CHECK_TEXT(field(&run, "blocked"), "0");
    CHECK_TEXT(field(&run, "ignored"), "0");
    CHECK(sigismember(&after, SIGTERM) && sigismember(&after, SIGUSR1) && !sigismember(&after, SIGUSR2));
}

TEST(a_program_leads_a_session_and_group_of_its_own)
{
    struct launch *r = launch_probe(NULL);
    struct run run = run_launch(r);
    CHECK_TEXT(field(&run, "leads"), "1");
    CHECK_TEXT(field(&run, "terminal"), "none");
}

TEST(resource_limits_are_set)
{
    struct launch *r = launch_probe(NULL);
    struct spawn_rlimit limits[] = {{RLIMIT_NOFILE, {50, 60}}, {RLIMIT_CORE, {0, 0}}};
    r->plan.rlimits = limits;
    r->plan.rlimit_count = 2;
    struct run run = run_launch(r);
    CHECK_TEXT(field(&run, "nofile"), "50:60");
}

TEST(programs_are_tried_in_order_as_execvp_does)
{
    struct launch *r = launch_probe(NULL);
    const char *paths[] = {"/nowhere/probe", "/etc/passwd/probe", "/etc/passwd", probe_path(), "/bin/false", NULL};
    r->plan.paths = paths;
    struct run run = run_launch(r);
    CHECK_EQ(run.status, 0);
    CHECK(field(&run, "cwd"));
}

/* ---- terminals -------------------------------------------------------------------------------------------------- */

TEST(a_terminal_is_controlling_and_has_its_size)
{
    struct launch *r = launch_probe(NULL);
    launch_terminal(r, 33, 144);
    struct run run = run_launch(r);
    CHECK_TEXT(field(&run, "terminal"), "foreground");
    CHECK_TEXT(field(&run, "leads"), "1");
    CHECK_TEXT(field(&run, "size"), "33x144");
    CHECK_TEXT(field(&run, "descriptors"), "3");
    CHECK_TEXT(field(&run, "fd0"), "tty");
    CHECK_TEXT(field(&run, "fd1"), "tty");
    CHECK_TEXT(field(&run, "fd2"), "tty");
    CHECK(strstr(run.output, "on stderr"));
}

TEST(a_new_size_is_told_by_sigwinch)
{
    struct launch *r = launch_probe("resize");
    struct spawned spawned;
    launch_terminal(r, 24, 80);
    start(r, &spawned);
    char word[16] = "";
    CHECK_EQ(poll(&(struct pollfd){spawned.output_fd, POLLIN, 0}, 1, 10000), 1);
    CHECK(read(spawned.output_fd, word, sizeof word - 1) > 0);
    CHECK(strncmp(word, "ready", 5) == 0);
    CHECK_EQ(pty_resize(spawned.output_fd, 50, 132), 0);
    struct run run = finish(&spawned);
    CHECK_TEXT(field(&run, "size"), "50x132");
}

TEST(the_largest_and_the_smallest_size_are_sizes)
{
    unsigned short sizes[] = {0, 1, 65535};
    for (int i = 0; i < 3; i++) {
        int master, slave;
        CHECK_EQ(pty_open(sizes[i], sizes[i], &master, &slave), 0);
        CHECK_EQ(pty_resize(master, sizes[2 - i], sizes[2 - i]), 0);
        close(master);
        close(slave);
    }
    CHECK_EQ(pty_resize(-1, 1, 1), -EBADF);
}

/* ---- what the parent holds -------------------------------------------------------------------------------------- */

static void check_parent_end(int fd, bool blocks)
{
    CHECK(fd > 2);
    CHECK_EQ(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    CHECK_EQ(!(fcntl(fd, F_GETFL) & O_NONBLOCK), blocks);
}

TEST(the_parents_ends_do_not_block_and_are_closed_on_exec)
{
    for (int tty = 0; tty < 2; tty++) {
        struct launch *r = launch_probe("echo");
        struct spawned spawned;
        shared_spawner();
        int before = open_descriptors();
        r->plan.stdin_pipe = true;
        if (tty)
            launch_terminal(r, 24, 80);
        start(r, &spawned);
        CHECK_EQ(open_descriptors() - before, tty ? 3 : 4);
        check_parent_end(spawned.stdin_fd, false);
        check_parent_end(spawned.output_fd, false);
        if (!tty)
            check_parent_end(spawned.stderr_fd, false);
        else
            CHECK_EQ(spawned.stderr_fd, -1);
        CHECK_EQ(fcntl(spawned.pidfd, F_GETFD), FD_CLOEXEC);
        CHECK_EQ(kill(spawned.pid, SIGKILL), 0);
        struct run run = finish(&spawned);
        CHECK_EQ(run.status, SIGKILL);
        CHECK_EQ(open_descriptors(), before);
    }
}

TEST(a_child_dies_with_its_parent)
{
    struct launch *r = launch_probe(NULL);
    struct run run = run_launch(r);
    CHECK_TEXT(field(&run, "pdeathsig"), "9");
    CHECK_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    int ends[2];
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid_t parent = fork(), child = -1;
    if (parent == 0) {
        struct launch *orphan = launch_path("/bin/sleep"); /* it does not mind that its pipes break */
        struct spawned spawned;
        orphan->argv[1] = "1000";
        start(orphan, &spawned);
        _exit(write(ends[1], &spawned.pid, sizeof spawned.pid) < 0);
    }
    int status;
    CHECK_EQ(waitpid(parent, &status, 0), parent);
    CHECK_EQ(read(ends[0], &child, sizeof child), sizeof child);
    close(ends[0]);
    close(ends[1]);
    CHECK_EQ(waitpid(child, &status, 0), child);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGKILL);
}

TEST(a_child_may_be_let_live_on_without_its_parent)
{
    struct launch *r = launch_probe(NULL);
    r->plan.outlive = true;
    struct run run = run_launch(r);
    CHECK_TEXT(field(&run, "pdeathsig"), "0");
}

/* ---- a poor environment ----------------------------------------------------------------------------------------- */

static void without_stdio(void)
{
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    for (int tty = 0; tty < 2; tty++) {
        struct launch *r = launch_probe(NULL);
        struct spawned spawned;
        enum spawn_stage stage;
        struct spawner poor;
        if (tty)
            launch_terminal(r, 24, 80);
        CHECK_EQ(spawner_init(&poor), 0);
        CHECK_EQ(spawn(&poor, &r->plan, &spawned, &stage), 0);
        struct run run = finish(&spawned);
        spawner_destroy(&poor);
        CHECK_TEXT(field(&run, "descriptors"), "3");
        CHECK_TEXT(field(&run, "fd0"), tty ? "tty" : "chr");
        CHECK_TEXT(field(&run, "fd1"), tty ? "tty" : "pipe");
        CHECK_TEXT(field(&run, "fd2"), tty ? "tty" : "pipe");
    }
}

TEST(a_parent_without_stdio_gives_its_children_theirs) { in_own_process(without_stdio); }

static void without_clone3(void)
{
    refuse_call(SYS_clone3, ENOSYS);
    struct launch *r = launch_probe(NULL);
    struct run run = run_launch(r);
    CHECK_TEXT(field(&run, "descriptors"), "3");
    CHECK_TEXT(field(&run, "pdeathsig"), "9");
    r = launch_path("/nowhere");
    check_refusal(r, SPAWN_EXEC, ENOENT);
}

TEST(clone_does_where_clone3_is_hidden) { in_own_process(without_clone3); }

static void without_close_range(void)
{
    refuse_call(SYS_close_range, ENOSYS);
    struct launch *r = launch_probe(NULL);
    int extra = fcntl(0, F_DUPFD, 200);
    struct run run = run_launch(r);
    close(extra);
    CHECK_TEXT(field(&run, "descriptors"), "3");
    r = launch_probe(NULL);
    r->plan.inherit = (int[]){0};
    r->plan.inherit_count = 1;
    run = run_launch(r);
    CHECK_TEXT(field(&run, "descriptors"), "4");
}

TEST(descriptors_are_closed_without_close_range_too) { in_own_process(without_close_range); }

/* The version 2 hierarchy, on systems that have version 1 as well or not. */
static int make_cgroup(char *path, size_t room)
{
    static const char *const roots[] = {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"};
    for (int i = 0; i < 2; i++) {
        snprintf(path, room, "%s/cgroup.controllers", roots[i]);
        if (access(path, F_OK) < 0)
            continue;
        snprintf(path, room, "%s/execnode-test-%d", roots[i], getpid());
        if (mkdir(path, 0700) == 0)
            return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    return -1;
}

TEST(a_child_starts_inside_its_cgroup)
{
    char path[128], line[128];
    struct launch *r = launch_shell("cat /proc/self/cgroup");
    r->plan.cgroup_fd = make_cgroup(path, sizeof path);
    if (r->plan.cgroup_fd < 0)
        test_skip("no cgroup of version 2 can be made here");
    struct spawned spawned;
    enum spawn_stage stage;
    struct run run = {0};
    int error = spawn(shared_spawner(), &r->plan, &spawned, &stage);
    if (!error)
        run = finish(&spawned);
    close(r->plan.cgroup_fd);
    rmdir(path);
    if (error)
        test_skip("no process can be put into a cgroup here");
    snprintf(line, sizeof line, "0::/execnode-test-%d\n", getpid());
    CHECK(strstr(run.output, line));
}

TEST(a_folder_that_is_no_cgroup_is_refused)
{
    struct launch *r = launch_path("/bin/true");
    r->plan.cgroup_fd = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check_refusal(r, SPAWN_CLONE, EBADF);
    close(r->plan.cgroup_fd);
}
