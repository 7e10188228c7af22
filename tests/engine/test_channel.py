import errno
import os
import signal
import socket
import tempfile
from typing import Any

import cbor2
import pytest

from execnode.engine import _pty
from tests.engine.pump import Peer, Pump, apart, opened, output, readable, sh

CAT = [b"/bin/cat"]


def numbers(first: int, last: int) -> bytes:
    return b"".join(b"%d\n" % i for i in range(first, last + 1))


def frames(pump: Pump) -> list[bytes]:
    return [body for _, _, body in pump.of(_pty.FRAME)]


@pytest.fixture
def peer(pump: Pump) -> Peer:
    """Give the other end of a channel on which writes and acks are done by the engine."""
    return Peer(pump, acks=True)


# --- frames ---------------------------------------------------------------------------------------


def test_frames_arrive_whole_and_in_order(pump: Pump) -> None:
    peer = Peer(pump, hot=False)
    bodies = [bytes([i]) * (i * 37 % 300) for i in range(200)]
    for body in bodies:
        peer.send(body)
    pump.until(lambda: len(frames(pump)) == 200)
    assert frames(pump) == bodies
    for body in bodies:
        peer.channel.send(cbor2.dumps({"id": 1, "result": body}))
    pump.until(lambda: len(peer.messages) == 200)
    assert [each["result"] for each in peer.messages] == bodies


def test_a_stream_may_be_cut_at_every_byte(pump: Pump) -> None:
    process = pump.start(CAT, stdin=True)
    peer = Peer(pump)
    peer.attach(process)
    write = {"id": 7, "method": "process/write", "params": {"processId": "p", "chunk": b"hello\n"}}
    bodies = [b"", b"first", cbor2.dumps(write), b"last"]
    data = b"".join(len(body).to_bytes(4, "big") + body for body in bodies)
    for cut in range(len(data) + 1):
        pump.events.clear()
        peer.messages.clear()
        peer.unsent += data[:cut]
        pump.until(lambda: not peer.unsent)
        pump.until(lambda: not readable(pump.engine), look=0)
        peer.unsent += data[cut:]
        pump.until(lambda: len(frames(pump)) + len(peer.messages) == 4)
        # The write was done on the spot unless something before it had to be handed up first.
        assert [body for body in frames(pump) if body != bodies[2]] == [b"", b"first", b"last"]
        if bodies[2] in frames(pump):
            process.write(b"hello\n")
        else:
            assert peer.answers == {7: {"status": "accepted"}}
    pump.until(lambda: process.totals()["stdout"] == 6 * (len(data) + 1))


def test_the_largest_frame_passes_and_a_larger_one_ends_reading(pump: Pump) -> None:
    peer = Peer(pump, hot=False)
    peer.channel.ready(max_frame=100_000, acks=False)
    peer.send(bytes(100_000))
    peer.send(bytes(100_001))
    peer.send(b"never read")
    pump.until(lambda: pump.of(_pty.OVERSIZE))
    assert pump.of(_pty.OVERSIZE) == [(_pty.OVERSIZE, peer.channel, 100_001)]
    assert frames(pump) == [bytes(100_000)]
    pump.until_idle()
    peer.channel.send(cbor2.dumps({"id": 0, "error": "too large"}))
    peer.channel.notify_drained()
    pump.until(lambda: pump.saw(_pty.DRAINED, peer.channel) and peer.messages)
    peer.socket.close()
    pump.peers.clear()
    pump.until_idle()
    assert len(frames(pump)) == 1


def test_an_announced_size_takes_no_memory_before_its_bytes_come() -> None:
    script = """
        from tests.engine.pump import Peer, opened
        from pathlib import Path

        def resident():
            return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

        with opened() as pump:
            peers = [Peer(pump, hot=False) for _ in range(30)]
            before = resident()
            for peer in peers:
                peer.unsent += (8 << 20).to_bytes(4, "big") + bytes(1000)
            pump.until(lambda: not any(peer.unsent for peer in peers))
            pump.until_idle()
            assert resident() - before < 8 << 20, resident() - before
            # A large frame's memory is given back when it was taken.
            for peer in peers[:5]:
                peer.unsent += bytes((8 << 20) - 1000)
                pump.until(lambda: len(pump.events) == 1)
                pump.events.clear()
            pump.until_idle()
            assert resident() - before < 20 << 20, resident() - before
    """
    apart(script)


# --- requests that the engine does itself ---------------------------------------------------------


