"""A node: the services, the sessions and the listeners, from start to shutdown.

node ⊃ exec service ⊃ processes
node ⊃ files service
node ⊃ sessions (they outlive connections)
node ⊃ connections ⊃ requests that wait
"""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

import trio

from execnode.environment.local.capabilities import LocalCapabilities
from execnode.environment.local.config import LocalConfig
from execnode.environment.local.exec import ExecSettings, LocalExec
from execnode.environment.local.files.service import FileSettings, LocalFiles
from execnode.environment.local.info import environment_info
from execnode.server.auth import WebSettings
from execnode.server.connection import Connection, Peer
from execnode.server.links import Frames, Lines, Link, farewell
from execnode.server.listeners import Address, Listener, hang_up, listen
from execnode.server.sessions import Sessions

__all__ = ["Node", "NodeSettings", "serve"]

_logger = logging.getLogger(__name__)

_ENDINGS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Seconds that a shutdown may take beyond the grace that processes are given.
_SHUTDOWN_MARGIN = 5.0


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What a node offers and how much of it.

    max_frame: bytes of the largest message taken.
    max_sessions, max_connections: how many there may be at once.
    session_ttl, max_session_ttl: seconds a session lives while nobody is connected to it, unless
        its client wants otherwise, and at most.
    shutdown_grace: seconds that processes have between SIGTERM and SIGKILL at the node's end.
    token: what clients have to present that connect by plain TCP; None lets everybody in.
    web: who may open a WebSocket.
    ping_interval: seconds between pings of WebSockets; a silent peer is dropped after three.
    """

    execs: ExecSettings = field(default_factory=ExecSettings)
    files: FileSettings = field(default_factory=FileSettings)
    max_frame: int = 16 << 20
    max_sessions: int = 1024
    max_connections: int = 1024
    session_ttl: float = 80.0
    max_session_ttl: float = 7 * 86400.0
    shutdown_grace: float = 2.0
    token: str | None = None
    web: WebSettings = field(default_factory=WebSettings)
    ping_interval: float = 15.0


class Node:
    """A running node. Made by `Node.open`."""

    def __init__(
        self, settings: NodeSettings, execs: LocalExec, files: LocalFiles, nursery: trio.Nursery
    ) -> None:
        self.settings = settings
        self.execs = execs
        self.config = LocalConfig()
        self.capabilities = LocalCapabilities(files)
        self.files = files
        self.info = environment_info()
        self.shell = os.fsencode(self.info.shell.path)
        self.sessions = Sessions(
            execs,
            nursery,
            limit=settings.max_sessions,
            ttl=settings.session_ttl,
            max_ttl=settings.max_session_ttl,
        )
        self.connections: set[Connection] = set()
        # Answers given, by method and outcome: `ok` or the error's code.
        self.requests: Counter[tuple[str, ...]] = Counter()
        self._nursery = nursery

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: NodeSettings) -> AsyncIterator[Node]:
        """Run a node without listeners. On leaving, all its processes are ended."""
        async with (
            LocalExec.open(settings.execs) as execs,
            LocalFiles.open(settings.files) as files,
            trio.open_nursery() as nursery,
        ):
            yield cls(settings, execs, files, nursery)
            nursery.cancel_scope.cancel()

    async def accept(self, listener: Listener) -> None:
        """Serve every connection of a listener, until cancelled."""
        if listener.kind in ("ws", "wss"):
            from execnode.server.web import Web  # late: nobody else needs what it imports

            admit = Web(self, self._nursery, tls=listener.kind == "wss").admit
        else:
            admit = partial(self._admit, None if listener.local else self.settings.token)
        try:
            while True:
                admit(*await listener.accept())
        finally:
            listener.close()

    def _admit(self, token: str | None, descriptor: int, name: str) -> None:
        refusal = self.refusal()
        if refusal is not None:
            hang_up(descriptor, farewell(refusal))
        else:
            peer = Peer(name, token)
            self._nursery.start_soon(self.connect, descriptor, descriptor, peer)

    def refusal(self) -> str | None:
        """Why nobody else can be served now."""
        limit = self.settings.max_connections
        if len(self.connections) >= limit:
            return (
                f"this node has its limit of {limit} connections; close one, "
                "or start the node with a higher --max-connections"
            )
        return None if self.execs.accepting else "this node is shutting down"

    async def connect(self, in_fd: int, out_fd: int, peer: Peer, link: Link | None = None) -> None:
        """Serve one connection, whose descriptors are taken over, until it ends.

        link: length-prefixed CBOR if not given.
        """
        connection = Connection(self, link or Frames(), peer)
        self.connections.add(connection)
        try:
            await connection.run(in_fd, out_fd)
        except* OSError as group:
            _logger.warning("%s: the connection failed: %s", peer.name, group.exceptions[0])
        except* Exception as group:  # a mistake of ours concerns nobody else's connection
            _logger.error("%s: the connection failed", peer.name, exc_info=group)
        finally:
            self.connections.discard(connection)

    async def shut_down(self) -> None:
        """Start nothing any more, end what runs, and let the answers leave. Bounded in time."""
        self.execs.accepting = False
        grace = self.settings.shutdown_grace
        with trio.move_on_after(grace + _SHUTDOWN_MARGIN):
            if not self.settings.execs.keep:
                await self.execs.end_all(round(grace * 1000))
            connections = list(self.connections)
            for connection in connections:
                connection.end_politely()
            for connection in connections:
                await connection.closed.wait()


async def serve(
    settings: NodeSettings,
    addresses: list[Address],
    *,
    on_bound: Callable[[list[str]], None],
    encoding: Literal["cbor", "json"] = "cbor",
    with_stdin: bool = False,
) -> None:
    """Run a node until SIGTERM, SIGINT or SIGHUP, or the end of standard input for a stdio address.

    on_bound: called once with the URLs that are listened at, in the order of the addresses.
    encoding: what standard input and output speak, where they are one of the addresses.
    with_stdin: where they are not, shut down when standard input ends.
    A second signal ends it without grace. Raises ListenError.
    """
    # A parent may have had it ignored, and the kernel then forgets how our children ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # nohup(1) has SIGHUP ignored, and means it.
    endings = [each for each in _ENDINGS if signal.getsignal(each) != signal.SIG_IGN]
    with trio.open_signal_receiver(*endings) as signals, ExitStack() as bound:
        listeners: list[Listener] = []
        for each in addresses:
            for listener in await listen(each):
                bound.callback(listener.close)
                listeners.append(listener)
        async with Node.open(settings) as node, trio.open_nursery() as nursery:
            for listener in listeners:
                nursery.start_soon(node.accept, listener)
            # What is there now stays: later collections look only at what requests have made.
            gc.collect()
            gc.freeze()
            on_bound([listener.url for listener in listeners])
            if any(each.kind == "stdio" for each in addresses):
                link = Lines() if encoding == "json" else Frames()
                nursery.start_soon(_serve_stdio, node, link, nursery.cancel_scope)
            elif with_stdin:
                nursery.start_soon(_await_end_of_stdin, node, nursery.cancel_scope)
            nursery.start_soon(_await_signals, node, signals, nursery.cancel_scope)


async def _serve_stdio(node: Node, link: Link, running: trio.CancelScope) -> None:
    """Standard input and output as a connection; its end is the node's."""
    in_fd, out_fd = os.dup(0), os.dup(1)
    await node.connect(in_fd, out_fd, Peer("stdio"), link)
    running.cancel()


async def _await_end_of_stdin(node: Node, running: trio.CancelScope) -> None:
    """Shut down when standard input ends; what comes from it means nothing."""
    while True:
        try:
            await trio.lowlevel.wait_readable(0)
        except OSError:  # a file, or /dev/null: what epoll(7) refuses has no more to come
            break
        if not os.read(0, 65536):
            break
    await _shut_down(node, running)


async def _await_signals(
    node: Node, signals: AsyncIterator[int], running: trio.CancelScope
) -> None:
    async with trio.open_nursery() as nursery:
        async for number in signals:
            name = signal.Signals(number).name
            if not node.execs.accepting:
                _logger.warning("%s again: ending at once", name)
                break
            _logger.info("%s: shutting down", name)
            nursery.start_soon(_shut_down, node, running)
        nursery.cancel_scope.cancel()
    running.cancel()


async def _shut_down(node: Node, running: trio.CancelScope) -> None:
    await node.shut_down()
    running.cancel()
