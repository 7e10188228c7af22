"""Everything at once, in an order that chance decides: what readers get is true all the same."""

import random
import signal
from collections.abc import Callable
from contextlib import suppress

import cbor2
import pytest

from execnode.engine import Process
from tests.engine.pump import Peer, Pump, Streamed, opened, sh

NUMBERS = b"".join(b"%d\n" % i for i in range(1, 30_001))
PRINTERS = ["seq 1 30000", "seq 1 30000 | tee /dev/stderr", "(seq 1 30000) & exit 1"]


class Disorder:
    """Processes, connections and a stream of random uses of them."""

    def __init__(self, pump: Pump, chance: random.Random) -> None:
        self.pump = pump
        self.chance = chance
        self.printers: list[Process] = []
        self.others: list[Process] = []
        self.abandoned: list[Peer] = []
        self.read: list[Streamed] = []
        self.names = 0
        self.uses: list[Callable[[Process, Peer], object]] = [
            *[self.attach] * 3,
            *[self.pause] * 2,
            self.detach,
            self.hold,
            lambda process, _: process.release(),
            self.skip,
            self.write,
            lambda process, _: process.close_input(),
            self.kill,
            self.forget,
            self.close,
            self.vanish,
            self.acknowledge,
            self.send,
            self.request,
            lambda process, _: process.read(self.chance.randrange(process.next_seq), 1000),
            lambda process, _: setattr(process, "watched", True),
        ]

    def step(self) -> None:
        """Use something; let the engine go on for a moment."""
        processes = self.printers + self.others
        if len(processes) < 6 and self.chance.random() < 0.3:
            self.start()
        if len(self.pump.peers) < 4 and self.chance.random() < 0.3:
            acks, buffer = self.chance.random() < 0.5, self.chance.choice([4096, 65536, None])
            Peer(self.pump, acks=acks, buffer=buffer)
        if processes and self.pump.peers:
            use = self.chance.choice(self.uses)
            with suppress(KeyError, ProcessLookupError):  # not streamed, exited
                use(self.chance.choice(processes), self.chance.choice(self.pump.peers))
        for _ in range(self.chance.randrange(4)):
            self.pump.turn()
        if self.chance.random() < 0.2:
            self.pump.wait(0.005)

    def start(self) -> None:
        options = {
            "retention": self.chance.choice([4096, 20_000, 1 << 17, 1 << 22]),
            "memory": self.chance.choice([4096, 1 << 16, 1 << 22]),
            "drop_oldest": self.chance.random() < 0.4,
        }
        if self.chance.random() < 0.6:
            argv = sh(self.chance.choice(PRINTERS))
            self.printers.append(self.pump.start(argv, **options))
        else:
            size = self.chance.choice([None, (9, 9)])
            self.others.append(self.pump.start([b"/bin/cat"], size=size, stdin=True, **options))

    def attach(self, process: Process, peer: Peer) -> None:
        self.names += 1
        name = f"{self.names}" + self.chance.choice(["", "", "n" * 300])
        after = self.chance.choice([0, self.chance.randrange(process.next_seq)])
        seen = peer.attach(process, name, after, protect=self.chance.random() < 0.7)
        if process in self.printers:
            self.read.append(seen)

    def pause(self, _: Process, peer: Peer) -> None:
        peer.reading = not peer.reading
        peer.at_once = self.chance.choice([1, 50, 4000, 1 << 20])

    def detach(self, process: Process, peer: Peer) -> None:
        peer.channel.detach(process)

    def hold(self, process: Process, _: Peer) -> None:
        process.hold(self.chance.randrange(process.next_seq + 1))

    def skip(self, process: Process, peer: Peer) -> None:
        peer.channel.skip(process)

    def write(self, process: Process, _: Peer) -> None:
        data = bytes(self.chance.choice([1, 100, 70_000]))
        process.write(data, b"%d" % self.chance.randrange(40))

    def kill(self, process: Process, _: Peer) -> None:
        if self.chance.random() < 0.2:
            process.signal(self.chance.choice([signal.SIGTERM, signal.SIGKILL, signal.SIGHUP]))

    def forget(self, process: Process, _: Peer) -> None:
        if self.chance.random() < 0.2:
            (self.printers if process in self.printers else self.others).remove(process)
            process.close()

    def close(self, _: Process, peer: Peer) -> None:
        if self.chance.random() < 0.2:
            self.pump.peers.remove(peer)
            peer.channel.close()
            peer.socket.close()

    def vanish(self, _: Process, peer: Peer) -> None:
        if self.chance.random() < 0.2:
            self.pump.peers.remove(peer)
            peer.socket.close()
            self.abandoned.append(peer)

    def acknowledge(self, process: Process, peer: Peer) -> None:
        peer.channel.ack(process, self.chance.randrange(process.next_seq + 2))

    def send(self, _: Process, peer: Peer) -> None:
        size = self.chance.choice([1, 1000, 100_000])
        peer.channel.send(cbor2.dumps({"id": 1, "result": bytes(size)}))

    def request(self, _: Process, peer: Peer) -> None:
        if peer.streams:
            name, size = self.chance.choice(list(peer.streams)), self.chance.choice([1, 9000])
            peer.request(1, "process/write", processId=name, chunk=bytes(size), writeId="w")
            peer.notify("process/ack", processId=name, seq=self.chance.randrange(200))

    def finish(self) -> None:
        """Bring everything to its end, and check what was read and that nothing is left."""
        for peer in self.abandoned:
            peer.channel.close()
        for peer in self.pump.peers:
            peer.reading, peer.at_once = True, 1 << 20
        left = self.printers + self.others
        for process in left:
            process.release()
            with suppress(ProcessLookupError):
                process.signal(signal.SIGKILL)
        self.pump.until(lambda: all(self.has_ended(process) for process in left))
        self.pump.until_idle()
        for seen in self.read:
            for _, offset, chunk in seen.pieces:
                assert chunk == NUMBERS[offset : offset + len(chunk)]
        for process in left:
            process.close()
        assert (self.pump.engine.memory_used, self.pump.engine.spill_used) == (0, 0)

    def has_ended(self, process: Process) -> bool:
        """Whether it has; what it still has to say is wanted by nobody who does not acknowledge."""
        for peer in self.pump.peers:
            if peer.channel.streams(process):
                for seen in peer.streams.values():
                    peer.channel.ack(process, seen.seq)
        return process.ended


@pytest.mark.parametrize("seed", range(12))
def test_chance_finds_nothing_untrue(seed: int) -> None:
    chance = random.Random(seed)
    limit = chance.choice([1 << 14, 1 << 18, 1 << 24])
    spill = chance.choice([0, 1 << 16, 1 << 30])
    with opened(memory_limit=limit, spill_dir="/tmp", spill_limit=spill) as pump:
        disorder = Disorder(pump, chance)
        for _ in range(400):
            disorder.step()
        disorder.finish()
