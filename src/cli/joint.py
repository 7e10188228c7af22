"""A process on a node, joined to this program's streams, terminal and signals.

    stdin ──► backlog ──► process ──► sink (stdout, stderr)
    SIGINT, SIGTERM, ... ──► the process group;  SIGWINCH ──► the terminal's size

Reading stdin and writing to the process are two tasks, so that the keys that leave are seen even
while the node cannot be reached.
"""

import math
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, suppress
from enum import Enum

import anyio
from anyio.abc import TaskGroup

from execnode.client.channel import Gap, Output
from execnode.client.errors import AnswerLost, ProtocolError
from execnode.client.node import Node
from execnode.client.process import Process

from . import console
from .sinks import Sink
from .tell import OutputGone, say

__all__ = ["Feed", "Joint", "Parting"]

_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# Seconds between SIGTERM and SIGKILL for somebody who presses Ctrl-C a second time.
_GRACE = 2.0
# Seconds after which somebody who waits is told what for.
_PATIENCE = 1.0
_BACKLOG_BYTES = 1 << 20
_END_OF_FILE = b"\x04"


class Feed(Enum):
    """What of our stdin reaches the process. Keys that leave are looked for in all of it."""

    NOTHING = "nothing"
    KEYS = "keys"  # nothing, but the keys that leave count
    DATA = "data"  # all of it, not its end
    ALL = "all"

    @property
    def reads(self) -> bool:
        """Whether our stdin is read."""
        return self is not Feed.NOTHING


class Parting(Enum):
    """Why a process and this program parted."""

    ENDED = "ended"
    LEFT = "left"  # by the keys or, as a viewer, by a signal
    INTERRUPTED = "interrupted"  # by a signal, before there was a process
    OUTPUT_GONE = "output gone"


