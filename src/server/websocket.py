"""A WebSocket as a link. The library `websockets` reads its frames, the engine writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import Event, State
from websockets.server import ServerProtocol

from execnode.engine import _pty
from execnode.protocol.codec import Codec
from execnode.server.links import CBOR, JSON, Link

__all__ = ["WebSocket"]

_DATA: Final = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})
# First bytes of a CBOR map (RFC 8949, section 3.1), with none of which a JSON text begins.
_CBOR_MAPS: Final = range(0xA0, 0xC0)


class WebSocket(Link):
    """Messages of a WebSocket (RFC 6455): text is JSON, binary is CBOR or, from some, JSON too.

    `protocol` is through with the handshake; `early` are frames that came with it.
    """

    framing = _pty.WEBSOCKET
    codec = JSON
    pings = True

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
        """As in Link: those that came with the handshake."""
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
        return CBOR if not self._text and body[:1] and body[0] in _CBOR_MAPS else JSON

    def replies(self) -> bytes:
        """As in Link: pongs and close frames."""
        return b"".join(self._protocol.data_to_send())

    def ping(self) -> bytes:
        """As in Link: a ping frame."""
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
