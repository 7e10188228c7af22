"""A process of this machine, as its user holds it: a cursor in its log, and its controls."""

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence

import anyio
import anyio.lowlevel
from anyio.abc import AsyncResource

from execnode.client.channel import Gap, Output, Total
from execnode.environment.local.exec import LocalExec
from execnode.environment.local.process import LocalProcess
from execnode.protocol.errors import INTERNAL_ERROR, RpcError
from execnode.protocol.processes import RECORD_COST, ReadResponse, TerminalSize, TerminateResponse
from execnode.protocol.sandbox import SandboxDenial
from execnode.protocol.signals import signal_number

__all__ = ["LocalHandle"]

_RELEASE_BYTES = 128 * 1024
_WRITE_BYTES = 256 * 1024
_TAKE_BYTES = 256 * 1024
_END_SECONDS = 5.0


class LocalHandle(AsyncIterator[Output | Gap], AsyncResource):
    """What environment/services.py calls Process.

    The log protects what was not taken yet. What was taken is let go in steps, so that a process
    that fills the log is not woken for every piece.
    """

    def __init__(
        self,
        execs: LocalExec,
        process: LocalProcess,
        name: str,
        args: Sequence[str | bytes],
    ) -> None:
        self._execs = execs
        self._process = process
        self._name = name
        self._owned = True
        self._seq = 0  # of the last event that was read from the log
        self._positions: dict[str, int] = {}
        self._items: deque[Output | Gap] = deque()
        self._taken_seq = 0
        self._unreleased = 0
        self._step = min(_RELEASE_BYTES, process.process.retention // 4)
        self._complete = False
        self._busy = False
        self._writing = anyio.Lock(fast_acquire=True)
        self.args = list(args)
        """Program and arguments, as given to `start`."""
        self.pid: int | None = process.pid
        """Process id."""
        self.ref: str | None = process.ref
        """Its name in this environment."""
        self.sandbox = process.sandbox_report
        """How its sandbox is enforced; None without one."""
        self.unlimited: tuple[str, ...] = process.unlimited
        """Which of its optional limits it does not have."""
        process.process.hold(1)
        process.known_to[self] = name

    def __repr__(self) -> str:
        state = "runs" if self.returncode is None else f"ended: {self.returncode}, {self.reason}"
        return f"<Process {self._title} {state}>"

    @property
    def _title(self) -> str:
        argv = " ".join(
            argument.decode(errors="surrogateescape") for argument in self._process.argv
        )
        return f"{self._name}: {argv}"

    # --- as somebody who knows the process --------------------------------------------------

    def lacks(self, name: str, process: LocalProcess) -> bool:
        """Whether there is output that was not taken."""
        return not self._complete

    def forget(self, name: str, process: LocalProcess) -> None:
        """Everything was taken, so nothing is lost."""

    # --- the end ----------------------------------------------------------------------------

    @property
    def returncode(self) -> int | None:
        """Exit code; None while the process runs."""
        return self._process.exit_code

    @property
    def reason(self) -> str | None:
        """In which way it ended; None while the process runs."""
        return self._process.reason

    @property
    def signal_name(self) -> str | None:
        """`SIGKILL` and the like for a process that a signal ended."""
        return self._process.signal

    @property
    def sandbox_denied(self) -> bool:
        """Whether the sandbox seems to have made the process fail."""
        return self._process.denied

    @property
    def denial(self) -> SandboxDenial | None:
        """What the sandbox denied, where that is known."""
        return self._process.denial

    @property
    def totals(self) -> Mapping[str, Total]:
        """Bytes and digest of each stream; empty until the log is complete."""
        if not self._process.closed:
            return {}
        streams = self._process.closed_notification(self._name).streams
        return {stream: Total(told.total, told.digest) for stream, told in streams.items()}

    async def wait(self) -> int:
        """The exit code, once the process has ended; its output may still be coming."""
        await self._process.wait()
        assert self._process.exit_code is not None
        return self._process.exit_code

    # --- output -----------------------------------------------------------------------------

    async def __anext__(self) -> Output | Gap:
        await self._ready()
        if not self._items:
            raise StopAsyncIteration
        return self._next()

    async def take(self, max_bytes: int = _TAKE_BYTES) -> list[Output | Gap]:
        """All items that are there, at least one, until they hold `max_bytes`; [] at the end."""
        await self._ready()
        items: list[Output | Gap] = []
        while max_bytes > 0 and self._items:
            item = self._next()
            items.append(item)
            if isinstance(item, Output):
                max_bytes -= len(item.data)
        return items

    def _next(self) -> Output | Gap:
        item = self._items.popleft()
        self._unreleased += RECORD_COST
        if isinstance(item, Gap):
            self._taken_seq = item.to_seq
        else:
            self._taken_seq = item.seq
            self._unreleased += len(item.data)
        return item

    async def _ready(self) -> None:
        """Wait for an item or the end. What was given out before now counts as consumed."""
        if self._unreleased >= self._step and not self._complete:
            self._unreleased = 0
            self._process.process.hold(self._taken_seq + 1)
        if self._items or self._complete:
            await anyio.lowlevel.checkpoint()
            return
        if self._busy:
            raise anyio.BusyResourceError("iterating over the output of")
        self._busy = True
        try:
            waited = False
            while not self._fetch():
                waited = True
                await self._process.news()
            if not waited:
                await anyio.lowlevel.checkpoint()
        finally:
            self._busy = False

    def _fetch(self) -> bool:
        """Read on in the log; whether there are items or there will be none."""
        process = self._process.process
        chunks, next_seq, gone = process.read(self._seq, _TAKE_BYTES)
        if gone is not None:
            self._items.append(Gap(*gone, self._dropped(chunks, process.totals(), next_seq)))
        for seq, stream, offset, data in chunks:
            if offset > self._positions.get(stream, 0):  # of a gap that did not know it
                lost = offset - self._positions.get(stream, 0)
                self._items.append(Gap(seq - 1, seq - 1, {stream: lost}))
            self._positions[stream] = offset + len(data)
            self._items.append(Output(stream, data, offset, seq))
        self._seq = next_seq - 1
        if self._process.closed and self._seq >= self._process.closed_seq:
            self._finish()
        return bool(self._items) or self._complete

    def _dropped(
        self,
        chunks: Sequence[tuple[int, str, int, bytes]],
        totals: Mapping[str, int],
        next_seq: int,
    ) -> dict[str, int]:
        """The bytes that a gap before these chunks stands for, as far as they tell."""
        goes_on = {stream: offset for _, stream, offset, _ in reversed(chunks)}
        if next_seq == self._process.process.next_seq:
            goes_on = {**totals, **goes_on}
        lost = {}
        for stream, offset in goes_on.items():
            count = offset - self._positions.get(stream, 0)
            if count > 0:
                lost[stream] = count
                self._positions[stream] = offset
        return lost

    def _finish(self) -> None:
        if not self._complete:
            self._complete = True
            self._process.process.release()
            self._process.known_to.pop(self, None)

    async def skip_to_end(self) -> None:
        """Drop the output that has not been taken yet; a Gap tells how much."""
        process = self._process.process
        newest = process.next_seq - 1
        taken = self._taken_seq
        before = {**self._positions}
        for item in self._items:  # read from the log, and not taken
            if isinstance(item, Output):
                before[item.stream] = min(before[item.stream], item.offset)
        totals = process.totals()
        lost = {s: n - before.get(s, 0) for s, n in totals.items() if n > before.get(s, 0)}
        self._items.clear()
        if newest > taken and lost:
            self._items.append(Gap(taken + 1, newest, lost))
        self._positions = dict(totals)
        self._seq = max(self._seq, newest)
        process.hold(newest + 1)
        await anyio.lowlevel.checkpoint()

    async def read(
        self, *, after_seq: int = 0, max_bytes: int | None = None, wait: float = 0.0
    ) -> ReadResponse:
        """Events after `after_seq` that are still kept, apart from iterating."""
        return await self._process.read_waiting(after_seq, max_bytes, round(wait * 1000))

    # --- input and control ------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        """Write to the program's standard input, or to its terminal. Raises BrokenPipeError."""
        async with self._writing:
            for start in range(0, len(data), _WRITE_BYTES):
                try:
                    result = self._process.write(data[start : start + _WRITE_BYTES], None)
                    if isinstance(result, int):
                        result = await self._process.written(result)
                except RpcError as exc:
                    if exc.code == INTERNAL_ERROR:
                        raise BrokenPipeError(exc.message) from exc
                    raise
                if result.status != "accepted":
                    raise BrokenPipeError(f"{self._title}: {result.status}")

    async def close_stdin(self) -> None:
        """End the program's standard input, after what was written; on a tty write Ctrl-D."""
        async with self._writing:
            self._process.close_stdin()

    async def signal(self, name: str) -> None:
        """Send a signal to the process group. Raises RpcError for an unknown name."""
        self._execs.signal(self._process, signal_number(name))
        await anyio.lowlevel.checkpoint()

    async def resize(self, rows: int, cols: int) -> None:
        """Set the size of the terminal in character cells."""
        self._process.resize(TerminalSize(rows, cols))
        await anyio.lowlevel.checkpoint()

    async def terminate(
        self, grace: float | None = None, *, leftovers: bool = False
    ) -> TerminateResponse:
        """End the process and all its descendants; see `execnode.Process.terminate`."""
        grace_ms = None if grace is None else round(grace * 1000)
        answer = self._execs.terminate(self._process, grace_ms, leftovers=leftovers)
        await anyio.lowlevel.checkpoint()
        return answer

    # --- letting go -------------------------------------------------------------------------

    def detach(self) -> None:
        """Do not end the process when this object is left; the environment's end still does."""
        self._owned = False

    async def aclose(self) -> None:
        """Take no more output, and end the process if it still runs."""
        try:
            if self._owned and not self._process.has_exited:
                with anyio.move_on_after(_END_SECONDS, shield=True):
                    self._execs.terminate(self._process, 0, leftovers=False)
                    await self._process.wait()
        finally:
            self._items.clear()
            self._finish()
