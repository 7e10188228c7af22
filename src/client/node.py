"""A node, as its user holds it: processes to start, list and attach to."""

import math
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from socket import socket
from typing import Literal, NamedTuple, Unpack, overload

import anyio

from execnode.protocol import methods
from execnode.protocol.errors import RpcError
from execnode.protocol.messages import (
    EnvironmentInfo,
    EnvironmentPolicy,
    Limits,
    ListParams,
    ListResponse,
    ProcessSummary,
    Retention,
    StartParams,
    TerminalSize,
)
from execnode.protocol.text import OsMap, OsText, OsTexts
from execnode.protocol.uri import format_path_uri, parse_path_uri

from .channel import Channel
from .completed import Captured, Completed
from .errors import TimeoutExpired, start_error
from .options import Argument, Folder, Options
from .process import Process
from .session import Hello, Session
from .tasks import background
from .transport import dialer

__all__ = ["Node", "ProcessInfo", "connect"]

# The node's own environment, whole: the caller chose what to add to it.
_NODE_ENVIRONMENT = EnvironmentPolicy(
    inherit="all",
    ignore_default_excludes=True,
    exclude=OsTexts(),
    set=OsMap(),
    include_only=OsTexts(),
)

# Output that nobody takes, of a process whose node goes on regardless: more becomes a Gap.
_DROPPING_BYTES = 1024 * 1024
_VIEWER_BYTES = 8 * 1024 * 1024
_END_SECONDS = 5.0


@asynccontextmanager
async def connect(
    target: str | socket,
    *,
    token: str | None = None,
    token_file: str | os.PathLike[str] | None = None,
    client_name: str = "execnode-python",
    session_ttl: float | None = None,
    recovery: float = 80.0,
) -> AsyncIterator["Node"]:
    """A node, connected for as long as the context lasts.

    `target` is a URL, `unix:///path.sock`, `tcp://HOST:PORT` or `stdio:COMMAND ARG...` (a program
    that serves on its standard input and output), or a connected stream socket, which is then
    owned. A tcp node asks for its `token`, given as it is or as a file that contains it.

    A connection that breaks is made again for up to `recovery` seconds, and nothing is lost by it:
    processes run on and their output waits on the node. `session_ttl` is for how many seconds the
    node should keep them without a connection (the node bounds it; None: its default, 80 s).

    Leaving the context ends the processes started in it that still run, unless `Process.detach`
    was called. Exceptions of the body pass through as they are.

    Raises OSError when there is no connection, RpcError when the node refuses the session, and
    ValueError for a URL of another kind.
    """
    if token_file is not None:
        if token is not None:
            raise ValueError("token and token_file are both given")
        token = (await anyio.Path(token_file).read_text()).strip()
    hello = Hello(client_name, token, _milliseconds(session_ttl))
    async with background() as tasks:
        session = Session(dialer(target), hello, recovery, tasks)
        await session.open()
        try:
            yield Node(session)
        finally:
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


