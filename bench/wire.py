"""A lean client of a node's CBOR transport, for benches that must stop reading when they want to.

It blocks, decodes every frame with cbor2, acknowledges what it read, and does nothing else; what
needs speed is measured with the load generator instead (reference/client.c).
"""

from __future__ import annotations

import itertools
import socket
import struct
from pathlib import Path
from typing import Any, Self

import cbor2

_ACK_BYTES = 128 * 1024
_ALREADY_ATTACHED = -32010


class RequestFailed(Exception):
    """The node answered a request with an error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error["message"])
        self.code: int = error["code"]


class Connection:
    """One connection with its handshake done.

    Args:
        path: the node's socket.
        resume: the session to take up; a new one when empty. Waits while the node still thinks
            that the session's last connection lives.

    Attributes:
        session: its id.
    """

    def __init__(self, path: Path, resume: str = "") -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rb", buffering=1 << 20)
        self._ids = itertools.count()
        self._unacknowledged = 0
        params = {
            "clientName": "bench",
            "acks": True,
            **({"resumeSessionId": resume} if resume else {}),
        }
        while True:
            try:
                self.session: str = self.request("initialize", **params)["sessionId"]
                break
            except RequestFailed as error:
                if error.code != _ALREADY_ATTACHED:
                    raise
        self.notify("initialized")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def notify(self, method: str, **params: Any) -> None:
        """Send a notification."""
        self._send({"method": method, "params": params})

    def request(self, method: str, **params: Any) -> Any:
        """Send a request and return its result; notifications that come before it are lost."""
        number = next(self._ids)
        self._send({"id": number, "method": method, "params": params})
        while (message := self._receive()).get("id") != number:
            pass
        if "error" in message:
            raise RequestFailed(message["error"])
        return message["result"]

    def notification(self) -> tuple[str, dict[str, Any]]:
        """The next notification, acknowledged where due: its method and params."""
        message = self._receive()
        params = message["params"]
        self._unacknowledged += len(params.get("chunk", b""))
        if self._unacknowledged >= _ACK_BYTES:
            self.notify("process/ack", processId=params["processId"], seq=params["seq"])
            self._unacknowledged = 0
        return message["method"], params

    def _send(self, message: dict[str, Any]) -> None:
        frame = cbor2.dumps(message)
        self._socket.sendall(struct.pack(">I", len(frame)) + frame)

    def _receive(self) -> dict[str, Any]:
        (length,) = struct.unpack(">I", self._file.read(4))
        message: dict[str, Any] = cbor2.loads(self._file.read(length))
        return message
