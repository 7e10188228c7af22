"""fs/walk: a tree breadth first, within limits."""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from execnode.environment.local.files.names import open_folder
from execnode.environment.local.files.paths import place
from execnode.environment.local.files.work import Stop
from execnode.protocol.errors import invalid_request, os_error_message
from execnode.protocol.files import WalkEntry, WalkError, WalkOptions, WalkResponse
from execnode.protocol.uri import format_path_uri

__all__ = ["check_walk", "walk"]

_MAX_DEPTH: Final = 64
_MAX_DIRECTORIES: Final = 10_000
_MAX_ENTRIES: Final = 50_000


def check_walk(options: WalkOptions) -> None:
    """Raise RpcError for limits that no walk may have."""
    if not options.max_directories or not options.max_entries:
        raise invalid_request("filesystem walk limits must be greater than zero")
    if (
        options.max_depth > _MAX_DEPTH
        or options.max_directories > _MAX_DIRECTORIES
        or options.max_entries > _MAX_ENTRIES
    ):
        raise invalid_request(
            f"filesystem walk limits exceed maximums: depth={_MAX_DEPTH}, "
            f"directories={_MAX_DIRECTORIES}, entries={_MAX_ENTRIES}"
        )


def walk(stop: Stop, path: bytes, options: WalkOptions) -> WalkResponse:
    """What is below a path. Raises OSError when there is nothing at it."""
    with place(path) as (folder, name):
        follow = options.follow_directory_symlinks
        status = os.stat(name, dir_fd=folder, follow_symlinks=follow)
    if not stat.S_ISDIR(status.st_mode):
        return WalkResponse([], [], False)
    return _Walk(stop, options).run(path, status)


@dataclass(slots=True)
class _Walk:
    stop: Stop
    options: WalkOptions
    entries: list[WalkEntry] = field(default_factory=list)
    errors: list[WalkError] = field(default_factory=list)
    truncated: bool = False
    # Folders to be read, with their depth; and the identities of those entered, against loops.
    queue: deque[tuple[bytes, int]] = field(default_factory=deque)
    entered: set[tuple[int, int]] = field(default_factory=set)
    read: int = 0

    def run(self, path: bytes, status: os.stat_result) -> WalkResponse:
        """Read folders until there are no more, or no more may be told."""
        self.entered.add((status.st_dev, status.st_ino))
        self.queue.append((path, 0))
        while self.queue and not self.truncated:
            if self.read == self.options.max_directories:
                self.truncated = True
                break
            self.read += 1
            self._folder(*self.queue.popleft())
            self.stop.check()
        return WalkResponse(self.entries, self.errors, self.truncated)

    def _folder(self, path: bytes, depth: int) -> None:
        # Not the path's own last link where none is followed: it may be a folder no more.
        followed = self.options.follow_directory_symlinks or depth == 0
        try:
            folder = open_folder(path, itself=not followed)
        except OSError as error:
            self._failed(path, error)
            return
        try:
            with os.scandir(folder) as scan:
                found = sorted((os.fsencode(entry.name), entry) for entry in scan)
            for name, entry in found:
                self._entry(path.rstrip(b"/") + b"/" + name, name, entry, depth)
                if self.truncated:
                    return
        except OSError as error:
            self._failed(path, error)
        finally:
            os.close(folder)

    def _entry(self, path: bytes, name: bytes, entry: os.DirEntry[str], depth: int) -> None:
        try:
            if entry.is_symlink():
                followed = self.options.follow_directory_symlinks and entry.is_dir()
                kind = "directory" if followed else None
            elif entry.is_dir():
                kind = "directory"
            else:
                kind = "file" if entry.is_file() else None
            status = entry.stat() if kind == "directory" else None
        except OSError as error:
            # A circle of links is no folder, and so nothing that could be told.
            if error.errno not in (errno.ELOOP, errno.ENOENT):
                self._failed(path, error)
            return
        if kind is None:
            return
        if len(self.entries) == self.options.max_entries:
            self.truncated = True
            return
        if status is None:
            self.entries.append(WalkEntry(format_path_uri(path), "file"))
            return
        self.entries.append(WalkEntry(format_path_uri(path), "directory"))
        hidden = self.options.prune_hidden_directories and name.startswith(b".")
        identity = (status.st_dev, status.st_ino)
        if depth < self.options.max_depth and not hidden and identity not in self.entered:
            self.entered.add(identity)
            self.queue.append((path, depth + 1))

    def _failed(self, path: bytes, error: OSError) -> None:
        self.errors.append(WalkError(format_path_uri(path), os_error_message(error.errno or 0)))
