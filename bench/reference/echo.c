/* echo COUNT [PROGRAM]
 *
 * The kernel's price of an answer: one byte to another process and back, COUNT times. Without PROGRAM over a
 * socketpair to a forked child; with it through a pseudo-terminal to that program (reference/rawecho). */
#include <fcntl.h>
#include <pty.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

static _Noreturn void answer(int end) {
    char byte;
    while (read(end, &byte, 1) == 1)
        if (write(end, &byte, 1) != 1) break;
    _exit(0);
}

static int open_socket(pid_t *pid) {
    int ends[2];
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
    if (!(*pid = (pid_t)check(fork(), "fork"))) {
        close(ends[0]);
        answer(ends[1]);
    }
    close(ends[1]);
    return ends[0];
}

static int open_terminal(char *program, pid_t *pid) {
    int master;
    char ready;
    if (!(*pid = (pid_t)check(forkpty(&master, NULL, NULL, NULL), "forkpty"))) {
        execl(program, program, (char *)NULL);
        _exit(127);
    }
    check(read(master, &ready, 1), "read"); /* the terminal is raw from here on */
    return master;
}

int main(int argc, char **argv) {
    if (argc < 2) die("usage: echo COUNT [PROGRAM]");
    long count = number(argv[1]);
    uint64_t *each = allocate((size_t)count, sizeof *each);
    pid_t pid;
    int end = argc > 2 ? open_terminal(argv[2], &pid) : open_socket(&pid);
    uint64_t begun = now_ns();
    for (long i = 0; i < count; i++) {
        uint64_t sent = now_ns();
        char byte = 'x', back = 0;
        check(write(end, &byte, 1), "write");
        check(read(end, &back, 1), "read");
        if (back != byte) die("another byte came back");
        each[i] = now_ns() - sent;
    }
    uint64_t total = now_ns() - begun;
    close(end);
    waitpid(pid, NULL, 0);
    report(total, (uint64_t)count, each, count);
    return 0;
}
