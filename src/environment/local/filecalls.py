"""The files service as client/files.py asks for it: straight to the methods, no wire."""

import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from msgspec.structs import replace

from execnode.client.errors import Unsupported
from execnode.client.filecalls import FileEvent
from execnode.environment.local.files.service import LocalFiles
from execnode.protocol import methods
from execnode.protocol.files import ReadFileParams, ReadFileResponse
from execnode.protocol.messages import EnvironmentInfo

__all__ = ["LocalFileCalls"]


class LocalFileCalls:
    """What client/filecalls.py calls FileCalls and FileLink; the link is never lost."""

    def __init__(self, files: LocalFiles, info: EnvironmentInfo) -> None:
        session = self._session = files.open_session(self._tell)
        self._files = files
        self._capabilities = info.capabilities
        self._ids = itertools.count(1)
        self._notified: Callable[[Any], None] | None = None
        self._methods: dict[str, Callable[[Any], Awaitable[Any]]] = {
            methods.FS_READ_FILE: self._read_file,
            methods.FS_WRITE_FILE: files.write_file,
            methods.FS_CREATE_DIRECTORY: files.create_directory,
            methods.FS_GET_METADATA: files.get_metadata,
            methods.FS_CANONICALIZE: files.canonicalize,
            methods.FS_READ_DIRECTORY: files.read_directory,
            methods.FS_WALK: files.walk,
            methods.FS_REMOVE: files.remove,
            methods.FS_COPY: files.copy,
            methods.FS_OPEN: session.open,
            methods.FS_OPEN_ARCHIVE: session.open_archive,
            methods.FS_READ_BLOCK: session.read_block,
            methods.FS_WRITE_BLOCK: session.write_block,
            methods.FS_DIGEST: session.digest,
            methods.FS_CLOSE: session.close_handle,
            methods.FS_WATCH: session.watch,
            methods.FS_UNWATCH: session.unwatch,
            methods.FS_WATCH_MISSING: session.watch_missing,
        }

    async def _read_file(self, params: ReadFileParams) -> ReadFileResponse:
        answer = await self._files.read_file(params)
        return replace(answer, data_base64=bytes(answer.data_base64))

    async def call(self, method: str, params: Any, result: Any, *, repeat: bool = True) -> Any:
        """Do it."""
        return await self._methods[method](params)

    async def request(self, method: str, params: Any, result: Any) -> Any:
        """Do it, with this one's handles and watches."""
        return await self._methods[method](params)

    async def link(self) -> "LocalFileCalls":
        """Itself."""
        return self

    def listen(self, notified: Callable[[FileEvent], None], again: Callable[[], None]) -> None:
        """Have events given to `notified`."""
        self._notified = notified

    def _tell(self, _method: str, event: msgspec.Struct) -> None:
        if self._notified is not None:
            self._notified(event)

    def offers(self, capability: str) -> bool:
        """Whether this machine has it."""
        return self._capabilities.get(capability, False)

    def require(self, capability: str, what: str) -> None:
        """Raise Unsupported unless it does."""
        if not self.offers(capability):
            raise Unsupported(what, capability)

    def new_id(self) -> int:
        """A number that was not used."""
        return next(self._ids)

    def close(self) -> None:
        """Give handles and watches back."""
        self._session.close()