class Joint:
    """One process, joined by `run`.

    sink: takes its output.
    feed: what it gets of our stdin.
    tty: it has a terminal of its own, which ours then stands for.
    owner: it is ours, and ends when we leave.
    """

    def __init__(self, sink: Sink, *, feed: Feed, tty: bool, owner: bool) -> None:
        self._sink = sink
        self._feed = feed
        self._tty = tty
        self._owner = owner
        self._backlog = _Backlog()
        self._terminal = ExitStack()  # restores its modes
        self._scope = anyio.CancelScope()
        self._signals = 0
        self._waits_since = math.inf  # for output; endless while it is written
        self.process: Process | None = None
        self.parting = Parting.ENDED
        self.number = 0
        """The signal that interrupted."""

    async def run(self, node: Node, begin: Callable[[], Awaitable[Process]]) -> Parting:
        """Begin the process, and be it until it has ended or we leave it.

        Raises what `begin` and taking output raise, and OutputFailed.
        """
        watched = (*_PASSED_ON, signal.SIGWINCH) if self._tty else _PASSED_ON
        failure: Exception | None = None
        with anyio.open_signal_receiver(*watched) as signals, self._terminal:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._obey, signals, tasks)
                if os.isatty(2):
                    tasks.start_soon(self._watch_connection, node)
                try:
                    with self._scope:
                        self.process = await begin()
                        async with self.process as process:
                            await self._be(process, tasks)
                except Exception as error:
                    failure = error  # out of the task group, which would wrap it
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if self._tty and self.parting is Parting.LEFT and os.isatty(2):
            say("")  # the cursor is wherever the process had it
        return self.parting

    async def _be(self, process: Process, tasks: TaskGroup) -> None:
        if os.isatty(0) and (self._feed is Feed.KEYS or (self._tty and self._feed.reads)):
            self._terminal.enter_context(console.raw(0, signals=not self._tty))
        if self._feed.reads:
            tasks.start_soon(self._listen)
            tasks.start_soon(self._write, process)
        if self._tty:
            tasks.start_soon(self._resize, process)  # it may have changed since the start
        elif os.isatty(2):
            tasks.start_soon(self._explain, process)
        await self._show(process)

    def _part(self, why: Parting) -> None:
        self.parting = why
        self._terminal.close()  # what is left to do may take a while
        self._scope.cancel()

    # --- output -----------------------------------------------------------------------------------

    async def _show(self, process: Process) -> None:
        await self._sink.started(process)
        try:
            while items := await self._take(process):
                for item in items:
                    if isinstance(item, Gap):
                        await self._sink.gap(item)
                    else:
                        await self._sink.output(item)
            await self._sink.ended(process)
        except OutputGone:
            self._part(Parting.OUTPUT_GONE)

    async def _take(self, process: Process) -> list[Output | Gap]:
        self._waits_since = time.monotonic()
        items = await process.take()
        self._waits_since = math.inf
        return items

    async def _watch_connection(self, node: Node) -> None:
        """Tell why nothing happens when the connection is lost."""
        told = False
        while True:
            await anyio.sleep(_PATIENCE)
            if told == node.connected:
                told = not told
                say(f"execnode: connection {'lost; connecting again' if told else 'is back'}")

    async def _explain(self, process: Process) -> None:
        """Tell why nothing happens when it has ended and its output has not."""
        with suppress(ConnectionError):
            await process.wait()
            while True:
                await anyio.sleep(_PATIENCE)
                if time.monotonic() - self._waits_since >= _PATIENCE:
                    break
            say("execnode: it has ended; something that it started still holds its output")

    # --- input ------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Read our stdin."""
        escape = console.Escape() if os.isatty(0) else None
        while data := await console.read(0):
            if escape is not None and escape.found_in(data, time.monotonic()):
                self._part(Parting.LEFT)
                return
            if self._feed is not Feed.KEYS:
                await self._backlog.put(data)
        self._backlog.end()

    async def _write(self, process: Process) -> None:
        """Write to the process what was read, until it takes no more."""
        last = b"\n"
        with suppress(ConnectionError, ProtocolError):  # if it matters, the output ends so too
            while data := await self._backlog.get():
                await process.write(data)
                last = data[-1:]
            if self._feed is not Feed.ALL:
                return
            if self._tty:  # twice in the middle of a line, termios(3) on VEOF
                await process.write(_END_OF_FILE * (1 if last == b"\n" else 2))
            else:
                await process.close_stdin()

    # --- signals ----------------------------------------------------------------------------------

    async def _obey(self, signals: AsyncIterator[signal.Signals], tasks: TaskGroup) -> None:
        async for number in signals:
            if self.process is None:
                self.number = number
                self._part(Parting.INTERRUPTED)
            elif number == signal.SIGWINCH:
                tasks.start_soon(self._resize, self.process)
            elif not self._owner and number != signal.SIGINT:
                self._part(Parting.LEFT)
            else:
                self._signals += 1
                # A task, since the next one must not wait for a node that does not answer.
                tasks.start_soon(self._pass_on, self.process, number)

    async def _pass_on(self, process: Process, number: signal.Signals) -> None:
        """The first goes to the process, the second ends it, the third does not wait for that."""
        try:
            if process.returncode is not None:
                await process.terminate(leftovers=True)
            elif self._signals == 1 or not self._owner:
                await process.signal(number.name)
            elif self._signals == 2:
                say(f"execnode: ending it ({_GRACE:g} s to do so by itself; once more: at once)")
                await process.terminate(_GRACE)
            else:
                self._scope.cancel()
        except AnswerLost:
            say(f"execnode: the connection broke; whether {number.name} got there is not known")
        except (ConnectionError, ProtocolError):
            pass  # the output ends with it

    async def _resize(self, process: Process) -> None:
        size = console.terminal_size()
        if size is not None:
            with suppress(ConnectionError, ProtocolError):
                await process.resize(*size)


class _Backlog:
    """Bytes between a reader and a writer; `put` waits while there are too many."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._ended = False
        self._changed = anyio.Event()

    async def put(self, data: bytes) -> None:
        while len(self._data) >= _BACKLOG_BYTES:
            await self._changed.wait()
        self._data += data
        self._change()

    def end(self) -> None:
        self._ended = True
        self._change()

    async def get(self) -> bytes:
        """All of them, at least one; b"" at the end."""
        while not self._data and not self._ended:
            await self._changed.wait()
        data = bytes(self._data)
        self._data.clear()
        self._change()
        return data

    def _change(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
