"""What a session does when its link breaks at the worst moment; the node follows a script."""

from pathlib import Path

import anyio
import pytest

from execnode.client import AnswerLost, Output, SessionLost, connect
from execnode.protocol import methods
from execnode.protocol.errors import (
    process_starting,
    session_attached,
    unknown_process,
    unknown_session,
)
from execnode.protocol.messages import (
    EmptyResponse,
    InitializeParams,
    ListParams,
    ListResponse,
    ProcessSummary,
    SignalParams,
    StartParams,
    WriteParams,
    WriteResponse,
)
from execnode.protocol.text import OsTexts
from tests.client.peer import Peer, PeerLink, closed, exited, output, scripted

pytestmark = pytest.mark.anyio

SUMMARY = ProcessSummary(
    "1", "ref", 42, OsTexts(["true"]), "file:///", False, 0, False, None, False, None, "c", True, {}
)


async def end(link: PeerLink, seq: int = 1) -> None:
    await link.send(exited(seq), closed(seq + 1))


async def test_a_start_whose_answer_was_lost_is_adopted(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        link = await peer.accept()
        await link.handshake()
        await link.expect(methods.PROCESS_START, StartParams)
        await link.cut()
        link = await peer.accept()
        hello = await link.handshake()
        assert hello.resume_session_id == "session"
        request, params = await link.attach()
        assert (params.process_id, params.after_seq, params.ref) == ("1", 0, None)
        await link.attached(request, 2)
        await link.send(output(1, b"once", 0), exited(2), closed(3))

    async with scripted(socket_dir, script) as peer, connect(peer.url) as node:
        process = await node.start(["true"])
        assert (process.pid, process.ref) == (42, "ref")
        assert [item async for item in process] == [Output("stdout", b"once", 0, 1)]
        assert await process.wait() == 0


async def test_a_start_that_did_not_arrive_is_made_again(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        link = await peer.accept()
        await link.handshake()
        await link.expect(methods.PROCESS_START, StartParams)
        await link.cut()
        link = await peer.accept()
        await link.handshake()
        request, _ = await link.attach()
        await link.refuse(request, unknown_process("1"))
        request, _ = await link.expect(methods.PROCESS_LIST, ListParams)
        await link.answer(request, ListResponse([]))
        params = await link.start()
        assert params.process_id == "1"
        await end(link)

    async with scripted(socket_dir, script) as peer, connect(peer.url) as node:
        assert (await node.run(["true"])).returncode == 0


async def test_a_start_that_is_under_way_is_waited_for(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        link = await peer.accept()
        await link.handshake()
        await link.expect(methods.PROCESS_START, StartParams)
        await link.cut()
        link = await peer.accept()
        await link.handshake()
        request, _ = await link.attach()
        await link.refuse(request, process_starting("1"))
        request, _ = await link.expect(methods.PROCESS_LIST, ListParams)
        await link.answer(request, ListResponse([SUMMARY]))
        request, _ = await link.attach()
        await link.attached(request, 1)
        await end(link)

    async with scripted(socket_dir, script) as peer, connect(peer.url) as node:
        assert (await node.run(["true"])).returncode == 0


async def test_output_before_the_attach_answer_is_ignored(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        link = await peer.accept()
        await link.handshake()
        await link.start()
        await link.send(output(1, b"a", 0), output(2, b"b", 1))
        await link.cut()
        link = await peer.accept()
        await link.handshake()
        request, params = await link.attach()
        assert params.after_seq == 2
        await link.send(output(3, b"c", 2), output(4, b"d", 3))
        await link.attached(request, 5)
        await link.send(output(3, b"c", 2), output(4, b"d", 3), exited(5), closed(6))

    async with scripted(socket_dir, script) as peer, connect(peer.url) as node:
        assert (await node.run(["true"])).stdout == b"abcd"


async def test_a_repeated_write_has_the_same_write_id(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        link = await peer.accept()
        await link.handshake()
        await link.start()
        _, first = await link.expect(methods.PROCESS_WRITE, WriteParams)
        await link.cut()
        link = await peer.accept()
        await link.handshake()
        request, again = await link.expect_and_attach(methods.PROCESS_WRITE, WriteParams, 1)
        assert again == first
        await link.answer(request, WriteResponse("accepted"))
        await end(link)

    async with scripted(socket_dir, script) as peer, connect(peer.url) as node:
        process = await node.start(["cat"], stdin=True)
        await process.write(b"x")
        assert await process.wait() == 0


async def test_a_signal_is_repeated_only_where_two_are_as_good_as_one(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        link = await peer.accept()
        await link.handshake()
        await link.start()
        _, params = await link.expect(methods.PROCESS_SIGNAL, SignalParams)
        assert params.signal == "INT"
        for _ in range(2):
            await link.cut()
            link = await peer.accept()
            await link.handshake()
            request, params = await link.expect_and_attach(methods.PROCESS_SIGNAL, SignalParams, 1)
            assert params.signal == "KILL"
        await link.answer(request, EmptyResponse())
        await end(link)

    async with scripted(socket_dir, script) as peer, connect(peer.url) as node:
        process = await node.start(["cat"])
        with pytest.raises(AnswerLost):
            await process.signal("INT")
        await process.signal("KILL")
        assert await process.wait() == 0


async def test_a_session_that_is_still_attached_is_asked_for_again(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        link = await peer.accept()
        await link.handshake()
        await link.start()
        await link.cut()
        for _ in range(3):
            link = await peer.accept()
            request, params = await link.expect(methods.INITIALIZE, InitializeParams)
            assert params.resume_session_id == "session"
            await link.refuse(request, session_attached("session"))
        link = await peer.accept()
        await link.handshake()
        request, _ = await link.attach()
        await link.attached(request, 1)
        await end(link)

    async with scripted(socket_dir, script) as peer, connect(peer.url) as node:
        assert (await node.run(["true"])).returncode == 0


async def test_a_refused_resume_fails_all_that_runs_and_says_what(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        link = await peer.accept()
        await link.handshake()
        await link.start()
        await link.send(output(1, b"before", 0))
        await link.cut()
        link = await peer.accept()
        request, _ = await link.expect(methods.INITIALIZE, InitializeParams)
        await link.refuse(request, unknown_session("session"))

    async with scripted(socket_dir, script) as peer, connect(peer.url) as node:
        process = await node.start(["make", "all"], stdin=True)
        with pytest.raises(SessionLost, match=r"unknown session id session; .*: 1: make all"):
            await process.wait()
        assert process.returncode is None
        taken = await process.take()
        assert taken == [Output("stdout", b"before", 0, 1)]
        with pytest.raises(SessionLost):
            await process.take()
        with pytest.raises(SessionLost):
            await process.write(b"x")
        with pytest.raises(SessionLost):
            await node.start(["true"])


async def test_a_node_that_stays_away_is_given_up_in_time(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        link = await peer.accept()
        await link.handshake()
        await link.start()
        await peer.refuse_connections()
        await link.cut()

    async with scripted(socket_dir, script) as peer, connect(peer.url, recovery=0.3) as node:
        process = await node.start(["true"])
        began = anyio.current_time()
        with pytest.raises(SessionLost, match="no connection to unix:"):
            await process.wait()
        assert 0.3 <= anyio.current_time() - began < 2
