"""Links: how the messages of a connection are cut out of its bytes, and in which encoding they are.

The engine frames what is sent. What it receives it has cut into messages already, but for
WebSocket, whose frames the `websockets` library reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Event, State
from websockets.server import ServerProtocol

from execnode.engine import _pty
from execnode.protocol.codec import CborCodec, Codec, JsonCodec
from execnode.protocol.errors import UNREADABLE_ID, invalid_request
from execnode.protocol.framing import MAX_FRAME_BYTES, frame

__all__ = ["Frames", "Lines", "Link", "WebSocket", "farewell"]

_CBOR: Final = CborCodec()
# A node tells what it has to tell, whatever bytes the names of others are made of.
_JSON: Final = JsonCodec(lossy=True)
_NO_LIMIT: Final = 1 << 62
# First bytes of a CBOR map (RFC 8949, section 3.1), with none of which a JSON text begins.
_CBOR_MAPS: Final = range(0xA0, 0xC0)


class Link:
    """CBOR or JSON messages that the engine cuts; a WebSocket differs.

    framing: how the engine frames what is sent.
    codec: what is sent to a peer that has not said a word yet.
    answers_after_eof: the peer may still read when it has ended its own side.
    """

    framing: Literal[0, 1, 2]  # of _pty
    codec: Codec
    answers_after_eof = False

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
    codec = _CBOR

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
    codec = _JSON
    answers_after_eof = True


class WebSocket(Link):
    """Messages of a WebSocket (RFC 6455): text is JSON, binary is CBOR or, from some, JSON too.

    `protocol` is through with the handshake; `early` are frames that came with it.
    """

    framing = _pty.WEBSOCKET
    codec = _JSON

    def __init__(self, protocol: ServerProtocol, early: Sequence[Event]) -> None:
        self._protocol = protocol
        self._early = early
        self._parts: list[bytes] = []
        self._text = False

    def receive(self, data: bytes) -> Iterator[tuple[Codec, bytes]]:
        """As in Link; the data are bytes as they came."""
        self._protocol.receive_data(data)
        return self._messages(self._protocol.events_received())

    def early(self) -> Iterator[tuple[Codec, bytes]]:
        """The messages that came with the handshake."""
        return self._messages(self._early)

    def _messages(self, events: Sequence[Event]) -> Iterator[tuple[Codec, bytes]]:
        for event in events:
            if not isinstance(event, Frame) or event.opcode not in _DATA:
                continue
            if event.opcode is not Opcode.CONT:
                self._text = event.opcode is Opcode.TEXT
            self._parts.append(bytes(event.data))
            if event.fin:
                body = b"".join(self._parts)
                self._parts = []
                yield self._codec_of(body), body

    def _codec_of(self, body: bytes) -> Codec:
        return _CBOR if not self._text and body[:1] and body[0] in _CBOR_MAPS else _JSON

    def replies(self) -> bytes:
        """As in Link: pongs and close frames."""
        return b"".join(self._protocol.data_to_send())

    def ping(self) -> bytes:
        """A sign of life that the peer has to answer."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")
        return self.replies()

    @property
    def closing(self) -> bool:
        """As in Link."""
        return self._protocol.state is not State.OPEN

    @property
    def said_goodbye(self) -> bool:
        """As in Link: a close frame came."""
        return self._protocol.close_rcvd is not None

    def goodbye(self, reason: str) -> bool:
        """As in Link."""
        if self._protocol.state is State.OPEN:
            code = CloseCode.POLICY_VIOLATION if reason else CloseCode.GOING_AWAY
            self._protocol.send_close(code, reason)
        return not self.said_goodbye


_DATA: Final = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})
