"""What the sandbox helper tells of a start, on a descriptor of its own (`--status-fd`).

Nothing, when all went well. Otherwise its lines are STAGE ERRNO TEXT for a failure, `lost 0 NAME`
for a protection that it does without, and `way 0 landlock` where no namespaces can be had and
Landlock does it all. The descriptor is closed when the program runs.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import anyio

__all__ = ["Line", "Report", "StatusPipe"]

# The helper's words are few and short.
_STATUS_BYTES: Final = 65536


class Line(NamedTuple):
    """One line; `number` is an errno, 0 for none."""

    stage: str
    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """All that was told. lost: names of protections; way: what enforces the plan."""

    failures: tuple[Line, ...]
    lost: tuple[str, ...]
    way: Literal["landlock", "namespaces"]


class StatusPipe:
    """A pipe for the helper, which is to have `writer`; leave the context to close what is open."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def __enter__(self) -> StatusPipe:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_writer()
        os.close(self._reader)

    def close_writer(self) -> None:
        """Leave the writing to the helper."""
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    async def report(self) -> Report:
        """Return what the helper told, once the program runs or will never run."""
        told = bytearray()
        while len(told) < _STATUS_BYTES:
            await anyio.wait_readable(self._reader)
            try:
                data = os.read(self._reader, 4096)
            except BlockingIOError:
                continue
            if not data:
                break
            told += data
        lines = [_line(line) for line in told.decode(errors="backslashreplace").splitlines()]
        return Report(
            tuple(line for line in lines if line.stage not in ("lost", "way")),
            tuple(line.text for line in lines if line.stage == "lost"),
            "landlock" if any(line.stage == "way" for line in lines) else "namespaces",
        )


def _line(line: str) -> Line:
    """Take STAGE ERRNO TEXT apart; a stage may have spaces in it, and the number has none."""
    words = line.split(" ")
    at = next((i for i, word in enumerate(words[1:], 1) if word.isascii() and word.isdigit()), 0)
    if not at:
        return Line(line, 0, line)
    return Line(" ".join(words[:at]), int(words[at]), " ".join(words[at + 1 :]))
