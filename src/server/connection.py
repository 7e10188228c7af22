"""One connection: its handshake, its requests and what it is told.

The engine moves the bytes; what it hands up arrives at `dispatch`, and the link cuts messages out
of it. Requests are answered as they finish: a handler either returns its answer, or an awaitable of
it, which then runs as a task of the connection and holds nothing up.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import termios
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import msgspec
import trio

from execnode.engine import Blob, Channel, _pty
from execnode.environment.local.http import LocalHttp
from execnode.environment.local.process import LocalProcess
from execnode.protocol import methods
from execnode.protocol.additions import without_additions
from execnode.protocol.codec import Codec
from execnode.protocol.errors import (
    INTERNAL_ERROR,
    UNREADABLE_ID,
    MalformedMessageError,
    RpcError,
    answer_too_large,
    initialize_required,
    initialized_required,
    invalid_request,
    malformed,
    method_not_found,
)
from execnode.protocol.files import ReadFileResponse
from execnode.protocol.messages import Answer, ErrorAnswer, Notification, Request, RequestId
from execnode.protocol.processes import AckNotification, GapNotification, WriteParams
from execnode.server.links import Link
from execnode.server.router import ROUTES
from execnode.server.sessions import Session
from execnode.server.turns import Turns

if TYPE_CHECKING:
    from execnode.server.node import Node

__all__ = ["Connection", "Peer"]

_logger = logging.getLogger(__name__)

# The largest frame that a peer may send before it has shown its token.
_STRANGERS_FRAME: Final = 65536
# Seconds a stranger has for showing it.
_STRANGERS_TIME: Final = 10.0
# Seconds for answers to leave before a connection is ended, and for the peer to say goodbye too.
_FAREWELL: Final = 5.0
_GOODBYE: Final = 1.0
# Bytes that may wait for the peer before a sender of much is to wait, too.
_ENOUGH_QUEUED: Final = 262_144
# Pings in a row that a peer may leave unanswered.
_PINGS: Final = 2
# Events that are something the peer has sent.
_FROM_THE_PEER: Final = frozenset({_pty.FRAME, _pty.QUEUED, _pty.EOF, _pty.OVERSIZE})
_Outgoing: TypeAlias = Answer | ErrorAnswer | Notification


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end.

    name: for messages and logs, like `unix` or `tcp 127.0.0.1:4000`.
    token: what `initialize` has to present; None when the transport has vouched for the peer.
    """

    name: str
    token: str | None = None


