"""Words to the standard streams: data to stdout, everything else to stderr.

Lines may hold file names and arguments that are not UTF-8, as Python has them (os.fsdecode); they
leave as the bytes they were.
"""

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import NoReturn

__all__ = [
    "OutputFailed",
    "OutputGone",
    "json_line",
    "listed",
    "put",
    "put_json",
    "raise_unwritten",
    "say",
    "styled",
]


class OutputGone(Exception):
    """Nobody reads our output any more: a pipe's reader has ended, or the terminal has."""


class OutputFailed(Exception):
    """Our output cannot be written: the disk is full, say. The text tells."""


def put(line: str) -> None:
    """Write a line to stdout. Raises OutputGone and OutputFailed."""
    data = memoryview((line + "\n").encode(errors="surrogateescape"))
    try:
        while data:
            data = data[os.write(1, data) :]
    except OSError as error:
        raise_unwritten(error)


def raise_unwritten(error: OSError) -> NoReturn:
    """Raise what an error in writing our output means: OutputGone or OutputFailed."""
    if error.errno in (errno.EPIPE, errno.EIO):  # EIO: the terminal
        raise OutputGone from None
    raise OutputFailed(f"writing its output: {error.strerror}") from None


def put_json(value: object) -> None:
    """Write a value to stdout as one line of JSON. Raises as `put` does."""
    put(json_line(value)[:-1])


def json_line(value: object) -> str:
    """A value as one line of JSON, in ASCII, with its end."""
    import json

    return json.dumps(value, separators=(",", ":")) + "\n"


def say(line: str) -> None:
    """Write a line for the person to stderr. If stderr is gone, there is nobody to tell."""
    # With a carriage return, since the terminal may be in raw mode.
    end = "\r\n" if os.isatty(2) else "\n"
    with suppress(OSError):
        os.write(2, (line + end).encode(errors="surrogateescape"))


def styled(text: str, style: str) -> str:
    """`text` in an SGR style (ECMA-48) if stderr is a terminal and NO_COLOR is not set."""
    if os.environ.get("NO_COLOR") or not os.isatty(2):
        return text
    return f"\x1b[{style}m{text}\x1b[0m"


def listed(items: Iterable[str]) -> str:
    """`a, b and c`."""
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last
