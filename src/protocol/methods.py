"""Names of the methods and notifications, and the family that each request method belongs to."""

from __future__ import annotations

from typing import Final

INITIALIZE: Final = "initialize"
INITIALIZED: Final = "initialized"

ENVIRONMENT_INFO: Final = "environment/info"
ENVIRONMENT_STATUS: Final = "environment/status"

PROCESS_START: Final = "process/start"
PROCESS_READ: Final = "process/read"
PROCESS_WRITE: Final = "process/write"
PROCESS_SIGNAL: Final = "process/signal"
PROCESS_TERMINATE: Final = "process/terminate"
PROCESS_RESIZE: Final = "process/resize"
PROCESS_CLOSE_STDIN: Final = "process/closeStdin"
PROCESS_ATTACH: Final = "process/attach"
PROCESS_LIST: Final = "process/list"

FS_READ_FILE: Final = "fs/readFile"
FS_WRITE_FILE: Final = "fs/writeFile"
FS_CREATE_DIRECTORY: Final = "fs/createDirectory"
FS_GET_METADATA: Final = "fs/getMetadata"
FS_CANONICALIZE: Final = "fs/canonicalize"
FS_READ_DIRECTORY: Final = "fs/readDirectory"
FS_WALK: Final = "fs/walk"
FS_REMOVE: Final = "fs/remove"
FS_COPY: Final = "fs/copy"
FS_OPEN: Final = "fs/open"
FS_READ_BLOCK: Final = "fs/readBlock"
FS_WRITE_BLOCK: Final = "fs/writeBlock"
FS_CLOSE: Final = "fs/close"
FS_WATCH_MISSING: Final = "fs/watchMissing"
FS_WATCH: Final = "fs/watch"
FS_UNWATCH: Final = "fs/unwatch"
FS_DIGEST: Final = "fs/digest"
FS_OPEN_ARCHIVE: Final = "fs/openArchive"

HTTP_REQUEST: Final = "http/request"
ENVIRONMENT_CONFIG_READ: Final = "environmentConfig/read"
CAPABILITY_ROOTS_DISCOVER_V1: Final = "capabilityRoots/discoverV1"
CAPABILITIES_DISCOVER_V2: Final = "capabilities/discoverV2"

# Client to server, no answer.
PROCESS_ACK: Final = "process/ack"

# Server to client.
PROCESS_OUTPUT: Final = "process/output"
PROCESS_EXITED: Final = "process/exited"
PROCESS_CLOSED: Final = "process/closed"
PROCESS_GAP: Final = "process/gap"
FS_MISSING_CHANGED: Final = "fs/missingChanged"
FS_CHANGED: Final = "fs/changed"
HTTP_BODY_DELTA: Final = "http/request/bodyDelta"

_FAMILIES: Final = {
    "process/": "exec",
    "fs/": "filesystem",
    "http/": "http",
    "environment/info": "environment info",
    "environment/status": "environment status",
    "environmentConfig/": "environment config",
    "capabilit": "capability discovery",
}


def family(method: str) -> str:
    """What the sentences about handshake order call a request method and its like."""
    return next(name for prefix, name in _FAMILIES.items() if method.startswith(prefix))


# Members of `environmentInfo.capabilities` that say which optional features and additions of ours a
# node offers.
CAPABILITIES: Final = (
    "capabilityDiscoverySandbox",
    "capabilityDiscoveryV2",
    "environmentConfigRead",
    "fileWriteStreaming",
    "fsArchive",
    "fsAtomicWrite",
    "fsDigest",
    "fsUpdate",
    "fsWatch",
    "fsWatchMissing",
    "httpHeaderEnvVars",
    "processAck",
    "processAttach",
    "processCloseStdin",
    "processDigest",
    "processGap",
    "processLimits",
    "processList",
    "processResize",
    "processRetention",
    "processSignalNames",
    "processTimeout",
    "processTreeLimits",
    "sandboxedFileStreaming",
)
