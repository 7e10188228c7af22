"""From a tar stream to a tree, which nothing in the stream can lead out of.

Theory of operation. Members are made by descriptors: the folder of each is reached from the root
through no links, by names without `..`, so neither an earlier member nor what was there before can
lead elsewhere. Links are not followed here, but whoever comes later will; so a link's
target has to be relative, with `..` only at its beginning and no more of them than there are
folders above it. Then every link ends inside, by induction, whatever the others do.
"""

from __future__ import annotations

import errno
import os
import stat
import tarfile
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Self

from execnode.environment.local.files.descriptor import Descriptor
from execnode.environment.local.files.names import create_directory
from execnode.environment.local.files.paths import OPEN_FLAGS, folder_at, folder_below, shown
from execnode.environment.local.files.whole import write_all
from execnode.environment.local.files.work import Stop
from execnode.protocol.errors import RpcError, file_error, invalid_request

__all__ = ["extract", "open_destination"]

_BLOCK: Final = 1 << 18
# Headers that tarfile reads whole into memory, and the most that names and links need.
_EXTENDED: Final = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_EXTENDED_MAX: Final = 1 << 20
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | OPEN_FLAGS


class _Member(tarfile.TarInfo):
    """A header that remembers the archive's end, so that a cut stream is not taken for a whole."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # typeshed lacks it
            tar.ended = True  # type: ignore[attr-defined]
            raise

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENDED and self.size > _EXTENDED_MAX:
            raise tarfile.ReadError(f"an extended header of {self.size} bytes")
        return super()._proc_member(tar)  # type: ignore[misc,no-any-return]  # typeshed lacks it


class _In:
    """What tarfile reads from."""

    def __init__(self, stop: Stop, descriptor: int) -> None:
        self._stop = stop
        self._descriptor = descriptor

    def read(self, size: int) -> bytes:
        parts = []
        while size and (data := os.read(self._descriptor, size)):
            parts.append(data)
            size -= len(data)
            self._stop.check()
        self._stop.check()  # the end of a stream that was given up is none
        return b"".join(parts)


def open_destination(path: bytes) -> Descriptor:
    """Open the folder to unpack in; it is made unless it is there."""
    try:
        return Descriptor(folder_at(path))
    except FileNotFoundError:
        create_directory(path, False, True)
    return Descriptor(folder_at(path))


def extract(stop: Stop, stream: Descriptor, folder: Descriptor) -> None:
    """Unpack a stream to its end below a folder.

    Raises RpcError that names the member which was refused or failed; those before it stay.
    """
    with stream.borrow() as source, folder.borrow() as root:
        _extract(stop, source, root)


def _extract(stop: Stop, stream: int, root: int) -> None:
    source: Any = _In(stop, stream)  # tarfile needs nothing but read
    try:
        with tarfile.open(
            mode="r|",
            fileobj=source,
            tarinfo=_Member,
            encoding="utf-8",
            errors="surrogateescape",
            bufsize=_BLOCK,
        ) as tar:
            folders: list[tuple[bytes, tarfile.TarInfo]] = []
            while (member := tar.next()) is not None:
                _unpack(tar, root, member, folders)
                tar.members.clear()  # type: ignore[attr-defined]  # it would remember all of them
            ended = getattr(tar, "ended", False)
    except tarfile.TarError as error:
        raise invalid_request(f"not a whole tar stream: {error}") from None
    if not ended:
        raise invalid_request("not a whole tar stream: it ends without the mark of an end")
    while source.read(_BLOCK):
        pass  # the padding of the last record
    for name, member in reversed(folders):
        _seal(root, name, member)


def _unpack(
    tar: tarfile.TarFile,
    root: int,
    member: tarfile.TarInfo,
    folders: list[tuple[bytes, tarfile.TarInfo]],
) -> None:
    try:
        name = _inside(member.name)
        if not name:
            if not member.isdir():
                raise ValueError("it has no name")
            return
        parent, _, last = name.rpartition(b"/")
        folder = _folder(root, parent)
        try:
            if member.isdir():
                _make_folder(folder, last)
                folders.append((name, member))
            elif member.issym():
                _make_link(folder, last, member, parent)
            elif member.islnk():
                _make_name(root, folder, last, member)
            elif member.isreg():
                _make_file(tar, folder, last, member)
            else:
                raise ValueError("only files, folders and links are unpacked")
        finally:
            os.close(folder)
    except ValueError as error:
        raise invalid_request(f"archive member `{_shown(member)}` is refused: {error}") from None
    except OSError as error:
        if error.errno is None:
            raise
        answer = file_error(error.errno)
        raise RpcError(answer.code, f"{answer.message}: {_shown(member)}") from None


def _shown(member: tarfile.TarInfo) -> str:
    return shown(member.name.encode(errors="surrogateescape"))


def _inside(text: str) -> bytes:
    """A member's name without empty parts. Raises ValueError for one that leads out."""
    name = text.encode(errors="surrogateescape")
    if name.startswith(b"/"):
        raise ValueError("its name is absolute")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise ValueError("its name contains `..`")
    if b"\0" in name:
        raise ValueError("its name contains a NUL")
    return b"/".join(parts)


