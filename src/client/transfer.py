"""Whole files between a node and this machine, going on where a broken link left them.

Blocks of 1 MiB, a few under way at once. What arrived is proved by a SHA-256 that the node computes
itself, where it can.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, NamedTuple

from anyio.to_thread import run_sync

from .blocks import BLOCK, in_order
from .errors import IntegrityError, LinkLost
from .file import RemoteFile
from .filecalls import FileCalls, NodePath

__all__ = ["Transfer", "download", "upload"]


class Transfer(NamedTuple):
    """What is on both sides now.

    `bytes` of it came over the wire in this call, the others were there. `digest`: `sha256:HEX` of
    all, compared with the node's own; None where the node has no fs/digest.
    """

    size: int
    bytes: int
    digest: str | None


async def download(
    calls: FileCalls,
    remote: NodePath,
    local: Path,
    *,
    offset: int,
    length: int | None,
    resume: bool,
) -> Transfer:
    """See `Files.download`."""
    digest = None
    with await run_sync(_open_local, local, resume) as file:
        start = os.fstat(file.fileno()).st_size
        while True:
            have = os.fstat(file.fileno()).st_size
            try:
                async with await RemoteFile.open(calls, remote, "read") as source:
                    have = await _fetch(source, file, offset, have, length)
                    if calls.offers("fsDigest"):
                        digest = (await source.digest("sha256", offset, have)).digest
                break
            except LinkLost:
                continue
    if digest is not None and await run_sync(_digest, local) != digest:
        raise IntegrityError(f"{local} has not the SHA-256 that the node computed of {remote!r}")
    return Transfer(have, have - start, digest)


async def _fetch(
    source: RemoteFile, file: IO[bytes], offset: int, have: int, length: int | None
) -> int:
    """Append what is missing to the local file; returns its size then."""
    end = None if length is None else offset + length
    position = offset + have

    def blocks() -> Iterator[tuple[int, int]]:
        at = position
        while end is None or at < end:
            size = BLOCK if end is None else min(BLOCK, end - at)
            yield at, size
            at += size

    async def read(block: tuple[int, int]) -> tuple[bytes, int]:
        return await source.read(*block), block[1]

    async def append(result: tuple[bytes, int]) -> bool:
        nonlocal have
        data, asked = result
        await run_sync(file.write, data)
        have += len(data)
        return len(data) == asked

    await in_order(blocks(), read, append)
    return have


async def upload(
    calls: FileCalls, local: Path, remote: NodePath, *, resume: bool, atomic: bool
) -> Transfer:
    """See `Files.upload`."""
    keeps = calls.offers("fsUpdate") and not atomic
    with await run_sync(local.open, "rb") as file:
        source = _Source(file, os.fstat(file.fileno()).st_size)
        if resume and keeps:
            source.done = await _in_common(calls, local, remote, source.size)
        start = source.done
        while True:
            mode: Literal["update", "replace"] = "update" if source.done else "replace"
            try:
                async with await RemoteFile.open(calls, remote, mode, atomic=atomic) as sink:
                    await source.send(sink)
                break
            except LinkLost:
                if not keeps:
                    source.done = 0
    digest = None
    if calls.offers("fsDigest"):
        digest = await run_sync(_digest, local)
        async with await RemoteFile.open(calls, remote, "read") as written:
            told = await written.digest("sha256")
        if (told.bytes, told.digest) != (source.size, digest):
            raise IntegrityError(f"what the node has at {remote!r} is not what {local} has")
    return Transfer(source.size, source.size - start, digest)


class _Source:
    """A local file on its way; the node has its first `done` bytes."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.size = size
        self.done = 0
        self._file = file

    async def send(self, sink: RemoteFile) -> None:
        """Send what is not done."""

        async def write(offset: int) -> int:
            length = min(BLOCK, self.size - offset)
            data = await run_sync(os.pread, self._file.fileno(), length, offset)
            if len(data) < length:
                raise IntegrityError("the local file has become shorter on the way")
            await sink.write(offset, data)
            return offset + length

        async def note(done: int) -> bool:
            self.done = done
            return True

        await in_order(iter(range(self.done, self.size, BLOCK)), write, note)


async def _in_common(calls: FileCalls, local: Path, remote: NodePath, size: int) -> int:
    """How many bytes the node has of the file already: all of what is there, or none."""
    if not calls.offers("fsDigest"):
        return 0
    try:
        async with await RemoteFile.open(calls, remote, "read") as there:
            told = await there.digest("sha256")
    except (FileNotFoundError, LinkLost):
        return 0
    if told.bytes > size or await run_sync(_digest, local, told.bytes) != told.digest:
        return 0
    return told.bytes


def _open_local(path: Path, resume: bool) -> IO[bytes]:
    return path.open("ab" if resume else "wb", buffering=0)


def _digest(path: Path, length: int | None = None) -> str:
    """`sha256:HEX` of the first bytes of a file, or of all."""
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while length is None or length > 0:
            data = file.read(BLOCK if length is None else min(BLOCK, length))
            if not data:
                break
            sha256.update(data)
            if length is not None:
                length -= len(data)
    return f"sha256:{sha256.hexdigest()}"
