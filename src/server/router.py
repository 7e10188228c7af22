"""Every method: what its parameters are and who answers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from execnode.protocol import files as fs
from execnode.protocol import messages, methods, processes
from execnode.protocol.capabilities import DiscoverParams, DiscoverRootsParams
from execnode.protocol.config import ConfigReadParams
from execnode.protocol.http import HttpRequestParams
from execnode.server.handlers import capabilities, environment, files, handshake, http, process
from execnode.server.turns import Turn

__all__ = ["ROUTES", "Route"]


class Route(NamedTuple):
    """`handler(connection, params)` gives the result, or an awaitable of it; it raises RpcError.

    An awaitable is awaited when it is the request's turn.
    """

    params: type[msgspec.Struct]
    handler: Callable[..., Any]
    turn: Turn = Turn.NONE


ROUTES: Final[dict[str, Route]] = {
    methods.INITIALIZE: Route(messages.InitializeParams, handshake.initialize),
    methods.ENVIRONMENT_INFO: Route(messages.NoParams, environment.info),
    methods.ENVIRONMENT_STATUS: Route(messages.NoParams, environment.status),
    methods.ENVIRONMENT_CONFIG_READ: Route(ConfigReadParams, environment.read_config),
    methods.PROCESS_START: Route(processes.StartParams, process.start),
    methods.PROCESS_READ: Route(processes.ReadParams, process.read),
    methods.PROCESS_WRITE: Route(processes.WriteParams, process.write),
    methods.PROCESS_SIGNAL: Route(processes.SignalParams, process.signal),
    methods.PROCESS_TERMINATE: Route(processes.TerminateParams, process.terminate),
    methods.PROCESS_RESIZE: Route(processes.ResizeParams, process.resize),
    methods.PROCESS_CLOSE_STDIN: Route(processes.CloseStdinParams, process.close_stdin),
    methods.PROCESS_ATTACH: Route(processes.AttachParams, process.attach),
    methods.PROCESS_LIST: Route(processes.ListParams, process.list_all),
    methods.HTTP_REQUEST: Route(HttpRequestParams, http.request),
    methods.CAPABILITY_ROOTS_DISCOVER_V1: Route(DiscoverRootsParams, capabilities.discover_roots),
    methods.CAPABILITIES_DISCOVER_V2: Route(DiscoverParams, capabilities.discover),
    methods.FS_READ_FILE: Route(fs.ReadFileParams, files.read_file, Turn.LOOK),
    methods.FS_WRITE_FILE: Route(fs.WriteFileParams, files.write_file, Turn.CHANGE),
    methods.FS_CREATE_DIRECTORY: Route(
        fs.CreateDirectoryParams, files.create_directory, Turn.CHANGE
    ),
    methods.FS_GET_METADATA: Route(fs.GetMetadataParams, files.get_metadata, Turn.LOOK),
    methods.FS_CANONICALIZE: Route(fs.CanonicalizeParams, files.canonicalize, Turn.LOOK),
    methods.FS_READ_DIRECTORY: Route(fs.ReadDirectoryParams, files.read_directory, Turn.LOOK),
    methods.FS_WALK: Route(fs.WalkParams, files.walk, Turn.LOOK),
    methods.FS_REMOVE: Route(fs.RemoveParams, files.remove, Turn.CHANGE),
    methods.FS_COPY: Route(fs.CopyParams, files.copy, Turn.CHANGE),
    methods.FS_OPEN: Route(fs.OpenParams, files.open_file, Turn.CHANGE),
    methods.FS_OPEN_ARCHIVE: Route(fs.OpenArchiveParams, files.open_archive, Turn.CHANGE),
    methods.FS_READ_BLOCK: Route(fs.ReadBlockParams, files.read_block, Turn.LOOK),
    methods.FS_WRITE_BLOCK: Route(fs.WriteBlockParams, files.write_block, Turn.CHANGE),
    methods.FS_DIGEST: Route(fs.DigestParams, files.digest, Turn.LOOK),
    methods.FS_CLOSE: Route(fs.CloseParams, files.close, Turn.CHANGE),
    # Changes, so that ids are taken in the order in which they came.
    methods.FS_WATCH_MISSING: Route(fs.WatchMissingParams, files.watch_missing, Turn.CHANGE),
    methods.FS_WATCH: Route(fs.WatchParams, files.watch, Turn.CHANGE),
    methods.FS_UNWATCH: Route(fs.UnwatchParams, files.unwatch, Turn.CHANGE),
}
