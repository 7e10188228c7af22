"""What a request means in the place where it is made.

The same object means one thing for a process, which has a folder and an environment of its own, and
another for a request about files, which has not. Nothing here looks at the machine.
"""

from __future__ import annotations

from collections.abc import Mapping

from execnode.policy.request import Request, context_of, request_of
from execnode.protocol.sandbox import SandboxContext

__all__ = ["files_request", "start_request"]


def start_request(sandbox: SandboxContext, cwd: bytes, env: Mapping[bytes, bytes]) -> Request:
    """Return what is asked for a process with this working folder and environment.

    Raises RpcError as context_of and request_of.
    """
    return request_of(sandbox, context_of(sandbox, cwd, env.get(b"TMPDIR")))


def files_request(sandbox: SandboxContext, tmpdir: bytes | None, *, reads: bool) -> Request | None:
    """Return what is asked for a request about files, None when it needs no sandbox.

    tmpdir: the node's TMPDIR. reads: the request changes nothing, so being able to read everything
    is enough. Raises RpcError as context_of and request_of.
    """
    request = request_of(sandbox, context_of(sandbox, None, tmpdir))
    return None if request.everything or (reads and request.readable) else request