def test_writes_are_done_on_the_spot(pump: Pump, peer: Peer) -> None:
    process = pump.start(CAT, stdin=True)
    seen = peer.attach(process)
    for number in (0, -5, 2**62, "text id", 1):
        peer.request(number, "process/write", processId="p", chunk=b"line\n")
    pump.until(lambda: len(peer.answers) == 5 and len(seen.bytes["stdout"]) == 25)
    assert set(map(str, peer.answers.values())) == {"{'status': 'accepted'}"}
    assert not frames(pump)


def test_a_repeated_write_is_accepted_again_and_done_once(pump: Pump, peer: Peer) -> None:
    process = pump.start(CAT, stdin=True)
    seen = peer.attach(process)
    for number in range(3):
        peer.request(number, "process/write", processId="p", chunk=b"once\n", writeId="w")
    peer.request(3, "process/write", processId="p", chunk=b"end\n", writeId="x")
    pump.until(lambda: len(peer.answers) == 4 and len(seen.bytes["stdout"]) == 9)
    assert seen.bytes["stdout"] == b"once\nend\n"


def test_acks_are_taken_without_an_answer(pump: Pump, peer: Peer) -> None:
    process = pump.start(sh("seq 100; read x"), stdin=True)
    seen = peer.attach(process)
    pump.until(lambda: seen.seq == 1)
    assert peer.channel.unconfirmed(process) == 1
    peer.notify("process/ack", processId="p", seq=1)
    pump.until(lambda: peer.channel.unconfirmed(process) == 2)
    peer.notify("process/ack", processId="p", seq=99)  # never sent: not believed
    peer.notify("process/ack", processId="p", seq=0)
    pump.until_idle()
    assert peer.channel.unconfirmed(process) == 2
    assert not frames(pump)
    assert not peer.messages


@pytest.mark.parametrize(
    "params",
    [
        {"processId": "stranger", "chunk": b"x"},
        {"processId": "p", "chunk": "text"},
        {"processId": "p", "chunk": b"x", "more": 1},
        {"processId": "p"},
        {"processId": "p", "chunk": b"x", "writeId": "ü"},
        {"processId": "p", "chunk": b"x", "writeId": None},
    ],
)
def test_what_is_not_plain_is_handed_up(pump: Pump, peer: Peer, params: dict[str, object]) -> None:
    process = pump.start(CAT, stdin=True)
    peer.attach(process)
    peer.request(1, "process/write", **params)
    pump.until(lambda: frames(pump))
    assert cbor2.loads(frames(pump)[0])["params"] == params
    assert process.totals()["stdout"] == 0


def test_nothing_is_done_before_the_handshake(pump: Pump) -> None:
    peer = Peer(pump, hot=False)
    peer.attach(pump.start(CAT, stdin=True))
    peer.request(1, "process/write", processId="p", chunk=b"x")
    pump.until(lambda: frames(pump))


def test_what_follows_a_frame_that_was_handed_up_waits_its_turn(pump: Pump, peer: Peer) -> None:
    process = pump.start(CAT, stdin=True)
    peer.attach(process)
    peer.request(1, "process/closeStdin", processId="p")
    for number in range(2, 5):
        peer.request(number, "process/write", processId="p", chunk=b"x")
    pump.until(lambda: len(frames(pump)) == 4)
    assert [cbor2.loads(body)["id"] for body in frames(pump)] == [1, 2, 3, 4]
    peer.request(5, "process/write", processId="p", chunk=b"x\n")
    pump.until(lambda: 5 in peer.answers)


def test_a_write_that_cannot_be_done_is_handed_up(pump: Pump, peer: Peer) -> None:
    process = pump.start(sh("exec <&-; echo closed; exec sleep 100"), stdin=True)
    peer.attach(process)
    pump.until(lambda: output(process))
    peer.request(1, "process/write", processId="p", chunk=b"x")
    pump.until(lambda: frames(pump))
    assert process.write(b"x") == (_pty.FAILED, 0, errno.EPIPE)


