"""Each in a process of its own, where everything that is open can be counted."""

import pytest

from tests.engine.pump import apart

COUNTED = """
import ctypes, gc, os, signal
from pathlib import Path
from execnode.engine import SpawnError, _pty
from tests.engine.pump import Peer, descriptors, opened, output, py, sh

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "abcdefghij"]

mallinfo = ctypes.CDLL(None).mallinfo2
mallinfo.restype = Info

def allocated():
    '''Bytes from malloc(3), in the heap and mapped.'''
    gc.collect()
    info = mallinfo()
    return info.h + info.e

def resident():
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def children():
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()

def check(work, rounds):
    '''Do it, and do it again many times: what is open stays the same, memory nearly so.'''
    before = descriptors()
    for _ in range(rounds // 5):
        work()
    memory, pages = allocated(), resident()
    for _ in range(rounds):
        work()
    assert descriptors() == before
    assert children() == ""
    # Python itself keeps a little more each time; a few hundred bytes a round would show.
    assert allocated() - memory < 300 * rounds, allocated() - memory
    assert resident() - pages < 4 << 20, resident() - pages
"""


def counted(script: str) -> None:
    lines = script.splitlines()
    indent = len(lines[1]) - len(lines[1].lstrip())
    apart(COUNTED + "\n".join(line[indent:] for line in lines))


def test_whole_lives_leave_nothing() -> None:
    counted(
        """
        with opened() as pump:
            def work():
                processes = [
                    pump.start(sh("echo out; echo err >&2; cat"), stdin=True),
                    pump.start(sh("echo out"), size=(24, 80)),
                    pump.start(sh("kill -9 $$")),
                ]
                peer = Peer(pump)
                streams = [peer.attach(process, str(i)) for i, process in enumerate(processes)]
                processes[0].write(b"x" * 1000, b"id")
                peer.request(1, "process/write", processId="0", chunk=b"y", writeId="z")
                pump.until(lambda: peer.answers)
                processes[0].close_input()
                pump.until_closed(*streams)
                try:
                    pump.start([b"/missing"])
                except SpawnError:
                    pass
                for process in processes:
                    process.close()
                peer.channel.close()
                peer.socket.close()
                pump.peers.clear()
                pump.events.clear()
                assert (pump.engine.processes, pump.engine.channels) == (0, 0)
                assert (pump.engine.memory_used, pump.engine.spill_used) == (0, 0)

            inner = descriptors()
            check(work, 100)
            assert descriptors() == inner
        """
    )


def test_engines_closed_in_the_middle_of_everything_leave_nothing() -> None:
    counted(
        """
        def work():
            with opened(memory_limit=1 << 20, spill_dir="/tmp", spill_limit=1 << 24) as pump:
                flood = pump.start([b"/usr/bin/yes"], retention=4 << 20)
                ended = pump.run(sh("echo done"))
                pump.start([b"/bin/cat"], size=(24, 80)).write(b"echo")
                stuck = pump.start([b"/bin/sleep", b"100"], stdin=True)
                stuck.write(bytes(1 << 20), b"id")
                slow, half, gone = Peer(pump), Peer(pump), Peer(pump)
                slow.reading = False
                for i, process in enumerate((flood, ended, stuck)):
                    slow.attach(process, "n" * 300 + str(i))
                    process.hold(1)
                slow.channel.send(bytes(4 << 20))
                slow.channel.notify_drained()
                half.unsent += b"\\0\\1\\0\\0half a frame"
                gone.attach(flood)
                gone.socket.close()
                pump.peers.remove(gone)
                slow.request(1, "process/write", processId="2", chunk=bytes(1000))
                pump.until(lambda: flood.totals()["stdout"] > 2 << 20)
                flood.watched = True
                pump.engine.wake()

        check(work, 40)
        """
    )


def test_engines_that_are_dropped_leave_nothing() -> None:
    counted(
        """
        from execnode.engine import Engine
        from tests.engine.pump import Pump

        def work():
            pump = Pump(Engine(memory_limit=1 << 20))
            process = pump.run(sh("seq 1 10000"))
            peer = Peer(pump)
            peer.channel.owner = process.owner = pump
            peer.attach(process, "name")
            peer.channel.send(bytes(1000))
            peer.socket.close()
            del pump, process, peer
            gc.collect()

        check(work, 40)
        """
    )


@pytest.mark.parametrize("size", [None, (24, 80)])
def test_failed_starts_leave_nothing(size: tuple[int, int] | None) -> None:
    counted(
        f"""
        with opened() as pump:
            def work():
                for wrong in (
                    dict(paths=[b"/missing"]),
                    dict(paths=[b"/etc"]),
                    dict(cwd=b"/missing"),
                    dict(rlimits={{7: (2, 1)}}),
                    dict(argv=[b"x" * 200000]),
                ):
                    argv = wrong.pop("argv", [b"true"])
                    wrong.setdefault("paths", [b"/bin/true"])
                    try:
                        pump.start(argv, size={size}, stdin=True, **wrong)
                    except SpawnError as error:
                        pass
                    else:
                        raise AssertionError(wrong)

            check(work, 500)
        """
    )


def test_many_idle_processes_and_connections_are_cheap() -> None:
    counted(
        """
        with opened() as pump:
            before = resident()
            processes = [pump.start([b"/bin/sleep", b"100"]) for _ in range(200)]
            each = (resident() - before) / 200
            assert each < 8192, each
            before = resident()
            peers = [Peer(pump) for _ in range(200)]
            pump.until_idle()
            each = (resident() - before) / 200
            assert each < 16384, each
            for process in processes:
                process.signal(signal.SIGKILL)
            pump.until_ended(*processes)
        """
    )


@pytest.mark.parametrize("kind", ["lines", "websocket"])
def test_channels_that_speak_json_leave_nothing(kind: str) -> None:
    counted(
        f"""
        from execnode.engine import Blob
        from tests.engine.dialect import KINDS

        with opened() as pump:
            def work():
                peer = KINDS["{kind}"](pump)
                process = pump.start(sh("seq 1 20000; exit 3"))
                seen = peer.attach(process, "name with a \\n" + "n" * 300)
                for size in (0, 3, 100_000):
                    peer.channel.send_blob(b'{{"data":"', Blob(size), b'"}}')
                pump.until(lambda: seen.closed and len(peer.messages) == 3)
                peer.channel.send_raw(b"x")
                peer.channel.send_blob(b'"', Blob(2 << 20), b'"')
                peer.channel.send(b"never")
                process.close()
                peer.channel.close()
                peer.socket.close()
                pump.peers.clear()
                pump.events.clear()
                assert (pump.engine.processes, pump.engine.channels) == (0, 0)

            check(work, 100)
        """
    )
