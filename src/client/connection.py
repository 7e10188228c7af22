"""One connection to a node: requests and their answers, and the node's notifications."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio import CancelScope, create_task_group

from execnode.protocol.codec import Codec
from execnode.protocol.errors import UNREADABLE_ID, ProtocolError, RpcError
from execnode.protocol.messages import Answer, ErrorAnswer, Notification, Request, RequestId

from .dialing import Line
from .errors import LinkLost

if TYPE_CHECKING:
    import msgspec

__all__ = ["Connection"]

# A peer that is asked for a sign of life after so many seconds, and gives none for as long again,
# is gone.
_ASK_SECONDS = 20.0
_FAREWELL_SECONDS = 1.0

Result = TypeVar("Result", bound="msgspec.Struct")


class _Pending:
    """A request that waits for its answer."""

    __slots__ = ("answered", "on_result", "outcome")

    def __init__(self, on_result: Callable[[], None] | None) -> None:
        self.answered = anyio.Event()
        self.on_result = on_result
        self.outcome: Answer | Exception | None = None


class Connection:
    """Messages over a transport, which the connection owns.

    A task has to be in `run` for answers to come. `notified(method, params)` is called for each
    notification, in order, and must not wait; the params are plain values, and ProtocolError may be
    raised for them. `ended` is set when `run` is over, and `failure` then says why: LinkLost, or
    ProtocolError for a node that sent nonsense.
    """

    def __init__(self, line: Line, codec: Codec, notified: Callable[[str, Any], None]) -> None:
        self.codec = codec
        self._transport, self._framing = line
        self._notified = notified
        self._pending: dict[RequestId, _Pending] = {}
        self._ids = itertools.count(1)
        self._sending = anyio.Lock(fast_acquire=True)
        self._has_to_say = anyio.Event()
        self._heard = True
        self._silent = False
        self.ended = anyio.Event()
        self.failure: LinkLost | ProtocolError = LinkLost("the connection is closed")

    async def run(self) -> None:
        """Read until the connection ends; then nothing waits for an answer any more."""
        if not self._framing.talks:
            await self._read()
            return
        async with create_task_group() as tasks:
            tasks.start_soon(self._speak)
            tasks.start_soon(self._ask)
            await self._read()
            tasks.cancel_scope.cancel()

    async def _read(self) -> None:
        framing = self._framing
        try:
            while data := await self._transport.receive():
                self._heard = True
                for message in framing.feed(data):
                    self._handle(message)
                if framing.talks:
                    self._has_to_say.set()
            silence = f"the node gave no sign of life for {2 * _ASK_SECONDS:.0f} seconds"
            self.failure = LinkLost(silence if self._silent else "the node ended the connection")
        except OSError as exc:
            self.failure = LinkLost(str(exc))
        except ProtocolError as exc:
            self.failure = exc
        finally:
            self._transport.close()
            self.ended.set()
            for pending in self._pending.values():
                pending.outcome = LinkLost(str(self.failure))
                pending.answered.set()
            self._pending.clear()

    async def _speak(self) -> None:
        """Send what the framing has to say; the reader must not wait for that."""
        with suppress(LinkLost):
            while True:
                await self._has_to_say.wait()
                self._has_to_say = anyio.Event()
                await self._send(self._framing.outgoing)

    async def _ask(self) -> None:
        """See to it that the peer is heard now and then."""
        await anyio.sleep(_ASK_SECONDS)
        while self._heard:
            self._heard = False
            self._framing.ask()
            self._has_to_say.set()
            await anyio.sleep(_ASK_SECONDS)
        self._silent = True
        self._transport.shut()

    def _handle(self, payload: bytes) -> None:
        message = self.codec.decode(payload)
        if isinstance(message, Notification):
            self._notified(message.method, message.params)
            return
        if isinstance(message, Request):
            raise ProtocolError(f"the node made a request, {message.method}, which no node does")
        pending = self._pending.pop(message.id, None)
        if pending is None:
            if isinstance(message, ErrorAnswer) and message.id == UNREADABLE_ID:
                raise RpcError.from_body(message.error)  # about the connection as a whole
            raise ProtocolError(f"an answer to no request of ours, id {message.id!r}")
        if isinstance(message, Answer):
            pending.outcome = message
            if pending.on_result is not None:
                pending.on_result()
        else:
            pending.outcome = RpcError.from_body(message.error)
        pending.answered.set()

    async def request(
        self,
        method: str,
        params: "msgspec.Struct",
        result: type[Result],
        on_result: Callable[[], None] | None = None,
    ) -> Result:
        """The node's answer.

        `on_result` is called when the result arrives, before anything that follows it is read, and
        also if the caller has been cancelled by then.

        Raises RpcError for an error answer, LinkLost when the connection ended before it, and
        ProtocolError for a result of a wrong shape. A cancelled request may have been carried out.
        """
        if self.ended.is_set():
            raise LinkLost("the connection has ended")
        request_id = next(self._ids)
        message = self.codec.encode(Request(request_id, method, params))
        pending = self._pending[request_id] = _Pending(on_result)
        try:
            await self._send(lambda: self._framing.wrap(message))
        except BaseException:  # then it has not left
            self._pending.pop(request_id, None)
            raise
        await pending.answered.wait()
        if isinstance(pending.outcome, Answer):
            return self.codec.decode_result(result, pending.outcome.result)
        assert pending.outcome is not None
        raise pending.outcome

    async def notify(self, method: str, params: "msgspec.Struct | None") -> None:
        """Send a notification. Raises LinkLost."""
        message = self.codec.encode(Notification(method, params))
        await self._send(lambda: self._framing.wrap(message))

    async def _send(self, make: Callable[[], bytes]) -> None:
        try:
            async with self._sending:
                if data := make():
                    await self._transport.send(data)
        except OSError as exc:
            # The reader may not have noticed, and the node may have said why. From now on nobody
            # shall find this connection alive.
            self._transport.shut()
            with CancelScope(shield=True):
                await self.ended.wait()
            raise LinkLost(str(exc)) from exc

    def close(self) -> None:
        """End the connection; `run` ends with it."""
        self._transport.close()

    async def aclose(self) -> None:
        """Take leave of the peer where that is usual, and wait until a program behind it ended."""
        if self._framing.talks and not self.ended.is_set():
            with anyio.move_on_after(_FAREWELL_SECONDS, shield=True):
                self._framing.finish()
                self._has_to_say.set()
                await self.ended.wait()
        self._transport.close()
        await self._transport.end_program()
