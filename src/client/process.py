"""A process on a node, as its user holds it."""

import hashlib
import itertools
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
from anyio.abc import AsyncResource

from execnode.protocol import methods
from execnode.protocol.errors import INTERNAL_ERROR, RpcError
from execnode.protocol.messages import EmptyResponse
from execnode.protocol.processes import (
    RECORD_COST,
    CloseStdinParams,
    ReadParams,
    ReadResponse,
    ResizeParams,
    SignalParams,
    TerminalSize,
    TerminateParams,
    TerminateResponse,
    WriteParams,
    WriteResponse,
)
from execnode.protocol.sandbox import SandboxDenial

from .channel import Channel, Gap, Output, Total
from .errors import IntegrityError
from .processes import Processes, Started

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

__all__ = ["Process"]

_ACK_BYTES = 128 * 1024
# What a node always keeps of a process, however short of memory it is. When that much is all it has
# sent for a while, it may be waiting for us.
_ACK_IDLE_BYTES = 4096
_ACK_IDLE_SECONDS = 0.005
_WRITE_BYTES = 256 * 1024
_END_SECONDS = 5.0
_REPEATABLE = frozenset({"SIGKILL", "SIGSTOP", "SIGCONT"})
_TAKE_BYTES = 256 * 1024


class Process(AsyncIterator[Output | Gap], AsyncResource):
    """A process on a node: its output, its standard input, its end.

    Made by `Node.start` and `Node.attach`. Iterating gives `Output` items in the order in which the
    node read them, and ends when the process has ended and every stream is at its end. A `Gap` item
    stands where output was dropped, which happens only when it was asked for: `drop-oldest`
    retention, `skip_to_end`, and attached processes whose node has not kept everything.

    Output that nobody takes stops the process as a full pipe would (`block` retention, the
    default): every 128 KiB that were taken, or when no more comes, the node is told that it may go
    on. Other processes of the same connection are not held up.

    At the end, the bytes of each stream are compared with the node's own count, and with its
    SHA-256 where the start asked for one; IntegrityError if they differ. A connection that breaks
    is a pause; SessionLost or ProcessLost tells that the rest will not come.

    As an async context manager it ends the process, if that still runs, when it is left.
    """

    def __init__(
        self,
        processes: Processes,
        channel: Channel,
        started: Started,
        args: Sequence[str | bytes],
        *,
        owned: bool,
        sha256: bool = False,
    ) -> None:
        self._processes = processes
        self._session = processes.session
        self._channel = channel
        self._owned = owned
        # Well before the node waits for it, however small its retention is.
        limit = started.max_bytes
        self._ack_bytes = _ACK_BYTES if limit is None else min(_ACK_BYTES, limit // 4)
        self._unacked = 0
        self._last_seq = 0
        # A writeId is one process's, whoever writes: ids of other sessions must not look like ours.
        self._write_ids = map(f"{secrets.token_hex(4)}-{{}}".format, itertools.count(1))
        self._writing = anyio.Lock(fast_acquire=True)
        self._hashes: dict[str, Hash] | None = {} if sha256 else None
        self.args = list(args)
        """Program and arguments, as given to `start`; empty for an attached process."""
        self.pid = started.pid
        """Process id on the node; None when the node does not say."""
        self.ref = started.ref
        """Name by which every session of the node can attach to the process, where there is one."""
        self.sandbox = started.sandbox
        """How its sandbox is enforced, and what of it is not; None without one, or if not told."""
        self.unlimited = tuple(started.unlimited)
        """Which of its optional limits (`Limits.optional`) it does not have."""

    def __repr__(self) -> str:
        state = "runs" if self.returncode is None else f"ended: {self.returncode}, {self.reason}"
        return f"<Process {self._channel.name} {state}>"

    # --- the end ----------------------------------------------------------------------------

    @property
    def returncode(self) -> int | None:
        """Exit code; 128 + number for a signal, -1 when unknown; None while the process runs."""
        return None if self._channel.exit is None else self._channel.exit.code

    @property
    def reason(self) -> str | None:
        """`exit`, `signal`, `timeout`, `oom`, `killed`, `policy` or `lost`; None while it runs."""
        return None if self._channel.exit is None else self._channel.exit.reason

    @property
    def signal_name(self) -> str | None:
        """`SIGKILL` and the like for a process that a signal ended."""
        return None if self._channel.exit is None else self._channel.exit.signal

    @property
    def sandbox_denied(self) -> bool:
        """Whether the node thinks that its sandbox made the process fail."""
        return self._channel.exit is not None and self._channel.exit.sandbox_denied

    @property
    def denial(self) -> SandboxDenial | None:
        """What the sandbox denied, where that is known."""
        return None if self._channel.exit is None else self._channel.exit.denial

    @property
    def totals(self) -> Mapping[str, Total]:
        """Bytes and digest of each stream as the node counted them; empty until all has arrived."""
        return self._channel.totals or {}

    async def wait(self) -> int:
        """The exit code, once the process has ended; its output may still be on the way.

        Output is not taken: a process that writes more than the node keeps (`retention`) is stopped
        until somebody iterates. Raises SessionLost or ProcessLost.
        """
        await self._channel.exited.wait()
        if self._channel.exit is None:
            assert self._channel.failure is not None
            raise self._channel.failure
        return self._channel.exit.code

    # --- output -----------------------------------------------------------------------------

    async def __anext__(self) -> Output | Gap:
        await self._ready()
        item = self._channel.take()
        if item is None:
            self._finish()
            raise StopAsyncIteration
        self._count(item)
        return item

    async def take(self, max_bytes: int = _TAKE_BYTES) -> list[Output | Gap]:
        """All items that are there, at least one, until they hold `max_bytes`; [] at the end.

        What iterating gives, several at once.
        """
        await self._ready()
        items: list[Output | Gap] = []
        while max_bytes > 0 and (item := self._channel.take()) is not None:
            self._count(item)
            items.append(item)
            if isinstance(item, Output):
                max_bytes -= len(item.data)
        if not items:
            self._finish()
        return items

    async def _ready(self) -> None:
        """Wait for an item or the end. What was given out before now counts as consumed."""
        if self._unacked >= self._ack_bytes:
            await self._acknowledge()
        channel = self._channel
        if channel.queue or channel.over:
            await anyio.lowlevel.checkpoint()
        while not channel.queue and not channel.over:
            if self._unacked < _ACK_IDLE_BYTES:
                await channel.wait()
                continue
            with anyio.move_on_after(_ACK_IDLE_SECONDS) as idle:
                await channel.wait()
            if idle.cancelled_caught:
                await self._acknowledge()

    async def _acknowledge(self) -> None:
        self._unacked = 0
        await self._processes.acknowledge(self._channel, self._last_seq)

    def _count(self, item: Output | Gap) -> None:
        self._unacked += RECORD_COST
        if isinstance(item, Gap):
            self._last_seq = item.to_seq
            self._hashes = None
            return
        self._last_seq = item.seq
        self._unacked += len(item.data)
        if self._hashes is not None:
            if item.stream not in self._hashes:
                self._hashes[item.stream] = hashlib.sha256()
            self._hashes[item.stream].update(item.data)

    def _finish(self) -> None:
        if self._channel.failure is not None:
            raise self._channel.failure
        for stream, sha256 in (self._hashes or {}).items():
            total = self.totals.get(stream)
            if total is None or total.digest != f"sha256:{sha256.hexdigest()}":
                raise IntegrityError(f"the SHA-256 of {stream} is not what the node computed")

    async def skip_to_end(self) -> None:
        """Drop the output that has not been taken yet, here and on the node; a Gap tells how much.

        For a reader who has fallen behind and wants to see the present. For a process with `block`
        retention, the dropped output cannot be had any more.
        """
        await self._processes.skip(self._channel)

    async def read(
        self, *, after_seq: int = 0, max_bytes: int | None = None, wait: float = 0.0
    ) -> ReadResponse:
        """Events after `after_seq` that the node still keeps, apart from iterating.

        Nothing is consumed by it. `wait`: seconds to wait for the first event. At least one chunk
        is given even if it is larger than `max_bytes`.
        """
        params = ReadParams(
            self._channel.process_id,
            after_seq=after_seq,
            max_bytes=max_bytes,
            wait_ms=round(wait * 1000),
        )
        return await self._session.call(methods.PROCESS_READ, params, ReadResponse)

    # --- input and control ------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        """Write to the program's standard input, or to its terminal.

        Returns when the node has taken all of it, which waits while the program does not read.
        Concurrent writes do not mix. A broken connection neither loses nor repeats bytes. When
        cancelled, some of `data` may have been taken.

        Raises BrokenPipeError when the program has ended or closed its input, or was started
        without (`stdin=True`).
        """
        process_id = self._channel.process_id
        async with self._writing:
            for start in range(0, len(data), _WRITE_BYTES):
                chunk = bytes(memoryview(data)[start : start + _WRITE_BYTES])
                params = WriteParams(process_id, chunk, next(self._write_ids))
                try:
                    answer = await self._session.call(methods.PROCESS_WRITE, params, WriteResponse)
                except RpcError as exc:
                    if exc.code == INTERNAL_ERROR:
                        raise BrokenPipeError(exc.message) from exc
                    raise
                if answer.status != "accepted":
                    raise BrokenPipeError(f"{self._channel.name}: {answer.status}")

    async def close_stdin(self) -> None:
        """End the program's standard input, after what was written; on a tty write Ctrl-D."""
        self._session.require("processCloseStdin", "way to close standard input")
        async with self._writing:
            params = CloseStdinParams(self._channel.process_id)
            await self._session.call(methods.PROCESS_CLOSE_STDIN, params, EmptyResponse)

    async def signal(self, name: str) -> None:
        """Send a signal to the process group: `INT`, `SIGTERM`, ... (signal(7)).

        A process that has ended gets nothing, without an error. Raises AnswerLost when the
        connection broke and it is not known whether the signal was sent; KILL, STOP and CONT are
        sent again instead. Raises RpcError for a name that the node does not know.
        """
        full = f"SIG{name.removeprefix('SIG')}"
        if not self._session.offers("processSignalNames"):
            if full != "SIGINT":
                self._session.require("processSignalNames", f"way to send {full}")
            name = "interrupt"
        params = SignalParams(self._channel.process_id, name)
        repeat = full in _REPEATABLE
        await self._session.call(methods.PROCESS_SIGNAL, params, EmptyResponse, repeat=repeat)

    async def resize(self, rows: int, cols: int) -> None:
        """Set the size of the terminal in character cells; the program gets SIGWINCH."""
        self._session.require("processResize", "way to resize a terminal")
        params = ResizeParams(self._channel.process_id, TerminalSize(rows, cols))
        await self._session.call(methods.PROCESS_RESIZE, params, EmptyResponse)

    async def terminate(
        self, grace: float | None = None, *, leftovers: bool = False
    ) -> TerminateResponse:
        """End the process and all its descendants.

        SIGTERM, then SIGKILL after `grace` seconds; None for what the start asked for, or the
        node's default. `leftovers`: if the process has ended already, end what it left behind.
        Returns at once, with `running` (whether it ran until now) and `method` (what reached the
        descendants: `cgroup`, `lineage` or `group`); `wait` tells when it has happened.
        """
        if grace:
            self._session.require("processTimeout", "time of grace for a process to end")
        grace_ms = None if grace is None else round(grace * 1000)
        params = TerminateParams(self._channel.process_id, grace_ms=grace_ms, leftovers=leftovers)
        return await self._session.call(methods.PROCESS_TERMINATE, params, TerminateResponse)

    # --- letting go -------------------------------------------------------------------------

    def detach(self) -> None:
        """Do not end the process when this object or the node is left.

        It runs on as long as the node keeps the session (`session_ttl` of `connect`), and other
        sessions can attach to its `ref`. With `block` retention it stops when its output is full.
        """
        self._owned = False
        self._processes.disown(self._channel)

    async def aclose(self) -> None:
        """Take no more output, and end the process if it still runs and is not another session's.

        Waits a few seconds at most, even when cancelled; a node that cannot be reached ends the
        process by itself when the session's time is over.
        """
        try:
            if self._owned and not self._channel.exited.is_set():
                with anyio.move_on_after(_END_SECONDS, shield=True):
                    await self._end()
        finally:
            self._processes.forget(self._channel)

    async def _end(self) -> None:
        try:
            await self.terminate(0.0)
        except (ConnectionError, RpcError):
            return
        await self._channel.exited.wait()
