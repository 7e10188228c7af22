"""Paths on the wire: `file:` URIs, read as the WHATWG URL Standard reads them, to bytes and back.

Linux file names are bytes, so percent escapes are decoded to bytes and nothing is assumed about
their encoding. What the standard says about `file:` and Windows drives is followed as far as it
decides which paths are refused.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

from .errors import INVALID_REQUEST, RpcError, invalid_params, invalid_request

__all__ = ["format_path_uri", "parse_cwd_uri", "parse_path_uri"]

_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):(.*)\Z", re.DOTALL)
_C0_AND_SPACE: Final = "".join(map(chr, range(0x21)))
_TABS_AND_LINE_ENDS: Final = dict.fromkeys(map(ord, "\t\r\n"))
_DRIVE: Final = re.compile(r"[A-Za-z][:|]\Z")
# Forbidden domain code points, and so also every form of a port or of credentials.
_NO_HOST: Final = re.compile(r"[\x00-\x20\"#%/:<>?@\\^`{|}\x7f\[\]]")
_IPV6: Final = re.compile(r"\[[0-9A-Fa-f:.]+\]\Z")

_DOT: Final = frozenset({".", "%2e"})
_DOT_DOT: Final = frozenset({"..", ".%2e", "%2e.", "%2e%2e"})

# Stands for a path that has no URI of the ordinary form; no ordinary one contains a NUL.
_ODD_PREFIX: Final = "/%00/bad/path/"


def parse_path_uri(text: str, *, native: bool = True) -> bytes:
    """Return the absolute path that a URI names.

    The result has no `.` or `..` segments of the URI's own, no doubled and no trailing slashes.
    With `native`, a text that begins with a slash is taken as the path itself, byte for byte, as
    clients of older versions send it.

    Raises RpcError: -32602 for what is no file URI, -32600 for one that names no path on Linux
    (another host, a Windows drive).
    """
    if native and text.startswith("/"):
        return _whole(text, text.encode())
    url = text.strip(_C0_AND_SPACE).translate(_TABS_AND_LINE_ENDS)
    match = _SCHEME.match(url)
    if match is None:
        raise invalid_params("invalid URI: relative URL without a base")
    scheme, rest = match[1].lower(), match[2]
    if scheme != "file":
        raise invalid_params(f"unsupported path URI scheme `{scheme}`")
    rest, hash_sign, _ = rest.partition("#")
    rest, question_mark, _ = rest.partition("?")
    if question_mark:
        raise invalid_params("query parameters are not allowed in path URIs")
    if hash_sign:
        raise invalid_params("fragments are not allowed in path URIs")
    path = _path_on_this_host(text, rest.replace("\\", "/"))
    if path.startswith(_ODD_PREFIX):
        return _odd_path(text, path.removeprefix(_ODD_PREFIX))
    segments = _segments(path)
    if segments and _DRIVE.match(segments[0]):
        raise _not_on_linux(text)
    return _whole(text, b"/" + b"/".join(map(unquote_to_bytes, segments)))


def parse_cwd_uri(text: str, *, native: bool = True) -> bytes:
    """Return `parse_path_uri` of the `cwd` of process/start, where every error is -32602."""
    try:
        return parse_path_uri(text, native=native)
    except RpcError as error:
        if error.code != INVALID_REQUEST:
            raise
        raise invalid_params(
            f"cwd URI `{text}` is not valid on this exec-server host: {error.message}"
        ) from None


def _path_on_this_host(text: str, rest: str) -> str:
    """Return what follows the host; the host must be this one."""
    if not rest.startswith("//"):
        return rest
    host, slash, path = rest[2:].partition("/")
    if _DRIVE.match(host):
        return f"/{host}{slash}{path}"
    name = unquote(host).lower()
    if name in ("", "localhost"):
        return slash + path
    if _NO_HOST.search(name) and not _IPV6.match(host):
        raise invalid_params("invalid URI: invalid host")
    raise _not_on_linux(text)


def _segments(path: str) -> list[str]:
    """Return the segments, still escaped, without empty ones and with dots resolved."""
    segments: list[str] = []
    for segment in path.split("/"):
        lower = segment.lower()
        if lower in _DOT_DOT:
            # A drive stays: `C:/..` is still a path that Linux does not have.
            if segments and not (len(segments) == 1 and _DRIVE.match(segments[0])):
                segments.pop()
        elif segment and lower not in _DOT:
            segments.append(segment)
    return segments


def _odd_path(text: str, encoded: str) -> bytes:
    try:
        path = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except (binascii.Error, ValueError):
        path = b""
    if not path.startswith(b"/"):
        raise invalid_params(f"'{text}' is invalid on 'linux'")
    return _whole(text, path)


def _whole(text: str, path: bytes) -> bytes:
    if b"\0" in path:
        raise invalid_params(f"'{text}' is invalid on 'linux'")
    return path


def _not_on_linux(text: str) -> RpcError:
    return invalid_request(f"'{text}' is invalid on 'linux'")


_ESCAPED: Final = frozenset(b' "#%<>?\\`{}\x7f')
_ESCAPES: Final = tuple(
    f"%{byte:02X}" if byte < 0x20 or byte > 0x7F or byte in _ESCAPED else chr(byte)
    for byte in range(256)
)
_DRIVE_PATH: Final = re.compile(rb"/+(?:\./+)*[A-Za-z][:|](?:/|\Z)")
_DOT_DOT_SEGMENT: Final = re.compile(rb"/\.\.(?:/|\Z)")


def format_path_uri(path: bytes) -> str:
    """Return the URI of an absolute path; `parse_path_uri` gives the path back.

    Doubled slashes, `.` segments and a trailing slash may be lost on the way; that is the same
    file. Raises ValueError for a relative path and for one with a NUL.
    """
    if not path.startswith(b"/") or b"\0" in path:
        raise ValueError(f"not an absolute path: {path!r}")
    if _DOT_DOT_SEGMENT.search(path) or _DRIVE_PATH.match(path):
        # A reader would resolve `..` without looking at links, and refuse a drive.
        return f"file://{_ODD_PREFIX}{urlsafe_b64encode(path).rstrip(b'=').decode()}"
    return "file://" + "".join([_ESCAPES[byte] for byte in path])
