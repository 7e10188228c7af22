"""The files of this machine, for clients that come and go."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, cast

import anyio
import msgspec
from anyio.abc import TaskGroup

from execnode.environment.local.confined.pool import Sandboxes, SandboxSettings
from execnode.environment.local.files import copy, names, remove, walk, whole
from execnode.environment.local.files.budget import Budget
from execnode.environment.local.files.inotify import Inotify
from execnode.environment.local.files.sandboxed import changes, looks
from execnode.environment.local.files.session import FileSession
from execnode.environment.local.files.work import Stop
from execnode.environment.local.files.worker import Hands, Worker
from execnode.policy.plan import Plan
from execnode.policy.profile import plan_for
from execnode.policy.request import Request
from execnode.policy.sandbox import files_request
from execnode.protocol.files import (
    CanonicalizeParams,
    CanonicalizeResponse,
    CopyParams,
    CreateDirectoryParams,
    FileResponse,
    GetMetadataParams,
    GetMetadataResponse,
    ReadDirectoryParams,
    ReadDirectoryResponse,
    ReadFileParams,
    ReadFileResponse,
    RemoveParams,
    WalkParams,
    WalkResponse,
    WriteFileParams,
)
from execnode.protocol.sandbox import SandboxContext, SandboxReport
from execnode.protocol.uri import format_path_uri, parse_path_uri

__all__ = ["FileSettings", "LocalFiles"]

_EMPTY = FileResponse()
# Searches for the patterns of sandboxes at the same time, beside other work.
_SEARCHES: Final = 4


@dataclass(frozen=True, slots=True)
class FileSettings:
    """How much of this machine the service takes.

    threads: that work at the same time.
    read_memory: bytes of whole files that are being read at the same time; what would be more waits
        for its turn.
    sandboxes: how many there may be, and for how long.
    """

    threads: int = 16
    read_memory: int = 1 << 30
    sandboxes: SandboxSettings = field(default_factory=SandboxSettings)


class LocalFiles:
    """The files service. Made by `LocalFiles.open`.

    Methods take the parameters of the method of the same name and return its result. They raise
    RpcError. Cancelling is safe: what was begun to be changed is brought to its end.
    """

    def __init__(self, settings: FileSettings, tasks: TaskGroup, sandboxes: Sandboxes) -> None:
        self.worker = Worker(settings.threads)
        self._unrestricted = self.worker.reporting(SandboxReport("none"))
        self._searcher = Worker(_SEARCHES)
        self.inotify = Inotify(tasks)
        self.tasks = tasks
        self._memory = Budget(settings.read_memory)
        self._sandboxes = sandboxes

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: FileSettings | None = None) -> AsyncIterator[LocalFiles]:
        """Run the service. On leaving, nothing is watched any more."""
        settings = settings or FileSettings()
        source: Inotify | None = None
        try:
            async with (
                Sandboxes.open(settings.sandboxes) as sandboxes,
                anyio.create_task_group() as tasks,
            ):
                service = cls(settings, tasks, sandboxes)
                source = service.inotify
                try:
                    yield service
                finally:
                    tasks.cancel_scope.cancel()
        finally:
            if source is not None:
                source.close()  # now that nobody waits for it

    def open_session(
        self,
        notify: Callable[[str, msgspec.Struct], None],
        *,
        congested: Callable[[], bool] = lambda: False,
    ) -> FileSession:
        """What one client has: handles and watches, until it is closed.

        notify: is told the method and parameters of notifications. congested: says whether the
        client has enough to read for now; changes of files then wait, and overflow.
        """
        return FileSession(self, notify, congested)

    async def hands(self, sandbox: SandboxContext | None, *, reads: bool) -> Hands:
        """Whoever may do what a request asks for: every request's work is done by these hands.

        reads: the request changes nothing. Raises RpcError for a sandbox that is none.
        """
        if sandbox is None:
            return self.worker
        request = files_request(sandbox, os.environb.get(b"TMPDIR"), reads=reads)
        if request is None:
            return self._unrestricted
        worker = self._searcher if request.searches else self.worker
        return self._sandboxes.hands(await worker.look(_plan, request))

    # --- whole files ------------------------------------------------------------------------------

    @looks
    async def read_file(self, params: ReadFileParams, hands: Hands) -> ReadFileResponse:
        """`fs/readFile`. The data are a Blob of the engine, to be sent from where they are."""
        path = parse_path_uri(params.path)
        follow = params.follow_symlinks is not False
        opened = await hands.change(whole.open_to_read, path, follow)
        try:
            async with self._memory.take(opened.size):
                data = await self.worker.look(whole.read_all, opened.file, opened.size)
            return ReadFileResponse(data_base64=cast("bytes", data))
        finally:
            opened.file.close()

    @changes
    async def write_file(self, params: WriteFileParams, hands: Hands) -> FileResponse:
        """`fs/writeFile`."""
        path = parse_path_uri(params.path)
        follow = params.follow_symlinks is not False
        await hands.change(whole.write_file, path, params.data_base64, follow, params.atomic)
        return _EMPTY

    # --- folders and names ------------------------------------------------------------------------

    @changes
    async def create_directory(self, params: CreateDirectoryParams, hands: Hands) -> FileResponse:
        """`fs/createDirectory`."""
        path = parse_path_uri(params.path)
        recursive, follow = params.recursive is not False, params.follow_symlinks is not False
        await hands.change(names.create_directory, path, recursive, follow)
        return _EMPTY

    @looks
    async def get_metadata(self, params: GetMetadataParams, hands: Hands) -> GetMetadataResponse:
        """`fs/getMetadata`."""
        path = parse_path_uri(params.path)
        follow = params.follow_symlinks is not False
        return await hands.change(names.metadata, path, follow)

    @looks
    async def canonicalize(self, params: CanonicalizeParams, hands: Hands) -> CanonicalizeResponse:
        """`fs/canonicalize`."""
        path = parse_path_uri(params.path)
        real = await hands.change(names.canonicalize, path)
        return CanonicalizeResponse(format_path_uri(real))

    @looks
    async def read_directory(
        self, params: ReadDirectoryParams, hands: Hands
    ) -> ReadDirectoryResponse:
        """`fs/readDirectory`."""
        path = parse_path_uri(params.path)
        return ReadDirectoryResponse(await hands.look(names.read_directory, path))

    @looks
    async def walk(self, params: WalkParams, hands: Hands) -> WalkResponse:
        """`fs/walk`."""
        path = parse_path_uri(params.path)
        walk.check_walk(params.options)
        return await hands.look(walk.walk, path, params.options)

    @changes
    async def remove(self, params: RemoveParams, hands: Hands) -> FileResponse:
        """`fs/remove`."""
        path = parse_path_uri(params.path)
        recursive, force = params.recursive is not False, params.force is not False
        follow = params.follow_symlinks is not False
        await hands.change(remove.remove, path, recursive, force, follow)
        return _EMPTY

    @changes
    async def copy(self, params: CopyParams, hands: Hands) -> FileResponse:
        """`fs/copy`."""
        source = parse_path_uri(params.source_path)
        destination = parse_path_uri(params.destination_path)
        await hands.change(copy.copy, source, destination, params.recursive)
        return _EMPTY


def _plan(stop: Stop, request: Request) -> Plan:
    return plan_for(request, go_on=stop.check)
