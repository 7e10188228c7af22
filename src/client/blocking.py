"""The client for programs without async: the same names, calls that return when it is done.

A thread runs the event loop, from `connect` until its context is left; the caller does not meet it.
Signal handlers and event-loop policies are left alone. Calls may come from several threads, but
only one at a time may iterate over a process.
"""

import os
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from socket import socket
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeAlias, TypedDict, TypeVar, Unpack, overload

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from execnode.protocol.messages import EnvironmentInfo
from execnode.protocol.processes import ReadResponse, TerminateResponse
from execnode.protocol.sandbox import SandboxDenial, SandboxReport

from . import node as _node
from .channel import Gap, Output, Total
from .completed import Completed
from .dialing import Encoding
from .errors import TimeoutExpired
from .options import Argument, Options, StartOptions
from .process import Process as AsyncProcess

__all__ = ["Connector", "Node", "Process", "Target", "connect", "run"]

Connector: TypeAlias = Callable[[], AbstractAsyncContextManager[socket]]
"""Makes a node in the event loop of `connect` (trio) and gives a socket that is connected to it."""

Target: TypeAlias = str | socket | Connector

_P = ParamSpec("_P")
_T = TypeVar("_T")


class ConnectOptions(TypedDict, total=False):
    """What `execnode.connect` takes beside the target."""

    token: str | None
    token_file: str | os.PathLike[str] | None
    encoding: Encoding | None
    ca_file: str | os.PathLike[str] | None
    client_name: str
    session_ttl: float | None
    recovery: float


@contextmanager
def connect(target: Target, **options: Unpack[ConnectOptions]) -> Iterator["Node"]:
    """A node, connected for as long as the context lasts; see `execnode.connect`.

    `target` may also be a Connector.
    """
    with (
        start_blocking_portal(backend="trio") as portal,
        portal.wrap_async_context_manager(_open(target, options)) as node,
    ):
        yield Node(node, _Caller(portal))


@asynccontextmanager
async def _open(target: Target, options: ConnectOptions) -> AsyncIterator[_node.Node]:
    if isinstance(target, str | socket):
        async with _node.connect(target, **options) as node:
            yield node
    else:
        async with target() as sock, _node.connect(sock, **options) as node:
            yield node


