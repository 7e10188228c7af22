"""What the engine encodes itself is what the protocol's codec would have written."""

import signal
from collections.abc import Iterator
from typing import Any

import cbor2
import pytest

from execnode.engine import Process
from execnode.protocol import messages, methods, processes
from execnode.protocol.codec import CborCodec
from tests.engine.pump import Peer, Pump, sh

CODEC = CborCodec()
NAMES = ["p", "", "ü" * 40, "n" * 3000]


class Recorder(Peer):
    """A peer that keeps the bytes of every frame."""

    def __init__(self, pump: Pump) -> None:
        super().__init__(pump)
        self.frames: list[bytes] = []

    def _frames(self) -> Iterator[bytes]:
        for body in super()._frames():
            self.frames.append(body)
            yield body


def expected(process: Process, name: str) -> list[bytes]:
    """What the codec writes for everything that happened to a process."""
    chunks, _, _ = process.read(0, 1 << 30)
    records: list[tuple[str, Any]] = [
        (
            methods.PROCESS_OUTPUT,
            processes.OutputNotification(name, seq, stream, data, offset),
        )
        for seq, stream, offset, data in chunks
    ]
    code, reason, signal_name = process.ending
    exited = processes.ExitedNotification(
        name, process.exited_seq, code, False, reason, signal_name
    )
    totals, digests = process.totals(), process.digests()
    streams = {each: processes.StreamTotal(totals[each], digests[each]) for each in totals}
    closed = processes.ClosedNotification(name, process.next_seq - 1, streams)
    records += [(methods.PROCESS_EXITED, exited), (methods.PROCESS_CLOSED, closed)]
    return [CODEC.encode(messages.Notification(method, params)) for method, params in records]


@pytest.mark.parametrize("size", [None, (24, 80)], ids=["pipes", "terminal"])
@pytest.mark.parametrize("name", NAMES, ids=["short", "empty", "utf-8", "long"])
@pytest.mark.parametrize("script", ["exit 0", "echo out; echo err >&2; exit 255", "kill -9 $$"])
def test_frames_are_those_of_the_codec(
    pump: Pump, script: str, name: str, size: tuple[int, int] | None
) -> None:
    peer = Recorder(pump)
    process = pump.start(sh(script), size=size)
    seen = peer.attach(process, name)
    pump.until_closed(seen)
    assert [cbor2.loads(frame) for frame in peer.frames] == [
        cbor2.loads(frame) for frame in expected(process, name)
    ]


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (signal.SIGHUP, "SIGHUP"),
        (signal.SIGSYS, "SIGSYS"),
        (signal.SIGRTMIN + 1, "SIGRTMIN+1"),
        (signal.SIGRTMAX, "SIGRTMAX"),
    ],
    ids=str,
)
def test_signals_have_their_names(pump: Pump, number: int, name: str) -> None:
    process = pump.run(sh(f"ulimit -c 0; kill -{int(number)} $$"))
    assert process.ending == (128 + number, "signal", name)
