"""Where connections come from: Unix sockets, TCP (WebSockets too), standard input and output."""

from __future__ import annotations

import errno
import logging
import os
import pwd
import select
import socket
import stat
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote, unquote_to_bytes, urlsplit

import trio

__all__ = ["Address", "ListenError", "Listener", "hang_up", "listen", "parse_address", "tune"]

_logger = logging.getLogger(__name__)

_BACKLOG = 1024
# Seconds to wait when there is no descriptor left for a new connection.
_PAUSE = 0.1
# Keep-alive, tcp(7): a peer that died without a word is noticed within 20 seconds, so that it does
# not keep its own client from resuming.
_IDLE, _INTERVAL, _PROBES = 10, 3, 3
_UNACKNOWLEDGED_MS = 20_000
# What is not sent yet waits in the log, where it can still be jumped over, not in the socket.
_NOT_SENT = 131_072


_NETWORK: Final[dict[str, Literal["tcp", "ws", "wss"]]] = {"tcp": "tcp", "ws": "ws", "wss": "wss"}


class ListenError(Exception):
    """An address that cannot be listened at; the text says what to do about it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: `path` for unix, neither that nor `host` and `port` for stdio."""

    kind: Literal["unix", "tcp", "ws", "wss", "stdio"]
    path: str = ""
    host: str = ""
    port: int = 0


def parse_address(url: str) -> Address:
    """Return the address of `unix:///path.sock`, `tcp://HOST:PORT` (or ws, wss) or `stdio`.

    Raises ListenError.
    """
    if url in ("stdio", "stdio://"):
        return Address("stdio")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ListenError(f"{url}: {error}") from None
    path = os.fsdecode(unquote_to_bytes(parts.path))
    more = bool(parts.query or parts.fragment)
    if parts.scheme == "unix":
        if parts.netloc or more or not path.startswith("/") or "\0" in path:
            raise ListenError(
                f"{url}: a Unix socket is written unix:///absolute/path.sock, "
                "with %23 for # and %3F for ? in the path"
            )
        return Address("unix", path=path)
    kind = _NETWORK.get(parts.scheme)
    if kind is not None:
        if more or "@" in parts.netloc or not parts.hostname or port is None or path not in "/":
            raise ListenError(f"{url}: an address is written {kind}://HOST:PORT (port 0: any)")
        return Address(kind, host=parts.hostname, port=port)
    raise ListenError(
        f"{url}: expected ws://HOST:PORT, wss://HOST:PORT, unix:///path.sock, tcp://HOST:PORT "
        "or stdio as an address to listen at"
    )


class Listener:
    """A bound socket. `url` is what a client connects to, `kind` that of its address."""

    def __init__(
        self, kind: str, url: str, sock: trio.socket.SocketType, path: Path | None
    ) -> None:
        self.kind = kind
        self.url = url
        self.local = path is not None
        self._socket = sock
        self._path = path
        self._identity = _identity(path)

    async def accept(self) -> tuple[int, str]:
        """The descriptor of the next connection, which is the caller's, and a name for its peer.

        Connections of other users are refused here.
        """
        while True:
            try:
                client, address = await self._socket.accept()
            except OSError as error:  # no descriptor left, or the peer's trouble: see accept(2)
                _logger.warning("%s: no connection can be taken now: %s", self.url, error)
                await trio.sleep(_PAUSE)
                continue
            if self.local:
                refusal = _foreign_user(client)
                if refusal:
                    _logger.warning("%s: refused %s", self.url, refusal)
                    client.close()
                    continue
                return client.detach(), "unix"
            with suppress(OSError):  # the peer may be gone already
                tune(client)
            host, port = address[:2]
            name = "tcp" if self.kind == "tcp" else "websocket"
            return client.detach(), f"{name} {_host_port(host, port)}"

    def close(self) -> None:
        """Listen no longer. The socket's file goes, unless it is somebody else's by now."""
        self._socket.close()
        path, self._path = self._path, None
        if path is not None and _identity(path) == self._identity:
            with suppress(OSError):
                path.unlink()


def hang_up(descriptor: int, message: bytes) -> None:
    """Tell a caller why it is not served, as far as it can be told at once, and close."""
    with socket.socket(fileno=descriptor) as peer, suppress(OSError):  # it may have left
        peer.setblocking(False)
        peer.send(message)


async def listen(address: Address) -> list[Listener]:
    """Bind an address; a host name may stand for several, and stdio for none.

    Raises ListenError.
    """
    if address.kind == "stdio":
        _check_stdio()
        return []
    if address.kind == "unix":
        return [_listen_unix(Path(address.path))]
    try:
        listeners = await trio.open_tcp_listeners(address.port, host=address.host, backlog=_BACKLOG)
    except OSError as error:
        url = f"{address.kind}://{_host_port(address.host, address.port)}"
        raise ListenError(f"{url}: {_why(error)}") from None
    return [_listener(address.kind, each.socket) for each in listeners]


def _check_stdio() -> None:
    """What epoll(7) cannot wait for, a file or /dev/null, would never be read."""
    with select.epoll() as poll:
        try:
            poll.register(0)
        except OSError as error:
            raise ListenError(
                f"stdio: standard input has to be a pipe, a socket or a terminal: {_why(error)}"
            ) from None


def _listener(kind: str, sock: trio.socket.SocketType) -> Listener:
    return Listener(kind, f"{kind}://{_host_port(*sock.getsockname()[:2])}", sock, None)


def _host_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listen_unix(path: Path) -> Listener:
    """Bind a socket that only this user can connect to."""
    url = f"unix://{quote(os.fsencode(path))}"
    _remove_stale(path, url)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(os.fspath(path))
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise ListenError(f"{url}: {_why(error)}") from None
    finally:
        os.umask(before)
    return Listener("unix", url, trio.socket.from_stdlib_socket(sock), path)


def _remove_stale(path: Path, url: str) -> None:
    """Remove a socket that nobody listens at any more; anything else that is there stays."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ListenError(f"{url}: {_why(error)}") from None
    if not stat.S_ISSOCK(kind):
        raise ListenError(f"{url}: there is something else than a socket; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:  # somebody listens, if slowly
            pass
        except OSError as error:
            raise ListenError(f"{url}: {_why(error)}") from None
    raise ListenError(f"{url}: another node listens there already")


def _why(error: OSError) -> str:
    """The cause in words, and what to do about it where that is not plain."""
    if error.errno is None:  # Python's own
        return f"{error}; the path of a Unix socket has at most 107 bytes"
    advice = {
        errno.EADDRINUSE: "; choose another port, or 0 for any that is free",
        errno.ENOENT: "; make its folder first",
    }
    return f"{error.strerror}{advice.get(error.errno, '')}"


def _identity(path: Path | None) -> tuple[int, int] | None:
    try:
        found = path.lstat() if path is not None else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found else None


def _foreign_user(sock: trio.socket.SocketType) -> str | None:
    """Why this peer may not connect: it is neither this user nor root (unix(7), SO_PEERCRED)."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", raw)
    if uid in (os.getuid(), 0):
        return None
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = "?"
    return f"process {pid} of user {name} ({uid})"


def tune(sock: trio.socket.SocketType) -> None:
    """Set a TCP socket up for small messages, big ones, and peers that die; see tcp(7)."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOT_SENT)
