"""Limits, and what one client cannot do to the others."""

import hashlib
import random
import signal
import socket
import sys
from contextlib import ExitStack, suppress

import cbor2
import pytest

from tests.server.conftest import Launch
from tests.server.running import ExecLimits, ExecSettings, NodeProcess, NodeSettings, gone
from tests.server.wire import Refused, Wire, eventually, frame, resumed, starting

MIB = 1 << 20


def status(number: int) -> bytes:
    return frame(cbor2.dumps({"id": number, "method": "environment/status"}))


# --- how many ------------------------------------------------------------------------------------


def test_a_session_has_a_limit_of_processes(launch: Launch) -> None:
    node = launch(NodeSettings(execs=ExecSettings(limits=ExecLimits(processes=3))))
    with node.connect() as wire, node.connect() as other:
        for i in range(3):
            wire.start(["sleep", "1000"], f"p{i}")
        error = wire.refused("process/start", **starting(["true"], "more"))
        assert error.code == -32600
        assert "limit of 3 processes" in error.message
        assert "--max-processes" in error.message
        # Another session has its own, and one that has ended counts no more.
        assert other.run(["true"]).exit_code == 0
        wire.request("process/terminate", processId="p0")
        wire.ended("p0")
        assert wire.run(["true"], "more").exit_code == 0
        # A start that fails takes no place.
        for _ in range(5):
            assert wire.refused("process/start", **starting(["/no/such"], "no")).code == -32603
        assert wire.run(["true"], "yet more").exit_code == 0


def test_a_node_has_a_limit_of_sessions(launch: Launch) -> None:
    node = launch(NodeSettings(max_sessions=3))
    with ExitStack() as stack:
        held = [stack.enter_context(node.connect()) for _ in range(3)]
        late = stack.enter_context(Wire.to(node.url))
        error = late.refused("initialize", clientName="late")
        assert error.code == -32600
        assert "limit of 3 sessions" in error.message
        assert "--max-sessions" in error.message
        # A detached session with something in it keeps its place.
        held[0].start(["sleep", "1000"])
        held[0].close()
        assert late.refused("initialize", clientName="late").code == -32600
        # It can still be taken up, and whoever was refused may try again.
        again = stack.enter_context(resumed(node.url, held[0].session, sessionTtlMs=0))
        assert [each["processId"] for each in again.processes()] == ["p"]
        again.request("process/terminate", processId="p")
        again.ended()


def test_sessions_that_are_detached_and_empty_make_room_the_oldest_first(launch: Launch) -> None:
    node = launch(NodeSettings(max_sessions=3))
    with ExitStack() as stack:
        brief = []
        for _ in range(3):
            with node.connect() as wire:
                brief.append(wire.session)
            stack.enter_context(resumed(node.url, wire.session)).close()
        for _ in range(50):  # clients that come for a moment, more than there may be sessions
            with node.connect() as wire:
                assert wire.request("environment/status")
        with pytest.raises(Refused, match="unknown session id"):
            resumed(node.url, brief[0])
        with resumed(node.url, wire.session) as last:
            assert last.request("environment/status")


def test_a_node_has_a_limit_of_connections(launch: Launch) -> None:
    node = launch(NodeSettings(max_connections=3), "tcp://127.0.0.1:0")
    with ExitStack() as stack:
        held = [stack.enter_context(node.connect()) for _ in range(3)]
        for url in node.urls:
            with Wire.to(url) as late:
                (message,) = late.eof()
            assert message["id"] == -1
            assert message["error"]["code"] == -32600
            assert "limit of 3 connections" in message["error"]["message"]
            assert "--max-connections" in message["error"]["message"]
        held[0].close()

        def free() -> bool:
            with Wire.to(node.url) as late:
                return "id" in late.receive() if not late.silent(0.05) else True

        assert eventually(free)
        assert held[1].request("environment/status")


