"""The link is cut at every byte of a conversation, and split at every byte: nothing changes."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from execnode.client import Output, connect
from execnode.protocol import methods
from execnode.protocol.errors import process_exists, unknown_process
from execnode.protocol.messages import (
    Answer,
    EmptyResponse,
    InitializeResponse,
    Message,
    Notification,
    Request,
)
from execnode.protocol.processes import (
    ClosedNotification,
    ListResponse,
    StartResponse,
    StreamTotal,
    WriteResponse,
)
from tests.client.peer import INFO, Peer, PeerLink, encoded, exited, output, scripted

pytestmark = pytest.mark.anyio

CHUNKS = (b"one\n", b"two\n", b"three\n")
TEXT = b"".join(CHUNKS)


def log() -> list[Notification]:
    """The events of the process."""
    events = []
    offset = 0
    for seq, chunk in enumerate(CHUNKS, 1):
        events.append(output(seq, chunk, offset))
        offset += len(chunk)
    events.append(exited(len(CHUNKS) + 1))
    totals = {"stdout": StreamTotal(len(TEXT))}
    closed = ClosedNotification("1", len(CHUNKS) + 2, totals)
    return [*events, Notification(methods.PROCESS_CLOSED, closed)]


Send = Callable[[PeerLink, bytes], Awaitable[bool]]


class SmallNode:
    """As much of a node as one process needs, which has written all its output when it starts."""

    def __init__(self, send: Send) -> None:
        self._send = send  # its answer is false when it cut the link
        self._started = False
        self.writes: list[str] = []

    async def serve(self, peer: Peer) -> None:
        while True:
            link = await peer.accept()
            try:
                while await self._send(link, self._replies(await link.receive())):
                    pass
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                pass
            await link.cut()

    def _replies(self, message: Message) -> bytes:
        if not isinstance(message, Request):
            return b""
        after = None
        params = message.params
        reply: Message
        if message.method == methods.INITIALIZE:
            reply = Answer(message.id, InitializeResponse("session", INFO))
        elif message.method == methods.PROCESS_START:
            if self._started:
                reply = process_exists("1").to_answer(message.id)
            else:
                reply = Answer(message.id, StartResponse("1", "none", 42, "ref"))
                after = 0
            self._started = True
        elif message.method == methods.PROCESS_ATTACH:
            if self._started:
                answer = {"nextSeq": 6, "exited": True, "exitCode": 0, "closed": True, "tty": False}
                reply = Answer(message.id, answer)
                after = params["afterSeq"]
            else:
                reply = unknown_process("1").to_answer(message.id)
        elif message.method == methods.PROCESS_LIST:
            assert not self._started
            reply = Answer(message.id, ListResponse([]))
        elif message.method == methods.PROCESS_WRITE:
            if params["writeId"] not in self.writes:
                self.writes.append(params["writeId"])
            reply = Answer(message.id, WriteResponse("accepted"))
        else:
            assert message.method == methods.PROCESS_CLOSE_STDIN, message
            reply = Answer(message.id, EmptyResponse())
        events = [] if after is None else log()[after:]
        return b"".join(encoded(m) for m in [reply, *events])


async def converse(socket_dir: Path, node: SmallNode) -> None:
    """Run a process and write to it, over whatever the node does to the link."""
    cancel = anyio.CancelScope()

    async def serve(peer: Peer) -> None:
        with cancel:
            await node.serve(peer)

    async with scripted(socket_dir, serve) as peer:
        async with connect(peer.url) as session:
            process = await session.start(["cat"], stdin=True)
            await process.write(b"x")
            items = [item async for item in process]
            assert await process.wait() == 0
        cancel.cancel()
    assert all(isinstance(item, Output) for item in items)
    assert b"".join(item.data for item in items if isinstance(item, Output)) == TEXT
    assert [item.seq for item in items if isinstance(item, Output)] == [1, 2, 3]
    assert len(node.writes) == 1


async def undisturbed(socket_dir: Path) -> int:
    """Bytes that the node sends when nothing happens to the link."""
    sent = 0

    async def send(link: PeerLink, data: bytes) -> bool:
        nonlocal sent
        sent += len(data)
        await link.stream.send(data)
        return True

    await converse(socket_dir, SmallNode(send))
    return sent


async def test_a_link_cut_after_any_byte_changes_nothing(socket_dir: Path) -> None:
    total = await undisturbed(socket_dir)
    first = len(encoded(Answer(1, InitializeResponse("session", INFO))))
    assert first < total
    # Before the session there is nothing to resume: connect fails, which is tested elsewhere.
    for position in range(first, total):
        await converse(socket_dir, SmallNode(cut_once(position)))


def cut_once(position: int) -> Send:
    """Cut the link when this many bytes were sent, and never again."""
    left = position

    async def send(link: PeerLink, data: bytes) -> bool:
        nonlocal left
        before, left = left, left - len(data)
        if before < 0 or left >= 0:
            await link.stream.send(data)
            return True
        await link.stream.send(data[:before])
        return False

    return send


async def test_a_conversation_byte_by_byte_changes_nothing(socket_dir: Path) -> None:
    async def send(link: PeerLink, data: bytes) -> bool:
        for i in range(len(data)):
            await link.stream.send(data[i : i + 1])
            await anyio.lowlevel.checkpoint()
        return True

    await converse(socket_dir, SmallNode(send))


async def test_a_link_that_is_cut_again_and_again_makes_progress(socket_dir: Path) -> None:
    async def send(link: PeerLink, data: bytes) -> bool:
        await link.stream.send(data[:400])
        return len(data) <= 400

    await converse(socket_dir, SmallNode(send))
