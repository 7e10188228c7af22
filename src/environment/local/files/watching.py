"""Adding watches to an inotify(7) instance, for fs/watch: what needs the file system of it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import msgspec

from execnode.engine._files import inotify_add
from execnode.environment.local.files.descriptor import Descriptor
from execnode.environment.local.files.paths import OPEN_FLAGS

__all__ = [
    "ATTRIB",
    "CLOSE_WRITE",
    "CREATE",
    "DELETE",
    "DELETE_SELF",
    "IGNORED",
    "IN_FOLDER",
    "IS_FOLDER",
    "ITSELF",
    "MODIFY",
    "MOVED_FROM",
    "MOVED_TO",
    "MOVE_SELF",
    "Watches",
    "watch_in",
    "watch_new",
    "watch_tree",
]

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
IGNORED: Final = 0x8000
_MASK_ADD: Final = 0x20000000
IS_FOLDER: Final = 0x40000000

IN_FOLDER: Final = CREATE | MOVED_TO | MOVED_FROM | DELETE | MODIFY | ATTRIB
"""What is told of what is in a folder."""
ITSELF: Final = DELETE_SELF | MOVE_SELF
"""What is told of a file or folder itself."""

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | OPEN_FLAGS
# With O_DIRECTORY and O_NOFOLLOW, a link is no folder (open(2)).
_GONE: Final = (FileNotFoundError, NotADirectoryError, PermissionError)


class Watches(msgspec.Struct):
    """Watches that were added.

    folders: their numbers and paths; the first is that of the path itself if it is a folder.
    only: the one name in the folder that matters. found: what is in the new folder.
    failed: why no more could be added, an errno, 0 when all could.
    """

    folders: list[tuple[int, bytes]] = []
    only: bytes | None = None
    found: list[bytes] = []
    failed: int = 0


def watch_in(instance: int, path: bytes, mask: int, flags: int = _FOLDER) -> int:
    """Watch what is at a path; returns its number, the same as before if it is watched already.

    What may be watched is what may be opened, also where the kernel restricts only that. Raises
    OSError.
    """
    opened = os.open(path, flags)
    try:
        return inotify_add(instance, b"/proc/self/fd/%d" % opened, mask | _MASK_ADD)
    finally:
        os.close(opened)


def watch_tree(instance: Descriptor, path: bytes, recursive: bool) -> Watches:
    """Watch a folder, with those in it if `recursive`; or a file, through its folder.

    Raises OSError when there is nothing at the path.
    """
    watches = Watches()
    with instance.borrow() as number, _within_limit(watches):
        if not stat.S_ISDIR(os.stat(path).st_mode):
            folder, _, watches.only = path.rpartition(b"/")
            folder = folder or b"/"
            watches.folders.append((watch_in(number, folder, IN_FOLDER), folder))
            return watches
        watches.folders.append((watch_in(number, path, IN_FOLDER | ITSELF), path))
        if recursive:
            _watch_below(number, path, watches, found=None)
    return watches


def watch_new(instance: Descriptor, path: bytes) -> Watches:
    """Watch a folder that has appeared, and what is in it by now."""
    watches = Watches()
    with instance.borrow() as number, _within_limit(watches):
        if _watch_one(number, path, watches):
            _watch_below(number, path, watches, watches.found)
    return watches


@contextmanager
def _within_limit(watches: Watches) -> Iterator[None]:
    """Have those that were added told, so that they can be given back, when there are no more."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        watches.failed = error.errno


def _watch_one(instance: int, path: bytes, watches: Watches) -> bool:
    """Watch a folder, unless it is gone, a link by now, or shut."""
    try:
        number = watch_in(instance, path, IN_FOLDER, _FOLDER | os.O_NOFOLLOW)
    except _GONE:
        return False
    watches.folders.append((number, path))
    return True


def _watch_below(instance: int, path: bytes, watches: Watches, found: list[bytes] | None) -> None:
    """Watch the folders in a folder that is watched; `found` gets all that is in there."""
    folders = [path]
    while folders:
        with suppress(*_GONE):
            with os.scandir(folders.pop()) as scan:
                entries = [(each.path, each.is_dir(follow_symlinks=False)) for each in scan]
            for below, is_folder in entries:
                if found is not None:
                    found.append(below)
                if is_folder and _watch_one(instance, below, watches):
                    folders.append(below)
