"""Sessions: what a client owns, and what survives the loss of its connection.

A session is attached to one connection or detached:

    new ──► attached ──connection ends──► detached ──resume──► attached
                                              └──ttl──► gone: its processes are ended

Everything here is synchronous but the waiting for the end of a detached session's time.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Iterator
from operator import itemgetter
from typing import TYPE_CHECKING

import trio

from execnode.environment.local.exec import LocalExec
from execnode.environment.local.process import LocalProcess
from execnode.protocol.errors import (
    invalid_request,
    process_exists,
    process_starting,
    session_attached,
    start_cancelled,
    unknown_process,
    unknown_session,
)

if TYPE_CHECKING:
    from execnode.server.connection import Connection

__all__ = ["Session", "Sessions"]

# Seconds for which, after a resume, output that may have been lost on the way to the old connection
# is kept for a client that asks for it with process/read or process/attach.
_CATCH_UP = 10.0


class Session:
    """One client's processes, by the names that it chose.

    `own` were started here; `viewed` belong to other sessions and are only looked at. `starting`
    are not known yet to run; cancelling one ends its start.
    """

    def __init__(self, client_name: str, ttl: float) -> None:
        self.id = str(uuid.uuid4())
        self.client_name = client_name
        self.ttl = ttl
        self.connection: Connection | None = None
        self.expires_at: float | None = None
        self.expiry = trio.CancelScope()
        self.own: dict[str, LocalProcess] = {}
        self.starting: dict[str, trio.CancelScope] = {}
        self.living = 0  # of its own, those that have not ended
        self.viewed: dict[str, LocalProcess] = {}
        self.catches_up_until = 0.0

    def find(self, name: str) -> LocalProcess:
        """The process that this session calls so. Raises RpcError -32600."""
        process = self.get(name)
        if process is None:
            raise (process_starting if name in self.starting else unknown_process)(name)
        return process

    def get(self, name: str) -> LocalProcess | None:
        """The process that this session calls so, or None."""
        return self.own.get(name) or self.viewed.get(name)

    def require_free(self, name: str) -> None:
        """Raises RpcError -32600 when the name is taken, if only by a finished process."""
        if self.get(name) is not None or name in self.starting:
            raise process_exists(name)

    def require_room(self, limit: int) -> None:
        """Raises RpcError -32600 when `limit` processes of this session have not ended."""
        if self.living + len(self.starting) >= limit:
            raise invalid_request(
                f"this session has its limit of {limit} processes; wait for one to end, "
                "or start the node with a higher --max-processes"
            )

    def begin(self, name: str, start: Awaitable[LocalProcess]) -> Awaitable[LocalProcess]:
        """Reserve a name for a process until its start is through, which is to be awaited.

        Raises RpcError -32600 then, if it was cancelled by `starting`.
        """
        scope = self.starting[name] = trio.CancelScope()

        async def finish() -> LocalProcess:
            try:
                with scope:
                    return await start
                raise start_cancelled(name)
            finally:
                del self.starting[name]

        return finish()

    def named(self) -> Iterator[tuple[str, LocalProcess]]:
        """Every process of this session with its name."""
        yield from self.own.items()
        yield from self.viewed.items()

    def lacks(self, name: str, process: LocalProcess) -> bool:
        """Whether there is news of a finished process that its client may still have to be told."""
        connection = self.connection
        if name in self.own and (connection is None or trio.current_time() < self.catches_up_until):
            return True
        return connection is not None and connection.channel.streams(process.process)

    def forget(self, name: str, process: LocalProcess) -> None:
        """A process is no longer there."""
        if self.own.pop(name, None) is None:
            del self.viewed[name]


class Sessions:
    """All sessions of a node."""

    def __init__(
        self, execs: LocalExec, nursery: trio.Nursery, *, limit: int, ttl: float, max_ttl: float
    ) -> None:
        self._execs = execs
        self._nursery = nursery
        self._limit = limit
        self._ttl = ttl
        self._max_ttl = max_ttl
        self._sessions: dict[str, Session] = {}

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, connection: Connection, client_name: str, ttl_ms: int | None) -> Session:
        """A new session, attached. Raises RpcError -32600 when there are too many."""
        if len(self._sessions) >= self._limit and not self._make_room():
            raise invalid_request(
                f"this node has its limit of {self._limit} sessions; end one, "
                "or start the node with a higher --max-sessions"
            )
        session = Session(client_name, self._ttl)
        self._choose_ttl(session, ttl_ms)
        self._sessions[session.id] = session
        session.connection = connection
        return session

    def resume(self, connection: Connection, session_id: str, ttl_ms: int | None) -> Session:
        """A detached session, attached again. Raises RpcError -32010 or -32600."""
        session = self._sessions.get(session_id)
        if session is None:
            raise unknown_session(session_id)
        if session.connection is not None:
            raise session_attached(session_id)
        # At the boundary the end of its time wins, whether or not the task waiting for it ran yet.
        if session.expires_at is not None and trio.current_time() >= session.expires_at:
            self._end(session)
            raise unknown_session(session_id)
        session.connection = connection
        session.expires_at = None
        session.expiry.cancel()
        self._choose_ttl(session, ttl_ms)
        session.catches_up_until = trio.current_time() + _CATCH_UP
        return session

    def _choose_ttl(self, session: Session, ttl_ms: int | None) -> None:
        if ttl_ms is not None:
            session.ttl = min(ttl_ms / 1000, self._max_ttl)

    def stream(self, session: Session) -> None:
        """Send news of every process to the connection, from this moment on."""
        connection = session.connection
        assert connection is not None
        for name, process in session.named():
            if not process.closed and not connection.channel.streams(process.process):
                last = process.process.next_seq - 1
                connection.stream(name, process, last, protect=name in session.own)
        if any(not process.closed for process in session.own.values()):
            self._nursery.start_soon(self._let_go, session, connection)

    def detach(self, session: Session) -> None:
        """The connection has ended: keep what it may not have received, and let the time run."""
        connection = session.connection
        assert connection is not None
        for process in session.own.values():
            if connection.channel.streams(process.process):
                process.hold(connection.channel.unconfirmed(process.process))
        session.connection = None
        session.expires_at = trio.current_time() + session.ttl
        session.expiry = trio.CancelScope()
        self._nursery.start_soon(self._expire, session, session.expiry, session.expires_at)

    def add(self, session: Session, name: str, process: LocalProcess) -> None:
        """A process was started in this session."""
        session.own[name] = process
        if not process.closed:
            session.living += 1

            def count(_: LocalProcess) -> None:
                session.living -= 1

            process.on_ended.append(count)
        process.known_to[session] = name
        process.started_by = session

    def view(self, session: Session, name: str, process: LocalProcess) -> None:
        """A process of another session is looked at from this one."""
        session.viewed[name] = process
        process.known_to[session] = name

    def _make_room(self) -> bool:
        """End a session that nobody is connected to and that holds nothing, the nearest its end."""
        idle = [
            (session.expires_at, session)
            for session in self._sessions.values()
            if session.expires_at is not None
            and not session.own
            and not self._execs.leftovers_of(session)
        ]
        if idle:
            self._end(min(idle, key=itemgetter(0))[1])
        return bool(idle)

    def _end(self, session: Session) -> None:
        if self._sessions.pop(session.id, None) is None:
            return
        for _, process in session.named():
            del process.known_to[session]
        self._execs.abandon({*session.own.values(), *self._execs.leftovers_of(session)})

    async def _expire(self, session: Session, expiry: trio.CancelScope, when: float) -> None:
        with expiry:
            await trio.sleep_until(when)
            if not expiry.cancel_called:  # resumed in the very moment
                self._end(session)

    async def _let_go(self, session: Session, connection: Connection) -> None:
        await trio.sleep(_CATCH_UP)
        if session.connection is connection:
            for process in session.own.values():
                if not process.closed:
                    process.release()
