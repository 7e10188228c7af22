"""The messages of `fs/*`, in the form of messages.py.

`path` and its like are `file:` URIs. `sandbox` is the profile under which the file system is
reached; None: as the node itself. `follow_symlinks` False refuses a link anywhere in the path;
None and True follow links.
"""

from __future__ import annotations

from typing import Literal

from msgspec import field

from .errors import RpcError, invalid_request
from .messages import Signed64, Unsigned, _Message
from .sandbox import SandboxContext, SandboxReport

__all__ = [
    "CanonicalizeParams",
    "CanonicalizeResponse",
    "Change",
    "ChangedNotification",
    "CloseParams",
    "CopyParams",
    "CreateDirectoryParams",
    "DigestParams",
    "DigestResponse",
    "DirectoryEntry",
    "FileResponse",
    "GetMetadataParams",
    "GetMetadataResponse",
    "MissingChangedNotification",
    "OpenArchiveParams",
    "OpenParams",
    "OpenResponse",
    "ReadBlockParams",
    "ReadBlockResponse",
    "ReadDirectoryParams",
    "ReadDirectoryResponse",
    "ReadFileParams",
    "ReadFileResponse",
    "RemoveParams",
    "UnwatchParams",
    "WalkEntry",
    "WalkError",
    "WalkOptions",
    "WalkParams",
    "WalkResponse",
    "WatchMissingParams",
    "WatchMissingResponse",
    "WatchParams",
    "WriteBlockParams",
    "WriteFileParams",
]


class FileResponse(_Message, frozen=True, kw_only=True):
    """The result {} of a request that may be made in a sandbox, and what all such results share.

    `sandbox` (ours): how that sandbox is enforced; None without one.
    """

    sandbox: SandboxReport | None = None


# --- whole files ----------------------------------------------------------------------------------


class ReadFileParams(_Message, frozen=True):
    """`fs/readFile`."""

    path: str
    follow_symlinks: bool | None = None
    sandbox: SandboxContext | None = None


class ReadFileResponse(FileResponse, frozen=True, kw_only=True):
    """All bytes of the file, behind what is told of the sandbox."""

    data_base64: bytes = field(name="dataBase64")


class WriteFileParams(_Message, frozen=True):
    """`fs/writeFile`. Result {}.

    `atomic` (ours): the file is replaced by a whole new one or stays as it is.
    """

    path: str
    data_base64: bytes = field(name="dataBase64")
    follow_symlinks: bool | None = None
    sandbox: SandboxContext | None = None
    atomic: bool = False

    @staticmethod
    def bad_base64(remark: str) -> RpcError:
        """The dialect's own answer to bytes that are no base64 text."""
        return invalid_request(f"fs/writeFile requires valid base64 dataBase64: {remark}")


# --- folders and names ----------------------------------------------------------------------------


class CreateDirectoryParams(_Message, frozen=True):
    """`fs/createDirectory`. `recursive` None: true. Result {}."""

    path: str
    recursive: bool | None = None
    follow_symlinks: bool | None = None
    sandbox: SandboxContext | None = None


class GetMetadataParams(_Message, frozen=True):
    """`fs/getMetadata`."""

    path: str
    follow_symlinks: bool | None = None
    sandbox: SandboxContext | None = None


class GetMetadataResponse(FileResponse, frozen=True):
    """Kind, size in bytes and times of what the path leads to; `is_symlink` is the path's own.

    All kinds are false for devices, FIFOs and sockets. `created_at_ms` is 0 when it is not known.
    """

    is_directory: bool
    is_file: bool
    is_symlink: bool
    size: Unsigned
    created_at_ms: Signed64
    modified_at_ms: Signed64


class CanonicalizeParams(_Message, frozen=True):
    """`fs/canonicalize`."""

    path: str
    sandbox: SandboxContext | None = None


class CanonicalizeResponse(FileResponse, frozen=True):
    """The absolute path without links."""

    path: str


class ReadDirectoryParams(_Message, frozen=True):
    """`fs/readDirectory`."""

    path: str
    sandbox: SandboxContext | None = None


class DirectoryEntry(_Message, frozen=True):
    """One name of a folder, and the kind of what it leads to.

    Both kinds are false for special files and for links that lead nowhere. `path` (ours) is there
    when the name is not UTF-8, so that `file_name`, which has U+FFFD instead, does not lead to it.
    """

    file_name: str
    is_directory: bool
    is_file: bool
    path: str | None = None


class ReadDirectoryResponse(FileResponse, frozen=True):
    """The entries, in no particular order."""

    entries: list[DirectoryEntry]


class WalkOptions(_Message, frozen=True):
    """How far a walk goes. `max_depth` 0: only the start's own entries."""

    max_depth: Unsigned
    max_directories: Unsigned
    max_entries: Unsigned
    follow_directory_symlinks: bool
    prune_hidden_directories: bool = False


