"""A command that runs outside for a process inside: its descriptors, signals and end."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio

from execnode.client.errors import StartError
from execnode.client.options import Argument
from execnode.engine.programs import HELPER
from execnode.environment.local.runner import LocalRunner
from execnode.environment.services import Process
from execnode.protocol.errors import RpcError

from . import protocol, variables
from .link import Link
from .policy import Escalate
from .protocol import ExecRequest, ProtocolError

__all__ = ["Subject", "run_outside"]

_CANNOT_RUN: Final = 126
# A command outside leads an orphaned process group, which these do not stop, credentials(7).
_STOPS: Final = frozenset({signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})
_STANDARD: Final = (0, 1, 2)


class Subject:
    """The file and the folder that are decided about, as they were before that.

    What they are is looked at again just before the file is executed (_seccomp/escalated.c).
    """

    def __init__(self, request: ExecRequest) -> None:
        self.lacks: str | None = None
        try:
            file = Path(os.fsdecode(request.file)).stat()
            folder = Path(os.fsdecode(request.workdir)).stat()
        except OSError as error:
            path = os.fsdecode(error.filename)
            self.lacks = f"{path}: {error.strerror} outside" if path else "the folder has no name"
            return
        times = ":".join(
            f"{ns // 10**9}.{ns % 10**9:09}" for ns in (file.st_mtime_ns, file.st_ctime_ns)
        )
        self.file_id = f"{file.st_dev}:{file.st_ino}:{file.st_size}:{times}"
        self.folder_id = f"{folder.st_dev}:{folder.st_ino}"


async def run_outside(
    link: Link, request: ExecRequest, subject: Subject, action: Escalate, runner: LocalRunner
) -> None:
    """Run it, from the descriptors to the exit code.

    Whatever ends this early ends the command. Raises ProtocolError, OSError.
    """
    if subject.lacks is not None:
        await link.send(protocol.deny_frame(subject.lacks, _CANNOT_RUN))
        return
    numbers = await _fetch_descriptors(link, (*_STANDARD, *action.descriptors))
    try:
        process = await _start(link, request, subject, action, numbers, runner)
    except (StartError, RpcError, TypeError, ValueError) as error:
        await link.send(protocol.deny_frame(str(error), _CANNOT_RUN))
        return
    finally:
        link.close_descriptors()  # or a pipe's reader would wait for us too
    async with process:
        await _accompany(link, process)
    if process.returncode is not None:
        await link.send(_end_frame(process.returncode, process.signal_name))


async def _fetch_descriptors(link: Link, wanted: tuple[int, ...]) -> tuple[int, ...]:
    link.expected = len(wanted)
    await link.send(protocol.escalate_frame(wanted))
    with anyio.fail_after(link.patience):
        head = await link.receive()
        if head is None or head[0] != protocol.DESCRIPTORS:
            raise ProtocolError("no descriptors")
        return protocol.open_ones(await link.payload(head[1]), wanted, len(link.descriptors))


async def _start(
    link: Link,
    request: ExecRequest,
    subject: Subject,
    action: Escalate,
    numbers: tuple[int, ...],
    runner: LocalRunner,
) -> Process:
    shown = ",".join(map(str, numbers))
    head: list[Argument] = [HELPER, subject.file_id, subject.folder_id, f"{request.umask:o}", shown]
    env = variables.outside(request.env) if action.env is None else action.env
    return await runner.start(
        [*head, request.file, *request.argv],
        arg0="execnode-escalated",
        cwd=request.workdir,
        env=env,
        inherit=link.descriptors,
        **action.options,
    )


async def _accompany(link: Link, process: Process) -> None:
    """Pass signals on, until the command has ended or the wrapper is gone."""
    async with anyio.create_task_group() as tasks:

        async def forward() -> None:
            with suppress(OSError):  # it may have gone before it is answered
                while number := await _next_signal(link):
                    stops = number in _STOPS
                    await process.signal("SIGSTOP" if stops else signal.Signals(number).name)
                    await link.send(protocol.signal_frame(number))
            tasks.cancel_scope.cancel()

        tasks.start_soon(forward)
        await process.wait()
        tasks.cancel_scope.cancel()


async def _next_signal(link: Link) -> int | None:
    """The next signal for the command; None when the wrapper is gone, or mad."""
    try:
        head = await link.receive()
        if head != (protocol.SIGNAL, 1):
            return None
        number = (await link.payload(1))[0]
    except (OSError, ProtocolError):
        return None
    return number if number in signal.valid_signals() and number < signal.SIGRTMIN else None


def _end_frame(code: int, name: str | None) -> bytes:
    if name is not None and name in signal.Signals.__members__:
        return protocol.killed_frame(signal.Signals[name])
    return protocol.exited_frame(code & 0xFF)
