"""A process of this machine: the engine's process, how it ended and who waits for its news."""

from __future__ import annotations

import errno
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, Protocol

import anyio

from execnode.engine import _pty
from execnode.environment.local.sandbox import Confinement
from execnode.environment.local.spawning import Spawned
from execnode.policy.denial import Denial, denial_in, sandbox_denied
from execnode.policy.plan import Plan
from execnode.protocol.errors import RpcError, stdin_write_failed, system_error
from execnode.protocol.processes import (
    AttachResponse,
    ClosedNotification,
    EndReason,
    ExitedNotification,
    Gap,
    OutputChunk,
    ReadResponse,
    StartParams,
    StreamTotal,
    TerminalSize,
    WriteResponse,
)
from execnode.protocol.sandbox import Entry, FixedPath, SandboxDenial, SandboxReport
from execnode.protocol.uri import format_path_uri

__all__ = ["Audience", "LocalProcess"]

# Newest output that is searched for signs of a denial: what the dialect keeps of a process.
_SEARCHED_BYTES: Final = 1 << 20
_SEARCHED_RECORDS: Final = 50_000
# Output in one answer to process/read; more is fetched by the next. A chunk takes nine of the
# 262,144 values that a message may have.
_READ_BYTES: Final = 4 << 20
_READ_CHUNKS: Final = 16_384

_ACCEPTED: Final = WriteResponse("accepted")
_STDIN_CLOSED: Final = WriteResponse("stdinClosed")


class Audience(Protocol):
    """Somebody who knows processes, each by a name."""

    def lacks(self, name: str, process: LocalProcess) -> bool:
        """Whether there is news of a finished process that it may still have to be told."""

    def forget(self, name: str, process: LocalProcess) -> None:
        """Take it that the process is no longer there."""


