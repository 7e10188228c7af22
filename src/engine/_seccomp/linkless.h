/* Opening a path on which no link may be; openat2(2) of Linux 5.6, which older C libraries have no names for. */
#ifndef EXECNODE_LINKLESS_H
#define EXECNODE_LINKLESS_H

#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* An O_PATH descriptor, or -1 with errno, ELOOP where there is a link on the way.  Of a link at the end only with
 * O_NOFOLLOW among the flags. */
static inline int open_linkless(int folder, const char *path, uint64_t flags)
{
    enum { OPENAT2 = 437, NO_SYMLINKS = 0x4 /* RESOLVE_NO_SYMLINKS */ };
    const struct {
        uint64_t flags, mode, resolve;
    } how = {O_PATH | O_CLOEXEC | flags, 0, NO_SYMLINKS};
    return (int)syscall(OPENAT2, folder, path, &how, sizeof how);
}

#endif
