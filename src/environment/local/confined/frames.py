"""What goes between the node and a worker: messages with descriptors, through a stream socket.

A frame is a header, which tells the length of the message after it and the number of descriptors
that come with it (SCM_RIGHTS, unix(7)). Whether the socket waits is for its user to say.
"""

from __future__ import annotations

import array
import socket
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from struct import Struct
from typing import Final

from execnode.environment.local.files.descriptor import Descriptor

__all__ = ["Outgoing", "Parser", "Stray", "receive"]

_HEADER: Final = Struct("=QH")
_READ: Final = 1 << 18
_NO_SIGNAL: Final = socket.MSG_NOSIGNAL
# SCM_MAX_FD of the kernel, and what they take in a message.
_DESCRIPTORS: Final = 253
_ANCILLARY: Final = socket.CMSG_SPACE(_DESCRIPTORS * array.array("i").itemsize)


class Stray(Exception):
    """The other end sent what is no message."""


class Outgoing:
    """A frame on its way."""

    def __init__(self, message: bytes, descriptors: list[Descriptor]) -> None:
        self._parts = [
            memoryview(_HEADER.pack(len(message), len(descriptors))),
            memoryview(message),
        ]
        self._descriptors = descriptors

    def send(self, to: socket.socket) -> bool:
        """Send what the socket takes; whether that was all. Raises OSError.

        Descriptors go with the first byte, and are closed here then.
        """
        while self._parts:
            with ExitStack() as borrowed:
                numbers = [borrowed.enter_context(each.borrow()) for each in self._descriptors]
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", numbers))
                try:
                    sent = to.sendmsg(self._parts, [rights] if numbers else [], _NO_SIGNAL)
                except BlockingIOError:
                    return False
            self.close()
            while self._parts and sent >= len(self._parts[0]):
                sent -= len(self._parts.pop(0))
            if sent:
                self._parts[0] = self._parts[0][sent:]
        return True

    def close(self) -> None:
        """Close the descriptors that were not sent."""
        while self._descriptors:
            self._descriptors.pop().close()


def receive(from_: socket.socket) -> tuple[bytes, list[Descriptor]]:
    """What has come, nothing at the end of the stream. Raises OSError, Stray."""
    data, rights, flags, _ = from_.recvmsg(_READ, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
    descriptors: list[Descriptor] = []
    for level, kind, numbers in rights:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            whole = len(numbers) - len(numbers) % array.array("i").itemsize
            descriptors += map(Descriptor, array.array("i", numbers[:whole]))
    if flags & socket.MSG_CTRUNC:
        raise Stray("more descriptors than there can be")
    return data, descriptors


class Parser:
    """Frames from what was received."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._descriptors: deque[Descriptor] = deque()

    def feed(
        self, data: bytes, descriptors: list[Descriptor]
    ) -> Iterator[tuple[bytes, list[Descriptor]]]:
        """The messages that are whole now, each with its descriptors. Raises Stray."""
        self._data += data
        self._descriptors += descriptors
        while len(self._data) >= _HEADER.size:
            length, count = _HEADER.unpack_from(self._data)
            if count > len(self._descriptors):
                raise Stray("descriptors are missing")
            end = _HEADER.size + length
            if len(self._data) < end:
                return
            message = bytes(self._data[_HEADER.size : end])
            del self._data[:end]
            yield message, [self._descriptors.popleft() for _ in range(count)]
