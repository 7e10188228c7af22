/* execnode-execve-wrapper FILE ARGV0 ARG1...: asks the escalation server what is to become of an exec, and does it.
 *
 * Whatever goes wrong, nothing is run. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/_seccomp/escalation.h"
#include "engine/_seccomp/helper.h"

enum { EXIT_OURS = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

int escalation_failed(int code, const char *what)
{
    int error = errno;
    dprintf(STDERR_FILENO, "execnode-execve-wrapper: %s%s%s\n", what, error ? ": " : "", error ? strerror(error) : "");
    return code;
}

void exec_in_place(const char *file, char *const *argv)
{
    syscall(SYS_execve, file, argv, environ);
    if (errno != ENOEXEC)
        return;
    size_t count = 0;
    while (argv[count])
        count++;
    const char *script[count + 2];
    script[0] = "sh";
    script[1] = file;
    for (size_t i = 1; i <= count; i++) /* with the end */
        script[i + 1] = argv[i];
    if (count == 0)
        script[2] = NULL;
    syscall(SYS_execve, "/bin/sh", script, environ);
}

/* Attach those of the numbers that are open, and not ours. */
static bool send_descriptors(int link, int signals, const struct answer *wanted)
{
    uint8_t open[DESCRIPTORS_MAX];
    int attached[DESCRIPTORS_MAX];
    size_t count = wanted->length / 2, found = 0;
    if (wanted->length % 2 || count > DESCRIPTORS_MAX) {
        errno = EPROTO;
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        int number = wanted->payload[2 * i] << 8 | wanted->payload[2 * i + 1];
        open[i] = number != link && number != signals && fcntl(number, F_GETFD) >= 0;
        if (open[i])
            attached[found++] = number;
    }
    return frame_send(link, FRAME_DESCRIPTORS, open, count, attached, found);
}

static int run(const char *file, char *const *argv)
{
    exec_in_place(file, argv);
    return escalation_failed(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN, file);
}

static int escalate(int link, const struct answer *wanted)
{
    int signals = signals_catch();
    if (signals < 0)
        return escalation_failed(EXIT_OURS, "signalfd");
    if (!send_descriptors(link, signals, wanted))
        return escalation_failed(EXIT_OURS, "cannot hand over the descriptors");
    return escalated_wait(link, signals);
}

static int obey(int link, const struct answer *answer, const char *file, char *const *argv)
{
    switch (answer->kind) {
    case FRAME_RUN:
        return run(file, argv);
    case FRAME_ESCALATE:
        return escalate(link, answer);
    case FRAME_DENY:
        if (answer->length) {
            dprintf(STDERR_FILENO, "execnode: %s: %s\n", file, answer->payload + 1);
            return answer->payload[0];
        }
        /* fall through */
    default:
        errno = 0;
        return escalation_failed(EXIT_OURS, "the escalation server gives an answer that is none");
    }
}

static const char USAGE[] =
    "usage: execnode-execve-wrapper [--] FILE ARGV0 [ARG...]\n"
    "       execnode-execve-wrapper --supervise -- COMMAND [ARG...]\n"
    "Ask the escalation server at descriptor $" ESCALATION_VARIABLE " whether FILE is run here, run\n"
    "outside the sandbox, or not at all; or have it asked about all that COMMAND executes.\n"
    "Exit code: the command's; 1 it was denied, 125 nobody could be asked, 126 it cannot be run, 127 it\n"
    "is not there.\n";

int wrapper_main(int argc, char **argv)
{
    static struct answer answer;
    if (argc > 1 && strcmp(argv[1], "--supervise") == 0)
        return supervise_main(argc - 1, argv + 1);
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return fputs(USAGE, stdout) < 0;
    bool marked = argc > 1 && strcmp(argv[1], "--") == 0;
    char **words = argv + 1 + marked;
    if (argc - marked < 3 || (!marked && words[0][0] == '-'))
        return usage(USAGE);
    int link;
    if (!request_send(words[0], words + 1, &link) && errno != EPIPE && errno != ECONNRESET) /* it may say why */
        return escalation_failed(EXIT_OURS, "cannot ask the escalation server at $" ESCALATION_VARIABLE ", so nothing is run");
    if (!frame_receive(link, &answer))
        return escalation_failed(EXIT_OURS, "the escalation server does not answer, so nothing is run");
    return obey(link, &answer, words[0], words + 1);
}
