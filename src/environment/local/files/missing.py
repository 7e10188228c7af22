"""fs/watchMissing: tell once when what is missing appears.

A path is missing since one of the names on its way is; whoever makes that name, or exchanges a link
on the way, may make the path appear. So the folders of exactly these names are watched, and every
folder on the way for being moved itself.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from execnode.environment.local.files import inotify
from execnode.environment.local.files.inotify import Inotify

__all__ = ["MissingWatch"]

_NAMES: Final = inotify.CREATE | inotify.MOVED_TO | inotify.MOVED_FROM | inotify.DELETE
_ITSELF: Final = inotify.DELETE_SELF | inotify.MOVE_SELF
_CONTENT: Final = _ITSELF | inotify.MODIFY | inotify.ATTRIB | inotify.CLOSE_WRITE
_LINKS: Final = 40


@dataclass(slots=True)
class _Way:
    """What a path leads through.

    names: folders, and the names in them that decide. folders: on the way, for themselves.
    end: what is there in the end; None when it is missing.
    """

    names: set[tuple[bytes, bytes]] = field(default_factory=set)
    folders: list[bytes] = field(default_factory=list)
    end: os.stat_result | None = None


def _way(path: bytes, *, follow_last: bool) -> _Way | None:
    """Follow a path as far as it leads. None where it leads nowhere that could be watched."""
    way, at, links = _Way(), b"/", 0
    parts = [part for part in path.split(b"/") if part][::-1]
    way.end = os.lstat(at)
    while parts:
        name = parts.pop()
        if name in (b".", b".."):  # of a link
            at = os.path.dirname(at) if name == b".." else at
            continue
        if at not in way.folders:
            way.folders.append(at)
        full = at.rstrip(b"/") + b"/" + name
        try:
            way.end = os.lstat(full)
        except FileNotFoundError:
            way.names.add((at, name))
            way.end = None
            return way
        kind = way.end.st_mode
        if stat.S_ISLNK(kind) and (parts or follow_last):
            links += 1
            if links > _LINKS:
                return None
            way.names.add((at, name))
            target = os.readlink(full)
            at = b"/" if target.startswith(b"/") else at
            parts += [part for part in target.split(b"/") if part][::-1]
        elif not parts:
            way.names.add((at, name))
        elif stat.S_ISDIR(kind):
            at = full
        else:
            return None
    return way


class MissingWatch:
    """One watch: `arm` it in a thread, then `begin`; `alarm` is called once, on the event loop."""

    def __init__(
        self, source: Inotify, alarm: Callable[[MissingWatch], None], watch_id: int
    ) -> None:
        self.id = watch_id
        self._inotify = source
        self._alarm = alarm
        self._names: dict[int, set[bytes]] = {}
        self._masks: dict[int, int] = {}
        self._begun = False
        self._changed = False
        self._closed = False

    def arm(self, missing: list[bytes], present: bytes | None) -> bool:
        """Watch; False when that is not possible, or something is not as the client thinks."""
        try:
            ways = self._look(missing, present)
            if ways is None:
                return False
            for way in ways:
                self._watch(way)
            if present is not None:
                end = ways[-1].end
                assert end is not None
                mask = _ITSELF if stat.S_ISDIR(end.st_mode) else _CONTENT
                self._add(present, mask)
            # What happened before all was watched was not told.
            again = self._look(missing, present)
        except OSError:
            return False
        return again is not None and [(w.names, w.folders) for w in again] == [
            (w.names, w.folders) for w in ways
        ]

    def _look(self, missing: list[bytes], present: bytes | None) -> list[_Way] | None:
        ways = []
        for path in missing:
            way = _way(path, follow_last=False)
            if way is None or way.end is not None:
                return None
            ways.append(way)
        if present is not None:
            way = _way(present, follow_last=True)
            if way is None or way.end is None:
                return None
            ways.append(way)
        return ways

    def _watch(self, way: _Way) -> None:
        for folder in way.folders:
            names = {name for at, name in way.names if at == folder}
            try:
                watch = self._add(folder, _ITSELF | (_NAMES if names else 0))
            except PermissionError:
                if names:
                    raise
                continue  # moving it takes more than looking into it
            self._names.setdefault(watch, set()).update(names)

    def _add(self, path: bytes, mask: int) -> int:
        watch = self._inotify.add(self, path, mask)
        self._masks[watch] = self._masks.get(watch, 0) | mask
        if self._closed:
            self._inotify.remove(self, watch)
        return watch

    def begin(self) -> bool:
        """Tell from now on. False when something has changed already."""
        self._begun = True
        return not (self._changed or self._closed)

    def event(self, watch: int, mask: int, name: bytes) -> None:
        """See inotify.Listener."""
        if not mask & (self._masks.get(watch, 0) | inotify.IGNORED):
            return
        if name and name not in self._names.get(watch, ()):
            return
        self.overflow()

    def overflow(self) -> None:
        """See inotify.Listener: a false alarm is harmless."""
        if self._begun and not self._closed:
            self._alarm(self)
        self._changed = True

    def close(self) -> None:
        """Watch no more."""
        self._closed = True
        for watch in list(self._masks):
            self._inotify.remove(self, watch)
