"""fs/watch: tell what changes at a file or in a folder, or that more did than could be told."""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import anyio

from execnode.environment.local.files import inotify
from execnode.environment.local.files.worker import Stop, Stopped
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
    (inotify.CREATE | inotify.MOVED_TO, "created"),
    (inotify.DELETE | inotify.MOVED_FROM, "deleted"),
    (inotify.MODIFY | inotify.ATTRIB, "modified"),
)
_MASK: Final = (
    inotify.CREATE
    | inotify.MOVED_TO
    | inotify.MOVED_FROM
    | inotify.DELETE
    | inotify.MODIFY
    | inotify.ATTRIB
    | inotify.ONLY_FOLDER
)
_ITSELF: Final = inotify.DELETE_SELF | inotify.MOVE_SELF
# Seconds in which changes are gathered, and while the client does not take them.
_GATHER: Final = 0.005
_PATIENCE: Final = 0.1
# Changes that wait to be told; with more the client has to look for itself.
_WAITING: Final = 4096
# Changes of one notification.
_MESSAGE: Final = 512


class Watch:
    """One watch: `arm` it in a thread; `tell` is then called with changes, on the event loop.

    A file is watched through its folder, since many programs save a file by putting another in its
    place. Links in a folder are not followed.
    """

    def __init__(self, files: LocalFiles, path: bytes, *, recursive: bool, tell: Tell) -> None:
        self._files = files
        self._path = path.rstrip(b"/") or b"/"
        self._recursive = recursive
        self._tell = tell
        self._lock = threading.Lock()
        self._folders: dict[int, bytes] = {}
        self._only: bytes | None = None
        self._top = -1
        # In the order of their first change since the last telling.
        self._changes: dict[tuple[bytes, Kind], None] = {}
        self._overflow = False
        self._telling = False
        self._stop = Stop()

    # --- in a thread ------------------------------------------------------------------------------

    def arm(self) -> None:
        """Watch all there is. Raises OSError; RpcError where the kernel has no more watches."""
        if stat.S_ISDIR(os.stat(self._path).st_mode):
            self._top = self._add(self._path, _MASK | _ITSELF)
            if self._recursive:
                self._adopt(self._path, found=None)
            return
        folder, _, self._only = self._path.rpartition(b"/")
        self._add(folder or b"/", _MASK)

    def _add(self, path: bytes, mask: int) -> int:
        try:
            watch = self._files.inotify.add(self, path, mask)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise RpcError(
                INTERNAL_ERROR,
                "the kernel has no more watches for this user; raise fs.inotify.max_user_watches",
            ) from None
        with self._lock:
            self._folders[watch] = path
        if self._stop.asked:  # it was closed meanwhile
            self._files.inotify.remove(self, watch)
            raise Stopped
        return watch

    def _adopt(self, path: bytes, found: list[bytes] | None) -> None:
        """Watch the folders in a folder that is watched; `found` gets all that is in there."""
        folders = [path]
        while folders:
            path = folders.pop()
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                with os.scandir(path) as scan:
                    entries = [(each.path, each.is_dir(follow_symlinks=False)) for each in scan]
                for below, is_folder in entries:
                    if found is not None:
                        found.append(below)
                    if is_folder:
                        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                            self._add(below, _MASK | inotify.NO_FOLLOW)
                            folders.append(below)

    def _adopt_new(self, path: bytes) -> list[bytes]:
        """Watch a folder that has appeared; returns what was put into it before."""
        found: list[bytes] = []
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            self._add(path, _MASK | inotify.NO_FOLLOW)
            self._adopt(path, found)
        return found

    # --- on the event loop ------------------------------------------------------------------------

    def event(self, watch: int, mask: int, name: bytes) -> None:
        """See inotify.Listener."""
        folder = self._folders.get(watch)
        if folder is None:
            return
        if mask & inotify.IGNORED:
            with self._lock:
                self._folders.pop(watch, None)
            return
        if not name:
            if watch == self._top and mask & (_ITSELF | inotify.ATTRIB):
                self._note(self._path, "deleted" if mask & _ITSELF else "modified")
            return
        if self._only is not None and name != self._only:
            return
        path = folder.rstrip(b"/") + b"/" + name
        for bits, kind in _KINDS:
            if mask & bits:
                self._note(path, kind)
        if mask & inotify.IS_FOLDER and self._recursive and self._only is None:
            if mask & inotify.MOVED_FROM:
                self._forget(path)
            elif mask & (inotify.CREATE | inotify.MOVED_TO):
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
            found = await self._files.worker.change(self._adopt_new, path)
        except Stopped:
            return
        except RpcError:
            self.overflow()
            return
        for below in found:
            self._note(below, "created")

    def _forget(self, path: bytes) -> None:
        """Watch no more what has been moved away with all in it."""
        with self._lock:
            gone = [w for w, at in self._folders.items() if (at + b"/").startswith(path + b"/")]
            for watch in gone:
                del self._folders[watch]
        for watch in gone:
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
        while (self._changes or self._overflow) and not self._stop.asked:
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
        self._stop.ask()
        with self._lock:
            watches = list(self._folders)
            self._folders.clear()
        for watch in watches:
            self._files.inotify.remove(self, watch)
