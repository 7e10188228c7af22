# cython: language_level=3
"""The Cython face of the engine: Engine, Process, Channel and Blob over the C core.

One thread owns an engine and everything it made.  `Engine.poll()` does the work, without the interpreter lock; the
other methods only change state and never wait.
"""

import errno
import os

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport errno as errno_value
from libc.stdlib cimport free, malloc
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from posix.unistd cimport close as close_fd

from execnode.engine cimport _core as core

STREAMS = ("stdout", "stderr", "pty")
REASONS = {reason: reason.encode() for reason in ("killed", "timeout", "oom", "policy")}

FRAME = core.EVENT_FRAME
QUEUED = core.EVENT_QUEUED
OVERSIZE = core.EVENT_OVERSIZE
EOF = core.EVENT_EOF
BROKEN = core.EVENT_BROKEN
DRAINED = core.EVENT_DRAINED
MARK = core.EVENT_MARK
GAP = core.EVENT_GAP
EXITED = core.EVENT_EXITED
ENDED = core.EVENT_ENDED
NEWS = core.EVENT_NEWS
WRITTEN = core.EVENT_WRITTEN

MARK_EXITED = core.LOG_EXITED
MARK_CLOSED = core.LOG_CLOSED

FRAMES = core.FRAMING_FRAMES
LINES = core.FRAMING_LINES
WEBSOCKET = core.FRAMING_WEBSOCKET

ACCEPTED = core.WRITE_DONE
REPEATED = core.WRITE_REPEATED
WAITING = core.WRITE_QUEUED
CLOSED = core.WRITE_CLOSED
FULL = core.WRITE_FULL
FAILED = core.WRITE_FAILED


class SpawnError(OSError):
    """A process could not be started.

    `errno` and `strerror` as in OSError; `stage` names what was being done, after the system call or the thing made:
    pipe, pty, clone, setsid, terminal, stdio, inherit, chdir, setrlimit, sandbox or execve.
    """

    stage: str

    def __init__(self, stage, number):
        super().__init__(number, os.strerror(number))
        self.stage = stage

    def __str__(self):
        return f"{self.stage}: {self.strerror}"


cdef int check(int result) except -1:
    """Turn -errno into an exception: the one place where that happens."""
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return 0


cdef core.span span_of(bytes data):
    cdef core.span span
    span.data = <const uint8_t *>PyBytes_AS_STRING(data)
    span.length = PyBytes_GET_SIZE(data)
    return span


cdef char **pointers(list strings) except NULL:
    """A NULL-terminated array of pointers into the bytes objects of a list; to be freed by the caller."""
    cdef Py_ssize_t count = len(strings)
    cdef char **array = <char **>malloc((count + 1) * sizeof(char *))
    cdef Py_ssize_t i
    if array == NULL:
        raise MemoryError
    for i in range(count):
        array[i] = PyBytes_AS_STRING(strings[i])
    array[count] = NULL
    return array


cdef dict by_stream(const uint64_t *counts, bint tty):
    """Bytes by the names of the streams that this kind of process has."""
    if tty:
        return {"pty": counts[2]}
    return {"stdout": counts[0], "stderr": counts[1]}


cdef str name_of(const core.event *event):
    return event.data[:event.length].decode()


cdef void update_hashers(void *arg, int stream, const void *data, size_t length) noexcept with gil:
    cdef Process process = <Process>arg
    try:
        process.hashers[stream].update(<const char[:length]><const char *>data)
    except BaseException as error:  # kept for digest(): there is nobody to raise it to here
        process.hash_error = error


include "_sandbox.pxi"


