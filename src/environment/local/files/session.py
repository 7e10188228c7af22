"""What belongs to one client: its open handles and its watches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

from execnode.environment.local.files.archive import ExtractHandle, PackHandle
from execnode.environment.local.files.handles import Handle, OpenFile, check_block
from execnode.environment.local.files.missing import MissingWatch
from execnode.environment.local.files.sandboxed import looks, looks_or_changes
from execnode.environment.local.files.watch import Watch
from execnode.environment.local.files.work import Failure, answered
from execnode.environment.local.files.worker import Hands
from execnode.protocol import methods
from execnode.protocol.errors import invalid_request, unknown_handle
from execnode.protocol.files import (
    Change,
    ChangedNotification,
    CloseParams,
    DigestParams,
    DigestResponse,
    FileResponse,
    MissingChangedNotification,
    OpenArchiveParams,
    OpenParams,
    OpenResponse,
    ReadBlockParams,
    ReadBlockResponse,
    UnwatchParams,
    WatchMissingParams,
    WatchMissingResponse,
    WatchParams,
    WriteBlockParams,
)
from execnode.protocol.messages import EmptyResponse
from execnode.protocol.uri import parse_path_uri

if TYPE_CHECKING:
    from execnode.environment.local.files.service import LocalFiles

__all__ = ["FileSession"]

_EMPTY: Final = EmptyResponse()
_WATCHED: Final = FileResponse()
_HANDLES: Final = 128
_HANDLE_ID_MAX: Final = 32
_WATCHES: Final = 64
_MISSING: Final = 64


class FileSession:
    """Handles and watches of one client. Made by `LocalFiles.open_session`.

    Methods take the parameters of the method of the same name and return its result; they raise
    RpcError.
    """

    def __init__(
        self,
        files: LocalFiles,
        notify: Callable[[str, msgspec.Struct], None],
        congested: Callable[[], bool],
    ) -> None:
        self.worker = files.worker
        self.hands = files.hands
        self._files = files
        self._notify = notify
        self._congested = congested
        self._closed = False
        # None: it is being opened.
        self._handles: dict[str, Handle | None] = {}
        # The last block read of a handle that was asked for and is not done.
        self._reads: dict[str, anyio.Event] = {}
        self._watches: dict[int, Watch] = {}
        self._missing: MissingWatch | None = None
        self._last_missing_id = -1

    def close(self) -> None:
        """Give everything back; what was not finished is as if it had not been begun."""
        self._closed = True
        for handle in self._handles.values():
            if handle is not None:
                handle.abort()
        self._handles.clear()
        for watch in self._watches.values():
            watch.close()
        self._watches.clear()
        self._forget_missing()

    # --- handles ----------------------------------------------------------------------------------

    @looks_or_changes
    async def open(self, params: OpenParams, hands: Hands) -> OpenResponse:
        """`fs/open`."""
        path = parse_path_uri(params.path)
        self._require_free(params.handle_id)
        file = OpenFile(self.worker, hands, path, params.mode, atomic=params.atomic)
        await self._begin(params.handle_id, file)
        return OpenResponse(params.handle_id, file.size)

    @looks_or_changes
    async def open_archive(self, params: OpenArchiveParams, hands: Hands) -> OpenResponse:
        """`fs/openArchive`."""
        path = parse_path_uri(params.path)
        self._require_free(params.handle_id)
        kind = PackHandle if params.mode == "read" else ExtractHandle
        await self._begin(params.handle_id, kind(self._files.tasks, hands, path))
        return OpenResponse(params.handle_id)

    async def _begin(self, handle_id: str, handle: Handle) -> None:
        self._handles[handle_id] = None
        try:
            with answered():
                await handle.open()
        except BaseException:
            self._handles.pop(handle_id, None)
            handle.abort()
            raise
        if self._closed:
            handle.abort()
        else:
            self._handles[handle_id] = handle

    def read_block(self, params: ReadBlockParams) -> Awaitable[ReadBlockResponse]:
        """`fs/readBlock`. Reads of one archive are done in the order of the calls."""
        before = self._reads.get(params.handle_id)
        done = self._reads[params.handle_id] = anyio.Event()
        return self._read_block(params, before, done)

    async def _read_block(
        self, params: ReadBlockParams, before: anyio.Event | None, done: anyio.Event
    ) -> ReadBlockResponse:
        try:
            check_block("read", params.length)
            handle = self._find(params.handle_id)
            if handle.sequential and before is not None:
                await before.wait()
            with self._watched(params.handle_id, handle):
                chunk, eof = await handle.read(params.offset, params.length)
            return ReadBlockResponse(chunk, eof)
        finally:
            done.set()
            if self._reads.get(params.handle_id) is done:
                del self._reads[params.handle_id]

    async def write_block(self, params: WriteBlockParams) -> EmptyResponse:
        """`fs/writeBlock`."""
        check_block("write", len(params.chunk))
        handle = self._find(params.handle_id)
        with self._watched(params.handle_id, handle):
            await handle.write(params.offset, params.chunk)
        return _EMPTY

    @contextmanager
    def _watched(self, handle_id: str, handle: Handle) -> Iterator[None]:
        """End a handle whose file has failed."""
        try:
            with answered():
                yield
        except Failure:
            if self._handles.get(handle_id) is handle:
                del self._handles[handle_id]
            handle.abort()
            raise

    async def digest(self, params: DigestParams) -> DigestResponse:
        """`fs/digest`."""
        handle = self._find(params.handle_id)
        with answered():
            return await handle.digest(params.algorithm, params.offset, params.length)

    async def close_handle(self, params: CloseParams) -> EmptyResponse:
        """`fs/close`."""
        self._check_id(params.handle_id)
        handle = self._handles.pop(params.handle_id, None)
        if handle is not None:
            with answered():
                await handle.finish()
        return _EMPTY

    def _check_id(self, handle_id: str) -> None:
        if len(handle_id.encode()) > _HANDLE_ID_MAX:
            raise invalid_request(f"file handle ID must not exceed {_HANDLE_ID_MAX} bytes")

    def _require_free(self, handle_id: str) -> None:
        self._check_id(handle_id)
        if handle_id in self._handles:
            raise invalid_request(f"file handle `{handle_id}` already exists")
        if len(self._handles) >= _HANDLES:
            raise invalid_request(f"at most {_HANDLES} file handles may be open per connection")

    def _find(self, handle_id: str) -> Handle:
        self._check_id(handle_id)
        handle = self._handles.get(handle_id)
        if handle is None:
            raise unknown_handle(handle_id)
        return handle

    # --- watches ----------------------------------------------------------------------------------

    @looks
    async def watch_missing(self, params: WatchMissingParams, hands: Hands) -> WatchMissingResponse:
        """`fs/watchMissing`."""
        missing = [parse_path_uri(uri) for uri in params.missing]
        present = None if params.present is None else parse_path_uri(params.present)
        if params.watch_id <= self._last_missing_id:
            return WatchMissingResponse(False)
        self._last_missing_id = params.watch_id
        self._forget_missing()
        if not 1 <= len(missing) <= _MISSING:
            return WatchMissingResponse(False)
        try:
            self._files.inotify.start()
        except OSError:  # there are no more instances
            return WatchMissingResponse(False)
        watch = MissingWatch(self._files.inotify, self._changed_missing, params.watch_id)
        self._missing = watch
        try:
            armed = await watch.arm(hands, missing, present)
        except BaseException:
            watch.close()
            raise
        if watch is not self._missing or not armed or not watch.begin():
            watch.close()
            return WatchMissingResponse(False)
        return WatchMissingResponse(True)

    def _changed_missing(self, watch: MissingWatch) -> None:
        watch.close()
        if watch is self._missing:
            self._missing = None
            self._notify(methods.FS_MISSING_CHANGED, MissingChangedNotification(watch.id))

    def _forget_missing(self) -> None:
        if self._missing is not None:
            self._missing.close()
            self._missing = None

    @looks
    async def watch(self, params: WatchParams, hands: Hands) -> FileResponse:
        """`fs/watch`. What happens after the answer is told."""
        path = parse_path_uri(params.path)
        if params.watch_id in self._watches:
            raise invalid_request(f"watch `{params.watch_id}` already exists")
        if len(self._watches) >= _WATCHES:
            raise invalid_request(f"at most {_WATCHES} watches may be set per connection")
        with answered():
            self._files.inotify.start()
        tell = self._teller(params)
        watch = Watch(self._files, hands, path, recursive=params.recursive, tell=tell)
        self._watches[params.watch_id] = watch
        try:
            await watch.arm()
        except BaseException:
            self._watches.pop(params.watch_id, None)
            watch.close()
            raise
        return _WATCHED

    def _teller(self, params: WatchParams) -> Callable[[list[Change], bool], bool]:
        def tell(changes: list[Change], overflow: bool) -> bool:
            """Tell the client, or return False when it has enough to read for now."""
            if self._congested():
                return False
            self._notify(
                methods.FS_CHANGED, ChangedNotification(params.watch_id, changes, overflow)
            )
            return True

        return tell

    async def unwatch(self, params: UnwatchParams) -> EmptyResponse:
        """`fs/unwatch`."""
        watch = self._watches.pop(params.watch_id, None)
        if watch is not None:
            watch.close()
        return _EMPTY
