"""Sessions: what a client finds when it comes back, and what becomes of it if it does not."""

import hashlib
import random
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial

import cbor2
import pytest
import trio
import trio.testing

from execnode.server.connection import Peer
from execnode.server.node import Node
from tests.server.conftest import Launch
from tests.server.running import ExecLimits, ExecSettings, NodeProcess, NodeSettings, alive, gone
from tests.server.wire import (
    Json,
    Refused,
    Seen,
    Wire,
    eventually,
    frame,
    resumed,
    starting,
    taken_up,
)

DAEMON = "(setsid sh -c 'exec sleep 1000' >/dev/null 2>&1 & echo $!)"
# Echoes lines, one record each; a line "end" ends it.
ECHO = "while read line; do [ $line = end ] && exit 0; echo $line; done"
# Prints 10,000 numbered lines as fast as it can.
NUMBERS = "import sys\nfor i in range(10000): print(i, flush=i % 100 == 0)"
EXPECTED = "".join(f"{i}\n" for i in range(10000)).encode()


def unknown(url: str, session: str) -> tuple[int, str]:
    """How a resume is refused for good."""
    with pytest.raises(Refused) as refusal:
        resumed(url, session).close()
    return refusal.value.code, refusal.value.message


def tell(wire: Wire, *lines: str) -> None:
    for line in lines:
        wire.request("process/write", processId="p", chunk=line.encode() + b"\n")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


# --- coming back ---------------------------------------------------------------------------------


def test_ids_are_unpredictable_and_never_the_same(node: NodeProcess) -> None:
    ids = set()
    for _ in range(50):
        with node.connect(sessionTtlMs=0) as wire:
            ids.add(wire.session)
    assert len(ids) == 50
    assert {uuid.UUID(each).version for each in ids} == {4}


def test_a_client_that_comes_back_finds_its_processes(node: NodeProcess, stack: ExitStack) -> None:
    wire = stack.enter_context(node.connect())
    wire.start(ECHO, pipeStdin=True)
    before = wire.processes()
    wire.close()
    again = stack.enter_context(resumed(node.url, wire.session))
    assert again.session == wire.session
    assert again.processes() == before
    error = again.refused("process/start", **starting(["true"]))
    assert error.message == "process p already exists"
    tell(again, "hello", "end")
    assert again.ended().stdout == b"hello\n"


def test_a_stock_client_reads_what_it_missed_and_hears_the_rest(
    node: NodeProcess, stack: ExitStack
) -> None:
    wire = stack.enter_context(node.connect())
    wire.start(ECHO, pipeStdin=True)
    tell(wire, "one", "two")
    wire.says(b"two")
    # These it does not live to hear.
    wire.call("process/write", processId="p", chunk=b"three\nfour\n")
    wire.close()
    again = stack.enter_context(resumed(node.url, wire.session))
    again.seen["p"] = Seen(None)
    tell(again, "five")
    missed = again.request("process/read", processId="p", afterSeq=wire.seen["p"].seq)["chunks"]
    tell(again, "six", "end")
    told = again.ended().chunks
    records = {each["seq"]: each["chunk"] for each in [*missed, *told]}
    assert b"".join(records[seq] for seq in sorted(records)) == b"three\nfour\nfive\nsix\n"
    assert sorted(records) == list(range(wire.seen["p"].seq + 1, again.seen["p"].seq - 1))


def wire_read(wire: Wire, after: int) -> bytes:
    result = wire.request("process/read", processId="p", afterSeq=after, waitMs=10_000)
    return b"".join(chunk["chunk"] for chunk in result["chunks"])


