"""inotify(7): one instance for all that is watched, since a user may have few of them.

Why not a library: `watchfiles` drops what the kernel says of an overflow of its queue, misses some
of what is made in a new folder before that is watched, ends a watch at a name that is not UTF-8,
and looks every few milliseconds at a thread of its own for each watch.

A folder has one number in an instance, whoever watches it, so listeners share watches and say what
each of them wants to hear. Watches are added elsewhere, by functions of watching.py that get a copy
of the descriptor; all the rest is done on the event loop.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

import anyio
from anyio.abc import TaskGroup

from execnode.engine._files import inotify_open, inotify_remove
from execnode.environment.local.files.descriptor import Descriptor
from execnode.environment.local.files.watching import IGNORED

__all__ = ["Inotify", "Listener"]

_logger = logging.getLogger(__name__)

# sys/inotify.h
_OVERFLOW: Final = 0x4000

_HEADER: Final = struct.Struct("iIII")
_READ: Final = 1 << 16
# Reads of one turn, so that other tasks get theirs.
_TURN: Final = 16
# As many events as the kernel keeps (fs.inotify.max_queued_events).
_EARLY: Final = 16384


class Listener(Protocol):
    """Who watches. Neither method waits."""

    def event(self, watch: int, mask: int, name: bytes) -> None:
        """Something happened to what has this number; `name` is empty when it was to itself."""

    def overflow(self) -> None:
        """Events were lost."""


class Inotify:
    """The instance, made when it is first needed."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._descriptor = -1
        self._listeners: dict[int, dict[Listener, int]] = {}
        # While watches are being added: how many calls do so, what has happened since the first of
        # them, whether that is not all, and what is watched for nobody unless one of them wants it.
        self._adding = 0
        self._early: list[tuple[int, int, bytes]] = []
        self._lost = False
        self._left: set[int] = set()

    def start(self) -> None:
        """See that there is an instance. Raises OSError."""
        if self._descriptor < 0:
            self._descriptor = inotify_open()
            self._tasks.start_soon(self._run)

    def close(self) -> None:
        """Watch nothing any more."""
        descriptor, self._descriptor = self._descriptor, -1
        self._listeners.clear()
        if descriptor >= 0:
            os.close(descriptor)

    @contextmanager
    def adding(self) -> Iterator[Descriptor]:
        """The instance, to add watches to inside, and then to `listen` to them."""
        instance = Descriptor(os.dup(self._descriptor))
        self._adding += 1
        try:
            yield instance
        finally:
            instance.close()
            self._adding -= 1
            if not self._adding:
                self._early.clear()
                self._lost = False
                for watch in self._left - self._listeners.keys():
                    self._forget(watch)
                self._left.clear()

    def listen(self, listener: Listener, watch: int, mask: int) -> None:
        """Tell of what has this number, also of what has happened while it was being added.

        What the listener is told may be more than it asked for, when others watch the same.
        """
        listeners = self._listeners.setdefault(watch, {})
        listeners[listener] = listeners.get(listener, 0) | mask
        if self._lost:
            listener.overflow()
        for happened in [each for each in self._early if each[0] == watch]:
            _tell(listener, mask, *happened)
            if happened[1] & IGNORED:
                self._listeners.pop(watch, None)

    def remove(self, listener: Listener, watch: int) -> None:
        """Tell a listener nothing more of what has this number."""
        listeners = self._listeners.get(watch)
        if listeners is None:
            return
        listeners.pop(listener, None)
        if not listeners:
            del self._listeners[watch]
            if self._adding:
                self._left.add(watch)
            else:
                self._forget(watch)

    def _forget(self, watch: int) -> None:
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
            if mask & _OVERFLOW or len(self._early) >= _EARLY:
                self._overflow()
            else:
                self._event(watch, mask, name)

    def _overflow(self) -> None:
        self._early.clear()
        self._lost = self._adding > 0
        for listener in {each for some in self._listeners.values() for each in some}:
            with _by_itself():
                listener.overflow()

    def _event(self, watch: int, mask: int, name: bytes) -> None:
        if self._adding:
            self._early.append((watch, mask, name))
        told = self._listeners.get(watch)
        if told is None:
            if not self._adding:  # added for somebody who did not wait
                self._forget(watch)
            return
        if mask & IGNORED:
            del self._listeners[watch]
        for listener, wanted in list(told.items()):
            _tell(listener, wanted, watch, mask, name)


def _tell(listener: Listener, wanted: int, watch: int, mask: int, name: bytes) -> None:
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
