import hashlib
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execnode.engine import _pty
from tests.engine.pump import Peer, Pump, opened, output, py, sh

# Writes what it is told, piece by piece, each with one write(2), and waits for a byte in between
# when asked to, so that the pieces are apart.
PIECES = """
import os, sys
for piece in sys.argv[1:]:
    fd, size, step = map(int, piece.split(","))
    data = bytes((i * step + 7 * fd) & 255 for i in range(size))
    while data:
        data = data[os.write(fd, data):]
"""


def piece(fd: int, size: int, step: int) -> bytes:
    return bytes((i * step + 7 * fd) & 255 for i in range(size))


def crc32c(data: bytes) -> str:
    """CRC-32C as in RFC 3720, appendix B.4, one byte at a time."""
    value = 0xFFFFFFFF
    for byte in data:
        value = _CRC[(value ^ byte) & 255] ^ (value >> 8)
    return f"crc32c:{value ^ 0xFFFFFFFF:08x}"


def _crc_entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value


_CRC = [_crc_entry(byte) for byte in range(256)]


def test_streams_are_kept_apart_in_the_order_of_their_writes(pump: Pump) -> None:
    process = pump.start(
        sh("echo one; read x; echo two >&2; read x; printf three; exit 3"), stdin=True
    )
    pump.until(lambda: output(process) == b"one\n")
    process.write(b"\n")
    pump.until(lambda: output(process, "stderr") == b"two\n")
    process.write(b"\n")
    pump.until_ended(process)
    assert process.read(0, 1 << 20) == (
        [
            (1, "stdout", 0, b"one\n"),
            (2, "stderr", 0, b"two\n"),
            (3, "stdout", 4, b"three"),
        ],
        6,
        None,
    )
    assert process.totals() == {"stdout": 9, "stderr": 4}
    assert process.digests() == {"stdout": crc32c(b"one\nthree"), "stderr": crc32c(b"two\n")}
    assert (process.next_seq, process.exit_code) == (6, 3)


def test_the_checksum_is_the_one_of_the_standard(pump: Pump) -> None:
    assert crc32c(b"123456789") == "crc32c:e3069283"
    process = pump.run(sh("printf 123456789"))
    assert process.digests() == {"stdout": "crc32c:e3069283", "stderr": "crc32c:00000000"}


def test_every_byte_comes_through(pump: Pump) -> None:
    process = pump.run(py(PIECES, "1,70000,3", "2,70000,5", "1,1,0", "2,0,0"))
    expected = {"stdout": piece(1, 70000, 3) + piece(1, 1, 0), "stderr": piece(2, 70000, 5)}
    assert {stream: output(process, stream) for stream in expected} == expected
    assert process.digests() == {stream: crc32c(data) for stream, data in expected.items()}


def test_a_terminal_has_one_stream(pump: Pump) -> None:
    process = pump.run(sh("stty raw; printf out; printf err >&2; printf '\\377\\000'"), size=(9, 9))
    assert output(process, "pty") == b"outerr\xff\x00"
    assert process.totals() == {"pty": 8}
    assert process.digests() == {"pty": crc32c(b"outerr\xff\x00")}


@pytest.mark.parametrize("size", [None, (24, 80)])
def test_other_digests_get_every_byte(pump: Pump, size: tuple[int, int] | None) -> None:
    hashers = {number: hashlib.sha256() for number in range(3)}
    argv = sh("[ -t 1 ] && stty raw; head -c 3000000 /dev/zero | tr '\\0' 'a'; printf b >&2")
    process = pump.run(argv, size=size, hashers=hashers)
    kept = b"a" * 3000000
    expected = {"pty": kept + b"b"} if size else {"stdout": kept, "stderr": b"b"}
    assert process.digests() == {
        stream: f"sha256:{hashlib.sha256(data).hexdigest()}" for stream, data in expected.items()
    }


def test_a_digest_that_fails_is_told_when_asked_for(pump: Pump) -> None:
    class Broken:
        name = "broken"

        def update(self, _: object) -> None:
            raise RuntimeError("no digest today")

        def hexdigest(self) -> str:
            return ""

    process = pump.run(sh("echo hello"), hashers={0: Broken(), 1: Broken()})
    assert output(process) == b"hello\n"
    with pytest.raises(RuntimeError, match="no digest today"):
        process.digests()