class LocalProcess:
    """One process, from its start until it is forgotten.

    ref: its name on the node.
    on_ended: called once, when it has exited and its output is at its end.
    known_to: who has a name for it, and which. started_by: whose it is.
    abandoned: whoever started it has gone for good.
    confinement: the sandbox that was asked for, None without one.
    denied: it seems to have failed because of its sandbox, of which `denial` may tell more. Known
        when it has exited.
    starting: it is not known yet whether the program runs. unborn: it does not; it never was.
    unlimited: the optional limits that it does not have.
    """

    def __init__(
        self,
        ref: str,
        params: StartParams,
        spawned: Spawned,
        confinement: Confinement | None = None,
    ) -> None:
        process = spawned.process
        self.ref = ref
        self.argv = params.argv
        self.cwd = params.cwd
        self.tty = params.tty
        self.stdin = params.tty or params.pipe_stdin
        self.grace_ms = params.grace_ms
        self.place = spawned.place
        self.unlimited = spawned.unlimited
        self.process = process
        self.pid: int = process.pid
        self.started_at_ms = time.time_ns() // 1_000_000
        self.exit_code: int | None = None
        self.reason: EndReason | None = None
        self.signal: str | None = None
        self.exited_seq = 0
        self.closed_seq = 0
        self.abandoned = False
        self.confinement = confinement
        self.denied = False
        self.denial: SandboxDenial | None = None
        self.starting = False
        self.unborn = False
        self.on_ended: list[Callable[[LocalProcess], None]] = []
        self.known_to: dict[Audience, str] = {}
        self.started_by: Audience | None = None
        self._held = False
        self._news: anyio.Event | None = None
        self._change: anyio.Event | None = None
        self._writes: dict[int, _PendingWrite] = {}
        process.owner = self
        if confinement is not None or self.place.memory_limited:
            process.caller_tells = True  # the engine knows nothing of denials and limits

    # --- events of the engine ---------------------------------------------------------------------

    def dispatch(self, event: tuple[Any, ...]) -> None:
        """Take an event of the engine (environment/local/pump.py)."""
        kind = event[0]
        if kind == _pty.EXITED:
            self._exit()
        elif kind == _pty.ENDED:
            self.closed_seq = self.process.next_seq - 1
            for callback in self.on_ended:
                callback(self)
        elif kind == _pty.WRITTEN:
            pending = self._writes.pop(event[2], None)
            if pending is not None:  # or whoever waited for it has left
                pending.finish(event[3])
            return
        if self._news is not None:
            self._news.set()
            self._news = None
        if self._change is not None and kind != _pty.NEWS:
            self._change.set()
            self._change = None

    def _exit(self) -> None:
        if self.place.out_of_memory and self.process.exit_signal == signal.SIGKILL:
            self.process.ended_by = "oom"
        self.exit_code, self.reason, self.signal = self.process.ending
        self.exited_seq = self.process.exited_seq
        if self.confinement is not None and self.exit_code:
            with suppress(OSError):  # a spill file that cannot be read
                self._look_for_denial(self.confinement, self.exit_code)

    def _look_for_denial(self, confinement: Confinement, exit_code: int) -> None:
        outputs = self._newest_output()
        self.denied = sandbox_denied(exit_code, outputs)
        if self.denied:
            plan = confinement.plan
            told = denial_in(plan, plan.cwd or b"/", outputs)
            self.denial = None if told is None else _denial(told)

    def _newest_output(self) -> list[bytes]:
        """The newest of what is kept, by stream."""
        streams: dict[str, list[bytes]] = {}
        found = 0
        oldest = max(self.process.base_seq, self.process.next_seq - _SEARCHED_RECORDS)
        for seq in range(self.process.next_seq - 1, oldest - 1, -1):
            for number, stream, _, data in self.process.read(seq - 1, 0)[0]:
                if number == seq:
                    streams.setdefault(stream, []).append(data)
                    found += len(data)
            if found >= _SEARCHED_BYTES:
                break
        return [b"".join(reversed(parts)) for parts in streams.values()]

    async def wait(self) -> None:
        """Return when it has exited."""
        while not self.has_exited:
            await self._changed()

    async def wait_closed(self) -> None:
        """Return when it has exited and nobody holds its output any more."""
        while not self.closed:
            await self._changed()

    async def _changed(self) -> None:
        if self._change is None:
            self._change = anyio.Event()
        await self._change.wait()

    async def news(self) -> None:
        """Return when the log has grown, or the process has exited or closed."""
        if self._news is None:
            self._news = anyio.Event()
            self.process.watched = True
        await self._news.wait()

    # --- what it says -----------------------------------------------------------------------------

    @property
    def has_exited(self) -> bool:
        """Whether it was waited for."""
        return self.exit_code is not None

    @property
    def closed(self) -> bool:
        """Whether its log is complete."""
        return self.closed_seq > 0

    @property
    def wanted(self) -> bool:
        """Whether somebody has not heard all of it yet."""
        return any(audience.lacks(name, self) for audience, name in self.known_to.items())

    @property
    def sandbox_report(self) -> SandboxReport | None:
        """How its sandbox is enforced, None without one."""
        confinement = self.confinement
        if confinement is None:
            return None
        return SandboxReport(confinement.way, list(confinement.lost))

    @property
    def in_namespaces(self) -> bool:
        """Whether what is known as the process here only stands for it."""
        return self.confinement is not None and self.confinement.way == "namespaces"

    def forget_plan(self) -> None:
        """Call it when nothing of its sandbox is left: a plan may be large, and ends are kept."""
        if self.confinement is not None:
            self.confinement = replace(self.confinement, plan=Plan(()), landlock=None)

    @property
    def kept_missing(self) -> tuple[bytes, ...]:
        """The paths that its sandbox keeps from being made."""
        return () if self.confinement is None else self.confinement.plan.missing

    def exited_notification(self, name: str) -> ExitedNotification:
        """What is told at its exit, to a client that calls it `name`."""
        assert self.exit_code is not None
        return ExitedNotification(
            name,
            self.exited_seq,
            self.exit_code,
            self.denied,
            self.reason,
            self.signal,
            self.denial,
        )

    def closed_notification(self, name: str) -> ClosedNotification:
        """What is told at the end of its log."""
        digests = self.process.digests()
        totals = self.process.totals()
        streams = {stream: StreamTotal(totals[stream], digests[stream]) for stream in totals}
        return ClosedNotification(name, self.closed_seq, streams)

    def attach_response(self) -> AttachResponse:
        """Its state, for a client that begins to watch it."""
        return AttachResponse(
            self.process.next_seq,
            self.has_exited,
            self.exit_code,
            self.closed,
            self.tty,
            self.reason,
            self.signal,
            self.pid,
            self.ref,
            self.process.retention,
        )

    def read(self, after_seq: int, max_bytes: int | None) -> ReadResponse:
        """Kept output after a seq, and the state, at this moment. Raises RpcError."""
        limit = _READ_BYTES if max_bytes is None else min(max_bytes, _READ_BYTES)
        try:
            chunks, next_seq, gone = self.process.read(after_seq, limit)
        except OSError as error:
            raise system_error(error.errno or 0) from error
        if len(chunks) > _READ_CHUNKS:
            next_seq = chunks[_READ_CHUNKS][0]
            del chunks[_READ_CHUNKS:]
        if not chunks:
            next_seq = self.process.next_seq
        elif max_bytes is not None:
            next_seq = chunks[-1][0] + 1
        return ReadResponse(
            [OutputChunk(seq, stream, data, offset) for seq, stream, offset, data in chunks],
            next_seq,
            self.has_exited,
            self.exit_code,
            self.closed,
            None,
            self.denied,
            None if gone is None else Gap(*gone, {}),
            self.reason,
            self.signal,
        )

    async def read_waiting(
        self, after_seq: int, max_bytes: int | None, wait_ms: int
    ) -> ReadResponse:
        """As `read`, waiting up to `wait_ms` for something that is news to the caller."""
        with anyio.move_on_after(wait_ms / 1000):
            while not self.has_news(after_seq):
                await self.news()
        return self.read(after_seq, max_bytes)

    def has_news(self, after_seq: int) -> bool:
        """Whether a read after this seq has something to tell that is not known by it."""
        if self.closed:
            return True
        behind = after_seq + 1 < self.process.next_seq
        return behind and (self.has_exited or bool(self.process.read(after_seq, 0)[0]))

    # --- what is done to it -----------------------------------------------------------------------

    def write(self, data: bytes, write_id: str | None) -> WriteResponse | int:
        """Write to its standard input: the answer, or a ticket for `written`.

        Raises RpcError when it cannot be reached.
        """
        if not self.stdin:
            return _STDIN_CLOSED
        result, ticket, _ = self.process.write(data, (write_id or "").encode())
        if result in (_pty.ACCEPTED, _pty.REPEATED):
            return _ACCEPTED
        if result == _pty.WAITING:
            return int(ticket)
        if result == _pty.CLOSED:
            return _STDIN_CLOSED
        if result == _pty.FULL:
            raise RpcError(
                -32603,
                "8 MiB of earlier writes wait for the program to read them, and no more are taken; "
                "wait for their answers",
            )
        raise stdin_write_failed()

    def written(self, ticket: int) -> Awaitable[WriteResponse]:
        """The answer to a write that had to wait, once the program's pipe or terminal has it all.

        To be called before the next poll. When awaited it raises RpcError if that will never be.
        """
        return self._written(self._writes.setdefault(ticket, _PendingWrite()))

    async def _written(self, pending: _PendingWrite) -> WriteResponse:
        await pending.done.wait()
        if pending.errno:
            raise stdin_write_failed()
        return _ACCEPTED

    def close_stdin(self) -> None:
        """End its standard input after what is queued. Raises RpcError for a terminal's."""
        if self.tty:
            raise RpcError(-32600, "a terminal's input cannot be closed; write 0x04 (Ctrl-D) to it")
        self.process.close_input()

    def send_signal(self, number: int) -> None:
        """Signal its process group; nothing happens once it has exited."""
        if not self.has_exited:
            with suppress(ProcessLookupError):
                self.process.signal(number)

    def resize(self, size: TerminalSize) -> None:
        """Set the size of its terminal. Raises RpcError."""
        try:
            self.process.resize(size.rows, size.cols)
        except OSError as error:
            if not self.tty:
                raise RpcError(-32600, "this process has no terminal to resize") from error
            # The terminal's last user has left: there is nobody to care about its size.

    def hold(self, seq: int) -> None:
        """Protect the log from this record on, for a reader that is away; an earlier hold stays."""
        if not self._held:
            self.process.hold(seq)
            self._held = True

    def release(self) -> None:
        """Protect it no longer: the reader has what it missed, or will not come for it."""
        if self._held:
            self.process.release()
            self._held = False

    def forgotten(self) -> None:
        """Tell those who know it by a name, or still write to it, that it is gone for good."""
        for audience, name in self.known_to.items():
            audience.forget(name, self)
        for pending in self._writes.values():
            pending.finish(errno.EPIPE)

    def polite_signal(self) -> None:
        """What comes before SIGKILL."""
        self.send_signal(signal.SIGTERM)


def _denial(told: Denial) -> SandboxDenial | None:
    if told.path is None or told.right is None:
        return None
    path = format_path_uri(told.path)
    return SandboxDenial(path, told.right, Entry(FixedPath(path), told.right))


class _PendingWrite:
    """Bytes on their way into a standard input."""

    __slots__ = ("done", "errno")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.errno = 0

    def finish(self, errno: int) -> None:
        self.errno = errno
        self.done.set()
