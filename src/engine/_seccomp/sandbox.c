/* execnode-linux-sandbox: runs a command that sees, changes and reaches only what its options list.
 *
 * Namespaces are the rule; where the kernel refuses them, Landlock and the filter do alone what they can say, and what
 * they cannot is named and refused, unless its loss is accepted.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/_seccomp/confine.h"
#include "engine/_seccomp/helper.h"
#include "engine/_seccomp/landlock.h"
#include "engine/_seccomp/launch.h"
#include "engine/_seccomp/missing.h"
#include "engine/_seccomp/options.h"
#include "engine/_seccomp/signals.h"

enum {
    EXIT_FAILED = 125,
    EXIT_NOT_RUNNABLE = 126,
    EXIT_NOT_FOUND = 127,
};

/* One line: to the status descriptor as STAGE ERRNO TEXT, else to stderr in words. */
static void report(const struct options *options, const char *stage, int error, const char *text)
{
    char line[512];
    int length;
    if (options->status_fd >= 0)
        length = snprintf(line, sizeof line, "%s %d %s\n", stage, error, text);
    else
        length = snprintf(line, sizeof line, "execnode-linux-sandbox: %s: %s\n", stage, text);
    if (length >= (int)sizeof line) {
        length = (int)sizeof line;
        line[length - 1] = '\n';
    }
    if (write(options->status_fd >= 0 ? options->status_fd : STDERR_FILENO, line, (size_t)length) < 0)
        return; /* nowhere is left to complain */
}

static int failed(const struct options *options, const char *stage, int error)
{
    report(options, stage, error, strerror(error));
    return EXIT_FAILED;
}

static const char SEE_HELP[] = "hint: see execnode-linux-sandbox --help\n";

static int not_executed(const struct options *options, int error)
{
    char text[300];
    snprintf(text, sizeof text, "%.200s: %s", options->command[0], strerror(error));
    report(options, "execve", error, text);
    return error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_RUNNABLE;
}

/* Whether all of these losses are accepted.  Those that are not are named with what would help; those that are, once and
 * only to the status descriptor, as `lost 0 NAME`. */
static bool bears(struct options *options, uint32_t losses)
{
    bool bearable = true;
    for (enum protection p = 0; p < PROTECTIONS; p++) {
        char text[400];
        if (!(losses & ~options->told & 1U << p))
            continue;
        options->told |= 1U << p;
        if (options->accepted & 1U << p) {
            if (options->status_fd >= 0)
                report(options, "lost", 0, protection_name(p));
            continue;
        }
        snprintf(text, sizeof text, "this kernel gives no %s: %s, or accept the loss (--accept-missing %s)",
                 protection_name(p), protection_remedy(p), protection_name(p));
        report(options, "protection", ENOSYS, text);
        bearable = false;
    }
    return bearable;
}

/* What confine() could not do.  Without a filter nothing holds, so that there is no accepting that. */
static int not_confined(const struct options *options, const char *step, int error)
{
    if (strcmp(step, "seccomp") != 0)
        return failed(options, step, error);
    report(options, "protection", error, "this kernel gives no seccomp: allow its filters (CONFIG_SECCOMP_FILTER)");
    return EXIT_FAILED;
}

/* Run the command in this process.  Returns when it was a task, or cannot be run. */
static int run_here(const struct options *options, char *const *argv)
{
    passed_keep(&options->passed);
    if (options->task)
        return options->task->run(options->task->context);
    exec_program(options->command[0], argv);
    return not_executed(options, errno);
}

/* ---- without namespaces ------------------------------------------------------------------------------------------ */

/* What is lost when Landlock and the filter are all there is. */
static uint32_t losses_alone(const struct options *options)
{
    bool enough = plan_is_flat(&options->plan) && !options->isolate;
    return landlock_lacks(&options->plan, landlock_abi(), false) | (enough ? 0 : 1U << PROTECT_MOUNTS);
}

