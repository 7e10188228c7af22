"""A node inside this process, for programs that name none.

It is the same node as `execnode serve` runs, without listeners: the client reaches it through a
socket pair. Its event loop runs in the thread of the blocking client, and its processes end with
this program, also when that is killed.
"""

import atexit
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, Unpack, overload

import trio

from execnode.client import Completed, blocking
from execnode.client.options import Argument, Options
from execnode.environment.local.exec import ExecSettings
from execnode.server.connection import Peer
from execnode.server.node import Node, NodeSettings

__all__ = ["connect", "embedded", "run"]

# A program may have children of its own: this node adopts nobody's.
_SETTINGS = NodeSettings(execs=ExecSettings(adopt=False))


@asynccontextmanager
async def embedded() -> AsyncIterator[socket.socket]:
    """Run a node in this trio event loop and give a socket that is connected to it."""
    ours, theirs = socket.socketpair()
    async with Node.open(_SETTINGS) as node, trio.open_nursery() as nursery:
        descriptor = theirs.detach()
        nursery.start_soon(node.connect, descriptor, descriptor, Peer("embedded"))
        try:
            yield ours
        finally:
            nursery.cancel_scope.cancel()


@contextmanager
def connect() -> Iterator[blocking.Node]:
    """A node in this process for as long as the context lasts; leaving it ends its processes."""
    with blocking.connect(embedded) as node:
        yield node


class _Shared:
    """The one embedded node that all calls of `run` in this process use, made by the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stack = ExitStack()
        self._node: blocking.Node | None = None
        self._pid = 0

    def node(self) -> blocking.Node:
        with self._lock:
            if self._node is None or self._pid != os.getpid():  # a fork has no threads
                self._stack = ExitStack()
                self._node = self._stack.enter_context(connect())
                self._pid = os.getpid()
                atexit.register(self.close)
            return self._node

    def close(self) -> None:
        if self._pid == os.getpid():
            self._stack.close()
            self._node = None


_shared = _Shared()


@overload
def run(
    argv: Sequence[Argument],
    node: blocking.Node | blocking.Target | None = None,
    *,
    input: bytes | None = None,
    check: bool = False,
    encoding: None = None,
    **options: Unpack[Options],
) -> Completed[bytes]: ...
@overload
def run(
    argv: Sequence[Argument],
    node: blocking.Node | blocking.Target | None = None,
    *,
    input: str | None = None,
    check: bool = False,
    encoding: str,
    errors: str = "strict",
    **options: Unpack[Options],
) -> Completed[str]: ...
def run(
    argv: Sequence[Argument],
    node: blocking.Node | blocking.Target | None = None,
    **options: Any,
) -> Any:
    """Run a command and wait for it, like `subprocess.run`; see `execnode.Node.run`.

    node: a URL or a connected node; None for one inside this process, which the first such call
        starts and the program's end ends.
    """
    run_on: Callable[..., Any] = blocking.run
    return run_on(argv, _shared.node() if node is None else node, **options)