def test_a_write_that_has_to_wait_is_told_with_its_ticket(pump: Pump, peer: Peer) -> None:
    process = pump.start([b"/usr/bin/wc", b"-c"], stdin=True)
    process.signal(signal.SIGSTOP)
    peer.attach(process)
    peer.request(1, "process/write", processId="p", chunk=bytes(1 << 20), writeId="w")
    peer.request(2, "process/write", processId="p", chunk=bytes(10))
    peer.request(3, "process/write", processId="p", chunk=bytes(1 << 20), writeId="w")
    pump.until(lambda: len(pump.of(_pty.QUEUED)) == 3)
    first, second, again = pump.of(_pty.QUEUED)
    assert [cbor2.loads(event[2])["id"] for event in (first, second, again)] == [1, 2, 3]
    assert first[3] == again[3] != second[3]
    pump.until_idle()
    process.signal(signal.SIGCONT)
    pump.until(lambda: len(pump.of(_pty.WRITTEN)) == 2)
    assert pump.of(_pty.WRITTEN) == [
        (_pty.WRITTEN, process, first[3], 0),
        (_pty.WRITTEN, process, second[3], 0),
    ]
    process.close_input()
    pump.until_ended(process)
    assert output(process) == b"%d\n" % ((1 << 20) + 10)


# --- order ----------------------------------------------------------------------------------------


def test_what_was_sent_before_leaves_before_the_output(pump: Pump) -> None:
    """However many answers wait: a start's answer comes before its process's first output."""
    for count in (1, 31, 32, 33, 100, 500):
        peer = Peer(pump)
        process = pump.run(sh("echo x"))
        order: list[str] = []
        for number in range(count):
            peer.channel.send(cbor2.dumps({"id": number, "result": "answer"}))
        seen = peer.attach(process)
        peer.channel.send(cbor2.dumps({"id": count, "result": "answer"}))
        peer.on_message = lambda message: order.append(message.get("result", "notification"))  # noqa: B023
        pump.until_closed(seen)
        assert list(peer.answers) == list(range(count + 1))
        assert order[: count + 1] == ["answer"] * (count + 1)
        assert len(order) == count + 1 + 3


def test_marks_keep_their_place_among_many_answers(pump: Pump) -> None:
    peer = Peer(pump)
    process = pump.start(
        sh("exec 3<&0; echo a; (read x <&3; seq 1 9999; read x <&3) & exit 0"), stdin=True
    )
    seen = peer.attach(process)
    pump.until(lambda: pump.saw(_pty.EXITED, process) and seen.seq == 2)
    peer.reading = False
    for number in range(200):
        peer.channel.send(cbor2.dumps({"id": number, "result": bytes(100)}))
    process.write(b"\n\n")
    pump.until_ended(process)
    peer.reading = True
    pump.until_closed(seen)
    assert seen.bytes["stdout"] == b"a\n" + numbers(1, 9999)
    assert len(peer.answers) == 200


@pytest.mark.parametrize(
    ("buffer", "at_once"),
    [(4096, 7), (4096, 1000), (4096, 1 << 20), (20_000, 1000), (None, 1000), (None, 1 << 20)],
)
def test_partial_sends_keep_frames_whole(pump: Pump, buffer: int | None, at_once: int) -> None:
    peer = Peer(pump, buffer=buffer)
    peer.at_once = at_once
    last = 20_000 if at_once == 7 else 300_000
    processes = [pump.start(sh(f"seq 1 {last} | tee /dev/stderr")) for _ in range(2)]
    streams = [peer.attach(process, f"p{i}") for i, process in enumerate(processes)]
    for number in range(300):
        peer.channel.send(cbor2.dumps({"id": number, "result": bytes(number)}))
    pump.until_closed(*streams)
    assert list(peer.answers) == list(range(300))
    for seen in streams:
        assert seen.bytes["stdout"] == numbers(1, last)
        assert sorted(seen.bytes["stderr"].split()) == sorted(numbers(1, last).split())


def test_a_log_may_grow_while_its_frames_are_sent() -> None:
    """Memory becomes free while a stalled log has one frame sent and half of the next."""
    with opened(memory_limit=256 << 10) as pump:
        other = pump.start([b"/usr/bin/yes"], memory=128 << 10)
        other.hold(1)
        process = pump.start(sh("echo a; read x; seq 1 40000"), stdin=True)
        process.hold(1)
        pump.until(lambda: output(process) and pump.engine.memory_used > 128 << 10)
        process.write(b"\n")
        pump.until_idle()
        assert pump.engine.memory_used == 256 << 10
        peer = Peer(pump, buffer=4096)
        seen = peer.attach(process)
        process.release()
        other.close()
        pump.until_closed(seen)
        assert seen.bytes["stdout"] == b"a\n" + numbers(1, 40000)