def test_what_may_be_kept_of_a_process_has_a_limit(launch: Launch) -> None:
    limits = ExecLimits(max_retention=100_000, retention=50_000)
    node = launch(NodeSettings(execs=ExecSettings(limits=limits)))
    with node.connect() as wire:
        retention = {"mode": "block", "maxBytes": 100_001}
        error = wire.refused("process/start", **starting(["true"], retention=retention))
        assert error.code == -32600
        assert "100000" in error.message
        assert "--max-retention" in error.message
        assert wire.start(["true"])["maxBytes"] == 50_000
        retention["maxBytes"] = 100_000
        assert wire.start(["true"], "q", retention=retention)["maxBytes"] == 100_000


# --- frames --------------------------------------------------------------------------------------


def test_a_frame_has_a_limit(launch: Launch) -> None:
    node = launch(NodeSettings(max_frame=100_000), "tcp://127.0.0.1:0")
    for url in node.urls:
        with node.connect(url) as wire, node.connect() as other:
            wire.start("sha256sum", pipeStdin=True)
            body = b"x" * 99_000
            assert wire.request("process/write", processId="p", chunk=body)
            wire.call("process/write", processId="p", chunk=b"x" * 100_000)
            *_, message = wire.eof()
            assert message["id"] == -1
            assert message["error"]["code"] == -32600
            assert "100000 bytes" in message["error"]["message"]
            assert "--max-frame" in message["error"]["message"]
            assert other.request("environment/status")
            # Nothing is lost by it but the connection.
            with resumed(node.url, wire.session, sessionTtlMs=0) as again:
                again.attach()
                again.request("process/closeStdin", processId="p")
                digest = hashlib.sha256(body).hexdigest().encode()
                assert again.ended().stdout.split()[0] == digest


@pytest.mark.parametrize("size", [2**32 - 1, 2**31, (16 << 20) + 1])
def test_a_length_that_is_a_lie_costs_nothing(node: NodeProcess, wire: Wire, size: int) -> None:
    with Wire.to(node.url) as liar:
        liar.socket.sendall(size.to_bytes(4, "big") + b"x" * 100)
        (message,) = liar.eof()
        assert str(size) in message["error"]["message"]
    assert wire.request("environment/status")


def test_a_frame_of_the_largest_size_is_taken(wire: Wire) -> None:
    overhead = len(cbor2.dumps({"id": 1, "method": "x", "params": {"x": b""}})) + 4
    body = cbor2.dumps({"id": 1, "method": "x", "params": {"x": bytes((16 << 20) - overhead)}})
    assert len(body) <= 16 << 20
    wire.socket.sendall(frame(body))
    assert wire.receive()["error"]["code"] == -32601


def test_half_a_frame_and_then_silence_disturbs_nobody(node: NodeProcess, wire: Wire) -> None:
    with ExitStack() as stack:
        halves = []
        for cut in (1, 3, 4, 5, 20):
            half = stack.enter_context(node.connect(sessionTtlMs=0))
            half.start("read x; echo $x", pipeStdin=True)
            half.socket.sendall(status(77)[:cut])
            halves.append((half, cut))
        announced = stack.enter_context(Wire.to(node.url))
        before = node.resident()
        announced.socket.sendall((16 << 20).to_bytes(4, "big"))
        for i in range(50):
            assert wire.run(["true"], f"p{i}").exit_code == 0
        assert node.resident() - before < 4 * MIB  # not what was announced
        for half, cut in halves:
            assert half.silent(0.01)
            half.socket.sendall(status(77)[cut:])
            assert half.answer(77) == {"status": "ready"}
            half.request("process/write", processId="p", chunk=b"x\n")
            assert half.ended().stdout == b"x\n"


def test_frames_may_come_in_any_pieces(wire: Wire) -> None:
    dice = random.Random(4)
    data = b"".join(status(i) for i in range(200))
    while data:
        size = dice.choice([1, 2, 3, 5, 30, 200])
        wire.socket.sendall(data[:size])
        data = data[size:]
    assert [wire.receive()["id"] for _ in range(200)] == list(range(200))


