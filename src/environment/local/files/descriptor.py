"""Descriptors that threads use while their owner may close them at any time."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec

from execnode.environment.local.files.paths import os_error

__all__ = ["Descriptor", "Opened", "Temporary"]


class Descriptor:
    """A descriptor with one owner, and threads that borrow it.

    It is closed when the owner has closed or forgotten it and nobody borrows it: a number that is
    closed while a system call uses it may by then be another file's.
    """

    def __init__(self, number: int) -> None:
        """Own an open descriptor."""
        self._lock = threading.Lock()
        self._number = number
        self._borrowers = 0
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[int]:
        """The number, valid inside. Raises EBADF when it is closed."""
        with self._lock:
            if self._closed:
                raise os_error(errno.EBADF)
            self._borrowers += 1
        try:
            yield self._number
        finally:
            with self._lock:
                self._borrowers -= 1
                self._close_unused()

    def close(self) -> None:
        """Close it, now or when the last borrower is done. Raises OSError."""
        with self._lock:
            self._closed = True
            self._close_unused()

    def __del__(self) -> None:
        with suppress(OSError):
            self.close()

    def _close_unused(self) -> None:
        if self._closed and not self._borrowers and self._number >= 0:
            number, self._number = self._number, -1
            os.close(number)


class Opened(msgspec.Struct):
    """A file that was opened, and how many bytes it had then."""

    file: Descriptor
    size: int


class Temporary:
    """A name in a folder, which is gone when it is forgotten, unless `keep` was called before."""

    def __init__(self, folder: Descriptor, name: bytes) -> None:
        self.folder = folder
        self.name = name
        self._kept = False

    def keep(self) -> None:
        """See to it no more: it has another name by now, or another owner."""
        self._kept = True
        self.folder.close()

    def remove(self) -> None:
        """Remove it, unless it is to be kept."""
        if not self._kept:
            with suppress(OSError), self.folder.borrow() as folder:
                os.unlink(self.name, dir_fd=folder)
            self.keep()

    def __del__(self) -> None:
        self.remove()
