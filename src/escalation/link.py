"""A Unix socket that carries bytes and descriptors, whose other end is not to be trusted.

Whoever sent us a descriptor may have kept a copy of it: what they set on it holds here too. So no
call relies on the socket's own mode, each says that it must not block.
"""

import array
import os
import socket
from contextlib import suppress
from typing import Final, Self

import anyio

from .protocol import HEAD, ProtocolError, parse_head

__all__ = ["Link", "receive_attached"]

_PIECE: Final = 1 << 16
_NOW: Final = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
_INT: Final = array.array("i").itemsize


class Link:
    """One wrapper's stream: whole frames in, whole frames out. It owns the socket.

    descriptors: those that came with what was received; they are closed with it. expected: how many
    may have come; with more the conversation is over.
    patience: seconds for the other side to take a frame, or to give what it was asked for.
    """

    def __init__(self, sock: socket.socket, patience: float) -> None:
        self._socket = sock
        self.descriptors: list[int] = []
        self.expected = 0
        self.patience = patience

    @classmethod
    def adopt(cls, descriptor: int, patience: float) -> Self:
        """Take over a descriptor. Raises ProtocolError when it is no Unix stream socket."""
        try:
            sock = socket.socket(fileno=descriptor)
        except OSError as error:
            os.close(descriptor)
            raise ProtocolError("a descriptor that is no socket") from error
        if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
            sock.close()
            raise ProtocolError("a socket of another kind")
        return cls(sock, patience)

    @property
    def peer(self) -> int:
        """The process that made the socket, as it is numbered here; 0 if that has no number."""
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int.from_bytes(credentials[:4], "little", signed=True)

    async def receive(self) -> tuple[bytes, int] | None:
        """The head of the next frame, or None at the end. Raises ProtocolError, OSError."""
        head = await self._read(HEAD, at_end=True)
        return parse_head(bytes(head)) if head else None

    async def payload(self, length: int) -> bytes:
        """What follows a head. Raises ProtocolError, OSError."""
        return bytes(await self._read(length))

    async def send(self, frame: bytes) -> None:
        """Send a frame. Raises OSError when nobody is there, or nobody reads."""
        with anyio.fail_after(self.patience):
            while frame:
                try:
                    sent = self._socket.send(frame, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                except BlockingIOError:
                    await anyio.wait_writable(self._socket)
                else:
                    frame = frame[sent:]

    async def gone(self) -> None:
        """Return when the other side is gone, or speaks although it is not its turn."""
        with suppress(OSError, ProtocolError):
            await self._piece(1)

    def close(self) -> None:
        """Close the socket and every descriptor that came over it."""
        self._socket.close()
        self.close_descriptors()

    def close_descriptors(self) -> None:
        """Close what came over it."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors.clear()

    async def _read(self, length: int, *, at_end: bool = False) -> bytearray:
        """So many bytes, or none if `at_end` and the end comes first."""
        data = bytearray()
        while len(data) < length:
            piece = await self._piece(min(length - len(data), _PIECE))
            if not piece:
                if at_end and not data:
                    break
                raise ProtocolError("an end in the middle of a frame")
            data += piece
        return data

    async def _piece(self, at_most: int) -> bytes:
        while True:
            try:
                room = self.expected - len(self.descriptors)
                data, attached = receive_attached(self._socket, at_most, room)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
            else:
                self.descriptors += attached
                return data


def receive_attached(sock: socket.socket, at_most: int, room: int) -> tuple[bytes, list[int]]:
    """What is there now, and the descriptors with it, which are the caller's to close.

    room: how many there may be; those beyond are never opened here.

    Raises BlockingIOError when nothing is there, ProtocolError for more descriptors, OSError.
    """
    space = socket.CMSG_LEN(room * _INT) if room else 0
    data, ancillary, flags, _ = sock.recvmsg(at_most, space, _NOW)
    attached: list[int] = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(content[: len(content) - len(content) % _INT])
            attached += numbers
    if flags & socket.MSG_CTRUNC:
        for descriptor in attached:
            os.close(descriptor)
        raise ProtocolError("more descriptors than were asked for")
    return data, attached
