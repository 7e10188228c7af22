"""An open file of a node."""

from contextlib import suppress
from types import TracebackType
from typing import Literal, NamedTuple, Self

from anyio import move_on_after
from anyio.abc import AsyncResource

from execnode.protocol import methods
from execnode.protocol.errors import ProtocolError
from execnode.protocol.files import (
    CloseParams,
    DigestParams,
    DigestResponse,
    OpenArchiveParams,
    OpenParams,
    OpenResponse,
    ReadBlockParams,
    ReadBlockResponse,
    WriteBlockParams,
)
from execnode.protocol.messages import EmptyResponse

from .blocks import BLOCK
from .filecalls import FileCalls, FileLink, NodePath, os_errors, uri_of

__all__ = ["Algorithm", "Digest", "RemoteFile"]

Algorithm = Literal["sha256", "crc32c"]

_CLOSE_SECONDS = 5.0


class Digest(NamedTuple):
    """A digest as `sha256:HEX` or `crc32c:HEX`, and of how many bytes it is."""

    bytes: int
    digest: str


class RemoteFile(AsyncResource):
    """A handle, made by `Files.open`; it belongs to one connection and is lost with it.

    `size`: bytes at the moment of opening, None when the node does not say. As an async context
    manager it is closed when it is left. Every call raises OSError as the node answered, and
    LinkLost when the connection ended.
    """

    def __init__(
        self,
        link: FileLink,
        handle: str,
        path: NodePath,
        size: int | None,
        *,
        atomic: bool = False,
    ) -> None:
        self.size = size
        self._atomic = atomic
        self._link = link
        self._handle = handle
        self._path = path
        self._open = True

    @classmethod
    async def open(
        cls,
        calls: FileCalls,
        path: NodePath,
        mode: Literal["read", "replace", "update"],
        *,
        atomic: bool = False,
    ) -> Self:
        """See `Files.open`."""
        link = await calls.link()
        handle = f"f{calls.new_id()}"
        params = OpenParams(handle, uri_of(path), mode, atomic=atomic)
        with os_errors(path):
            answer = await link.request(methods.FS_OPEN, params, OpenResponse)
        return cls(link, handle, path, answer.size, atomic=atomic)

    @classmethod
    async def open_archive(
        cls, calls: FileCalls, path: NodePath, mode: Literal["read", "extract"]
    ) -> Self:
        """A tree as a tar stream."""
        calls.require("fsArchive", "tar of a tree")
        link = await calls.link()
        handle = f"a{calls.new_id()}"
        params = OpenArchiveParams(handle, uri_of(path), mode)
        with os_errors(path):
            await link.request(methods.FS_OPEN_ARCHIVE, params, OpenResponse)
        return cls(link, handle, path, None)

    async def read(self, offset: int, length: int = BLOCK) -> bytes:
        """At most `length` bytes (at most 1 MiB) from `offset`; fewer only at the end."""
        params = ReadBlockParams(self._handle, offset, length)
        with os_errors(self._path):
            answer = await self._link.request(methods.FS_READ_BLOCK, params, ReadBlockResponse)
        if answer.eof != (len(answer.chunk) < length):
            raise ProtocolError(f"a block of {len(answer.chunk)} bytes, end: {answer.eof}")
        return answer.chunk

    async def write(self, offset: int, data: bytes) -> None:
        """Write 1 byte to 1 MiB at `offset`; a hole before it is zeros."""
        params = WriteBlockParams(self._handle, offset, data)
        with os_errors(self._path):
            await self._link.request(methods.FS_WRITE_BLOCK, params, EmptyResponse)

    async def digest(
        self, algorithm: Algorithm = "sha256", offset: int = 0, length: int | None = None
    ) -> Digest:
        """The digest of a part of the file, computed by the node; None: to its end."""
        params = DigestParams(self._handle, algorithm, offset, length)
        with os_errors(self._path):
            answer = await self._link.request(methods.FS_DIGEST, params, DigestResponse)
        return Digest(answer.total, answer.digest)

    async def aclose(self) -> None:
        """Close it; an atomic file takes its place now. May be repeated."""
        if self._open:
            self._open = False
            with os_errors(self._path):
                params = CloseParams(self._handle)
                await self._link.request(methods.FS_CLOSE, params, EmptyResponse)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is None:
            await self.aclose()
        elif not self._atomic:  # closing would put half a file in its place
            with move_on_after(_CLOSE_SECONDS, shield=True), suppress(OSError, ProtocolError):
                await self.aclose()
