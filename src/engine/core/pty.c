#define _GNU_SOURCE
#include "engine/core/pty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

int above_stdio(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    close(fd);
    return moved;
}

int pty_open(unsigned short rows, unsigned short cols, int *master, int *slave)
{
    int unlock = 0;
    *slave = -1;
    *master = above_stdio(open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
    if (*master < 0)
        return -1;
    /* TIOCGPTPEER opens the slave through the master: no path, so it works in any mount namespace. */
    if (ioctl(*master, TIOCSPTLCK, &unlock) == 0)
        *slave = above_stdio(ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (*slave >= 0 && pty_resize(*master, rows, cols) == 0)
        return 0;
    int error = errno;
    if (*slave >= 0)
        close(*slave);
    close(*master);
    *master = *slave = -1;
    errno = error;
    return -1;
}

int pty_resize(int master, unsigned short rows, unsigned short cols)
{
    struct winsize size = {.ws_row = rows, .ws_col = cols};
    return ioctl(master, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}
