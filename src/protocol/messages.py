"""What all messages have in common, and those that begin a conversation.

Every message is defined once, for both encodings and all transports; those of a family are in a
module of its own: processes.py, files.py, http.py, config.py, capabilities.py.

Python attributes are snake_case, the wire has the camelCase of the same names. Unknown members are
ignored. A member without a default is required. `T | None = None` may be absent or null; any other
default may be absent but not null. Members that have their default value are left out, so a client
of the plain dialect sees nothing of our additions unless they say something. Byte members are byte
strings in CBOR and base64 text in JSON. Paths are `file:` URIs (uri.py).
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from msgspec import UNSET, Meta, Struct, UnsetType

__all__ = [
    "Answer",
    "EmptyResponse",
    "EnvironmentInfo",
    "EnvironmentStatusResponse",
    "ErrorAnswer",
    "ErrorBody",
    "InitializeParams",
    "InitializeResponse",
    "Message",
    "NoParams",
    "Notification",
    "Request",
    "RequestId",
    "Shell",
]

# JSON readers often hold numbers in 64 signed bits, and so does msgspec's check.
Unsigned: TypeAlias = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Signed32: TypeAlias = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
Signed64: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

RequestId: TypeAlias = int | str


class _Message(Struct, frozen=True, rename="camel", omit_defaults=True):
    """What all message types share."""


# --- envelope -------------------------------------------------------------------------------------


class Request(Struct, frozen=True, omit_defaults=True):
    """A call that is answered.

    `params` is one of the params types when sent, and what the codec left undecoded when received.
    """

    id: RequestId
    method: str
    params: Any = None


class Notification(Struct, frozen=True, omit_defaults=True):
    """A message without an answer; `params` as in `Request`."""

    method: str
    params: Any = None


class Answer(Struct, frozen=True):
    """The result of a request; `result` as `params` in `Request`."""

    id: RequestId
    result: Any


class ErrorBody(Struct, frozen=True, omit_defaults=True):
    """The `error` member. `data` is ours: for a failed start {"stage", "errno", "name"}."""

    code: Signed64
    message: str
    data: Any = None


class ErrorAnswer(Struct, frozen=True):
    """The failure of a request. A message that could not be read is answered with id -1."""

    id: RequestId
    error: ErrorBody


Message: TypeAlias = Request | Notification | Answer | ErrorAnswer


class NoParams(_Message, frozen=True, forbid_unknown_fields=True):
    """Parameters of a method that takes none: absent, null or {}; anything else is refused."""


class EmptyResponse(_Message, frozen=True):
    """The result {}."""


# --- handshake and environment --------------------------------------------------------------------


class InitializeParams(_Message, frozen=True):
    """`initialize`.

    `acks`: the client will send process/ack. `session_ttl_ms`: wanted life while detached.
    `additions`: it knows the members and notifications that are not the dialect's; without it they
    are kept from a client that speaks JSON.
    """

    client_name: str
    resume_session_id: str | None = None
    auth_token: str | None = None
    acks: bool = False
    additions: bool = False
    session_ttl_ms: Unsigned | None = None


class Shell(_Message, frozen=True):
    """The user's shell: `bash`, `zsh`, `sh`, ... and its native path."""

    name: str
    path: str


class EnvironmentInfo(_Message, frozen=True):
    """What a node is (`environment/info`, and part of the answer to `initialize`).

    Everything but the shell may be absent; what a node says of itself is sent even when empty.
    """

    shell: Shell
    cwd: str | UnsetType | None = UNSET
    executor_version: str = "0.0.0"
    provider_id: str | UnsetType = UNSET
    user_home_dir: str | UnsetType = UNSET
    platform_os: str | UnsetType = UNSET
    prepend_path_dirs: list[str] | UnsetType = UNSET
    temporary_directories: list[str] | UnsetType = UNSET
    temp_dir: str | UnsetType = UNSET
    capabilities: dict[str, bool] = {}


class InitializeResponse(_Message, frozen=True):
    """The session, the same id again after a resume."""

    session_id: str
    environment_info: EnvironmentInfo


class EnvironmentStatusResponse(_Message, frozen=True):
    """`environment/status`; `ready` is the only value."""

    status: str
