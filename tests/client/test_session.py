"""What a session does when its link breaks at the worst moment; the node follows a script."""

import contextlib
from pathlib import Path

import anyio
import pytest

from execnode.client import (
    AnswerLost,
    Gap,
    LinkLost,
    Output,
    ProtocolError,
    Retention,
    RpcError,
    SessionLost,
    connect,
)
from execnode.protocol import methods
from execnode.protocol.errors import (
    invalid_request,
    process_starting,
    session_attached,
    unknown_process,
    unknown_session,
)
from execnode.protocol.messages import EmptyResponse, InitializeParams, Notification
from execnode.protocol.processes import (
    GapNotification,
    ListParams,
    ListResponse,
    ProcessSummary,
    SignalParams,
    StartParams,
    TerminateParams,
    TerminateResponse,
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


async def test_a_cancelled_start_leaves_nothing_running(socket_dir: Path) -> None:
    asked, ended = anyio.Event(), anyio.Event()

    async def script(peer: Peer) -> None:
        link = await peer.accept()
        await link.handshake()
        await link.expect(methods.PROCESS_START, StartParams)
        asked.set()
        with contextlib.suppress(anyio.EndOfStream):
            while True:  # leaving the node may ask once more
                request, params = await link.expect(methods.PROCESS_TERMINATE, TerminateParams)
                assert params.process_id == "1"
                await link.answer(request, TerminateResponse(True))
                ended.set()

    async with scripted(socket_dir, script) as peer, connect(peer.url) as node:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(node.start, ["sleep", "1000"])
            await asked.wait()
            tasks.cancel_scope.cancel()
        await ended.wait()


async def test_leaving_the_node_ends_what_runs_and_is_not_detached(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        link = await peer.accept()
        await link.handshake()
        for _ in range(3):
            await link.start()
        await link.send(exited(1, process_id="1"))
        request, params = await link.expect(methods.PROCESS_TERMINATE, TerminateParams)
        assert params.process_id == "2"
        await link.answer(request, TerminateResponse(True))
        with pytest.raises(anyio.EndOfStream):
            await link.receive()

    async with scripted(socket_dir, script) as peer, connect(peer.url) as node:
        ended, _running, detached = [await node.start(["sleep", "1000"]) for _ in range(3)]
        detached.detach()
        await ended.wait()


async def test_leaving_a_process_ends_it_even_when_cancelled(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        link = await peer.accept()
        await link.handshake()
        await link.start()
        request, _ = await link.expect(methods.PROCESS_TERMINATE, TerminateParams)
        await link.answer(request, TerminateResponse(True))
        await end(link)

    async with scripted(socket_dir, script) as peer, connect(peer.url) as node:
        with anyio.CancelScope() as scope:
            async with await node.start(["sleep", "1000"]) as process:
                scope.cancel()
                await process.wait()
        assert scope.cancelled_caught
        assert process.returncode == 0


async def test_output_is_acknowledged_about_every_128_kib_that_were_taken(
    socket_dir: Path,
) -> None:
    chunk = bytes(50_000)

    async def script(peer: Peer) -> None:
        link = await peer.accept()
        await link.handshake()
        await link.start()
        await link.send(*(output(i + 1, chunk, i * len(chunk)) for i in range(6)))
        for seq in (3, 6):
            message = await link.receive()
            assert message == Notification(methods.PROCESS_ACK, {"processId": "1", "seq": seq})
        await end(link, 7)

    async with scripted(socket_dir, script) as peer, connect(peer.url) as node:
        process = await node.start(["cat"])
        assert len([item async for item in process]) == 6


async def test_a_small_retention_is_acknowledged_more_often(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        link = await peer.accept()
        await link.handshake()
        assert (await link.start(4096)).retention == Retention("block", 4096)
        await link.send(output(1, bytes(1024), 0))
        message = await link.receive()
        assert message == Notification(methods.PROCESS_ACK, {"processId": "1", "seq": 1})
        await end(link, 2)

    async with scripted(socket_dir, script) as peer, connect(peer.url) as node:
        process = await node.start(["cat"], retention=Retention("block", 4096))
        assert len([item async for item in process]) == 1


async def test_exceptions_of_the_body_pass_as_they_are(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        await (await peer.accept()).handshake()

    async with scripted(socket_dir, script) as peer:
        with pytest.raises(LookupError, match="mine"):
            async with connect(peer.url):
                raise LookupError("mine")


async def test_a_refused_session_is_told_as_it_is(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        link = await peer.accept()
        request, params = await link.expect(methods.INITIALIZE, InitializeParams)
        assert (params.auth_token, params.session_ttl_ms) == ("wrong", 2500)
        await link.refuse(request, invalid_request("invalid token"))

    token = socket_dir / "token"
    token.write_text("wrong\n")
    async with scripted(socket_dir, script) as peer:
        with pytest.raises(RpcError, match="invalid token"):
            async with connect(peer.url, token_file=token, session_ttl=2.5):
                pass


async def test_a_refused_connection_is_told_as_it_is(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        link = await peer.accept()
        await link.send(invalid_request("this node has its limit of connections").to_answer(-1))
        await link.cut()  # before or after the client has sent something

    async with scripted(socket_dir, script) as peer:
        with pytest.raises(RpcError, match="limit of connections"):
            async with connect(peer.url):
                pass


async def test_a_link_that_breaks_in_the_handshake_is_an_os_error(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        await (await peer.accept()).cut()

    async with scripted(socket_dir, script) as peer:
        with pytest.raises(LinkLost):
            async with connect(peer.url):
                pass


async def test_a_node_that_talks_nonsense_is_told_so_at_once(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        await (await peer.accept()).stream.send(b"SSH-2.0-OpenSSH_9.9\r\n")
        link = await peer.accept()
        await link.handshake()
        await link.start()
        await link.send(Notification(methods.PROCESS_OUTPUT, {"processId": "1", "seq": "x"}))

    async with scripted(socket_dir, script) as peer:
        with pytest.raises(ProtocolError, match="frame of 1397966893 bytes"):
            async with connect(peer.url):
                pass
        async with connect(peer.url) as node:
            process = await node.start(["true"])
            with pytest.raises(SessionLost, match="broke the protocol: not a OutputNotification"):
                await process.wait()


async def test_output_of_a_process_that_nobody_holds_is_ignored(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        link = await peer.accept()
        await link.handshake()
        await link.send(output(1, b"x", 0, process_id="7"), Notification("later/news", {"a": 1}))
        await link.start()
        await end(link)

    async with scripted(socket_dir, script) as peer, connect(peer.url) as node:
        assert (await node.run(["true"])).returncode == 0


async def test_skipping_to_the_end_turns_unread_output_into_gaps(socket_dir: Path) -> None:
    arrived = anyio.Event()

    async def script(peer: Peer) -> None:
        link = await peer.accept()
        await link.handshake()
        await link.start()
        await link.send(output(1, b"ab", 0), output(2, b"c", 2))
        arrived.set()
        request, params = await link.attach()
        assert (params.after_seq, params.skip_to) == (2, "end")
        await link.send(output(3, b"stale", 3))
        await link.attached(request, 10)
        gap = GapNotification("1", 3, 9, {"stdout": 100})
        await link.send(Notification(methods.PROCESS_GAP, gap), output(10, b"now", 103))
        await end(link, 11)

    async with scripted(socket_dir, script) as peer, connect(peer.url) as node:
        process = await node.start(["yes"])
        assert await process.take(1) == [Output("stdout", b"ab", 0, 1)]
        await arrived.wait()
        await process.skip_to_end()
        assert [item async for item in process] == [
            Gap(2, 2, {"stdout": 1}),
            Gap(3, 9, {"stdout": 100}),
            Output("stdout", b"now", 103, 10),
        ]


async def test_a_cancelled_node_still_ends_what_runs(socket_dir: Path) -> None:
    async def script(peer: Peer) -> None:
        link = await peer.accept()
        await link.handshake()
        await link.start()
        await link.start()
        request, params = await link.expect(methods.PROCESS_TERMINATE, TerminateParams)
        assert params.process_id == "2"
        await link.answer(request, TerminateResponse(True))
        await link.send(exited(1, 137, process_id="2"))
        request, params = await link.expect(methods.PROCESS_TERMINATE, TerminateParams)
        assert params.process_id == "1"
        await link.answer(request, TerminateResponse(True))

    async with scripted(socket_dir, script) as peer:
        with anyio.CancelScope() as scope:
            async with connect(peer.url) as node:
                await node.start(["sleep", "1000"])
                async with await node.start(["sleep", "1000"]) as process:
                    scope.cancel()
                    await process.wait()
        assert scope.cancelled_caught
        assert process.returncode == 137