def _folder(root: int, path: bytes) -> int:
    """The folder of a member; those on the way that are missing are made."""
    try:
        return folder_below(root, path or b".", _FOLDER)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENAMETOOLONG):
            raise
    folder = os.dup(root)
    try:
        for name in path.split(b"/"):
            with suppress(FileExistsError):
                os.mkdir(name, 0o777, dir_fd=folder)
            below = folder_below(folder, name, _FOLDER)
            os.close(folder)
            folder = below
    except BaseException:
        os.close(folder)
        raise
    return folder


def _make_folder(folder: int, name: bytes) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=folder)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise


def _make_link(folder: int, name: bytes, member: tarfile.TarInfo, parent: bytes) -> None:
    target = member.linkname.encode(errors="surrogateescape")
    parts = [part for part in target.split(b"/") if part not in (b"", b".")]
    ups = 0
    while ups < len(parts) and parts[ups] == b"..":
        ups += 1
    depth = len(parent.split(b"/")) if parent else 0
    if target.startswith(b"/") or ups > depth:
        raise ValueError(f"it is a link that leads out, to {shown(target)}")
    if b".." in parts[ups:]:
        raise ValueError(f"it is a link that may lead out, to {shown(target)}")
    _clear(folder, name)
    os.symlink(target, name, dir_fd=folder)
    os.utime(name, ns=_times(member), dir_fd=folder, follow_symlinks=False)


def _make_name(root: int, folder: int, name: bytes, member: tarfile.TarInfo) -> None:
    """Another name for a file that came earlier."""
    above, _, old = _inside(member.linkname).rpartition(b"/")
    source = folder_below(root, above or b".", _FOLDER)
    try:
        status = os.stat(old, dir_fd=source, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is another name of what is no file")
        with suppress(FileNotFoundError):
            there = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if (there.st_dev, there.st_ino) == (status.st_dev, status.st_ino):
                return
        _clear(folder, name)
        os.link(old, name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
    finally:
        os.close(source)


def _make_file(tar: tarfile.TarFile, folder: int, name: bytes, member: tarfile.TarInfo) -> None:
    _clear(folder, name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | OPEN_FLAGS
    descriptor = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        content = tar.extractfile(member)
        assert content is not None  # it is a file
        left = member.size
        while left:
            data = content.read(min(left, _BLOCK))
            if not data:
                raise tarfile.ReadError(f"{_shown(member)} is cut short")
            write_all(descriptor, data)
            left -= len(data)
        os.fchmod(descriptor, member.mode & 0o777)
        os.utime(descriptor, ns=_times(member))
    finally:
        os.close(descriptor)


def _clear(folder: int, name: bytes) -> None:
    """Make room for a member; what has another name elsewhere is not written to."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _seal(root: int, name: bytes, member: tarfile.TarInfo) -> None:
    """Give a folder its mode and time, when all that is in it has been made."""
    with suppress(FileNotFoundError):
        folder = folder_below(root, name, _FOLDER)
        try:
            os.utime(folder, ns=_times(member))
            os.fchmod(folder, member.mode & 0o777)
        finally:
            os.close(folder)


def _times(member: tarfile.TarInfo) -> tuple[int, int]:
    """Access and modification in nanoseconds; a float cannot hold them."""
    text = member.pax_headers.get("mtime")
    try:
        value = Decimal(str(member.mtime) if text is None else text)
        time = int(value.scaleb(9)) if value.adjusted() < 10 else 2**63
    except (InvalidOperation, ValueError, OverflowError):
        raise ValueError("its time is no number") from None
    if not -(2**63) <= time < 2**63:
        raise ValueError("its time is out of range")
    return time, time