@pytest.mark.parametrize("acks", [False, True], ids=["stock", "acks"])
@pytest.mark.parametrize("mode", ["block", "drop-oldest"])
def test_no_byte_is_lost_or_doubled_however_often_the_link_breaks(
    node: NodeProcess, stack: ExitStack, mode: str, acks: bool
) -> None:
    retention = {"mode": mode, "maxBytes": 1 << 20}
    wire = stack.enter_context(node.connect(acks=acks))
    argv = [sys.executable, "-S", "-c", NUMBERS]
    request = wire.call("process/start", **starting(argv, retention=retention))
    wire.answer(request)
    got, seen, links = b"", Seen(), 1
    while True:
        seen = wire.seen.setdefault("p", seen)
        target = len(seen.chunks) + links
        while seen.closed is None and len(seen.chunks) < target:
            wire.step()
            if acks and seen.seq:
                wire.notify("process/ack", processId="p", seq=seen.seq)
        got += seen.stdout
        if seen.closed:
            break
        wire.close()
        wire = stack.enter_context(resumed(node.url, wire.session, acks=acks))
        wire.attach(after=seen.seq)
        seen = wire.seen["p"]
        links += 1
    assert got == EXPECTED
    assert seen.closed["streams"]["stdout"]["bytes"] == len(EXPECTED)
    assert links > 1


def test_what_was_sent_but_perhaps_never_arrived_can_be_had_again(
    node: NodeProcess, stack: ExitStack
) -> None:
    """A client that acknowledges: nothing it has not acknowledged is let go."""
    wire = stack.enter_context(node.connect(acks=True))
    retention = {"mode": "block", "maxBytes": 200_000}
    wire.start(["head", "-c", "3000000", "/dev/urandom"], retention=retention)
    wire.until(lambda: len(wire.seen["p"].stdout) > 100_000 if "p" in wire.seen else False)
    # It has taken nothing in, as far as the node was told.
    wire.close()
    total = b""
    again = stack.enter_context(resumed(node.url, wire.session, acks=True))
    again.attach(after=0)
    seen = again.seen["p"]
    while seen.closed is None:
        again.step()
        again.notify("process/ack", processId="p", seq=seen.seq)
    total = seen.stdout
    assert len(total) == 3_000_000
    assert not seen.gaps
    assert total.startswith(wire.seen["p"].stdout[:100_000])


def test_output_waits_in_the_process_while_nobody_is_there(
    node: NodeProcess, stack: ExitStack
) -> None:
    wire = stack.enter_context(node.connect(acks=True))
    script = "import os\nos.write(2, b'on')\nfor i in range(64): os.write(1, bytes([i]) * 65536)"
    retention = {"mode": "block", "maxBytes": 1 << 20}
    wire.start([sys.executable, "-S", "-c", script], retention=retention)
    wire.says(b"on")
    wire.close()
    again = stack.enter_context(resumed(node.url, wire.session, sessionTtlMs=0))
    again.attach(after=0)
    seen = again.ended()
    assert not seen.gaps
    assert seen.stdout == b"".join(bytes([i]) * 65536 for i in range(64))


def test_an_attach_says_how_things_stand(wire: Wire) -> None:
    wire.start(ECHO, pipeStdin=True)
    tell(wire, "x")
    wire.says(b"x")
    process = wire.processes()[0]
    expected: Json = {
        "nextSeq": 2,
        "exited": False,
        "exitCode": None,
        "closed": False,
        "tty": False,
        "pid": process["pid"],
        "ref": process["ref"],
        "maxBytes": 1 << 20,
    }
    assert wire.attach(after=1) == expected
    tell(wire, "end")
    wire.ended()
    expected |= {"nextSeq": 4, "exited": True, "exitCode": 0, "closed": True, "reason": "exit"}
    # A finished process is told of once more.
    assert wire.attach() == expected
    seen = wire.ended()
    assert (seen.stdout, seen.exit_code, seen.seq) == (b"x\n", 0, 3)
    assert wire.attach(after=2) == expected
    assert wire.ended().chunks == []
    assert wire.attach(after=1000) == expected
    assert wire.silent(0.02)
    error = wire.refused("process/attach", processId="nobody")
    assert (error.code, error.message) == (-32600, "unknown process id nobody")


def test_an_attach_may_go_back_and_forth(wire: Wire) -> None:
    wire.start(ECHO, pipeStdin=True)
    tell(wire, "a", "b", "c")
    wire.says(b"c")
    seq = wire.seen["p"].seq
    for after in (0, 1, seq, 0, seq - 1, 0):
        wire.attach(after=after)
    tell(wire, "end")
    assert wire.ended().stdout == b"a\nb\nc\n"


