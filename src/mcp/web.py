"""The server over streamable HTTP, for clients on this machine or, with a token, on others."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Place", "WebServer", "parse_place"]

_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
# Seconds that open answers have when the server ends.
_GRACE: Final = 1


@dataclass(frozen=True, slots=True)
class Place:
    """Where to listen. host: an address or a name, without brackets."""

    host: str
    port: int
    path: str

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine gets there."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def is_everywhere(self) -> bool:
        """Whether it is all addresses, so that its own is not one that a client uses."""
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False

    def url(self, port: int | None = None) -> str:
        """As a client writes it."""
        return f"http://{_bracketed(self.host)}:{port or self.port}{self.path}"


def parse_place(url: str) -> Place:
    """`http://HOST:PORT/PATH`; port 0 is any, the path /mcp if not given. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is not like http://127.0.0.1:8765/mcp")
    if parts.port is None:
        raise ValueError(f"{url!r} has no port")
    return Place(parts.hostname, parts.port, parts.path if len(parts.path) > 1 else "/mcp")


class WebServer:
    """Listens from the beginning, and serves until it is told to end. Raises OSError.

    token: what clients have to present as bearer token; None where everybody may enter who can
    connect. hosts: names by which clients know it, beside those of the loopback and its own; with
    others in the Host header, or foreign pages in Origin, requests are refused, so that a web page
    cannot use a browser on this machine to get here.
    """

    def __init__(
        self,
        server: Server[Any],
        place: Place,
        *,
        token: str | None = None,
        hosts: Sequence[str] = (),
    ) -> None:
        known = [*_LOOPBACK, _bracketed(place.host), *map(_bracketed, hosts)]
        app: ASGIApp = server.streamable_http_app(
            streamable_http_path=place.path,
            transport_security=TransportSecuritySettings(
                enable_dns_rebinding_protection=True,
                allowed_hosts=[*known, *(f"{host}:*" for host in known)],
                allowed_origins=[f"http://{host}:*" for host in known],
            ),
        )
        family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
        self._socket = socket.create_server((place.host, place.port), family=family)
        self.url = place.url(self._socket.getsockname()[1])
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                app if token is None else _Guarded(app, token),
                ws="none",  # nothing here speaks it, and _Guarded does not guard it
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=_GRACE,
                server_header=False,
            )
        )

    async def serve(self) -> None:
        """Serve until `end`."""
        try:
            await self._uvicorn.serve([self._socket])
        finally:
            self._socket.close()

    def end(self) -> None:
        """Answer what is open, if it takes no longer than a moment, and end."""
        self._uvicorn.should_exit = True


class _Uvicorn(uvicorn.Server):
    """Leaves signals to whoever runs it: there is more to end than a web server."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Guarded:
    """An application for those only who present the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._expected):
                refusal = PlainTextResponse(
                    "a bearer token is needed\n", 401, {"WWW-Authenticate": "Bearer"}
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
