"""Errors as values: a code, a sentence, and for some a `data` object.

The sentences and codes are those of the Codex exec-server dialect; clients look at the code, people
at the sentence.
"""

from __future__ import annotations

import errno as _errno
import os
from typing import Any, Final

from .messages import ErrorAnswer, ErrorBody, RequestId

__all__ = [
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "METHOD_NOT_FOUND",
    "NOT_FOUND",
    "SESSION_ATTACHED",
    "FrameTooLargeError",
    "MalformedMessageError",
    "ProtocolError",
    "RpcError",
    "answer_too_large",
    "file_error",
    "initialize_only_once",
    "initialize_required",
    "initialized_required",
    "invalid_params",
    "invalid_request",
    "malformed",
    "method_not_found",
    "missing_program",
    "nul_byte",
    "os_error_message",
    "process_exists",
    "process_starting",
    "session_attached",
    "spawn_failed",
    "start_cancelled",
    "stdin_write_failed",
    "system_error",
    "unknown_handle",
    "unknown_process",
    "unknown_session",
]

INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
NOT_FOUND: Final = -32004
SESSION_ATTACHED: Final = -32010

# The id of the answer to a message whose own id could not be read.
UNREADABLE_ID: Final = -1


class ProtocolError(Exception):
    """Anything wrong with what a peer sent or answered."""


class MalformedMessageError(ProtocolError):
    """Bytes that are no message; `remark` says why. The connection can go on with the next one."""

    def __init__(self, remark: str) -> None:
        super().__init__(remark)
        self.remark = remark


class FrameTooLargeError(ProtocolError):
    """A length prefix of `size` bytes, over `limit`. The stream cannot be followed any further."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"frame of {size} bytes is larger than the limit of {limit} bytes")
        self.size = size
        self.limit = limit


class RpcError(ProtocolError):
    """An error answer: raised by what handles a request, and by a client whose request got one."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def __repr__(self) -> str:
        return f"RpcError({self.code}, {self.message!r}, {self.data!r})"

    def to_answer(self, request_id: RequestId) -> ErrorAnswer:
        """Return the message that tells it to the peer."""
        return ErrorAnswer(request_id, ErrorBody(self.code, self.message, self.data))

    @classmethod
    def from_body(cls, body: ErrorBody) -> RpcError:
        """Return the error that a peer told."""
        return cls(body.code, body.message, body.data)


def invalid_request(message: str, data: Any = None) -> RpcError:
    """-32600: the request is understood and may not be made now, or reaches a limit."""
    return RpcError(INVALID_REQUEST, message, data)


def invalid_params(message: str, data: Any = None) -> RpcError:
    """-32602: the parameters do not decode or break a value rule."""
    return RpcError(INVALID_PARAMS, message, data)


def malformed(error: MalformedMessageError, peer: str) -> RpcError:
    """-32600 for an unreadable message; `peer` is like `stdio` or `websocket 127.0.0.1:4000`."""
    what = "websocket JSON-RPC" if peer.startswith("websocket ") else "JSON-RPC"
    return invalid_request(
        f"failed to parse {what} message from exec-server {peer}: {error.remark}"
    )


def answer_too_large(size: int, limit: int) -> RpcError:
    """-32600 for a request whose answer does not fit a frame of its transport."""
    return invalid_request(
        f"the answer has {size} bytes, and a frame of this transport at most {limit}; "
        "ask for less at once (a file: fs/open and fs/readBlock), or connect by WebSocket"
    )


def method_not_found(method: str) -> RpcError:
    """-32601."""
    return RpcError(METHOD_NOT_FOUND, f"exec-server stub does not implement `{method}` yet")


# --- handshake and sessions -----------------------------------------------------------------------


def initialize_required(family: str) -> RpcError:
    """A request before `initialize`; `family` from methods.FAMILY."""
    return invalid_request(f"client must call initialize before using {family} methods")


def initialized_required(family: str) -> RpcError:
    """A request between `initialize` and `initialized`; `family` from methods.FAMILY."""
    return invalid_request(f"client must send initialized before using {family} methods")


def initialize_only_once() -> RpcError:
    """A second `initialize` on a connection."""
    return invalid_request("initialize may only be sent once per connection")


def session_attached(session_id: str) -> RpcError:
    """-32010: another connection holds the session; a resuming client tries again."""
    return RpcError(
        SESSION_ATTACHED, f"session {session_id} is already attached to another connection"
    )


def unknown_session(session_id: str) -> RpcError:
    """The session never was, or its time is over."""
    return invalid_request(f"unknown session id {session_id}")


# --- processes ------------------------------------------------------------------------------------


def unknown_process(process_id: str) -> RpcError:
    """No such process in this session."""
    return invalid_request(f"unknown process id {process_id}")


def process_exists(process_id: str) -> RpcError:
    """The id is in use, if only by a finished process that is still kept."""
    return invalid_request(f"process {process_id} already exists")


def process_starting(process_id: str) -> RpcError:
    """A read of a process whose start is not finished."""
    return invalid_request(f"process id {process_id} is starting")


def start_cancelled(process_id: str) -> RpcError:
    """The answer to a start that a terminate overtook."""
    return invalid_request(f"process {process_id} start was cancelled")


def missing_program() -> RpcError:
    """-32603: the first item of argv is empty."""
    return RpcError(INTERNAL_ERROR, "missing program for pipe spawn")


def nul_byte() -> RpcError:
    """-32603: an argument, a name, a value or a path has a NUL, which execve(2) cannot take."""
    return RpcError(INTERNAL_ERROR, "nul byte found in provided data")


def stdin_write_failed() -> RpcError:
    """-32603: the program can no longer be reached through its standard input."""
    return RpcError(INTERNAL_ERROR, "failed to write to process stdin")


# --- system errors --------------------------------------------------------------------------------


def os_error_message(errno: int) -> str:
    """Return `DESCRIPTION (os error N)` with the C library's description."""
    return f"{os.strerror(errno)} (os error {errno})"


def system_error(errno: int) -> RpcError:
    """-32603 with the text of `os_error_message`."""
    return RpcError(INTERNAL_ERROR, os_error_message(errno))


_FILE_CODES: Final = {
    _errno.ENOENT: NOT_FOUND,
    _errno.EACCES: INVALID_REQUEST,
    _errno.EPERM: INVALID_REQUEST,
    _errno.EINVAL: INVALID_REQUEST,
}


def file_error(errno: int) -> RpcError:
    """What a file method answers to a system error: the code tells some kinds apart."""
    return RpcError(_FILE_CODES.get(errno, INTERNAL_ERROR), os_error_message(errno))


def unknown_handle(handle_id: str) -> RpcError:
    """-32004: no such file handle on this connection."""
    return RpcError(NOT_FOUND, f"unknown file handle `{handle_id}`")


def spawn_failed(stage: str, errno: int, path: str | None = None) -> RpcError:
    """-32603 for a start that failed in the system.

    The message is that of `os_error_message`, which clients of the dialect know; `data` has the
    stage (`execve`, `chdir`, ...), the errno, its name and, where there is one, the path concerned.
    """
    data = {"stage": stage, "errno": errno, "name": _errno.errorcode.get(errno, str(errno))}
    if path is not None:
        data["path"] = path
    return RpcError(INTERNAL_ERROR, os_error_message(errno), data)
