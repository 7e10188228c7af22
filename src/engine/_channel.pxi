# Channel and Blob: a part of _pty.pyx.

cdef class Blob:
    """Memory for a large answer, outside the interpreter: `size` bytes, zeros at first, to be filled through a view.

    It has the writable buffer protocol and a length.  Channel.send_blob() takes it over.  Raises MemoryError.
    """

    cdef core.blob blob
    cdef bint taken
    cdef Py_ssize_t views

    def __cinit__(self, size_t size):
        if core.blob_init(&self.blob, size) < 0:
            raise MemoryError(f"there is no memory for {size} bytes")

    def __dealloc__(self):
        core.blob_free(&self.blob)

    cdef int usable(self) except -1:
        if self.taken:
            raise ValueError("the blob was sent")
        return 0

    cdef int own(self) except -1:
        """Make sure that nobody else looks at it."""
        self.usable()
        if self.views:
            raise BufferError("a view of the blob exists")
        return 0

    def __len__(self):
        self.usable()
        return self.blob.length

    def __getbuffer__(self, Py_buffer *view, int flags):
        self.usable()
        PyBuffer_FillInfo(view, self, <void *>self.blob.data, self.blob.length, False, flags)
        self.views += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.views -= 1

    def truncate(self, size_t size):
        """Keep only the first `size` bytes.  Raises ValueError if there are fewer, BufferError while a view exists."""
        self.own()
        if size > self.blob.length:
            raise ValueError(f"the blob has {self.blob.length} bytes, not {size}")
        core.blob_truncate(&self.blob, size)


@cython.no_gc_clear  # as for Process
cdef class Channel:
    """A connection: messages in and out, and the processes it streams."""

    cdef core.channel *channel
    cdef Engine engine
    cdef public object owner

    def __dealloc__(self):
        if self.channel != NULL:
            core.channel_free(self.channel)

    cdef core.channel *get(self) except NULL:
        if self.channel == NULL:
            raise ValueError("the channel was closed")
        self.engine.usable()
        return self.channel

    cdef core.cursor *cursor(self, Process process) except NULL:
        cdef core.cursor *cursor = core.channel_cursor(self.get(), process.get())
        if cursor == NULL:
            raise KeyError("the channel does not stream this process")
        return cursor

    @property
    def closed(self):
        return self.channel == NULL

    @property
    def queued(self):
        """Bytes that were sent and have not left yet, as they are on the wire; those of a blob count in full.

        Requests are not read while more than a mebibyte waits, until less than a quarter of it does.  There a blob
        counts 192 KiB at most: one that takes its time does not hold up what comes in, half a dozen do.
        """
        return self.get().queued

    def encode_as(self, *, bint json, bint plain):
        """How the notifications are written that the engine makes itself, and whether send() is text or binary.

        `plain`: with the members of the exec-server dialect only, and a gap is passed over without a word: no offset,
        reason, signal or stream totals, and no GAP events.  Raises ValueError while a process is attached.
        """
        cdef core.channel *channel = self.get()
        cdef core.voice voice
        if channel.cursors != NULL:
            raise ValueError("the channel streams a process already")
        voice.encoding = &core.json_encoding if json else &core.cbor_encoding
        voice.plain = plain
        core.channel_speak(channel, voice)

    def ready(self, *, uint32_t max_frame, bint acks):
        """The handshake is over: messages have up to `max_frame` bytes, and in FRAMES writes are done on the spot.

        `acks`: the peer acknowledges output, and what it has not is protected.
        """
        cdef core.channel *channel = self.get()
        channel.max_frame = max_frame
        channel.acks = acks
        channel.hot = channel.framing == &core.framings[<int>core.FRAMING_FRAMES]

    cdef int sent(self, int result) except -1:
        if result == -errno.EMSGSIZE:
            raise ValueError("the message is too large for its framing")
        if result == -errno.ENOMEM:
            raise MemoryError
        self.engine.touched()
        return 0

    def send(self, bytes body not None):
        """Queue a message; it leaves before any output that is not already on its way.

        Raises ValueError for 4 GiB and more with FRAMES.
        """
        self.sent(core.channel_send(self.get(), <const uint8_t *>PyBytes_AS_STRING(body), PyBytes_GET_SIZE(body)))

    def send_raw(self, bytes data not None):
        """Queue bytes that are no message, such as a WebSocket control frame; they leave between two messages."""
        self.sent(core.channel_send_raw(self.get(), <const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)))

    def send_blob(self, bytes head not None, Blob blob not None, bytes tail not None):
        """Queue one message: `head`, the blob's bytes (in JSON their base64) and `tail`, encoded as it leaves.

        The blob is taken over; its memory is given back when the message has left or the channel is closed.  Raises
        ValueError if it was taken already or the message is too large for FRAMES, BufferError while a view of it
        exists.  It is then still the caller's.
        """
        cdef core.channel *channel = self.get()
        blob.own()
        self.sent(core.channel_send_blob(channel, span_of(head), &blob.blob, span_of(tail)))
        blob.taken = True

    def attach(self, Process process not None, bytes name not None, uint64_t after_seq, *, bint protect=True,
               dict offsets=None):
        """Stream a process from the record after `after_seq`, calling it `name`.

        A process that is streamed already is moved to that record.  `protect`: its retention may block for us.
        `offsets`: how many bytes of each stream the peer has, should the record be gone and a gap be counted.
        """
        cdef core.channel *channel = self.get()
        cdef core.cursor *before = core.channel_cursor(channel, process.get())
        cdef core.cursor *cursor = core.channel_attach(channel, process.process, span_of(name), after_seq, protect)
        if cursor == NULL:
            raise MemoryError
        if before != NULL:  # only now: a log that nobody protects may evict
            core.cursor_free(before)
        if cursor.at.next_seq < process.process.log.base_seq:
            for stream, count in (offsets or {}).items():
                if stream in STREAMS:
                    cursor.at.offset[<int>STREAMS.index(stream)] = count
        self.engine.touched()

    def skip(self, Process process not None):
        """Jump over output that was not sent yet, up to the next mark or the end.

        It is reported as a GAP, unless the channel speaks plainly.
        """
        core.cursor_skip(self.cursor(process))
        self.engine.touched()

    def pass_on(self, Process process not None, uint64_t seq, bytes body not None):
        """Answer a MARK or GAP event: send `body` for the records up to `seq` and go on after them."""
        check(core.cursor_pass(self.cursor(process), seq, <const uint8_t *>PyBytes_AS_STRING(body),
                               PyBytes_GET_SIZE(body)))

    def streams(self, Process process not None):
        """Whether the channel streams this process."""
        return core.channel_cursor(self.get(), process.get()) != NULL

    def ack(self, Process process not None, uint64_t seq):
        """The peer has everything up to `seq`."""
        core.cursor_acked(self.cursor(process), seq)

    def unconfirmed(self, Process process not None):
        """The first record to keep in case the peer comes back."""
        return core.cursor_unconfirmed(self.cursor(process))

    def detach(self, Process process not None):
        """Stop streaming a process."""
        core.cursor_free(self.cursor(process))

    def notify_drained(self):
        """Ask for a DRAINED event once every frame sent has left."""
        core.channel_notify_drained(self.get())
        self.engine.touched()

    def close(self):
        """Close the connection; what has not left is lost."""
        if self.channel == NULL:
            return
        self.engine.usable()
        core.channel_free(self.channel)
        self.channel = NULL
        self.owner = None
        self.engine.alive.discard(self)
