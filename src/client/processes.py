"""The processes of a session, and their events over any number of links.

A channel is there before its start is asked for, so no event can come too early, and is forgotten
when the start fails. Events find their channel by the processId, which is never used twice.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import anyio
from anyio import CancelScope

from execnode.protocol import methods
from execnode.protocol.errors import INVALID_REQUEST, ProtocolError, RpcError
from execnode.protocol.processes import (
    AckNotification,
    AttachParams,
    AttachResponse,
    ClosedNotification,
    ExitedNotification,
    GapNotification,
    ListParams,
    ListResponse,
    OutputNotification,
    StartParams,
    StartResponse,
    TerminateParams,
    TerminateResponse,
)
from execnode.protocol.sandbox import SandboxReport

from .channel import Channel, Event
from .connection import Connection
from .errors import LinkLost, ProcessLost, SessionLost
from .plain import SortingChannel
from .session import Session

__all__ = ["Processes", "Started"]

_CLOSE_SECONDS = 5.0
_FIND_TRIES = 50
_FIND_PAUSE = 0.05

_EVENTS: dict[str, type[Event]] = {
    methods.PROCESS_OUTPUT: OutputNotification,
    methods.PROCESS_EXITED: ExitedNotification,
    methods.PROCESS_CLOSED: ClosedNotification,
    methods.PROCESS_GAP: GapNotification,
}


class Started(NamedTuple):
    """What the node says of a process.

    `pid` on the node; `ref`: its name for every session; `max_bytes`: how much unacknowledged
    output, each event counted with RECORD_COST, stops it. Told only by the answer to its start:
    `sandbox`, how its sandbox is enforced; `unlimited`, the optional limits that it does not have.
    """

    pid: int | None
    ref: str | None
    max_bytes: int | None
    sandbox: SandboxReport | None = None
    unlimited: Sequence[str] = ()


class Processes:
    """The processes that a session started or looks at, as a part of the session."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._attaches = session.offers("processAttach")
        self._acknowledges = session.offers("processAck")
        self._channels: dict[str, Channel] = {}
        self._to_end: set[str] = set()  # processes that must not outlive this session
        self._viewed: dict[str, str] = {}  # ref -> the id under which it was attached to
        self._last_process = 0
        session.register(self, _EVENTS)

    # --- as a part of the session -----------------------------------------------------------

    def notified(self, event: Event) -> None:
        """Give an event to its channel."""
        channel = self._channels.get(event.process_id)
        if channel is None:
            return  # nobody takes this process's output any more
        channel.deliver(event)
        self._heard(channel)

    def _heard(self, channel: Channel) -> None:
        if channel.exit is not None:
            self._to_end.discard(channel.process_id)
        if channel.over:
            self.forget(channel)

    def link_lost(self) -> None:
        """Events that come now are not the next ones."""
        for channel in self._channels.values():
            channel.suspend()

    def link_made(self, link: Connection) -> None:
        """Let every process that the node is known to have go on."""
        for channel in self._channels.values():
            if channel.attachable:
                self.session.tasks.start_soon(self._go_on, link, channel)

    def failed(self, failure: SessionLost) -> None:
        """Nothing more will come."""
        for channel in self._channels.values():
            channel.fail(failure)
        self._channels.clear()

    def names(self) -> list[str]:
        """The processes whose end is not known."""
        return [channel.name for channel in self._channels.values() if not channel.over]

    async def aclose(self) -> None:
        """End the processes that must not outlive the session.

        Takes at most a few seconds: what cannot be told to the node by then, it does by itself when
        the session's time is over.
        """
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            if self.session.connected and self._to_end:
                async with anyio.create_task_group() as tasks:
                    for process_id in list(self._to_end):
                        tasks.start_soon(self._end, process_id)

    # --- processes --------------------------------------------------------------------------

    def channel(self, process_id: str, name: str, limit: int | None) -> Channel:
        """A channel as this node needs it; arguments as for `Channel`."""
        if self._attaches:
            return Channel(process_id, name, limit)
        return SortingChannel(process_id, name)

    async def acknowledge(self, channel: Channel, seq: int) -> None:
        """Tell the node that events up to `seq` were consumed."""
        if self._acknowledges:
            ack = AckNotification(channel.process_id, seq)
            await self.session.notify(methods.PROCESS_ACK, ack)

    def new_process_id(self) -> str:
        """An id that this session has not used."""
        self._last_process += 1
        return str(self._last_process)

    async def start(self, params: StartParams, channel: Channel) -> Started:
        """Start a process exactly once, whatever becomes of the link; `channel` gets its events.

        Raises RpcError as the node answered. A cancelled start leaves nothing running.
        """
        self._channels[channel.process_id] = channel
        self._to_end.add(channel.process_id)
        asked = False
        try:
            while True:
                link = await self.session.up()
                with suppress(LinkLost):
                    if asked:
                        found = await self._find(link, channel)
                        if found is not None:
                            return found
                        channel.resume()
                    asked = True
                    answer = await link.request(
                        methods.PROCESS_START, params, StartResponse, channel.attached
                    )
                    return Started(
                        answer.pid, answer.ref, answer.max_bytes, answer.sandbox, answer.unlimited
                    )
        except RpcError:
            self.forget(channel)
            self._to_end.discard(channel.process_id)
            raise
        except BaseException:
            self.forget(channel)
            if asked:
                self.session.tasks.start_soon(self._end, channel.process_id)
            raise

    async def _find(self, link: Connection, channel: Channel) -> Started | None:
        """The process whose start was asked for on an earlier link; None if it was not started."""
        for _ in range(_FIND_TRIES):
            try:
                answer = await self._follow(link, channel)
            except RpcError as exc:
                if exc.code != INVALID_REQUEST:
                    raise
                if not await self._is_starting(link, channel, exc):
                    return None
                await anyio.sleep(_FIND_PAUSE)
            else:
                return answer
        raise ProcessLost(f"the node lists process {channel.name} and does not attach to it")

    async def _is_starting(self, link: Connection, channel: Channel, refusal: RpcError) -> bool:
        """Whether a process that the node would not let us follow may be there soon."""
        if not self._attaches:
            return refusal.message.endswith(" is starting")
        listed = await link.request(methods.PROCESS_LIST, ListParams(), ListResponse)
        return any(process.process_id == channel.process_id for process in listed.processes)

    async def view(self, ref: str, *, limit: int, skip_to_end: bool) -> tuple[Channel, Started]:
        """The events of a process of any session, from the first or the end. Raises RpcError."""
        self.session.require("processAttach", "way to attach to processes")
        # The node keeps the id under which this session has looked at a process before.
        bound = ref in self._viewed
        process_id = self._viewed.setdefault(ref, self.new_process_id())
        if process_id in self._channels:
            raise ValueError(f"this session is attached to {ref} already")
        channel = self._channels[process_id] = Channel(process_id, f"{process_id}: {ref}", limit)
        try:
            while True:
                link = await self.session.up()
                with suppress(LinkLost):
                    if bound:
                        with suppress(RpcError):  # the link broke before it was
                            answer = await self._attach(link, channel, skip_to_end=skip_to_end)
                            return channel, Started(answer.pid, ref, answer.max_bytes)
                    bound = True
                    answer = await self._attach(link, channel, ref=ref, skip_to_end=skip_to_end)
                    return channel, Started(answer.pid, ref, answer.max_bytes)
        except BaseException:
            self.forget(channel)
            raise

    async def skip(self, channel: Channel) -> None:
        """Go on at the newest event; what comes before becomes a Gap."""
        self.session.require("processAttach", "way to skip output")
        channel.drop_queued()
        while not channel.over:
            link = await self.session.up()
            with suppress(LinkLost):
                await self._attach(link, channel, skip_to_end=True)
                return

    async def _go_on(self, link: Connection, channel: Channel) -> None:
        """After a resume: events go on where the channel stands."""
        try:
            if not channel.over:
                await self._follow(link, channel)
        except LinkLost:
            pass  # the next resume comes here again
        except ProtocolError as exc:
            channel.fail(ProcessLost(f"the node lost process {channel.name}: {exc}"))

    async def _follow(self, link: Connection, channel: Channel) -> Started:
        """Have the events of a process of this session on this link. Raises RpcError."""
        if isinstance(channel, SortingChannel):
            await channel.catch_up(link)
            self._heard(channel)
            return Started(None, None, None)
        answer = await self._attach(link, channel)
        return Started(answer.pid, answer.ref, answer.max_bytes)

    async def _attach(
        self,
        link: Connection,
        channel: Channel,
        *,
        ref: str | None = None,
        skip_to_end: bool = False,
    ) -> AttachResponse:
        """process/attach after the last event taken. The channel takes nothing until the answer.

        The answer decides where the node goes on, so it is waited for even when cancelled, and two
        attaches of one process never overlap.
        """
        async with channel.attaching:
            channel.suspend()
            params = AttachParams(
                channel.process_id,
                after_seq=channel.next_seq - 1,
                offsets=channel.positions(),
                skip_to="end" if skip_to_end else None,
                ref=ref,
            )
            with CancelScope(shield=True):
                answer = await link.request(
                    methods.PROCESS_ATTACH, params, AttachResponse, channel.attached
                )
            return answer  # noqa: RET504 (to mypy, a cancel scope may swallow exceptions)

    def forget(self, channel: Channel) -> None:
        """Take no more events of this process."""
        self._channels.pop(channel.process_id, None)

    def disown(self, channel: Channel) -> None:
        """Let the process live as long as the node keeps the session."""
        self._to_end.discard(channel.process_id)

    async def _end(self, process_id: str) -> None:
        """Terminate a process that nobody here waits for."""
        with suppress(ConnectionError, ProtocolError):
            await self.session.call(
                methods.PROCESS_TERMINATE, TerminateParams(process_id), TerminateResponse
            )
            self._to_end.discard(process_id)
