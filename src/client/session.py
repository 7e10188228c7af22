"""A session with a node that outlives its connections.

While a link is up, requests and events pass through it. When it breaks, the session connects again
(at once, then every 100 ms), resumes itself by its id, and lets the node go on with every process
where its channel stands; callers notice a pause and nothing else. When the node cannot be reached
for `recovery` seconds, or refuses the session, everything that runs fails with SessionLost.

What becomes of a request whose answer had not come when the link broke:

| request | then | because |
|---|---|---|
| process/start | attach if it exists, else repeat | the id is ours: it cannot run twice |
| process/write | repeat | the node writes a writeId once |
| process/closeStdin, process/resize | repeat | the second has no further effect |
| process/terminate | repeat | it ends either way; `running` may then be false |
| process/signal KILL, STOP, CONT | repeat | they set a state |
| process/signal, any other | AnswerLost | programs count them: two Ctrl-C are not one |
| process/attach | repeat, after what has arrived by then | it says where to go on |
| process/read, process/list | repeat | they only look |
| process/ack (no answer) | drop | the attach after a resume says more |
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import anyio
import anyio.lowlevel
from anyio import CancelScope

from execnode.protocol import methods
from execnode.protocol.errors import INVALID_REQUEST, SESSION_ATTACHED, ProtocolError, RpcError
from execnode.protocol.messages import (
    AckNotification,
    AttachParams,
    AttachResponse,
    ClosedNotification,
    EnvironmentInfo,
    ExitedNotification,
    GapNotification,
    InitializeParams,
    InitializeResponse,
    ListParams,
    ListResponse,
    OutputNotification,
    StartParams,
    StartResponse,
    TerminateParams,
    TerminateResponse,
)

from .channel import Channel, Event
from .connection import CODEC, Connection
from .errors import AnswerLost, LinkLost, ProcessLost, SessionLost
from .tasks import Background
from .transport import Dialer

if TYPE_CHECKING:
    import msgspec

__all__ = ["Hello", "Session", "Started"]

_HANDSHAKE_SECONDS = 10.0
_RETRY_SECONDS = 0.1
_CLOSE_SECONDS = 5.0
_ADOPT_TRIES = 50
_ADOPT_PAUSE = 0.05

_EVENTS: dict[str, type[Event]] = {
    methods.PROCESS_OUTPUT: OutputNotification,
    methods.PROCESS_EXITED: ExitedNotification,
    methods.PROCESS_CLOSED: ClosedNotification,
    methods.PROCESS_GAP: GapNotification,
}

Result = TypeVar("Result", bound="msgspec.Struct")


@dataclass(frozen=True, slots=True)
class Hello:
    """What every connection of a session begins with."""

    client_name: str
    token: str | None
    session_ttl_ms: int | None

    def params(self, resume: str | None) -> InitializeParams:
        """The parameters of `initialize`, for a new session or to resume one."""
        return InitializeParams(
            self.client_name,
            resume_session_id=resume,
            auth_token=self.token,
            acks=True,
            session_ttl_ms=self.session_ttl_ms,
        )


class Started(NamedTuple):
    """What the node says of a process.

    `pid` on the node; `ref`: its name for every session; `max_bytes`: how much unacknowledged
    output, each event counted with RECORD_COST, stops it.
    """

    pid: int | None
    ref: str | None
    max_bytes: int | None


class Session:
    """One session, made by `open`; the given background tasks keep it."""

    info: EnvironmentInfo
    session_id: str

    def __init__(self, dialer: Dialer, hello: Hello, recovery: float, tasks: Background) -> None:
        self._dialer = dialer
        self._hello = hello
        self._recovery = recovery
        self._tasks = tasks
        self._channels: dict[str, Channel] = {}
        self._to_end: set[str] = set()  # processes that must not outlive this session
        self._viewed: dict[str, str] = {}  # ref -> the id under which it was attached to
        self._link: Connection | None = None
        self._link_changed = anyio.Event()
        self._failure: SessionLost | None = None
        self._last_process = 0

    # --- the life of a session --------------------------------------------------------------

    async def open(self) -> None:
        """Connect and make the session. Raises OSError, RpcError or ProtocolError."""
        link, answer = await self._connect(None)
        self.session_id = answer.session_id
        self.info = answer.environment_info
        self._use(link)
        self._tasks.start_soon(self._keep, link)

    async def aclose(self) -> None:
        """End the processes that must not outlive the session, and disconnect.

        Takes at most a few seconds: what cannot be told to the node by then, it does by itself when
        the session's time is over.
        """
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            if self._link is not None and self._to_end:
                async with anyio.create_task_group() as tasks:
                    for process_id in list(self._to_end):
                        tasks.start_soon(self._end, process_id)
        link = self._link
        self._fail(SessionLost("the node was closed by its user"))
        if link is not None:
            await link.aclose()

    @property
    def connected(self) -> bool:
        """Whether a link is up now."""
        return self._link is not None

    async def _keep(self, link: Connection) -> None:
        """Repair the link whenever it breaks, until the session is over."""
        while True:
            await link.ended.wait()
            if self._failure is not None:
                return
            try:
                link = await self._reconnect(link.failure)
            except SessionLost as exc:
                self._fail(exc)
                return
            self._use(link)
            for channel in self._channels.values():
                if channel.attachable:
                    self._tasks.start_soon(self._go_on, link, channel)

    def _use(self, link: Connection) -> None:
        """Let requests have this link, unless it has ended since its handshake."""
        if not link.ended.is_set():
            self._link = link
            self._link_changed.set()

    async def _run(self, link: Connection) -> None:
        """Read from `link` until it ends, and leave no moment in which it seems to be up still."""
        try:
            await link.run()
        finally:
            if self._link is link:
                self._link = None
                self._link_changed = anyio.Event()
                for channel in self._channels.values():
                    channel.suspend()
        await link.aclose()

    async def _reconnect(self, why: Exception) -> Connection:
        """A new link that has resumed the session. Raises SessionLost."""
        if isinstance(why, ProtocolError):
            raise self._lost(f"the node broke the protocol: {why}") from why
        if not self._dialer.reusable:
            raise self._lost(f"the connection to {self._dialer.name} ended: {why}") from why
        with anyio.move_on_after(self._recovery):
            while True:
                try:
                    link, _ = await self._connect(self.session_id)
                except RpcError as exc:
                    if exc.code != SESSION_ATTACHED:
                        raise self._lost(f"the node did not resume: {exc.message}") from exc
                    why = exc
                except ProtocolError as exc:
                    raise self._lost(f"the node broke the protocol: {exc}") from exc
                except OSError as exc:
                    why = exc
                else:
                    return link
                await anyio.sleep(_RETRY_SECONDS)
        raise self._lost(f"no connection to {self._dialer.name}: {why}") from why

    async def _connect(self, resume: str | None) -> tuple[Connection, InitializeResponse]:
        """One try at a link, and the handshake on it."""
        link = Connection(await self._dialer.dial(), self._notified)
        try:
            self._tasks.start_soon(self._run, link)
            with anyio.fail_after(_HANDSHAKE_SECONDS):
                answer = await link.request(
                    methods.INITIALIZE, self._hello.params(resume), InitializeResponse
                )
                await link.notify(methods.INITIALIZED, None)
        except BaseException as exc:
            with CancelScope(shield=True):
                await link.aclose()
            if isinstance(exc, LinkLost) and isinstance(link.failure, ProtocolError):
                raise link.failure from exc
            raise
        return link, answer

    def _fail(self, failure: SessionLost) -> None:
        self._failure = failure
        self._link = None
        self._link_changed.set()
        for channel in self._channels.values():
            channel.fail(failure)
        self._channels.clear()

    def _lost(self, why: str) -> SessionLost:
        return SessionLost(why, [c.name for c in self._channels.values() if not c.over])

    # --- requests ---------------------------------------------------------------------------

    async def _up(self) -> Connection:
        """The link, as soon as there is one. Raises SessionLost when there will be none."""
        while self._link is None:
            if self._failure is not None:
                raise self._failure
            await self._link_changed.wait()
        return self._link

    async def call(
        self, method: str, params: Any, result: type[Result], *, repeat: bool = True
    ) -> Result:
        """The node's answer to a request, waiting for a link and repeating as the table says.

        Raises RpcError for an error answer, SessionLost, and AnswerLost where `repeat` is false.
        """
        while True:
            link = await self._up()
            try:
                return await link.request(method, params, result)
            except LinkLost as exc:
                if not repeat:
                    raise AnswerLost(f"no answer to {method}: {exc}") from exc

    async def acknowledge(self, channel: Channel, seq: int) -> None:
        """Tell the node that events up to `seq` were consumed."""
        if self._link is not None:
            with suppress(LinkLost):
                await self._link.notify(
                    methods.PROCESS_ACK, AckNotification(channel.process_id, seq)
                )

    # --- processes --------------------------------------------------------------------------

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
                link = await self._up()
                with suppress(LinkLost):
                    if asked:
                        found = await self._adopt(link, channel)
                        if found is not None:
                            return found
                        channel.resume()
                    asked = True
                    answer = await link.request(
                        methods.PROCESS_START, params, StartResponse, channel.attached
                    )
                    return Started(answer.pid, answer.ref, answer.max_bytes)
        except RpcError:
            self.forget(channel)
            self._to_end.discard(channel.process_id)
            raise
        except BaseException:
            self.forget(channel)
            if asked:
                self._tasks.start_soon(self._end, channel.process_id)
            raise

    async def _adopt(self, link: Connection, channel: Channel) -> Started | None:
        """The process whose start was asked for on an earlier link; None if it was not started."""
        for _ in range(_ADOPT_TRIES):
            try:
                answer = await self._attach(link, channel)
            except RpcError as exc:
                if exc.code != INVALID_REQUEST:
                    raise
                listed = await link.request(methods.PROCESS_LIST, ListParams(), ListResponse)
                if all(p.process_id != channel.process_id for p in listed.processes):
                    return None
                await anyio.sleep(_ADOPT_PAUSE)
            else:
                return Started(answer.pid, answer.ref, answer.max_bytes)
        raise ProcessLost(f"the node lists process {channel.name} and does not attach to it")

    async def view(self, ref: str, *, limit: int, skip_to_end: bool) -> tuple[Channel, Started]:
        """The events of a process of any session, from the first or the end. Raises RpcError."""
        # The node keeps the id under which this session has looked at a process before.
        bound = ref in self._viewed
        process_id = self._viewed.setdefault(ref, self.new_process_id())
        if process_id in self._channels:
            raise ValueError(f"this session is attached to {ref} already")
        channel = self._channels[process_id] = Channel(process_id, f"{process_id}: {ref}", limit)
        try:
            while True:
                link = await self._up()
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
        channel.drop_queued()
        while not channel.over:
            link = await self._up()
            with suppress(LinkLost):
                await self._attach(link, channel, skip_to_end=True)
                return

    async def _go_on(self, link: Connection, channel: Channel) -> None:
        """After a resume: events go on where the channel stands."""
        try:
            if not channel.over:
                await self._attach(link, channel)
        except LinkLost:
            pass  # the next resume comes here again
        except ProtocolError as exc:
            channel.fail(ProcessLost(f"the node lost process {channel.name}: {exc}"))

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
            await self.call(
                methods.PROCESS_TERMINATE, TerminateParams(process_id), TerminateResponse
            )
            self._to_end.discard(process_id)

    def _notified(self, method: str, params: Any) -> None:
        """Give an event to its channel; called by the connection's reader."""
        kind = _EVENTS.get(method)
        if kind is None:
            return
        event = CODEC.decode_result(kind, params)
        channel = self._channels.get(event.process_id)
        if channel is None:
            return  # nobody takes this process's output any more
        channel.deliver(event)
        if channel.exit is not None:
            self._to_end.discard(channel.process_id)
        if channel.over:
            self.forget(channel)
