"""Large answers that are encoded as they leave."""

import base64
import hashlib
import json
import os
import random
from typing import Any

import cbor2
import pytest
from websockets.frames import Opcode

from execnode.engine import Blob, Channel, _pty
from tests.engine.dialect import KINDS, LinesPeer, WebSocketPeer
from tests.engine.pump import Peer, Pump, apart, sh

KIB, MIB = 1 << 10, 1 << 20

WITH_MEMORY = """
    import base64, gc, json, os, socket
    from pathlib import Path
    from execnode.engine import Blob, _pty
    from tests.engine.dialect import KINDS, LinesPeer, WebSocketPeer
    from tests.engine.pump import Peer, descriptors, opened

    MIB = 1 << 20

    def resident():
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    def filled(size):
        blob = Blob(size)
        with memoryview(blob) as view:
            for at in range(0, size, MIB):
                view[at:at + MIB] = bytes([at >> 20 & 255]) * MIB
        return blob
"""


def filled(data: bytes) -> Blob:
    blob = Blob(len(data))
    with memoryview(blob) as view:
        view[:] = data
    return blob


def around(kind: str, size: int) -> tuple[bytes, bytes]:
    """What stands before and after a blob of so many bytes in an answer."""
    if kind != "frames":
        return b'{"id":1,"result":{"dataBase64":"', b'"}}'
    empty = cbor2.dumps({"id": 1, "result": {"dataBase64": b""}})
    return empty[:-1] + cbor2.dumps(bytes(size))[: -size or None], b""


def send(peer: Peer, kind: str, data: bytes) -> None:
    head, tail = around(kind, len(data))
    peer.channel.send_blob(head, filled(data), tail)


def contents(message: dict[str, Any]) -> bytes:
    data = message["result"]["dataBase64"]
    return base64.b64decode(data, validate=True) if isinstance(data, str) else bytes(data)


# --- the memory -----------------------------------------------------------------------------------


def test_a_blob_is_memory_to_write_to() -> None:
    blob = Blob(10)
    assert len(blob) == 10
    with memoryview(blob) as view:
        assert (view.nbytes, view.readonly, bytes(view)) == (10, False, bytes(10))
        view[2:5] = b"abc"
        with pytest.raises(BufferError):
            blob.truncate(4)
    blob.truncate(4)
    assert bytes(blob) == b"\0\0ab"
    with pytest.raises(ValueError, match="has 4 bytes, not 5"):
        blob.truncate(5)
    blob.truncate(0)
    assert bytes(blob) == bytes(memoryview(Blob(0))) == b""
    with pytest.raises(OverflowError):
        Blob(-1)


def test_memory_that_is_not_there_is_an_error() -> None:
    with pytest.raises(MemoryError):
        Blob(1 << 62)


def test_a_blob_is_sent_once_and_only_by_its_owner(pump: Pump) -> None:
    channel: Channel = LinesPeer(pump).channel
    blob = filled(b"data")
    with memoryview(blob), pytest.raises(BufferError):
        channel.send_blob(b"", blob, b"")
    channel.send_blob(b'"', blob, b'"')
    for use in (
        lambda: len(blob),
        lambda: memoryview(blob),
        lambda: blob.truncate(0),
        lambda: channel.send_blob(b"", blob, b""),
    ):
        with pytest.raises(ValueError, match="the blob was sent"):
            use()
    other = filled(b"data")
    channel.close()
    with pytest.raises(ValueError, match="the channel was closed"):
        channel.send_blob(b"", other, b"")
    assert bytes(other) == b"data"


def test_truncating_gives_memory_back() -> None:
    apart(
        WITH_MEMORY
        + """
    blob = filled(100 * MIB)
    before = resident()
    blob.truncate(5 * MIB + 1)
    assert before - resident() > 90 * MIB
    assert bytes(memoryview(blob)[-2:]) == bytes([4, 5])
    before = resident()
    del blob
    assert before - resident() > 4 * MIB
    """
    )


# --- on the wire ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_blob_of_any_size_arrives(pump: Pump, kind: str) -> None:
    peer = KINDS[kind](pump)
    sizes = [0, 1, 2, 3, 4, 1000, 49_100, 100_000, MIB, 3 * MIB + 1]
    datas = [random.Random(size).randbytes(size) for size in sizes]
    for data in datas:
        send(peer, kind, data)
    pump.until(lambda: len(peer.messages) == len(sizes))
    assert [contents(message) for message in peer.messages] == datas
    assert peer.channel.queued == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("buffer", "at_once"), [(4096, 5000), (None, 10_000), (None, MIB)])
def test_a_large_blob_arrives_in_small_pieces(
    pump: Pump, kind: str, buffer: int | None, at_once: int
) -> None:
    peer = KINDS[kind](pump, buffer=buffer)
    peer.at_once = at_once
    data = random.Random(1).randbytes(40 * MIB if buffer is None else 4 * MIB)
    send(peer, kind, data)
    pump.until(lambda: peer.messages)
    assert hashlib.sha256(contents(peer.messages[0])).digest() == hashlib.sha256(data).digest()


def test_a_large_blob_goes_in_fragments(pump: Pump) -> None:
    peer = WebSocketPeer(pump)
    head, tail = around("websocket", 0)
    around_it = len(head) + len(tail)
    fits = (MIB - around_it) // 4 * 3
    for size in (fits, fits + 3):
        send(peer, "websocket", bytes(size))
    pump.until(lambda: len(peer.messages) == 2)
    whole = around_it + fits // 3 * 4
    assert whole <= MIB
    assert peer.sizes() == [
        (Opcode.TEXT, whole, True),
        (Opcode.TEXT, MIB, False),
        (Opcode.CONT, whole + 4 - MIB, True),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sent_around_a_blob_keeps_its_order(pump: Pump, kind: str) -> None:
    peer = KINDS[kind](pump)
    peer.reading = False
    for number in range(3):
        peer.channel.send(peer.encode({"number": 2 * number}))
        send(peer, kind, bytes(3 * MIB))
        peer.channel.send(peer.encode({"number": 2 * number + 1}))
    seen = peer.attach(pump.run(sh("echo output")))
    pump.until_idle()
    peer.channel.send(peer.encode({"number": 6}))
    peer.channel.notify_drained()
    peer.reading = True
    order: list[object] = []
    peer.on_message = lambda message: order.append(message.get("number", message.get("method")))
    pump.until(lambda: seen.closed and pump.saw(_pty.DRAINED, peer.channel))
    process = [f"process/{each}" for each in ("output", "exited", "closed")]
    assert order == [0, None, 1, 2, None, 3, 4, None, 5, 6, *process]


def test_control_frames_do_not_come_inside_a_frame(pump: Pump) -> None:
    peer = WebSocketPeer(pump)
    peer.reading = False
    send(peer, "websocket", bytes(4 * MIB))
    pump.until_idle()
    peer.server.send_ping(b"now")
    peer.channel.send_raw(b"".join(peer.server.data_to_send()))
    peer.reading = True
    pump.until(lambda: any(frame.opcode == Opcode.PING for frame in peer.frames))
    assert contents(peer.messages[0]) == bytes(4 * MIB)


# --- what waits -----------------------------------------------------------------------------------


def test_a_blob_that_waits_is_seen_and_lets_requests_in(pump: Pump) -> None:
    peer = LinesPeer(pump)
    peer.reading = False
    send(peer, "lines", bytes(30 * MIB))
    pump.until_idle()
    assert 39 * MIB < peer.channel.queued <= 40 * MIB + 100
    peer.request(1, "still/heard")
    pump.until(lambda: pump.of(_pty.FRAME))
    for _ in range(5):
        send(peer, "lines", bytes(MIB))
    pump.until_idle()
    peer.request(2, "heard/later")
    pump.until_idle()
    assert len(pump.of(_pty.FRAME)) == 1
    peer.reading = True
    pump.until(lambda: len(pump.of(_pty.FRAME)) == 2)
    pump.until(lambda: len(peer.messages) == 6)
    assert peer.channel.queued == 0


def test_small_blobs_count_as_what_they_are(pump: Pump) -> None:
    peer = LinesPeer(pump)
    peer.reading = False
    for _ in range(1000):
        send(peer, "lines", bytes(100))
    pump.until_idle()
    peer.request(1, "still/heard")
    pump.until(lambda: pump.of(_pty.FRAME))


@pytest.mark.parametrize("kind", KINDS)
def test_others_do_not_wait_for_a_blob(pump: Pump, kind: str) -> None:
    peer, other = KINDS[kind](pump), KINDS[kind](pump)
    send(peer, kind, bytes(60 * MIB))
    pump.until(lambda: peer.received > 2 * MIB)
    process = pump.run(sh("echo quick"))
    seen = other.attach(process)
    before = peer.received
    pump.until_closed(seen)
    assert peer.received - before < 30 * MIB
    pump.until(lambda: peer.messages)


def test_a_blob_on_a_pipe(pump: Pump) -> None:
    """As on standard output, where the kernel takes 64 KiB at a time."""
    requests, answers = os.pipe(), os.pipe()
    channel = pump.engine.open_channel(requests[0], answers[1], max_frame=1000, framing=_pty.LINES)
    data = random.Random(3).randbytes(2 * MIB)
    channel.send_blob(b'"', filled(data), b'"')
    got = b""
    while not got.endswith(b"\n"):
        pump.until_idle()
        got += os.read(answers[0], MIB)
    assert base64.b64decode(json.loads(got), validate=True) == data
    channel.close()
    os.close(requests[1])
    os.close(answers[0])


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_blob_costs_no_more_than_itself(kind: str) -> None:
    apart(
        WITH_MEMORY
        + f"""
    with opened() as pump:
        peer = KINDS["{kind}"](pump)
        peer._receive = lambda: bool(skim(peer))
        received = 0

        def skim(peer):
            global received
            try:
                received += len(peer.socket.recv(65536))
            except BlockingIOError:
                return False
            return True

        blob = filled(100 * MIB)
        before = most = resident()
        peer.channel.send_blob(b"head", blob, b"tail")
        while peer.channel.queued:
            pump.turn()
            if received % 7 == 0:
                most = max(most, resident())
        pump.until(lambda: received >= 100 * MIB)
        assert most - before < 2 * MIB, most - before
        assert before - resident() > 98 * MIB, before - resident()
    """
    )


@pytest.mark.parametrize("kind", KINDS)
def test_closing_in_the_middle_frees_the_blob(kind: str) -> None:
    apart(
        WITH_MEMORY
        + f"""
    with opened() as pump:
        KINDS["{kind}"](pump)
        before, open_before = resident(), descriptors()
        for end in ("close", "vanish", "drop"):
            peer = KINDS["{kind}"](pump)
            peer.channel.send_blob(b"head", filled(50 * MIB), b"tail")
            peer.channel.send_blob(b"head", filled(50 * MIB), b"tail")
            peer.at_once = 65536
            pump.until(lambda: peer.received > MIB)
            assert resident() - before > 90 * MIB
            if end == "vanish":
                peer.socket.close()
                pump.peers.remove(peer)
                pump.until(lambda: pump.saw(_pty.BROKEN, peer.channel))
            else:
                pump.peers.remove(peer)
                peer.socket.close()
            peer.channel.close()
            del peer
            pump.events.clear()
            assert resident() - before < 12 * MIB, resident() - before
        assert descriptors() == open_before
        assert pump.engine.channels == 1
    """
    )