class WalkParams(_Message, frozen=True):
    """`fs/walk`."""

    path: str
    options: WalkOptions
    sandbox: SandboxContext | None = None


class WalkEntry(_Message, frozen=True):
    """A file or folder that was met."""

    path: str
    kind: Literal["file", "directory"]


class WalkError(_Message, frozen=True):
    """A part that could not be read, and why."""

    path: str
    message: str


class WalkResponse(FileResponse, frozen=True):
    """Breadth first, by name in byte order inside each folder. `truncated`: a limit was met."""

    entries: list[WalkEntry]
    errors: list[WalkError]
    truncated: bool


class RemoveParams(_Message, frozen=True):
    """`fs/remove`. `recursive` and `force` None: true. Result {}."""

    path: str
    recursive: bool | None = None
    force: bool | None = None
    follow_symlinks: bool | None = None
    sandbox: SandboxContext | None = None


class CopyParams(_Message, frozen=True):
    """`fs/copy`. Result {}."""

    source_path: str
    destination_path: str
    recursive: bool
    sandbox: SandboxContext | None = None


# --- handles --------------------------------------------------------------------------------------


class OpenParams(_Message, frozen=True):
    """`fs/open`.

    `read`: a regular file. `replace`: create or empty a file for writing. `update` (ours): create
    or keep a file for writing, to go on with an upload. `atomic` (ours, with `replace`): the file
    takes its place when the handle is closed, and not at all if the connection ends before.
    """

    handle_id: str
    path: str
    mode: Literal["read", "replace", "update"] = "read"
    sandbox: SandboxContext | None = None
    atomic: bool = False


class OpenResponse(FileResponse, frozen=True):
    """The same handle, and (ours) the bytes of the file; None for an archive."""

    handle_id: str
    size: Unsigned | None = None


class ReadBlockParams(_Message, frozen=True):
    """`fs/readBlock`: `length` (wire: `len`) bytes at most."""

    handle_id: str
    offset: Unsigned
    length: Unsigned = field(name="len")


class ReadBlockResponse(_Message, frozen=True):
    """`eof`: these are fewer bytes than asked."""

    chunk: bytes
    eof: bool


class WriteBlockParams(_Message, frozen=True):
    """`fs/writeBlock`. Result {} when all bytes are written."""

    handle_id: str
    offset: Unsigned
    chunk: bytes


class CloseParams(_Message, frozen=True):
    """`fs/close`. Result {}, for unknown handles too."""

    handle_id: str


class DigestParams(_Message, frozen=True):
    """`fs/digest` (ours): of a part of an open file. `length` None: to its end."""

    handle_id: str
    algorithm: Literal["sha256", "crc32c"]
    offset: Unsigned = 0
    length: Unsigned | None = None


class DigestResponse(_Message, frozen=True):
    """`total` (wire: `bytes`) bytes; the digest as `crc32c:` + 8 or `sha256:` + 64 hex digits."""

    total: Unsigned = field(name="bytes")
    digest: str


class OpenArchiveParams(_Message, frozen=True):
    """`fs/openArchive` (ours): a tree as a tar stream (pax), through a handle.

    `read`: fs/readBlock gives what is at `path`, a folder's members by names relative to it.
    `extract`: fs/writeBlock takes what goes below the folder `path`, and fs/close says whether all
    went well. Blocks follow one another: another offset than the running one is refused.
    """

    handle_id: str
    path: str
    mode: Literal["read", "extract"]
    sandbox: SandboxContext | None = None


# --- watches --------------------------------------------------------------------------------------


class WatchMissingParams(_Message, frozen=True):
    """`fs/watchMissing`: tell once when one of these appears or `present` changes."""

    watch_id: Unsigned
    missing: list[str]
    present: str | None = None
    sandbox: SandboxContext | None = None


class WatchMissingResponse(FileResponse, frozen=True):
    """False: nothing is watched, and what the client knows may be stale already."""

    watching: bool


class MissingChangedNotification(_Message, frozen=True):
    """`fs/missingChanged`, server to client; the watch is over."""

    watch_id: Unsigned


class WatchParams(_Message, frozen=True):
    """`fs/watch` (ours): tell of changes at a file, or in a folder. Result {}."""

    watch_id: Unsigned
    path: str
    recursive: bool = True
    sandbox: SandboxContext | None = None


class UnwatchParams(_Message, frozen=True):
    """`fs/unwatch` (ours). Result {}, for unknown watches too."""

    watch_id: Unsigned


class Change(_Message, frozen=True):
    """Something that happened to a path. A rename is a deletion and a creation."""

    path: str
    kind: Literal["created", "modified", "deleted"]


class ChangedNotification(_Message, frozen=True):
    """`fs/changed`, server to client. `overflow`: more happened than could be told; look again."""

    watch_id: Unsigned
    changes: list[Change]
    overflow: bool
