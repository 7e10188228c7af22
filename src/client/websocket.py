"""WebSocket (RFC 6455) as a framing: one message of ours is one message of it.

The library `websockets` has the protocol without I/O: handshake, masks, fragments, control frames.
"""

import os
from collections.abc import Iterator
from http import HTTPStatus

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import WebSocketURI, parse_uri

from execnode.protocol.errors import ProtocolError

from .errors import UpgradeRefused
from .framing import Framing
from .transport import Transport

__all__ = ["WebSocketFraming", "parse_url", "upgrade"]

# Nodes of the dialect take frames of 16 MiB and messages of 64 MiB, and drop who sends more.
_FRAME_BYTES = 4 << 20
_MAX_SENT = 64 << 20
# A node may answer with a whole file in base64, in any number of fragments.
_MAX_RECEIVED = 1 << 30

_DATA = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})


def parse_url(url: str) -> WebSocketURI:
    """The parts of a ws: or wss: URL. Raises ValueError."""
    try:
        return parse_uri(url)
    except InvalidURI as exc:
        raise ValueError(f"not a WebSocket URL: {url!r}: {exc}") from None


async def upgrade(
    transport: Transport, uri: WebSocketURI, token: str | None, *, text: bool
) -> "WebSocketFraming":
    """The opening handshake; the framing of what follows on the transport.

    Raises UpgradeRefused for an answer that will stay the same, and other OSErrors when there is
    none or a server on the way cannot say.
    """
    protocol = ClientProtocol(uri, max_size=_MAX_RECEIVED)
    request = protocol.connect()
    if token is not None:
        request.headers["Authorization"] = f"Bearer {token}"
    protocol.send_request(request)
    await transport.send(b"".join(protocol.data_to_send()))
    while protocol.state is State.CONNECTING and protocol.handshake_exc is None:
        data = await transport.receive()
        if data:
            protocol.receive_data(data)
        else:
            protocol.receive_eof()
    if protocol.handshake_exc is not None:
        raise _refusal(protocol.handshake_exc)
    return WebSocketFraming(protocol, text=text)


def _refusal(why: Exception) -> OSError:
    if isinstance(why, InvalidStatus):
        response = why.response
        body = bytes(response.body or b"").decode(errors="replace").strip()
        sentence = f"the node refused the WebSocket: {response.status_code} {body}".rstrip()
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return ConnectionError(sentence)
        return UpgradeRefused(sentence, response.status_code)
    if isinstance(why, InvalidHandshake) and why.__cause__ is None:
        return UpgradeRefused(f"the answer is not that of a WebSocket server: {why}", None)
    return ConnectionError(f"the connection ended in the WebSocket handshake: {why}")


class WebSocketFraming(Framing):
    """The frames of an open WebSocket. `text`: send text messages, otherwise binary ones."""

    talks = True

    def __init__(self, protocol: ClientProtocol, *, text: bool) -> None:
        self._protocol = protocol
        self._start = protocol.send_text if text else protocol.send_binary
        self._fragments: list[bytes] = []

    def wrap(self, message: bytes) -> bytes:
        """The message in masked frames, after what was waiting in `outgoing`."""
        protocol = self._protocol
        if len(message) > _MAX_SENT:
            raise ProtocolError(
                f"message of {len(message)} bytes is larger than the limit of {_MAX_SENT} bytes"
            )
        if protocol.state is not State.OPEN:
            raise ConnectionAbortedError("the WebSocket is closed")
        size = len(message)
        if size <= _FRAME_BYTES:
            self._start(message)
            return self.outgoing()
        self._start(message[:_FRAME_BYTES], fin=False)
        for start in range(_FRAME_BYTES, size, _FRAME_BYTES):
            end = start + _FRAME_BYTES
            protocol.send_continuation(message[start:end], fin=end >= size)
        return self.outgoing()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The payloads of whole messages, of either kind."""
        protocol = self._protocol
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Frame) and event.opcode in _DATA:
                if event.fin and not self._fragments:
                    yield bytes(event.data)
                    continue
                self._fragments.append(bytes(event.data))
                if event.fin:
                    message = b"".join(self._fragments)
                    self._fragments.clear()
                    yield message
        if protocol.parser_exc is not None:
            raise ProtocolError(f"not a WebSocket frame: {protocol.parser_exc}")
        if protocol.close_rcvd is not None:
            raise ConnectionResetError(f"the node closed the WebSocket: {protocol.close_rcvd}")

    def outgoing(self) -> bytes:
        """Control frames, and frames that `wrap` made."""
        parts = self._protocol.data_to_send()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def ask(self) -> None:
        """A ping."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(os.urandom(4))

    def finish(self) -> None:
        """A close frame."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close()
