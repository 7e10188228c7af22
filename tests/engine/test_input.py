import errno
import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execnode.engine import Process, _pty
from tests.engine.pump import Peer, Pump, apart, opened, output, py, readable, sh

CAT = [b"/bin/cat"]
COUNT = [b"/usr/bin/wc", b"-c"]
ACCEPTED = (_pty.ACCEPTED, 0, 0)

QUEUE_MAX = 8 << 20


def fill(process: Process) -> int:
    """Write until no more is taken at once; returns the bytes of accepted writes."""
    count = 0
    while process.write(bytes(4096)) == ACCEPTED:
        count += 4096
    return count


def stopped(pump: Pump, argv: list[bytes]) -> Process:
    """A program that reads nothing until it is continued."""
    process = pump.start(argv, stdin=True)
    process.signal(signal.SIGSTOP)
    stat = Path(f"/proc/{process.pid}/stat")
    pump.until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", look=0.01)
    return process


def finish(pump: Pump, process: Process) -> bytes:
    process.signal(signal.SIGCONT)
    process.close_input()
    pump.until_ended(process)
    return output(process)


def test_what_fits_is_there_at_once(pump: Pump) -> None:
    process = pump.start(CAT, stdin=True)
    assert process.write(b"one\n") == ACCEPTED
    assert process.write(b"") == ACCEPTED
    assert process.write(b"\x00\xff", b"id") == ACCEPTED
    assert finish(pump, process) == b"one\n\x00\xff"


def test_what_does_not_fit_waits_and_keeps_its_order(pump: Pump) -> None:
    process = stopped(pump, CAT)
    head = fill(process)  # whose last write waits
    tickets = [process.write(b"%d\n" % i) for i in range(1000)]
    assert {result for result, _, _ in tickets} == {_pty.WAITING}
    assert len({ticket for _, ticket, _ in tickets}) == 1000
    pump.until_idle()
    assert not pump.of(_pty.WRITTEN)
    assert finish(pump, process) == bytes(head + 4096) + b"".join(b"%d\n" % i for i in range(1000))
    done = [(number, error) for _, _, number, error in pump.of(_pty.WRITTEN)]
    assert done[1:] == [(ticket, 0) for _, ticket, _ in tickets]


def test_a_waiting_write_slows_nobody_else(pump: Pump) -> None:
    slow, fast = stopped(pump, CAT), pump.start(CAT, stdin=True)
    fill(slow)
    assert fast.write(b"quick\n") == ACCEPTED
    pump.until(lambda: output(fast) == b"quick\n")
    pump.until_idle()
    assert not readable(pump.engine)


def test_only_so_much_may_wait(pump: Pump) -> None:
    process = stopped(pump, COUNT)
    taken = fill(process) + 4096
    while (result := process.write(bytes(65536)))[0] == _pty.WAITING:
        taken += 65536
    assert result == (_pty.FULL, 0, 0)
    assert QUEUE_MAX * 0.9 <= taken <= QUEUE_MAX + (1 << 20)
    assert process.write(bytes(65536))[0] == _pty.FULL
    assert finish(pump, process) == b"%d\n" % taken


def test_small_writes_that_wait_count_more_than_their_bytes(pump: Pump) -> None:
    process = stopped(pump, COUNT)
    taken = fill(process) + 4096
    count = 0
    while process.write(b"x", b"%d" % count)[0] == _pty.WAITING:
        count += 1
    assert 3000 < count <= 4096
    assert finish(pump, process) == b"%d\n" % (taken + count)


def test_one_write_may_be_larger_than_what_may_wait(pump: Pump) -> None:
    process = pump.start(COUNT, stdin=True)
    large = 3 * QUEUE_MAX
    result, ticket, _ = process.write(bytes(large))
    assert result == _pty.WAITING
    assert process.write(b"x")[0] == _pty.FULL
    pump.until(lambda: pump.of(_pty.WRITTEN))
    assert pump.of(_pty.WRITTEN) == [(_pty.WRITTEN, process, ticket, 0)]
    assert finish(pump, process) == b"%d\n" % large


# --- the end of it --------------------------------------------------------------------------------


def test_a_close_comes_after_what_waits(pump: Pump) -> None:
    process = stopped(pump, COUNT)
    taken = fill(process) + 4096
    assert process.close_input()
    assert process.write(b"late") == (_pty.CLOSED, 0, 0)
    assert process.close_input()
    process.signal(signal.SIGCONT)
    pump.until_ended(process)
    assert output(process) == b"%d\n" % taken
    assert not process.close_input()
    assert not process.input_open
    assert process.write(b"later") == (_pty.CLOSED, 0, 0)


