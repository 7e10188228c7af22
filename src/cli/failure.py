"""How the command tells that something went wrong: one line, a hint, an exit code."""

from .tell import say, styled

__all__ = [
    "BROKEN_PIPE",
    "FAILED",
    "INTERRUPTED",
    "LOST",
    "NOT_EXECUTABLE",
    "NOT_FOUND",
    "NOT_RUN",
    "TIMED_OUT",
    "USAGE",
    "Failure",
]

FAILED = 1
USAGE = 2
# What env(1), timeout(1) and shells use for a command that they run.
TIMED_OUT = 124
NOT_RUN = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127
INTERRUPTED = 130
BROKEN_PIPE = 141
# What ssh(1) uses when it cannot tell how the command ended.
LOST = 255


class Failure(Exception):
    """Ends the command with `error: MESSAGE` and `hint: HINT` on stderr and an exit code."""

    def __init__(self, message: str, hint: str | None = None, code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code

    def show(self) -> None:
        """Write the lines."""
        say(f"{styled('error:', '1;31')} {self.message}")
        if self.hint:
            say(f"{styled('hint:', '1;36')} {self.hint}")
