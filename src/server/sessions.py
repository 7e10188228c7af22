"""Sessions: what a client owns, and what survives the loss of its connection.

A session is attached to one connection or detached:

    new ──► attached ──connection ends──► detached ──resume──► attached
                                              └──ttl──► gone: its processes are ended

Everything here is synchronous but the waiting for the end of a detached session's time.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import trio

from execnode.environment.local.exec import LocalExec
from execnode.environment.local.process import LocalProcess
from execnode.protocol.errors import (
    invalid_request,
    process_exists,
    session_attached,
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

    `own` were started here; `viewed` belong to other sessions and are only looked at.
    """

    def __init__(self, client_name: str, ttl: float) -> None:
        self.id = str(uuid.uuid4())
        self.client_name = client_name
        self.ttl = ttl
        self.connection: Connection | None = None
        self.expires_at: float | None = None
        self.own: dict[str, LocalProcess] = {}
        self.living = 0  # of its own, those that have not ended
        self.viewed: dict[str, LocalProcess] = {}
        self.leftovers: set[LocalProcess] = set()

    def find(self, name: str) -> LocalProcess:
        """The process that this session calls so. Raises RpcError -32600."""
        process = self.get(name)
        if process is None:
            raise unknown_process(name)
        return process

    def get(self, name: str) -> LocalProcess | None:
        """The process that this session calls so, or None."""
        return self.own.get(name) or self.viewed.get(name)

    def require_free(self, name: str) -> None:
        """Raises RpcError -32600 when the name is taken, if only by a finished process."""
        if self.get(name) is not None:
            raise process_exists(name)

    def require_room(self, limit: int) -> None:
        """Raises RpcError -32600 when `limit` processes of this session have not ended."""
        if self.living >= limit:
            raise invalid_request(
                f"this session has its limit of {limit} processes; wait for one to end, "
                "or start the node with a higher --max-processes"
            )

    def named(self) -> Iterator[tuple[str, LocalProcess]]:
        """Every process of this session with its name."""
        yield from self.own.items()
        yield from self.viewed.items()

    def name_of(self, process: LocalProcess) -> str | None:
        """What this session calls a process, or None."""
        return next((name for name, each in self.named() if each is process), None)


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
        if len(self._sessions) >= self._limit:
            raise invalid_request(
                f"this node has its limit of {self._limit} sessions; end one, "
                "or start the node with a higher --max-sessions"
            )
        ttl = self._ttl if ttl_ms is None else min(ttl_ms / 1000, self._max_ttl)
        session = Session(client_name, ttl)
        self._sessions[session.id] = session
        session.connection = connection
        return session

    def resume(self, connection: Connection, session_id: str) -> Session:
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
        return session

    def stream(self, session: Session) -> None:
        """Send news of every process to the connection, from this moment on."""
        connection = session.connection
        assert connection is not None
        for name, process in session.named():
            if not process.closed and not connection.channel.streams(process.process):
                connection.stream(name, process, process.process.next_seq - 1)
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
        self._nursery.start_soon(self._expire, session, session.expires_at)

    def add(self, session: Session, name: str, process: LocalProcess) -> None:
        """A process was started in this session."""
        session.own[name] = process
        session.living += 1

        def forget(process: LocalProcess) -> None:
            del session.own[name]
            if self._execs.has_leftovers(process):
                session.leftovers.add(process)

        def count(_: LocalProcess) -> None:
            session.living -= 1

        process.on_ended.append(count)
        process.on_forgotten[session] = forget

    def view(self, session: Session, name: str, process: LocalProcess) -> None:
        """A process of another session is looked at from this one."""
        session.viewed[name] = process

        def forget(_: LocalProcess) -> None:
            session.viewed.pop(name, None)

        process.on_forgotten[session] = forget

    def end_all(self, sessions: Iterable[Session]) -> None:
        """End sessions: their processes are killed, with all that these started."""
        for session in list(sessions):
            self._end(session)

    def _end(self, session: Session) -> None:
        if self._sessions.pop(session.id, None) is None:
            return
        for process in session.viewed.values():
            process.on_forgotten.pop(session, None)
        leftovers = [process for process in session.leftovers if self._execs.has_leftovers(process)]
        self._execs.abandon([*session.own.values(), *leftovers])

    async def _expire(self, session: Session, expires_at: float) -> None:
        await trio.sleep_until(expires_at)
        if session.expires_at == expires_at:  # not resumed meanwhile
            self._end(session)

    async def _let_go(self, session: Session, connection: Connection) -> None:
        await trio.sleep(_CATCH_UP)
        if session.connection is connection:
            for process in session.own.values():
                if not process.closed:
                    process.release()
