"""What the calls of unified exec answer."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["ExecOutput", "Failure", "ProcessState", "SessionSummary", "UnknownSession"]


class UnknownSession(LookupError):
    """No process has this session id: it never had one, or it ended long ago and was forgotten."""

    def __init__(self, session_id: int) -> None:
        super().__init__(f"there is no session {session_id}")
        self.session_id = session_id


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a process did not come to its own end.

    kind: `start`, it never ran; `lost`, the environment cannot be reached any more, so how it ended
    is not known; `evicted`, it had to make room for another.
    message: a sentence.
    """

    kind: Literal["start", "lost", "evicted"]
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class ProcessState:
    """What is known of a process; the same here and on a node. Once it has exited it stays so.

    has_exited: nothing more comes of it: it ended, was never started, or is lost.
    exit_code: 128 + number for a signal; None while it runs, and where it is not known.
    reason: `exit`, `signal`, `timeout`, `oom`, `killed`, `policy`, `lost`; None like exit_code.
    signal: `SIGKILL` and the like for a process that a signal ended.
    sandbox_denied: a sandbox seems to have made it fail.
    failure: set where something other than the program itself was at work.
    """

    has_exited: bool
    exit_code: int | None = None
    reason: str | None = None
    signal: str | None = None
    sandbox_denied: bool = False
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class ExecOutput:
    """One answer: how the process is, and what it wrote since the last answer.

    session_id: for the next call; None once the process has exited.
    head, tail: the beginning and the end of the output, all of it in `head` if it was not too long.
    omitted_bytes, omitted_lines: what was left out between them. It is not told by a later answer
        either. The lines are None where they could not be counted.
    wall_time: seconds from the call to its answer.
    input_failure: why something that was to be written was not, or an interrupt not sent.
    input_pending: what was written waits until the program reads.
    warnings: sentences for the caller.
    """

    session_id: int | None
    state: ProcessState
    head: bytes
    tail: bytes
    omitted_bytes: int
    omitted_lines: int | None
    wall_time: float
    input_failure: str | None = None
    input_pending: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The output as text; a line of its own stands for what was left out.

        Bytes that are no UTF-8 become U+FFFD.
        """
        head = self.head.decode(errors="replace")
        if not self.omitted_bytes:
            return head
        lines = "" if self.omitted_lines is None else f" ({self.omitted_lines} lines)"
        before = "" if not head or head.endswith("\n") else "\n"
        marker = f"{before}[... {self.omitted_bytes} bytes{lines} left out ...]\n"
        return head + marker + self.tail.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class SessionSummary:
    """A process that is held: what runs, how it is, and bytes of output that were not told."""

    session_id: int
    argv: tuple[str, ...]
    state: ProcessState
    untold_bytes: int
