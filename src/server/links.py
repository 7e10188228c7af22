"""Links: how the messages of a connection are cut out of its bytes, and in which encoding they are.

The engine frames what is sent. What it receives it has cut into messages already, but for
WebSocket (websocket.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from execnode.engine import _pty
from execnode.protocol.codec import CborCodec, Codec, JsonCodec
from execnode.protocol.errors import UNREADABLE_ID, invalid_request
from execnode.protocol.framing import MAX_FRAME_BYTES, frame

__all__ = ["CBOR", "JSON", "Frames", "Lines", "Link", "farewell"]

CBOR: Final = CborCodec()
# A node tells what it has to tell, whatever bytes the names of others are made of.
JSON: Final = JsonCodec(lossy=True)
_NO_LIMIT: Final = 1 << 62


class Link:
    """CBOR or JSON messages that the engine cuts; a WebSocket differs.

    framing: how the engine frames what is sent.
    codec: what is sent to a peer that has not said a word yet.
    answers_after_eof: the peer may still read when it has ended its own side.
    pings: the peer can be asked for a sign of life.
    """

    framing: Literal[0, 1, 2]  # of _pty
    codec: Codec
    answers_after_eof = False
    pings = False

    def early(self) -> Iterator[tuple[Codec, bytes]]:
        """The messages that came before the link was made."""
        return iter(())

    def receive(self, data: bytes) -> Iterator[tuple[Codec, bytes]]:
        """The messages that are whole now, each with its encoding."""
        yield self.codec, data

    def largest(self, max_frame: int) -> int:
        """Bytes of the largest message that may be sent, where frames have at most so many."""
        del max_frame
        return _NO_LIMIT

    def replies(self) -> bytes:
        """What the protocol itself has to send, between two messages."""
        return b""

    def ping(self) -> bytes:
        """What asks the peer for a sign of life."""
        return b""

    @property
    def closing(self) -> bool:
        """Whether the peer has said goodbye, or what it sent cannot be followed any further."""
        return False

    @property
    def said_goodbye(self) -> bool:
        """Whether the peer has said goodbye."""
        return False

    def goodbye(self, reason: str) -> bool:
        """End the conversation in the words of the protocol; whether the peer is to answer.

        reason: at most 123 bytes.
        """
        del reason
        return False


class Frames(Link):
    """Length-prefixed CBOR."""

    framing = _pty.FRAMES
    codec = CBOR

    def largest(self, max_frame: int) -> int:
        """As in Link; a client takes frames of MAX_FRAME_BYTES without being told to."""
        return max(max_frame, MAX_FRAME_BYTES)


def farewell(reason: str) -> bytes:
    """What a caller on a Frames link is told before it is hung up on."""
    answer = invalid_request(reason).to_answer(UNREADABLE_ID)
    return frame(Frames.codec.encode(answer))


class Lines(Link):
    """JSON, a line each."""

    framing = _pty.LINES
    codec = JSON
    answers_after_eof = True