@pytest.mark.parametrize("mode", ["drop-oldest", "block"])
def test_an_attach_in_the_middle_of_a_flood_loses_its_place_never(wire: Wire, mode: str) -> None:
    wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    dice = random.Random(mode)
    wire.start(["yes"], retention={"mode": mode, "maxBytes": 20_000})
    for _ in range(60):
        for _ in range(dice.randrange(1, 40)):
            wire.step()  # checks that each record follows the one before, or a gap of this size
        after = wire.seen["p"].seq if "p" in wire.seen else 0
        wire.attach(after=after, **dice.choice([{}, {"skipTo": "end"}]))
    wire.request("process/terminate", processId="p")
    assert wire.ended().exit_code == 137


def test_skipping_to_the_end_is_told_as_a_gap(wire: Wire) -> None:
    wire.start("head -c 500000 /dev/zero; echo on >&2; read x; echo end", pipeStdin=True)
    wire.until(lambda: wire.seen.get("p") and len(wire.seen["p"].stdout) == 500_000)
    wire.says(b"on")
    wire.attach(after=0, skipTo="end")
    tell(wire, "go")
    seen = wire.ended()
    assert seen.lost + len(seen.stdout) + len(seen.stderr) == 500_000 + 3 + 4
    assert seen.gaps[0]["fromSeq"] == 1
    assert seen.stdout == b"end\n"
    assert wire.refused("process/attach", processId="p", skipTo="start").code == -32602


def test_a_session_in_use_is_not_given_to_another(node: NodeProcess, stack: ExitStack) -> None:
    wire = stack.enter_context(node.connect())
    other = stack.enter_context(Wire.to(node.url))
    for _ in range(3):
        error = other.refused("initialize", clientName="other", resumeSessionId=wire.session)
        assert error.code == -32010
        assert error.message == f"session {wire.session} is already attached to another connection"
    assert wire.request("environment/status")
    wire.close()
    again = stack.enter_context(resumed(node.url, wire.session))
    assert again.request("environment/status")
    # The one that was refused may open a session of its own.
    assert other.handshake(sessionTtlMs=0)["sessionId"] != wire.session


def test_a_read_that_waits_ends_with_its_connection(node: NodeProcess, stack: ExitStack) -> None:
    wire = stack.enter_context(node.connect())
    wire.start(ECHO, pipeStdin=True)
    for _ in range(20):
        wire.call("process/read", processId="p", waitMs=600_000)
    assert wire.request("environment/status")
    wire.close()
    again = stack.enter_context(resumed(node.url, wire.session))
    tell(again, "x")
    assert wire_read(again, 0) == b"x\n"
    node.check()


def test_a_connection_that_ends_before_it_is_initialized_leaves_what_was_kept(
    node: NodeProcess, stack: ExitStack
) -> None:
    wire = stack.enter_context(node.connect(acks=True))
    retention = {"mode": "block", "maxBytes": 65536}
    wire.start(["head", "-c", "600000", "/dev/urandom"], retention=retention)
    wire.until(lambda: "p" in wire.seen)
    wire.close()
    for _ in range(5):  # each takes the session up and is gone again
        brief = stack.enter_context(taken_up(node.url, wire.session))
        brief.close()
    again = stack.enter_context(resumed(node.url, wire.session, acks=True))
    again.attach(after=0)
    seen = again.seen["p"]
    while seen.closed is None:
        again.step()
        again.notify("process/ack", processId="p", seq=seen.seq)
    assert len(seen.stdout) == 600_000
    assert not seen.gaps


# --- not coming back -----------------------------------------------------------------------------


def test_a_session_that_is_over_is_unknown_and_its_processes_are_gone(node: NodeProcess) -> None:
    with node.connect(sessionTtlMs=1) as wire:
        wire.start(f"{DAEMON}; exec sleep 1000")
        wire.says(b"\n")
        pids = [int(wire.seen["p"].stdout), wire.processes()[0]["pid"]]
        assert all(map(alive, pids))
    assert gone(*pids)
    assert unknown(node.url, wire.session) == (-32600, f"unknown session id {wire.session}")


def test_what_exited_processes_left_behind_ends_with_their_session(launch: Launch) -> None:
    node = launch(NodeSettings(execs=ExecSettings(limits=ExecLimits(keep_seconds=0.05))))
    with node.connect(sessionTtlMs=0) as wire:
        kept = int(wire.run(DAEMON).stdout)
        assert eventually(lambda: not wire.processes())  # forgotten, but not what it left
        wire.start(f"{DAEMON}; exec sleep 1000", "q")
        running = wire.says(b"\n", "q").stdout
        assert alive(kept)
    assert gone(kept, int(running))
    node.check()


