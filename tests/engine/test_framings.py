"""Channels of lines and of WebSocket messages; what all of them do alike is in test_channel.py."""

import json
import socket
from typing import Any

import cbor2
import pytest
from websockets.frames import Opcode

from execnode.engine import Process, _pty
from execnode.protocol import messages, methods, processes
from execnode.protocol.codec import CborCodec, JsonCodec
from tests.engine.dialect import KINDS, LinesPeer, WebSocketPeer
from tests.engine.pump import Peer, Pump, output, sh

NAMES = ["p", "", 'quote " slash \\ / line\n tab\t \x00\x1f\x7f', "ü\u2028\U0001f600", "n" * 3000]


def frames(pump: Pump) -> list[bytes]:
    return [body for _, _, body in pump.of(_pty.FRAME)]


def numbers(last: int) -> bytes:
    return b"".join(b"%d\n" % i for i in range(1, last + 1))


@pytest.fixture(params=["lines", "websocket"])
def peer(pump: Pump, request: pytest.FixtureRequest) -> Peer:
    """Give a peer that speaks JSON."""
    return KINDS[request.param](pump)


def test_there_are_three_framings(pump: Pump) -> None:
    for framing in (-1, 3):
        with pytest.raises(ValueError, match="framing"):
            pump.engine.open_channel(0, 0, max_frame=1, framing=framing)  # type: ignore[arg-type]


# --- lines in -------------------------------------------------------------------------------------


def test_lines_may_be_cut_at_every_byte(pump: Pump) -> None:
    peer = LinesPeer(pump)
    data = b'{"a":1}\n\n{"b":2}\r\n \t\r\n\r\n  {"c":3}  \r\r\n{}\n'
    for cut in range(len(data) + 1):
        pump.events.clear()
        peer.unsent += data[:cut]
        pump.until(lambda: not peer.unsent)
        pump.until_idle()
        peer.unsent += data[cut:]
        pump.until(lambda: len(frames(pump)) == 4)
        assert frames(pump) == [b'{"a":1}', b'{"b":2}', b'  {"c":3}  \r', b"{}"]


@pytest.mark.parametrize(
    ("last", "expected"),
    [(b"", []), (b"half", [b"half"]), (b"half\r", [b"half"]), (b" \r", []), (b"\n", [])],
)
def test_a_last_line_needs_no_end(pump: Pump, last: bytes, expected: list[bytes]) -> None:
    peer = LinesPeer(pump)
    peer.unsent += b"line\n" * 300 + last
    pump.until(lambda: not peer.unsent)
    peer.socket.shutdown(socket.SHUT_WR)
    pump.until(lambda: pump.saw(_pty.EOF, peer.channel))
    assert frames(pump) == [b"line"] * 300 + expected
    assert pump.events[-1] == (_pty.EOF, peer.channel)
    peer.channel.send(b"{}")
    pump.until(lambda: peer.messages)


@pytest.mark.parametrize("ended", [True, False])
def test_the_largest_line_passes_and_a_larger_one_ends_reading(pump: Pump, ended: bool) -> None:
    peer = LinesPeer(pump)
    peer.channel.ready(max_frame=100_000, acks=False)
    peer.unsent += b"x" * 100_000 + b"\r\n" + b"x" * 100_000 + b"\n"
    peer.unsent += b"x" * 100_001 + b"\nnever read\n" * ended
    pump.until(lambda: pump.of(_pty.OVERSIZE))
    (event,) = pump.of(_pty.OVERSIZE)
    assert event[1:] == (peer.channel, 100_001)
    assert frames(pump) == [b"x" * 100_000] * 2
    pump.until_idle()
    peer.channel.send(b'{"error":"too large"}')
    peer.channel.notify_drained()
    pump.until(lambda: pump.saw(_pty.DRAINED, peer.channel) and peer.messages)


def test_lines_of_nothing_are_no_work_for_the_caller(pump: Pump) -> None:
    peer = LinesPeer(pump)
    peer.unsent += b"\n" * 100_000 + b"end\n"
    pump.until(lambda: frames(pump))
    assert frames(pump) == [b"end"]


# --- WebSocket in ---------------------------------------------------------------------------------


def test_websocket_bytes_come_up_as_they_are(pump: Pump) -> None:
    peer = WebSocketPeer(pump)
    data = bytes(range(256)) * 4000
    peer.unsent += data
    pump.until(lambda: sum(map(len, frames(pump))) == len(data))
    assert b"".join(frames(pump)) == data
    assert max(map(len, frames(pump))) >= 65536  # large reads once there is much to read
    peer.socket.shutdown(socket.SHUT_WR)
    pump.until(lambda: pump.saw(_pty.EOF, peer.channel))


