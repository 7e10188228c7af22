#define _GNU_SOURCE
#include "engine/core/quiet.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

/* The signal is sent to the thread that writes, before writev(2) returns: hold it back, and take it out again. */
ssize_t writev_quietly(int fd, const struct iovec *iov, int count)
{
    sigset_t pipe_signal, before, pending;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    ssize_t n;
    do
        n = writev(fd, iov, count);
    while (n < 0 && errno == EINTR);
    ssize_t result = n < 0 ? -errno : n;
    if (result == -EPIPE && !sigismember(&pending, SIGPIPE))
        sigtimedwait(&pipe_signal, NULL, &(struct timespec){0});
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}