def test_a_program_without_input_cannot_be_written_to(pump: Pump) -> None:
    process = pump.start(sh("exec sleep 100"))
    assert process.write(b"x") == (_pty.CLOSED, 0, 0)
    assert not process.close_input()
    process.signal(signal.SIGKILL)
    pump.until_ended(process)
    assert process.write(b"x") == (_pty.CLOSED, 0, 0)


def test_a_program_that_closed_its_input_makes_writes_fail(pump: Pump) -> None:
    process = pump.start(sh("exec <&-; echo closed; exec sleep 100"), stdin=True)
    pump.until(lambda: output(process))
    assert process.write(b"x", b"id") == (_pty.FAILED, 0, errno.EPIPE)
    assert process.write(b"y", b"id") == (_pty.FAILED, 0, errno.EPIPE)
    assert not process.input_open
    assert not process.close_input()
    pump.until_idle()
    assert not process.exited


def test_what_waits_fails_when_the_program_goes_away(pump: Pump) -> None:
    process = stopped(pump, CAT)
    fill(process)
    _, first, _ = process.write(b"first", b"1")
    _, second, _ = process.write(b"second", b"2")
    process.signal(signal.SIGKILL)
    pump.until_ended(process)
    pump.until(lambda: len(pump.of(_pty.WRITTEN)) == 3)
    assert pump.of(_pty.WRITTEN)[1:] == [
        (_pty.WRITTEN, process, first, errno.EPIPE),
        (_pty.WRITTEN, process, second, errno.EPIPE),
    ]
    # It was never accepted, so its id is not either.
    assert process.write(b"first", b"1") == (_pty.FAILED, 0, errno.EPIPE)


def test_a_grandchild_may_read_on(pump: Pump) -> None:
    process = pump.start(sh("exec 3<&0; cat <&3 & exit 0"), stdin=True)
    pump.until(lambda: process.exited)
    assert process.write(b"for the grandchild\n") == ACCEPTED
    process.close_input()
    pump.until_ended(process)
    assert output(process) == b"for the grandchild\n"


def test_no_signal_is_raised_whatever_the_host_does_with_it() -> None:
    script = """
        import os, signal
        from execnode.engine import _pty
        from tests.engine.pump import opened, output, sh

        def write():
            with opened() as pump:
                process = pump.start(sh("exec <&-; echo closed; exec sleep 100"), stdin=True)
                pump.until(lambda: output(process))
                return process.write(b"x")

        caught = []
        for action in (signal.SIG_DFL, signal.SIG_IGN, lambda *_: caught.append(1)):
            signal.signal(signal.SIGPIPE, action)
            assert write() == (_pty.FAILED, 0, 32)
        assert not caught
        # One that was pending before stays so, and a blocked one stays blocked.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        assert write() == (_pty.FAILED, 0, 32)
        assert signal.sigpending() == set()
        os.kill(os.getpid(), signal.SIGPIPE)
        assert write() == (_pty.FAILED, 0, 32)
        assert signal.sigpending() == {signal.SIGPIPE}
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == {signal.SIGPIPE}
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    """
    apart(script)


# --- ids ------------------------------------------------------------------------------------------


def test_a_repeat_is_told_and_not_written(pump: Pump) -> None:
    process = pump.start(CAT, stdin=True)
    assert process.write(b"once\n", b"id") == ACCEPTED
    assert process.write(b"twice\n", b"id") == (_pty.REPEATED, 0, 0)
    assert process.write(b"other\n", b"id2") == ACCEPTED
    assert process.write(b"none\n") == process.write(b"none\n") == ACCEPTED
    assert finish(pump, process) == b"once\nother\nnone\nnone\n"
    assert process.write(b"after the end", b"id")[0] == _pty.REPEATED


def test_a_repeat_of_one_that_waits_shares_its_ticket(pump: Pump) -> None:
    process = stopped(pump, CAT)
    head = fill(process) + 4096
    first = process.write(b"x", b"id")
    assert first[0] == _pty.WAITING
    assert process.write(b"x", b"id") == first
    process.close_input()
    assert process.write(b"x", b"id") == first
    assert finish(pump, process) == bytes(head) + b"x"
    assert process.write(b"x", b"id")[0] == _pty.REPEATED
    assert [event[2] for event in pump.of(_pty.WRITTEN)].count(first[1]) == 1


