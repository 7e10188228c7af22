"""From the parameters of `http/request` to what is sent, and what a redirect makes of it.

Everything is sent as the client wrote it. Added are only the headers that a request cannot do
without, `accept`, credentials that stand in the URL, and `referer` after a redirect.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote_to_bytes

import httpx2

from execnode.protocol.errors import RpcError, invalid_params
from execnode.protocol.http import HttpRequestHeader, HttpRequestParams

__all__ = ["Outgoing", "UnsupportedSchemeError", "outgoing", "redirected"]

# RFC 9110, section 5.6.2: methods and names are tokens.
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
_NO_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_C0_AND_SPACE: Final = "".join(map(chr, range(0x21)))
_TABS_AND_LINE_ENDS: Final = dict.fromkeys(map(ord, "\t\r\n"))
_DOTS: Final = re.compile(r"(?<=/)(?:\.|%2e){1,2}(?=/|\Z)", re.IGNORECASE)
# Forbidden domain code points of the WHATWG URL Standard, as far as a parsed host can have them.
_NO_HOST: Final = re.compile(r"[\x00-\x20\"#%/<>?@\\^`{|}\x7f\[\]]")

# Credentials of the node itself. Names that differ in letter case only are likely mistakes.
_PROTECTED: Final = frozenset(
    {
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "CODEX_ACCESS_TOKEN",
        "CODEX_API_KEY",
        "CODEX_CONNECTORS_TOKEN",
        "OPENAI_API_KEY",
    }
)
# What belongs to a body, and goes when a redirect turns the request into a GET.
_OF_THE_BODY: Final = frozenset(
    {b"content-encoding", b"content-length", b"content-type", b"transfer-encoding"}
)
# What was meant for one server, and is not shown to another.
_OF_THE_SERVER: Final = frozenset(
    {b"authorization", b"cookie", b"cookie2", b"host", b"proxy-authorization", b"www-authenticate"}
)


class UnsupportedSchemeError(Exception):
    """A redirect leads away from http and https."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request. The URL has neither credentials nor a fragment; header names are in lower case."""

    method: str
    url: httpx2.URL
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def complete(self) -> httpx2.Request:
        """Return it with the headers that it cannot do without."""
        names = {name for name, _ in self.headers}
        headers = list(self.headers)
        if b"accept" not in names:
            headers.append((b"accept", b"*/*"))
        if b"host" not in names:
            headers.append((b"host", self.url.netloc))
        if self.body and not names & {b"content-length", b"transfer-encoding"}:
            headers.append((b"content-length", b"%d" % len(self.body)))
        stream = httpx2.ByteStream(self.body)
        request = httpx2.Request(self.method, self.url, headers=headers, stream=stream)
        request.method = self.method  # httpx2 has made it upper case
        if self.method == "CONNECT":
            request.extensions["target"] = self.url.netloc
        return request


def outgoing(params: HttpRequestParams, environment: Mapping[str, str] = os.environ) -> Outgoing:
    """Check the parameters and translate them. Raises RpcError -32602."""
    if not _TOKEN.match(params.method):
        raise invalid_params("http/request method is invalid: invalid HTTP method")
    try:
        url, credentials = _parse(params.url)
    except UnsupportedSchemeError as error:
        raise invalid_params(
            f"http/request only supports http and https URLs, got {error}"
        ) from None
    except (ValueError, httpx2.InvalidURL) as error:
        raise invalid_params(f"http/request url is invalid: {error}") from None
    headers = [_header(header, environment) for header in params.headers]
    if credentials and all(name != b"authorization" for name, _ in headers):
        headers.insert(0, (b"authorization", credentials))
    return Outgoing(params.method, url, headers, params.body or b"")


def redirected(request: Outgoing, status: int, location: bytes) -> Outgoing | None:
    """Return the request that a redirect asks for; None when its target cannot be read.

    301, 302 and 303 turn a POST into a GET, 303 everything but a HEAD (RFC 9110, section 15.4).
    Raises UnsupportedSchemeError.
    """
    try:
        target = location.decode()
        url, credentials = _parse(
            target if _SCHEME.match(target) else str(request.url.join(target))
        )
    except (ValueError, httpx2.InvalidURL):
        return None
    gone = {b"referer"}
    method, body = request.method, request.body
    if (status in (301, 302) and method == "POST") or (
        status == 303 and method not in ("GET", "HEAD")
    ):
        method, body = "GET", b""
        gone |= _OF_THE_BODY
    referer = str(request.url)
    if _origin(url) != _origin(request.url):
        gone |= _OF_THE_SERVER
        referer = str(request.url.copy_with(raw_path=b"/"))
    if credentials:
        gone.add(b"authorization")
    headers = [each for each in request.headers if each[0] not in gone]
    if credentials:
        headers.append((b"authorization", credentials))
    if not (request.url.scheme == "https" and url.scheme == "http"):
        headers.append((b"referer", referer.encode()))
    return replace(request, method=method, url=url, headers=headers, body=body)


def _parse(text: str) -> tuple[httpx2.URL, bytes | None]:
    """Return a URL, and the value of `authorization` when credentials stand in it.

    Spellings that the WHATWG URL Standard forgives are forgiven. Raises ValueError, InvalidURL and
    UnsupportedSchemeError with the scheme.
    """
    text = text.strip(_C0_AND_SPACE).translate(_TABS_AND_LINE_ENDS)
    match = _SCHEME.match(text)
    if match is None:
        raise ValueError("relative URL without a base")
    scheme = match[1].lower()
    if scheme not in ("http", "https"):
        raise UnsupportedSchemeError(scheme)
    path, question_mark, query = text[match.end() :].partition("#")[0].partition("?")
    path = _DOTS.sub(lambda dots: dots[0].lower().replace("%2e", "."), path.replace("\\", "/"))
    authority, _, path = path.lstrip("/").partition("/")
    url = httpx2.URL(f"{scheme}://{authority}/{path}{question_mark}{query}")
    if not url.host:
        raise ValueError("empty host")
    if _NO_HOST.search(url.host):
        raise ValueError("invalid host")
    if url.port is not None and url.port > 65535:
        raise ValueError("invalid port number")
    if not url.userinfo:
        return url, None
    credentials = b"Basic " + b64encode(_user_and_password(url.userinfo))
    return url.copy_with(username=None, password=None), credentials


def _user_and_password(userinfo: bytes) -> bytes:
    user, _, password = userinfo.partition(b":")
    return unquote_to_bytes(user) + b":" + unquote_to_bytes(password)


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _header(header: HttpRequestHeader, environment: Mapping[str, str]) -> tuple[bytes, bytes]:
    if not _TOKEN.match(header.name):
        raise invalid_params("http/request header name is invalid: invalid HTTP header name")
    text = header.value
    if header.value_env_var is not None:
        text += _variable(header.name, header.value_env_var, environment)
    value = text.encode(errors="surrogateescape").strip(b" \t")
    if _NO_VALUE.search(value):
        raise invalid_params(
            f"http/request header value is invalid for {header.name}: failed to parse header value"
        )
    return header.name.lower().encode(), value


def _variable(header: str, name: str, environment: Mapping[str, str]) -> str:
    if name.upper() in _PROTECTED:
        raise _refusal(header, "cannot use", name)
    value = environment.get(name)
    if value is None:
        raise _refusal(header, "requires", name)
    if not value:
        raise _refusal(header, "requires a non-empty", name)
    return value


def _refusal(header: str, what: str, variable: str) -> RpcError:
    return invalid_params(
        f"http/request header {header} {what} executor environment variable {variable}"
    )
