"""Trees between a node and this machine, as a tar stream (POSIX pax, without compression)."""

import os
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import IO, Any

import anyio
from anyio.to_thread import run_sync

from .blocks import BLOCK
from .file import RemoteFile
from .filecalls import FileCalls, NodePath
from .tasks import background

__all__ = ["download_tree", "read_archive", "upload_tree", "write_archive"]


async def read_archive(calls: FileCalls, remote: NodePath) -> AsyncGenerator[bytes]:
    """See `Files.read_archive`."""
    async with await RemoteFile.open_archive(calls, remote, "read") as archive:
        offset = 0
        while True:
            data = await archive.read(offset)
            offset += len(data)
            if data:
                yield data
            if len(data) < BLOCK:
                return


async def write_archive(calls: FileCalls, chunks: AsyncIterator[bytes], remote: NodePath) -> None:
    """See `Files.write_archive`."""
    async with await RemoteFile.open_archive(calls, remote, "extract") as archive:
        offset = 0
        async for chunk in chunks:
            for start in range(0, len(chunk), BLOCK):
                piece = chunk[start : start + BLOCK]
                await archive.write(offset, piece)
                offset += len(piece)


async def download_tree(calls: FileCalls, remote: NodePath, local: Path) -> None:
    """See `Files.download_tree`."""
    source, sink = os.pipe()
    failures: list[BaseException] = []
    done = anyio.Event()

    async def extract() -> None:
        try:
            await run_sync(_extract, source, local)
        except Exception as exc:
            failures.append(exc)
        done.set()

    async with background() as tasks:
        tasks.start_soon(extract)
        # A broken pipe: why, the thread knows.
        with open(sink, "wb", buffering=0) as pipe, suppress(BrokenPipeError):  # noqa: PTH123, ASYNC230
            async with aclosing(read_archive(calls, remote)) as stream:
                async for chunk in stream:
                    await run_sync(_write_all, pipe, chunk)
        await done.wait()
    if failures:
        raise failures[0]


def _extract(descriptor: int, local: Path) -> None:
    with (
        open(descriptor, "rb") as pipe,
        tarfile.open(fileobj=pipe, mode="r|", errorlevel=1) as archive,
    ):
        archive.extractall(local, filter="tar", numeric_owner=True)
        while pipe.read(BLOCK):
            pass  # padding: whoever writes it must not meet a closed pipe


async def upload_tree(calls: FileCalls, local: Path, remote: NodePath) -> None:
    """See `Files.upload_tree`."""
    source, sink = os.pipe()
    failures: list[BaseException] = []

    async def pack() -> None:
        try:
            await run_sync(_pack, sink, local)
        except BrokenPipeError:
            pass  # the node did not want more, and says why
        except Exception as exc:
            failures.append(exc)

    async def chunks() -> AsyncGenerator[bytes]:
        while data := await run_sync(pipe.read, BLOCK):
            yield data
        if failures:  # then the archive is not whole, and must not look so
            raise failures[0]

    with open(source, "rb", buffering=0) as pipe:  # noqa: PTH123, ASYNC230 (a descriptor)
        async with background() as tasks:
            tasks.start_soon(pack)
            try:
                async with aclosing(chunks()) as stream:
                    await write_archive(calls, stream, remote)
            finally:
                pipe.close()


def _pack(descriptor: int, local: Path) -> None:
    with (
        open(descriptor, "wb") as pipe,
        tarfile.open(fileobj=pipe, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for member in sorted(local.iterdir()):
            archive.add(member, arcname=member.name)


def _write_all(pipe: IO[Any], data: bytes) -> None:
    with memoryview(data) as view:
        sent = 0
        while sent < len(view):
            sent += pipe.write(view[sent:]) or 0
