"""How messages lie in a byte stream: behind their length, on a line, or in WebSocket frames.

A framing does no I/O. It makes bytes of a message and finds the messages in bytes; the connection
moves both. WebSocket frames are in websocket.py.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar

from execnode.protocol.errors import FrameTooLargeError
from execnode.protocol.framing import FrameDecoder, frame

__all__ = ["Framing", "LengthFraming", "LineFraming"]

# A node may answer with a whole file in base64; what is longer is no answer.
_MAX_LINE = 1 << 30


class Framing(ABC):
    """One connection's framing. The state is that of both directions."""

    talks: ClassVar[bool] = False
    """Whether it has things of its own to say (`outgoing`), and can ask for a sign of life."""

    @abstractmethod
    def wrap(self, message: bytes) -> bytes:
        """The message as it is sent.

        Raises ProtocolError for one that no node would take, and OSError when none may follow.
        """

    @abstractmethod
    def feed(self, data: bytes) -> Iterable[bytes]:
        """Take bytes as they came; the messages that are now whole, in order.

        While iterated over, raises ProtocolError for what cannot be followed, and OSError when the
        peer has ended the conversation.
        """

    def outgoing(self) -> bytes:
        """What it has to say itself, to be sent soon: answers to what was fed, and `ask`."""
        return b""

    def ask(self) -> None:  # noqa: B027 (most framings have no such thing)
        """Let `outgoing` ask the peer for a sign of life."""

    def finish(self) -> None:  # noqa: B027
        """Let `outgoing` tell the peer that no message follows."""


class LengthFraming(Framing):
    """Four bytes of length before each message (protocol/framing.py)."""

    def __init__(self) -> None:
        self._frames = FrameDecoder()

    def wrap(self, message: bytes) -> bytes:
        """The message behind its length."""
        return frame(message)

    def feed(self, data: bytes) -> Iterable[bytes]:
        """Messages without their lengths."""
        return self._frames.feed(data)


class LineFraming(Framing):
    """One message on each line; the encoding has no line breaks. Blank lines say nothing."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []  # of the line that is not over
        self._size = 0

    def wrap(self, message: bytes) -> bytes:
        """The message and a line feed."""
        return message + b"\n"

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that are over."""
        *lines, rest = data.split(b"\n")
        for end in lines:
            line = b"".join([*self._parts, end])
            self._parts.clear()
            self._size = 0
            if not line.isspace() and line:
                yield line
        self._size += len(rest)
        if self._size > _MAX_LINE:
            raise FrameTooLargeError(self._size, _MAX_LINE)
        if rest:
            self._parts.append(rest)