def test_names_may_be_long(pump: Pump) -> None:
    peer = Peer(pump)
    names = ["a" * 256, "b" * 257, "ü" * 5000, "", "d"]
    processes = [pump.start(sh("seq 1 30000; seq 1 30000 >&2")) for _ in names]
    streams = [peer.attach(each, name) for each, name in zip(processes, names, strict=True)]
    pump.until_closed(*streams)
    for seen in streams:
        assert seen.bytes == {"stdout": numbers(1, 30000), "stderr": numbers(1, 30000)}


# --- peers that misbehave -------------------------------------------------------------------------


def test_a_peer_that_ends_its_side_is_told_of_after_what_it_sent(pump: Pump) -> None:
    peer = Peer(pump, hot=False)
    for number in range(500):
        peer.request(number, "x")
    peer.unsent += b"\0\0\0\5half"
    pump.until(lambda: not peer.unsent)
    peer.socket.shutdown(socket.SHUT_WR)
    pump.until(lambda: pump.saw(_pty.EOF, peer.channel))
    assert len(frames(pump)) == 500
    assert pump.events[-1] == (_pty.EOF, peer.channel)
    pump.until_idle()
    peer.channel.send(cbor2.dumps({"id": 1, "result": "still heard"}))
    pump.until(lambda: peer.answers)
    peer.socket.close()
    pump.peers.clear()
    pump.until_idle()
    assert len(pump.of(_pty.EOF)) == 1


def test_a_peer_that_vanishes_breaks_the_channel_once(pump: Pump) -> None:
    peer = Peer(pump)
    process = pump.start([b"/usr/bin/yes"])
    peer.attach(process)
    pump.until(lambda: peer.received > 1 << 20)
    peer.socket.close()
    pump.peers.clear()
    pump.until(lambda: pump.of(_pty.BROKEN))
    pump.until_idle()
    kinds = [event[0] for event in pump.events if event[1] is peer.channel]
    assert kinds.count(_pty.BROKEN) == 1
    peer.channel.send(b"into the void")
    peer.channel.notify_drained()
    pump.until_idle()
    peer.channel.close()
    assert peer.channel.closed
    pump.until(lambda: process.totals()["stdout"] > 4 << 20)  # nobody is entitled: it runs on


def test_a_vanished_peer_is_noticed_while_the_channel_only_waits_to_send(pump: Pump) -> None:
    peer = Peer(pump)
    peer.reading = False
    peer.channel.send(bytes(4 << 20))  # pauses reading, and the socket takes only some of it
    pump.until_idle()
    assert peer.channel.queued > 1 << 20
    peer.socket.close()
    pump.peers.clear()
    pump.until(lambda: pump.of(_pty.BROKEN))
    pump.until_idle()
    assert len(pump.of(_pty.BROKEN)) == 1


def test_ten_thousand_requests_of_a_peer_that_reads_nothing(pump: Pump) -> None:
    peer = Peer(pump, hot=False)
    peer.reading = False

    def respond(event: tuple[Any, ...]) -> None:
        if event[0] == _pty.FRAME:
            request = cbor2.loads(event[2])
            peer.channel.send(cbor2.dumps({"id": request["id"], "result": bytes(2000)}))

    pump.on_event = respond
    for number in range(10_000):
        peer.request(number, "large", padding=bytes(50))
    pump.until_idle()
    # It stopped asking for more when a mebibyte of answers waited.
    assert len(frames(pump)) < 2000
    assert 1 << 20 < peer.channel.queued < 2 << 20
    peer.reading = True
    pump.until(lambda: len(peer.answers) == 10_000)
    assert list(peer.answers) == list(range(10_000))
    assert peer.channel.queued == 0


def test_ten_thousand_writes_of_a_peer_that_reads_nothing(pump: Pump) -> None:
    peer = Peer(pump)
    process = pump.start(sh("wc -l"), stdin=True)
    peer.attach(process)
    peer.reading = False
    for number in range(10_000):
        peer.request(f"{number:0200}", "process/write", processId="p", chunk=b"line\n")
    pump.until_idle()
    assert peer.unsent
    assert peer.channel.queued < 2 << 20
    peer.reading = True
    pump.until(lambda: len(peer.answers) == 10_000)
    process.close_input()
    pump.until_ended(process)
    assert output(process) == b"10000\n"