def test_reads_take_whole_records_within_a_size(pump: Pump) -> None:
    process = pump.start(sh("for i in 1 2 3 4; do printf 12345; read x; done"), stdin=True)
    for count in range(1, 5):
        pump.until(lambda: process.totals()["stdout"] == 5 * count)  # noqa: B023
        process.read(0, 99)  # what was seen is final: the next chunk is a record of its own
        process.write(b"\n")
    pump.until_ended(process)

    def seqs(after: int, size: int) -> list[int]:
        return [seq for seq, *_ in process.read(after, size)[0]]

    assert seqs(0, 0) == seqs(0, 9) == [1]
    assert seqs(0, 10) == [1, 2]
    assert seqs(0, 1 << 60) == [1, 2, 3, 4]
    assert seqs(2, 14) == [3, 4]
    assert process.read(2, 5)[1] == 4
    assert process.read(4, 1 << 20) == ([], 7, None)  # the marks are not output
    assert process.read(6, 1 << 20) == process.read(2**64 - 1, 0) == ([], 7, None)


def test_news_comes_once_for_each_time_it_is_asked_for(pump: Pump) -> None:
    process = pump.start(sh("while read x; do echo $x; done"), stdin=True)
    process.write(b"a\n")
    pump.until(lambda: output(process) == b"a\n")
    assert not pump.of(_pty.NEWS)
    process.watched = True
    pump.until_idle()
    assert not pump.of(_pty.NEWS)
    process.write(b"b\n")
    pump.until(lambda: pump.saw(_pty.NEWS, process))
    assert not process.watched
    assert output(process) == b"a\nb\n"
    process.write(b"c\n")
    pump.until(lambda: output(process) == b"a\nb\nc\n")
    assert len(pump.of(_pty.NEWS)) == 1


# --- the end --------------------------------------------------------------------------------------


def order(pump: Pump, process: Any) -> list[int]:
    return [kind for kind, subject, *_ in pump.events if subject is process]


@pytest.mark.parametrize("size", [None, (24, 80)])
def test_output_written_right_before_the_exit_comes_first(
    pump: Pump, size: tuple[int, int] | None
) -> None:
    for i in range(200):
        peer = Peer(pump)
        process = pump.start(sh(f"printf {i}; exec printf .{i} >&2"), size=size)
        seen = peer.attach(process)
        pump.until_closed(seen)
        assert b"".join(seen.bytes.values()) == f"{i}.{i}".encode()
        assert seen.order[-2:] == ["exited", "closed"]
        assert seen.marks == [(seen.seq - 1, "exited"), (seen.seq, "closed")]
        assert order(pump, process) == [_pty.EXITED, _pty.ENDED]
        process.close()
        peer.channel.close()
        peer.socket.close()
        pump.peers.clear()


@pytest.mark.parametrize("size", [None, (24, 80)])
@pytest.mark.parametrize("retention", [4096, 65536, 1 << 20])
def test_a_full_pipe_is_read_before_the_exit_is_told(
    pump: Pump, size: tuple[int, int] | None, retention: int
) -> None:
    # 60,000 bytes fit in the pipe or terminal, so that the program is gone before anybody reads.
    script = "[ -t 1 ] && stty raw; head -c 60000 /dev/zero"
    process = pump.start(sh(script), size=size, retention=retention)
    stat = Path(f"/proc/{process.pid}/stat")
    if size is None:
        while stat.read_text().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.001)
    pump.until(lambda: pump.saw(_pty.EXITED, process))
    assert sum(process.totals().values()) == 60000
    assert process.read(process.next_seq - 2, 1)[0] == []  # the mark is the last record
    pump.until_ended(process)


def test_an_exit_is_told_at_once_and_the_end_when_the_last_holder_ends(pump: Pump) -> None:
    process = pump.start(sh("exec 3<&0; (read x <&3; echo late) & echo early; exit 5"), stdin=True)
    seen = Peer(pump).attach(process)
    pump.until(lambda: "exited" in seen.order)
    pump.until_idle()
    assert (process.exited, process.ended, process.exit_code) == (True, False, 5)
    assert not pump.saw(_pty.ENDED, process)
    assert process.write(b"\n")[0] == _pty.ACCEPTED
    pump.until_closed(seen)
    assert seen.order == ["output", "exited", "output", "closed"]
    assert seen.bytes["stdout"] == b"early\nlate\n"


