"""A node, for programs without async."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from socket import socket
from typing import Any, TypeAlias, TypedDict, Unpack, overload

from anyio.from_thread import start_blocking_portal

from execnode.client import node as _node
from execnode.client.completed import Completed
from execnode.client.dialing import Encoding
from execnode.client.options import Argument, Options
from execnode.protocol.messages import EnvironmentInfo

from .calls import Caller, Facade, blocking, giving
from .files import Files
from .http import Http
from .process import Process

__all__ = ["Connector", "Node", "Target", "connect", "run"]

Connector: TypeAlias = Callable[[], AbstractAsyncContextManager[socket]]
"""Makes a node in the event loop of `connect` (trio) and gives a socket that is connected to it."""

Target: TypeAlias = str | socket | Connector


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
        yield Node(node, Caller(portal))


@asynccontextmanager
async def _open(target: Target, options: ConnectOptions) -> AsyncIterator[_node.Node]:
    if isinstance(target, str | socket):
        async with _node.connect(target, **options) as node:
            yield node
    else:
        async with target() as sock, _node.connect(sock, **options) as node:
            yield node


class Node(Facade[_node.Node]):
    """A machine that runs processes; see `execnode.Node`, whose names and meanings these are."""

    def __init__(self, of: _node.Node, call: Caller) -> None:
        super().__init__(of, call)
        self.files = Files(of.files, call)
        """The node's files."""
        self.http = Http(of.http, call)
        """HTTP from the node's place in the network."""

    @property
    def info(self) -> EnvironmentInfo:
        """What the node told of itself: shell, folders, version, capabilities."""
        return self._of.info

    @property
    def cwd(self) -> str:
        """The node's own working folder."""
        return self._of.cwd

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self._of.session_id

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._of.connected

    start = giving(_node.Node.start, Process)
    attach = giving(_node.Node.attach, Process)
    list = blocking(_node.Node.list)

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
        call: Callable[..., Awaitable[Any]] = self._of.run
        return self._call(call, argv, **options)


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
