"""One connection to a node: requests and their answers, and the node's notifications."""

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio import CancelScope

from execnode.protocol.codec import CborCodec
from execnode.protocol.errors import UNREADABLE_ID, ProtocolError, RpcError
from execnode.protocol.framing import FrameDecoder, frame
from execnode.protocol.messages import Answer, ErrorAnswer, Notification, Request, RequestId

from .errors import LinkLost
from .transport import Transport

if TYPE_CHECKING:
    import msgspec

__all__ = ["CODEC", "Connection"]

CODEC = CborCodec()

Result = TypeVar("Result", bound="msgspec.Struct")


class _Pending:
    """A request that waits for its answer."""

    __slots__ = ("answered", "on_result", "outcome")

    def __init__(self, on_result: Callable[[], None] | None) -> None:
        self.answered = anyio.Event()
        self.on_result = on_result
        self.outcome: Answer | Exception | None = None


class Connection:
    """Length-prefixed CBOR over a transport, which the connection owns.

    A task has to be in `run` for answers to come. `notified(method, params)` is called for each
    notification, in order, and must not wait; the params are plain values, and ProtocolError may be
    raised for them. `ended` is set when `run` is over, and `failure` then says why: LinkLost, or
    ProtocolError for a node that sent nonsense.
    """

    def __init__(self, transport: Transport, notified: Callable[[str, Any], None]) -> None:
        self._transport = transport
        self._notified = notified
        self._frames = FrameDecoder()
        self._pending: dict[RequestId, _Pending] = {}
        self._ids = itertools.count(1)
        self._sending = anyio.Lock(fast_acquire=True)
        self.ended = anyio.Event()
        self.failure: LinkLost | ProtocolError = LinkLost("the connection is closed")

    async def run(self) -> None:
        """Read until the connection ends; then nothing waits for an answer any more."""
        try:
            while data := await self._transport.receive():
                for payload in self._frames.feed(data):
                    self._handle(payload)
            self.failure = LinkLost("the node ended the connection")
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

    def _handle(self, payload: bytes) -> None:
        message = CODEC.decode(payload)
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
        message = CODEC.encode(Request(request_id, method, params))
        pending = self._pending[request_id] = _Pending(on_result)
        try:
            await self._send(message)
        except BaseException:  # then it has not left
            self._pending.pop(request_id, None)
            raise
        await pending.answered.wait()
        if isinstance(pending.outcome, Answer):
            return CODEC.decode_result(result, pending.outcome.result)
        assert pending.outcome is not None
        raise pending.outcome

    async def notify(self, method: str, params: "msgspec.Struct | None") -> None:
        """Send a notification. Raises LinkLost."""
        await self._send(CODEC.encode(Notification(method, params)))

    async def _send(self, message: bytes) -> None:
        try:
            async with self._sending:
                await self._transport.send(frame(message))
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
        """`close`, and wait until a program behind the connection has ended."""
        self._transport.close()
        await self._transport.end_program()
