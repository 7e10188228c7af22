"""Who may open a WebSocket, as `execnode serve` is told."""

import hashlib
import re
import ssl
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any

import click

from execnode.server.auth import (
    CapabilityToken,
    SecretError,
    SignedBearerToken,
    WebSettings,
)

from .failure import Failure

__all__ = ["check_together", "web_settings"]

_OF_MODE = {
    "capability-token": ("ws_token_file", "ws_token_sha256"),
    "signed-bearer-token": (
        "ws_shared_secret_file",
        "ws_issuer",
        "ws_audience",
        "ws_max_clock_skew_seconds",
    ),
}
_SKEW_SECONDS = 30
# RFC 6454, section 6.2, as browsers write it: in lower case, without a path.
_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[^/?#@\sA-Z]+")


def web_settings(kinds: Set[str], token: str | None, options: Mapping[str, Any]) -> WebSettings:
    """The settings for these kinds of addresses. token: what --auth asks for, if anything.

    Raises click's UsageError for options that do not go together, and Failure.
    """
    return WebSettings(
        authenticate=_authenticate(token, options),
        origins=options["origins"],
        tls=_tls(options) if "wss" in kinds else None,
    )


def check_together(kinds: Set[str], options: Mapping[str, Any]) -> None:
    """Raises click's UsageError for options that do not go together."""
    mode = options["ws_auth"]
    for owner, names in _OF_MODE.items():
        for name in names:
            if options[name] is not None and mode != owner:
                raise click.UsageError(f"{_flag(name)} goes with --ws-auth {owner}")
    if not kinds & {"ws", "wss"}:
        for name in ("ws_auth", "origins", "tls_cert"):
            if options[name]:
                raise click.UsageError(f"{_flag(name)} is for --listen ws:// and wss://")
    if "wss" in kinds and not options["tls_cert"]:
        raise click.UsageError("--listen wss:// needs a certificate: --tls-cert FILE")
    if options["tls_cert"] and "wss" not in kinds:
        raise click.UsageError("--tls-cert is for --listen wss://")
    if options["tls_key"] and not options["tls_cert"]:
        raise click.UsageError("--tls-key goes with --tls-cert")
    for origin in options["origins"]:
        if not _ORIGIN.fullmatch(origin):
            raise click.UsageError(f"--allow-origin {origin}: an origin is SCHEME://HOST[:PORT]")


def _flag(name: str) -> str:
    return "--allow-origin" if name == "origins" else "--" + name.replace("_", "-")


def _authenticate(
    token: str | None, options: Mapping[str, Any]
) -> Callable[[str | None], str | None] | None:
    try:
        if options["ws_auth"] == "capability-token":
            file, digest = options["ws_token_file"], options["ws_token_sha256"]
            if (file is None) == (digest is None):
                raise click.UsageError(
                    "--ws-auth capability-token needs one of --ws-token-file and --ws-token-sha256"
                )
            if file is not None:
                return CapabilityToken.from_file(Path(file)).check
            return CapabilityToken.from_sha256(digest).check
        if options["ws_auth"] == "signed-bearer-token":
            if options["ws_shared_secret_file"] is None:
                raise click.UsageError(
                    "--ws-auth signed-bearer-token needs --ws-shared-secret-file"
                )
            skew = options["ws_max_clock_skew_seconds"]
            return SignedBearerToken.from_file(
                Path(options["ws_shared_secret_file"]),
                issuer=options["ws_issuer"],
                audience=options["ws_audience"],
                clock_skew=_SKEW_SECONDS if skew is None else skew,
            ).check
    except SecretError as error:
        raise Failure(str(error)) from None
    if token is None:
        return None
    return CapabilityToken(hashlib.sha256(token.encode()).digest()).check


def _tls(options: Mapping[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    files = [file for file in (options["tls_cert"], options["tls_key"]) if file]
    for file in files:
        try:
            with Path(file).open("rb"):
                pass
        except OSError as error:  # which file it is, OpenSSL does not say
            raise Failure(f"{file}: {error.strerror}") from None
    try:
        context.load_cert_chain(options["tls_cert"], options["tls_key"])
    except ssl.SSLError as error:
        why = f": {error.reason.replace('_', ' ').lower()}" if error.reason else ""
        raise Failure(
            f"no certificate and its key in {' and '.join(files)}{why}",
            "PEM: the chain in --tls-cert; the key in --tls-key, or in the same file",
        ) from None
    return context