cdef class Engine:
    """Owns the epoll descriptor, the children and the connections.

    `memory_limit` bounds the bytes of output kept in memory by all processes together; above it, or above a process's
    own share, output goes to unlinked files in `spill_dir` (None: nowhere) of at most `spill_limit` bytes together.
    """

    cdef core.engine engine
    cdef bint open
    cdef bint polling
    cdef set alive
    cdef readonly bint busy
    cdef public bint waited_for

    def __cinit__(self, *, size_t memory_limit, spill_dir=None, uint64_t spill_limit=0):
        cdef bytes folder = b"" if spill_dir is None else os.fsencode(spill_dir)
        self.alive = set()
        check(core.engine_init(&self.engine, memory_limit, NULL if spill_dir is None else PyBytes_AS_STRING(folder),
                               spill_limit))
        self.open = True

    def __dealloc__(self):
        if self.open:
            core.engine_destroy(&self.engine)

    cdef int usable(self) except -1:
        if not self.open:
            raise ValueError("the engine is closed")
        if self.polling:
            raise RuntimeError("the engine belongs to another thread, which is polling it")
        return 0

    def fileno(self):
        """The descriptor to wait for: readable when poll() has something to do."""
        self.usable()
        return self.engine.epoll_fd

    @property
    def processes(self):
        """How many Process objects are open."""
        return self.engine.processes

    @property
    def channels(self):
        """How many Channel objects are open."""
        return self.engine.channels

    @property
    def memory_used(self):
        """Bytes of memory that logs hold for output."""
        return self.engine.budget.memory_used

    @property
    def spill_used(self):
        """Bytes of output that live in spill files."""
        return self.engine.budget.spill_used

    def wake(self):
        """Make fileno() readable, so that whoever waits for it calls poll()."""
        self.usable()
        core.engine_wake(&self.engine)

    cdef void touched(self):
        # Something was queued outside poll(): whoever waits for the descriptor has to look again.
        if self.waited_for and (self.engine.dirty != NULL or self.engine.event_count):
            self.waited_for = False
            core.engine_wake(&self.engine)

    def poll(self):
        """Move all bytes that can be moved now; return what needs a decision, as a list of tuples.

        Each tuple starts with its kind and the Channel or Process concerned:

        - (FRAME, channel, body): a whole message, on a WEBSOCKET channel whatever one read gave; (QUEUED, channel, body, ticket): a process/write that is under way;
        - (OVERSIZE, channel, size), (EOF, channel), (BROKEN, channel, errno), (DRAINED, channel);
        - (MARK, channel, process, seq, mark, name), only for a process whose marks the caller tells, and (GAP, channel,
          process, first, last, bytes by stream, name): to be answered with channel.pass_on() before the next poll();
          `name` is what the channel calls the process;
        - (EXITED, process), (ENDED, process), (NEWS, process), (WRITTEN, process, ticket, errno).

        `busy` then tells whether there may be more to do at once.
        """
        self.usable()
        self.polling = True
        with nogil:
            self.busy = core.engine_poll(&self.engine)
        self.polling = False
        cdef size_t i, count = self.engine.event_count
        self.engine.event_count = 0
        if self.engine.out_of_memory:
            self.engine.out_of_memory = False
            raise MemoryError("the engine could not keep an event or a record")
        return [self.translate(&self.engine.events[i]) for i in range(count)]

    cdef tuple translate(self, core.event *event):
        cdef core.event_kind kind = event.kind
        cdef object channel = <object>event.channel.handle if event.channel != NULL else None
        cdef object process = <object>event.process.handle if event.process != NULL else None
        if kind == core.EVENT_FRAME:
            return (FRAME, channel, PyBytes_FromStringAndSize(<char *>event.data, event.length))
        if kind == core.EVENT_QUEUED:
            return (QUEUED, channel, PyBytes_FromStringAndSize(<char *>event.data, event.length), event.number)
        if kind == core.EVENT_OVERSIZE:
            return (OVERSIZE, channel, event.number)
        if kind == core.EVENT_BROKEN:
            return (BROKEN, channel, event.error)
        if kind == core.EVENT_EOF or kind == core.EVENT_DRAINED:
            return (<int>kind, channel)
        if kind == core.EVENT_MARK:
            return (MARK, channel, process, event.number, event.error, name_of(event))
        if kind == core.EVENT_GAP:
            return (GAP, channel, process, event.number, event.last, by_stream(event.bytes, event.process.tty),
                    name_of(event))
        if kind == core.EVENT_WRITTEN:
            return (WRITTEN, process, event.number, event.error)
        return (<int>kind, process)

    def open_channel(self, int in_fd, int out_fd, *, uint32_t max_frame, int framing=FRAMES):
        """Take over a connection's descriptors (the same one twice for a socket).

        `framing` says how messages are kept apart, and `max_frame` how many bytes an incoming one may have:

        - FRAMES: a 4-byte big-endian length before each, both ways.
        - LINES: a line feed after each, both ways.  Incoming, a carriage return before it is cut off too, lines of
          spaces and tabs are passed over, and the end of input ends a last line.
        - WEBSOCKET: incoming bytes are FRAME events as they were read, for a library to parse; each message sent is
          a WebSocket message of a server (RFC 6455).

        FRAMES speak CBOR with all members at first, the others plain JSON: see Channel.encode_as().
        """
        self.usable()
        cdef Channel channel = Channel.__new__(Channel)
        if not 0 <= framing < core.FRAMINGS:
            raise ValueError(f"there is no framing {framing}")
        check(core.channel_open(&self.engine, in_fd, out_fd, <core.framing_kind>framing, max_frame, &channel.channel))
        channel.engine = self
        channel.channel.handle = <void *>channel
        self.alive.add(channel)
        return channel

    def spawn(self, list paths not None, list argv not None, list env not None, bytes cwd not None, *, size=None,
              bint stdin=False, int cgroup_fd=-1, dict rlimits=None, bint drop_oldest=False,
              uint64_t retention=1 << 20, size_t memory=1 << 20, dict hashers=None, bint outlive=False,
              Sandbox sandbox=None, list inherit=None):
        """Start a process (see core/spawn.h) and return its Process.

        `paths` are the programs to try in order, `argv` and `env` (b"NAME=value") what the program sees, `cwd` its
        folder, all bytes without NUL; `size` (rows, columns) asks for a terminal; `rlimits` maps RLIMIT_* to (soft,
        hard), where -1 is no limit, as in the resource module.
        `retention` bytes of output are kept, up to `memory` of them in memory.  `hashers` maps a stream's number
        (its index in STREAMS) to a hashlib object that gets every byte; without, streams get a CRC-32C.
        `outlive`: it is not killed with the thread that starts it.  `sandbox`: what it gives up.
        `inherit`: descriptors, at most 64, that become 3, 4, ... in the program; they stay the caller's.
        Raises SpawnError.
        """
        self.usable()
        cdef core.spawn_plan plan
        cdef core.spawn_stage stage = core.SPAWN_OK
        cdef core.retention kept
        cdef core.spawn_rlimit limits[16]
        cdef int inherited[core.SPAWN_INHERIT_MAX]
        cdef Process process = Process.__new__(Process)
        cdef char **path_array = NULL
        cdef char **argv_array = NULL
        cdef char **env_array = NULL
        cdef int error
        plan.rlimit_count = 0
        for resource, (soft, hard) in (rlimits or {}).items():
            if plan.rlimit_count == 16:
                raise ValueError("more resource limits than there are resources")
            limits[plan.rlimit_count].resource = resource
            limits[plan.rlimit_count].limit.rlim_cur = core.RLIM_INFINITY if soft == -1 else soft
            limits[plan.rlimit_count].limit.rlim_max = core.RLIM_INFINITY if hard == -1 else hard
            plan.rlimit_count += 1
        plan.inherit_count = 0
        for fd in inherit or ():
            if plan.inherit_count == core.SPAWN_INHERIT_MAX:
                raise SpawnError("inherit", errno.EINVAL)
            inherited[plan.inherit_count] = fd
            plan.inherit_count += 1
        for strings in (paths, argv, env, (cwd,)):
            for string in strings:
                if type(string) is not bytes or b"\0" in string:
                    raise ValueError("arguments, environment and folder must be bytes without NUL")
        try:
            path_array = pointers(paths)
            argv_array = pointers(argv)
            env_array = pointers(env)
            plan.paths = <const char *const *>path_array
            plan.argv = argv_array
            plan.envp = env_array
            plan.cwd = PyBytes_AS_STRING(cwd)
            plan.rlimits = limits
            plan.tty = size is not None
            plan.rows, plan.cols = size or (0, 0)
            plan.stdin_pipe = stdin
            plan.cgroup_fd = cgroup_fd
            plan.inherit = inherited
            plan.outlive = outlive
            plan.confinement = &sandbox.confinement if sandbox is not None else NULL
            kept.policy = core.LOG_DROP_OLDEST if drop_oldest else core.LOG_BLOCK
            kept.bytes = retention
            kept.memory = memory
            with nogil:
                error = core.process_start(&self.engine, &plan, kept, &process.process, &stage)
        finally:
            free(path_array)
            free(argv_array)
            free(env_array)
        if error:
            if stage == core.SPAWN_OK:
                raise MemoryError
            raise SpawnError(core.spawn_stage_name(stage).decode(), error)
        process.engine = self
        process.process.handle = <void *>process
        if hashers is not None:
            process.hashers = hashers
            process.process.caller_tells = True  # the engine knows no digest but its own
            process.process.log.digest = update_hashers
            process.process.log.digest_arg = <void *>process
        self.alive.add(process)
        return process

    def close(self):
        """Close every Channel and Process, then the engine.  Children are not killed by this."""
        if not self.open:
            return
        self.usable()
        for each in list(self.alive):
            each.close()
        self.open = False
        core.engine_destroy(&self.engine)


include "_process.pxi"
include "_channel.pxi"
