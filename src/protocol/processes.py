"""The messages of `process/*`, in the form of messages.py."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, field

from .messages import Shell, Signed32, Signed64, Unsigned, _Message
from .sandbox import SandboxContext, SandboxDenial, SandboxReport
from .text import OsMap, OsText, OsTexts

__all__ = [
    "RECORD_COST",
    "AckNotification",
    "AttachParams",
    "AttachResponse",
    "CloseStdinParams",
    "ClosedNotification",
    "EndReason",
    "EnvironmentPolicy",
    "ExitedNotification",
    "Gap",
    "GapNotification",
    "Limits",
    "ListParams",
    "ListResponse",
    "OutputChunk",
    "OutputNotification",
    "ProcessSummary",
    "ReadParams",
    "ReadResponse",
    "ResizeParams",
    "Retention",
    "ShellSnapshot",
    "SignalParams",
    "StartMetadata",
    "StartParams",
    "StartResponse",
    "Stream",
    "StreamTotal",
    "TerminalSize",
    "TerminateParams",
    "TerminateResponse",
    "TreeLimit",
    "WriteParams",
    "WriteResponse",
]

Side: TypeAlias = Annotated[int, Meta(ge=1, le=2**16 - 1)]
# A list: msgspec 0.22 misreads the length of a fixed tuple in a union with a bounded number.
LimitPair: TypeAlias = Annotated[list[Unsigned], Meta(min_length=2, max_length=2)]
Stream: TypeAlias = Literal["stdout", "stderr", "pty"]
EndReason: TypeAlias = Literal["exit", "signal", "timeout", "oom", "killed", "policy", "lost"]

# What a log record counts for against a retention, beyond its bytes.
RECORD_COST = 24

# --- process/start --------------------------------------------------------------------------------


class EnvironmentPolicy(_Message, frozen=True):
    """How the child's base environment is made from the node's own (policy/environment.py)."""

    inherit: Literal["core", "all", "none"]
    ignore_default_excludes: bool
    exclude: OsTexts
    set: OsMap
    include_only: OsTexts

    def __post_init__(self) -> None:
        # Far more than anybody writes, and few enough to compile and try without being noticed.
        if sum(len(pattern) + 1 for pattern in (*self.exclude, *self.include_only)) > 16_384:
            raise ValueError("exclude and includeOnly must not exceed 16384 bytes")


class TerminalSize(_Message, frozen=True):
    """Character cells."""

    rows: Side
    cols: Side


class Retention(_Message, frozen=True):
    """What a log keeps and what happens at the limit. `max_bytes` None: the node's default."""

    mode: Literal["block", "drop-oldest"]
    max_bytes: Unsigned | None = None


TreeLimit: TypeAlias = Literal["pids", "memoryBytes", "cpu"]


class Limits(_Message, frozen=True):
    """What a process may take, and what it and all it starts may take together.

    `rlimits`, for each process: names of setrlimit(2), like `nofile` -> both limits, or [soft,
    hard]. For all together, by a cgroup: `pids`, how many there may be, threads included;
    `memory_bytes`; `cpu`, how many processors' time. `optional`: those of these that may be left
    out where the node cannot have them; the answer then says so.
    """

    rlimits: dict[str, Unsigned | LimitPair] = field(default_factory=dict)
    pids: Side | None = None
    memory_bytes: Unsigned | None = None
    cpu: Annotated[float, Meta(gt=0, le=65536)] | None = None
    optional: list[TreeLimit] = field(default_factory=list)


class StartMetadata(_Message, frozen=True):
    """Attribution only."""

    thread_id: str | None = None
    tool_call_id: str | None = None


class ShellSnapshot(_Message, frozen=True):
    """A scope whose shell state may be cached."""

    scope_id: str
    shell: Shell

    def __post_init__(self) -> None:
        if not 1 <= len(self.scope_id.encode()) <= 256:
            raise ValueError("scopeId must be between 1 and 256 bytes")


class StartParams(_Message, frozen=True):
    """`process/start`. Without `env_policy` the environment is exactly `env`."""

    process_id: str
    argv: OsTexts
    cwd: str
    env: OsMap
    tty: bool
    pipe_stdin: bool = False
    arg0: OsText | None = None
    env_policy: EnvironmentPolicy | None = None
    sandbox: SandboxContext | None = None
    metadata: StartMetadata | None = None
    enforce_managed_network: bool = False
    managed_network: dict[str, Any] | None = None
    network_proxy: dict[str, Any] | None = None
    shell_snapshot: ShellSnapshot | None = None
    retention: Retention | None = None
    size: TerminalSize | None = None
    limits: Limits | None = None
    timeout_ms: Unsigned | None = None
    grace_ms: Unsigned | None = None
    digest: Literal["crc32c", "sha256"] | None = None

    def __post_init__(self) -> None:
        if not self.argv.items:
            raise ValueError("argv must not be empty")


class StartResponse(_Message, frozen=True):
    """`sandbox_type` is `none` or `linuxSeccomp`; `ref` names the process node-wide.

    `sandbox` tells more of the sandbox that was asked for, `unlimited` which optional limits the
    process does not have. `max_bytes`: the retention in force. A
    client that acknowledges must do so before that much is unacknowledged, counting each
    notification as its bytes and RECORD_COST more.
    """

    process_id: str
    sandbox_type: str
    pid: Unsigned | None = None
    ref: str | None = None
    max_bytes: Unsigned | None = None
    sandbox: SandboxReport | None = None
    unlimited: list[TreeLimit] = field(default_factory=list)


# --- other process methods ------------------------------------------------------------------------