class Node:
    """A machine that runs processes. Made by `connect`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._cwd = os.fsdecode(parse_path_uri(session.info.cwd or "file:///"))

    @property
    def info(self) -> EnvironmentInfo:
        """What the node told of itself: shell, folders, version, capabilities."""
        return self._session.info

    @property
    def cwd(self) -> str:
        """The node's own working folder, where programs run unless told otherwise."""
        return self._cwd

    @property
    def session_id(self) -> str:
        """The session's id, which stays the same over broken connections."""
        return self._session.session_id

    @property
    def connected(self) -> bool:
        """Whether there is a connection now; if not, it is being made again or is lost for good."""
        return self._session.connected

    async def start(
        self,
        argv: Sequence[Argument],
        *,
        cwd: Folder | None = None,
        env: Mapping[str, str] | None = None,
        extra_env: Mapping[str, str] | None = None,
        rlimits: Mapping[str, int | tuple[int, int]] | None = None,
        timeout: float | None = None,
        grace: float | None = None,
        stdin: bool = False,
        tty: bool = False,
        size: tuple[int, int] | None = None,
        arg0: str | bytes | None = None,
        retention: Retention | None = None,
        digest: Literal["crc32c", "sha256"] | None = None,
    ) -> Process:
        """Start a program on the node.

        argv: program and arguments. A program without a slash is looked up in the PATH of the
            child's environment.
        cwd: absolute path of its working folder; None for the node's own.
        env: its exact environment; None for the node's own.
        extra_env: variables to set on top of either.
        rlimits: names of setrlimit(2) in lower case without RLIMIT_, to one number for both the
            soft and the hard limit, or to (soft, hard).
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
        node refuses, ValueError for a relative `cwd`, SessionLost. Cancelling is safe: then nothing
        is left running.
        """
        arguments = [os.fspath(argument) for argument in argv]
        folder = self.cwd if cwd is None else os.fsdecode(cwd)
        if not folder.startswith("/"):
            raise ValueError(f"cwd must be an absolute path on the node, not {folder!r}")
        params = StartParams(
            process_id=self._session.new_process_id(),
            argv=OsTexts(map(os.fsencode, arguments)),
            cwd=format_path_uri(os.fsencode(folder)),
            env=OsMap(_environment(env) | _environment(extra_env)),
            tty=tty,
            pipe_stdin=stdin,
            arg0=None if arg0 is None else OsText(os.fsencode(arg0)),
            env_policy=_NODE_ENVIRONMENT if env is None else None,
            retention=retention,
            size=None if size is None else TerminalSize(*size),
            limits=None if rlimits is None else _limits(rlimits),
            timeout_ms=_milliseconds(timeout),
            grace_ms=_milliseconds(grace),
            digest=digest,
        )
        channel = _channel(params.process_id, " ".join(map(os.fsdecode, arguments)), retention)
        try:
            started = await self._session.start(params, channel)
        except RpcError as exc:
            error = start_error(exc, os.fsdecode(arguments[0]), folder)
            if error is None:
                raise
            raise error from None
        return Process(
            self._session,
            channel,
            started,
            arguments,
            owned=True,
            sha256=digest == "sha256",
        )

    @overload
    async def run(
        self,
        argv: Sequence[Argument],
        *,
        input: bytes | None = None,
        check: bool = False,
        encoding: None = None,
        **options: Unpack[Options],
    ) -> Completed[bytes]: ...
    @overload
    async def run(
        self,
        argv: Sequence[Argument],
        *,
        input: str | None = None,
        check: bool = False,
        encoding: str,
        errors: str = "strict",
        **options: Unpack[Options],
    ) -> Completed[str]: ...
    async def run(
        self,
        argv: Sequence[Argument],
        *,
        input: bytes | str | None = None,  # noqa: A002 (subprocess.run calls it so)
        check: bool = False,
        encoding: str | None = None,
        errors: str = "strict",
        **options: Unpack[Options],
    ) -> Completed[bytes] | Completed[str]:
        """Run a program to its end and give all that it wrote, like subprocess.run.

        input: written to its standard input, which is then closed; without it is /dev/null.
        check: raise CalledProcessError unless it ends with exit code 0.
        encoding, errors: of input and output as text; without an encoding both are bytes.
        options: `cwd`, `env`, `extra_env`, `rlimits`, `timeout` and `grace` of `start`. At the
            timeout the program and its descendants are ended, also those that only keep its output
            open, and TimeoutExpired has all that was written.

        Raises besides what `start` does. Cancelling ends the program.
        """
        if isinstance(input, str):
            input = input.encode(encoding or "utf-8", errors)  # noqa: A001
        timeout, grace = options.get("timeout"), options.get("grace")
        # Before the start, so that it is over for us when it is for the node.
        deadline = math.inf if timeout is None else anyio.current_time() + timeout
        captured = Captured()
        process = await self.start(argv, stdin=input is not None, **options)
        async with process, background() as tasks:
            if input is not None:
                tasks.start_soon(_feed, process, input)
            with anyio.CancelScope(deadline=deadline):
                await captured.drain(process)
            late = anyio.current_time() >= deadline
            if late:
                # The node's own timeout ends a program that runs; this reaches what one that has
                # ended left behind, too.
                await process.terminate(leftovers=True)
                with anyio.move_on_after((grace or 0) + _END_SECONDS):
                    await captured.drain(process)
        if timeout is not None and (late or process.reason == "timeout"):
            raise TimeoutExpired(process.args, timeout, captured.stdout, captured.stderr)
        done = captured.completed(process, encoding, errors)
        if check:
            done.check_returncode()
        return done

    async def attach(self, ref: str, *, skip_to_end: bool = False) -> Process:
        """A process of any session of the node, to look at and to control.

        `ref` is from `Process.ref` or `list`. Output begins with the oldest that the node keeps (a
        Gap stands for what it does not), or with `skip_to_end` after what there is now. A reader
        who is 8 MiB behind gets a Gap too. Leaving the process does not end it.

        Raises RpcError when there is no such process or this session started it, and ValueError
        when it is attached to it already.
        """
        channel, started = await self._session.view(
            ref, limit=_VIEWER_BYTES, skip_to_end=skip_to_end
        )
        return Process(self._session, channel, started, [], owned=False)

    async def list(self, *, all_sessions: bool = False) -> list[ProcessInfo]:
        """The processes of this session, or of the whole node, oldest first."""
        listed = await self._session.call(
            methods.PROCESS_LIST, ListParams(all_sessions), ListResponse
        )
        return [_process_info(summary) for summary in listed.processes]


def _channel(process_id: str, command: str, retention: Retention | None) -> Channel:
    limit = None
    if retention is not None and retention.mode == "drop-oldest":
        limit = max(retention.max_bytes or 0, _DROPPING_BYTES)
    return Channel(process_id, f"{process_id}: {command}", limit)


async def _feed(process: Process, data: bytes) -> None:
    """Write all input; a program that does not want it is no error, as in subprocess."""
    with suppress(ConnectionError, RpcError):
        await process.write(data)
        await process.close_stdin()


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


def _limits(rlimits: Mapping[str, int | tuple[int, int]]) -> Limits:
    return Limits({name: n if isinstance(n, int) else list(n) for name, n in rlimits.items()})


def _environment(variables: Mapping[str, str] | None) -> dict[bytes, bytes]:
    return {os.fsencode(k): os.fsencode(v) for k, v in (variables or {}).items()}


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
