"""`process/*`: the exec service, seen from a session."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from execnode.environment.local.process import LocalProcess
from execnode.protocol.errors import invalid_params, invalid_request
from execnode.protocol.messages import EmptyResponse
from execnode.protocol.processes import (
    AttachParams,
    AttachResponse,
    CloseStdinParams,
    ListParams,
    ListResponse,
    ProcessSummary,
    ReadParams,
    ReadResponse,
    ResizeParams,
    SignalParams,
    StartParams,
    StartResponse,
    TerminateParams,
    TerminateResponse,
    WriteParams,
    WriteResponse,
)
from execnode.protocol.signals import signal_number
from execnode.server.sessions import Session

if TYPE_CHECKING:
    from execnode.server.connection import Connection

_EMPTY = EmptyResponse()
# The processId is part of every notification's header.
_NAME_MAX = 4096


def _session(connection: Connection) -> Session:
    assert connection.session is not None  # the connection has checked the handshake
    return connection.session


def _require_name(session: Session, name: str) -> None:
    if len(name.encode()) > _NAME_MAX:
        raise invalid_params(f"processId must not exceed {_NAME_MAX} bytes")
    session.require_free(name)


def start(connection: Connection, params: StartParams) -> StartResponse | Awaitable[StartResponse]:
    """Start a process; its notifications follow the answer. With a sandbox it takes a while."""
    session, node = _session(connection), connection.node
    _require_name(session, params.process_id)
    session.require_room(node.settings.execs.limits.processes)
    if params.sandbox is None:
        process = node.execs.start(params, node.shell)
        return _started(connection, params.process_id, process)
    # What the dialect tells of the inside, to the words of a refused write, is of namespaces.
    confined = node.execs.start_confined(params, node.shell, own_world=connection.plain)
    starting = session.begin(params.process_id, confined)
    return _start(connection, params.process_id, starting)


async def _start(
    connection: Connection, name: str, starting: Awaitable[LocalProcess]
) -> StartResponse:
    process = await starting
    response = _started(connection, name, process)
    process.release()
    return response


def _started(connection: Connection, name: str, process: LocalProcess) -> StartResponse:
    connection.node.sessions.add(_session(connection), name, process)
    connection.stream(name, process, 0)
    return StartResponse(
        name,
        "none" if process.confinement is None else "linuxSeccomp",
        process.pid,
        process.ref,
        process.process.retention,
        process.sandbox_report,
        list(process.unlimited),
    )


def read(connection: Connection, params: ReadParams) -> ReadResponse | Awaitable[ReadResponse]:
    """Kept output, now or after a while."""
    session = _session(connection)
    process = session.find(params.process_id)
    after_seq = params.after_seq or 0
    if params.wait_ms and not process.has_news(after_seq):
        return process.read_waiting(after_seq, params.max_bytes, params.wait_ms)
    response = process.read(after_seq, params.max_bytes)
    if params.process_id in session.own and response.next_seq == process.process.next_seq:
        process.release()
    return response


def write(connection: Connection, params: WriteParams) -> WriteResponse | Awaitable[WriteResponse]:
    """Standard input. What waits for the program is answered when the program has taken it."""
    session = _session(connection)
    process = session.get(params.process_id)
    if process is None:
        starting = params.process_id in session.starting
        return WriteResponse("starting" if starting else "unknownProcess")
    result = process.write(params.chunk, params.write_id)
    return process.written(result) if isinstance(result, int) else result


def signal(connection: Connection, params: SignalParams) -> EmptyResponse:
    """A signal to the process group; nothing for an unknown or finished process."""
    number = signal_number(params.signal)
    process = _session(connection).get(params.process_id)
    if process is not None:
        connection.node.execs.signal(process, number)
    return _EMPTY


def terminate(connection: Connection, params: TerminateParams) -> TerminateResponse:
    """End a process with everything it started."""
    session = _session(connection)
    process = session.get(params.process_id)
    if process is None:
        starting = session.starting.get(params.process_id)
        if starting is not None:
            starting.cancel()
        return TerminateResponse(starting is not None)
    return connection.node.execs.terminate(process, params.grace_ms, leftovers=params.leftovers)


def resize(connection: Connection, params: ResizeParams) -> EmptyResponse:
    """The size of a terminal."""
    _session(connection).find(params.process_id).resize(params.size)
    return _EMPTY


def close_stdin(connection: Connection, params: CloseStdinParams) -> EmptyResponse:
    """The end of standard input, after what is queued."""
    _session(connection).find(params.process_id).close_stdin()
    return _EMPTY


def attach(
    connection: Connection, params: AttachParams
) -> AttachResponse | Awaitable[AttachResponse]:
    """Notifications from a chosen record on; with `ref`, of another session's process."""
    session = _session(connection)
    if params.ref is None:
        process = session.find(params.process_id)
    else:
        found = connection.node.execs.find(params.ref)
        if found is None:
            raise invalid_request(f"no process on this node is called {params.ref}")
        _require_name(session, params.process_id)
        known_as = found.known_to.get(session)
        if known_as is not None:
            raise invalid_request(f"this session knows that process already, as {known_as}")
        process = found
        connection.node.sessions.view(session, params.process_id, process)
    if connection.channel.streams(process.process):
        return _move(connection, params, process)
    return _attach(connection, params, process)


async def _move(
    connection: Connection, params: AttachParams, process: LocalProcess
) -> AttachResponse:
    """As `_attach`, but as a task: when the events that were told of the old place are answered."""
    return _attach(connection, params, process)


def _attach(connection: Connection, params: AttachParams, process: LocalProcess) -> AttachResponse:
    owner = params.process_id in _session(connection).own
    connection.stream(
        params.process_id, process, params.after_seq or 0, protect=owner, offsets=params.offsets
    )
    if params.skip_to == "end":
        connection.channel.skip(process.process)
    if owner:
        process.release()
    return process.attach_response()


def list_all(connection: Connection, params: ListParams) -> ListResponse:
    """The processes of this session, or of the node."""
    session = _session(connection)
    if not params.all_sessions:
        return ListResponse([_summary(process, name, session) for name, process in session.named()])
    owners = {
        process: owner for owner in connection.node.sessions for process in owner.own.values()
    }
    return ListResponse(
        [
            _summary(process, process.known_to.get(session), owners[process])
            for process in connection.node.execs.all()
            if process in owners
        ]
    )


def _summary(process: LocalProcess, name: str | None, owner: Session) -> ProcessSummary:
    return ProcessSummary(
        name,
        process.ref,
        process.pid,
        process.argv,
        process.cwd,
        process.tty,
        process.started_at_ms,
        process.has_exited,
        process.exit_code,
        process.closed,
        process.reason,
        owner.client_name,
        owner.connection is not None,
        process.process.totals(),
        process.denied,
    )