class Connection:
    """A connection from its first byte to its last."""

    channel: Channel
    tasks: trio.Nursery

    def __init__(self, node: Node, link: Link, peer: Peer) -> None:
        self.node = node
        self.peer = peer
        # What is sent is encoded as `initialize` was.
        self.codec: Codec = link.codec
        # The peer knows no more than the dialect: our additions are kept from it.
        self.plain = False
        self._link = link
        self.session: Session | None = None
        self.ready = False  # `initialized` was received
        self.closed = trio.Event()
        self.files = node.files.open_session(self.notify, congested=self._congested)
        self.http = LocalHttp()
        self.http_streams: set[str] = set()  # request ids
        # For whoever makes an answer that takes much memory.
        self.one_large = trio.Lock()
        self._turns = Turns()
        self._over = trio.Event()
        self._leaving = False  # nothing more is taken from the peer
        self._drained: trio.Event | None = None
        self._waits_for_goodbye = False
        self._waiting = 0  # requests that are not answered yet
        self._input_ended = False
        self._heard = True  # anything, since the last ping

    async def run(self, in_fd: int, out_fd: int) -> None:
        """Serve on these descriptors (one twice for a socket; they are taken over) until it ends.

        Its session is then detached.
        """
        stranger = self.peer.token is not None
        max_frame = _STRANGERS_FRAME if stranger else self.node.settings.max_frame
        try:
            self.channel = self.node.execs.engine.open_channel(
                in_fd, out_fd, max_frame=max_frame, framing=self._link.framing
            )
        except OSError:
            for descriptor in {in_fd, out_fd}:
                os.close(descriptor)
            raise
        self.channel.owner = self
        async with self.http:
            await self._serve(stranger, out_fd)

    async def _serve(self, stranger: bool, out_fd: int) -> None:
        try:
            async with trio.open_nursery() as self.tasks:
                if stranger:
                    self.tasks.start_soon(self._expect_handshake)
                self._take_all(self._link.early())
                if self._link.pings:
                    self.tasks.start_soon(self._keep_alive, out_fd)
                await self._over.wait()
                self.tasks.cancel_scope.cancel()
        finally:
            if self.session is not None:
                self.node.sessions.detach(self.session)
            self.files.close()
            self.channel.close()
            self.closed.set()

    def welcome(self, session: Session, *, acks: bool, additions: bool) -> None:
        """The peer is known now. It may send on at once, without waiting for an answer."""
        self.session = session
        self._speak(self.codec, additions=additions)
        self.channel.ready(max_frame=self.node.settings.max_frame, acks=acks)

    def _speak(self, codec: Codec, *, additions: bool) -> None:
        """Encode so what is sent. CBOR is ours, and so are those who speak it."""
        json = codec.name == "json"
        self.codec = codec
        self.plain = json and not additions
        self.channel.encode_as(json=json, plain=self.plain)

    def end(self) -> None:
        """End the connection at once; what has not left is lost."""
        self._over.set()

    def end_politely(self, offence: str = "") -> None:
        """End the connection when the answers that are queued have left, or after a while.

        offence: what the peer has done to deserve it.
        """
        if self._leaving or self._over.is_set():
            return
        self._leaving = True
        self._waits_for_goodbye = self._link.goodbye(offence)
        self._reply()
        self.channel.notify_drained()
        self.tasks.start_soon(self._end_after, _FAREWELL)

    # --- what the engine hands up -----------------------------------------------------------------

    def dispatch(self, event: tuple[Any, ...]) -> None:
        """Take an event of the engine (environment/local/pump.py)."""
        kind = event[0]
        if self._over.is_set():
            return
        if self._leaving and kind in _FROM_THE_PEER:
            self._take_leave(event)
        elif kind == _pty.FRAME:
            self._heard = True
            self._take_all(self._link.receive(event[2]))
        elif kind == _pty.MARK:
            self._tell_mark(event[2].owner, event[3], event[4], event[5])
        elif kind == _pty.QUEUED:
            self._await_write(event[2], event[3])
        elif kind == _pty.GAP:
            self._tell_gap(event[2].owner, event[3], event[4], event[5], event[6])
        elif kind == _pty.EOF:
            self._end_of_input()
        elif kind == _pty.OVERSIZE:
            self._refuse_frame(event[2])
        elif kind == _pty.DRAINED and not self._leaving:
            self._go_on()
        elif kind == _pty.DRAINED and self._waits_for_goodbye:
            self.tasks.start_soon(self._end_after, _GOODBYE)
        else:  # BROKEN, DRAINED
            self.end()

    def _take_all(self, messages: Iterator[tuple[Codec, bytes]]) -> None:
        for codec, body in messages:
            if self.session is None:
                self._speak(codec, additions=False)
            self._take(codec, body)
            if self._leaving or self._over.is_set():
                return
        self._reply()
        if self._link.closing:
            self.end_politely()

    def _take(self, codec: Codec, body: bytes) -> None:
        try:
            message = codec.decode(body)
        except MalformedMessageError as error:
            self._send_error(UNREADABLE_ID, malformed(error, self.peer.name))
            return
        if isinstance(message, Request):
            self._handle(message)
        elif not isinstance(message, Notification) or not self._notified(message):
            _logger.info(
                "%s: dropped, since it sent what nobody expects: %s", self.peer.name, message
            )
            self.end_politely("sent what nobody expects")

    def _reply(self) -> None:
        """Send what the link has to say by itself."""
        data = self._link.replies()
        if data and not self.channel.closed:
            self.channel.send_raw(data)

    def _take_leave(self, event: tuple[Any, ...]) -> None:
        """Listen for nothing but the peer's goodbye."""
        if event[0] == _pty.EOF and self._waits_for_goodbye:
            self.end()
        elif event[0] == _pty.FRAME and self._waits_for_goodbye:
            for _ in self._link.receive(event[2]):
                pass
            if self._link.said_goodbye:
                self.end()

    def _end_of_input(self) -> None:
        """The peer sends no more; one that still reads gets the answers it is waiting for."""
        if self._link.answers_after_eof and self._waiting:
            self._input_ended = True
            self.tasks.start_soon(self._end_after, _FAREWELL)
        else:
            self.end_politely()
            self._waits_for_goodbye = False  # it will not come any more

    def _refuse_frame(self, size: int) -> None:
        if self.peer.token is not None and self.session is None:
            limit = f"{_STRANGERS_FRAME} bytes before `initialize`; send less until then"
        else:
            limit = f"{self.node.settings.max_frame} bytes; send less at once, or start the node "
            limit += "with a higher --max-frame"
        remark = f"a frame of {size} bytes is over the limit of {limit}; the connection ends here"
        self._send_error(UNREADABLE_ID, invalid_request(remark))
        self.end_politely()

    # --- requests ---------------------------------------------------------------------------------

    def _handle(self, request: Request) -> None:
        try:
            route = ROUTES.get(request.method)
            if route is None:
                raise method_not_found(request.method)
            params = self.codec.decode_params(route.params, request.params)
            if not self.ready and request.method != methods.INITIALIZE:
                family = methods.family(request.method)
                raise (initialized_required if self.session else initialize_required)(family)
            result = self._turns.take(route.turn, route.handler(self, params))
        except RpcError as error:
            self._refuse(request, error)
        except Exception as error:
            self._send_failure(request, error)
        else:
            if isinstance(result, Awaitable):
                self._waiting += 1
                self.tasks.start_soon(self._finish, request, result)
            else:
                self._answer(request, result)

    async def _finish(self, request: Request, result: Awaitable[object]) -> None:
        try:
            answer = await result
        except RpcError as error:
            self._refuse(request, error)
        except Exception as error:
            self._send_failure(request, error)
        else:
            self._answer(request, answer)
        finally:
            self._waiting -= 1
        if self._input_ended and not self._waiting:
            self.end_politely()

    def _await_write(self, body: bytes, ticket: int) -> None:
        """Answer a write, which the engine has taken from the wire itself, once it is through."""
        request = self.codec.decode(body)
        assert isinstance(request, Request)
        assert self.session is not None
        params = self.codec.decode_params(WriteParams, request.params)
        process = self.session.find(params.process_id)
        self._waiting += 1
        self.tasks.start_soon(self._finish, request, process.written(ticket))

    def _answer(self, request: Request, result: object) -> None:
        self.node.requests[request.method, "ok"] += 1
        if self.channel.closed:
            return
        if isinstance(result, ReadFileResponse):
            self._send_file(request.id, result)
            return
        body = self._encode(Answer(request.id, result))
        if not self._refuse_large(request.id, len(body)):
            self.channel.send(body)

    def _refuse(self, request: Request, error: RpcError) -> None:
        # A peer that makes up names must not make the metrics grow.
        method = request.method if request.method in ROUTES else "unknown"
        self.node.requests[method, str(error.code)] += 1
        self._send_error(request.id, error)

    def _encode(self, message: _Outgoing) -> bytes:
        return self.codec.encode(self._told(message))

    def _told(self, message: _Outgoing) -> _Outgoing:
        return without_additions(message) if self.plain else message

    def _send(self, message: ErrorAnswer | Notification) -> None:
        if not self.channel.closed:
            self.channel.send(self._encode(message))

    def _send_file(self, request_id: RequestId, result: ReadFileResponse) -> None:
        """Answer with a file from where it was read into."""
        data = cast("Blob", result.data_base64)
        nothing = Answer(request_id, ReadFileResponse(data_base64=b"", sandbox=result.sandbox))
        head, tail = self.codec.around(self._told(nothing), len(data))
        if not self._refuse_large(request_id, len(head) + len(data) + len(tail)):
            self.channel.send_blob(head, data, tail)

    def _refuse_large(self, request_id: RequestId, size: int) -> bool:
        """Whether an answer of this size is too large for the link, which is the answer then."""
        limit = self._link.largest(self.node.settings.max_frame)
        if size > limit:
            self._send_error(request_id, answer_too_large(size, limit))
        return size > limit

    def _send_error(self, request_id: RequestId, error: RpcError) -> None:
        self._send(error.to_answer(request_id))

    def _send_failure(self, request: Request, error: Exception) -> None:
        _logger.error("%s: %s failed", self.peer.name, request.method, exc_info=error)
        message = f"internal error in {request.method}: {error}"
        self._refuse(request, RpcError(INTERNAL_ERROR, message))

    # --- notifications ----------------------------------------------------------------------------

    def notify(self, method: str, params: msgspec.Struct) -> None:
        """Tell the peer something; after the connection's end it is told nothing."""
        self._send(Notification(method, params))

    async def drained(self) -> None:
        """Wait while much that was sent has not left yet, to send no faster than the peer takes it.

        Once the connection is being ended, it returns no more.
        """
        if self.channel.closed or self.channel.queued <= _ENOUGH_QUEUED:
            await trio.lowlevel.checkpoint()
            return
        if self._drained is None:
            self._drained = trio.Event()
            self.channel.notify_drained()
        await self._drained.wait()

    def _go_on(self) -> None:
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    def _congested(self) -> bool:
        """Whether the peer has enough to read for now."""
        return not self.channel.closed and self.channel.queued > _ENOUGH_QUEUED

    def _notified(self, message: Notification) -> bool:
        """Act on a notification. False for one that ends the connection."""
        if self.session is None:
            return False
        if message.method == methods.INITIALIZED:
            if not self.ready:
                self.ready = True
                self.node.sessions.stream(self.session)
            return True
        if message.method != methods.PROCESS_ACK or not self.ready:
            return False
        try:
            ack = self.codec.decode_params(AckNotification, message.params)
        except RpcError:
            return False
        process = self.session.get(ack.process_id)
        if process is not None and self.channel.streams(process.process):
            self.channel.ack(process.process, ack.seq)
        return True

    def stream(
        self,
        name: str,
        process: LocalProcess,
        after_seq: int,
        *,
        protect: bool = True,
        offsets: dict[str, int] | None = None,
    ) -> None:
        """Send the records of a process after `after_seq`, calling it `name`."""
        self.channel.attach(
            process.process, name.encode(), after_seq, protect=protect, offsets=offsets
        )

    def _tell_mark(self, process: LocalProcess, seq: int, mark: int, name: str) -> None:
        """Tell of an exit or end that the engine cannot tell by itself."""
        if mark == _pty.MARK_EXITED:
            self._pass(process, seq, methods.PROCESS_EXITED, process.exited_notification(name))
        else:
            self._pass(process, seq, methods.PROCESS_CLOSED, process.closed_notification(name))
            self.channel.detach(process.process)

    def _tell_gap(
        self, process: LocalProcess, first: int, last: int, lost: dict[str, int], name: str
    ) -> None:
        gap = GapNotification(name, first, last, lost)
        self._pass(process, last, methods.PROCESS_GAP, gap)

    def _pass(self, process: LocalProcess, seq: int, method: str, params: object) -> None:
        body = self._encode(Notification(method, params))
        self.channel.pass_on(process.process, seq, body)

    # --- time -------------------------------------------------------------------------------------

    async def _keep_alive(self, descriptor: int) -> None:
        """End the connection of a peer that is silent and answers no pings.

        One that just does not take what there is for it is left to TCP: it would not see a ping.
        """
        unanswered = 0
        while unanswered < _PINGS:
            await trio.sleep(self.node.settings.ping_interval)
            if self._heard or self.channel.queued or _untaken(descriptor):
                unanswered = 0
            else:
                unanswered += 1
            self._heard = False
            self.channel.send_raw(self._link.ping())
        _logger.info("%s: dropped, since it does not answer pings", self.peer.name)
        self.end()

    async def _expect_handshake(self) -> None:
        await trio.sleep(_STRANGERS_TIME)
        if self.session is None:
            self.end()

    async def _end_after(self, seconds: float) -> None:
        await trio.sleep(seconds)
        self.end()


def _untaken(descriptor: int) -> int:
    """Bytes that the kernel holds for the peer; tcp(7), SIOCOUTQ."""
    (count,) = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))
    return int(count)
