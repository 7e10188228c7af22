# cython: language_level=3
"""Doing something in a sandbox without running a program there.

The sandbox is that of execnode-linux-sandbox, of the same sources, with the same options. What runs
in it is a function of the process that makes it, in a copy of its memory: so nothing of Python has
to be visible inside.
"""

import os

from cpython.exc cimport PyErr_WriteUnraisable
from libc.errno cimport errno
from libc.stdlib cimport calloc, free

cdef extern from "Python.h":
    void PyOS_BeforeFork()
    void PyOS_AfterFork_Parent()
    void PyOS_AfterFork_Child()

cdef extern from "signal.h" nogil:
    enum: SIGKILL

cdef extern from "sys/prctl.h" nogil:
    enum: PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER
    int prctl(int option, unsigned long argument, ...)

cdef extern from "engine/_seccomp/task.h":
    struct task:
        int (*run)(void *context)
        void *context
    int sandbox_run(int argc, char **argv, const task *task)


def die_with(int parent):
    """Be killed when the parent dies, of which the caller knows the pid; at once if it is dead."""
    if prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0:
        raise OSError(errno, os.strerror(errno))
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans():
    """Become the parent of descendants whose own parent is gone (PR_SET_CHILD_SUBREAPER)."""
    if prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0:
        raise OSError(errno, os.strerror(errno))


cdef int call(void *context) noexcept:
    """In the sandbox; the interpreter is told that it has been forked, and is never left."""
    PyOS_AfterFork_Child()
    code = 1
    try:
        (<object>context)()
        code = 0
    except BaseException as error:
        PyErr_WriteUnraisable(<object>context)
    finally:
        os._exit(code)
    return 1


def confined(list options not None, run not None):
    """Call `run` in a sandbox, in a process of its own, and return that one's exit code.

    options: those of execnode-linux-sandbox, bytes. Why a sandbox cannot be had is told as they say;
    the code is then 125, or 2 for wrong options.

    The calling process waits for the end and has to end then: it keeps what the sandbox was given.
    It must have one thread and wait for no other children.
    """
    cdef list words = [b"execnode-linux-sandbox", *options, b"--", b"-"]
    cdef char **argv = <char **>calloc(len(words) + 1, sizeof(char *))
    cdef bytes word
    cdef Py_ssize_t index
    cdef task work
    if not argv:
        raise MemoryError
    for index, word in enumerate(words):
        argv[index] = word
    work.run = call
    work.context = <void *>run
    PyOS_BeforeFork()
    code = sandbox_run(<int>len(words), argv, &work)
    PyOS_AfterFork_Parent()
    free(argv)
    return code
