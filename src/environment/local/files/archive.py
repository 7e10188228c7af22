"""Archives behind handles: a tar stream that is made or unpacked in a thread, through a pipe.

The pipe is all that is ever buffered. Its near end is served on the event loop, where reading and
writing it never waits; the far end is the thread's.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import anyio
from anyio.to_thread import run_sync

from execnode.environment.local.files.extract import extract
from execnode.environment.local.files.names import create_directory
from execnode.environment.local.files.pack import pack
from execnode.environment.local.files.paths import folder_at
from execnode.environment.local.files.worker import Failure, Stop, Stopped, answered
from execnode.protocol.errors import INTERNAL_ERROR, RpcError, invalid_request
from execnode.protocol.files import DigestResponse

__all__ = ["ExtractHandle", "PackHandle"]

# Bytes: a block of the greatest length fits.
_PIPE: Final = 1 << 20


class _ArchiveHandle:
    """What both directions share: a thread, a pipe to it, and where in the stream they are."""

    sequential = True

    def __init__(self) -> None:
        self._stop = Stop()
        self._lock = threading.Lock()
        self._aborted = False
        self._near = -1
        self._thread: threading.Thread | None = None
        self._error: RpcError | None = None
        self._offset = 0

    def _begin(self, near: int, far: int, work: Callable[[Stop, int], None]) -> None:
        """Have a thread do `work` with the far end, which it owns; in a thread."""
        with suppress(OSError):  # more than an unprivileged user may have
            fcntl.fcntl(near, fcntl.F_SETPIPE_SZ, _PIPE)
        os.set_blocking(near, False)
        with self._lock:
            if self._aborted:
                os.close(near)
                os.close(far)
                return
            self._near = near
            self._thread = threading.Thread(
                target=self._run, args=(work, far), name="execnode archive", daemon=True
            )
            self._thread.start()

    def _run(self, work: Callable[[Stop, int], None], far: int) -> None:
        try:
            with answered():
                work(self._stop, far)
        except Stopped:
            pass
        except RpcError as error:
            self._error = Failure(error.code, error.message)
        except Exception as error:
            self._error = Failure(INTERNAL_ERROR, f"{type(error).__name__}: {error}")
        finally:
            os.close(far)

    def _require_running_offset(self, offset: int) -> None:
        if offset != self._offset:
            raise invalid_request(
                f"blocks of an archive follow one another: the next offset is {self._offset}"
            )

    def _close_near(self) -> None:
        with self._lock:
            near, self._near = self._near, -1
        if near >= 0:
            anyio.notify_closing(near)
            os.close(near)

    def abort(self) -> None:
        """See Handle."""
        self._stop.ask()
        with self._lock:
            self._aborted = True
        self._close_near()

    async def digest(self, algorithm: str, offset: int, length: int | None) -> DigestResponse:
        """See Handle."""
        raise invalid_request("fs/digest takes a file that was opened with fs/open")


class PackHandle(_ArchiveHandle):
    """A tree as a tar stream."""

    def __init__(self, path: bytes) -> None:
        super().__init__()
        self._path = path

    def open(self) -> None:
        """Begin, in a thread. Raises OSError when nothing is there."""
        os.stat(self._path)
        near, far = os.pipe2(os.O_CLOEXEC)
        self._begin(near, far, lambda stop, out: pack(stop, self._path, out))

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

    def __init__(self, path: bytes) -> None:
        super().__init__()
        self._path = path

    def open(self) -> None:
        """Begin, in a thread; the folder is made unless it is there. Raises OSError."""
        try:
            folder = folder_at(self._path)
        except FileNotFoundError:
            create_directory(self._path, False, True)
            folder = folder_at(self._path)
        far, near = os.pipe2(os.O_CLOEXEC)

        def work(stop: Stop, stream: int) -> None:
            try:
                extract(stop, folder, stream)
            finally:
                os.close(folder)

        self._begin(near, far, work)
        if self._thread is None:
            os.close(folder)

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
                    await self._joined()
                    raise
        self._offset += len(chunk)

    async def finish(self) -> None:
        """See Handle."""
        self._close_near()
        await self._joined()

    async def _joined(self) -> None:
        """Wait for the thread's end, and raise what has stopped it."""
        assert self._thread is not None
        try:
            await run_sync(self._thread.join, abandon_on_cancel=True)
        finally:
            self._stop.ask()
        if self._error is not None:
            raise self._error