def test_a_detach_in_the_middle_stops_at_a_whole_frame(pump: Pump) -> None:
    peer = Peer(pump)
    process, other = pump.start([b"/usr/bin/yes"], memory=128 << 10), pump.start(sh("seq 1 100000"))
    seen, rest = peer.attach(process, "yes"), peer.attach(other, "seq")
    peer.reading = False
    pump.until_idle()
    assert peer.channel.streams(process)
    peer.channel.detach(process)
    assert not peer.channel.streams(process)
    with pytest.raises(KeyError):
        peer.channel.detach(process)
    peer.reading = True
    pump.until_closed(rest)
    assert rest.bytes["stdout"] == numbers(1, 100000)
    assert seen.bytes["stdout"] == (b"y\n" * len(seen.bytes["stdout"]))[: len(seen.bytes["stdout"])]
    assert not seen.closed


def test_closing_in_the_middle_leaves_the_others_alone(pump: Pump) -> None:
    peers = [Peer(pump) for _ in range(6)]
    process = pump.start(sh("seq 1 200000"))
    streams = [peer.attach(process) for peer in peers]
    pump.until(lambda: process.totals()["stdout"] > 100_000)
    for peer in peers[::2]:
        peer.channel.close()
    pump.until_closed(*streams[1::2])
    assert all(seen.bytes["stdout"] == numbers(1, 200000) for seen in streams[1::2])
    assert not any(seen.closed for seen in streams[::2])
    pump.until(lambda: all(peer.eof for peer in peers[::2]))


def test_nothing_is_told_of_what_was_closed(pump: Pump) -> None:
    """But for what the same poll had to say already; owners are gone by then."""
    peer = Peer(pump, hot=False)
    other = Peer(pump)
    process = pump.start(sh("seq 1 1000; exit 1"))
    other.attach(process)
    process.owner = peer.channel.owner = "owner"
    for number in range(1000):
        peer.request(number, "x")
    late: list[object] = []

    def close(event: tuple[Any, ...]) -> None:
        late.append(event[1].owner if event[1] in (process, peer.channel) else None)
        if event[1] is process:
            process.close()
        elif event[1] is peer.channel:
            peer.channel.close()

    pump.on_event = close
    pump.until(lambda: late.count("owner") == 2)
    peer.socket.close()
    pump.peers.remove(peer)
    pump.until_idle()
    assert late.count("owner") == 2
    assert len(frames(pump)) < 1000
    assert (pump.engine.processes, pump.engine.channels) == (0, 1)


# --- fairness and wake-ups ------------------------------------------------------------------------


def test_processes_take_turns_on_a_channel(pump: Pump) -> None:
    peer = Peer(pump)
    floods = [pump.start([b"/usr/bin/yes", b"%d" % i]) for i in range(20)]
    streams = [peer.attach(process, f"flood {i}") for i, process in enumerate(floods)]
    pump.until(lambda: sum(len(each.bytes["stdout"]) for each in streams) > 40 << 20)
    amounts = sorted(len(each.bytes["stdout"]) for each in streams)
    assert amounts[-1] < 4 * amounts[0] + (2 << 20)
    quiet = pump.start(sh("echo quiet"))
    seen = peer.attach(quiet, "quiet")
    before = peer.received
    pump.until_closed(seen)
    assert peer.received - before < 64 << 20


def test_channels_take_turns(pump: Pump) -> None:
    peers = [Peer(pump) for _ in range(2)]
    floods = [pump.start([b"/usr/bin/yes"]) for _ in range(4)]
    for i in range(3):
        peers[0].attach(floods[i], f"{i}")
    peers[1].attach(floods[3], "3")
    pump.until(lambda: peers[1].received > 20 << 20)
    assert peers[0].received > 10 << 20
    peers[1].reading = False
    before = peers[0].received
    pump.until(lambda: peers[0].received > before + (20 << 20))


def test_an_engine_that_can_do_nothing_sleeps(pump: Pump) -> None:
    """Blocked peers, stalled children, a child that does not read: none of them is busy."""
    assert not readable(pump.engine)
    peer = Peer(pump)
    peer.reading = False
    processes = [
        pump.start([b"/usr/bin/yes"], stdin=True),
        pump.start([b"/usr/bin/yes"], size=(9, 9)),
    ]
    for i, process in enumerate(processes):
        peer.attach(process, f"{i}")
    processes[0].write(bytes(1 << 20))
    silent = Peer(pump)
    silent.unsent += b"\0\0\0\5hal"
    ended = Peer(pump)
    ended.socket.shutdown(socket.SHUT_WR)
    zombie = pump.run(sh("true"))
    pump.until_idle()
    assert zombie.ended
    for _ in range(3):
        assert pump.engine.poll() == []
        assert not pump.engine.busy
        assert not readable(pump.engine, 0.1)
    peer.reading = True
    pump.until(lambda: len(peer.streams["0"].bytes["stdout"]) > 4 << 20)
    pump.until(lambda: len(peer.streams["1"].bytes["pty"]) > 1 << 20)


