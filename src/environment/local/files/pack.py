"""From a tree to a tar stream (pax interchange format, POSIX.1-2008 pax)."""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from typing import Any, Final

from execnode.environment.local.files.descriptor import Descriptor
from execnode.environment.local.files.names import open_folder
from execnode.environment.local.files.paths import open_regular, place, shown
from execnode.environment.local.files.whole import write_all
from execnode.environment.local.files.work import Stop
from execnode.protocol.errors import INTERNAL_ERROR, RpcError, file_error

__all__ = ["pack", "require_source"]

_BLOCK: Final = 1 << 18


class _Out:
    """What tarfile writes to."""

    def __init__(self, stop: Stop, descriptor: int) -> None:
        self._stop = stop
        self._descriptor = descriptor

    def write(self, data: bytes) -> int:
        self._stop.check()
        try:
            write_all(self._descriptor, data)
        except BrokenPipeError:
            self._stop.ask()
            self._stop.check()
        return len(data)


def require_source(path: bytes) -> None:
    """Raise OSError when there is nothing to be packed."""
    os.stat(path)


def pack(stop: Stop, out: Descriptor, path: bytes) -> None:
    """Write a file as its name, or a folder's members by their names in it.

    Links are members as they are, files with several names are packed once, and what is neither
    file, folder nor link is left out. Raises RpcError that names what could not be packed.
    """
    with out.borrow() as descriptor:
        _pack(stop, descriptor, path)


def _pack(stop: Stop, out: int, path: bytes) -> None:
    sink: Any = _Out(stop, out)  # tarfile needs nothing but write
    with tarfile.open(
        mode="w|",
        fileobj=sink,
        format=tarfile.PAX_FORMAT,
        encoding="utf-8",
        errors="surrogateescape",
        bufsize=_BLOCK,
    ) as tar:
        tar.copybufsize = _BLOCK  # type: ignore[attr-defined]  # typeshed lacks it
        names: dict[tuple[int, int], str] = {}
        for member, full in _tree(path):
            stop.check()
            with _named(full), suppress(FileNotFoundError):  # it is gone by now
                _add(tar, member, full, names)
            tar.members.clear()  # type: ignore[attr-defined]  # it would remember all of them


@contextmanager
def _named(path: bytes) -> Iterator[None]:
    """Say in errors what could not be packed."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # tarfile's, of a file that has shrunk
            raise RpcError(INTERNAL_ERROR, f"{error}: {shown(path)}") from None
        answer = file_error(error.errno)
        raise RpcError(answer.code, f"{answer.message}: {shown(path)}") from None


def _tree(path: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names of members and their paths, each folder before what is in it, and that at once.

    Other programs give a folder its time when the first member outside of it comes.
    """
    if not os.path.isdir(path):
        yield path.rpartition(b"/")[2], path
        return
    top = path.rstrip(b"/")
    waiting = _entries(top, b"", itself=False)
    while waiting:
        member, is_folder = waiting.pop()
        yield member, top + b"/" + member
        if is_folder:
            waiting += _entries(top, member + b"/", itself=True)


def _entries(top: bytes, above: bytes, *, itself: bool) -> list[tuple[bytes, bool]]:
    """The members in a folder and whether they are folders, the last one first."""
    path = top + b"/" + above.rstrip(b"/")
    with _named(path):
        folder = open_folder(path, itself=itself)
        try:
            with os.scandir(folder) as scan:
                found = [
                    (above + os.fsencode(each.name), each.is_dir(follow_symlinks=False))
                    for each in scan
                ]
        finally:
            os.close(folder)
    return sorted(found, reverse=True)


def _add(
    tar: tarfile.TarFile, member: bytes, full: bytes, names: dict[tuple[int, int], str]
) -> None:
    with place(full) as (folder, name):
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(status.st_mode):
            info = _info(member, status, tarfile.SYMTYPE)
            info.linkname = _text(os.readlink(name, dir_fd=folder))
            tar.addfile(info)
            return
    if stat.S_ISDIR(status.st_mode):
        tar.addfile(_info(member, status, tarfile.DIRTYPE))
    elif stat.S_ISREG(status.st_mode):
        _add_file(tar, member, full, names)


def _add_file(
    tar: tarfile.TarFile, member: bytes, full: bytes, names: dict[tuple[int, int], str]
) -> None:
    descriptor, status = open_regular(full, itself=True)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        info = _info(member, status, tarfile.REGTYPE)
        identity = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and identity in names:
            info.type, info.linkname = tarfile.LNKTYPE, names[identity]
            tar.addfile(info)
            return
        info.size = status.st_size
        tar.addfile(info, file)
        if status.st_nlink > 1:
            names[identity] = info.name


def _info(member: bytes, status: os.stat_result, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(_text(member))
    info.type = kind
    info.mode = stat.S_IMODE(status.st_mode)
    info.uid, info.gid = status.st_uid, status.st_gid
    # As text: a float cannot hold nanoseconds.
    info.pax_headers = {"mtime": format(Decimal(status.st_mtime_ns).scaleb(-9), "f")}
    return info


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")
