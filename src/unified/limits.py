"""How long a call waits, how much it tells, and how many processes there may be."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["PLAIN_VARIABLES", "Limits"]

_TOKEN_BYTES: Final = 4

PLAIN_VARIABLES: Final[Mapping[str, str]] = {
    "TERM": "dumb",
    "NO_COLOR": "1",
    "COLORTERM": "",
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "GH_PAGER": "cat",
}
"""Set for every command, so that it writes plain text and no pager waits for a key."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a UnifiedExec. The times are those that models know from the Codex CLI.

    processes: how many are held at once, running or ended and not told of; before one more, the
        least recently used goes.
    protected: so many of the most recently used never go.
    remembered: how many of those that are not held any more are still known by their end.
    output_tokens: budget of an answer where a call names none; a token counts as four bytes.
    kept_bytes: output of one process that is kept between calls, and the most in one answer.
    exec_ms, write_ms, poll_ms: how long a call waits where it does not say: exec_command,
        write_stdin with something to write, and without.
    shortest_ms, longest_ms: bounds of what a call may say.
    shortest_poll_ms, longest_poll_ms: the same where it has nothing to write.
    """

    processes: int = 64
    protected: int = 8
    remembered: int = 256
    output_tokens: int = 10_000
    kept_bytes: int = 1 << 20
    exec_ms: int = 10_000
    write_ms: int = 250
    poll_ms: int = 5_000
    shortest_ms: int = 250
    longest_ms: int = 30_000
    shortest_poll_ms: int = 5_000
    longest_poll_ms: int = 300_000

    def __post_init__(self) -> None:
        if self.processes < 1:
            raise ValueError(f"processes must be at least 1, not {self.processes}")

    def waiting(self, asked_ms: int | None, default_ms: int) -> float:
        """Seconds that a call waits which asked for so many milliseconds."""
        wanted = default_ms if asked_ms is None else asked_ms
        return min(max(wanted, self.shortest_ms), self.longest_ms) / 1000

    def polling(self, asked_ms: int | None) -> float:
        """The same for a call that only looks."""
        wanted = self.poll_ms if asked_ms is None else asked_ms
        return min(max(wanted, self.shortest_poll_ms), self.longest_poll_ms) / 1000

    def budget(self, tokens: int | None, octets: int | None) -> int:
        """Bytes that an answer may hold: the smaller of what a call names."""
        if octets is None or tokens is not None:
            named = self.output_tokens if tokens is None else tokens
            octets = min(named * _TOKEN_BYTES, self.kept_bytes if octets is None else octets)
        if octets < 0:
            raise ValueError("the budget of an answer must not be negative")
        return min(octets, self.kept_bytes)

    @property
    def crowded(self) -> int:
        """From how many processes on an answer warns."""
        return self.processes - self.processes // 16
