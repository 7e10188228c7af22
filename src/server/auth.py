"""Who may open a WebSocket: bearer tokens that are a secret, or are signed with one.

Nothing here does I/O but reading the files with the secrets, once. The texts of rejections, their
order and the corners of the rules are those of the Codex exec-server dialect.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext
from typing import Any, Final, Protocol, Self

import msgspec

from execnode.protocol.messages import Signed64

__all__ = [
    "Authentication",
    "CapabilityToken",
    "SecretError",
    "SignedBearerToken",
    "WebSettings",
]

MISSING: Final = "missing websocket bearer token"
INVALID_HEADER: Final = "invalid authorization header"
INVALID_TOKEN: Final = "invalid websocket bearer token"
INVALID_JWT: Final = "invalid websocket jwt"
EXPIRED: Final = "expired websocket jwt"
NOT_YET: Final = "websocket jwt is not valid yet"
WRONG_ISSUER: Final = "websocket jwt issuer mismatch"
WRONG_AUDIENCE: Final = "websocket jwt audience mismatch"

# RFC 2104, section 3: a key is best no shorter than what the hash puts out.
_MIN_SECRET: Final = 32
# RFC 6750, section 2.1, and any space around the token.
_BEARER: Final = re.compile(r"bearer +([!-~](?:[ -~]*[!-~])?) *\Z", re.IGNORECASE)

# RFC 7515, section 7.1; the library also takes padding, which section 2 excludes.
_JWS: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Who may open a WebSocket.

    authenticate: from the Authorization header to why it is not good enough, or None.
    origins: values of the Origin header that are let in; a browser sends one, other clients none.
    tls: for wss.
    """

    authenticate: Callable[[str | None], str | None] | None = None
    origins: Collection[str] = ()
    tls: SSLContext | None = None


class SecretError(Exception):
    """A secret that cannot be used; the sentence says why and names the file."""


class Authentication(Protocol):
    """A way to decide who may come in."""

    def check(self, authorization: str | None) -> str | None:
        """Return why a request is rejected, None when it is not.

        authorization: the value of the header of that name, if there is one.
        """


class CapabilityToken:
    """Whoever has the token may come in. digest: the SHA-256 of the token."""

    def __init__(self, digest: bytes) -> None:
        self._digest = digest

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Take the token from a file, without white space around it. Raises SecretError."""
        token = _read(path)
        if not token:
            raise SecretError(f"the token file {path} must not be empty")
        return cls(hashlib.sha256(token).digest())

    @classmethod
    def from_sha256(cls, digits: str) -> Self:
        """Take the SHA-256 of the token in hexadecimal. Raises SecretError."""
        if not re.fullmatch("[0-9A-Fa-f]{64}", digits.strip()):
            raise SecretError("the SHA-256 of a token must have 64 hexadecimal digits")
        return cls(bytes.fromhex(digits))

    def check(self, authorization: str | None) -> str | None:
        """See Authentication."""
        token, rejection = _bearer(authorization)
        if token is None:
            return rejection
        # Of the same length whatever was sent, so the time it takes tells nothing.
        digest = hashlib.sha256(token.encode()).digest()
        return None if hmac.compare_digest(digest, self._digest) else INVALID_TOKEN


class _Claims(msgspec.Struct):
    """The claims that are looked at (RFC 7519, section 4.1), as strict as the dialect has them."""

    exp: Signed64
    nbf: Signed64 | None = None
    iss: str | None = None
    aud: str | list[str] | None = None


class SignedBearerToken:
    """Whoever has a JSON Web Token may come in that is signed with the secret by HS256.

    issuer, audience: what it must be from and for; None or blank: from anybody, for anybody.
    clock_skew: seconds by which clocks may differ. now: seconds since 1970.
    """

    def __init__(
        self,
        secret: bytes,
        *,
        issuer: str | None = None,
        audience: str | None = None,
        clock_skew: int = 30,
        now: Callable[[], float] = time.time,
    ) -> None:
        if len(secret) < _MIN_SECRET:
            raise SecretError(f"a secret that signs tokens must have at least {_MIN_SECRET} bytes")
        self._secret = secret
        self._issuer = (issuer or "").strip()
        self._audience = (audience or "").strip()
        self._clock_skew = clock_skew
        self._now = now

    @classmethod
    def from_file(cls, path: Path, **options: Any) -> Self:
        """Take the secret from a file, without white space around it. Raises SecretError."""
        try:
            return cls(_read(path), **options)
        except SecretError as error:
            raise SecretError(f"{path}: {error}") from None

    def check(self, authorization: str | None) -> str | None:
        """See Authentication."""
        token, rejection = _bearer(authorization)
        if token is None:
            return rejection
        claims = self._claims(token)
        if claims is None:
            return INVALID_JWT
        now = int(self._now())
        if claims.exp < now - self._clock_skew:
            return EXPIRED
        if claims.nbf is not None and claims.nbf > now + self._clock_skew:
            return NOT_YET
        if self._issuer and claims.iss != self._issuer:
            return WRONG_ISSUER
        audiences = [claims.aud] if isinstance(claims.aud, str) else claims.aud or []
        if self._audience and self._audience not in audiences:
            return WRONG_AUDIENCE
        return None

    def _claims(self, token: str) -> _Claims | None:
        """Return what a token claims, if it is well formed and its signature is right."""
        if not _JWS.match(token):
            return None
        import jwt  # late, since few nodes are asked for it

        try:
            payload = jwt.PyJWS().decode(token, self._secret, algorithms=["HS256"])
            claims = json.loads(payload, object_pairs_hook=_unique, parse_float=_Fraction)
            return msgspec.convert(claims, _Claims)
        except Exception:  # whatever a stranger may have thought of
            return None


class _Fraction:
    """A number that was not written as an integer: fits nothing."""

    def __init__(self, _text: str) -> None: ...


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _bearer(authorization: str | None) -> tuple[str | None, str | None]:
    """Return the token of a header, or why there is none."""
    if authorization is None:
        return None, MISSING
    match = _BEARER.match(authorization)
    return (match[1], None) if match else (None, INVALID_HEADER)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise SecretError(f"{path} cannot be read: {error.strerror}") from None
