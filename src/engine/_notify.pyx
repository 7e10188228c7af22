# cython: language_level=3
"""Seccomp's user notifications, as seen by the process that answers them; seccomp_unotify(2)."""

import os
from typing import NamedTuple

cimport cython
from libc.errno cimport EINPROGRESS, EINTR, ENOENT, errno
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

cdef extern from "linux/seccomp.h" nogil:
    struct seccomp_data:
        int nr
        uint32_t arch
        uint64_t args[6]
    struct seccomp_notif:
        uint64_t id
        uint32_t pid
        seccomp_data data
    struct seccomp_notif_resp:
        uint64_t id
        int64_t val
        int32_t error
        uint32_t flags
    struct seccomp_notif_sizes:
        uint16_t seccomp_notif
        uint16_t seccomp_notif_resp
    enum: SECCOMP_GET_NOTIF_SIZES, SECCOMP_USER_NOTIF_FLAG_CONTINUE
    unsigned long SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND, SECCOMP_IOCTL_NOTIF_ID_VALID

cdef extern from "poll.h" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int c_poll "poll"(pollfd *fds, unsigned long count, int timeout)
    enum: POLLIN, POLLHUP

cdef extern from "sys/ioctl.h" nogil:
    int c_ioctl "ioctl"(int fd, unsigned long request, void *argument)

cdef extern from "unistd.h" nogil:
    long syscall(long number, ...)

cdef extern from "sys/syscall.h" nogil:
    enum: SYS_seccomp, SYS_pidfd_getfd, _EXECVE "SYS_execve", _EXECVEAT "SYS_execveat"

EXECVE = _EXECVE
EXECVEAT = _EXECVEAT

# What the kernel fills may grow with it; today it is 80 and 24 bytes.
cdef enum: ROOM = 512

cdef union question:
    seccomp_notif notice
    char room[ROOM]

cdef union reply:
    seccomp_notif_resp answer
    char room[ROOM]


class Notice(NamedTuple):
    """A system call that waits for an answer."""

    cookie: int
    thread: int
    number: int
    arguments: tuple[int, ...]


@cython.final
cdef class Listener:
    """The descriptor that a filter's questions come from; it is owned, and closed with this."""

    cdef int _fd

    def __cinit__(self):
        self._fd = -1

    def __init__(self, int fd):
        """`fd`: what seccomp(2) returned for SECCOMP_FILTER_FLAG_NEW_LISTENER.

        Raises OSError when the kernel's structures are larger than these; `fd` stays the caller's.
        """
        cdef seccomp_notif_sizes sizes
        if syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) < 0:
            raise OSError(errno, os.strerror(errno))
        if sizes.seccomp_notif > ROOM or sizes.seccomp_notif_resp > ROOM:
            raise OSError("the kernel's notifications are larger than expected")
        self._fd = fd

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def fileno(self):
        """The descriptor, readable when a question waits or the last asking process is gone."""
        return self._fd

    def close(self):
        """Give up answering: every call that is waiting, or is made later, fails with ENOSYS."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def receive(self):
        """The next question, or None when there is none now. Never waits.

        Raises EOFError when no process is left that could ask, and OSError.
        """
        cdef question q
        cdef pollfd ready
        ready.fd, ready.events, ready.revents = self._fd, POLLIN, 0
        if c_poll(&ready, 1, 0) < 0:
            raise OSError(errno, os.strerror(errno))
        if not ready.revents & POLLIN: # else the kernel would wait for the next
            if ready.revents & POLLHUP:
                raise EOFError("no supervised process is left")
            return None
        memset(&q, 0, sizeof(q))
        if c_ioctl(self._fd, SECCOMP_IOCTL_NOTIF_RECV, &q) < 0:
            if errno in (ENOENT, EINTR): # killed in between
                return None
            raise OSError(errno, os.strerror(errno))
        arguments = tuple([q.notice.data.args[i] for i in range(6)])
        return Notice(q.notice.id, q.notice.pid, q.notice.data.nr, arguments)

    def waits(self, uint64_t cookie):
        """Whether the call still waits: what was read of its process before is then its own."""
        return c_ioctl(self._fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &cookie) == 0

    def proceed(self, cookie):
        """Have the kernel carry the call out. False when it waits no more."""
        return self._answer(cookie, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE)

    def refuse(self, cookie, int error):
        """Have the call fail with this errno. False when it waits no more."""
        return self._answer(cookie, -error, 0)

    cdef bint _answer(self, uint64_t cookie, int32_t error, uint32_t flags) except -1:
        cdef reply r
        memset(&r, 0, sizeof(r))
        r.answer.id, r.answer.error, r.answer.flags = cookie, error, flags
        if c_ioctl(self._fd, SECCOMP_IOCTL_NOTIF_SEND, &r) == 0:
            return True
        if errno == ENOENT or errno == EINPROGRESS: # its process is gone, or a copy of this answered
            return False
        raise OSError(errno, os.strerror(errno))


def borrow_descriptor(int pidfd, int number):
    """Return a copy of a descriptor of a process, of which the caller has a pidfd; pidfd_getfd(2).

    Raises OSError.
    """
    cdef long fd = syscall(SYS_pidfd_getfd, pidfd, number, 0)
    if fd < 0:
        raise OSError(errno, os.strerror(errno))
    return fd
