"""A session with a node that outlives its connections.

While a link is up, requests and events pass through it. When it breaks, the session connects again
(at once, then every 100 ms), resumes itself by its id, and tells its parts (processes.py, files.py,
http.py), which go on where they stood; callers notice a pause and nothing else. When the node
cannot be reached for `recovery` seconds, or refuses the session, everything that runs fails with
SessionLost.

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

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio
from anyio import CancelScope

from execnode.protocol import methods
from execnode.protocol.errors import SESSION_ATTACHED, ProtocolError, RpcError
from execnode.protocol.messages import EnvironmentInfo, InitializeParams, InitializeResponse

from .connection import Connection
from .dialing import Dialer
from .errors import AnswerLost, LinkLost, SessionLost, Unsupported, UpgradeRefused
from .tasks import Background

if TYPE_CHECKING:
    import msgspec

__all__ = ["Hello", "Part", "Session"]

_HANDSHAKE_SECONDS = 10.0
_RETRY_SECONDS = 0.1

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
            additions=True,
            session_ttl_ms=self.session_ttl_ms,
        )


class Part(Protocol):
    """What a session carries: it takes notifications, and knows what to do about a broken link.

    None of the methods may wait.
    """

    def notified(self, event: Any) -> None:
        """Take a notification of a method that it was registered for."""

    def link_lost(self) -> None:
        """There is no link at the moment."""

    def link_made(self, link: Connection) -> None:
        """The session was resumed on this link."""

    def failed(self, failure: SessionLost) -> None:
        """There will be no link any more."""

    def names(self) -> list[str]:
        """What is lost with the session."""


class Session:
    """One session, made by `open`; the given background tasks keep it."""

    info: EnvironmentInfo
    session_id: str

    def __init__(self, dialer: Dialer, hello: Hello, recovery: float, tasks: Background) -> None:
        self._dialer = dialer
        self._hello = hello
        self._recovery = recovery
        self._parts: list[Part] = []
        self._events: dict[str, tuple[type[msgspec.Struct], Part]] = {}
        self.tasks = tasks
        self.codec = dialer.codec
        self._link: Connection | None = None
        self._link_changed = anyio.Event()
        self._failure: SessionLost | None = None

    # --- the life of a session --------------------------------------------------------------

    async def open(self) -> None:
        """Connect and make the session. Raises OSError, RpcError or ProtocolError."""
        link, answer = await self._connect(None)
        self.session_id = answer.session_id
        self.info = answer.environment_info
        self._use(link)
        self.tasks.start_soon(self._keep, link)

    def register(self, part: Part, events: "Mapping[str, type[msgspec.Struct]]") -> None:
        """Let a part live with the session; it gets the notifications of these methods."""
        self._parts.append(part)
        for method, kind in events.items():
            self._events[method] = kind, part

    async def aclose(self) -> None:
        """Disconnect; everything that waits for the node fails."""
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
            for part in self._parts:
                part.link_made(link)

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
                for part in self._parts:
                    part.link_lost()
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
                except UpgradeRefused as exc:
                    raise self._lost(str(exc)) from exc
                except OSError as exc:
                    why = exc
                else:
                    return link
                await anyio.sleep(_RETRY_SECONDS)
        raise self._lost(f"no connection to {self._dialer.name}: {why}") from why

    async def _connect(self, resume: str | None) -> tuple[Connection, InitializeResponse]:
        """One try at a link, and the handshake on it."""
        link = Connection(await self._dialer.dial(), self.codec, self._notified)
        try:
            self.tasks.start_soon(self._run, link)
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
        for part in self._parts:
            part.failed(failure)

    def _lost(self, why: str) -> SessionLost:
        return SessionLost(why, [name for part in self._parts for name in part.names()])

    def _notified(self, method: str, params: Any) -> None:
        """Give a notification to its part; called by the connection's reader."""
        found = self._events.get(method)
        if found is not None:
            kind, part = found
            part.notified(self.codec.decode_result(kind, params))

    # --- what the node can ------------------------------------------------------------------

    def offers(self, capability: str) -> bool:
        """Whether the node says that it has this."""
        return self.info.capabilities.get(capability, False)

    def require(self, capability: str, what: str) -> None:
        """Raise Unsupported unless the node says that it has this."""
        if not self.offers(capability):
            raise Unsupported(what, capability)

    # --- requests ---------------------------------------------------------------------------

    async def up(self) -> Connection:
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
            link = await self.up()
            try:
                return await link.request(method, params, result)
            except LinkLost as exc:
                if not repeat:
                    raise AnswerLost(f"no answer to {method}: {exc}") from exc

    async def notify(self, method: str, params: "msgspec.Struct") -> None:
        """Tell the node something that is not worth repeating. Without a link it is dropped."""
        if self._link is not None:
            with suppress(LinkLost):
                await self._link.notify(method, params)
