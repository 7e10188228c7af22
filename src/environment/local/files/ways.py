"""Adding watches to an inotify(7) instance, for fs/watchMissing: what needs the file system of it.

A path is missing since one of the names on its way is; whoever makes that name, or exchanges a link
on the way, may make the path appear. So the folders of exactly these names are watched, and every
folder on the way for being moved itself.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from typing import Final

import msgspec

from execnode.environment.local.files.descriptor import Descriptor
from execnode.environment.local.files.paths import OPEN_FLAGS
from execnode.environment.local.files.watching import (
    ATTRIB,
    CLOSE_WRITE,
    CREATE,
    DELETE,
    ITSELF,
    MODIFY,
    MOVED_FROM,
    MOVED_TO,
    watch_in,
)

__all__ = ["WatchesOfWays", "watch_ways"]

_NAMES: Final = CREATE | MOVED_TO | MOVED_FROM | DELETE
_CONTENT: Final = ITSELF | MODIFY | ATTRIB | CLOSE_WRITE
_LINKS: Final = 40


class WatchesOfWays(msgspec.Struct):
    """Watches that were added: numbers, masks, and the names in the folder that matter.

    armed: they are all that are needed, and everything is as the client thinks.
    """

    watches: list[tuple[int, int, list[bytes]]] = []
    armed: bool = False


def watch_ways(instance: Descriptor, missing: list[bytes], present: bytes | None) -> WatchesOfWays:
    """Watch what may make missing paths appear, and what is present change."""
    added = WatchesOfWays()
    try:
        with instance.borrow() as number:
            added.armed = _watch_all(number, missing, present, added)
    except OSError:
        added.armed = False
    return added


def _watch_all(
    instance: int, missing: list[bytes], present: bytes | None, added: WatchesOfWays
) -> bool:
    ways = _look(missing, present)
    if ways is None:
        return False
    for way in ways:
        _watch(instance, way, added)
    if present is not None:
        end = ways[-1].end
        assert end is not None
        if stat.S_ISDIR(end.st_mode) or stat.S_ISREG(end.st_mode):
            mask = ITSELF if stat.S_ISDIR(end.st_mode) else _CONTENT
            number = watch_in(instance, present, mask, os.O_RDONLY | OPEN_FLAGS)
            added.watches.append((number, mask, []))
        else:
            return False  # nothing opens it in passing: it may be a device
    # What happened before all was watched was not told.
    again = _look(missing, present)
    return again is not None and [(w.names, w.folders) for w in again] == [
        (w.names, w.folders) for w in ways
    ]


def _look(missing: list[bytes], present: bytes | None) -> list[_Way] | None:
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


def _watch(instance: int, way: _Way, added: WatchesOfWays) -> None:
    for folder in way.folders:
        names = [name for at, name in way.names if at == folder]
        mask = ITSELF | (_NAMES if names else 0)
        try:
            number = watch_in(instance, folder, mask)
        except PermissionError:
            if names:
                raise
            continue  # moving it takes more than looking into it
        added.watches.append((number, mask, names))


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
