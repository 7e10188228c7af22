"""The escalation server: hears of execs, has the policy decide, and does what was decided.

Whoever asks is inside a sandbox and may be hostile. What it sends is bounded in size, number and
time; what is not as agreed ends that one conversation, and what remains open is closed with it.
"""

import logging
import os
import select
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

import anyio
import anyio.lowlevel

from execnode.client.tasks import Background, background
from execnode.environment.local.runner import LocalRunner
from execnode.environment.services import Environment

from . import protocol, variables
from .link import Link, receive_attached
from .outside import Subject, run_outside
from .permits import Permits
from .policy import Deny, Escalate, EscalationPolicy, Run, decide
from .protocol import ExecRequest, ProtocolError
from .supervisor import Supervisor

__all__ = ["EscalationLimits", "EscalationServer"]

_logger = logging.getLogger(__name__)

_FIRST_INHERITED: Final = 3


@dataclass(frozen=True, slots=True)
class EscalationLimits:
    """What those who ask may take.

    open: conversations at once, commands that run outside included; further ones wait.
    request_bytes: memory for all requests that are held.
    patience: seconds for a request, or for descriptors, to arrive, and for an answer to be taken.
    """

    open: int = 256
    request_bytes: int = 64 << 20
    patience: float = 30.0


class EscalationServer:
    """Answers the execs of one process tree. Made by `EscalationServer.open`.

    env: variables that the tree needs. fd: the descriptor to start it with, `inherit=[server.fd]`;
    it is the server's. permits: what it has just let run.
    """

    _tasks: Background

    def __init__(
        self,
        policy: EscalationPolicy,
        runner: LocalRunner,
        limits: EscalationLimits,
        env: dict[bytes, bytes],
    ) -> None:
        self.policy = policy
        self.env = env
        self.permits = Permits()
        self._runner = runner
        self._limits = limits
        self._slots = anyio.Semaphore(limits.open)
        self._held = 0
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        policy: EscalationPolicy,
        environment: Environment,
        *,
        limits: EscalationLimits | None = None,
        number: int = _FIRST_INHERITED,
        interpose: bool = False,
    ) -> AsyncIterator[Self]:
        """Serve until the context is left; then nobody gets an answer, and what runs outside ends.

        environment: the machine where escalated commands run, `Environment.local()`.
        number: the descriptor that `fd` will be in the process tree.
        interpose: unmodified dynamic programs ask too, not only shells that know of the wrapper.
        """
        runner = environment.exec
        if not isinstance(runner, LocalRunner):
            raise TypeError("commands can be escalated on this machine only")
        env = variables.intercepted(number, interpose=interpose)
        server = cls(policy, runner, limits or EscalationLimits(), env)
        with server._ours, server._theirs:
            async with background() as server._tasks:
                server._tasks.start_soon(server._serve)
                yield server

    @property
    def fd(self) -> int:
        """The descriptor that the process tree inherits."""
        return self._theirs.fileno()

    # --- the inherited socket -----------------------------------------------------------------

    async def _serve(self) -> None:
        while True:
            await self._slots.acquire()
            try:
                wish, descriptor = await self._next()
            except (OSError, EOFError) as error:
                _logger.warning("no more execs are heard of: %s", error)
                return
            self._tasks.start_soon(self._one, _WISHES[wish], descriptor)

    async def _next(self) -> tuple[bytes, int]:
        """The next wish and what is attached to it. Raises OSError, EOFError."""
        while True:
            try:
                wish, attached = receive_attached(self._ours, at_most=2, room=1)
            except BlockingIOError:
                await anyio.wait_readable(self._ours)
                continue
            except ProtocolError as error:
                _logger.info("a wish was not heard: %s", error)
                wish, attached = b"?", []
            if wish in _WISHES and attached:
                return wish, attached[0]
            for descriptor in attached:
                os.close(descriptor)
            if not wish and _is_shut_down(self._ours):
                raise EOFError("the process tree has shut the socket down")
            await anyio.lowlevel.checkpoint()

    # --- one conversation ---------------------------------------------------------------------

    async def _one(self, fulfil: "_Fulfil", descriptor: int) -> None:
        try:
            await fulfil(self, descriptor)
        except (OSError, ProtocolError) as error:
            _logger.info("a conversation has ended: %s", error)
        finally:
            self._slots.release()

    async def _supervise(self, descriptor: int) -> None:
        await Supervisor(self.policy, self.permits).serve(descriptor)

    async def _exec(self, descriptor: int) -> None:
        link = Link.adopt(descriptor, self._limits.patience)
        try:
            await self._converse(link)
        finally:
            link.close()

    async def _converse(self, link: Link) -> None:
        try:
            with anyio.fail_after(self._limits.patience):
                head = await link.receive()
                if head is None or head[0] != protocol.REQUEST:
                    raise ProtocolError("no request")
                with self._holding(head[1]):
                    request = protocol.parse_request(await link.payload(head[1]))
            with self._holding(request.memory):
                await self._answer(link, request)
        except _TooMuchError:
            await link.send(protocol.deny_frame("too much is being asked at once"))

    @contextmanager
    def _holding(self, octets: int) -> Iterator[None]:
        """Hold so much of a request. Raises _TooMuchError when that is too much for all of them."""
        if self._held + octets > self._limits.request_bytes:
            raise _TooMuchError
        self._held += octets
        try:
            yield
        finally:
            self._held -= octets

    async def _answer(self, link: Link, request: ExecRequest) -> None:
        subject = Subject(request)
        action = await decide(self.policy, request.file, request.argv, request.workdir, link.gone)
        if isinstance(action, Run):
            with self.permits.granted(link.peer, request):
                await link.send(protocol.run_frame())
                await link.gone()
        elif isinstance(action, Deny):
            await link.send(protocol.deny_frame(action.reason))
        elif isinstance(action, Escalate):
            await run_outside(link, request, subject, action, self._runner)


class _TooMuchError(Exception):
    """More memory would be held for requests than may be."""


def _is_shut_down(sock: socket.socket) -> bool:
    """Whether nothing comes any more; an empty message reads the same."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))


_Fulfil: TypeAlias = Callable[[EscalationServer, int], Awaitable[None]]

_WISHES: Final[Mapping[bytes, _Fulfil]] = {
    protocol.WISH_EXEC: EscalationServer._exec,
    protocol.WISH_SUPERVISE: EscalationServer._supervise,
}
