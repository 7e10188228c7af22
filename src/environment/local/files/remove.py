"""fs/remove: by descriptors, so that a folder exchanged for a link leads nowhere else."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import NamedTuple

from execnode.environment.local.files.paths import OPEN_FLAGS, contains_link, os_error, place
from execnode.protocol.errors import INTERNAL_ERROR, RpcError

__all__ = ["remove"]

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | OPEN_FLAGS


def remove(path: bytes, recursive: bool, force: bool, follow: bool) -> None:
    """Remove what is at a path; of a link itself. force: nothing there is no error."""
    if recursive and not follow:
        raise RpcError(INTERNAL_ERROR, "recursive no-follow removal is unsupported")
    with place(path, follow=follow) as (folder, name):
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            if force:
                return
            raise
        if stat.S_ISLNK(status.st_mode) and not follow:
            raise contains_link()
        if os.path.samestat(status, os.stat(b"/")):  # by whatever path
            raise os_error(errno.EBUSY)  # what rmdir(2) says, but before anything below is gone
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=folder)
        else:
            if recursive:
                _empty(folder, name)
            os.rmdir(name, dir_fd=folder)


class _Level(NamedTuple):
    """A folder that is being emptied: who it is, and the folders in it that are still to go."""

    identity: tuple[int, int]
    name: bytes
    folders: list[bytes]


def _empty(above: int | None, name: bytes) -> None:
    """Remove everything in a folder.

    One descriptor is enough for any depth: the way back up is `..`, which has to be the folder that
    it was on the way down.
    """
    at = os.open(name, _OPEN_FOLDER, dir_fd=above)
    try:
        levels = [_Level(_identity(at), name, _unlink_files(at))]
        while True:
            level = levels[-1]
            if level.folders:
                name = level.folders.pop()
                try:
                    below = os.open(name, _OPEN_FOLDER, dir_fd=at)
                except FileNotFoundError:
                    continue  # somebody else removes, too
                os.close(at)
                at = below
                levels.append(_Level(_identity(at), name, _unlink_files(at)))
                continue
            levels.pop()
            if not levels:
                return
            up = os.open(b"..", _OPEN_FOLDER, dir_fd=at)
            os.close(at)
            at = up
            if _identity(at) != levels[-1].identity:
                raise os_error(errno.EBUSY)  # it was moved away while it was being removed
            with suppress(FileNotFoundError):
                os.rmdir(level.name, dir_fd=at)
    finally:
        os.close(at)


def _identity(folder: int) -> tuple[int, int]:
    status = os.fstat(folder)
    return status.st_dev, status.st_ino


def _unlink_files(folder: int) -> list[bytes]:
    """Remove all but the folders in a folder; returns those."""
    folders = []
    with os.scandir(folder) as scan:
        entries = [(os.fsencode(each.name), each.is_dir(follow_symlinks=False)) for each in scan]
    for name, is_folder in entries:
        if is_folder:
            folders.append(name)
        else:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
    return folders
