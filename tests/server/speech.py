"""How the tests' own client puts messages into bytes: nothing here is execnode's."""

import base64
import json
import socket
from collections.abc import Iterator
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import cbor2
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

Json = dict[str, Any]

# Members that hold bytes.
_BYTES: Final = frozenset({"chunk", "dataBase64", "bodyBase64", "deltaBase64"})


class Speech(Protocol):
    """One encoding and framing."""

    def pack(self, message: object) -> bytes:
        """One message as it is sent."""

    def feed(self, data: bytes) -> Iterator[Json]:
        """The messages that are whole with these bytes."""

    @property
    def partial(self) -> bool:
        """Whether a message has begun that is not whole."""


class Frames:
    """Length-prefixed CBOR."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def pack(self, message: object) -> bytes:
        body = cbor2.dumps(message)
        return len(body).to_bytes(4, "big") + body

    def feed(self, data: bytes) -> Iterator[Json]:
        self._buffer += data
        while len(self._buffer) >= 4:
            end = 4 + int.from_bytes(self._buffer[:4], "big")
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[4:end])
            del self._buffer[:end]
            yield cbor2.loads(body)

    @property
    def partial(self) -> bool:
        return bool(self._buffer)


class Lines:
    """JSON, a line each."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def pack(self, message: object) -> bytes:
        return to_json(message).encode() + b"\n"

    def feed(self, data: bytes) -> Iterator[Json]:
        self._buffer += data
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        for line in lines:
            yield from_json(line)

    @property
    def partial(self) -> bool:
        return bool(self._buffer)


class WebSocket:
    """JSON as text or CBOR as binary messages, after a handshake on a connected socket."""

    def __init__(
        self, sock: socket.socket, url: str, *, binary: bool = False, **headers: str
    ) -> None:
        self.protocol = ClientProtocol(parse_uri(url), max_size=None)
        self.pings = 0
        self.kinds: set[Opcode] = set()  # of the messages received
        self.sizes: list[int] = []  # of the frames received
        self._binary = binary
        self._parts: list[bytes] = []
        self._kind = Opcode.TEXT
        self._socket = sock
        request = self.protocol.connect()
        request.headers.update(headers)
        self.protocol.send_request(request)
        sock.sendall(b"".join(self.protocol.data_to_send()))
        self.response = self._response()
        if self.protocol.handshake_exc is not None:
            raise self.protocol.handshake_exc

    def _response(self) -> Response:
        while data := self._socket.recv(65536):
            self.protocol.receive_data(data)
            for event in self.protocol.events_received():
                assert isinstance(event, Response)
                return event
        self.protocol.receive_eof()
        raise EOFError

    def pack(self, message: object) -> bytes:
        if self._binary:
            self.protocol.send_binary(cbor2.dumps(message))
        else:
            self.protocol.send_text(to_json(message).encode())
        return b"".join(self.protocol.data_to_send())

    def raw(self, opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
        """A single frame."""
        return Frame(opcode, data, fin).serialize(mask=True)

    def feed(self, data: bytes) -> Iterator[Json]:
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode is Opcode.PING:
                self.pings += 1
            elif event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                yield from self._data(event)
        reply = b"".join(self.protocol.data_to_send())
        if reply:
            self._socket.sendall(reply)

    def _data(self, frame: Frame) -> Iterator[Json]:
        if frame.opcode is not Opcode.CONT:
            self._kind = frame.opcode
            self.kinds.add(frame.opcode)
        self.sizes.append(len(frame.data))
        self._parts.append(bytes(frame.data))
        if frame.fin:
            body = b"".join(self._parts)
            self._parts = []
            yield from_json(body) if self._kind is Opcode.TEXT else cbor2.loads(body)

    @property
    def partial(self) -> bool:
        return bool(self._parts)


def web_socket(url: str, patience: float, **options: Any) -> tuple[socket.socket, WebSocket]:
    """Connect to ws://HOST:PORT."""
    parts = urlsplit(url)
    assert parts.hostname
    sock = socket.create_connection((parts.hostname, parts.port), patience)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        return sock, WebSocket(sock, url, **options)
    except BaseException:
        sock.close()
        raise


def to_json(message: object) -> str:
    def plain(value: object) -> str:
        assert isinstance(value, bytes)
        return base64.b64encode(value).decode()

    return json.dumps(message, default=plain)


def from_json(data: bytes | bytearray) -> Json:
    def whole(pairs: list[tuple[str, Any]]) -> Json:
        assert len(dict(pairs)) == len(pairs), f"a member is there twice: {pairs}"
        return {
            name: base64.b64decode(value, validate=True) if name in _BYTES else value
            for name, value in pairs
        }

    message = json.loads(data, object_pairs_hook=whole)
    assert isinstance(message, dict)
    return message
