"""Changes of files, as a node tells of them."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import NamedTuple, Protocol

import anyio

from execnode.protocol import methods
from execnode.protocol.errors import ProtocolError
from execnode.protocol.files import (
    ChangedNotification,
    FileResponse,
    MissingChangedNotification,
    UnwatchParams,
    WatchMissingParams,
    WatchMissingResponse,
    WatchParams,
)
from execnode.protocol.messages import EmptyResponse

from .errors import LinkLost
from .filecalls import FileCalls, FileEvent, NodePath, os_errors, path_of, uri_of

__all__ = ["Change", "Changes", "MissingWatch", "Watch", "Watches"]

# Changes that nobody has taken; beyond, somebody has to look again anyway.
_UNTAKEN = 65_536
_CLOSE_SECONDS = 5.0


class Change(NamedTuple):
    """Something that happened to a path: `created`, `modified` or `deleted`."""

    path: str
    kind: str


class Changes(NamedTuple):
    """What happened since the last time. `overflow`: more than this; look at everything again."""

    changes: list[Change]
    overflow: bool


class _Watcher(Protocol):
    def told(self, event: FileEvent) -> None: ...
    def lost(self) -> None: ...


class Watches:
    """The watches of one user of files, by their ids."""

    def __init__(self, calls: FileCalls) -> None:
        self._watches: dict[int, _Watcher] = {}
        calls.listen(self._notified, self._lost)

    def add(self, watch_id: int, watch: _Watcher) -> None:
        """Give a watch its events."""
        self._watches[watch_id] = watch

    def remove(self, watch_id: int) -> None:
        """Give it no more."""
        self._watches.pop(watch_id, None)

    def _notified(self, event: FileEvent) -> None:
        watch = self._watches.get(event.watch_id)
        if watch is not None:
            watch.told(event)

    def _lost(self) -> None:
        for watch in self._watches.values():
            watch.lost()


class Watch(AsyncIterator[Changes]):
    """Changes below a path, made by `Files.watch`. Iterating never ends by itself.

    A watch whose connection broke is set again, and says `overflow`.
    """

    def __init__(
        self, calls: FileCalls, watches: Watches, path: NodePath, *, recursive: bool
    ) -> None:
        self._calls = calls
        self._watches = watches
        self._path = path
        self._recursive = recursive
        self._id = 0
        self._changes: deque[Change] = deque()
        self._overflow = False
        self._set = False
        self._news = anyio.Event()

    def told(self, event: FileEvent) -> None:
        """Take what the node says."""
        assert isinstance(event, ChangedNotification)
        self._overflow |= event.overflow
        self._changes.extend(Change(path_of(c.path), c.kind) for c in event.changes)
        if len(self._changes) > _UNTAKEN:
            self._changes.clear()
            self._overflow = True
        self._news.set()

    def lost(self) -> None:
        """The node watches no more."""
        self._set = False
        self._overflow = True
        self._news.set()

    async def start(self) -> None:
        """Have the node watch. Raises OSError, for a path where nothing is, too."""
        while not self._set:
            link = await self._calls.link()
            self._watches.remove(self._id)
            self._id = self._calls.new_id()
            self._watches.add(self._id, self)
            params = WatchParams(self._id, uri_of(self._path), self._recursive)
            self._set = True
            try:
                with os_errors(self._path):
                    await link.request(methods.FS_WATCH, params, FileResponse)
            except LinkLost:
                self._set = False
            except BaseException:
                self._set = False
                raise

    async def __anext__(self) -> Changes:
        await self.start()
        while not self._changes and not self._overflow:
            await self._news.wait()
            await self.start()
        self._news = anyio.Event()
        taken = Changes(list(self._changes), self._overflow)
        self._changes.clear()
        self._overflow = False
        return taken

    async def aclose(self) -> None:
        """Have the node watch no more."""
        self._watches.remove(self._id)
        if not self._set:
            return
        with (
            anyio.move_on_after(_CLOSE_SECONDS, shield=True),
            suppress(ConnectionError, ProtocolError),
        ):
            link = await self._calls.link()
            await link.request(methods.FS_UNWATCH, UnwatchParams(self._id), EmptyResponse)


class MissingWatch:
    """A promise of the node to say when one of some missing paths appears."""

    def __init__(self, calls: FileCalls, watches: Watches) -> None:
        self._calls = calls
        self._watches = watches
        self._id = calls.new_id()
        self._over = anyio.Event()

    def told(self, event: FileEvent) -> None:
        """It has happened."""
        assert isinstance(event, MissingChangedNotification)
        self._over.set()

    def lost(self) -> None:
        """It may have happened."""
        self._over.set()

    async def start(self, missing: list[NodePath], present: NodePath | None) -> bool:
        """Whether the node watches: if not, the paths may be there already."""
        self._watches.add(self._id, self)
        params = WatchMissingParams(
            self._id,
            [uri_of(path) for path in missing],
            None if present is None else uri_of(present),
        )
        link = await self._calls.link()
        with os_errors():
            answer = await link.request(methods.FS_WATCH_MISSING, params, WatchMissingResponse)
        return answer.watching

    async def wait(self) -> None:
        """Return when it is time to look again; sometimes that is a false alarm."""
        await self._over.wait()

    def close(self) -> None:
        """Forget it."""
        self._watches.remove(self._id)
