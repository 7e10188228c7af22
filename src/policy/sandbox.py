"""What a request means in the place where it is made.

The same object means one thing for a process, which has a folder and an environment of its own, and
another for a request about files, which has not. Nothing here looks at the machine.
"""

from __future__ import annotations

from collections.abc import Mapping

from execnode.policy.request import Request, context_of, request_of
from execnode.protocol.errors import INTERNAL_ERROR, RpcError
from execnode.protocol.sandbox import SandboxContext

__all__ = ["require_direct_files", "start_request"]

# Stands for a folder of TMPDIR: that it may be narrowed is all that counts here.
_SOME_TMPDIR = b"/tmp"


def start_request(sandbox: SandboxContext, cwd: bytes, env: Mapping[bytes, bytes]) -> Request:
    """Return what is asked for a process with this working folder and environment.

    Raises RpcError as context_of and request_of.
    """
    return request_of(sandbox, context_of(sandbox, cwd, env.get(b"TMPDIR")))


def require_direct_files(sandbox: SandboxContext | None, *, reads: bool) -> None:
    """Raise RpcError unless a request about files can be done without a sandbox.

    reads: the request changes nothing, so being able to read everything is enough.
    """
    if sandbox is None:
        return
    request = request_of(sandbox, context_of(sandbox, None, _SOME_TMPDIR))
    if request.everything or (reads and request.readable):
        return
    raise RpcError(
        INTERNAL_ERROR,
        "this node cannot enforce a sandbox, and does not touch files without the one that was "
        "asked for; send `sandbox` null to reach them unrestricted",
    )
