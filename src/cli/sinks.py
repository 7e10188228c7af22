"""Where a process's output goes: to our own streams as it is, or to stdout as JSON lines."""

import base64
from typing import Protocol

from execnode.client.channel import Gap, Output
from execnode.client.process import Process

from . import console
from .tell import json_line, listed, raise_unwritten, say

__all__ = ["JsonLines", "Sink", "Streams"]


class Sink(Protocol):
    """Takes what a process has to tell, in order. Raises OutputGone, OutputFailed (tell.py)."""

    async def started(self, process: Process) -> None:
        """It runs."""

    async def output(self, item: Output) -> None:
        """It wrote this."""

    async def gap(self, gap: Gap) -> None:
        """Here something is missing."""

    async def ended(self, process: Process) -> None:
        """It has ended, and all it wrote has been told."""


class Streams:
    """stdout and a terminal's output to our stdout, stderr to our stderr; gaps are told there.

    tail: output begins with what was skipped, as asked for; that is no gap to tell of.
    """

    def __init__(self, *, tail: bool = False) -> None:
        self._skipped = tail

    async def started(self, process: Process) -> None:
        """Nothing to show."""

    async def output(self, item: Output) -> None:
        """Write the bytes."""
        self._skipped = False
        try:
            await console.write(2 if item.stream == "stderr" else 1, item.data)
        except OSError as error:
            raise_unwritten(error)

    async def gap(self, gap: Gap) -> None:
        """Tell how much is missing here."""
        if not self._skipped:
            parts = [f"{n} bytes of {stream}" for stream, n in gap.bytes.items() if n]
            say(f"execnode: {listed(parts or ['output'])} dropped here")

    async def ended(self, process: Process) -> None:
        """Nothing to show: the exit code tells."""


class JsonLines:
    """One JSON object a line for each event; see docs/cli.md."""

    async def started(self, process: Process) -> None:
        """How to find it again."""
        await _put({"event": "started", "ref": process.ref, "pid": process.pid})

    async def output(self, item: Output) -> None:
        """The bytes of one read, as `text` if they are UTF-8, else as `base64`."""
        await _put(
            {"event": "output", "stream": item.stream, "offset": item.offset} | _content(item.data)
        )

    async def gap(self, gap: Gap) -> None:
        """How many bytes of each stream are missing here."""
        await _put({"event": "gap", "bytes": dict(gap.bytes)})

    async def ended(self, process: Process) -> None:
        """How it ended and how much it wrote."""
        totals = process.totals
        await _put(
            {
                "event": "ended",
                "exitCode": process.returncode,
                "reason": process.reason,
                "signal": process.signal_name,
                "streams": {name: total._asdict() for name, total in totals.items()},
            }
        )


async def _put(event: dict[str, object]) -> None:
    """Write a line, letting signals and the node have their turn while nobody reads."""
    try:
        await console.write(1, json_line(event).encode())
    except OSError as error:
        raise_unwritten(error)


def _content(data: bytes) -> dict[str, str]:
    """Bytes as a member of a JSON object: `text` if they are UTF-8, else `base64`."""
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
