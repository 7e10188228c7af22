"""A node, as its user holds it: processes to start, list and attach to."""

import errno
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from socket import socket
from typing import NamedTuple, Unpack

import anyio

from execnode.protocol import methods
from execnode.protocol.errors import RpcError
from execnode.protocol.messages import EnvironmentInfo
from execnode.protocol.processes import ListParams, ListResponse, ProcessSummary, Retention
from execnode.protocol.uri import parse_path_uri

from .dialing import Encoding, dialer
from .errors import start_error
from .filecalls import SessionFileCalls
from .files import Files
from .http import Http
from .options import Argument, StartOptions
from .process import Process
from .processes import Processes
from .running import Runner
from .session import Hello, Session
from .starting import milliseconds, needs, start_params
from .tasks import background

__all__ = ["Node", "ProcessInfo", "connect"]

# Output that nobody takes, of a process whose node goes on regardless: more becomes a Gap.
_DROPPING_BYTES = 1024 * 1024
_VIEWER_BYTES = 8 * 1024 * 1024


@asynccontextmanager
async def connect(
    target: str | socket,
    *,
    token: str | None = None,
    token_file: str | os.PathLike[str] | None = None,
    encoding: Encoding | None = None,
    ca_file: str | os.PathLike[str] | None = None,
    client_name: str = "execnode-python",
    session_ttl: float | None = None,
    recovery: float = 80.0,
) -> AsyncIterator["Node"]:
    """A node, connected for as long as the context lasts.

    `target` is a URL, `unix:///path.sock`, `tcp://HOST:PORT`, `ws://HOST:PORT`, `wss://HOST:PORT`
    or `stdio:COMMAND ARG...` (a program that serves on its standard input and output), or a
    connected stream socket, which is then owned. A tcp or WebSocket node asks for its `token`,
    given as it is or as a file that contains it. The certificate of a `wss:` node has to be vouched
    for by an authority that the system trusts, or by one in `ca_file` (PEM).

    `encoding` is `cbor`, or `json` for WebSockets, whose default it is, and for programs. A node
    may be Codex's own exec-server too; what that does not have raises Unsupported.

    A connection that breaks is made again for up to `recovery` seconds, and nothing is lost by it:
    processes run on and their output waits on the node. `session_ttl` is for how many seconds the
    node should keep them without a connection (the node bounds it; None: its default, 80 s).

    Leaving the context ends the processes started in it that still run, unless `Process.detach`
    was called. Exceptions of the body pass through as they are.

    Raises OSError when there is no connection (UpgradeRefused, a ConnectionError, for a WebSocket
    that the node does not want), RpcError when the node refuses the session, and ValueError for a
    URL of another kind.
    """
    if token_file is not None:
        if token is not None:
            raise ValueError("token and token_file are both given")
        token = (await anyio.Path(token_file).read_text()).strip()
    way = dialer(target, encoding=encoding, token=token, ca_file=ca_file)
    hello = Hello(client_name, way.auth_token, milliseconds(session_ttl))
    async with background() as tasks:
        session = Session(way, hello, recovery, tasks)
        await session.open()
        processes = Processes(session)
        try:
            yield Node(session, processes)
        finally:
            await processes.aclose()
            await session.aclose()


class ProcessInfo(NamedTuple):
    """One process of a node.

    `started_at`: seconds since 1970; `returncode`: None while it runs; `closed`: all its output is
    over; `attached`: the session that started it is connected; `bytes`: output so far per stream.
    """

    ref: str
    pid: int
    argv: Sequence[str]
    cwd: str
    tty: bool
    started_at: float
    returncode: int | None
    reason: str | None
    closed: bool
    client_name: str
    attached: bool
    bytes: Mapping[str, int]


