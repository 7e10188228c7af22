"""The events of one process on their way from the connection to the program that reads them.

The node numbers the events of a process from 1 without holes, so one rule keeps output whole over
any number of reconnects: an event is taken if and only if its `seq` is the next one. After a lost
link the channel takes nothing until the node has said that it goes on where the channel stands
(`suspend`, `resume`); what arrives in between is the newest output and comes again in its turn.

Nothing here waits: the connection's reader delivers, a consumer takes, and neither holds the other
up. The queue between them is bounded by the node, which stops reading the process while `maxBytes`
of its output are unacknowledged; where the node goes on regardless (`drop-oldest` retention, and
another session's process) by a limit of the channel's own, beyond which the oldest output becomes
a Gap.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import anyio

from execnode.protocol.processes import (
    ClosedNotification,
    ExitedNotification,
    GapNotification,
    OutputNotification,
)
from execnode.protocol.sandbox import SandboxDenial

from .errors import IntegrityError, ProtocolError

__all__ = ["Channel", "Event", "Exit", "Gap", "Output", "Total"]

Event: TypeAlias = OutputNotification | ExitedNotification | ClosedNotification | GapNotification


class Output(NamedTuple):
    """Bytes that a process wrote, as they came from one read(2) on the node.

    `stream` is `stdout`, `stderr`, or `pty` for all output of a terminal; `offset` counts the bytes
    of that stream before `data`; `seq` numbers the events of the process.
    """

    stream: str
    data: bytes
    offset: int
    seq: int


class Gap(NamedTuple):
    """Output that was dropped, as asked for: events `from_seq` to `to_seq`, `bytes` per stream."""

    from_seq: int
    to_seq: int
    bytes: Mapping[str, int]


class Exit(NamedTuple):
    """How a process ended. `code` is 128 + number for a signal, -1 when it is not known."""

    code: int
    reason: str
    signal: str | None
    sandbox_denied: bool
    denial: SandboxDenial | None = None


class Total(NamedTuple):
    """All bytes of one stream, and their digest as `crc32c:HEX` or `sha256:HEX` where known."""

    bytes: int
    digest: str | None


class Channel:
    """What is known of one process, and its output that nobody has taken yet.

    `name` tells people which process it is. `limit`: bytes of untaken output beyond which the
    oldest is dropped; None for no such limit.
    """

    def __init__(self, process_id: str, name: str, limit: int | None = None) -> None:
        self.process_id = process_id
        self.name = name
        self.attachable = False  # whether the node is known to have the process under this id
        self.attaching = anyio.Lock()
        self.next_seq = 1
        self.exit: Exit | None = None
        self.totals: dict[str, Total] | None = None
        self.failure: Exception | None = None
        self.queue: deque[Output | Gap] = deque()
        self.exited = anyio.Event()
        self._limit = limit
        self._queued = 0
        self._positions: dict[str, int] = {}
        self._suspended = False
        self._wakeup: anyio.Event | None = None

    @property
    def closed(self) -> bool:
        """Whether the last event has arrived: nothing follows what is in the queue."""
        return self.totals is not None

    @property
    def over(self) -> bool:
        """Whether the connection has nothing more to bring."""
        return self.totals is not None or self.failure is not None

    def positions(self) -> dict[str, int]:
        """The byte of each stream that comes next."""
        return dict(self._positions)

    # --- the connection's side --------------------------------------------------------------

    def suspend(self) -> None:
        """Take nothing until `resume`: the link is lost, or the node was asked to go elsewhere."""
        self._suspended = True

    def resume(self) -> None:
        """Take events again: the next one from the node has `next_seq`."""
        self._suspended = False

    def attached(self) -> None:
        """The node has said that it has the process, and goes on at `next_seq`."""
        self.attachable = True
        self._suspended = False

    def deliver(self, event: Event) -> None:
        """Take an event from the node, unless it is not the next one."""
        if isinstance(event, OutputNotification):
            if self._expects(event.seq):
                self._output(event)
        elif isinstance(event, GapNotification):
            if self._expects(event.from_seq):
                self._gap(event)
        elif self._expects(event.seq):
            self.next_seq += 1
            if isinstance(event, ExitedNotification):
                self._ended(event)
            else:
                self._close(event)

    def _output(self, event: OutputNotification) -> None:
        position = self._positions.get(event.stream, 0)
        offset = position if event.offset is None else event.offset
        if offset != position:
            self.fail(
                IntegrityError(f"{event.stream} went on at byte {offset}, not at byte {position}")
            )
            return
        self.next_seq += 1
        self._positions[event.stream] = offset + len(event.chunk)
        self.queue.append(Output(event.stream, event.chunk, offset, event.seq))
        self._queued += len(event.chunk)
        if self._limit is not None and self._queued > self._limit:
            self._shed(self._limit)
        self._wake()

    def _gap(self, event: GapNotification) -> None:
        for stream, count in event.stream_bytes.items():
            self._positions[stream] = self._positions.get(stream, 0) + count
        self.next_seq = event.to_seq + 1
        lost = {stream: count for stream, count in event.stream_bytes.items() if count}
        self.queue.append(Gap(event.from_seq, event.to_seq, lost))
        self._wake()

    def _ended(self, event: ExitedNotification) -> None:
        reason = event.reason or ("exit" if event.exit_code >= 0 else "lost")
        self.exit = Exit(event.exit_code, reason, event.signal, event.sandbox_denied, event.denial)
        self.exited.set()

    def _close(self, event: ClosedNotification) -> None:
        """Note the node's totals, after comparing them with what has arrived."""
        for stream, total in event.streams.items():
            arrived = self._positions.get(stream, 0)
            if arrived != total.total:
                self.fail(
                    IntegrityError(
                        f"{arrived} bytes of {stream} arrived or were reported dropped, "
                        f"and the node counted {total.total}"
                    )
                )
                return
        self.totals = {name: Total(t.total, t.digest) for name, t in event.streams.items()}
        self._wake()

    def fail(self, failure: Exception) -> None:
        """End the channel: `failure` is raised to whoever waits, once the queue is empty."""
        if not self.over:
            self.failure = failure
            self.exited.set()
            self._wake()

    def _expects(self, seq: int) -> bool:
        if seq == self.next_seq and not self._suspended and self.failure is None:
            return True
        if seq > self.next_seq and not self._suspended:
            self.fail(ProtocolError(f"event {seq} arrived where {self.next_seq} had to"))
        return False

    # --- the consumer's side ----------------------------------------------------------------

    def take(self) -> Output | Gap | None:
        """The oldest item that nobody has taken; None when there is none now."""
        if not self.queue:
            return None
        item = self.queue.popleft()
        if isinstance(item, Output):
            self._queued -= len(item.data)
        return item

    async def wait(self) -> None:
        """Wait until there may be an item, or the channel is over. One waiter at a time.

        Raises BusyResourceError when another task waits already.
        """
        if self._wakeup is not None:
            raise anyio.BusyResourceError("iterating over the output of")
        self._wakeup = anyio.Event()
        try:
            if not self.queue and not self.over:
                await self._wakeup.wait()
        finally:
            self._wakeup = None

    def drop_queued(self) -> None:
        """Turn what nobody has taken into one Gap."""
        if self.queue:
            self._shed(0)

    def _shed(self, keep: int) -> None:
        """Turn the oldest items into one Gap until at most `keep` bytes are queued."""
        first = self.queue[0]
        from_seq = first.from_seq if isinstance(first, Gap) else first.seq
        to_seq = from_seq
        lost: dict[str, int] = {}
        while self.queue and (self._queued > keep or isinstance(self.queue[0], Gap)):
            item = self.queue.popleft()
            if isinstance(item, Gap):
                to_seq = item.to_seq
                for stream, count in item.bytes.items():
                    lost[stream] = lost.get(stream, 0) + count
            else:
                to_seq = item.seq
                self._queued -= len(item.data)
                lost[item.stream] = lost.get(item.stream, 0) + len(item.data)
        self.queue.appendleft(Gap(from_seq, to_seq, lost))

    def _wake(self) -> None:
        if self._wakeup is not None:
            self._wakeup.set()
