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

# Client to server, no answer.
PROCESS_ACK: Final = "process/ack"

# Server to client.
PROCESS_OUTPUT: Final = "process/output"
PROCESS_EXITED: Final = "process/exited"
PROCESS_CLOSED: Final = "process/closed"
PROCESS_GAP: Final = "process/gap"

# What the sentences about handshake order call each method.
FAMILY: Final[dict[str, str]] = {
    ENVIRONMENT_INFO: "environment info",
    ENVIRONMENT_STATUS: "environment status",
    PROCESS_START: "exec",
    PROCESS_READ: "exec",
    PROCESS_WRITE: "exec",
    PROCESS_SIGNAL: "exec",
    PROCESS_TERMINATE: "exec",
    PROCESS_RESIZE: "exec",
    PROCESS_CLOSE_STDIN: "exec",
    PROCESS_ATTACH: "exec",
    PROCESS_LIST: "exec",
}

# Members of `environmentInfo.capabilities` that say which of our additions a node offers.
CAPABILITIES: Final = (
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
)