def test_what_is_queued_while_the_loop_waits_wakes_it(pump: Pump) -> None:
    peer = Peer(pump)
    done = pump.run(sh("echo x"))
    for queue in (
        lambda: peer.channel.send(cbor2.dumps({"id": 1, "result": 1})),
        lambda: peer.attach(done),
        lambda: peer.channel.notify_drained(),
        lambda: pump.engine.wake(),
    ):
        pump.until_idle()
        assert not readable(pump.engine)
        pump.engine.waited_for = True
        queue()
        assert readable(pump.engine)
    pump.until(lambda: peer.answers and peer.streams["p"].closed and pump.of(_pty.DRAINED))
    pump.until_idle()


def test_drained_comes_when_everything_has_left(pump: Pump) -> None:
    peer = Peer(pump)
    peer.reading = False
    peer.channel.send(cbor2.dumps({"id": 1, "result": bytes(3 << 20)}))
    peer.channel.notify_drained()
    pump.until_idle()
    assert not pump.of(_pty.DRAINED)
    peer.reading = True
    pump.until(lambda: pump.of(_pty.DRAINED))
    assert peer.channel.queued == 0
    pump.until(lambda: peer.answers)
    assert len(pump.of(_pty.DRAINED)) == 1


def test_many_records_and_channels_cost_what_they_should(pump: Pump) -> None:
    """Two thousand streamed processes and one that is busy: nobody walks through all of them."""
    peer = Peer(pump)
    idle = [pump.run(sh("exit")) for _ in range(200)]
    streams = [peer.attach(process, f"idle {i}") for i, process in enumerate(idle)]
    pump.until_closed(*streams)
    assert pump.engine.memory_used == 0


# --- pipes in place of a socket -------------------------------------------------------------------


def test_a_channel_may_be_two_pipes(pump: Pump) -> None:
    requests, answers = os.pipe(), os.pipe()
    channel = pump.engine.open_channel(requests[0], answers[1], max_frame=1000)
    os.write(requests[1], b"\0\0\0\3abc")
    pump.until(lambda: frames(pump))
    assert frames(pump) == [b"abc"]
    channel.send(bytes(500_000))
    pump.until_idle()
    got = b""
    while len(got) < 500_004:
        got += os.read(answers[0], 1 << 20)
        pump.until_idle()
    assert got == (500_000).to_bytes(4, "big") + bytes(500_000)
    os.close(requests[1])
    pump.until(lambda: pump.saw(_pty.EOF, channel))
    pump.until_idle()
    channel.send(b"x")
    os.close(answers[0])
    pump.until_idle()
    channel.close()


def test_a_pipe_that_nobody_reads_raises_no_signal() -> None:
    script = """
        import os, signal
        from execnode.engine import Engine, _pty
        from tests.engine.pump import Pump

        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        pump = Pump(Engine(memory_limit=1 << 20))
        requests, answers = os.pipe(), os.pipe()
        channel = pump.engine.open_channel(requests[0], answers[1], max_frame=1000)
        os.close(answers[0])
        channel.send(b"x")
        pump.until(lambda: pump.of(_pty.BROKEN))
        pump.until_idle()
        print(pump.events[0][2])
        pump.engine.close()
        os.close(requests[1])
    """
    assert apart(script).split() == [str(int(errno.EPIPE))]


def test_a_descriptor_that_cannot_be_waited_for_is_refused(pump: Pump) -> None:
    with tempfile.TemporaryFile() as file, pytest.raises(PermissionError):
        pump.engine.open_channel(file.fileno(), file.fileno(), max_frame=1000)
    with pytest.raises(OSError, match="Bad file descriptor"):
        pump.engine.open_channel(9999, 9999, max_frame=1000)
    assert pump.engine.channels == 0


def test_a_channel_that_was_closed_cannot_be_used(pump: Pump) -> None:
    peer = Peer(pump)
    peer.channel.close()
    peer.channel.close()
    assert peer.channel.closed
    with pytest.raises(ValueError, match="closed"):
        peer.channel.send(b"x")
