"""The descriptors and the terminal of this program, for an event loop.

Standard streams are shared with other programs, so they are never made non-blocking (that is a
property of the open file, not of the descriptor). Instead a read or write is made only when poll(2)
says that it will not block, and a write is no larger than a pipe takes at once.
"""

import os
import select
import signal
import stat
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import anyio

__all__ = ["Escape", "raw", "read", "terminal_size", "write"]

_READ_BYTES = 65536
# poll(2) calls a pipe writable when PIPE_BUF bytes fit.
_PIPE_BYTES = select.PIPE_BUF
_FILE_BYTES = 1 << 20

_ESCAPE_KEY = b"\x1d"
_ESCAPE_TIMES = 3
_ESCAPE_SECONDS = 1.0


async def read(descriptor: int) -> bytes:
    """The next bytes; b"" at the end, or when the descriptor can no longer be read."""
    while True:
        if not _ready(descriptor, select.POLLIN):
            await anyio.wait_readable(descriptor)
        try:
            return os.read(descriptor, _READ_BYTES)
        except BlockingIOError:  # another reader of the same file was faster
            continue
        except OSError:  # EIO: the terminal is gone; EISDIR, EBADF
            return b""


async def write(descriptor: int, data: bytes) -> None:
    """Write all of it. Raises OSError: BrokenPipeError, or EIO when the terminal is gone."""
    most = _FILE_BYTES if stat.S_ISREG(os.fstat(descriptor).st_mode) else _PIPE_BYTES
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            if not _ready(descriptor, select.POLLOUT):
                await anyio.wait_writable(descriptor)
            with suppress(BlockingIOError):
                done += os.write(descriptor, view[done : done + most])


def _ready(descriptor: int, events: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, events)
    return bool(poll.poll(0))


def terminal_size() -> tuple[int, int] | None:
    """(rows, columns) of the terminal that this program is on; None if it is on none."""
    for descriptor in (0, 1, 2):
        with suppress(OSError):
            size = os.get_terminal_size(descriptor)
            if size.lines and size.columns:
                return size.lines, size.columns
    return None


@contextmanager
def raw(descriptor: int, *, signals: bool = False) -> Iterator[None]:
    """Take every key from a terminal as it is typed, termios(3); before and after, it is as it was.

    signals: let Ctrl-C and the like be signals to this program, and output be processed, still.
    """
    before = termios.tcgetattr(descriptor)
    enter = tty.setcbreak if signals else tty.setraw

    def again(_number: int, _frame: object) -> None:
        enter(descriptor, termios.TCSADRAIN)  # a shell has changed it while this program stood

    enter(descriptor, termios.TCSADRAIN)
    was = signal.signal(signal.SIGCONT, again)
    try:
        yield
    finally:
        signal.signal(signal.SIGCONT, was)
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


class Escape:
    """Watches for the keys that leave: Ctrl-] three times within a second, as in machinectl(1)."""

    def __init__(self) -> None:
        self._times: list[float] = []

    def found_in(self, data: bytes, now: float) -> bool:
        """Whether `data`, typed at `now` (seconds), completes them."""
        for key in data:
            if key != _ESCAPE_KEY[0]:
                self._times.clear()
                continue
            self._times = [time for time in self._times if now - time < _ESCAPE_SECONDS] + [now]
            if len(self._times) >= _ESCAPE_TIMES:
                return True
        return False