static int run_alone(struct options *options, char *const *argv)
{
    int abi = landlock_abi();
    if (!bears(options, losses_alone(options)))
        return EXIT_FAILED;
    if (chdir(options->cwd) < 0 && chdir("/") < 0)
        return failed(options, "chdir", errno);
    struct filter filter = {.arch = filter_native(), .network = options->plan.network,
                            .listens = options->plan.bind_count > 0, .read_only = plan_is_flat(&options->plan)};
    struct sock_filter program[FILTER_MAX];
    struct confinement confinement = {.ruleset = abi > 0 ? landlock_ruleset(&options->plan, abi, false) : -1,
                                      .bounds = true};
    if (abi > 0 && confinement.ruleset < 0)
        return failed(options, "landlock", errno);
    confinement.program = (struct sock_fprog){(unsigned short)filter_build(&filter, program), program};
    if (options->status_fd >= 0)
        report(options, "way", 0, "landlock");
    const char *wrong = confine(&confinement);
    if (wrong)
        return not_confined(options, wrong, errno);
    return run_here(options, argv);
}

/* ---- with namespaces --------------------------------------------------------------------------------------------- */

static bool may_mount(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};
    return syscall(SYS_capget, &header, data) == 0 && data[0].effective & 1U << CAP_SYS_ADMIN;
}

/* A container may let namespaces be made and then forbid what they are good for.  Whatever the plan, nothing that is done
 * to build them should be refused so; in the first steps other errors say the same. */
static bool is_refusal(const struct note *note)
{
    static const char *const first_steps[] = {"clone", "unshare", "mount_setattr", "/proc/self/setgroups",
                                              "/proc/self/uid_map", "/proc/self/gid_map", "mount tmpfs"};
    if (note->kind != NOTE_UNBUILT || note->value == EPERM || note->value == ENOSYS)
        return note->kind == NOTE_UNBUILT;
    for (size_t i = 0; i < sizeof first_steps / sizeof *first_steps; i++)
        if (strcmp(note->what, first_steps[i]) == 0)
            return note->value == EACCES || note->value == ENOSPC || note->value == EINVAL;
    return false;
}

/* With rights that we have, or with those that a user namespace gives. */
static bool launch_somehow(struct launch *how, struct note *note)
{
    how->own_user = !may_mount();
    if (launch(how, note))
        return true;
    if (how->own_user || !is_refusal(note))
        return false;
    how->own_user = true;
    return launch(how, note);
}

/* What the kernel was seen to lack, which is no longer asked for then: a set of 1 << enum protection.  0: it failed for
 * another reason. */
static uint32_t give_way(struct launch *how, const struct note *note)
{
    if (how->own_proc && note->kind == NOTE_UNBUILT && strcmp(note->what, "mount proc") == 0) {
        how->own_proc = false;
        /* In the machine's own /proc it is Landlock that keeps from other processes' files. */
        return 1U << PROTECT_PROC | (landlock_abi() ? 0 : 1U << PROTECT_LANDLOCK);
    }
    if (!is_refusal(note))
        return 0;
    if (strcmp(note->what, "unshare") != 0)
        return 1U << PROTECT_MOUNTS;
    how->own_network = false;
    return 1U << PROTECT_NETWORK;
}

/* Every name that is to stay missing becomes a rule, for it will exist by then.  NULL with errno. */
static struct placeholder *plan_missing(struct plan *plan)
{
    struct rule *rules = realloc(plan->rules, (plan->rule_count + plan->missing_count + 1) * sizeof *rules);
    struct placeholder *list = placeholders_new(plan->missing_count);
    if (!rules || !list)
        return NULL;
    plan->rules = rules;
    for (size_t i = 0; i < plan->missing_count; i++) {
        list[i] = (struct placeholder){plan->missing[i], -1, false};
        rules[plan->rule_count++] = (struct rule){plan->missing[i], ACCESS_READ};
    }
    plan_sort(plan);
    return list;
}

/* End as the program ended, so that whoever waits for this process sees no difference. */
static int end_as(int status)
{
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    sigset_t all;
    signals_fill(&all);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    signal(WTERMSIG(status), SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &all, NULL);
    raise(WTERMSIG(status));
    return 128 + WTERMSIG(status);
}