# --- clients that do not read --------------------------------------------------------------------


def test_a_client_that_never_reads_hurts_only_itself(node: NodeProcess, wire: Wire) -> None:
    size = 40 * MIB
    script = f"head -c {size} /dev/zero; echo done >&2"
    with node.connect(sessionTtlMs=0) as deaf:
        before = node.resident()
        for i in range(3):
            deaf.call("process/start", **starting(script, f"p{i}"))
        # Each process stops when what is kept for the client is full, and nobody else does.
        assert wire.run(["head", "-c", str(20 * MIB), "/dev/zero"]).exit_code == 0
        for i in range(30):
            assert wire.run(["true"], f"q{i}").exit_code == 0
        assert node.resident() - before < 8 * MIB
        pids = [p["pid"] for p in wire.processes(everybody=True) if p["clientName"] == "wire"]
        assert len(pids) >= 3
        # When it reads at last, it gets everything.
        for i in range(3):
            seen = deaf.ended(f"p{i}")
            assert len(seen.stdout) == size
            assert seen.stderr == b"done\n"
            assert not seen.gaps
            del deaf.seen[f"p{i}"]


def test_a_process_that_waits_for_its_reader_can_be_ended(node: NodeProcess) -> None:
    with node.connect(sessionTtlMs=0) as deaf, node.connect(sessionTtlMs=0) as other:
        deaf.call("process/start", **starting(["yes"]))
        assert eventually(lambda: other.processes(everybody=True))
        found = [p for p in other.processes(everybody=True) if p["argv"] == ["yes"]]
        other.attach("theirs", ref=found[0]["ref"], skipTo="end")
        assert other.request("process/terminate", processId="theirs")["running"] is True
        assert gone(found[0]["pid"])
        assert deaf.ended().exit_code == 137
        assert not deaf.seen["p"].gaps


def test_a_slow_process_is_not_held_up_by_a_fast_one_of_the_same_client(wire: Wire) -> None:
    wire.start(["yes"], "fast")
    wire.start("while read x; do echo $x; done", "slow", pipeStdin=True)
    for i in range(20):
        wire.call("process/write", processId="slow", chunk=b"%d\n" % i)
        wire.says(b"%d\n" % i, "slow")
        fast = wire.seen["fast"]
        fast.streams.clear()
        fast.chunks.clear()
    wire.request("process/terminate", processId="fast")
    assert wire.ended("fast").exit_code == 137


def test_ten_thousand_requests_are_answered_when_they_are_read(
    node: NodeProcess, wire: Wire
) -> None:
    count = 10_000
    requests = b"".join(
        status(i)
        if i % 2
        else frame(
            cbor2.dumps({"id": i, "method": "process/read", "params": {"processId": "nobody"}})
        )
        for i in range(count)
    )
    with node.connect(sessionTtlMs=0) as flood:
        before = node.resident()
        flood.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        flood.socket.setblocking(False)
        sent = 0
        for _ in range(200):  # as much as it takes; it stops taking when answers pile up
            try:
                sent += flood.socket.send(requests[sent : sent + 65536])
            except BlockingIOError:
                assert wire.request("environment/status")
            if sent == len(requests):
                break
        flood.socket.settimeout(15)
        assert node.resident() - before < 8 * MIB
        answered: list[int] = []
        while len(answered) < count:
            if sent < len(requests):
                flood.socket.setblocking(False)
                with suppress(BlockingIOError):
                    sent += flood.socket.send(requests[sent : sent + 65536])
                flood.socket.settimeout(15)
            answered.append(flood.receive()["id"])
        assert answered == list(range(count))