def test_a_library_and_the_engine_share_a_connection(pump: Pump) -> None:
    """A ping that goes between messages is answered, and what the peer sends is understood."""
    peer = WebSocketPeer(pump)
    seen = peer.attach(pump.run(sh("seq 1 1000")))
    received: list[Any] = []

    def parse(event: tuple[Any, ...]) -> None:
        if event[0] == _pty.FRAME:
            peer.server.receive_data(event[2])
            received.extend(peer.server.events_received())

    pump.on_event = parse
    peer.channel.send(b'{"before":1}')
    peer.server.send_ping(b"alive?")
    peer.channel.send_raw(b"".join(peer.server.data_to_send()))
    peer.channel.send_raw(b"")
    peer.channel.send(b'{"after":1}')
    peer.request(1, "some", text="x" * 70_000)
    pump.until(lambda: seen.closed and len(received) == 2)
    assert [frame.opcode for frame in peer.frames[:3]] == [Opcode.TEXT, Opcode.PING, Opcode.TEXT]
    assert peer.messages == [{"before": 1}, {"after": 1}]
    pong, request = sorted(received, key=lambda frame: -frame.opcode)
    assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"alive?")
    assert len(json.loads(request.data)["params"]["text"]) == 70_000


@pytest.mark.parametrize("kind", ["lines", "websocket"])
def test_a_peer_that_reads_nothing_is_read_no_further(pump: Pump, kind: str) -> None:
    peer = KINDS[kind](pump)
    peer.reading = False
    taken = bytearray()

    def respond(event: tuple[Any, ...]) -> None:
        if event[0] == _pty.FRAME:
            taken.extend(event[2] + b"\n" * (kind == "lines"))
            peer.channel.send(b'{"answer":"%s"}' % (b"x" * 20_000))

    pump.on_event = respond
    data = (b"r" * 2000 + b"\n") * 3000
    peer.unsent += data
    pump.until_idle()
    assert peer.unsent
    assert 1 << 20 < peer.channel.queued < 3 << 20
    peer.reading = True
    pump.until(lambda: len(taken) == len(data))
    assert taken == data
    pump.until(lambda: peer.channel.queued == 0)


# --- messages out ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_messages_of_every_size(pump: Pump, kind: str) -> None:
    peer = KINDS[kind](pump)
    sizes = [0, 1, 100, 117, 118, 119, 65_000, 65_527, 65_528, 65_529, 1 << 20]
    for size in sizes:
        peer.channel.send(peer.encode({"x": "y" * size}))
    pump.until(lambda: len(peer.messages) == len(sizes))
    assert [len(each["x"]) for each in peer.messages] == sizes


def test_a_message_too_large_for_one_frame_goes_in_parts(pump: Pump) -> None:
    peer = WebSocketPeer(pump)
    most, part = 16 << 20, 8 << 20
    for size in (most, most + 1):
        peer.channel.send(b'"%s"' % (b"x" * (size - 2)))
    peer.decode = lambda body: {"size": len(body)}  # type: ignore[method-assign]
    pump.until(lambda: len(peer.messages) == 2)
    assert [each["size"] for each in peer.messages] == [most, most + 1]
    assert peer.sizes() == [
        (Opcode.TEXT, most, True),
        (Opcode.TEXT, part, False),
        (Opcode.CONT, part, False),
        (Opcode.CONT, 1, True),
    ]


def test_messages_are_text_or_binary_as_they_are_encoded(pump: Pump) -> None:
    peer = WebSocketPeer(pump)
    peer.channel.encode_as(json=False, plain=True)
    peer.channel.send(b"{}")
    peer.channel.encode_as(json=True, plain=True)
    peer.channel.send(b"{}")
    pump.until(lambda: len(peer.frames) == 2)
    assert [frame.opcode for frame in peer.frames] == [Opcode.BINARY, Opcode.TEXT]


# --- notifications --------------------------------------------------------------------------------


def expected(process: Process, name: str, json: bool, plain: bool) -> list[dict[str, Any]]:
    """What our codec writes for everything that happened to a process, read by another's."""
    chunks, _, _ = process.read(0, 1 << 30)
    code, reason, signal_name = process.ending
    totals, digests = process.totals(), process.digests()
    streams = {each: processes.StreamTotal(totals[each], digests[each]) for each in totals}
    records: list[tuple[str, Any]] = [
        (methods.PROCESS_OUTPUT, processes.OutputNotification(name, seq, stream, data, offset))
        for seq, stream, offset, data in chunks
    ]
    records += [
        (
            methods.PROCESS_EXITED,
            processes.ExitedNotification(
                name, process.exited_seq, code, False, reason, signal_name
            ),
        ),
        (
            methods.PROCESS_CLOSED,
            processes.ClosedNotification(name, process.next_seq - 1, streams),
        ),
    ]
    codec = JsonCodec() if json else CborCodec()
    bodies = [codec.encode(messages.Notification(method, params)) for method, params in records]
    found = [loads(body, json) for body in bodies]
    for message in found if plain else []:
        for ours in ("offset", "reason", "signal", "streams"):
            message["params"].pop(ours, None)
    return found


def loads(body: bytes, as_json: bool) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(body) if as_json else cbor2.loads(body)
    return message


@pytest.mark.parametrize(
    ("kind", "json"),
    [
        ("frames", True),
        ("frames", False),
        ("lines", True),
        ("websocket", True),
        ("websocket", False),
    ],
)
@pytest.mark.parametrize("plain", [True, False], ids=["plain", "full"])
@pytest.mark.parametrize("name", NAMES, ids=["short", "empty", "escapes", "utf-8", "long"])
def test_notifications_are_those_of_the_codec(
    pump: Pump, kind: str, json: bool, plain: bool, name: str
) -> None:
    peer = KINDS[kind](pump)
    peer.channel.encode_as(json=json, plain=plain)
    found: list[dict[str, Any]] = []
    peer.decode = lambda body: found.append(loads(body, json)) or {}  # type: ignore[func-returns-value,method-assign]
    for script in ("printf o; echo err >&2; exit 255", "printf 12; kill -9 $$", "exit 0"):
        process = pump.run(sh(script))
        found.clear()
        peer.channel.attach(process, name.encode(), 0)
        pump.until(lambda: found and found[-1]["method"] == "process/closed")
        assert found == expected(process, name, json, plain)


def test_how_it_speaks_is_settled_before_a_process_is_attached(pump: Pump) -> None:
    peer = Peer(pump)
    peer.attach(pump.start([b"/bin/sleep", b"100"]))
    with pytest.raises(ValueError, match="streams a process"):
        peer.channel.encode_as(json=True, plain=True)


@pytest.mark.parametrize("kind", ["lines", "websocket"])
@pytest.mark.parametrize(
    ("buffer", "at_once"),
    [(4096, 7), (4096, 1000), (4096, 1 << 20), (20_000, 1000), (None, 1000), (None, 1 << 20)],
)
def test_partial_sends_keep_messages_whole(
    pump: Pump, kind: str, buffer: int | None, at_once: int
) -> None:
    peer = KINDS[kind](pump, buffer=buffer)
    peer.at_once = at_once
    last = 20_000 if at_once == 7 else 200_000
    processes = [pump.start(sh(f"seq 1 {last} | tee /dev/stderr")) for _ in range(2)]
    streams = [peer.attach(process, f"p{i}") for i, process in enumerate(processes)]
    for number in range(300):
        peer.channel.send(json.dumps({"id": number, "result": "r" * number}).encode())
    pump.until_closed(*streams)
    assert list(peer.answers) == list(range(300))
    for seen in streams:
        assert seen.bytes["stdout"] == numbers(last)
        assert sorted(seen.bytes["stderr"].split()) == sorted(numbers(last).split())


def test_much_output_through_many_channels(pump: Pump) -> None:
    """Every way to speak at once, from a log that is partly on disk and turns over."""
    process = pump.start(sh("seq 1 1000000"), retention=1 << 20, memory=1 << 16)
    streams = []
    for kind in (Peer, LinesPeer, WebSocketPeer):
        for at_once in (3000, 1 << 20):
            peer = kind(pump)
            peer.at_once = at_once
            streams.append(peer.attach(process))
    pump.until_closed(*streams)
    assert all(seen.bytes["stdout"] == numbers(1_000_000) for seen in streams)


def test_a_gap_is_not_told_to_who_has_no_word_for_it(pump: Pump, peer: Peer) -> None:
    """Numbers are missing, and the exit and the end are told all the same."""
    process = pump.run(sh("seq 1 100000; exit 3"), drop_oldest=True, retention=4096, memory=4096)
    seqs: list[int] = []
    peer.streams["p"].take = lambda method, params: seqs.append(params["seq"])  # type: ignore[method-assign]
    peer.channel.attach(process, b"p", 0)
    pump.until(lambda: process.next_seq - 1 in seqs)
    assert seqs == list(range(process.base_seq, process.next_seq))
    assert seqs[0] > 1
    assert not pump.of(_pty.GAP)


def test_an_exit_among_what_is_gone_is_told(pump: Pump, peer: Peer) -> None:
    process = pump.start(
        sh("exec 3<&0; echo a; (read x <&3; seq 1 100000) & exit 3"),
        stdin=True,
        drop_oldest=True,
        retention=4096,
        memory=4096,
    )
    pump.until(lambda: process.exited)
    process.write(b"\n")
    pump.until_ended(process)
    assert process.exited_seq < process.base_seq
    found: list[tuple[str, int]] = []
    peer.streams["p"].take = lambda method, params: found.append((method, params["seq"]))  # type: ignore[method-assign]
    peer.channel.attach(process, b"p", 0)
    pump.until(lambda: ("closed", process.next_seq - 1) in found)
    assert found[0] == ("exited", process.exited_seq)
    assert [seq for _, seq in found[1:]] == list(range(process.base_seq, process.next_seq))


def test_skipping_is_silent_too(pump: Pump, peer: Peer) -> None:
    process = pump.start(sh("seq 1 100000; read x; echo end"), stdin=True)
    peer.reading = False
    peer.channel.attach(process, b"p", 0)
    pump.until_idle()
    peer.channel.skip(process)
    process.write(b"\n")
    pump.until_ended(process)
    seqs: list[int] = []
    peer.streams["p"].take = lambda method, params: seqs.append(params["seq"])  # type: ignore[method-assign]
    peer.reading = True
    pump.until(lambda: process.next_seq - 1 in seqs)
    assert seqs == sorted(seqs)
    assert not pump.of(_pty.GAP)


def test_marks_that_the_caller_tells_come_in_their_place(pump: Pump, peer: Peer) -> None:
    process = pump.start(sh("seq 1 50000; exit 4"))
    process.caller_tells = True
    pump.answering = False

    def answer(event: tuple[Any, ...]) -> None:
        if event[0] == _pty.MARK:
            _, channel, process, seq, mark, name = event
            method = "exited" if mark == _pty.MARK_EXITED else "closed"
            params: dict[str, Any] = {"processId": name, "seq": seq}
            if method == "exited":
                params |= {"exitCode": 4, "sandboxDenied": False}
            body = json.dumps({"method": f"process/{method}", "params": params}).encode()
            channel.pass_on(process, seq, body)

    pump.on_event = answer
    seen = peer.attach(process)
    pump.until_closed(seen)
    assert seen.bytes["stdout"] == numbers(50_000)
    assert [method for _, method in seen.marks] == ["exited", "closed"]


def test_requests_are_always_handed_up(pump: Pump, peer: Peer) -> None:
    """Also those that look like what the engine does by itself in frames of CBOR."""
    peer.channel.ready(max_frame=1000, acks=True)
    process = pump.start([b"/bin/cat"], stdin=True)
    peer.attach(process)
    body = cbor2.dumps(
        {"id": 7, "method": "process/write", "params": {"processId": "p", "chunk": b"hello"}}
    )
    assert b"\n" not in body
    peer.unsent += body + b"\n"
    pump.until(lambda: frames(pump))
    assert output(process) == b""


def test_acks_protect_here_too(pump: Pump, peer: Peer) -> None:
    peer.channel.ready(max_frame=1000, acks=True)
    process = pump.start(sh("seq 1 100; read x"), stdin=True)
    seen = peer.attach(process)
    pump.until(lambda: seen.seq == 1)
    assert peer.channel.unconfirmed(process) == 1
    peer.channel.ack(process, 1)
    assert peer.channel.unconfirmed(process) == 2


def test_processes_take_turns_on_a_channel(pump: Pump, peer: Peer) -> None:
    floods = [pump.start([b"/usr/bin/yes", b"%d" % i]) for i in range(10)]
    streams = [peer.attach(process, f"flood {i}") for i, process in enumerate(floods)]
    pump.until(lambda: sum(len(each.bytes["stdout"]) for each in streams) > 20 << 20)
    amounts = sorted(len(each.bytes["stdout"]) for each in streams)
    assert amounts[-1] < 4 * amounts[0] + (2 << 20)
