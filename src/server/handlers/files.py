"""`fs/*`: the files service, seen from a connection."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from execnode.protocol.files import (
    CanonicalizeParams,
    CanonicalizeResponse,
    CloseParams,
    CopyParams,
    CreateDirectoryParams,
    DigestParams,
    DigestResponse,
    FileResponse,
    GetMetadataParams,
    GetMetadataResponse,
    OpenArchiveParams,
    OpenParams,
    OpenResponse,
    ReadBlockParams,
    ReadBlockResponse,
    ReadDirectoryParams,
    ReadDirectoryResponse,
    ReadFileParams,
    ReadFileResponse,
    RemoveParams,
    UnwatchParams,
    WalkParams,
    WalkResponse,
    WatchMissingParams,
    WatchMissingResponse,
    WatchParams,
    WriteBlockParams,
    WriteFileParams,
)
from execnode.protocol.messages import EmptyResponse

if TYPE_CHECKING:
    from execnode.server.connection import Connection


async def read_file(connection: Connection, params: ReadFileParams) -> ReadFileResponse:
    """All of a file. It may be large: one at a time, and when the peer has taken the one before."""
    async with connection.one_large:
        await connection.drained()
        return await connection.node.files.read_file(params)


def write_file(connection: Connection, params: WriteFileParams) -> Awaitable[FileResponse]:
    """All of a file, new."""
    return connection.node.files.write_file(params)


def create_directory(
    connection: Connection, params: CreateDirectoryParams
) -> Awaitable[FileResponse]:
    """A folder."""
    return connection.node.files.create_directory(params)


def get_metadata(
    connection: Connection, params: GetMetadataParams
) -> Awaitable[GetMetadataResponse]:
    """What is at a path."""
    return connection.node.files.get_metadata(params)


def canonicalize(
    connection: Connection, params: CanonicalizeParams
) -> Awaitable[CanonicalizeResponse]:
    """A path without links."""
    return connection.node.files.canonicalize(params)


def read_directory(
    connection: Connection, params: ReadDirectoryParams
) -> Awaitable[ReadDirectoryResponse]:
    """The entries of a folder."""
    return connection.node.files.read_directory(params)


def walk(connection: Connection, params: WalkParams) -> Awaitable[WalkResponse]:
    """The entries of a tree."""
    return connection.node.files.walk(params)


def remove(connection: Connection, params: RemoveParams) -> Awaitable[FileResponse]:
    """The end of a file or tree."""
    return connection.node.files.remove(params)


def copy(connection: Connection, params: CopyParams) -> Awaitable[FileResponse]:
    """A second file or tree."""
    return connection.node.files.copy(params)


def open_file(connection: Connection, params: OpenParams) -> Awaitable[OpenResponse]:
    """A handle of a file."""
    return connection.files.open(params)


def open_archive(connection: Connection, params: OpenArchiveParams) -> Awaitable[OpenResponse]:
    """A handle of a tree as a stream."""
    return connection.files.open_archive(params)


def read_block(connection: Connection, params: ReadBlockParams) -> Awaitable[ReadBlockResponse]:
    """A part of a file."""
    return connection.files.read_block(params)


def write_block(connection: Connection, params: WriteBlockParams) -> Awaitable[EmptyResponse]:
    """A part of a file, new."""
    return connection.files.write_block(params)


def digest(connection: Connection, params: DigestParams) -> Awaitable[DigestResponse]:
    """The proof of a part of a file."""
    return connection.files.digest(params)


def close(connection: Connection, params: CloseParams) -> Awaitable[EmptyResponse]:
    """The end of a handle."""
    return connection.files.close_handle(params)


def watch_missing(
    connection: Connection, params: WatchMissingParams
) -> Awaitable[WatchMissingResponse]:
    """One notification when what is missing appears."""
    return connection.files.watch_missing(params)


def watch(connection: Connection, params: WatchParams) -> Awaitable[FileResponse]:
    """Notifications of changes."""
    return connection.files.watch(params)


def unwatch(connection: Connection, params: UnwatchParams) -> Awaitable[EmptyResponse]:
    """No more of them."""
    return connection.files.unwatch(params)