class ReadParams(_Message, frozen=True):
    """`process/read`. None: from the start, without limit, without waiting."""

    process_id: str
    after_seq: Unsigned | None = None
    max_bytes: Unsigned | None = None
    wait_ms: Unsigned | None = None


class OutputChunk(_Message, frozen=True):
    """Bytes as they came from one read; `offset` counts them from the start of the stream."""

    seq: Unsigned
    stream: Stream
    chunk: bytes
    offset: Unsigned | None = None


class Gap(_Message, frozen=True):
    """Output that was dropped: its first and last seq, and its bytes per stream."""

    from_seq: Unsigned
    to_seq: Unsigned
    stream_bytes: dict[str, Unsigned] = field(name="bytes")


class ReadResponse(_Message, frozen=True):
    """Kept chunks after the asked seq, and the state at the moment of the answer."""

    chunks: list[OutputChunk]
    next_seq: Unsigned
    exited: bool
    exit_code: Signed32 | None
    closed: bool
    failure: str | None
    sandbox_denied: bool
    gap: Gap | None = None
    reason: EndReason | None = None
    signal: str | None = None


class WriteParams(_Message, frozen=True):
    """`process/write`. A repeated `write_id` of one process is accepted and not written again."""

    process_id: str
    chunk: bytes
    write_id: str | None = None

    def __post_init__(self) -> None:
        if self.write_id == "":
            raise ValueError("writeId must not be empty")
        if self.write_id is not None and len(self.write_id.encode()) > 1024:
            raise ValueError("writeId must not exceed 1024 bytes")


class WriteResponse(_Message, frozen=True):
    """What became of the write."""

    status: Literal["accepted", "unknownProcess", "stdinClosed", "starting"]


class SignalParams(_Message, frozen=True):
    """`process/signal`: `interrupt`, or a name that signals.py knows. Result {}."""

    process_id: str
    signal: str


class TerminateParams(_Message, frozen=True):
    """`process/terminate`. `leftovers`: also end what an exited process left behind."""

    process_id: str
    grace_ms: Unsigned | None = None
    leftovers: bool = False


class TerminateResponse(_Message, frozen=True):
    """`running`: it was running and its end has begun. `method`: what reached the whole tree."""

    running: bool
    method: Literal["cgroup", "lineage", "group"] | None = None


class ResizeParams(_Message, frozen=True):
    """`process/resize`. Result {}."""

    process_id: str
    size: TerminalSize


class CloseStdinParams(_Message, frozen=True):
    """`process/closeStdin`. Result {}."""

    process_id: str


class AttachParams(_Message, frozen=True):
    """`process/attach`: notifications go on at `after_seq` + 1, or at the end.

    With `ref`, a process of any session is bound under `process_id` for viewing. `offsets`: the
    bytes of each stream that the client has, so that a gap can be counted to the byte.
    """

    process_id: str
    after_seq: Unsigned | None = None
    offsets: dict[str, Unsigned] = field(default_factory=dict)
    skip_to: Literal["end"] | None = None
    ref: str | None = None


class AttachResponse(_Message, frozen=True):
    """The state of the process; `next_seq` is what its next event will get."""

    next_seq: Unsigned
    exited: bool
    exit_code: Signed32 | None
    closed: bool
    tty: bool
    reason: EndReason | None = None
    signal: str | None = None
    pid: Unsigned | None = None
    ref: str | None = None
    max_bytes: Unsigned | None = None


class ListParams(_Message, frozen=True):
    """`process/list`. `all_sessions` (wire: `all`): every session of the node."""

    all_sessions: bool = field(default=False, name="all")


class ProcessSummary(_Message, frozen=True):
    """One process of a list; `process_id` is None when it has none in this session."""

    process_id: str | None
    ref: str
    pid: Unsigned
    argv: OsTexts
    cwd: str
    tty: bool
    started_at_ms: Signed64
    exited: bool
    exit_code: Signed32 | None
    closed: bool
    reason: EndReason | None
    client_name: str
    attached: bool
    stream_bytes: dict[str, Unsigned] = field(name="bytes")
    sandbox_denied: bool = False


class ListResponse(_Message, frozen=True):
    """Processes, oldest first."""

    processes: list[ProcessSummary]


# --- notifications --------------------------------------------------------------------------------


class AckNotification(_Message, frozen=True):
    """`process/ack`, client to server: the client holds everything up to `seq`."""

    process_id: str
    seq: Unsigned


class OutputNotification(_Message, frozen=True):
    """`process/output`. The members are those of `OutputChunk`."""

    process_id: str
    seq: Unsigned
    stream: Stream
    chunk: bytes
    offset: Unsigned | None = None


class ExitedNotification(_Message, frozen=True):
    """`process/exited`. `exit_code` is 128 + number for a signal, -1 when it is not known."""

    process_id: str
    seq: Unsigned
    exit_code: Signed32
    sandbox_denied: bool
    reason: EndReason | None = None
    signal: str | None = None
    denial: SandboxDenial | None = None


class StreamTotal(_Message, frozen=True):
    """All bytes of a stream; `digest` is `crc32c:` + 8 hex digits or `sha256:` + 64."""

    total: Unsigned = field(name="bytes")
    digest: str | None = None


class ClosedNotification(_Message, frozen=True):
    """`process/closed`: the last record, after the exit and the end of every stream."""

    process_id: str
    seq: Unsigned
    streams: dict[str, StreamTotal] = field(default_factory=dict)


class GapNotification(_Message, frozen=True):
    """`process/gap`: output that this client will not get."""

    process_id: str
    from_seq: Unsigned
    to_seq: Unsigned
    stream_bytes: dict[str, Unsigned] = field(name="bytes")
