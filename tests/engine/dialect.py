"""Peers that speak JSON, over lines and over WebSocket, read by libraries that are not ours."""

import base64
import json
from collections.abc import Iterator
from typing import Any, Final, Literal

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from execnode.engine import _pty
from tests.engine.pump import Peer, Pump

# The members of the notifications that the exec-server dialect has.
MEMBERS: Final = {
    "process/output": {"processId", "seq", "stream", "chunk"},
    "process/exited": {"processId", "seq", "exitCode", "sandboxDenied"},
    "process/closed": {"processId", "seq"},
}


class JsonPeer(Peer):
    """A peer that is told what the dialect has, and nothing else."""

    def encode(self, message: dict[str, Any]) -> bytes:
        return json.dumps(message).encode()

    def decode(self, body: bytes) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(body)
        params = message.get("params", {})
        if message.get("method") in MEMBERS:
            assert set(params) == MEMBERS[message["method"]]
        if message.get("method") == "process/output":
            params["chunk"] = base64.b64decode(params["chunk"], validate=True)
            params["offset"] = self.streams[params["processId"]].offsets[params["stream"]]
        return message


class LinesPeer(JsonPeer):
    """One message per line."""

    framing: Literal[0, 1, 2] = _pty.LINES
    _searched = 0

    def send(self, body: bytes) -> None:
        self.unsent += body + b"\n"

    def _frames(self) -> Iterator[bytes]:
        start = 0
        while (end := self._buffer.find(b"\n", max(start, self._searched))) >= 0:
            yield bytes(self._buffer[start:end])
            start = end + 1
        del self._buffer[:start]
        self._searched = len(self._buffer)


class WebSocketPeer(JsonPeer):
    """One message per WebSocket message; the handshake was before."""

    framing: Literal[0, 1, 2] = _pty.WEBSOCKET

    def __init__(self, pump: Pump, **options: Any) -> None:
        super().__init__(pump, **options)
        self.client, self.server = handshaken()
        self.frames: list[Frame] = []
        self._parts: list[bytes] = []

    def send(self, body: bytes) -> None:
        self.client.send_text(body)
        self.unsent += b"".join(self.client.data_to_send())

    def _frames(self) -> Iterator[bytes]:
        if self._buffer:
            self.client.receive_data(bytes(self._buffer))
            self._buffer.clear()
        self.unsent += b"".join(self.client.data_to_send())  # pongs
        assert self.client.parser_exc is None
        for frame in self.client.events_received():
            assert isinstance(frame, Frame)
            self.frames.append(frame)
            if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._parts.append(bytes(frame.data))
                if frame.fin:
                    yield b"".join(self._parts)
                    self._parts.clear()

    def sizes(self) -> list[tuple[Opcode, int, bool]]:
        """Opcode, bytes and whether it was the last, of every frame."""
        return [(frame.opcode, len(frame.data), frame.fin) for frame in self.frames]


def handshaken() -> tuple[ClientProtocol, ServerProtocol]:
    """Give both ends of a WebSocket connection as they are after the handshake."""
    client, server = ClientProtocol(parse_uri("ws://node/"), max_size=None), ServerProtocol()
    client.send_request(client.connect())
    server.receive_data(b"".join(client.data_to_send()))
    (request,) = server.events_received()
    server.send_response(server.accept(request))  # type: ignore[arg-type]
    client.receive_data(b"".join(server.data_to_send()))
    client.events_received()
    return client, server


KINDS: Final[dict[str, type[Peer]]] = {
    "frames": Peer,
    "lines": LinesPeer,
    "websocket": WebSocketPeer,
}
