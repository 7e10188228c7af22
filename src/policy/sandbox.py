"""Whether a request can be done without a sandbox.

A profile that restricts nothing is done directly; every other one needs a plan (profile.py) and a
kernel that enforces it. This is decided from the profile alone, without a look at the machine.
"""

from __future__ import annotations

from typing import Any, Final

from execnode.policy.request import Request, context_of, request_of
from execnode.protocol.codec import JsonCodec
from execnode.protocol.errors import INTERNAL_ERROR, RpcError
from execnode.protocol.sandbox import SandboxContext

__all__ = ["require_direct_files", "require_direct_start"]

_CODEC: Final = (
    JsonCodec()
)  # for its words on parameters; the values are the same in every encoding
# Stands for a folder of TMPDIR: that it may be narrowed is all that counts here.
_SOME_TMPDIR: Final = b"/tmp"
_SOME_CWD: Final = b"/"


def require_direct_files(raw: dict[str, Any] | None, *, reads: bool) -> None:
    """Raise RpcError unless a request about files can be done without a sandbox.

    reads: the request changes nothing, so being able to read everything is enough.
    """
    if raw is None:
        return
    request = _request(raw, None)
    if request.everything or (reads and request.readable):
        return
    raise RpcError(
        INTERNAL_ERROR,
        "this node cannot enforce a sandbox, and does not touch files without the one that was "
        "asked for; send `sandbox` null to reach them unrestricted",
    )


def require_direct_start(raw: dict[str, Any] | None) -> None:
    """Raise RpcError unless a process can be run without a sandbox."""
    if raw is None:
        return
    request = _request(raw, _SOME_CWD)
    if request.everything and request.network.full:
        return
    raise RpcError(
        INTERNAL_ERROR,
        "this node cannot enforce a sandbox, and does not run a process without the one that was "
        "asked for; send `sandbox` null to run it unrestricted",
    )


def _request(raw: dict[str, Any], cwd: bytes | None) -> Request:
    sandbox = _CODEC.decode_params(SandboxContext, raw)
    return request_of(sandbox, context_of(sandbox, cwd, _SOME_TMPDIR))
