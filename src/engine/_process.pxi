# Process: a part of _pty.pyx.

@cython.no_gc_clear  # the engine has to outlive it, also when all of them go at once
cdef class Process:
    """A child process and its output log."""

    cdef core.process *process
    cdef Engine engine
    cdef dict hashers
    cdef object hash_error
    cdef public object owner

    def __dealloc__(self):
        if self.process != NULL:
            core.process_free(self.process)

    cdef core.process *get(self) except NULL:
        if self.process == NULL:
            raise ValueError("the process was closed")
        self.engine.usable()
        return self.process

    @property
    def pid(self):
        return self.get().pid

    @property
    def tty(self):
        return self.get().tty

    @property
    def exited(self):
        """Whether it was reaped."""
        return self.get().exited

    @property
    def ended(self):
        """Whether it has exited and all its output is in the log."""
        return self.get().ended

    @property
    def exit_code(self):
        """The exit code, None for a death by signal or an unknown end."""
        cdef core.process *p = self.get()
        return p.exit_status if p.exit_kind == 1 else None  # CLD_EXITED

    @property
    def exit_signal(self):
        """The number of the signal that killed it, or None."""
        cdef core.process *p = self.get()
        return p.exit_status if p.exit_kind in (2, 3) else None  # CLD_KILLED, CLD_DUMPED

    @property
    def ending(self):
        """How it ended, as clients are told: (exit code, reason, name of the signal or None)."""
        cdef core.ending ending = core.process_ending(self.get())
        return ending.code, ending.reason.decode(), ending.signal.decode() if ending.signal != NULL else None

    @property
    def ended_by(self):
        """Why the caller has ended it, None if it has not: `killed`, `timeout`, `oom` or `policy`; set it once."""
        cdef core.process *p = self.get()
        return p.ended_by.decode() if p.ended_by != NULL else None

    @ended_by.setter
    def ended_by(self, str reason not None):
        cdef core.process *p = self.get()
        cdef bytes known = REASONS[reason]  # kept alive by the module
        if p.ended_by == NULL:
            p.ended_by = PyBytes_AS_STRING(known)

    @property
    def caller_tells(self):
        """Whether MARK events ask the caller to encode its marks; else the engine does, with `ending` and CRC-32C."""
        return self.get().caller_tells

    @caller_tells.setter
    def caller_tells(self, bint value):
        self.get().caller_tells = value

    @property
    def exited_seq(self):
        """The seq of the mark of its exit, 0 before it."""
        return self.get().log.exited_seq

    @property
    def next_seq(self):
        """The seq that the next record of the log will get."""
        return core.log_next_seq(&self.get().log)

    @property
    def base_seq(self):
        """The seq of the oldest record kept."""
        return self.get().log.base_seq

    @property
    def retention(self):
        """How many bytes the log keeps at most."""
        return self.get().log.retention

    @property
    def input_open(self):
        """Whether there is a standard input to write to."""
        return self.get().input.fd >= 0

    @property
    def watched(self):
        """Set it to get one NEWS event when the log next grows."""
        return self.get().watched

    @watched.setter
    def watched(self, bint value):
        self.get().watched = value

    def totals(self):
        """Bytes ever written, by stream."""
        cdef core.process *p = self.get()
        return by_stream(p.log.total, p.tty)

    def digests(self):
        """What proves the bytes of each stream: `crc32c:8 hex digits`, or the hasher's `name:hex`."""
        cdef core.process *p = self.get()
        cdef dict result = {}
        if self.hash_error is not None:
            raise self.hash_error
        cdef int i
        for i in range(2, 3) if p.tty else range(0, 2):
            if self.hashers is None:
                result[STREAMS[i]] = f"crc32c:{p.log.crc[i]:08x}"
            else:
                result[STREAMS[i]] = f"{self.hashers[i].name}:{self.hashers[i].hexdigest()}"
        return result

    def read(self, uint64_t after_seq, uint64_t max_bytes):
        """Output after `after_seq`: (list of (seq, stream, offset, bytes), next_seq, gap).

        Whole records, oldest first; at least one if there is one, then as many as fit in `max_bytes`.  `next_seq` is
        where the next read goes on.  `gap` is None, or the (first, last) of the records wanted that are gone.
        Raises OSError when a spill file cannot be read.
        """
        cdef core.process *p = self.get()
        cdef core.log *log = &p.log
        cdef uint64_t end = core.log_next_seq(log)
        cdef uint64_t seq = after_seq + 1 if after_seq < end else end
        cdef uint64_t taken = 0
        cdef const core.log_record *record
        cdef bytes data
        cdef list chunks = []
        gap = None
        if seq < log.base_seq:
            gap = (seq, log.base_seq - 1)
            seq = log.base_seq
        while seq < end:
            record = core.log_find(log, seq)
            if record.mark == core.LOG_OUTPUT:
                if chunks and (taken + record.length > max_bytes or taken >= max_bytes):
                    break
                data = PyBytes_FromStringAndSize(NULL, record.length)
                check(core.log_copy(log, record.pos, record.length, PyBytes_AS_STRING(data)))
                chunks.append((seq, STREAMS[record.stream], record.offset, data))
                taken += record.length
            seq += 1
        core.log_handed(log, seq - 1)
        return chunks, seq, gap

    def write(self, bytes data not None, bytes write_id not None=b""):
        """Write to standard input: (result, ticket, errno).

        `result` is ACCEPTED or REPEATED; WAITING, to be followed by a WRITTEN event with the `ticket`; CLOSED; FULL;
        or FAILED with an `errno`.  `write_id` has at most 1024 bytes.
        """
        if len(write_id) > core.WRITE_ID_MAX:
            raise ValueError("a write id of more than 1024 bytes")
        cdef uint64_t ticket = 0
        cdef int error = 0
        cdef core.write_result result = core.process_write(self.get(), span_of(data), span_of(write_id), &ticket,
                                                           &error)
        return <int>result, ticket, error

    def close_input(self):
        """End standard input once what is queued was written.  False when there is none to close."""
        return core.process_close_input(self.get())

    def signal(self, int number):
        """Signal the process group.  Raises ProcessLookupError once the leader was reaped."""
        check(core.process_signal(self.get(), number))

    def resize(self, unsigned short rows, unsigned short cols):
        """Set the size of its terminal.  Raises OSError when it has none any more."""
        cdef core.process *p = self.get()
        if not p.tty or p.output[0].fd < 0:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        check(core.pty_resize(p.output[0].fd, rows, cols))

    def hold(self, uint64_t seq):
        """Protect the log from record `seq` on, as a reader that is away would."""
        core.process_hold(self.get(), seq)

    def release(self):
        """Protect it no longer."""
        core.process_release(self.get())

    def close(self):
        """Forget the process and its log.  It is not killed, and nothing of it is closed but our own descriptors."""
        if self.process == NULL:
            return
        self.engine.usable()
        core.process_free(self.process)
        self.process = NULL
        self.owner = None
        self.engine.alive.discard(self)
