"""How a path becomes a descriptor.

A path is taken apart only where it has to be: where it is longer than the kernel takes at once, and
where no link may be followed. Errors are OSError, with the numbers that clients of the dialect know
(a link before the last component is ENOTDIR, as the last component ELOOP).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from execnode.engine._files import AT_FDCWD, RESOLVE_NO_SYMLINKS, openat2
from execnode.protocol.errors import RpcError, invalid_request

__all__ = [
    "OPEN_FLAGS",
    "Place",
    "contains_link",
    "folder_at",
    "folder_below",
    "not_a_file",
    "open_regular",
    "os_error",
    "place",
    "shown",
]

# Nothing opened here may wait for a peer, become a controlling terminal or reach a child.
OPEN_FLAGS: Final = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
# Bytes of a path that are given to the kernel at once; PATH_MAX counts the final NUL.
_PIECE: Final = 4000


class Place(NamedTuple):
    """A name in a folder: what the functions of `os` take as `dir_fd` and path."""

    folder: int | None
    name: bytes


def os_error(number: int) -> OSError:
    """The exception of an errno."""
    return OSError(number, os.strerror(number))


def shown(path: bytes) -> str:
    """A path in a sentence."""
    return path.decode(errors="replace")


def not_a_file(path: bytes) -> RpcError:
    """-32600: only a regular file will do."""
    return invalid_request(f"path `{shown(path)}` is not a file")


def contains_link() -> RpcError:
    """-32600: what fs/getMetadata and fs/remove say of a link that may not be followed."""
    return invalid_request("path contains a symbolic link")


@contextmanager
def place(path: bytes, *, follow: bool = True) -> Iterator[Place]:
    """Where a path leads, all but its last component.

    follow: whether the components before the last may be links. The caller sees to the last one.
    """
    if follow and len(path) <= _PIECE:
        yield Place(None, path)
        return
    parent, _, name = path.rpartition(b"/")
    folder = folder_at(parent or b"/", follow=follow)
    try:
        yield Place(folder, name or b".")
    finally:
        os.close(folder)


def folder_at(path: bytes, *, follow: bool = True) -> int:
    """A descriptor (O_PATH) of a folder, however long its path is."""
    folder = -1
    try:
        for piece in _pieces(path):
            above, folder = folder, _step(folder, piece, follow=follow)
            if above >= 0:
                os.close(above)
    except OSError as error:
        if folder >= 0:
            os.close(folder)
        if error.errno == errno.ELOOP and not follow:
            raise os_error(errno.ENOTDIR) from None
        raise
    return folder


def _step(folder: int, piece: bytes, *, follow: bool) -> int:
    if follow:
        return os.open(piece, _FOLDER, dir_fd=folder if folder >= 0 else None)
    return folder_below(folder if folder >= 0 else AT_FDCWD, piece, _FOLDER)


def folder_below(folder: int, path: bytes, flags: int) -> int:
    """Open a folder by a path that leads through no links. Raises OSError, ELOOP for a link.

    flags: have O_DIRECTORY.
    """
    try:
        return openat2(folder, path, flags, resolve=RESOLVE_NO_SYMLINKS)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
    # An old kernel, or a filter that cannot see what openat2(2) is asked for.
    *above, last = [name for name in path.split(b"/") if name] or [b"."]
    at = os.open(b"/" if path.startswith(b"/") else b".", _FOLDER, dir_fd=folder)
    try:
        for name in above:
            below = _folder_itself(at, name, _FOLDER)
            os.close(at)
            at = below
        return _folder_itself(at, last, flags)
    finally:
        os.close(at)


def _folder_itself(above: int, name: bytes, flags: int) -> int:
    try:
        return os.open(name, flags | os.O_NOFOLLOW, dir_fd=above)
    except NotADirectoryError:
        if stat.S_ISLNK(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
            raise os_error(errno.ELOOP) from None
        raise


def _pieces(path: bytes) -> Iterator[bytes]:
    """The parts of a path, each short enough; all but the first are relative."""
    while len(path) > _PIECE:
        cut = path.rfind(b"/", 1, _PIECE)
        if cut < 0:
            break  # a component that no file system has; the kernel says so
        yield path[:cut]
        path = path[cut:].lstrip(b"/") or b"."
    yield path


def open_regular(
    path: bytes, *, follow: bool = True, itself: bool = False
) -> tuple[int, os.stat_result]:
    """Open a regular file for reading.

    itself: what is at the path, even if it is a link now; those before it may be followed. Nothing
    but a regular file is ever opened: a FIFO's writer would notice, and so would some devices.
    Raises RpcError for a path that leads to something else.
    """
    follow_last = follow and not itself
    with place(path, follow=follow) as (folder, name):
        mode = os.stat(name, dir_fd=folder, follow_symlinks=follow_last).st_mode
        if stat.S_ISLNK(mode):
            raise os_error(errno.ELOOP)
        if not stat.S_ISREG(mode):
            raise not_a_file(path)
        flags = os.O_RDONLY | OPEN_FLAGS | (0 if follow_last else os.O_NOFOLLOW)
        descriptor = os.open(name, flags, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):  # it was exchanged in between
            raise not_a_file(path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status
