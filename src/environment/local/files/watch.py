"""fs/watch: tell what changes at a file or in a folder, or that more did than could be told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import anyio

from execnode.environment.local.files.watching import (
    ATTRIB,
    CREATE,
    DELETE,
    IGNORED,
    IN_FOLDER,
    IS_FOLDER,
    ITSELF,
    MODIFY,
    MOVED_FROM,
    MOVED_TO,
    Watches,
    watch_new,
    watch_tree,
)
from execnode.environment.local.files.worker import Hands
from execnode.protocol.errors import INTERNAL_ERROR, RpcError
from execnode.protocol.files import Change
from execnode.protocol.uri import format_path_uri

if TYPE_CHECKING:
    from execnode.environment.local.files.service import LocalFiles

__all__ = ["Watch"]

_logger = logging.getLogger(__name__)

Kind: TypeAlias = Literal["created", "modified", "deleted"]
Tell: TypeAlias = Callable[[list[Change], bool], bool]

_KINDS: Final[tuple[tuple[int, Kind], ...]] = (
    (CREATE | MOVED_TO, "created"),
    (DELETE | MOVED_FROM, "deleted"),
    (MODIFY | ATTRIB, "modified"),
)
# Seconds in which changes are gathered, and while the client does not take them.
_GATHER: Final = 0.005
_PATIENCE: Final = 0.1
# Changes that wait to be told; with more the client has to look for itself.
_WAITING: Final = 4096
# Changes of one notification.
_MESSAGE: Final = 512


class Watch:
    """One watch: `arm` it; `tell` is then called with changes.

    A file is watched through its folder, since many programs save a file by putting another in its
    place. Links in a folder are not followed.
    """

    def __init__(
        self, files: LocalFiles, hands: Hands, path: bytes, *, recursive: bool, tell: Tell
    ) -> None:
        self._files = files
        self._hands = hands
        self._path = path.rstrip(b"/") or b"/"
        self._recursive = recursive
        self._tell = tell
        self._folders: dict[int, bytes] = {}
        self._only: bytes | None = None
        self._top = -1
        # In the order of their first change since the last telling.
        self._changes: dict[tuple[bytes, Kind], None] = {}
        self._overflow = False
        self._telling = False
        self._closed = False

    async def arm(self) -> None:
        """Watch all there is. Raises RpcError. What is added is added, whoever still waits."""
        failed: list[RpcError] = []
        done = anyio.Event()

        async def add() -> None:
            try:
                await self._add_all()
            except RpcError as error:
                failed.append(error)
            finally:
                done.set()

        self._files.tasks.start_soon(add)
        await done.wait()
        if failed:
            raise failed[0]

    async def _add_all(self) -> None:
        with self._files.inotify.adding() as instance:
            change = self._hands.change
            watches = await change(watch_tree, instance, self._path, self._recursive)
            self._only = watches.only
            itself = watches.only is None
            if itself and watches.folders:
                self._top = watches.folders[0][0]
            self._listen(watches, itself=itself)
        if watches.failed:
            raise _no_more_watches()

    def _listen(self, watches: Watches, *, itself: bool) -> None:
        """Hear of them; of the first also what happens to itself."""
        for watch, path in watches.folders:
            self._folders[watch] = path
            self._files.inotify.listen(self, watch, IN_FOLDER | (ITSELF if itself else 0))
            itself = False
        if self._closed:  # meanwhile
            self.close()

    def event(self, watch: int, mask: int, name: bytes) -> None:
        """See inotify.Listener."""
        folder = self._folders.get(watch)
        if folder is None:
            return
        if mask & IGNORED:
            self._folders.pop(watch, None)
            return
        if not name:
            if watch == self._top and mask & (ITSELF | ATTRIB):
                self._note(self._path, "deleted" if mask & ITSELF else "modified")
            return
        if self._only is not None and name != self._only:
            return
        path = folder.rstrip(b"/") + b"/" + name
        for bits, kind in _KINDS:
            if mask & bits:
                self._note(path, kind)
        if mask & IS_FOLDER and self._recursive and self._only is None:
            if mask & MOVED_FROM:
                self._forget(path)
            elif mask & (CREATE | MOVED_TO):
                self._files.tasks.start_soon(self._adopt_soon, path)

    def overflow(self) -> None:
        """See inotify.Listener."""
        self._changes.clear()
        self._overflow = True
        self._begin_telling()

    def _note(self, path: bytes, kind: Kind) -> None:
        if len(self._changes) >= _WAITING:
            self.overflow()
        elif not self._overflow:  # else the client has to look for itself anyway
            self._changes[path, kind] = None
            self._begin_telling()

    async def _adopt_soon(self, path: bytes) -> None:
        try:
            with self._files.inotify.adding() as instance:
                watches = await self._hands.change(watch_new, instance, path)
                self._listen(watches, itself=False)
        except RpcError:
            self.overflow()
            return
        for below in watches.found:
            self._note(below, "created")
        if watches.failed:
            self.overflow()

    def _forget(self, path: bytes) -> None:
        """Watch no more what has been moved away with all in it."""
        gone = [w for w, at in self._folders.items() if (at + b"/").startswith(path + b"/")]
        for watch in gone:
            del self._folders[watch]
            self._files.inotify.remove(self, watch)

    def _begin_telling(self) -> None:
        if not self._telling:
            self._telling = True
            self._files.tasks.start_soon(self._tell_all)

    async def _tell_all(self) -> None:
        try:
            await self._tell_until_empty()
        except Exception:  # a mistake of ours ends this watch and nothing else
            _logger.exception("changes could not be told")
            self.close()
        finally:
            self._telling = False

    async def _tell_until_empty(self) -> None:
        await anyio.sleep(_GATHER)
        while (self._changes or self._overflow) and not self._closed:
            part = list(self._changes)[:_MESSAGE]
            changes = [Change(format_path_uri(path), kind) for path, kind in part]
            if not self._tell(changes, self._overflow):
                await anyio.sleep(_PATIENCE)
                continue
            self._overflow = False
            for key in part:
                del self._changes[key]

    def close(self) -> None:
        """Watch no more, and tell nothing more."""
        self._closed = True
        watches = list(self._folders)
        self._folders.clear()
        for watch in watches:
            self._files.inotify.remove(self, watch)


def _no_more_watches() -> RpcError:
    return RpcError(
        INTERNAL_ERROR,
        "the kernel has no more watches for this user; raise fs.inotify.max_user_watches",
    )
