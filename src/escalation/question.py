"""What a stopped exec is about, read from the memory of the process that calls it.

It is hostile memory: sizes are bounded, and what cannot be read is no question. The caller of these
functions makes sure afterwards that the call still waits: else it may have been another process's.
"""

import errno
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from execnode.engine._notify import EXECVE, Notice

__all__ = ["Question", "Unreadable", "is_check", "process_of", "read_question"]

_PATH_MAX: Final = 4096
_ARGUMENTS_MAX: Final = 1 << 15
_BYTES_MAX: Final = 1 << 20
"""Of all arguments together; Linux itself takes at most 6 MiB."""
_WINDOW: Final = 1 << 12
"""Bytes that are read at once: few, since strings may be laid out so that each takes that many."""
_POINTER: Final = struct.Struct("=Q")
_AT_FDCWD: Final = -100
_AT_EXECVE_CHECK: Final = 0x10000


class Unreadable(Exception):
    """The exec cannot be judged; it fails with `errno`, and has a `reason` unless that says all."""

    def __init__(self, number: int, reason: str = "") -> None:
        super().__init__(reason or os.strerror(number))
        self.errno = number
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Question:
    """An exec, as `EscalationPolicy.determine_action` takes it; process: whose it is."""

    process: int
    file: bytes
    argv: tuple[bytes, ...]
    workdir: bytes


class Memory:
    """The memory of a thread; neighbouring strings are read at once."""

    def __init__(self, thread: int) -> None:
        self._fd = os.open(f"/proc/{thread}/mem", os.O_RDONLY | os.O_CLOEXEC)
        self._start = 0
        self._window = b""

    def close(self) -> None:
        os.close(self._fd)

    def string(self, address: int, at_most: int) -> bytes:
        """What is there up to a NUL. Raises Unreadable with E2BIG for more than `at_most` bytes."""
        found = b""
        while True:
            offset = self._read(address + len(found))
            end = self._window.find(b"\0", offset)
            found += self._window[offset : None if end < 0 else end]
            if len(found) > at_most:
                raise Unreadable(errno.E2BIG, "its arguments are too long to be judged")
            if end >= 0:
                return found

    def pointer(self, address: int) -> int:
        """What is there. Raises Unreadable with EFAULT."""
        found = b""
        while missing := _POINTER.size - len(found):
            offset = self._read(address + len(found))
            found += self._window[offset : offset + missing]
        return int(_POINTER.unpack(found)[0])

    def _read(self, address: int) -> int:
        """Where in the window the byte at an address is. Raises Unreadable with EFAULT."""
        offset = address - self._start
        if not 0 <= offset < len(self._window):
            try:
                window = os.pread(self._fd, _WINDOW, address)
            except (OSError, OverflowError) as error:
                raise Unreadable(errno.EFAULT) from error
            if not window:
                raise Unreadable(errno.EFAULT)
            self._start, self._window, offset = address, window, 0
        return offset


def is_check(notice: Notice) -> bool:
    """Whether it only asks the kernel if a file could be executed."""
    return notice.number != EXECVE and bool(notice.arguments[4] & _AT_EXECVE_CHECK)


def read_question(notice: Notice) -> Question:
    """What is asked. Raises Unreadable."""
    thread = notice.thread
    try:
        memory = Memory(thread)
    except OSError as error:
        raise Unreadable(errno.EACCES, f"its memory cannot be read: {error.strerror}") from error
    try:
        if notice.number == EXECVE:
            directory, (path, argv) = _AT_FDCWD, notice.arguments[:2]
        else:
            directory, (path, argv) = _signed(notice.arguments[0]), notice.arguments[1:3]
        workdir = _link(f"/proc/{thread}/cwd")
        file = _absolute(thread, directory, memory.string(path, _PATH_MAX), workdir)
        return Question(process_of(thread), file, _arguments(memory, argv), workdir)
    except OSError as error:
        raise Unreadable(error.errno or errno.EACCES) from error
    finally:
        memory.close()


def _signed(argument: int) -> int:
    """An int, of which the kernel looks at the low half."""
    return int.from_bytes((argument & 0xFFFFFFFF).to_bytes(4, "little"), "little", signed=True)


def _link(path: str) -> bytes:
    return os.fsencode(Path(path).readlink())


def _absolute(thread: int, directory: int, path: bytes, workdir: bytes) -> bytes:
    if path.startswith(b"/"):
        return path
    if directory == _AT_FDCWD:
        return workdir.rstrip(b"/") + b"/" + path if path else b""
    if directory < 0:
        raise Unreadable(errno.EBADF)
    name = _link(f"/proc/{thread}/fd/{directory}")
    return name.rstrip(b"/") + b"/" + path if path else name


def _arguments(memory: Memory, address: int) -> tuple[bytes, ...]:
    found: list[bytes] = []
    left = _BYTES_MAX
    for pointer in _pointers(memory, address):
        found.append(memory.string(pointer, left))
        left -= len(found[-1]) + 1
    return tuple(found)


def _pointers(memory: Memory, address: int) -> list[int]:
    """A list of pointers up to NULL; NULL itself is an empty one."""
    found: list[int] = []
    while address and (pointer := memory.pointer(address)):
        found.append(pointer)
        address += _POINTER.size
        if len(found) > _ARGUMENTS_MAX:
            raise Unreadable(errno.E2BIG, "it has too many arguments to be judged")
    return found


def process_of(thread: int) -> int:
    """The process of a thread. Raises OSError, Unreadable."""
    with Path(f"/proc/{thread}/status").open("rb") as status:
        for line in status:
            if line.startswith(b"Tgid:"):
                return int(line.split()[1])
    raise Unreadable(errno.ESRCH)
