"""Folders and names: making, describing, finding and listing them."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from typing import Final

from execnode.engine._files import AT_FDCWD, birth_ns
from execnode.environment.local.files.paths import OPEN_FLAGS, contains_link, os_error, place
from execnode.environment.local.files.work import Stop
from execnode.protocol.files import DirectoryEntry, GetMetadataResponse
from execnode.protocol.uri import format_path_uri

__all__ = ["canonicalize", "create_directory", "metadata", "open_folder", "read_directory"]


_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def create_directory(path: bytes, recursive: bool, follow: bool) -> None:
    """Make a folder; recursive: also those above it, and it may exist already."""
    if not recursive:
        with place(path, follow=follow) as (folder, name):
            os.mkdir(name, dir_fd=folder)
        return
    *above, last = [name for name in path.split(b"/") if name] or [b"."]
    at = os.open(b"/", _FOLDER)
    try:
        for name in above:
            below = _below(at, name, follow=follow)
            os.close(at)
            at = below
        try:
            os.close(_below(at, last, follow=follow))
        except NotADirectoryError:
            if not follow:
                raise
            raise os_error(errno.EEXIST) from None
    finally:
        os.close(at)


def _below(folder: int, name: bytes, *, follow: bool) -> int:
    """The folder of this name in another; it is made if it is missing."""
    flags = _FOLDER | (0 if follow else os.O_NOFOLLOW)
    try:
        return os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        with suppress(FileExistsError):  # somebody else was quicker, or it is a link
            os.mkdir(name, dir_fd=folder)
    try:
        return os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        raise os_error(errno.EEXIST) from None  # a link that leads nowhere


def metadata(path: bytes, follow: bool) -> GetMetadataResponse:
    """What is at a path."""
    with place(path, follow=follow) as (folder, name):
        own = os.stat(name, dir_fd=folder, follow_symlinks=False)
        is_link = stat.S_ISLNK(own.st_mode)
        if is_link and not follow:
            raise contains_link()
        status = os.stat(name, dir_fd=folder) if is_link else own
        born = birth_ns(AT_FDCWD if folder is None else folder, name, follow=follow)
    return GetMetadataResponse(
        stat.S_ISDIR(status.st_mode),
        stat.S_ISREG(status.st_mode),
        is_link,
        status.st_size,
        0 if born is None else born // 1_000_000,
        status.st_mtime_ns // 1_000_000,
    )


def canonicalize(path: bytes) -> bytes:
    """The path without links. Raises OSError where nothing is."""
    return os.path.realpath(path, strict=True)


def open_folder(path: bytes, *, itself: bool = False) -> int:
    """A descriptor of a folder that can be listed; itself: not if there is a link to it now."""
    flags = os.O_RDONLY | os.O_DIRECTORY | OPEN_FLAGS | (os.O_NOFOLLOW if itself else 0)
    with place(path) as (folder, name):
        return os.open(name, flags, dir_fd=folder)


def read_directory(stop: Stop, path: bytes) -> list[DirectoryEntry]:
    """Every entry, whatever its name is and wherever it leads."""
    folder = open_folder(path)
    try:
        entries = []
        with os.scandir(folder) as scan:
            for entry in scan:
                entries.append(_described(entry, path))
                stop.check()
        return entries
    finally:
        os.close(folder)


def _described(entry: os.DirEntry[str], above: bytes) -> DirectoryEntry:
    try:
        is_folder, is_file = entry.is_dir(), entry.is_file()
    except OSError:  # a link that leads nowhere, in a circle, or where we may not look
        is_folder = is_file = False
    if entry.name.isprintable():  # so it has no byte that is not part of a character
        return DirectoryEntry(entry.name, is_folder, is_file)
    name = os.fsencode(entry.name)
    text = name.decode(errors="replace")
    if text == entry.name:
        return DirectoryEntry(text, is_folder, is_file)
    return DirectoryEntry(
        text, is_folder, is_file, format_path_uri(above.rstrip(b"/") + b"/" + name)
    )
