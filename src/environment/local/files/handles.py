"""Open files: what is behind a handle of fs/open."""

from __future__ import annotations

import errno
import hashlib
import os
from typing import Final, Literal, Protocol, TypeAlias

from execnode.engine._files import crc32c
from execnode.environment.local.files.descriptor import Descriptor
from execnode.environment.local.files.opening import open_to_change, open_to_look
from execnode.environment.local.files.paths import os_error
from execnode.environment.local.files.whole import (
    Replacement,
    begin_replacement,
    commit_replacement,
    write_all,
)
from execnode.environment.local.files.work import Stop
from execnode.environment.local.files.worker import Hands, Worker
from execnode.protocol.errors import file_error, invalid_request
from execnode.protocol.files import DigestResponse

__all__ = ["BLOCK_LIMIT", "Handle", "OpenFile", "check_block"]

BLOCK_LIMIT: Final = 1 << 20
_END: Final = 2**63 - 1

Mode: TypeAlias = Literal["read", "replace", "update"]


def check_block(verb: Literal["read", "write"], length: int) -> None:
    """Raise RpcError for a block that is too small or too large."""
    if not 1 <= length <= BLOCK_LIMIT:
        raise invalid_request(f"file {verb} block length must be between 1 and {BLOCK_LIMIT}")


class Handle(Protocol):
    """What a handle can do.

    Methods raise RpcError for what they refuse; Failure and OSError for what has failed, and then
    the handle has to be aborted.
    """

    sequential: bool
    """Whether blocks have to follow one another."""

    async def open(self) -> None:
        """Begin."""

    async def read(self, offset: int, length: int) -> tuple[bytes, bool]:
        """A block, and whether it is shorter than asked since the end was met."""

    async def write(self, offset: int, chunk: bytes) -> None:
        """Write a whole block."""

    async def digest(self, algorithm: str, offset: int, length: int | None) -> DigestResponse:
        """A digest of what is there."""

    async def finish(self) -> None:
        """End it, and do what was put off until now."""

    def abort(self) -> None:
        """End it without waiting, as if it had never been opened."""


class OpenFile:
    """A file that is read or written at offsets.

    hands: open it, and put it in its place in the end. What lies between needs the descriptor only.
    """

    sequential = False

    def __init__(
        self, worker: Worker, hands: Hands, path: bytes, mode: Mode, *, atomic: bool
    ) -> None:
        self.size = 0
        self._worker = worker
        self._hands = hands
        self._path = path
        self._mode = mode
        self._opened: Descriptor | None = None
        self._replacement: Replacement | None = None
        if atomic and mode != "replace":
            raise invalid_request("fs/open can be atomic only with mode `replace`")
        self._atomic = atomic

    async def open(self) -> None:
        """See Handle."""
        if self._atomic:
            new = await self._hands.change(begin_replacement, self._path, True)
            self._replacement, self._opened = new, new.file
            return
        if self._mode == "read":
            opened = await self._hands.change(open_to_look, self._path)
        else:
            opened = await self._hands.change(open_to_change, self._path, self._mode == "replace")
        self._opened, self.size = opened.file, opened.size

    @property
    def _file(self) -> Descriptor:
        if self._opened is None:
            raise os_error(errno.EBADF)
        return self._opened

    async def read(self, offset: int, length: int) -> tuple[bytes, bool]:
        """See Handle."""
        if self._mode != "read":
            raise os_error(errno.EBADF)
        chunk = await self._worker.look(_read_block, self._file, offset, length)
        return chunk, len(chunk) < length

    async def write(self, offset: int, chunk: bytes) -> None:
        """See Handle."""
        if self._mode == "read":
            raise file_error(errno.EBADF)
        if offset + len(chunk) > _END:
            raise invalid_request("file write range exceeds the signed 64-bit file offset limit")
        await self._worker.change(_write_block, self._file, offset, chunk)

    async def digest(self, algorithm: str, offset: int, length: int | None) -> DigestResponse:
        """See Handle."""
        return await self._worker.look(_digest, self._file, algorithm, offset, length)

    async def finish(self) -> None:
        """See Handle."""
        self._file.close()
        new, self._replacement = self._replacement, None
        if new is not None:
            try:
                await self._hands.change(commit_replacement, new.place, new.name)
                new.place.keep()
            finally:
                new.place.remove()

    def abort(self) -> None:
        """See Handle."""
        if self._opened is not None:
            self._opened.close()
        new, self._replacement = self._replacement, None
        if new is not None:
            new.abort()


def _read_block(stop: Stop, file: Descriptor, offset: int, length: int) -> bytes:
    with file.borrow() as descriptor:
        chunk = os.pread(descriptor, length, offset)
        while chunk and len(chunk) < length:
            stop.check()
            more = os.pread(descriptor, length - len(chunk), offset + len(chunk))
            if not more:
                break
            chunk += more
    return chunk


def _write_block(file: Descriptor, offset: int, chunk: bytes) -> None:
    with file.borrow() as descriptor:
        write_all(descriptor, chunk, offset)


def _digest(
    stop: Stop, file: Descriptor, algorithm: str, offset: int, length: int | None
) -> DigestResponse:
    end = _END if length is None else min(offset + length, _END)
    start, crc, sha256 = offset, 0, hashlib.sha256()
    buffer = bytearray(BLOCK_LIMIT)
    with file.borrow() as descriptor, memoryview(buffer) as view:
        while offset < end:
            count = os.preadv(descriptor, [view[: min(BLOCK_LIMIT, end - offset)]], offset)
            if not count:
                break
            if algorithm == "crc32c":
                crc = crc32c(view[:count], crc)
            else:
                sha256.update(view[:count])
            offset += count
            stop.check()
    value = f"{crc:08x}" if algorithm == "crc32c" else sha256.hexdigest()
    return DigestResponse(offset - start, f"{algorithm}:{value}")
