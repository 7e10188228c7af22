#define _GNU_SOURCE
#include "engine/_seccomp/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/_seccomp/missing.h"
#include "engine/_seccomp/signals.h"

struct outside {
    struct launch *launch;
    pid_t init;
    int link, terminal, signals;
};

static void send_order(int link, int order)
{
    unsigned char byte = (unsigned char)order;
    while (send(link, &byte, 1, MSG_NOSIGNAL) < 0 && errno == EINTR)
        ;
}

/* The controlling terminal, if this process's group has it. */
static int terminal_in_hand(void)
{
    int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0 && tcgetpgrp(fd) != getpgrp()) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* fork(2) into new namespaces.  That of the network costs most, and init makes it while we do other things. */
static pid_t clone_init(const struct launch *launch)
{
    struct clone_args args = {.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC, .exit_signal = SIGCHLD};
    if (launch->own_user)
        args.flags |= CLONE_NEWUSER;
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, 64); /* the first version's size, which any clone3 knows */
    if (pid < 0 && errno == ENOSYS) /* hidden by a filter, as in containers */
        pid = (pid_t)syscall(SYS_clone, args.flags | SIGCHLD, 0, 0, 0, 0);
    return pid;
}

bool launch_may_clone(const struct launch *launch)
{
    pid_t pid = clone_init(launch);
    if (pid == 0)
        _exit(0);
    return pid > 0 && waitpid(pid, NULL, 0) == pid;
}

/* Names are held from before init looks at the paths until it is gone. */
static bool hold_names(struct launch *launch, pid_t init)
{
    if (!launch->held_count)
        return true;
    launch->keeper = keeper_start(launch->held, launch->held_count);
    return launch->keeper >= 0 && placeholders_hold(launch->held, launch->held_count) &&
           keeper_watch(launch->keeper, init, launch->held, launch->held_count);
}

static bool start(struct outside *o, struct note *note)
{
    int ends[2];
    *note = (struct note){NOTE_FAILED, 0, "socketpair"};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        note->value = errno;
        return false;
    }
    o->init = clone_init(o->launch);
    if (o->init == 0) {
        close(ends[0]);
        inside_main(&(struct inside){o->launch, ends[1], o->terminal});
    }
    if (o->init < 0) {
        *note = (struct note){NOTE_UNBUILT, errno, "clone"};
        close(ends[0]);
    }
    close(ends[1]);
    o->link = ends[0];
    if (o->init < 0)
        return false;
    if (hold_names(o->launch, o->init)) {
        send_order(o->link, ORDER_GO);
        return true;
    }
    *note = (struct note){NOTE_FAILED, errno, "missing"};
    close(o->link); /* init ends then */
    while (waitpid(o->init, NULL, 0) < 0 && errno == EINTR)
        ;
    return false;
}

/* ---- while it runs ----------------------------------------------------------------------------------------------- */

/* What only the program is to hold open: whoever reads its output waits for every copy to be closed. */
static void let_go(const struct launch *launch)
{
    if (launch->status_fd >= 0)
        close(launch->status_fd);
    passed_close(launch->passed);
}

/* The program was stopped.  Under a shell the whole job stops and, continued, has the terminal again; alone in a session
 * nobody would ever continue it, which is why the kernel lets a terminal stop no such group, and neither do we. */
static void follow_stop(struct outside *o, int signal)
{
    if (getsid(0) == getpid()) {
        if (signal != SIGSTOP)
            send_order(o->link, SIGCONT);
        return;
    }
    if (o->terminal >= 0)
        tcsetpgrp(o->terminal, getpgrp());
    kill(getpid(), SIGSTOP);
    if (o->terminal >= 0 && tcgetpgrp(o->terminal) == getpgrp())
        send_order(o->link, ORDER_FOREGROUND);
    send_order(o->link, SIGCONT);
}

/* False when there will be no more notes; *note is then the last one. */
static bool next_note(struct outside *o, struct note *note)
{
    struct note fresh;
    ssize_t length = recv(o->link, &fresh, sizeof fresh, 0);
    if (length < 0 && (errno == EINTR || errno == ECONNRESET)) /* it ended before it read an order; its notes come next */
        return true;
    if (length != sizeof fresh)
        return false;
    if (fresh.kind == NOTE_RUNNING)
        let_go(o->launch);
    if (fresh.kind == NOTE_STOPPED)
        follow_stop(o, fresh.value);
    else
        *note = fresh;
    return fresh.kind != NOTE_ENDED;
}

static void pass_signal_on(const struct outside *o)
{
    struct signalfd_siginfo info;
    if (read(o->signals, &info, sizeof info) == sizeof info && info.ssi_signo != SIGCHLD &&
        (int)info.ssi_pid != o->init)
        send_order(o->link, (int)info.ssi_signo);
}

static void relay(struct outside *o, struct note *note)
{
    struct pollfd wait[] = {{.fd = o->link, .events = POLLIN}, {.fd = o->signals, .events = POLLIN}};
    for (;;) {
        if (poll(wait, 2, -1) < 0)
            continue;
        if (wait[1].revents)
            pass_signal_on(o);
        if (wait[0].revents && !next_note(o, note))
            return;
    }
}

bool launch(struct launch *launch, struct note *note)
{
    sigset_t all, before;
    struct outside o = {.launch = launch, .terminal = terminal_in_hand()};
    signals_fill(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    o.signals = signalfd(-1, &all, SFD_CLOEXEC);
    bool started = start(&o, note);
    if (started) {
        int status = 0;
        relay(&o, note);
        while (note->kind != NOTE_ENDED && waitpid(o.init, &status, 0) < 0 && errno == EINTR)
            ;
        bool said_nothing = note->kind == NOTE_FAILED && !note->value;
        if (note->kind == NOTE_RUNNING || (said_nothing && WIFSIGNALED(status))) /* killed before it could say more */
            *note = (struct note){NOTE_ENDED, status, ""};
        else if (said_nothing)
            *note = (struct note){NOTE_FAILED, ECHILD, "init"};
        if (o.terminal >= 0)
            tcsetpgrp(o.terminal, getpgrp());
        close(o.link);
    }
    placeholders_drop(launch->held, launch->held_count);
    if (launch->keeper >= 0)
        close(launch->keeper);
    launch->keeper = -1;
    if (o.terminal >= 0)
        close(o.terminal);
    close(o.signals);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return note->kind == NOTE_ENDED;
}