def test_the_end_of_one_session_leaves_others_alone(node: NodeProcess, wire: Wire) -> None:
    wire.start(ECHO, pipeStdin=True)
    with node.connect(sessionTtlMs=0) as brief:
        brief.start(["sleep", "1000"])
        pid = brief.processes()[0]["pid"]
    assert gone(pid)
    tell(wire, "x", "end")
    assert wire.ended().stdout == b"x\n"


def test_sessions_do_not_see_each_others_processes(node: NodeProcess, wire: Wire) -> None:
    with node.connect(sessionTtlMs=0) as other:
        wire.start(["sleep", "1000"])
        assert other.processes() == []
        assert other.refused("process/read", processId="p").code == -32600
        assert other.request("process/terminate", processId="p") == {"running": False}
        assert other.request("process/write", processId="p", chunk=b"x") == {
            "status": "unknownProcess"
        }
        other.start(["sleep", "1000"])
        everybody = other.processes(everybody=True)
        own = [each for each in everybody if each["processId"] == "p"]
        assert len(own) == 1
        assert {each["ref"] for each in everybody} >= {each["ref"] for each in wire.processes()}


def test_a_client_may_want_less_time_than_the_node_offers_or_more(launch: Launch) -> None:
    node = launch(NodeSettings(session_ttl=0.0, max_session_ttl=0.05))
    with node.connect() as wire:
        pass
    assert eventually(lambda: unknown(node.url, wire.session)[0] == -32600)
    with node.connect(sessionTtlMs=10_000_000) as wire:
        wire.start(["sleep", "1000"])
        pid = wire.processes()[0]["pid"]
    assert gone(pid)
    with Wire.to(node.url) as wire:
        for wrong in (-1, 2**63, "1", 1.5):
            assert wire.refused("initialize", clientName="x", sessionTtlMs=wrong).code == -32602


# --- time, without waiting for it ----------------------------------------------------------------


