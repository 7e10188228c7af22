/* Start a program in namespaces of its own and stand for it outside: the launcher, which is the process that was asked
 * for, the init of the new PID namespace, and the program.
 *
 *     launcher  waits, passes signals on, ends as the program ended        (outside)
 *       init    builds the mounts, gives up its rights, starts, reaps      (inside, pid 1)
 *         program                                                          (inside, in a process group of its own)
 *
 * Whoever of the first two dies takes the rest along (PR_SET_PDEATHSIG, and the rule for pid 1).
 */
#ifndef EXECNODE_LAUNCH_H
#define EXECNODE_LAUNCH_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "engine/_seccomp/passed.h"
#include "engine/_seccomp/spots.h"
#include "engine/_seccomp/task.h"

struct launch {
    const struct plan *plan;
    const struct spots *spots;
    const char *cwd;      /* where the program starts if that is visible, else in / */
    const char *program;  /* a path, or a name to look for in PATH */
    char *const *argv;
    const struct task *task; /* instead of the program, or NULL */
    bool own_user;        /* a user namespace is needed for the others */
    uid_t uid;            /* who we are */
    gid_t gid;
    bool own_network, own_proc;
    struct placeholder *held; /* to be held while it runs; see missing.h */
    size_t held_count;
    int keeper;           /* of these, while it runs; else -1 */
    int status_fd;        /* closed when the program runs, or -1 */
    const struct passed *passed;
};

/* What init tells the launcher, through a socket that is theirs alone. */
struct note {
    enum { NOTE_UNBUILT, NOTE_FAILED, NOTE_RUNNING, NOTE_STOPPED, NOTE_ENDED } kind;
    int value;     /* errno, pid, signal, status of wait(2) */
    char what[64]; /* of NOTE_FAILED, and of NOTE_UNBUILT: then there are no namespaces, or not with the right mounts */
};

/* What the launcher tells init: a signal to pass on, or one of these. */
enum { ORDER_GO = 100, ORDER_FOREGROUND = 101 };

/* What init needs to know of its launcher. */
struct inside {
    const struct launch *launch;
    int link;     /* its end of the socket */
    int terminal; /* the controlling one, if the launcher has it in hand, or -1 */
};

/* The program's end as a status of wait(2), or a failure to start it, which is *note. */
bool launch(struct launch *launch, struct note *note);

/* Whether the kernel lets these namespaces be made, if nothing in them. */
bool launch_may_clone(const struct launch *launch);

/* Be the init.  Signals are all blocked. */
__attribute__((noreturn)) void inside_main(const struct inside *inside);

/* Replace this process by the program; returns with errno, ENOENT when it is nowhere. */
void exec_program(const char *program, char *const *argv);

#endif
