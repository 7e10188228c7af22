/* Starts that fail: the stage and errno they report, and that nothing is left behind. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "faults.h"
#include "spawning.h"

#define NOBODY 65534

/* A file of this content and mode, removed by the next one and at the end. */
static char *make_file(const char *content, mode_t mode)
{
    static char path[] = "/tmp/execnode-spawn-test-XXXXXX";
    if (path[sizeof path - 2] != 'X')
        unlink(path);
    memcpy(path + sizeof path - 7, "XXXXXX", 6);
    int fd = mkostemp(path, O_CLOEXEC);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    CHECK_EQ(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

/* ---- the program ------------------------------------------------------------------------------------------------ */

TEST(every_stage_has_a_name)
{
    for (int stage = 0; stage < SPAWN_STAGES; stage++)
        CHECK(spawn_stage_name((enum spawn_stage)stage) && *spawn_stage_name((enum spawn_stage)stage));
}

TEST(a_missing_program_is_enoent)
{
    check_refusal(launch_path("/nowhere/to/be/found"), SPAWN_EXEC, ENOENT);
    check_refusal(launch_path(""), SPAWN_EXEC, ENOENT);
    struct launch *r = launch_path(NULL); /* nothing to try at all */
    check_refusal(r, SPAWN_EXEC, ENOENT);
}

TEST(a_program_below_a_file_is_enotdir) { check_refusal(launch_path("/etc/passwd/program"), SPAWN_EXEC, ENOTDIR); }

TEST(a_file_without_the_permission_is_eacces)
{
    check_refusal(launch_path("/etc/passwd"), SPAWN_EXEC, EACCES);
    check_refusal(launch_path("/tmp"), SPAWN_EXEC, EACCES);
}

TEST(a_permission_denied_is_remembered_over_a_missing_file)
{
    struct launch *r = launch_path("/etc/passwd");
    const char *paths[] = {"/etc/passwd", "/nowhere", NULL};
    r->plan.paths = paths;
    check_refusal(r, SPAWN_EXEC, EACCES);
}

TEST(a_file_that_is_no_program_is_enoexec)
{
    char *path = make_file("echo no shebang\n", 0755);
    check_refusal(launch_path(path), SPAWN_EXEC, ENOEXEC);
    unlink(path);
}

TEST(a_script_whose_interpreter_is_missing_is_enoent)
{
    char *path = make_file("#!/nowhere/interpreter\n", 0755);
    check_refusal(launch_path(path), SPAWN_EXEC, ENOENT);
    unlink(path);
}

TEST(a_program_open_for_writing_is_etxtbsy)
{
    char *path = make_file("#!/bin/sh\n", 0755);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    struct launch *r = launch_path(path);
    const char *paths[] = {path, "/bin/true", NULL}; /* not a reason to look further */
    r->plan.paths = paths;
    check_refusal(r, SPAWN_EXEC, ETXTBSY);
    close(fd);
    unlink(path);
}

TEST(an_argument_too_long_is_e2big)
{
    char *huge = malloc(256 * 1024);
    memset(huge, 'x', 256 * 1024 - 1);
    huge[256 * 1024 - 1] = 0;
    struct launch *r = launch_path("/bin/true");
    r->argv[1] = huge;
    check_refusal(r, SPAWN_EXEC, E2BIG);
    r->argv[1] = NULL;
    r->envp[0] = huge;
    check_refusal(r, SPAWN_EXEC, E2BIG);
    free(huge);
}

TEST(paths_without_end_are_refused_by_their_own_errors)
{
    char name[5000];
    memset(name, 'n', sizeof name - 1);
    name[0] = '/';
    name[sizeof name - 1] = 0;
    check_refusal(launch_path(name), SPAWN_EXEC, ENAMETOOLONG);
    char path[] = "/tmp/execnode-loop-XXXXXX";
    CHECK(mkdtemp(path));
    char link[64];
    snprintf(link, sizeof link, "%s/loop", path);
    CHECK_EQ(symlink(link, link), 0);
    check_refusal(launch_path(link), SPAWN_EXEC, ELOOP);
    unlink(link);
    rmdir(path);
}

/* ---- folder, limits, terminal ----------------------------------------------------------------------------------- */

TEST(a_folder_that_is_none_is_the_stage_chdir)
{
    struct launch *r = launch_path("/bin/true");
    r->plan.cwd = "/nowhere/at/all";
    check_refusal(r, SPAWN_CHDIR, ENOENT);
    r->plan.cwd = "/etc/passwd";
    check_refusal(r, SPAWN_CHDIR, ENOTDIR);
}

static void chdir_as_nobody(void)
{
    char path[] = "/tmp/execnode-closed-XXXXXX";
    struct launch *r = launch_path("/bin/true");
    if (geteuid() != 0)
        test_skip("only root can become somebody else");
    CHECK(mkdtemp(path));
    shared_spawner();
    CHECK_EQ(seteuid(NOBODY), 0);
    r->plan.cwd = path;
    check_refusal(r, SPAWN_CHDIR, EACCES);
    CHECK_EQ(seteuid(0), 0);
    rmdir(path);
}

TEST(a_folder_that_is_closed_to_us_is_eacces) { in_own_process(chdir_as_nobody); }

TEST(a_limit_that_the_kernel_refuses_is_the_stage_setrlimit)
{
    struct launch *r = launch_path("/bin/true");
    struct spawn_rlimit limit = {RLIMIT_NOFILE, {20, 10}};
    r->plan.rlimits = &limit;
    r->plan.rlimit_count = 1;
    check_refusal(r, SPAWN_RLIMIT, EINVAL);
    limit = (struct spawn_rlimit){999, {1, 1}};
    check_refusal(r, SPAWN_RLIMIT, EINVAL);
    limit = (struct spawn_rlimit){RLIMIT_NOFILE, {1, RLIM_INFINITY}}; /* more than fs.nr_open, even for root */
    check_refusal(r, SPAWN_RLIMIT, EPERM);
}

/* ---- resources of the parent ------------------------------------------------------------------------------------ */

static void without_descriptors(void)
{
    struct rlimit limit;
    shared_spawner();
    int before = open_descriptors();
    for (int more = 0; more < 10; more++)
        for (int tty = 0; tty < 2; tty++) {
            struct launch *r = launch_path("/bin/true");
            struct spawned spawned;
            enum spawn_stage stage;
            r->plan.stdin_pipe = true;
            if (tty)
                launch_terminal(r, 24, 80);
            getrlimit(RLIMIT_NOFILE, &limit);
            rlim_t soft = limit.rlim_cur;
            limit.rlim_cur = (rlim_t)(before + more);
            CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
            int error = spawn(shared_spawner(), &r->plan, &spawned, &stage);
            limit.rlim_cur = soft;
            CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
            if (error == 0) {
                finish(&spawned);
            } else {
                CHECK_EQ(error, EMFILE);
                CHECK(stage == (tty ? SPAWN_PTY : SPAWN_PIPE) || stage == SPAWN_CLONE);
            }
            CHECK(error ? more < 9 : more > 0);
            CHECK_EQ(open_descriptors(), before);
            CHECK(!has_children());
        }
}

TEST(no_descriptors_left_is_emfile_and_leaks_none) { in_own_process(without_descriptors); }

static void at_the_fork_limit(void)
{
    struct rlimit none = {0, 0};
    if (geteuid() != 0)
        test_skip("only root can become somebody else");
    shared_spawner();
    CHECK_EQ(setgroups(0, NULL), 0);
    CHECK_EQ(setresuid(NOBODY, NOBODY, NOBODY), 0);
    CHECK_EQ(setrlimit(RLIMIT_NPROC, &none), 0);
    check_refusal(launch_path("/bin/true"), SPAWN_CLONE, EAGAIN);
}

TEST(no_processes_left_is_eagain) { in_own_process(at_the_fork_limit); }

TEST(ten_thousand_failed_starts_leave_nothing_behind)
{
    struct launch *missing = launch_path("/nowhere"), *closed = launch_path("/bin/true");
    struct spawned spawned;
    enum spawn_stage stage;
    closed->plan.cwd = "/nowhere";
    closed->plan.stdin_pipe = true;
    shared_spawner();
    int before = open_descriptors();
    for (int i = 0; i < 10000; i++) {
        struct launch *r = i & 1 ? missing : closed;
        r->plan.tty = i % 5 == 0;
        CHECK_EQ(spawn(shared_spawner(), &r->plan, &spawned, &stage), ENOENT);
    }
    CHECK_EQ(open_descriptors(), before);
    CHECK(!has_children());
}

TEST(an_interrupted_wait_leaves_no_zombie_behind)
{
    struct launch *r = launch_path("/nowhere");
    struct spawned spawned;
    enum spawn_stage stage;
    shared_spawner();
    faults_at(1, EINTR, FAULT_WAIT); /* a signal handler of the program around us */
    CHECK_EQ(spawn(shared_spawner(), &r->plan, &spawned, &stage), ENOENT);
    CHECK(faults_clear());
    CHECK(!has_children());
}

/* Every call on the way fails once: pipes and terminals, in the parent and in the child. */
TEST(whatever_fails_nothing_is_left_behind)
{
    for (int tty = 0; tty < 2; tty++)
        for (unsigned n = 1;; n++) {
            struct launch *r = launch_path("/bin/true");
            struct spawned spawned;
            enum spawn_stage stage = SPAWN_STAGES;
            r->plan.stdin_pipe = true;
            if (tty)
                launch_terminal(r, 24, 80);
            shared_spawner();
            int before = open_descriptors();
            faults_at(n, ENFILE, FAULTS_ALL);
            int error = spawn(shared_spawner(), &r->plan, &spawned, &stage);
            if (!faults_clear()) {
                CHECK_EQ(error, 0);
                finish(&spawned);
                break;
            }
            CHECK_EQ(error, ENFILE);
            CHECK(stage == SPAWN_PIPE || stage == SPAWN_PTY || stage == SPAWN_SESSION || stage == SPAWN_STDIO ||
                  stage == SPAWN_TERMINAL);
            CHECK_EQ(open_descriptors(), before);
            CHECK(!has_children());
        }
}

TEST(a_spawner_that_cannot_be_made_leaves_nothing_behind)
{
    for (unsigned n = 1;; n++) {
        struct spawner spawner = {0};
        int before = open_descriptors();
        faults_at(n, ENFILE, FAULTS_ALL);
        int error = spawner_init(&spawner);
        if (!faults_clear()) {
            CHECK_EQ(error, 0);
            spawner_destroy(&spawner);
            break;
        }
        CHECK(error == -ENFILE || error == -ENOMEM);
        CHECK_EQ(open_descriptors(), before);
    }
}
