/* See socket.h.  Everything here may run between vfork and exec: system calls, and memory that is there already. */
#define _GNU_SOURCE
#include "engine/_intercept/socket.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Above what programs choose by hand, and below the usual limit of 1024; or where the limit is lower. */
static const int floors[] = {900, 200};

enum { PLACES = 4, SEARCHED = 1024 };

static struct {
    dev_t device;
    ino_t inode;
    int places[PLACES]; /* where it was at load time, then numbers that it has or had, maybe in a vfork child alone */
    unsigned newest;
} socket_ = {.places = {-1, -1, -1, -1}};

static bool matches(int fd)
{
    struct stat found;
    return fstat(fd, &found) == 0 && S_ISSOCK(found.st_mode) && found.st_dev == socket_.device &&
           found.st_ino == socket_.inode;
}

static int duplicate_high(int fd)
{
    for (size_t i = 0; i < sizeof floors / sizeof *floors; i++) {
        int high = fd < floors[i] ? fcntl(fd, F_DUPFD, floors[i]) : -1;
        if (high >= 0)
            return high;
    }
    return -1;
}

void socket_adopt(int fd)
{
    struct stat found;
    if (fstat(fd, &found) != 0 || !S_ISSOCK(found.st_mode))
        return;
    socket_.device = found.st_dev;
    socket_.inode = found.st_ino;
    int high = fd < floors[1] ? duplicate_high(fd) : -1;
    socket_.places[0] = high >= 0 ? high : fd;
    if (high >= 0)
        syscall(SYS_close, fd);
}

bool socket_is(int fd)
{
    for (int i = 0; i < PLACES; i++)
        if (fd >= 0 && socket_.places[i] == fd)
            return matches(fd);
    return false;
}

static void remember(int fd)
{
    for (int i = 0; i < PLACES; i++)
        if (socket_.places[i] == fd)
            return;
    socket_.newest = socket_.newest % (PLACES - 1) + 1;
    socket_.places[socket_.newest] = fd;
}

int socket_number(void)
{
    if (socket_.inode == 0)
        return -1;
    for (int i = 0; i < PLACES; i++)
        if (socket_.places[i] >= 0 && matches(socket_.places[i]))
            return socket_.places[i];
    for (int fd = SEARCHED - 1; fd >= 0; fd--) /* moved often, by children of vfork */
        if (matches(fd)) {
            remember(fd);
            return fd;
        }
    return -1;
}

void socket_keep(void)
{
    int fd = socket_number();
    if (fd >= 0)
        fcntl(fd, F_SETFD, 0);
}

bool socket_give_way(int fd)
{
    int place = fcntl(fd, F_DUPFD, fd + 1);
    if (place < 0)
        place = fcntl(fd, F_DUPFD, floors[1]);
    if (place < 0)
        return false;
    remember(place);
    return true;
}
