"""Processes of a node that has none of our additions, such as Codex's own exec-server.

Such a node sends the events of a process a little out of order (under load even the end before the
exit), cannot be told where to go on after a broken link, and keeps the newest output only. So
events are put in order here; after a resume, process/read gives what the node still has, and what
it no longer has is a Gap of unknown size.
"""

from collections.abc import Mapping

from execnode.protocol import methods
from execnode.protocol.processes import (
    ClosedNotification,
    ExitedNotification,
    GapNotification,
    OutputNotification,
    ReadParams,
    ReadResponse,
)

from .channel import Channel, Event
from .connection import Connection

__all__ = ["SortingChannel", "missed"]

# The node does not wait for acknowledgements, so untaken output is bounded here.
_LIMIT = 256 << 20


class SortingChannel(Channel):
    """A channel that puts events in order and fills holes from process/read."""

    def __init__(self, process_id: str, name: str) -> None:
        super().__init__(process_id, name, _LIMIT)
        self._early: dict[int, Event] = {}

    def deliver(self, event: Event) -> None:
        """Take an event in its turn."""
        seq = _first(event)
        if seq >= self.next_seq:
            self._early[seq] = event
            self._take_turns()

    def resume(self) -> None:
        """Take events again."""
        super().resume()
        self._take_turns()

    def attached(self) -> None:
        """The node has the process."""
        super().attached()
        self._take_turns()

    def _take_turns(self) -> None:
        if self._suspended:
            return
        while not self.over and (event := self._early.pop(self.next_seq, None)) is not None:
            super().deliver(event)

    async def catch_up(self, link: Connection) -> None:
        """Fill the hole that a broken link left. Raises RpcError when the process is not known."""
        async with self.attaching:
            self.suspend()
            params = ReadParams(self.process_id, after_seq=self.next_seq - 1)
            answer = await link.request(methods.PROCESS_READ, params, ReadResponse)
            told = any(isinstance(event, ExitedNotification) for event in self._early.values())
            unknown = self.exit is None and not told
            for event in missed(
                self.process_id, answer, self.next_seq, self._early, exit_unknown=unknown
            ):
                self._early[_first(event)] = event
            self.attached()


def missed(
    process_id: str,
    answer: ReadResponse,
    next_seq: int,
    known: Mapping[int, Event],
    *,
    exit_unknown: bool,
) -> list[Event]:
    """The events from `next_seq` on that an answer to process/read tells of, in any order.

    `known`: those that have come by themselves. The answer has the kept output, and says whether
    the process has exited and closed, which are events too. What is missing then was dropped by the
    node, the oldest output first, so the last hole is the exit, if that is not known otherwise.
    """
    found: dict[int, Event] = dict(known)
    for chunk in answer.chunks:
        if chunk.seq >= next_seq:
            found[chunk.seq] = OutputNotification(process_id, chunk.seq, chunk.stream, chunk.chunk)
    last = answer.next_seq - 1
    if answer.closed and last >= next_seq:
        found[last] = ClosedNotification(process_id, last)
    holes: list[tuple[int, int]] = []
    expected = next_seq
    for seq in sorted([*(s for s in found if s < answer.next_seq), answer.next_seq]):
        if seq > expected:
            holes.append((expected, seq - 1))
        expected = seq + 1
    if answer.exited and exit_unknown and holes:
        start, seq = holes.pop()
        code = -1 if answer.exit_code is None else answer.exit_code
        found[seq] = ExitedNotification(process_id, seq, code, answer.sandbox_denied)
        if start < seq:
            holes.append((start, seq - 1))
    for start, end in holes:
        found[start] = GapNotification(process_id, start, end, {})
    return list(found.values())


def _first(event: Event) -> int:
    return event.from_seq if isinstance(event, GapNotification) else event.seq