def test_a_grandchild_on_the_terminal_is_heard_to_the_end(pump: Pump, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    script = f"trap '' HUP; mkfifo {fifo}; stty raw; (read x <{fifo}; printf late) & printf early"
    process = pump.start(sh(script), size=(24, 80))
    seen = Peer(pump).attach(process)
    pump.until(lambda: "exited" in seen.order)
    pump.until_idle()
    assert not process.ended
    fifo.write_text("go\n")
    pump.until_closed(seen)
    assert seen.bytes["pty"] == b"earlylate"


def test_a_stream_that_is_closed_early_ends_nothing_else(pump: Pump) -> None:
    process = pump.start(
        sh("exec 2>&-; echo on; read x; echo on; exec >&-; read x; exit 7"), stdin=True
    )
    pump.until(lambda: output(process))
    process.write(b"\n")
    pump.until(lambda: output(process) == b"on\non\n")
    pump.until_idle()
    assert not process.exited
    process.write(b"\n")
    pump.until_ended(process)
    assert process.exit_code == 7


def test_a_program_that_lets_go_of_its_terminal_may_come_back(pump: Pump, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    script = (
        f"mkfifo {fifo}; echo here; exec <{fifo} >&- 2>&-; read x; echo again >/dev/tty; exit 6"
    )
    process = pump.start(sh(script), size=(24, 80))
    pump.until(lambda: output(process, "pty") == b"here\r\n")
    pump.until_idle()
    assert not process.exited
    with fifo.open("w") as file:
        pump.until_idle()
        assert not process.exited
        file.write("go\n")
    pump.until_ended(process)
    assert (process.exit_code, process.exit_signal) == (6, None)
    assert output(process, "pty") == b"here\r\nagain\r\n"


def test_a_killed_program_leaves_what_it_wrote(pump: Pump) -> None:
    process = pump.run(sh("printf partial; kill -KILL $$"))
    assert output(process) == b"partial"
    assert process.exit_signal == signal.SIGKILL


# --- much of it -----------------------------------------------------------------------------------


def test_100_mib_through_a_channel_are_the_bytes_that_were_written(pump: Pump) -> None:
    script = """
import hashlib, os, random, sys
block, digest = random.Random(4).randbytes(1 << 20), hashlib.sha256()
for i in range(100):
    data = block[i * 100:] + block[:i * 100]
    digest.update(data)
    while data:
        data = data[os.write(1, data):]
print(digest.hexdigest(), file=sys.stderr)
"""
    hashers = {0: hashlib.sha256(), 1: hashlib.sha256()}
    process = pump.start(py(script), hashers=hashers)
    seen = Peer(pump).attach(process)
    pump.until_closed(seen)
    assert process.totals()["stdout"] == len(seen.bytes["stdout"]) == 100 << 20
    digest = seen.bytes["stderr"].decode().strip()
    assert process.digests()["stdout"] == f"sha256:{digest}"
    assert hashlib.sha256(seen.bytes["stdout"]).hexdigest() == digest


def test_children_that_flood_leave_time_for_everything_else() -> None:
    with opened(memory_limit=64 << 20) as pump:
        processes = [pump.start([b"/usr/bin/yes"], drop_oldest=True) for _ in range(30)]
        longest = 0.0
        for _ in range(30):
            before = time.monotonic()
            pump.engine.poll()
            longest = max(longest, time.monotonic() - before)
        quiet = pump.start(sh("echo here"))
        pump.until_ended(quiet)
        for process in processes:
            process.signal(signal.SIGKILL)
        pump.until_ended(*processes)
        # A round alone, of 30 children with half a MiB each, takes a few milliseconds.
        assert longest < 0.25


pieces = st.lists(
    st.tuples(st.sampled_from((1, 2)), st.integers(0, 9000), st.integers(0, 9)), max_size=12
)


@settings(max_examples=30)
@given(pieces, st.booleans())
def test_any_writes_add_up(writes: list[tuple[int, int, int]], size: bool) -> None:
    with opened() as pump:
        argv = py(PIECES, *(f"{fd},{length},{step}" for fd, length, step in writes))
        process = pump.run(argv, hashers=None)
        expected = {
            name: b"".join(piece(fd, length, step) for fd, length, step in writes if fd == number)
            for name, number in (("stdout", 1), ("stderr", 2))
        }
        chunks, next_seq, gap = process.read(0, 1 << 30)
        assert [seq for seq, *_ in chunks] == list(range(1, len(chunks) + 1))
        assert (next_seq, gap) == (len(chunks) + 3, None)
        for name, data in expected.items():
            assert output(process, name) == data
            offset = 0
            for _, stream, at, chunk in chunks:
                if stream == name:
                    assert at == offset
                    offset += len(chunk)
        assert process.digests() == {name: crc32c(data) for name, data in expected.items()}
