"""Whole files: read in one pass, written in one go or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from typing import Final

import msgspec

from execnode.engine import Blob
from execnode.environment.local.files.descriptor import Descriptor, Opened, Temporary
from execnode.environment.local.files.paths import (
    OPEN_FLAGS,
    folder_at,
    not_a_file,
    open_regular,
    os_error,
    place,
)
from execnode.environment.local.files.work import Stop
from execnode.protocol.errors import RpcError, invalid_request

__all__ = [
    "READ_LIMIT",
    "Replacement",
    "begin_replacement",
    "commit_replacement",
    "open_to_read",
    "read_all",
    "write_all",
    "write_file",
]

READ_LIMIT: Final = 536_870_912
# Bytes of one system call: so often a thread that nobody waits for looks up.
_PIECE: Final = 16 << 20
_PSEUDO_PIECE: Final = 1 << 16
# As many as the kernel follows.
_LINKS: Final = 40


def _too_large() -> RpcError:
    return invalid_request(f"file is too large to read: limit is {READ_LIMIT} bytes")


def open_to_read(path: bytes, follow: bool) -> Opened:
    """Open a regular file of a size that may be read."""
    number, status = open_regular(path, follow=follow)
    file = Descriptor(number)
    if status.st_size > READ_LIMIT:
        file.close()
        raise _too_large()
    return Opened(file, status.st_size)


def read_all(stop: Stop, file: Descriptor, size: int) -> Blob:
    """All bytes of a file that has about this size.

    It may have grown or shrunk, and pseudo files say 0 of all sizes: the end is where it is found.
    """
    blob = Blob(size)
    with file.borrow() as descriptor:
        got = _fill(stop, descriptor, blob)
        more = _rest(stop, descriptor, got) if got == size else b""
    if not more:
        blob.truncate(got)
        return blob
    longer = Blob(got + len(more))
    with memoryview(longer) as to, memoryview(blob) as from_:
        to[:got] = from_[:got]
        to[got:] = more
    return longer


def _fill(stop: Stop, descriptor: int, blob: Blob) -> int:
    got = 0
    with memoryview(blob) as view:
        while got < len(view):
            count = os.readv(descriptor, [view[got : got + _PIECE]])
            if not count:
                break
            got += count
            stop.check()
    return got


def _rest(stop: Stop, descriptor: int, got: int) -> bytearray:
    """What comes after the size that the file was said to have."""
    more = bytearray()
    while data := os.read(descriptor, _PSEUDO_PIECE):
        more += data
        if got + len(more) > READ_LIMIT:
            raise _too_large()
        stop.check()
    return more


def write_all(
    descriptor: int, data: bytes | bytearray | memoryview, offset: int | None = None
) -> None:
    """Write all of it, at the file's own position or at `offset`; less is an error."""
    with memoryview(data) as view:
        done = 0
        while done < len(view):
            piece = view[done : done + _PIECE]
            if offset is None:
                count = os.write(descriptor, piece)
            else:
                count = os.pwrite(descriptor, piece, offset + done)
            if not count:
                raise os_error(errno.EIO)
            done += count


def write_file(path: bytes, data: bytes, follow: bool, atomic: bool) -> None:
    """Create or empty a file and write it, or replace it by a whole new one."""
    if atomic:
        new = begin_replacement(path, follow)
        try:
            with new.file.borrow() as descriptor:
                write_all(descriptor, data)
            new.file.close()
            commit_replacement(new.place, new.name)
        finally:
            new.abort()
        return
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | OPEN_FLAGS | (0 if follow else os.O_NOFOLLOW)
    with place(path, follow=follow) as (folder, name):
        descriptor = os.open(name, flags, 0o666, dir_fd=folder)
    try:
        write_all(descriptor, data)
    finally:
        os.close(descriptor)  # some file systems tell only now that there was no room


class Replacement(msgspec.Struct):
    """A new file, and the place beside that of `name` where it is until it takes that."""

    file: Descriptor
    place: Temporary
    name: bytes

    def abort(self) -> None:
        """Leave everything as it was; nothing once it has taken the place."""
        self.file.close()
        self.place.remove()


def begin_replacement(path: bytes, follow: bool) -> Replacement:
    """Make a new file that is to replace another, or to be the first one.

    It is made with the old one's mode and, where that is allowed, owner; without an old one as any
    new file. A link is followed to the file that is replaced. Raises OSError, also where the old
    file may not be written to, and RpcError where something else than a file is in the way.
    """
    if follow:
        path = _target(path)
    parent, _, name = path.rpartition(b"/")
    if not name:
        raise os_error(errno.EISDIR)
    temporary = b".%s.%s" % (name[:200], secrets.token_hex(6).encode())
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | OPEN_FLAGS
    at = folder_at(parent or b"/", follow=follow)
    try:
        old = _to_replace(path, at, name)
        number = os.open(temporary, flags, 0o666, dir_fd=at)
    except BaseException:
        os.close(at)
        raise
    new = Replacement(Descriptor(number), Temporary(Descriptor(at), temporary), name)
    try:
        if old is not None:
            if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                with suppress(PermissionError):
                    os.fchown(number, old.st_uid, old.st_gid)
            os.fchmod(number, stat.S_IMODE(old.st_mode))
    except BaseException:
        new.abort()
        raise
    return new


def _to_replace(path: bytes, folder: int, name: bytes) -> os.stat_result | None:
    """The file in whose place another comes, which has to be one that may be written to."""
    try:
        status = os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise os_error(errno.EISDIR)
    if stat.S_ISLNK(status.st_mode):
        raise os_error(errno.ELOOP)
    if not stat.S_ISREG(status.st_mode):
        raise not_a_file(path)
    os.close(os.open(name, os.O_WRONLY | os.O_NOFOLLOW | OPEN_FLAGS, dir_fd=folder))
    return status


def commit_replacement(new: Temporary, name: bytes) -> None:
    """Let a new file take the place of `name`, with all that was written."""
    with new.folder.borrow() as folder:
        os.rename(new.name, name, src_dir_fd=folder, dst_dir_fd=folder)
    new.keep()


def _target(path: bytes) -> bytes:
    """Where the links at a path lead; nothing need be there."""
    for _ in range(_LINKS):
        with place(path) as (folder, name):
            try:
                target = os.readlink(name, dir_fd=folder)
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.ENOENT):  # no link, or nothing
                    return path
                raise
        path = target if target.startswith(b"/") else path.rpartition(b"/")[0] + b"/" + target
    raise os_error(errno.ELOOP)
