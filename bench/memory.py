"""How much memory a server holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def resident(pid: int, *, without: str = "") -> int:
    """Resident memory (VmRSS, proc_pid_status(5)) of a process and its descendants, in bytes.

    Pages that several of them share count for each. `without` leaves out programs of that name:
    what a server was asked to run is not the server.
    """
    return sum(_status(each, "VmRSS") for each in _family(pid, without))


def peak(pid: int) -> int:
    """The most resident memory that a process ever had (VmHWM), in bytes."""
    return _status(pid, "VmHWM")


def _family(pid: int, without: str) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            if Path(f"/proc/{child}/comm").read_text().strip() != without:
                yield from _family(child, without)


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(f"process {pid} has no memory left")
