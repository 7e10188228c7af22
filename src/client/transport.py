"""Bytes to and from a node, over one non-blocking socket.

A message that the kernel takes at once is sent without a turn of the event loop, and data that is
there is read without one.
"""

import os
import select
import socket
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio
import anyio.lowlevel
from anyio import CancelScope, notify_closing, wait_readable, wait_writable

__all__ = ["Transport"]

_RECEIVE_BYTES = 256 * 1024
_PROGRAM_SECONDS = 5.0


class Transport:
    """A connected stream socket, owned: `close` closes it.

    One task may receive at a time; senders take turns by a lock of their own.
    """

    def __init__(self, sock: socket.socket, program: "subprocess.Popen[bytes] | None" = None):
        sock.setblocking(False)
        self._socket = sock
        self._program = program

    async def receive(self) -> bytes:
        """The next bytes, as many as there are up to 256 KiB; b"" when the peer ended the stream.

        Raises OSError when the connection broke or was closed here.
        """
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            pass
        else:
            await anyio.lowlevel.checkpoint()
            return data
        while True:
            await self._wait(wait_readable)
            with suppress(BlockingIOError):
                return self._socket.recv(_RECEIVE_BYTES)

    async def send(self, data: bytes | bytearray) -> None:
        """Hand all of `data` to the kernel. Raises OSError when the connection broke.

        Cancelling is safe: either nothing has left, or everything leaves first, since half a
        message would ruin the stream. Closing the transport ends that wait too.
        """
        sent = self._send_some(data)
        while not sent:
            await self._wait(wait_writable)
            sent = self._send_some(data)
        if sent == len(data):
            return
        with CancelScope(shield=True), memoryview(data) as view:
            while sent < len(view):
                await self._wait(wait_writable)
                sent += self._send_some(view[sent:])

    async def _room(self) -> None:
        """Wait until the kernel takes something. Cancelling is safe."""
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        if not poll.poll(0):
            await self._wait(wait_writable)

    def _send_some(self, data: bytes | bytearray | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    async def _wait(self, ready: Callable[[socket.socket], Awaitable[None]]) -> None:
        try:
            await ready(self._socket)
        except (anyio.ClosedResourceError, ValueError) as exc:
            raise ConnectionAbortedError("the connection was closed here") from exc

    def detach(self) -> socket.socket:
        """The socket, which the caller owns from now on."""
        return self._socket

    def shut(self) -> None:
        """Let nothing pass any more; what has arrived before can still be received."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket; whoever waits on it gets ConnectionAbortedError. May be repeated."""
        if self._socket.fileno() < 0:
            return
        notify_closing(self._socket)
        self._socket.close()

    async def end_program(self) -> None:
        """After `close`: let the program behind a `stdio:` URL end, and reap it.

        It sees the end of its input; a program that ignores that for 5 s is killed.
        """
        program = self._program
        if program is None:
            return
        # The pidfd may get the number that the socket had. asyncio waits by number, so whoever
        # waited for the socket must have seen its end before.
        await anyio.lowlevel.cancel_shielded_checkpoint()
        if program.poll() is not None:  # only now: another caller may have reaped it meanwhile
            return
        pidfd = os.pidfd_open(program.pid)
        try:
            with anyio.move_on_after(_PROGRAM_SECONDS):
                await wait_readable(pidfd)
        finally:
            os.close(pidfd)
            program.kill()  # nothing happens to one that has ended
            program.wait()
