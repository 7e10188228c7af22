"""Descriptors that threads use while their owner may close them at any time."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from execnode.environment.local.files.paths import os_error

__all__ = ["Descriptor"]


class Descriptor:
    """A descriptor with one owner, and threads that borrow it.

    It is closed when the owner has closed it and nobody borrows it: a number that is closed while a
    system call uses it may by then be another file's.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = -1
        self._borrowers = 0
        self._closed = False

    def fill(self, open_: Callable[[], int]) -> int:
        """Open it, in a thread; at once closed again if the owner has left meanwhile."""
        number = open_()
        with self._lock:
            self._number = number
            self._close_unused()
        return number

    @contextmanager
    def borrow(self) -> Iterator[int]:
        """The number, valid inside. Raises EBADF when it is closed."""
        with self._lock:
            if self._closed or self._number < 0:
                raise os_error(errno.EBADF)
            self._borrowers += 1
        try:
            yield self._number
        finally:
            with self._lock:
                self._borrowers -= 1
                self._close_unused()

    def close(self) -> None:
        """Close it, now or when the last borrower is done."""
        with self._lock:
            self._closed = True
            self._close_unused()

    def _close_unused(self) -> None:
        if self._closed and not self._borrowers and self._number >= 0:
            number, self._number = self._number, -1
            os.close(number)