def test_hundreds_of_processes_may_end_before_their_client_reads_of_it(launch: Launch) -> None:
    limits = ExecLimits(processes=10_000, kept=100)
    node = launch(NodeSettings(execs=ExecSettings(limits=limits)))
    count = 600
    with node.connect() as wire, node.connect() as other:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        ids = [wire.call("process/start", **starting(["true"], f"p{i}")) for i in range(count)]
        assert other.run(["true"]).exit_code == 0
        for i, request_id in enumerate(ids):
            wire.answer(request_id)
            assert wire.ended(f"p{i}").exit_code == 0
    node.check()


def test_waiting_reads_are_bounded_by_nothing_but_cost_little(node: NodeProcess) -> None:
    with node.connect(sessionTtlMs=0) as wire:
        wire.start("read x; echo $x", pipeStdin=True)
        wire.request("environment/status")
        before = node.resident()
        ids = [wire.call("process/read", processId="p", waitMs=600_000) for _ in range(1000)]
        assert wire.request("environment/status")
        assert node.resident() - before < 16 * MIB
        wire.request("process/write", processId="p", chunk=b"x\n")
        for each in ids:
            assert wire.answer(each)["chunks"][0]["chunk"] == b"x\n"


# --- memory and disk -----------------------------------------------------------------------------


def test_output_above_the_share_of_memory_goes_to_disk_and_comes_back(launch: Launch) -> None:
    limits = ExecLimits(process_memory=64 << 10)
    settings = NodeSettings(execs=ExecSettings(limits=limits))
    node = launch(settings)
    retention = {"mode": "block", "maxBytes": 64 * MIB}
    with node.connect(acks=True) as wire:
        before = node.resident()
        wire.start(["head", "-c", str(32 * MIB), "/dev/urandom"], retention=retention)
        session = wire.session
    with node.connect() as other:
        assert eventually(lambda: other.processes(everybody=True)[0]["closed"])
        assert node.resident() - before < 8 * MIB
    with resumed(node.url, session, acks=True) as again:
        again.attach()
        seen = again.ended()
        assert len(seen.stdout) == 32 * MIB
        assert not seen.gaps
    assert node.end(signal.SIGTERM) == 0


def test_the_oldest_output_is_dropped_where_the_client_said_so(node: NodeProcess) -> None:
    retention = {"mode": "drop-oldest", "maxBytes": 100_000}
    script = "import sys\nfor i in range(200000): print(i)"
    argv = [sys.executable, "-S", "-c", script]
    total = sum(len(f"{i}\n") for i in range(200_000))
    with node.connect(sessionTtlMs=0) as slow, node.connect(sessionTtlMs=0) as other:
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.call("process/start", **starting(argv, retention=retention))

        def ended() -> bool:
            found = [p for p in other.processes(everybody=True) if p["argv"] == argv]
            return bool(found) and found[0]["closed"]

        assert eventually(ended)
        seen = slow.ended()
        assert seen.lost
        assert seen.lost + len(seen.stdout) == total
        assert seen.stdout.endswith(b"199999\n")
        assert seen.exited is not None
        # What a read finds gone, it says.
        result = slow.request("process/read", processId="p")
        first = result["chunks"][0]
        assert (result["gap"]["fromSeq"], result["gap"]["toSeq"]) == (1, first["seq"] - 1)


@pytest.mark.parametrize("digest", ["crc32c", "sha256", None])
def test_the_end_tells_how_much_there_was_and_what_it_sums_to(
    wire: Wire, digest: str | None
) -> None:
    data = random.Random(5).randbytes(300_000)
    wire.start("tee /dev/stderr", pipeStdin=True, **({"digest": digest} if digest else {}))
    wire.request("process/write", processId="p", chunk=data)
    wire.request("process/closeStdin", processId="p")
    seen = wire.ended()
    assert seen.closed is not None
    assert seen.stdout == seen.stderr == data
    for total in seen.closed["streams"].values():
        assert total["bytes"] == 300_000
        if digest == "sha256":
            assert total["digest"] == "sha256:" + hashlib.sha256(data).hexdigest()
        else:
            assert total["digest"] == f"crc32c:{crc32c(data):08x}"


def crc32c(data: bytes) -> int:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF
