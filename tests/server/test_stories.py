"""Random stories: links break, places move, some do not read; every byte is accounted for."""

import random
import select
import socket
import sys
from collections import Counter

import pytest

from tests.server.running import NodeProcess
from tests.server.wire import Json, Refused, Seen, Wire, resumed, starting

STREAMS = ("stdout", "stderr")

# Lines of random lengths to both streams; what they are follows from the seed.
SPEAKER = """
import os, random, sys
dice = random.Random(int(sys.argv[1]))
for i in range(int(sys.argv[2])):
    os.write(1 + (dice.random() < .2), b"%d:" % i + b"x" * dice.randrange(3000) + b"\\n")
sys.exit(dice.randrange(256))
"""


class Speaker:
    """A process, what it will have said, and what has arrived of it."""

    def __init__(self, dice: random.Random, name: str) -> None:
        self.name = name
        seed, count = dice.randrange(10**6), dice.randrange(1, 600)
        self.argv = [sys.executable, "-S", "-c", SPEAKER, str(seed), str(count)]
        self.options: Json = {
            "retention": {
                "mode": dice.choice(["block", "drop-oldest"]),
                "maxBytes": dice.choice([4096, 20_000, 100_000, 1 << 20]),
            },
            "digest": dice.choice(["crc32c", "sha256"]),
        }
        dice = random.Random(seed)
        said = {stream: bytearray() for stream in STREAMS}
        for i in range(count):
            stream = STREAMS[dice.random() < 0.2]
            said[stream] += b"%d:" % i + b"x" * dice.randrange(3000) + b"\n"
        self.said = {stream: bytes(data) for stream, data in said.items()}
        self.exit_code = dice.randrange(256)
        self.arrived = {stream: bytearray() for stream in STREAMS}
        self.lost: Counter[str] = Counter(dict.fromkeys(STREAMS, 0))
        self.seq = 0
        self.exited: Json | None = None
        self.closed = False

    def fold(self, wire: Wire) -> None:
        """Take over what a connection has brought."""
        seen = wire.seen.pop(self.name, None)
        if seen is None or self.closed:
            return
        for stream in STREAMS:
            self.arrived[stream] += seen.streams[stream]
        for gap in seen.gaps:
            self.lost.update(gap["bytes"])
        self.seq = seen.seq
        self.exited = seen.exited or self.exited
        self.closed = seen.closed is not None
        wire.seen[self.name] = Seen(self.seq)

    def offsets(self) -> dict[str, int]:
        return {stream: len(self.arrived[stream]) + self.lost[stream] for stream in STREAMS}

    def check(self) -> None:
        assert self.closed
        assert self.exited is not None
        assert self.exited["exitCode"] == self.exit_code
        assert self.offsets() == {stream: len(data) for stream, data in self.said.items()}
        if not self.lost.total():
            assert {name: bytes(data) for name, data in self.arrived.items()} == self.said


class Story:
    def __init__(self, node: NodeProcess, seed: int) -> None:
        self.dice = random.Random(seed)
        self.node = node
        self.acks = self.dice.random() < 0.7
        self.speakers: list[Speaker] = []
        self.wire = self.narrowed(node.connect(acks=self.acks))

    def narrowed(self, wire: Wire) -> Wire:
        if self.dice.random() < 0.5:
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        return wire

    def silent(self) -> list[Speaker]:
        """Those that are not through."""
        return [
            each
            for each in self.speakers
            if not each.closed
            and not (each.name in self.wire.seen and self.wire.seen[each.name].closed)
        ]

    def start(self) -> None:
        speaker = Speaker(self.dice, f"p{len(self.speakers)}")
        self.speakers.append(speaker)
        params = starting(speaker.argv, speaker.name, **speaker.options)
        self.wire.answer(self.wire.call("process/start", **params))

    def listen(self) -> None:
        for _ in range(self.dice.randrange(1, 60)):
            if not self.silent():
                return
            nothing_there = not select.select([self.wire.socket], [], [], 0)[0]
            if self.acks and (nothing_there or self.dice.random() < 0.3):
                for name, seen in self.wire.seen.items():
                    if seen.seq and not seen.closed:
                        self.wire.notify("process/ack", processId=name, seq=seen.seq)
            self.wire.step()

    def move(self, speaker: Speaker) -> None:
        """Attach again where we are, or further on."""
        speaker.fold(self.wire)
        if not speaker.closed:
            skip = {"skipTo": "end"} if self.dice.random() < 0.2 else {}
            offsets = speaker.offsets()
            self.wire.attach(speaker.name, speaker.seq, offsets=offsets, **skip)

    def cut(self) -> None:
        """Lose the link, and come back."""
        for speaker in self.speakers:
            speaker.fold(self.wire)
        self.wire.close()
        self.wire = self.narrowed(resumed(self.node.url, self.wire.session, acks=self.acks))
        self.wire.seen = {each.name: Seen(None) for each in self.speakers}
        for speaker in self.silent():
            self.wire.seen.pop(speaker.name)
            self.move(speaker)

    def go_on(self) -> None:
        choice = self.dice.random()
        if choice < 0.1 and len(self.speakers) < 5:
            self.start()
        elif choice < 0.15:
            self.cut()
        elif choice < 0.25 and self.silent():
            self.move(self.dice.choice(self.silent()))
        elif choice < 0.35 and self.speakers:
            name = self.dice.choice(self.speakers).name
            wait = self.dice.choice([0, 20, 60_000])
            self.wire.call("process/read", processId=name, afterSeq=9, maxBytes=99, waitMs=wait)
        else:
            self.listen()

    def tell(self) -> None:
        for _ in range(300):
            self.go_on()
        while self.silent():
            self.listen()
        for speaker in self.speakers:
            speaker.fold(self.wire)
            speaker.check()
        self.wire.close()


@pytest.mark.parametrize("seed", range(12))
def test_at_the_end_of_a_story_every_byte_is_accounted_for(node: NodeProcess, seed: int) -> None:
    story = Story(node, seed)
    try:
        story.tell()
    except Refused as error:
        raise AssertionError(f"nothing in it should be refused: {error}") from error
    finally:
        story.wire.close()
