"""inotify(7): one instance for all that is watched, since a user may have few of them.

Why not a library: `watchfiles` drops what the kernel says of an overflow of its queue, misses some
of what is made in a new folder before that is watched, ends a watch at a name that is not UTF-8,
and looks every few milliseconds at a thread of its own for each watch.

Watches are added in threads, events are told on the event loop. A folder has one number in an
instance, whoever watches it, so listeners share watches and say what each of them wants to hear.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

import anyio
from anyio.abc import TaskGroup

from execnode.engine._files import inotify_add, inotify_open, inotify_remove

__all__ = [
    "ATTRIB",
    "CLOSE_WRITE",
    "CREATE",
    "DELETE",
    "DELETE_SELF",
    "IGNORED",
    "IS_FOLDER",
    "MODIFY",
    "MOVED_FROM",
    "MOVED_TO",
    "MOVE_SELF",
    "NO_FOLLOW",
    "ONLY_FOLDER",
    "Inotify",
    "Listener",
]

_logger = logging.getLogger(__name__)

# sys/inotify.h
MODIFY: Final = 0x2
ATTRIB: Final = 0x4
CLOSE_WRITE: Final = 0x8
MOVED_FROM: Final = 0x40
MOVED_TO: Final = 0x80
CREATE: Final = 0x100
DELETE: Final = 0x200
DELETE_SELF: Final = 0x400
MOVE_SELF: Final = 0x800
_OVERFLOW: Final = 0x4000
IGNORED: Final = 0x8000
ONLY_FOLDER: Final = 0x1000000
NO_FOLLOW: Final = 0x2000000
_MASK_ADD: Final = 0x20000000
IS_FOLDER: Final = 0x40000000

_HEADER: Final = struct.Struct("iIII")
_READ: Final = 1 << 16
# Reads of one turn, so that other tasks get theirs.
_TURN: Final = 16


class Listener(Protocol):
    """Who watches. Both are called on the event loop and never wait."""

    def event(self, watch: int, mask: int, name: bytes) -> None:
        """Something happened to what has this number; `name` is empty when it was to itself."""

    def overflow(self) -> None:
        """Events were lost."""


class Inotify:
    """The instance, made when it is first needed."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._lock = threading.Lock()
        self._descriptor = -1
        self._listeners: dict[int, dict[Listener, int]] = {}
        self._closed = False

    def start(self) -> None:
        """See that there is an instance; on the event loop. Raises OSError."""
        if self._descriptor < 0:
            self._descriptor = inotify_open()
            self._tasks.start_soon(self._run)

    def close(self) -> None:
        """Watch nothing any more."""
        with self._lock:
            self._closed = True
            descriptor, self._descriptor = self._descriptor, -1
            self._listeners.clear()
        if descriptor >= 0:
            os.close(descriptor)

    def add(self, listener: Listener, path: bytes, mask: int) -> int:
        """Watch a path, in a thread; returns its number. Raises OSError.

        What the listener is told may be more than it asked for, when others watch the same.
        """
        with self._lock:
            # The number is known before an event of it can be told, since that needs the lock.
            watch = inotify_add(self._descriptor, path, mask | _MASK_ADD)
            listeners = self._listeners.setdefault(watch, {})
            listeners[listener] = listeners.get(listener, 0) | mask
        return watch

    def remove(self, listener: Listener, watch: int) -> None:
        """Tell a listener nothing more of what has this number."""
        with self._lock:
            listeners = self._listeners.get(watch)
            if listeners is None:
                return
            listeners.pop(listener, None)
            if not listeners:
                del self._listeners[watch]
                with suppress(OSError):  # it may be gone, and is then watched no more
                    inotify_remove(self._descriptor, watch)

    async def _run(self) -> None:
        while True:
            await anyio.wait_readable(self._descriptor)
            for _ in range(_TURN):
                try:
                    data = os.read(self._descriptor, _READ)
                except BlockingIOError:
                    break
                self._tell(data)

    def _tell(self, data: bytes) -> None:
        position = 0
        while position < len(data):
            watch, mask, _cookie, length = _HEADER.unpack_from(data, position)
            position += _HEADER.size
            name = data[position : position + length].rstrip(b"\0")
            position += length
            if mask & _OVERFLOW:
                with self._lock:
                    everybody = {each for some in self._listeners.values() for each in some}
                for listener in everybody:
                    with _by_itself():
                        listener.overflow()
                continue
            with self._lock:
                told = list(self._listeners.get(watch, {}).items())
                if mask & IGNORED:
                    self._listeners.pop(watch, None)
            for listener, wanted in told:
                if mask & (wanted | IGNORED):
                    with _by_itself():
                        listener.event(watch, mask, name)


@contextmanager
def _by_itself() -> Iterator[None]:
    """A mistake with one listener concerns no other."""
    try:
        yield
    except Exception:
        _logger.exception("an event of inotify could not be handled")
