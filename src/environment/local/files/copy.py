"""fs/copy: files with their modes, links as links, folders into folders."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from typing import Final

from execnode.environment.local.files.names import create_directory, open_folder
from execnode.environment.local.files.paths import (
    OPEN_FLAGS,
    not_a_file,
    open_regular,
    place,
)
from execnode.environment.local.files.whole import write_all
from execnode.protocol.errors import invalid_request

__all__ = ["copy"]

# ioctl_ficlone(2): both files share their blocks until one is changed.
_FICLONE: Final = 0x40049409
_PIECE: Final = 1 << 30
_READ: Final = 1 << 20
# copy_file_range(2) says so of files between which it cannot copy.
_NOT_SO: Final = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM, errno.EBADF}
)


def copy(source: bytes, destination: bytes, recursive: bool) -> None:
    """Copy what is at a path; not what a link there leads to."""
    mode = _lstat(source).st_mode
    if stat.S_ISLNK(mode):
        _copy_link(source, destination)
    elif stat.S_ISREG(mode):
        _copy_file(source, destination)
    elif not stat.S_ISDIR(mode):
        raise invalid_request("fs/copy only supports regular files, directories, and symlinks")
    elif not recursive:
        raise invalid_request("fs/copy requires recursive: true when sourcePath is a directory")
    else:
        _copy_tree(source, destination)


def _lstat(path: bytes) -> os.stat_result:
    with place(path) as (folder, name):
        return os.stat(name, dir_fd=folder, follow_symlinks=False)


def _copy_link(source: bytes, destination: bytes) -> None:
    with place(source) as (folder, name):
        target = os.readlink(name, dir_fd=folder)
    with place(destination) as (folder, name):
        os.symlink(target, name, dir_fd=folder)


def _copy_tree(source: bytes, destination: bytes) -> None:
    real = os.path.realpath(source).rstrip(b"/") + b"/"
    if (os.path.realpath(destination) + b"/").startswith(real):
        raise _into_itself()
    sealed: list[tuple[bytes, int]] = []
    _make_folder(source, destination, sealed, parents=True)
    top = _identity(destination)
    folders = [(source, destination)]
    while folders:
        source, destination = folders.pop()
        for name, kind in _listing(source):
            below, to = source + b"/" + name, destination + b"/" + name
            if stat.S_ISDIR(kind):
                if _identity(below) == top:  # mounted a second time
                    raise _into_itself()
                _make_folder(below, to, sealed)
                folders.append((below, to))
            elif stat.S_ISLNK(kind):
                _copy_link(below, to)
            elif stat.S_ISREG(kind):
                _copy_file(below, to)
    for path, mode in reversed(sealed):
        with place(path) as (folder, name):
            os.chmod(name, mode, dir_fd=folder)


def _into_itself() -> Exception:
    return invalid_request("fs/copy cannot copy a directory to itself or one of its descendants")


def _identity(path: bytes) -> tuple[int, int]:
    with place(path) as (folder, name):
        status = os.stat(name, dir_fd=folder)
    return status.st_dev, status.st_ino


def _listing(path: bytes) -> list[tuple[bytes, int]]:
    """Names of a folder and the types of what they name."""
    at = open_folder(path)
    try:
        return [
            (name, os.stat(name, dir_fd=at, follow_symlinks=False).st_mode)
            for name in map(os.fsencode, os.listdir(at))
        ]
    finally:
        os.close(at)


def _make_folder(
    source: bytes, destination: bytes, sealed: list[tuple[bytes, int]], *, parents: bool = False
) -> None:
    """Make a folder with another's mode, unless there is one.

    sealed: gets those in which nothing could be made, were they given their mode at once.
    """
    mode = stat.S_IMODE(_lstat(source).st_mode)
    with place(destination) as (folder, name):
        try:
            os.mkdir(name, mode | 0o700, dir_fd=folder)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=folder).st_mode):
                raise
            return
        except FileNotFoundError:
            if not parents:
                raise
            create_directory(destination, True, True)
        os.chmod(name, mode | 0o700, dir_fd=folder)
    if mode | 0o700 != mode:
        sealed.append((destination, mode))


def _copy_file(source: bytes, destination: bytes) -> None:
    reader, status = open_regular(source, itself=True)
    try:
        with place(destination) as (folder, name):
            flags = os.O_WRONLY | os.O_CREAT | OPEN_FLAGS
            writer = os.open(name, flags, stat.S_IMODE(status.st_mode) & 0o777, dir_fd=folder)
        try:
            old = os.fstat(writer)
            if (old.st_dev, old.st_ino) == (status.st_dev, status.st_ino):
                raise invalid_request("fs/copy cannot copy a file to itself")
            if not stat.S_ISREG(old.st_mode):
                raise not_a_file(destination)
            os.ftruncate(writer, 0)
            _transfer(reader, writer)
            os.fchmod(writer, stat.S_IMODE(status.st_mode))
        finally:
            os.close(writer)
    finally:
        os.close(reader)


def _transfer(reader: int, writer: int) -> None:
    with suppress(OSError):
        fcntl.ioctl(writer, _FICLONE, reader)
        return
    try:
        while os.copy_file_range(reader, writer, _PIECE):
            pass
    except OSError as error:
        if error.errno not in _NOT_SO:
            raise
    # What is left is all of it between file systems of some kinds, and for pseudo files.
    while data := os.read(reader, _READ):
        write_all(writer, data)
