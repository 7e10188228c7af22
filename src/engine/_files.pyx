# cython: language_level=3
"""What the file services need of Linux and Python's os module does not have.

openat2(2), the creation time of statx(2), inotify(7), and the CRC-32C of the engine. Paths are bytes; a
failed call raises OSError.
"""

import os

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.errno cimport EAGAIN, EINTR, ENOSYS, errno
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

cdef extern from "fcntl.h" nogil:
    enum: _FDCWD "AT_FDCWD"
    enum: AT_SYMLINK_NOFOLLOW, O_CLOEXEC, O_CREAT, O_TMPFILE

cdef extern from "linux/openat2.h" nogil:
    struct open_how:
        uint64_t flags
        uint64_t mode
        uint64_t resolve
    enum: _NO_SYMLINKS "RESOLVE_NO_SYMLINKS", _BENEATH "RESOLVE_BENEATH"
    enum: _IN_ROOT "RESOLVE_IN_ROOT", _NO_MAGICLINKS "RESOLVE_NO_MAGICLINKS"

cdef extern from "sys/stat.h" nogil:
    enum: STATX_BTIME
    struct statx_timestamp:
        int64_t tv_sec
        uint32_t tv_nsec
    struct statx_buf "statx":
        uint32_t stx_mask
        statx_timestamp stx_btime
    int c_statx "statx"(int dir_fd, const char *path, int flags, unsigned int mask, statx_buf *buf)

cdef extern from "sys/inotify.h" nogil:
    enum: IN_NONBLOCK, IN_CLOEXEC
    int inotify_init1(int flags)
    int c_add_watch "inotify_add_watch"(int fd, const char *path, uint32_t mask)
    int c_rm_watch "inotify_rm_watch"(int fd, int wd)

cdef extern from "unistd.h" nogil:
    long syscall(long number, ...)

cdef extern from "sys/syscall.h" nogil:
    enum: SYS_openat2

cdef extern from "engine/core/crc32c.h" nogil:
    uint32_t c_crc32c "crc32c"(uint32_t crc, const void *data, size_t length)

AT_FDCWD = _FDCWD
RESOLVE_NO_SYMLINKS = _NO_SYMLINKS
RESOLVE_NO_MAGICLINKS = _NO_MAGICLINKS
RESOLVE_BENEATH = _BENEATH
RESOLVE_IN_ROOT = _IN_ROOT

# A rename somewhere beside the path makes the kernel ask for another try; it may never stop.
cdef enum: TRIES = 128


cdef int check(long result) except -1:
    """Turn -1 and errno into an exception: the one place where that happens."""
    if result < 0:
        raise OSError(errno, os.strerror(errno))
    return 0


def openat2(int dir_fd, bytes path not None, uint64_t flags, *, uint64_t mode=0, uint64_t resolve=0):
    """A new descriptor, close-on-exec, by openat2(2); `resolve` says what the path may lead through.

    Raises OSError, for a kernel before Linux 5.6 too: nothing else can keep what `resolve` promises.
    """
    cdef open_how how
    cdef const char *name = path
    cdef long result = -1
    cdef int tries = 0
    memset(&how, 0, sizeof(how))
    how.flags = flags | O_CLOEXEC
    if flags & (O_CREAT | (O_TMPFILE & ~os.O_DIRECTORY)):
        how.mode = mode
    how.resolve = resolve
    with nogil:
        while tries < TRIES:
            result = syscall(SYS_openat2, dir_fd, name, &how, sizeof(how))
            if result >= 0 or (errno != EINTR and errno != EAGAIN):
                break
            tries += 1
    if result < 0 and errno == ENOSYS:
        raise OSError(ENOSYS, "openat2: paths can be kept from leading through links only by Linux 5.6 and newer")
    check(result)
    return result


def birth_ns(int dir_fd, bytes path not None, *, bint follow=True):
    """When a file was made, in nanoseconds since 1970; None where the file system does not know."""
    cdef statx_buf buf
    cdef const char *name = path
    cdef int flags = 0 if follow else AT_SYMLINK_NOFOLLOW
    cdef int result
    with nogil:
        result = c_statx(dir_fd, name, flags, STATX_BTIME, &buf)
    check(result)
    if not buf.stx_mask & STATX_BTIME:
        return None
    return buf.stx_btime.tv_sec * 1_000_000_000 + buf.stx_btime.tv_nsec


def inotify_open():
    """A new inotify(7) descriptor, close-on-exec, whose reads do not wait."""
    cdef int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)
    check(fd)
    return fd


def inotify_add(int fd, bytes path not None, uint32_t mask):
    """Watch a path; returns the number that its events have, the same as before if it is watched."""
    cdef const char *name = path
    cdef int result
    with nogil:
        result = c_add_watch(fd, name, mask)
    check(result)
    return result


def inotify_remove(int fd, int watch):
    """Watch no more what has this number."""
    check(c_rm_watch(fd, watch))


def crc32c(data, uint32_t crc=0):
    """The CRC-32C of all data so far, whose value before was `crc`."""
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        with nogil:
            crc = c_crc32c(crc, view.buf, view.len)
    finally:
        PyBuffer_Release(&view)
    return crc