class Node(Runner[Process]):
    """A machine that runs processes. Made by `connect`."""

    def __init__(self, session: Session, processes: Processes) -> None:
        self._session = session
        self._processes = processes
        self.files = Files(SessionFileCalls(session))
        """The node's files."""
        self.http = Http(session)
        """HTTP from the node's place in the network."""

    @property
    def info(self) -> EnvironmentInfo:
        """What the node told of itself: shell, folders, version, capabilities."""
        return self._session.info

    @property
    def cwd(self) -> str:
        """The node's own working folder, where programs run unless told otherwise.

        Raises FileNotFoundError when it was removed: another in its place would be a guess.
        """
        told = self.info.cwd
        if not told:
            raise FileNotFoundError(errno.ENOENT, "the node's working folder was removed")
        return os.fsdecode(parse_path_uri(told))

    @property
    def session_id(self) -> str:
        """The session's id, which stays the same over broken connections."""
        return self._session.session_id

    @property
    def connected(self) -> bool:
        """Whether there is a connection now; if not, it is being made again or is lost for good."""
        return self._session.connected

    async def start(self, argv: Sequence[Argument], **options: Unpack[StartOptions]) -> Process:
        """Start a program on the node.

        argv: program and arguments. A program without a slash is looked up in the PATH of the
            child's environment.
        cwd: absolute path of its working folder; None for the node's own.
        env: its exact environment; None for the node's own.
        env_policy: how its environment is made from the node's own, instead.
        extra_env: variables to set on top of any of these.
        rlimits: names of setrlimit(2) in lower case without RLIMIT_, to one number for both the
            soft and the hard limit, or to (soft, hard).
        limits: what it and all it starts may take together, as Limits(pids=..., memory_bytes=...,
            cpu=...); it is refused where the node cannot limit that, unless it is `optional`.
        sandbox: what it may touch: an object of the dialect, as `Sandbox.read_only()` and
            `Sandbox.workspace_write(folder)` make. It is started in that sandbox or not at all.
        timeout: seconds after which the node ends it and all its descendants (reason `timeout`).
        grace: seconds between SIGTERM and SIGKILL whenever it is ended.
        stdin: keep its standard input open for `Process.write`; otherwise it is /dev/null.
        tty: run it on a terminal of its own, which is always writable; all output is one stream,
            `pty`. `size`: (rows, columns) of the terminal, 24 x 80 if not given.
        arg0: what the program sees as its own name instead of argv[0].
        retention: what the node keeps of its output that was not taken, and what happens at the
            limit: Retention("block", max_bytes) or Retention("drop-oldest", max_bytes).
        digest: how the node hashes its output, CRC-32C if not given.

        Raises StartError (an OSError of the class that its errno calls for), RpcError for what the
        node refuses (Unsupported for an option that it does not know), ValueError for a relative
        `cwd`, FileNotFoundError for none where the node's own was removed, SessionLost. Cancelling
        is safe: then nothing is left running.
        """
        arguments = [os.fspath(argument) for argument in argv]
        processes = self._processes
        folder = self.cwd if (given := options.get("cwd")) is None else os.fsdecode(given)
        params = start_params(processes.new_process_id(), arguments, folder, **options)
        for capability, member in needs(params):
            self._session.require(capability, f"such option of a start: {member}")
        command = " ".join(map(os.fsdecode, arguments))
        limit = _untaken_limit(params.retention)
        channel = processes.channel(params.process_id, f"{params.process_id}: {command}", limit)
        try:
            started = await processes.start(params, channel)
        except RpcError as exc:
            error = start_error(exc, os.fsdecode(arguments[0]), folder)
            if error is None:
                raise
            raise error from None
        sha256 = params.digest == "sha256"
        return Process(processes, channel, started, arguments, owned=True, sha256=sha256)

    def _offers(self, capability: str) -> bool:
        return self._session.offers(capability)

    async def attach(self, ref: str, *, skip_to_end: bool = False) -> Process:
        """A process of any session of the node, to look at and to control.

        `ref` is from `Process.ref` or `list`. Output begins with the oldest that the node keeps (a
        Gap stands for what it does not), or with `skip_to_end` after what there is now. A reader
        who is 8 MiB behind gets a Gap too. Leaving the process does not end it.

        Raises RpcError when there is no such process or this session started it, and ValueError
        when it is attached to it already.
        """
        channel, started = await self._processes.view(
            ref, limit=_VIEWER_BYTES, skip_to_end=skip_to_end
        )
        return Process(self._processes, channel, started, [], owned=False)

    async def list(self, *, all_sessions: bool = False) -> list[ProcessInfo]:
        """The processes of this session, or of the whole node, oldest first."""
        self._session.require("processList", "list of processes")
        listed = await self._session.call(
            methods.PROCESS_LIST, ListParams(all_sessions), ListResponse
        )
        return [_process_info(summary) for summary in listed.processes]


def _untaken_limit(retention: Retention | None) -> int | None:
    """How much output that nobody takes is kept here, of a process that does not wait for that."""
    if retention is None or retention.mode == "block":
        return None
    return max(retention.max_bytes or 0, _DROPPING_BYTES)


def _process_info(summary: ProcessSummary) -> ProcessInfo:
    return ProcessInfo(
        ref=summary.ref,
        pid=summary.pid,
        argv=[os.fsdecode(argument) for argument in summary.argv],
        cwd=os.fsdecode(parse_path_uri(summary.cwd)),
        tty=summary.tty,
        started_at=summary.started_at_ms / 1000,
        returncode=summary.exit_code if summary.exited else None,
        reason=summary.reason,
        closed=summary.closed,
        client_name=summary.client_name,
        attached=summary.attached,
        bytes=summary.stream_bytes,
    )
