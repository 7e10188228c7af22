"""The ways to a node: a Unix socket, TCP, WebSocket, or a program's standard input and output."""

import os
import shlex
import socket
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

import anyio
from anyio import wait_writable

from execnode.protocol.codec import CborCodec, Codec, JsonCodec

from .framing import Framing, LengthFraming, LineFraming
from .transport import Transport

__all__ = ["Dialer", "Encoding", "Line", "dialer"]

Encoding: TypeAlias = Literal["cbor", "json"]

_CODECS: dict[str, Codec] = {"cbor": CborCodec(), "json": JsonCodec()}
_CONNECT_SECONDS = 10.0
_BACKLOG_PAUSE = 0.01
# A dead TCP peer is noticed after at most 10 + 3 * 5 seconds of silence, and unanswered data too.
_KEEP_ALIVE_IDLE = 10
_KEEP_ALIVE_INTERVAL = 5
_KEEP_ALIVE_PROBES = 3
_UNANSWERED_DATA_MS = 25_000


class Line(NamedTuple):
    """A transport that is connected, and how messages lie in it."""

    transport: Transport
    framing: Framing


@dataclass(frozen=True, slots=True)
class Dialer:
    """A way to reach one node.

    `reusable` is false where a lost connection cannot be made again: a program spoken to over its
    standard input, and a socket that was handed over already connected. `auth_token` is what
    `initialize` has to carry; a WebSocket carries its token in the handshake.
    """

    name: str
    dial: Callable[[], Awaitable[Line]]
    codec: Codec
    reusable: bool = True
    auth_token: str | None = None


def dialer(
    target: str | socket.socket,
    *,
    encoding: Encoding | None = None,
    token: str | None = None,
    ca_file: str | os.PathLike[str] | None = None,
) -> Dialer:
    """The way to `target`.

    A connected stream socket (which the transport then owns), or one of the URLs
    `unix:///path.sock`, `tcp://HOST:PORT` (IPv6 in brackets), `ws://HOST:PORT`, `wss://HOST:PORT`
    and `stdio:COMMAND ARG...`, whose command is split as a shell would split it and run without a
    shell. `encoding`: None for what is usual there: JSON in a WebSocket, CBOR elsewhere. On
    standard input and output, JSON is one message a line.

    Raises ValueError for any other URL or encoding, and OSError for a `ca_file` without
    certificates.
    """
    if encoding not in (None, "cbor", "json"):
        raise ValueError(f"the encodings are cbor and json, not {encoding!r}")
    if isinstance(target, str) and target.startswith(("ws:", "wss:")):
        return _websocket_dialer(target, encoding or "json", token, ca_file)
    lines = encoding == "json"
    if lines and not (isinstance(target, str) and target.startswith("stdio:")):
        raise ValueError("only ws:, wss: and stdio: nodes speak JSON")
    if ca_file is not None:
        raise ValueError("only wss: nodes have certificates")
    framing = LineFraming if lines else LengthFraming

    if isinstance(target, socket.socket):
        name, connect, reusable = "the given socket", _hand_over(target), False
    elif target.startswith("stdio:"):
        name, connect, reusable = target, _run_program(target), False
    else:
        name, connect, reusable = target, _to_url(target), True

    async def dial() -> Line:
        return Line(await connect(), framing())

    return Dialer(name, dial, _CODECS[encoding or "cbor"], reusable, token)


_Connect: TypeAlias = Callable[[], Awaitable[Transport]]


def _to_url(url: str) -> _Connect:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        path = unquote(parts.path)
        if parts.netloc or not Path(path).is_absolute():
            raise ValueError(f"a unix URL is unix:///absolute/path.sock, not {url!r}")
        return lambda: _dial(socket.AF_UNIX, path)
    if parts.scheme == "tcp":
        host, port = parts.hostname, parts.port
        if not host or not port or parts.path not in ("", "/"):
            raise ValueError(f"a tcp URL is tcp://HOST:PORT, not {url!r}")
        return lambda: _dial_tcp(host, port)
    raise ValueError(f"a node is at a unix:, tcp:, ws:, wss: or stdio: URL, not at {url!r}")


def _websocket_dialer(
    url: str, encoding: Encoding, token: str | None, ca_file: str | os.PathLike[str] | None
) -> Dialer:
    from .websocket import parse_url, upgrade

    uri = parse_url(url)
    context = None
    if uri.secure:
        from .tls import TlsTransport, trust

        context = trust(ca_file)
    elif ca_file is not None:
        raise ValueError("only wss: nodes have certificates")

    async def dial() -> Line:
        transport = await _dial_tcp(uri.host, uri.port)
        try:
            with anyio.fail_after(_CONNECT_SECONDS):
                if context is not None:
                    transport = await TlsTransport.open(transport, context, uri.host)
                framing = await upgrade(transport, uri, token, text=encoding == "json")
        except BaseException:
            transport.close()
            raise
        return Line(transport, framing)

    return Dialer(url, dial, _CODECS[encoding])


def _hand_over(connected: socket.socket) -> _Connect:
    async def hand_over() -> Transport:
        return Transport(connected)

    return hand_over


def _run_program(url: str) -> _Connect:
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

    return start


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
