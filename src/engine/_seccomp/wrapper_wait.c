#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/_seccomp/escalation.h"

enum { EXIT_OURS = 125 };

/* Whether a signal is passed on: not when it is ignored or blocked here, for then it would be in the command.  Real-time
 * signals just end the wrapper, and so the command. */
static bool counts(int number, const sigset_t *blocked)
{
    struct sigaction action;
    if (number == SIGKILL || number == SIGSTOP || number == SIGCHLD || sigismember(blocked, number) == 1)
        return false;
    return sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_IGN;
}

int signals_catch(void)
{
    sigset_t before, ours;
    sigprocmask(SIG_BLOCK, NULL, &before);
    sigemptyset(&ours);
    for (int number = 1; number < 32; number++)
        if (counts(number, &before))
            sigaddset(&ours, number);
    sigprocmask(SIG_BLOCK, &ours, NULL);
    return signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
}

static bool stops(int number)
{
    return number == SIGTSTP || number == SIGTTIN || number == SIGTTOU;
}

/* The last stop was not taken back; else the answer to it would stop us, and nobody would continue us. */
static bool to_be_stopped;

static void forward(int link, int signals)
{
    struct signalfd_siginfo info;
    while (read(signals, &info, sizeof info) == sizeof info) {
        uint8_t number = (uint8_t)info.ssi_signo;
        to_be_stopped = stops(number) || (to_be_stopped && number != SIGCONT);
        if (!frame_send(link, FRAME_SIGNAL, &number, 1, NULL, 0))
            return; /* the end of the link is seen by who waits for it */
    }
}

/* End as the command did. */
__attribute__((noreturn)) static void die_of(int number)
{
    sigset_t set;
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* the core is the command's affair */
    signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    kill(getpid(), number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    _exit(128 + number); /* it was one that does not end a process */
}

/* The exit code, or -1 to go on. */
static int listen_to(int link)
{
    static struct answer answer;
    if (!frame_receive(link, &answer))
        return escalation_failed(EXIT_OURS, "the escalation server went away, and the command with it");
    if (answer.kind == FRAME_DENY && answer.length) { /* it could not be started */
        errno = 0;
        return escalation_failed(answer.payload[0], (const char *)answer.payload + 1);
    }
    if (answer.length != 1 || !strchr("SXK", answer.kind)) {
        errno = EPROTO;
        return escalation_failed(EXIT_OURS, "the escalation server");
    }
    if (answer.kind == FRAME_KILLED)
        die_of(answer.payload[0]);
    if (answer.kind == FRAME_EXITED)
        return answer.payload[0];
    if (stops(answer.payload[0]) && to_be_stopped) /* the command was stopped: so are we, until both go on */
        kill(getpid(), SIGSTOP);
    return -1;
}

int escalated_wait(int link, int signals)
{
    int code = -1;
    struct pollfd wait[] = {{.fd = link, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
    while (code < 0) {
        if (poll(wait, 2, -1) < 0)
            continue;
        if (wait[1].revents)
            forward(link, signals);
        if (wait[0].revents)
            code = listen_to(link);
    }
    return code;
}
