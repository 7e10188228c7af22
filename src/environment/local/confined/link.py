"""The node's side of one worker: calls under way, and how long it is kept."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import msgspec

from execnode.environment.local.confined.frames import Outgoing, Parser, Stray, receive
from execnode.environment.local.confined.values import (
    Call,
    Halt,
    Packed,
    Refused,
    Returned,
    name_of,
    pack,
    result_of,
    unpack,
)
from execnode.environment.local.files.descriptor import Descriptor
from execnode.environment.local.files.work import Failure, answered
from execnode.protocol.errors import INTERNAL_ERROR, RpcError

__all__ = ["Link"]


class _Waiting:
    """A call whose answer has not come."""

    def __init__(self, result: Any) -> None:
        self.type = result
        self.done = anyio.Event()
        self.value: Any = None
        self.error: RpcError | None = None


class Link:
    """A worker. `run` has to run while it is called.

    idle: seconds that it is kept with nothing to do.
    """

    def __init__(self, link: socket.socket, idle: float) -> None:
        link.setblocking(False)
        self._socket = link
        self._idle = idle
        self._life = anyio.CancelScope()
        self._next_id = 0
        self._waiting: dict[int, _Waiting] = {}
        self._outgoing: deque[Outgoing] = deque()
        self._more = anyio.Event()
        self._ended = False

    @property
    def closed(self) -> bool:
        """Whether it takes no more calls."""
        return self._ended or self._life.cancel_called

    @property
    def busy(self) -> bool:
        """Whether a call is under way."""
        return bool(self._waiting)

    def close(self) -> None:
        """End the worker."""
        self._life.cancel()

    async def run(self) -> None:
        """Serve until the worker ends, or was idle for long enough. Closes the socket."""
        if not self._waiting:
            self._rest()
        try:
            with self._life:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._send_all)
                    await self._receive_all()
                    tasks.cancel_scope.cancel()
        finally:
            self._ended = True
            self._socket.close()
            for outgoing in self._outgoing:
                outgoing.close()
            for waiting in self._waiting.values():
                waiting.error = Failure(INTERNAL_ERROR, "the process in the sandbox has ended")
                waiting.done.set()
            self._waiting.clear()

    def _rest(self) -> None:
        self._life.deadline = anyio.current_time() + self._idle

    async def call(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Have a function called with these arguments, without its `stop`.

        Raises RpcError. When cancelled, a function that takes a Stop is stopped.
        """
        with answered():
            packed = pack(arguments)
        self._next_id += 1
        call_id = self._next_id
        message = Call(call_id, name_of(function), msgspec.Raw(packed.data))
        waiting = _Waiting(result_of(function))
        with answered():
            self._send(message, packed)
        self._waiting[call_id] = waiting
        self._life.deadline = float("inf")
        try:
            await waiting.done.wait()
        except BaseException:
            if call_id in self._waiting:
                self._send(Halt(call_id))
            raise
        if waiting.error is None:
            return waiting.value
        try:
            raise waiting.error
        finally:
            del waiting  # or the error would keep itself alive, with all that is on its way

    # --- sending ----------------------------------------------------------------------------------

    def _send(self, message: Call | Halt, packed: Packed | None = None) -> None:
        descriptors = packed.descriptors if packed else []
        outgoing = Outgoing(msgspec.msgpack.encode(message), descriptors)
        if not self._outgoing and self._sent(outgoing):
            return
        self._outgoing.append(outgoing)
        self._more.set()

    def _sent(self, outgoing: Outgoing) -> bool:
        """Send what can be sent now; whether nothing is left. An ended worker is noticed later."""
        try:
            return outgoing.send(self._socket)
        except ConnectionError:
            outgoing.close()
            return True

    async def _send_all(self) -> None:
        while True:
            await self._more.wait()
            self._more = anyio.Event()
            while self._outgoing:
                await anyio.wait_writable(self._socket)
                if self._sent(self._outgoing[0]):
                    self._outgoing.popleft()

    # --- receiving --------------------------------------------------------------------------------

    async def _receive_all(self) -> None:
        parser = Parser()
        with suppress(ConnectionError, Stray, msgspec.MsgspecError):
            while True:
                await anyio.wait_readable(self._socket)
                try:
                    data, descriptors = receive(self._socket)
                except BlockingIOError:
                    continue
                if not data:
                    return
                for message, handed in parser.feed(data, descriptors):
                    self._take(message, handed)

    def _take(self, message: bytes, descriptors: list[Descriptor]) -> None:
        answer = msgspec.msgpack.decode(message, type=Returned | Refused)
        waiting = self._waiting.pop(answer.id, None)
        if waiting is None:
            raise Stray("an answer to nothing")
        try:
            match answer:
                case Returned(result=result):
                    waiting.value = unpack(result, waiting.type, descriptors)
                case Refused(code=code, message=text, failure=failure):
                    waiting.error = (Failure if failure else RpcError)(code, text)
        except BaseException:
            waiting.error = Failure(
                INTERNAL_ERROR, "the process in the sandbox gave no such result"
            )
            raise
        finally:
            waiting.done.set()
            if not self._waiting:
                self._rest()