def test_the_last_4096_ids_are_remembered(pump: Pump) -> None:
    process = pump.start(sh("cat >/dev/null"), stdin=True)
    for i in range(5000):
        assert process.write(b"x", b"%d" % i)[0] == _pty.ACCEPTED
    assert all(process.write(b"x", b"%d" % i)[0] == _pty.REPEATED for i in range(5000 - 4096, 5000))
    assert process.write(b"x", b"%d" % (5000 - 4096 - 1))[0] == _pty.ACCEPTED
    assert process.write(b"x", b"4999")[0] == _pty.REPEATED
    assert process.write(b"x", b"%d" % (5000 - 4096))[0] == _pty.ACCEPTED  # pushed out by it


def test_ids_may_be_any_bytes(pump: Pump) -> None:
    process = pump.start(sh("cat >/dev/null"), stdin=True)
    ids = [b"\0", b"\0\0", b"a" * 1023, b"a" * 1024, bytes(range(256))]
    assert [process.write(b"x", each)[0] for each in ids] == [_pty.ACCEPTED] * 5
    assert [process.write(b"x", each)[0] for each in ids] == [_pty.REPEATED] * 5


def test_ids_that_would_fill_the_memory_are_refused(pump: Pump) -> None:
    process = pump.start(CAT, stdin=True)
    with pytest.raises(ValueError, match="1024"):
        process.write(b"x", b"a" * 1025)
    peer = Peer(pump)
    peer.attach(process)
    peer.request(1, "process/write", processId="p", chunk=b"x", writeId="a" * 1025)
    pump.until(lambda: pump.of(_pty.FRAME))
    assert not peer.answers


# --- terminals ------------------------------------------------------------------------------------


def test_a_terminal_takes_what_it_can_and_queues_the_rest(pump: Pump) -> None:
    script = """
import os, sys, tty
tty.setraw(0)
os.write(1, b"ready")
count = 0
while count < 1_000_000:
    count += len(os.read(0, 65536))
os.write(1, b"%d" % count)
"""
    process = pump.start(py(script), size=(24, 80))
    pump.until(lambda: output(process, "pty") == b"ready")
    process.signal(signal.SIGSTOP)
    pump.until_idle()
    result, ticket, _ = process.write(bytes(1_000_000))
    assert result == _pty.WAITING
    process.signal(signal.SIGCONT)
    pump.until_ended(process)
    assert pump.of(_pty.WRITTEN) == [(_pty.WRITTEN, process, ticket, 0)]
    assert output(process, "pty") == b"ready1000000"


def test_a_terminal_that_does_not_read_keeps_the_rest_waiting(pump: Pump) -> None:
    process = pump.start(
        py("import time, tty; tty.setraw(0); print(1); time.sleep(99)"), size=(9, 9)
    )
    pump.until(lambda: output(process, "pty"))
    result, ticket, _ = process.write(bytes(1_000_000))
    assert result == _pty.WAITING
    pump.until_idle()
    for _ in range(3):
        assert pump.engine.poll() == []
        assert not readable(pump.engine, 0.05)
    process.signal(signal.SIGKILL)
    pump.until_ended(process)
    assert pump.of(_pty.WRITTEN) == [(_pty.WRITTEN, process, ticket, errno.EIO)]
    assert process.write(b"x") == (_pty.FAILED, 0, errno.EIO)


def test_a_terminals_input_is_not_closed(pump: Pump) -> None:
    process = pump.start(CAT, size=(24, 80))
    assert not process.close_input()
    assert process.write(b"\x04") == ACCEPTED  # as a person would
    pump.until_ended(process)
    assert process.exit_code == 0


# --- anything -------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 100_000), st.integers(0, 5)), max_size=30))
def test_accepted_bytes_arrive_once_and_in_order(writes: list[tuple[int, int]]) -> None:
    with opened() as pump:
        process = pump.start(CAT, stdin=True, retention=64 << 20, memory=64 << 20)
        expected = b""
        seen = set()
        for i, (size, write_id) in enumerate(writes):
            data = bytes((i,)) * size
            name = b"%d" % write_id if write_id else b""
            result, _, _ = process.write(data, name)
            if name in seen:
                assert result in (_pty.REPEATED, _pty.WAITING)
                continue
            assert result in (_pty.ACCEPTED, _pty.WAITING)
            expected += data
            if name:
                seen.add(name)
        assert finish(pump, process) == expected
