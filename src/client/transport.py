"""How a client reaches a node: a Unix socket, TCP, or a program's standard input and output.

Every transport is one non-blocking socket (a program gets one end of a socket pair as its standard
input and output): a message that the kernel takes at once is sent without a turn of the event loop,
and data that is there is read without one.
"""

import os
import shlex
import socket
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import anyio
import anyio.lowlevel
from anyio import CancelScope, notify_closing, wait_readable, wait_writable

__all__ = ["Dialer", "Transport", "dialer"]

_RECEIVE_BYTES = 256 * 1024
_CONNECT_SECONDS = 10.0
_BACKLOG_PAUSE = 0.01
_PROGRAM_SECONDS = 5.0
# A dead TCP peer is noticed after at most 10 + 3 * 5 seconds of silence, and unanswered data too.
_KEEP_ALIVE_IDLE = 10
_KEEP_ALIVE_INTERVAL = 5
_KEEP_ALIVE_PROBES = 3
_UNANSWERED_DATA_MS = 25_000


class Transport:
    """A connected stream socket, owned: `close` closes it.

    One task may receive at a time; senders take turns by a lock of their own.
    """

    def __init__(self, sock: socket.socket, program: "subprocess.Popen[bytes] | None" = None):
        sock.setblocking(False)
        self._socket = sock
        self._program = program

    async def receive(self) -> bytes:
        """The next bytes, as many as there are up to 256 KiB; b"" when the peer ended the stream.

        Raises OSError when the connection broke or was closed here.
        """
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            pass
        else:
            await anyio.lowlevel.checkpoint()
            return data
        while True:
            await self._wait(wait_readable)
            with suppress(BlockingIOError):
                return self._socket.recv(_RECEIVE_BYTES)

    async def send(self, data: bytes | bytearray) -> None:
        """Hand all of `data` to the kernel. Raises OSError when the connection broke.

        Cancelling is safe: either nothing has left, or everything leaves first, since half a
        message would ruin the stream. Closing the transport ends that wait too.
        """
        sent = self._send_some(data)
        while not sent:
            await self._wait(wait_writable)
            sent = self._send_some(data)
        if sent == len(data):
            return
        with CancelScope(shield=True), memoryview(data) as view:
            while sent < len(view):
                await self._wait(wait_writable)
                sent += self._send_some(view[sent:])

    def _send_some(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    async def _wait(self, ready: Callable[[socket.socket], Awaitable[None]]) -> None:
        try:
            await ready(self._socket)
        except (anyio.ClosedResourceError, ValueError) as exc:
            raise ConnectionAbortedError("the connection was closed here") from exc

    def shut(self) -> None:
        """Let nothing pass any more; what has arrived before can still be received."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket; whoever waits on it gets ConnectionAbortedError. May be repeated."""
        if self._socket.fileno() < 0:
            return
        notify_closing(self._socket)
        self._socket.close()

    async def end_program(self) -> None:
        """After `close`: let the program behind a `stdio:` URL end, and reap it.

        It sees the end of its input; a program that ignores that for 5 s is killed.
        """
        program = self._program
        if program is None:
            return
        # The pidfd may get the number that the socket had. asyncio waits by number, so whoever
        # waited for the socket must have seen its end before.
        await anyio.lowlevel.cancel_shielded_checkpoint()
        if program.poll() is not None:  # only now: another caller may have reaped it meanwhile
            return
        pidfd = os.pidfd_open(program.pid)
        try:
            with anyio.move_on_after(_PROGRAM_SECONDS):
                await wait_readable(pidfd)
        finally:
            os.close(pidfd)
            program.kill()  # nothing happens to one that has ended
            program.wait()


@dataclass(frozen=True, slots=True)
class Dialer:
    """A way to reach one node.

    `reusable` is false where a lost connection cannot be made again: a program spoken to over its
    standard input, and a socket that was handed over already connected.
    """

    name: str
    dial: Callable[[], Awaitable[Transport]]
    reusable: bool = True


def dialer(target: str | socket.socket) -> Dialer:
    """The way to `target`.

    A connected stream socket (which the transport then owns), or one of the URLs
    `unix:///path.sock`, `tcp://HOST:PORT` (IPv6 in brackets) and `stdio:COMMAND ARG...`, whose
    command is split as a shell would split it and run without a shell.

    Raises ValueError for any other URL.
    """
    if isinstance(target, socket.socket):
        connected = target

        async def hand_over() -> Transport:
            return Transport(connected)

        return Dialer("the given socket", hand_over, reusable=False)
    if target.startswith("stdio:"):
        return _program_dialer(target)
    parts = urlsplit(target)
    if parts.scheme == "unix":
        path = unquote(parts.path)
        if parts.netloc or not Path(path).is_absolute():
            raise ValueError(f"a unix URL is unix:///absolute/path.sock, not {target!r}")
        return Dialer(target, lambda: _dial(socket.AF_UNIX, path))
    if parts.scheme == "tcp":
        host, port = parts.hostname, parts.port
        if not host or not port or parts.path not in ("", "/"):
            raise ValueError(f"a tcp URL is tcp://HOST:PORT, not {target!r}")
        return Dialer(target, lambda: _dial_tcp(host, port))
    raise ValueError(f"a node is at a unix:, tcp: or stdio: URL, not at {target!r}")


def _program_dialer(url: str) -> Dialer:
    argv = shlex.split(url.removeprefix("stdio:"))
    if not argv:
        raise ValueError("a stdio URL is stdio:COMMAND ARG..., for example stdio:ssh host execnode")

    async def start() -> Transport:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                end = theirs.fileno()
                program = subprocess.Popen(argv, stdin=end, stdout=end)  # noqa: ASYNC220 (vfork)
        except BaseException:
            ours.close()
            raise
        return Transport(ours, program)

    return Dialer(url, start, reusable=False)


async def _dial_tcp(host: str, port: int) -> Transport:
    failure: OSError | None = None
    addresses = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for family, _, _, _, address in addresses:
        try:
            transport = await _dial(family, address)
        except OSError as exc:
            failure = exc
        else:
            return transport
    raise failure if failure is not None else OSError(f"no address for {host}")


async def _dial(family: int, address: str | tuple[str, int]) -> Transport:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        with anyio.fail_after(_CONNECT_SECONDS):
            await _connect(sock, address)
        if family != socket.AF_UNIX:
            _tune_tcp(sock)
    except BaseException:
        sock.close()
        raise
    return Transport(sock)


async def _connect(sock: socket.socket, address: str | tuple[str, int]) -> None:
    """connect(2) without blocking. A full backlog of a Unix socket is EAGAIN: try again."""
    while True:
        try:
            sock.connect(address)
        except BlockingIOError:
            if sock.family == socket.AF_UNIX:
                await anyio.sleep(_BACKLOG_PAUSE)
                continue
            await wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code)) from None
        return


def _tune_tcp(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEP_ALIVE_IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEP_ALIVE_INTERVAL)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEP_ALIVE_PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNANSWERED_DATA_MS)