class Client:
    """The other end of a connection to a node in this event loop, by hand."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._buffer = b""

    async def request(self, method: str, **params: object) -> Json:
        message = cbor2.dumps({"id": 1, "method": method, "params": params})
        await self.stream.send_all(frame(message))
        while len(self._buffer) < 4 or len(self._buffer) < 4 + self._size:
            self._buffer += await self.stream.receive_some()
        answer, self._buffer = self._buffer[4 : 4 + self._size], self._buffer[4 + self._size :]
        decoded = cbor2.loads(answer)
        assert isinstance(decoded, dict)
        return decoded

    @property
    def _size(self) -> int:
        return int.from_bytes(self._buffer[:4], "big")

    async def initialize(self, **params: object) -> Json:
        return await self.request("initialize", clientName="client", **params)


class Clients:
    def __init__(self, node: Node, nursery: trio.Nursery) -> None:
        self.node = node
        self._nursery = nursery

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Client]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        descriptor = theirs.detach()
        connect = partial(self.node.connect, descriptor, descriptor, Peer("test"))
        self._nursery.start_soon(connect)
        async with stream:
            yield Client(stream)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not self.node.connections


@asynccontextmanager
async def clients(**settings: float) -> AsyncIterator[Clients]:
    execs = ExecSettings(adopt=False, guard=False, cgroups=False)
    node_settings = NodeSettings(execs=execs, **settings)  # type: ignore[arg-type]
    async with Node.open(node_settings) as node, trio.open_nursery() as nursery:
        yield Clients(node, nursery)
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_session_lives_eighty_seconds_from_each_detach(
    mock_clock: trio.testing.MockClock,
) -> None:
    async with clients() as node:
        async with node.connected() as first:
            session = (await first.initialize())["result"]["sessionId"]
            mock_clock.jump(1000)  # attached, no time runs
            await trio.testing.wait_all_tasks_blocked(0.01)
        mock_clock.jump(79.9)
        async with node.connected() as second:
            assert (await second.initialize(resumeSessionId=session))["result"]
            mock_clock.jump(79.9)
            await trio.testing.wait_all_tasks_blocked(0.01)
        mock_clock.jump(79.9)
        async with node.connected() as third:
            assert (await third.initialize(resumeSessionId=session))["result"]
        mock_clock.jump(80.1)
        async with node.connected() as late:
            error = (await late.initialize(resumeSessionId=session))["error"]
            assert error == {"code": -32600, "message": f"unknown session id {session}"}
        assert len(node.node.sessions) == 0


@pytest.mark.trio
async def test_a_client_may_want_another_time_when_it_comes_back(
    mock_clock: trio.testing.MockClock,
) -> None:
    async with clients(max_session_ttl=1000.0) as node:
        async with node.connected() as client:
            session = (await client.initialize())["result"]["sessionId"]
        async with node.connected() as client:
            await client.initialize(resumeSessionId=session, sessionTtlMs=500_000)
        mock_clock.jump(400)
        async with node.connected() as client:
            assert (await client.initialize(resumeSessionId=session))["result"]
        mock_clock.jump(400)
        async with node.connected() as client:
            assert (await client.initialize(resumeSessionId=session, sessionTtlMs=0))["result"]
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(node.node.sessions) == 0


@pytest.mark.trio
async def test_coming_back_often_costs_nothing(mock_clock: trio.testing.MockClock) -> None:
    async with clients() as node:
        async with node.connected() as client:
            answer = await client.initialize(sessionTtlMs=600_000_000)
        await trio.testing.wait_all_tasks_blocked(0.01)
        tasks = trio.lowlevel.current_statistics().tasks_living
        for _ in range(20):
            async with node.connected() as client:
                resumed = await client.initialize(resumeSessionId=answer["result"]["sessionId"])
                assert resumed["result"]
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        mock_clock.jump(1_000_000)


@pytest.mark.trio
async def test_at_the_very_end_of_its_time_a_session_is_over(
    mock_clock: trio.testing.MockClock,
) -> None:
    async with clients() as node:
        async with node.connected() as first:
            session = (await first.initialize())["result"]["sessionId"]
        async with node.connected() as second:
            # The task that ends the session has not run yet when this is handled.
            mock_clock.jump(80.0)
            assert (await second.initialize(resumeSessionId=session))["error"]["code"] == -32600


@pytest.mark.trio
async def test_a_client_chooses_how_long_its_session_lives_within_bounds(
    mock_clock: trio.testing.MockClock,
) -> None:
    async with clients(max_session_ttl=1000.0) as node:
        sessions = {}
        for wanted in (0, 5_000, 500_000, 2**62):
            async with node.connected() as client:
                answer = await client.initialize(sessionTtlMs=wanted)
                sessions[wanted] = answer["result"]["sessionId"]
        await trio.testing.wait_all_tasks_blocked(0.01)
        left = []
        for jump in (0.0, 4.9, 0.2, 494.0, 2.0, 498.0, 2.0):
            mock_clock.jump(jump)
            await trio.testing.wait_all_tasks_blocked(0.01)
            living = {session.id for session in node.node.sessions}
            left.append([wanted for wanted, each in sessions.items() if each in living])
        assert left == [
            [5_000, 500_000, 2**62],
            [5_000, 500_000, 2**62],
            [500_000, 2**62],
            [500_000, 2**62],
            [2**62],
            [2**62],
            [],
        ]


def test_a_long_story_is_the_same_to_the_byte_when_told_twice(
    node: NodeProcess, stack: ExitStack
) -> None:
    """What a reader with the log's help has seen, and what the digest says."""
    wire = stack.enter_context(node.connect())
    argv = [sys.executable, "-S", "-c", NUMBERS]
    seen = wire.run(argv, digest="sha256", retention={"mode": "block", "maxBytes": 1 << 20})
    assert seen.closed is not None
    digest = seen.closed["streams"]["stdout"]["digest"]
    assert digest == "sha256:" + hashlib.sha256(EXPECTED).hexdigest()
    wire.close()
    again = stack.enter_context(resumed(node.url, wire.session, sessionTtlMs=0))
    again.attach()
    second = again.ended()
    assert (second.stdout, second.closed, second.exited) == (seen.stdout, seen.closed, seen.exited)
