"""What can go wrong for a caller of a node, as exceptions that existing except clauses catch.

A failed start is an OSError of the class that the errno calls for, a non-zero exit a
subprocess.CalledProcessError, a time-out a subprocess.TimeoutExpired, a lost node a
ConnectionError. What the node itself refuses is execnode.protocol.errors.RpcError.
"""

import errno
import re
import subprocess
from collections.abc import Sequence
from typing import Any

from execnode.protocol.errors import METHOD_NOT_FOUND, ProtocolError, RpcError

__all__ = [
    "AnswerLost",
    "CalledProcessError",
    "IntegrityError",
    "LinkLost",
    "ProcessLost",
    "ProtocolError",
    "RpcError",
    "SessionLost",
    "StartError",
    "TimeoutExpired",
    "Unsupported",
    "UpgradeRefused",
    "os_error_number",
    "start_error",
]


class LinkLost(ConnectionError):
    """The connection ended. Inside a session it is repaired; `connect` raises it when it is not."""


class UpgradeRefused(ConnectionError):
    """The node did not want this WebSocket: no token, a wrong one, or it is no such server.

    `status` is the code of its HTTP answer, None where that is not what was wrong.
    """

    def __init__(self, sentence: str, status: int | None) -> None:
        super().__init__(sentence)
        self.status = status


class Unsupported(RpcError):
    """The node's capabilities lack what was asked for, so it was not asked.

    A node of the plain dialect, such as Codex's own, has none of what execnode adds to it.
    """

    def __init__(self, what: str, capability: str) -> None:
        super().__init__(METHOD_NOT_FOUND, f"this node has no {what} (capability {capability})")


class AnswerLost(ConnectionError):
    """The link broke before the answer to a request that must not be repeated.

    Whether the node did what was asked is not known.
    """


class SessionLost(ConnectionError):
    """The node could not be reached again in time, or no longer knows the session.

    `processes` names what was running, one `id: argv` each; how those processes ended, and what
    they wrote after the last output that was received, will not be known. Unless the node itself
    is gone, it kills them when the session's time is over.
    """

    def __init__(self, why: str, processes: Sequence[str] = ()) -> None:
        lost = f"; lost with it: {', '.join(processes)}" if processes else ""
        super().__init__(f"{why}{lost}")
        self.processes = list(processes)


class ProcessLost(ConnectionError):
    """The session is there, but the node no longer knows this process or its output."""


class IntegrityError(ProtocolError):
    """The output that arrived is not what the node counted or hashed."""


class StartError(OSError):
    """A process could not be started: `[Errno 2] execve: No such file or directory: 'nope'`.

    `stage` is the step that failed (`execve`, `chdir`, `setrlimit`, ...), or None when the node did
    not say; `errno`, `strerror` and `filename` (the program, or chdir's folder) are OSError's. The
    instance is also a FileNotFoundError, PermissionError, ... where the errno calls for it.
    """

    def __init__(self, *args: Any, stage: str | None = None) -> None:
        super().__init__(*args)
        self.stage = stage


class StartNotFound(StartError, FileNotFoundError):
    """ENOENT: no such program, folder or interpreter."""


class StartNotADirectory(StartError, NotADirectoryError):
    """ENOTDIR."""


class StartPermissionDenied(StartError, PermissionError):
    """EACCES or EPERM."""


class StartTryAgain(StartError, BlockingIOError):
    """EAGAIN: a limit on processes (setrlimit(2) RLIMIT_NPROC, or the cgroup's pids.max)."""


_START_ERRORS: dict[int, type[StartError]] = {
    errno.ENOENT: StartNotFound,
    errno.ENOTDIR: StartNotADirectory,
    errno.EACCES: StartPermissionDenied,
    errno.EPERM: StartPermissionDenied,
    errno.EAGAIN: StartTryAgain,
}


_OS_ERROR = re.compile(r" \(os error (\d{1,9})\)\Z")


def os_error_number(error: RpcError) -> int | None:
    """The errno at the end of an error's sentence, `DESCRIPTION (os error N)`; None without."""
    found = _OS_ERROR.search(error.message)
    return int(found[1]) if found else None


def start_error(error: RpcError, program: str, cwd: str) -> StartError | None:
    """The StartError that a node's answer to process/start tells of; None if it tells another."""
    data = error.data if isinstance(error.data, dict) else {}
    number = data.get("errno") or os_error_number(error)
    if not isinstance(number, int):
        return None
    stage = data.get("stage")
    stage = stage if isinstance(stage, str) else None
    # "No such file or directory (os error 2)": OSError says the number itself.
    sentence = error.message.removesuffix(f" (os error {number})")
    if stage and not sentence.startswith(f"{stage}:"):
        sentence = f"{stage}: {sentence}"
    kind = _START_ERRORS.get(number, StartError)
    return kind(number, sentence, cwd if stage == "chdir" else program, stage=stage)


class CalledProcessError(subprocess.CalledProcessError):
    """A checked command did not end with exit code 0; `reason` says in which way it ended."""

    def __init__(self, returncode: int, cmd: Any, output: Any, stderr: Any, reason: str) -> None:
        super().__init__(returncode, cmd, output, stderr)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.returncode, self.cmd, self.output, self.stderr, self.reason)

    def __str__(self) -> str:
        if self.reason == "exit":
            return super().__str__()
        return f"Command {self.cmd!r} ended with code {self.returncode} by {self.reason}."


class TimeoutExpired(subprocess.TimeoutExpired):
    """A command was ended because its time was over.

    `stdout` and `stderr` have everything it wrote before, as bytes.
    """
