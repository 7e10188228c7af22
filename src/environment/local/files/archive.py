"""Archives behind handles: a tar stream that is made or unpacked elsewhere, through a pipe.

The pipe is all that is ever buffered. Its near end is served on the event loop, where reading and
writing it never waits; the far end is with those who do the work.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio

from execnode.environment.local.files.descriptor import Descriptor
from execnode.environment.local.files.extract import extract, open_destination
from execnode.environment.local.files.pack import pack, require_source
from execnode.environment.local.files.work import Failure, Stopped
from execnode.environment.local.files.worker import Hands
from execnode.protocol.errors import INTERNAL_ERROR, RpcError, invalid_request
from execnode.protocol.files import DigestResponse

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

__all__ = ["ExtractHandle", "PackHandle"]

# Bytes: a block of the greatest length fits.
_PIPE: Final = 1 << 20


class _ArchiveHandle:
    """What both directions share: work under way, a pipe to it, and where in the stream they are.

    tasks: what the work is waited for in.
    """

    sequential = True

    def __init__(self, tasks: TaskGroup, hands: Hands, path: bytes) -> None:
        self._tasks = tasks
        self._hands = hands
        self._path = path
        self._work = anyio.CancelScope()
        self._done = anyio.Event()
        self._near = -1
        self._error: RpcError | None = None
        self._offset = 0

    def _begin(self, near: int, far: int, work: Callable[..., None], *args: object) -> None:
        """Have `work(stop, far, *args)` done with the far end."""
        end = Descriptor(far)
        self._near = near
        with suppress(OSError):  # more than an unprivileged user may have
            fcntl.fcntl(near, fcntl.F_SETPIPE_SZ, _PIPE)
        os.set_blocking(near, False)
        self._tasks.start_soon(self._run, end, work, *args)

    async def _run(self, far: Descriptor, work: Callable[..., None], *args: object) -> None:
        try:
            with self._work:
                await self._hands.keep(work, far, *args)
        except Stopped:
            pass
        except RpcError as error:
            self._error = Failure(error.code, error.message)
        except Exception as error:
            self._error = Failure(INTERNAL_ERROR, f"{type(error).__name__}: {error}")
        finally:
            for given in (far, *args):
                if isinstance(given, Descriptor):
                    given.close()
            self._done.set()

    def _require_running_offset(self, offset: int) -> None:
        if offset != self._offset:
            raise invalid_request(
                f"blocks of an archive follow one another: the next offset is {self._offset}"
            )

    def _close_near(self) -> None:
        near, self._near = self._near, -1
        if near >= 0:
            anyio.notify_closing(near)
            os.close(near)

    def abort(self) -> None:
        """See Handle."""
        self._work.cancel()
        self._close_near()

    async def digest(self, algorithm: str, offset: int, length: int | None) -> DigestResponse:
        """See Handle."""
        raise invalid_request("fs/digest takes a file that was opened with fs/open")


class PackHandle(_ArchiveHandle):
    """A tree as a tar stream."""

    async def open(self) -> None:
        """See Handle."""
        await self._hands.change(require_source, self._path)
        near, far = os.pipe2(os.O_CLOEXEC)
        self._begin(near, far, pack, self._path)

    async def read(self, offset: int, length: int) -> tuple[bytes, bool]:
        """See Handle."""
        self._require_running_offset(offset)
        block = bytearray()
        while len(block) < length:
            try:
                piece = os.read(self._near, length - len(block))
            except BlockingIOError:
                await anyio.wait_readable(self._near)
                continue
            if not piece:
                await self._done.wait()
                if self._error is not None:
                    raise self._error
                break
            block += piece
            self._offset += len(piece)
        return bytes(block), len(block) < length

    async def write(self, offset: int, chunk: bytes) -> None:
        """See Handle."""
        raise invalid_request("this archive was opened to be read")

    async def finish(self) -> None:
        """See Handle."""
        self.abort()


class ExtractHandle(_ArchiveHandle):
    """A tar stream that becomes a tree below a folder."""

    async def open(self) -> None:
        """See Handle; the folder is made unless it is there."""
        folder = await self._hands.change(open_destination, self._path)
        far, near = os.pipe2(os.O_CLOEXEC)
        self._begin(near, far, extract, folder)

    async def read(self, offset: int, length: int) -> tuple[bytes, bool]:
        """See Handle."""
        raise invalid_request("this archive was opened to be extracted")

    async def write(self, offset: int, chunk: bytes) -> None:
        """See Handle."""
        self._require_running_offset(offset)
        with memoryview(chunk) as view:
            done = 0
            while done < len(view):
                try:
                    done += os.write(self._near, view[done:])
                except BlockingIOError:
                    await anyio.wait_writable(self._near)
                except BrokenPipeError:
                    await self._ended()
                    raise
        self._offset += len(chunk)

    async def finish(self) -> None:
        """See Handle."""
        self._close_near()
        await self._ended()

    async def _ended(self) -> None:
        """Wait for the end of the work, and raise what has stopped it."""
        try:
            await self._done.wait()
        finally:
            self._work.cancel()
        if self._error is not None:
            raise self._error
