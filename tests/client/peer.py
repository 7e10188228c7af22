"""A node that does exactly what a test says, for what a real one cannot be made to do on demand."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import anyio
import msgspec
from anyio.abc import SocketListener, SocketStream

from execnode.protocol import methods
from execnode.protocol.codec import CborCodec
from execnode.protocol.errors import RpcError
from execnode.protocol.framing import FrameDecoder, frame
from execnode.protocol.messages import (
    Answer,
    EnvironmentInfo,
    InitializeParams,
    InitializeResponse,
    Message,
    Notification,
    Request,
    Shell,
)
from execnode.protocol.processes import (
    AttachParams,
    AttachResponse,
    ClosedNotification,
    ExitedNotification,
    OutputNotification,
    StartParams,
    StartResponse,
)

CODEC = CborCodec()
# As many capabilities as the tests use: the handshake stays small beside what is tested.
INFO = EnvironmentInfo(
    Shell("sh", "/bin/sh"),
    "file:///",
    capabilities={
        "processAck": True,
        "processAttach": True,
        "processCloseStdin": True,
        "processList": True,
        "processResize": True,
        "processRetention": True,
        "processSignalNames": True,
        "processTimeout": True,
    },
)

Params = TypeVar("Params", bound=msgspec.Struct)


def encoded(message: Message) -> bytes:
    """A message as it is on the wire."""
    return frame(CODEC.encode(message))


def output(seq: int, data: bytes, offset: int, process_id: str = "1") -> Notification:
    params = OutputNotification(process_id, seq, "stdout", data, offset)
    return Notification(methods.PROCESS_OUTPUT, params)


def exited(seq: int, code: int = 0, process_id: str = "1") -> Notification:
    return Notification(
        methods.PROCESS_EXITED, ExitedNotification(process_id, seq, code, False, "exit")
    )


def closed(seq: int, process_id: str = "1") -> Notification:
    return Notification(methods.PROCESS_CLOSED, ClosedNotification(process_id, seq))


class PeerLink:
    """The node's end of one connection."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self._frames = FrameDecoder()
        self._messages: list[Message] = []

    async def receive(self) -> Message:
        """The client's next message. Raises anyio.EndOfStream."""
        while not self._messages:
            for payload in self._frames.feed(await self.stream.receive()):
                self._messages.append(CODEC.decode(payload))
        return self._messages.pop(0)

    async def expect(self, method: str, kind: type[Params]) -> tuple[Request, Params]:
        """The client's next message, which has to be this request."""
        message = await self.receive()
        assert isinstance(message, Request), message
        assert message.method == method
        return message, CODEC.decode_params(kind, message.params)

    async def send(self, *messages: Message) -> None:
        await self.stream.send(b"".join(encoded(message) for message in messages))

    async def answer(self, request: Request, result: msgspec.Struct) -> None:
        await self.send(Answer(request.id, result))

    async def refuse(self, request: Request, error: RpcError) -> None:
        await self.send(error.to_answer(request.id))

    async def handshake(self, session_id: str = "session") -> InitializeParams:
        """Answer `initialize`, take `initialized`."""
        request, params = await self.expect(methods.INITIALIZE, InitializeParams)
        await self.answer(request, InitializeResponse(session_id, INFO))
        await self.initialized()
        return params

    async def initialized(self) -> None:
        message = await self.receive()
        assert isinstance(message, Notification)
        assert message.method == methods.INITIALIZED

    async def start(self, max_bytes: int | None = None) -> StartParams:
        """Answer process/start."""
        request, params = await self.expect(methods.PROCESS_START, StartParams)
        await self.answer(request, StartResponse(params.process_id, "none", 42, "ref", max_bytes))
        return params

    async def attach(self) -> tuple[Request, AttachParams]:
        """Take process/attach; answer it with `attached`."""
        return await self.expect(methods.PROCESS_ATTACH, AttachParams)

    async def expect_and_attach(
        self, method: str, kind: type[Params], next_seq: int
    ) -> tuple[Request, Params]:
        """Two requests that come in any order: an attach, which is answered, and this one."""
        found: Request | None = None
        for _ in range(2):
            message = await self.receive()
            assert isinstance(message, Request), message
            if message.method == methods.PROCESS_ATTACH:
                await self.attached(message, next_seq)
            else:
                assert message.method == method
                found = message
        assert found is not None
        return found, CODEC.decode_params(kind, found.params)

    async def attached(self, request: Request, next_seq: int) -> None:
        await self.answer(
            request, AttachResponse(next_seq, False, None, False, False, None, None, 42, "ref")
        )

    async def cut(self) -> None:
        await self.stream.aclose()


class Peer:
    """A node that listens; every connection is scripted by the test that accepts it."""

    def __init__(self, listener: SocketListener, path: Path) -> None:
        self._listener = listener
        self._links: list[PeerLink] = []
        self.url = f"unix://{path}"

    async def accept(self) -> PeerLink:
        link = PeerLink(await self._listener.accept())
        self._links.append(link)
        return link

    async def refuse_connections(self) -> None:
        await self._listener.aclose()

    async def aclose(self) -> None:
        await self._listener.aclose()
        for link in self._links:
            await link.cut()


@asynccontextmanager
async def scripted(
    folder: Path, script: Callable[[Peer], Coroutine[Any, Any, None]]
) -> AsyncIterator[Peer]:
    """A peer that does what `script` says; the script has to be through when the context ends."""
    path = folder / "peer.sock"
    with anyio.fail_after(20):
        peer = Peer(await anyio.create_unix_listener(path), path)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(script, peer)
                yield peer
        finally:
            await peer.aclose()
            path.unlink()