class _Caller:
    """Calls async functions in the event loop's thread."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal

    def __call__(
        self, function: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        over = threading.Event()

        async def call() -> _T:
            try:
                return await function(*args, **kwargs)
            finally:
                over.set()

        future = self._portal.start_task_soon(call)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C: the call has to end its program before the caller goes on. A call that raised
            # by itself is over already.
            future.cancel()
            over.wait()
            raise


class Process:
    """A process on a node; see `execnode.Process`, whose names and meanings these are."""

    def __init__(self, process: AsyncProcess, call: _Caller) -> None:
        self._process = process
        self._call = call
        self._items: deque[Output | Gap] = deque()

    def __repr__(self) -> str:
        return repr(self._process)

    @property
    def args(self) -> Sequence[str | bytes]:
        """Program and arguments, as given to `start`; empty for an attached process."""
        return self._process.args

    @property
    def pid(self) -> int | None:
        """Process id on the node."""
        return self._process.pid

    @property
    def ref(self) -> str | None:
        """Name by which every session of the node can attach to the process."""
        return self._process.ref

    @property
    def sandbox(self) -> SandboxReport | None:
        """How its sandbox is enforced, and what of it is not; None without one."""
        return self._process.sandbox

    @property
    def unlimited(self) -> tuple[str, ...]:
        """Which of its optional limits it does not have."""
        return self._process.unlimited

    @property
    def returncode(self) -> int | None:
        """Exit code; None while the process runs."""
        return self._process.returncode

    @property
    def reason(self) -> str | None:
        """In which way it ended; None while the process runs."""
        return self._process.reason

    @property
    def signal_name(self) -> str | None:
        """`SIGKILL` and the like for a process that a signal ended."""
        return self._process.signal_name

    @property
    def sandbox_denied(self) -> bool:
        """Whether the node thinks that its sandbox made the process fail."""
        return self._process.sandbox_denied

    @property
    def denial(self) -> SandboxDenial | None:
        """What the sandbox denied, where that is known."""
        return self._process.denial

    @property
    def totals(self) -> Mapping[str, Total]:
        """Bytes and digest of each stream; empty until all has arrived."""
        return self._process.totals

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Output | Gap:
        if not self._items:
            self._items.extend(self._call(self._process.take))
        if not self._items:
            raise StopIteration
        return self._items.popleft()

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once the process has ended. Output is not taken meanwhile.

        Raises TimeoutExpired after `timeout` seconds; the process runs on.
        """

        async def wait() -> int:
            with anyio.fail_after(timeout):
                return await self._process.wait()

        try:
            return self._call(wait)
        except TimeoutError:
            raise TimeoutExpired(self.args, timeout or 0.0) from None

    def read(
        self, *, after_seq: int = 0, max_bytes: int | None = None, wait: float = 0.0
    ) -> ReadResponse:
        """Events after `after_seq` that the node still keeps, apart from iterating."""
        return self._call(self._process.read, after_seq=after_seq, max_bytes=max_bytes, wait=wait)

    def skip_to_end(self) -> None:
        """Drop the output that has not been taken yet; a Gap tells how much."""
        self._call(self._process.skip_to_end)

    def write(self, data: bytes) -> None:
        """Write to the program's standard input or terminal; waits while the program does not."""
        self._call(self._process.write, data)

    def close_stdin(self) -> None:
        """End the program's standard input, after what was written."""
        self._call(self._process.close_stdin)

    def signal(self, name: str) -> None:
        """Send a signal to the process group: `INT`, `SIGTERM`, ..."""
        self._call(self._process.signal, name)

    def resize(self, rows: int, cols: int) -> None:
        """Set the size of the terminal in character cells."""
        self._call(self._process.resize, rows, cols)

    def terminate(
        self, grace: float | None = None, *, leftovers: bool = False
    ) -> TerminateResponse:
        """End the process and all its descendants: SIGTERM, SIGKILL after `grace` seconds."""
        return self._call(self._process.terminate, grace, leftovers=leftovers)

    def detach(self) -> None:
        """Do not end the process when this object or the node is left."""
        self._process.detach()

    def close(self) -> None:
        """Take no more output, and end the process if it still runs and is not another's."""
        self._call(self._process.aclose)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Node:
    """A machine that runs processes; see `execnode.Node`, whose names and meanings these are."""

    def __init__(self, node: _node.Node, call: _Caller) -> None:
        self._node = node
        self._call = call

    @property
    def info(self) -> EnvironmentInfo:
        """What the node told of itself: shell, folders, version, capabilities."""
        return self._node.info

    @property
    def cwd(self) -> str:
        """The node's own working folder."""
        return self._node.cwd

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self._node.session_id

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._node.connected

    def start(self, argv: Sequence[Argument], **options: Unpack[StartOptions]) -> Process:
        """Start a program on the node."""
        return Process(self._call(self._node.start, argv, **options), self._call)

    @overload
    def run(
        self,
        argv: Sequence[Argument],
        *,
        input: bytes | None = None,
        check: bool = False,
        encoding: None = None,
        **options: Unpack[Options],
    ) -> Completed[bytes]: ...
    @overload
    def run(
        self,
        argv: Sequence[Argument],
        *,
        input: str | None = None,
        check: bool = False,
        encoding: str,
        errors: str = "strict",
        **options: Unpack[Options],
    ) -> Completed[str]: ...
    def run(self, argv: Sequence[Argument], **options: Any) -> Any:
        """Run a program to its end and give all that it wrote, like subprocess.run."""
        call: Callable[..., Awaitable[Any]] = self._node.run
        return self._call(call, argv, **options)

    def attach(self, ref: str, *, skip_to_end: bool = False) -> Process:
        """A process of any session of the node, to look at and to control."""
        process = self._call(self._node.attach, ref, skip_to_end=skip_to_end)
        return Process(process, self._call)

    def list(self, *, all_sessions: bool = False) -> "list[_node.ProcessInfo]":
        """The processes of this session, or of the whole node, oldest first."""
        return self._call(self._node.list, all_sessions=all_sessions)


@overload
def run(
    argv: Sequence[Argument],
    node: Node | Target,
    *,
    input: bytes | None = None,
    check: bool = False,
    encoding: None = None,
    **options: Unpack[Options],
) -> Completed[bytes]: ...
@overload
def run(
    argv: Sequence[Argument],
    node: Node | Target,
    *,
    input: str | None = None,
    check: bool = False,
    encoding: str,
    errors: str = "strict",
    **options: Unpack[Options],
) -> Completed[str]: ...
def run(argv: Sequence[Argument], node: Node | Target, **options: Any) -> Any:
    """`Node.run` on a node that is connected already, or is connected to for this one command."""
    if isinstance(node, Node):
        return node.run(argv, **options)
    with connect(node) as connected:
        return connected.run(argv, **options)
