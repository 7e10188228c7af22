/* Writing to pipes without SIGPIPE, whatever the program around us does with that signal. */
#ifndef EXECNODE_QUIET_H
#define EXECNODE_QUIET_H

#include <sys/types.h>
#include <sys/uio.h>

/* writev(2) that tells of a pipe without readers by -EPIPE alone.  Returns the bytes written or -errno. */
ssize_t writev_quietly(int fd, const struct iovec *iov, int count);

#endif
