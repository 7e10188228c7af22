"""Joining a process that somebody has started."""

import os

from execnode.client.errors import ProtocolError
from execnode.client.process import Process

from .failure import BROKEN_PIPE, LOST, NOT_RUN, Failure
from .joint import Feed, Joint, Parting
from .reach import Target, find, run_async
from .sinks import Streams
from .tell import OutputFailed, say

__all__ = ["attach"]


def attach(target: Target, ref: str, *, tail: bool, stdin: bool | None) -> int:
    """Be the process until it ends or is left, and give the exit code. Raises Failure."""

    async def join() -> int:
        async with target.connected(code=NOT_RUN) as node:
            info = await find(node, ref)

            async def begin() -> Process:
                return await node.attach(info.ref, skip_to_end=tail)

            feed = _feed(stdin, tty=info.tty)
            joint = Joint(Streams(tail=tail), feed=feed, tty=info.tty, owner=False)
            try:
                parting = await joint.run(node, begin)
            except (ConnectionError, ProtocolError, OutputFailed) as error:
                raise Failure(f"{error}", code=LOST) from None
        return _exit_code(joint, parting, info.ref)

    return run_async(join, target)


def _feed(stdin: bool | None, *, tty: bool) -> Feed:
    if tty:
        return Feed.NOTHING if stdin is False else Feed.DATA
    if stdin:
        return Feed.ALL
    return Feed.KEYS if stdin is None and os.isatty(0) else Feed.NOTHING


def _exit_code(joint: Joint, parting: Parting, ref: str) -> int:
    if parting is Parting.LEFT:
        say(f"execnode: {ref} runs on; to come back: execnode attach {ref}")
        return 0
    if parting is Parting.OUTPUT_GONE:
        return BROKEN_PIPE
    if joint.process is None:
        return 128 + joint.number
    code = joint.process.returncode
    return LOST if code is None or code < 0 else code