/* Launch, with as little as is accepted.  False: it failed with *note, or, if that has no errno, is not accepted; or if
 * *losses says so, there are no namespaces. */
static bool try_launch(struct options *options, struct launch *how, struct note *note, uint32_t *losses)
{
    bool alone_will_do = !losses_alone(options);
    while (bears(options, *losses)) {
        if (launch_somehow(how, note))
            return true;
        uint32_t lost = give_way(how, note);
        if (!lost)
            return false;
        *losses |= alone_will_do ? 1U << PROTECT_MOUNTS : lost;
        if (*losses & 1U << PROTECT_MOUNTS)
            return false;
    }
    *note = (struct note){NOTE_UNBUILT, 0, ""};
    return false;
}

static int run_namespaced(struct options *options, char *const *argv)
{
    struct spots spots;
    struct note note;
    struct launch how = {.plan = &options->plan, .spots = &spots, .cwd = options->cwd, .program = options->command[0],
                         .argv = argv, .task = options->task, .own_user = !may_mount(), .uid = geteuid(), .gid = getegid(),
                         .own_network = options->plan.network == FILTER_NONE, .own_proc = true, .keeper = -1,
                         .status_fd = options->status_fd, .passed = &options->passed};
    uint32_t losses = landlock_lacks(&options->plan, landlock_abi(), true);
    if (losses & ~options->accepted && !launch_may_clone(&how))
        return run_alone(options, argv); /* which names all that is missing */
    struct placeholder *held = plan_missing(&options->plan);
    if (!held || !spots_of(&options->plan, &spots))
        return failed(options, "plan", errno);
    how.held = held;
    how.held_count = options->plan.missing_count;
    bool ran = try_launch(options, &how, &note, &losses);
    if (ran)
        return end_as(note.value);
    if (losses & 1U << PROTECT_MOUNTS)
        return run_alone(options, argv);
    if (strcmp(note.what, "execve") == 0)
        return not_executed(options, note.value);
    return note.value ? not_confined(options, note.what, note.value) : EXIT_FAILED;
}

/* Through a folder that the program is given as a stream it would reach whatever lies around that, outside. */
static bool has_a_folder(void)
{
    struct stat stat;
    for (int fd = 0; fd < 3; fd++)
        if (fstat(fd, &stat) == 0 && S_ISDIR(stat.st_mode))
            return true;
    return false;
}

/* Whether there is the folder to start in.  Where it is there and cannot be seen inside, the program starts in the root. */
static bool has_folder(const struct options *options)
{
    char text[300];
    struct stat found;
    int error = stat(options->cwd, &found) < 0 ? errno : S_ISDIR(found.st_mode) ? 0 : ENOTDIR;
    if (error != ENOENT && error != ENOTDIR)
        return true;
    snprintf(text, sizeof text, "%.200s: %s", options->cwd, strerror(error));
    report(options, "chdir", error, text);
    return false;
}

int sandbox_run(int argc, char **argv, const struct task *task)
{
    struct options options;
    const char *wrong = options_parse(argc, argv, &options);
    options.task = task;
    if (wrong) {
        report(&options, "options", EINVAL, wrong);
        return options.status_fd >= 0 ? EXIT_USAGE : usage(argc > 1 ? SEE_HELP : options_usage);
    }
    size_t count = 0;
    while (options.command[count])
        count++;
    char **words = calloc(count + 1, sizeof *words);
    if (!words)
        return failed(&options, "memory", ENOMEM);
    memcpy(words, options.command, count * sizeof *words);
    if (options.arg0)
        words[0] = (char *)options.arg0;
    if (!has_folder(&options))
        return EXIT_FAILED;
    if (!options.unrestricted && has_a_folder())
        return failed(&options, "stdio", EISDIR);
    if (!options.unrestricted)
        return run_namespaced(&options, words);
    if (chdir(options.cwd) < 0)
        return failed(&options, "chdir", errno);
    return run_here(&options, words);
}

int sandbox_main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return fputs(options_usage, stdout) < 0;
    return sandbox_run(argc, argv, NULL);
}
