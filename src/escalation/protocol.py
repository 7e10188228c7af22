"""The words of the escalation protocol, without I/O; docs/escalation.md describes it.

engine/_seccomp/escalation.h has the same kinds and numbers for the wrapper.
"""

import struct
from dataclasses import dataclass
from typing import Final

__all__ = [
    "DESCRIPTORS",
    "DESCRIPTORS_MAX",
    "DESCRIPTOR_LAST",
    "HEAD",
    "REQUEST",
    "REQUEST_MAX",
    "SIGNAL",
    "SMALL_MAX",
    "WISH_EXEC",
    "WISH_SUPERVISE",
    "ExecRequest",
    "ProtocolError",
    "deny_frame",
    "escalate_frame",
    "exited_frame",
    "killed_frame",
    "open_ones",
    "parse_head",
    "parse_request",
    "run_frame",
    "signal_frame",
]

# What a message on the inherited socket asks for.
WISH_EXEC: Final = b"E"
WISH_SUPERVISE: Final = b"S"

# The kinds of frames that come from a wrapper.
REQUEST: Final = b"Q"
DESCRIPTORS: Final = b"F"
SIGNAL: Final = b"S"

HEAD: Final = 5
"""Bytes before a frame's payload: its kind and its length."""
REQUEST_MAX: Final = 8 << 20
"""Linux takes at most 6 MiB of strings and of pointers to them, execve(2); paths come on top."""
_POINTER: Final = 8
_STRING_MEMORY: Final = 56
"""Bytes of memory that a string takes beside its own, on average at most."""
SMALL_MAX: Final = 64
"""Bytes that any other payload may have."""
DESCRIPTORS_MAX: Final = 61
"""How many can be asked for: with what the engine adds, no more than it passes on."""
DESCRIPTOR_LAST: Final = 0xFFFF
"""The greatest that can be asked for."""
_REASON_MAX: Final = 2000
_COUNTS: Final = struct.Struct(">III")


class ProtocolError(Exception):
    """What a wrapper sent is not of this protocol."""


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """An exec that is asked about, as the process that asked says; none of it can be relied on.

    workdir: its working folder, absolute, or empty when that has no name any more.
    file: what it would execute, absolute if the working folder is known.
    """

    file: bytes
    argv: tuple[bytes, ...]
    workdir: bytes
    env: tuple[bytes, ...]
    umask: int

    @property
    def memory(self) -> int:
        """Bytes of memory that it takes, about."""
        strings = (*self.argv, *self.env)
        return sum(map(len, strings)) + _STRING_MEMORY * len(strings)


def parse_head(head: bytes) -> tuple[bytes, int]:
    """The kind of a frame and the bytes of its payload. Raises ProtocolError."""
    kind, length = head[:1], int.from_bytes(head[1:], "big")
    if length > (REQUEST_MAX if kind == REQUEST else SMALL_MAX):
        raise ProtocolError(f"a frame of {length} bytes")
    return kind, length


def parse_request(payload: bytes) -> ExecRequest:
    """What is asked. Raises ProtocolError."""
    if len(payload) <= _COUNTS.size or payload[-1]:
        raise ProtocolError("a request without its strings")
    argc, envc, umask = _COUNTS.unpack_from(payload)
    if len(payload) + (argc + envc) * _POINTER > REQUEST_MAX:
        raise ProtocolError("a request of more than could be executed")
    strings = payload[_COUNTS.size : -1].split(b"\0")
    if len(strings) != 2 + argc + envc or argc < 1:
        raise ProtocolError("a request whose counts are not those of its strings")
    workdir, file = strings[:2]
    if workdir[:1] not in (b"", b"/") or not file:
        raise ProtocolError("a request without a file, or from a relative folder")
    if not file.startswith(b"/") and workdir:
        file = workdir.rstrip(b"/") + b"/" + file
    argv, env = strings[2 : 2 + argc], strings[2 + argc :]
    return ExecRequest(file, tuple(argv), workdir, tuple(env), umask & 0o777)


def open_ones(payload: bytes, wanted: tuple[int, ...], attached: int) -> tuple[int, ...]:
    """Those of the numbers wanted that are open there, of which so many are attached.

    Raises ProtocolError.
    """
    if len(payload) != len(wanted) or sum(map(bool, payload)) != attached:
        raise ProtocolError("descriptors that are not those asked for")
    return tuple(number for number, is_open in zip(wanted, payload, strict=True) if is_open)


def run_frame() -> bytes:
    """Exec it in place."""
    return _frame(b"R", b"")


def deny_frame(reason: str, code: int = 1) -> bytes:
    """Run nothing, say this, end with this exit code."""
    text = reason.encode(errors="backslashreplace")[:_REASON_MAX]
    return _frame(b"D", bytes([code]) + text.replace(b"\0", b"?"))


def escalate_frame(descriptors: tuple[int, ...]) -> bytes:
    """It is run elsewhere, with these descriptors."""
    return _frame(b"E", b"".join(number.to_bytes(2, "big") for number in descriptors))


def signal_frame(number: int) -> bytes:
    """The signal was sent."""
    return _frame(SIGNAL, bytes([number]))


def exited_frame(code: int) -> bytes:
    """The command has ended, with this exit code."""
    return _frame(b"X", bytes([code]))


def killed_frame(number: int) -> bytes:
    """A signal has ended the command."""
    return _frame(b"K", bytes([number]))


def _frame(kind: bytes, payload: bytes) -> bytes:
    return kind + len(payload).to_bytes(4, "big") + payload
