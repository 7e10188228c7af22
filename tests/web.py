"""A web server of a few lines, which answers with exactly the bytes that it is told to."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

Answer = bytes | Callable[[socket.socket], None]

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
# For anything that does not come.
PATIENCE = 15.0


def answer(status: str = "200 OK", *headers: str, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def redirect(status: str, location: str) -> bytes:
    return answer(status, f"location: {location}")


@dataclass(frozen=True)
class Seen:
    """A request as it came: its first line, its headers as they stood, its body."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> list[str]:
        return [value for each, value in self.headers if each == name]


class Web:
    """Serves `answers` by path, each in a thread; a callable is given the socket, closed after it.

    Any other path is answered with `ok`.
    """

    def __init__(self, answers: dict[str, Answer], tls: ssl.SSLContext | None = None) -> None:
        self.answers = answers
        self.seen: list[Seen] = []
        self.connections = 0
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port = self._socket.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._socket.accept()
                self._open.append(peer)
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=(peer,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError), peer:
            if self._tls is not None:
                with self._tls.wrap_socket(peer, server_side=True) as wrapped:
                    self._talk(wrapped)
            else:
                self._talk(peer)

    def _talk(self, peer: socket.socket) -> None:
        with peer.makefile("rb") as reader:
            while line := reader.readline().decode("latin-1").rstrip("\r\n"):
                headers = []
                while header := reader.readline().decode("latin-1").rstrip("\r\n"):
                    name, _, value = header.partition(": ")
                    headers.append((name, value))
                length = next((int(v) for n, v in headers if n == "content-length"), 0)
                self.seen.append(Seen(line, headers, reader.read(length)))
                path = line.split(" ")[1].partition("?")[0]
                reply = self.answers.get(path, OK)
                if callable(reply):
                    reply(peer)
                    return
                peer.sendall(reply)
