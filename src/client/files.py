"""The files of a node."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from os import PathLike, fsdecode
from pathlib import Path
from typing import Any, Literal, NamedTuple

from execnode.protocol import methods
from execnode.protocol.files import (
    CanonicalizeParams,
    CanonicalizeResponse,
    CopyParams,
    CreateDirectoryParams,
    DirectoryEntry,
    FileResponse,
    GetMetadataParams,
    GetMetadataResponse,
    ReadDirectoryParams,
    ReadDirectoryResponse,
    ReadFileParams,
    ReadFileResponse,
    RemoveParams,
    WalkOptions,
    WalkParams,
    WalkResponse,
    WriteFileParams,
)
from execnode.protocol.sandbox import SandboxContext, SandboxReport

from . import transfer
from .file import RemoteFile
from .filecalls import FileCalls, NodePath, os_errors, path_of, uri_of
from .sandboxed import SandboxedCalls
from .transfer import Transfer
from .watch import MissingWatch, Watch, Watches

__all__ = ["DirEntry", "Files", "Stat", "Walk"]

LocalPath = str | PathLike[str]


class Stat(NamedTuple):
    """What is at a path: kind and size of the target of a link, `is_symlink` of the path itself.

    Size in bytes, times in seconds since 1970 (`created`: None where the file system has none).
    All kinds are false for devices, FIFOs and sockets.
    """

    is_dir: bool
    is_file: bool
    is_symlink: bool
    size: int
    created: float | None
    modified: float


class DirEntry(NamedTuple):
    """One name in a folder, its path, and the kind of what it leads to."""

    name: str
    path: str
    is_dir: bool
    is_file: bool


class Walk(NamedTuple):
    """What is below a folder: paths with their kinds (`file`, `directory`), in breadth-first order.

    `errors`: paths that could not be read, and why. `truncated`: a limit was met.
    """

    entries: list[tuple[str, str]]
    errors: list[tuple[str, str]]
    truncated: bool


class Files:
    """The files of a node: `Node.files`.

    Paths are absolute paths on the node; bytes that are not UTF-8 are as os.fsdecode has them.
    What the node's system refuses is raised as the OSError of its errno (FileNotFoundError, ...),
    what the node itself refuses as RpcError. A broken connection is a pause; where repeating could
    have another effect, AnswerLost is raised.
    """

    def __init__(self, calls: FileCalls, watches: Watches | None = None) -> None:
        self._calls = calls
        self._watches = watches or Watches(calls)

    # --- sandboxes --------------------------------------------------------------------------

    def within(self, sandbox: SandboxContext) -> "Files":
        """The same files, as far as a process in this sandbox could reach them.

        What cannot be written is EROFS, what is denied EACCES, and what is not visible ENOENT.
        Every call raises RpcError when the node cannot enforce the sandbox. It takes the place of
        one that these files are within already.
        """
        calls = self._calls.outside if isinstance(self._calls, SandboxedCalls) else self._calls
        return Files(SandboxedCalls(calls, sandbox), self._watches)

    @property
    def sandbox(self) -> SandboxReport | None:
        """How the sandbox of the latest answer was enforced, and what of it was not.

        None without one, before the first answer, and when the node does not tell.
        """
        return self._calls.report if isinstance(self._calls, SandboxedCalls) else None

    # --- whole files ------------------------------------------------------------------------

    async def read(self, path: NodePath, *, follow_symlinks: bool = True) -> bytes:
        """All bytes of a regular file."""
        params = ReadFileParams(uri_of(path), _unless_default(follow_symlinks))
        answer = await self._ask(methods.FS_READ_FILE, params, ReadFileResponse, path)
        return bytes(answer.data_base64)

    async def write(
        self, path: NodePath, data: bytes, *, atomic: bool = False, follow_symlinks: bool = True
    ) -> None:
        """Create or replace a file. `atomic`: it is the old one or the new one at any moment."""
        if atomic:
            self._calls.require("fsAtomicWrite", "atomic write")
        follow = _unless_default(follow_symlinks)
        params = WriteFileParams(uri_of(path), data, follow, None, atomic)
        await self._ask(methods.FS_WRITE_FILE, params, FileResponse, path)

    async def open(
        self,
        path: NodePath,
        mode: Literal["read", "replace", "update"] = "read",
        *,
        atomic: bool = False,
    ) -> RemoteFile:
        """Open a regular file for reading, or create or empty one for writing.

        `update` keeps what is there. An `atomic` file takes its place when it is closed.
        """
        if mode == "update":
            self._calls.require("fsUpdate", "way to go on writing a file")
        if atomic:
            self._calls.require("fsAtomicWrite", "atomic write")
        return await RemoteFile.open(self._calls, path, mode, atomic=atomic)

    async def download(
        self,
        remote: NodePath,
        local: LocalPath,
        *,
        offset: int = 0,
        length: int | None = None,
        resume: bool = False,
    ) -> Transfer:
        """Copy a file of the node, or a part of it, to a file here.

        `resume`: what the local file has already is taken to be the beginning. Raises
        IntegrityError when the node's SHA-256 is another.
        """
        return await transfer.download(
            self._calls, remote, Path(local), offset=offset, length=length, resume=resume
        )

    async def upload(
        self, local: LocalPath, remote: NodePath, *, resume: bool = False, atomic: bool = False
    ) -> Transfer:
        """Copy a file from here to the node.

        `resume`: if what the node has is the beginning of it, only the rest is sent. Raises
        IntegrityError when the node's SHA-256 is another afterwards.
        """
        if atomic:
            self._calls.require("fsAtomicWrite", "atomic write")
        return await transfer.upload(self._calls, Path(local), remote, resume=resume, atomic=atomic)

    # --- folders and names ------------------------------------------------------------------

    async def stat(self, path: NodePath, *, follow_symlinks: bool = True) -> Stat:
        """What is at a path. `follow_symlinks` False: RpcError for a link anywhere in it."""
        params = GetMetadataParams(uri_of(path), _unless_default(follow_symlinks))
        told = await self._ask(methods.FS_GET_METADATA, params, GetMetadataResponse, path)
        return Stat(
            told.is_directory,
            told.is_file,
            told.is_symlink,
            told.size,
            told.created_at_ms / 1000 if told.created_at_ms else None,
            told.modified_at_ms / 1000,
        )

    async def exists(self, path: NodePath) -> bool:
        """Whether there is something at a path, or at the end of the link there."""
        try:
            await self.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    async def listdir(self, path: NodePath) -> list[DirEntry]:
        """The names in a folder, in no particular order."""
        params = ReadDirectoryParams(uri_of(path))
        told = await self._ask(methods.FS_READ_DIRECTORY, params, ReadDirectoryResponse, path)
        folder = fsdecode(path).rstrip("/")
        return [_entry(folder, entry) for entry in told.entries]

    async def walk(
        self,
        path: NodePath,
        *,
        max_depth: int = 64,
        max_directories: int = 10_000,
        max_entries: int = 50_000,
        follow_symlinks: bool = False,
        prune_hidden: bool = False,
    ) -> Walk:
        """What is below a folder; the limits are also the highest that a node takes.

        `prune_hidden`: folders whose names begin with a dot are not entered.
        """
        options = WalkOptions(
            max_depth, max_directories, max_entries, follow_symlinks, prune_hidden
        )
        params = WalkParams(uri_of(path), options)
        told = await self._ask(methods.FS_WALK, params, WalkResponse, path)
        entries = [(path_of(entry.path), entry.kind) for entry in told.entries]
        errors = [(path_of(error.path), error.message) for error in told.errors]
        return Walk(entries, errors, told.truncated)

    async def mkdir(self, path: NodePath, *, parents: bool = True) -> None:
        """Make a folder. `parents`: also those above it, and it may exist already."""
        params = CreateDirectoryParams(uri_of(path), parents)
        method = methods.FS_CREATE_DIRECTORY
        await self._ask(method, params, FileResponse, path, repeat=parents)

    async def remove(self, path: NodePath, *, recursive: bool = False, force: bool = False) -> None:
        """Remove a file, a link, or a folder; `recursive`: with all in it.

        `force`: it need not exist.
        """
        params = RemoveParams(uri_of(path), recursive, force)
        await self._ask(methods.FS_REMOVE, params, FileResponse, path, repeat=force)

    async def copy(
        self, source: NodePath, destination: NodePath, *, recursive: bool = False
    ) -> None:
        """Copy a file (contents and mode), a link, or with `recursive` a folder into another."""
        params = CopyParams(uri_of(source), uri_of(destination), recursive)
        with os_errors(source, destination):
            await self._calls.call(methods.FS_COPY, params, FileResponse)

    async def realpath(self, path: NodePath) -> str:
        """The absolute path without links of something that exists."""
        params = CanonicalizeParams(uri_of(path))
        told = await self._ask(methods.FS_CANONICALIZE, params, CanonicalizeResponse, path)
        return path_of(told.path)

    # --- changes ----------------------------------------------------------------------------

    @asynccontextmanager
    async def watch(self, path: NodePath, *, recursive: bool = True) -> AsyncIterator[Watch]:
        """Changes at a file or in a folder, to iterate over inside the context."""
        self._calls.require("fsWatch", "watch")
        watch = Watch(self._calls, self._watches, path, recursive=recursive)
        await watch.start()
        try:
            yield watch
        finally:
            await watch.aclose()

    @asynccontextmanager
    async def watch_missing(
        self, missing: Sequence[NodePath], *, present: NodePath | None = None
    ) -> AsyncIterator[MissingWatch | None]:
        """Something to `wait` for until one of these appears or `present` changes.

        None when the node does not watch, for example because one of them is there. A node keeps
        one such watch at a time.
        """
        self._calls.require("fsWatchMissing", "watch for missing files")
        watch = MissingWatch(self._calls, self._watches)
        try:
            watching = await watch.start(list(missing), present)
            yield watch if watching else None
        finally:
            watch.close()

    # --- trees ------------------------------------------------------------------------------

    def read_archive(self, path: NodePath) -> AsyncGenerator[bytes]:
        """A file or a folder's members as a tar stream, in pieces of up to 1 MiB."""
        from . import archive  # which loads tarfile

        return archive.read_archive(self._calls, path)

    async def write_archive(self, chunks: AsyncIterator[bytes], path: NodePath) -> None:
        """Extract a tar stream below a folder of the node."""
        from . import archive

        await archive.write_archive(self._calls, chunks, path)

    async def download_tree(self, remote: NodePath, local: LocalPath) -> None:
        """Copy what is in a folder of the node into a folder here, which is made if missing."""
        from . import archive

        await archive.download_tree(self._calls, remote, Path(local))

    async def upload_tree(self, local: LocalPath, remote: NodePath) -> None:
        """Copy what is in a folder here into a folder of the node."""
        from . import archive

        await archive.upload_tree(self._calls, Path(local), remote)

    async def _ask(
        self, method: str, params: Any, result: Any, path: NodePath, *, repeat: bool = True
    ) -> Any:
        with os_errors(path):
            return await self._calls.call(method, params, result, repeat=repeat)


def _entry(folder: str, entry: DirectoryEntry) -> DirEntry:
    if entry.path is None:
        path = f"{folder}/{entry.file_name}"
        return DirEntry(entry.file_name, path, entry.is_directory, entry.is_file)
    path = path_of(entry.path)
    return DirEntry(path.rpartition("/")[2], path, entry.is_directory, entry.is_file)


def _unless_default(follow_symlinks: bool) -> bool | None:
    return None if follow_symlinks else False
