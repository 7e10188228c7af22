"""Ending processes on a node, and signalling them."""

from collections.abc import Sequence
from typing import Any

import anyio

from execnode.client.errors import ProtocolError
from execnode.client.node import Node

from .failure import FAILED, Failure
from .reach import Target, find, run_async
from .tell import put, put_json

__all__ = ["kill"]

# Seconds that the kernel may take to end what was sent SIGKILL.
_MARGIN = 10.0


def kill(
    target: Target, refs: Sequence[str], *, name: str | None, grace: float, as_json: bool
) -> int:
    """End each process, or send each the signal `name`; the others too when one fails.

    Prints what was done and gives the exit code. Raises Failure when there is no node.
    """

    async def end() -> int:
        code = 0
        async with target.connected(session_ttl=0, recovery=0) as node:
            for ref in refs:
                try:
                    done = await _kill(node, ref, name, grace)
                except Failure as failure:
                    failure.show()
                    code = FAILED
                    continue
                if as_json:
                    put_json(done)
                else:
                    put(done["ref"])
        return code

    return run_async(end, target)


async def _kill(node: Node, ref: str, name: str | None, grace: float) -> dict[str, Any]:
    """Do it to one process, and give what --json prints."""
    info = await find(node, ref)
    try:
        async with await node.attach(info.ref, skip_to_end=True) as process:
            if name is not None:
                if info.returncode is not None:
                    raise Failure(f"{info.ref} has ended already, and gets no signals")
                await process.signal(name)
                return {"ref": info.ref, "signal": name}
            answer = await process.terminate(grace, leftovers=True)
            done = {"ref": info.ref, "running": answer.running, "method": answer.method}
            if info.returncode is not None:
                return done | {"exitCode": info.returncode, "reason": info.reason}
            with anyio.move_on_after(grace + _MARGIN):
                code = await process.wait()
                return done | {"exitCode": code, "reason": process.reason}
    except (ConnectionError, ProtocolError) as error:
        raise Failure(f"{info.ref}: {error}") from None
    raise Failure(f"{info.ref} was sent SIGKILL and has not ended yet", "see: execnode ps")
