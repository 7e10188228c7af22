"""A TCP link between the CLI and a server that breaks on demand."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock, Thread
from typing import Final
from urllib.parse import urlsplit

# SO_LINGER on, for no time: closing drops the connection at once.
_DROP: Final = struct.pack("ii", 1, 0)


class _Connection:
    """The two halves of a connection. Halves that are stranded do not end each other."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self._client = client
        self._server = server
        self._stranded = False

    def run(self) -> None:
        """Pass bytes on until an end is reached."""
        Thread(target=self._pass, args=[self._client, self._server], daemon=True).start()
        self._pass(self._server, self._client)

    def strand(self) -> None:
        """Drop the client's half; the server does not learn of it."""
        self._stranded = True
        _drop(self._client)

    def drop(self) -> None:
        """Drop both halves."""
        _drop(self._client)
        _drop(self._server)

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        if not self._stranded:
            for each in (source, sink):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


def _drop(half: socket.socket) -> None:
    with suppress(OSError):
        half.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _DROP)
        half.shutdown(socket.SHUT_RDWR)
    half.close()


class Link:
    """Passes bytes on, for any number of connections.

    Attributes:
        url: where it listens, for a client.
        connections: how many there have been.
    """

    def __init__(self, target: str, listener: socket.socket) -> None:
        host, port = listener.getsockname()
        self.url = f"ws://{host}:{port}"
        self.connections = 0
        url = urlsplit(target)
        self._target = (url.hostname, url.port)
        self._listener = listener
        self._up = Event()
        self._up.set()
        self._lock = Lock()
        self._running: list[_Connection] = []

    def cut(self) -> None:
        """Drop all connections; new ones get nowhere until `mend`."""
        self._up.clear()
        self.drop()

    def mend(self) -> None:
        """Let new connections through."""
        self._up.set()

    def drop(self) -> None:
        """Drop all connections."""
        with self._lock:
            dropped, self._running = self._running, []
        for each in dropped:
            each.drop()

    def strand(self) -> Callable[[], None]:
        """Drop all clients; the server learns of it when the result is called."""
        with self._lock:
            stranded, self._running = self._running, []
        for each in stranded:
            each.strand()

        def tell() -> None:
            for each in stranded:
                each.drop()

        return tell

    def serve(self) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            Thread(target=self._join, args=[client], daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        self._up.wait()
        connection = _Connection(client, socket.create_connection(self._target))
        with self._lock:
            self._running.append(connection)
        connection.run()


@contextmanager
def link(target: str) -> Iterator[Link]:
    """A link to a server's ws: URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        between = Link(target, listener)
        thread = Thread(target=between.serve, daemon=True)
        thread.start()
        try:
            yield between
        finally:
            between.mend()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            between.drop()
