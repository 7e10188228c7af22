from typing import Any, Final, Literal, Protocol, TypeAlias, final

from typing_extensions import Buffer

_Stream: TypeAlias = Literal["stdout", "stderr", "pty"]
_EndedBy: TypeAlias = Literal["killed", "timeout", "oom", "policy"]
_Reason: TypeAlias = Literal["exit", "signal", "timeout", "oom", "killed", "policy", "lost"]

STREAMS: Final[tuple[Literal["stdout"], Literal["stderr"], Literal["pty"]]]

REASONS: Final[dict[str, bytes]]

# The kinds of events.
FRAME: Final = 0
QUEUED: Final = 1
OVERSIZE: Final = 2
EOF: Final = 3
BROKEN: Final = 4
DRAINED: Final = 5
MARK: Final = 6
GAP: Final = 7
EXITED: Final = 8
ENDED: Final = 9
NEWS: Final = 10
WRITTEN: Final = 11

# The ways to keep messages apart.
FRAMES: Final = 0
LINES: Final = 1
WEBSOCKET: Final = 2

# The marks of a log.
MARK_EXITED: Final = 1
MARK_CLOSED: Final = 2

# What became of a write.
ACCEPTED: Final = 0
REPEATED: Final = 1
WAITING: Final = 2
CLOSED: Final = 3
FULL: Final = 4
FAILED: Final = 5

_Event: TypeAlias = (
    tuple[Literal[0], Channel, bytes]
    | tuple[Literal[1], Channel, bytes, int]
    | tuple[Literal[2], Channel, int]
    | tuple[Literal[3], Channel]
    | tuple[Literal[4], Channel, int]
    | tuple[Literal[5], Channel]
    | tuple[Literal[6], Channel, Process, int, Literal[1, 2], str]
    | tuple[Literal[7], Channel, Process, int, int, dict[str, int]]
    | tuple[Literal[8], Process]
    | tuple[Literal[9], Process]
    | tuple[Literal[10], Process]
    | tuple[Literal[11], Process, int, int]
)

class _Hasher(Protocol):
    @property
    def name(self) -> str: ...
    def update(self, data: Buffer, /) -> None: ...
    def hexdigest(self) -> str: ...

class SpawnError(OSError):
    stage: str
    def __init__(self, stage: str, number: int) -> None: ...

ACCESSES: Final[dict[str, int]]
NETWORKS: Final[dict[str, int]]
PROTECTIONS: Final[dict[str, str]]

def landlock_abi() -> int: ...
def sweep_placeholder(path: bytes) -> bool: ...

@final
class Sandbox:
    def __new__(
        cls,
        rules: list[tuple[bytes, Literal["deny", "read", "write"]]],
        *,
        network: Literal["full", "ports", "none"] = "none",
        connect: list[int] = ...,
        bind: list[int] = ...,
    ) -> Sandbox: ...
    @property
    def lacks(self) -> tuple[str, ...]: ...

@final
class Engine:
    waited_for: bool
    def __new__(
        cls, *, memory_limit: int, spill_dir: str | bytes | None = None, spill_limit: int = 0
    ) -> Engine: ...
    @property
    def busy(self) -> bool: ...
    @property
    def processes(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def memory_used(self) -> int: ...
    @property
    def spill_used(self) -> int: ...
    def fileno(self) -> int: ...
    def wake(self) -> None: ...
    def poll(self) -> list[_Event]: ...
    def open_channel(
        self, in_fd: int, out_fd: int, *, max_frame: int, framing: Literal[0, 1, 2] = 0
    ) -> Channel: ...
    def spawn(
        self,
        paths: list[bytes],
        argv: list[bytes],
        env: list[bytes],
        cwd: bytes,
        *,
        size: tuple[int, int] | None = None,
        stdin: bool = False,
        cgroup_fd: int = -1,
        rlimits: dict[int, tuple[int, int]] | None = None,
        drop_oldest: bool = False,
        retention: int = ...,
        memory: int = ...,
        hashers: dict[int, _Hasher] | None = None,
        outlive: bool = False,
        sandbox: Sandbox | None = None,
        inherit: list[int] | None = None,
    ) -> Process: ...
    def close(self) -> None: ...

@final
class Process:
    owner: Any
    watched: bool
    caller_tells: bool
    @property
    def ended_by(self) -> _EndedBy | None: ...
    @ended_by.setter
    def ended_by(self, reason: _EndedBy) -> None: ...
    @property
    def ending(self) -> tuple[int, _Reason, str | None]: ...
    @property
    def exited_seq(self) -> int: ...
    @property
    def pid(self) -> int: ...
    @property
    def tty(self) -> bool: ...
    @property
    def exited(self) -> bool: ...
    @property
    def ended(self) -> bool: ...
    @property
    def exit_code(self) -> int | None: ...
    @property
    def exit_signal(self) -> int | None: ...
    @property
    def next_seq(self) -> int: ...
    @property
    def base_seq(self) -> int: ...
    @property
    def retention(self) -> int: ...
    @property
    def input_open(self) -> bool: ...
    def totals(self) -> dict[str, int]: ...
    def digests(self) -> dict[str, str]: ...
    def read(
        self, after_seq: int, max_bytes: int
    ) -> tuple[list[tuple[int, _Stream, int, bytes]], int, tuple[int, int] | None]: ...
    def write(
        self, data: bytes, write_id: bytes = b""
    ) -> tuple[Literal[0, 1, 2, 3, 4, 5], int, int]: ...
    def close_input(self) -> bool: ...
    def signal(self, number: int) -> None: ...
    def resize(self, rows: int, cols: int) -> None: ...
    def hold(self, seq: int) -> None: ...
    def release(self) -> None: ...
    def close(self) -> None: ...

@final
class Blob:
    def __new__(cls, size: int) -> Blob: ...
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def truncate(self, size: int) -> None: ...

@final
class Channel:
    owner: Any
    @property
    def closed(self) -> bool: ...
    @property
    def queued(self) -> int: ...
    def encode_as(self, *, json: bool, plain: bool) -> None: ...
    def ready(self, *, max_frame: int, acks: bool) -> None: ...
    def send(self, body: bytes) -> None: ...
    def send_raw(self, data: bytes) -> None: ...
    def send_blob(self, head: bytes, blob: Blob, tail: bytes) -> None: ...
    def attach(
        self,
        process: Process,
        name: bytes,
        after_seq: int,
        *,
        protect: bool = True,
        offsets: dict[str, int] | None = None,
    ) -> None: ...
    def skip(self, process: Process) -> None: ...
    def pass_on(self, process: Process, seq: int, body: bytes) -> None: ...
    def streams(self, process: Process) -> bool: ...
    def ack(self, process: Process, seq: int) -> None: ...
    def unconfirmed(self, process: Process) -> int: ...
    def detach(self, process: Process) -> None: ...
    def notify_drained(self) -> None: ...
    def close(self) -> None: ...
