import errno
import os
import signal
import time
from pathlib import Path

import pytest

from execnode.engine import Process, _pty
from tests.engine.pump import ENV, Peer, Pump, output, py, sh

RESIZED = """
import fcntl, os, signal, struct, sys, termios
def show(*_):
    rows, cols = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))[:2]
    os.write(1, b"%dx%d\\n" % (rows, cols))
signal.signal(signal.SIGWINCH, show)
show()
while True:
    signal.pause()
"""


def screen(process: Process) -> bytes:
    return output(process, "pty")


def shows(pump: Pump, process: Process, text: bytes) -> None:
    pump.until(lambda: text in screen(process))


def slave(process: Process) -> int:
    """Open a process's terminal as another program would."""
    return os.open(f"/proc/{process.pid}/fd/0", os.O_RDWR | os.O_NOCTTY)


@pytest.mark.parametrize("size", [(24, 80), (1, 1), (65535, 65535), (0, 0)])
def test_a_terminal_has_its_size_from_the_start(pump: Pump, size: tuple[int, int]) -> None:
    assert screen(pump.run(sh("stty size"), size=size)) == b"%d %d\r\n" % size


def test_a_new_size_arrives_with_its_signal(pump: Pump) -> None:
    process = pump.start(py(RESIZED), size=(10, 20))
    shows(pump, process, b"10x20\r\n")
    process.resize(30, 100)
    shows(pump, process, b"30x100\r\n")
    process.resize(1, 65535)
    shows(pump, process, b"1x65535\r\n")
    for wrong in ((65536, 1), (-1, 1)):
        with pytest.raises(OverflowError):
            process.resize(*wrong)


def test_a_size_needs_a_terminal(pump: Pump) -> None:
    process = pump.start([b"/bin/sleep", b"100"])
    with pytest.raises(OSError, match="ioctl") as failure:
        process.resize(1, 1)
    assert failure.value.errno == errno.ENOTTY
    gone = pump.run(sh("true"), size=(1, 1))
    with pytest.raises(OSError, match="ioctl"):
        gone.resize(1, 1)


def test_the_terminal_controls_its_session(pump: Pump) -> None:
    script = "tty; echo to the terminal >/dev/tty; ps -o sid=,tpgid=,tty= -p $$; exit 5"
    process = pump.start(sh(script), size=(24, 80))
    pid = process.pid
    pump.until_ended(process)
    name, direct, ids = screen(process).replace(b"\r", b"").splitlines()
    assert name.startswith(b"/dev/pts/")
    assert direct == b"to the terminal"
    assert ids.split() == [b"%d" % pid, b"%d" % pid, name.removeprefix(b"/dev/")]
    assert process.exit_code == 5


def test_without_a_terminal_there_is_none_to_open(pump: Pump) -> None:
    process = pump.run(sh("echo hidden >/dev/tty || echo none"))
    assert output(process) == b"none\n"


def test_a_shell_has_job_control(pump: Pump) -> None:
    process = pump.start([b"/bin/bash", b"--norc", b"-i"], size=(24, 80), env=[*ENV, b"PS1=[$?] "])
    shows(pump, process, b"[0] ")
    process.write(b"sleep 100\r")
    shows(pump, process, b"sleep 100\r\n")
    pump.until(lambda: foreground(process) == "sleep", look=0.01)
    process.write(b"\x1a")  # Ctrl-Z
    shows(pump, process, b"Stopped")
    process.write(b"jobs; fg\r")
    pump.until(lambda: foreground(process) == "sleep", look=0.01)
    process.write(b"\x03")
    shows(pump, process, b"[130] ")
    process.write(b"exit 7\r")
    pump.until_ended(process)
    assert process.exit_code == 7
    assert b"job control" not in screen(process)
    assert b"process group" not in screen(process)


def foreground(process: Process) -> str:
    """Name the program in the foreground of a terminal."""
    group = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[5]
    return Path(f"/proc/{group}/comm").read_text().strip()


@pytest.mark.parametrize(("key", "number"), [(b"\x03", signal.SIGINT), (b"\x1c", signal.SIGQUIT)])
def test_keys_send_signals_to_the_foreground(pump: Pump, key: bytes, number: int) -> None:
    process = pump.start(sh("echo ready; ulimit -c 0; exec sleep 100"), size=(24, 80))
    shows(pump, process, b"ready")
    pump.until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "sleep\n", look=0.01)
    process.write(key)
    pump.until_ended(process)
    assert process.exit_signal == number


def test_input_is_echoed_and_translated(pump: Pump) -> None:
    process = pump.start(sh("read line; echo got $line"), size=(24, 80))
    process.write(b"hello\r")
    pump.until_ended(process)
    assert screen(process) == b"hello\r\ngot hello\r\n"


def test_ctrl_d_ends_the_input_and_not_the_output(pump: Pump) -> None:
    process = pump.start(sh("cat; echo after; exit 3"), size=(24, 80))
    process.write(b"line\r\x04")
    pump.until_ended(process)
    assert screen(process) == b"line\r\nline\r\nafter\r\n"
    assert process.exit_code == 3


def test_much_output_is_read_to_its_end(pump: Pump) -> None:
    process = pump.start(sh("stty raw; seq 1 200000"), size=(24, 80), retention=4 << 20)
    seen = Peer(pump).attach(process)
    pump.until_closed(seen)
    assert seen.bytes["pty"] == b"".join(b"%d\n" % i for i in range(1, 200_001))


def test_closing_hangs_up(pump: Pump) -> None:
    process = pump.start(sh("echo ready; exec sleep 100"), size=(24, 80))
    shows(pump, process, b"ready")
    pid = process.pid
    process.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGHUP


def test_a_terminal_kept_open_by_others_ends_with_them(pump: Pump) -> None:
    process = pump.start(sh("echo ready; sleep 100"), size=(24, 80))
    shows(pump, process, b"ready")
    other = slave(process)
    try:
        process.signal(signal.SIGKILL)
        pump.until(lambda: process.exited)
        pump.until_idle()
        assert not process.ended
        os.write(other, b"still here")
        shows(pump, process, b"still here")
    finally:
        os.close(other)
    pump.until_ended(process)


def test_many_terminals_at_once(pump: Pump) -> None:
    processes = [pump.start(sh(f"tty; stty size; exit {i}"), size=(i, i)) for i in range(50)]
    pump.until_ended(*processes)
    names = set()
    for i, process in enumerate(processes):
        name, size = screen(process).split(b"\r\n")[:2]
        names.add(name)
        assert (size, process.exit_code) == (b"%d %d" % (i, i), i)
    assert len(names) > 1


def test_an_echoed_byte_comes_back_soon(pump: Pump) -> None:
    process = pump.start(
        py("import tty, os; tty.setraw(0)\nwhile 1: os.write(1, os.read(0, 1))"), size=(9, 9)
    )
    peer = Peer(pump)
    seen = peer.attach(process)
    process.write(b"x")
    pump.until(lambda: b"x" in seen.bytes["pty"])
    start = time.monotonic()
    for i in range(100):
        peer.request(i, "process/write", processId="p", chunk=b"y")
        pump.until(lambda: seen.bytes["pty"].count(b"y") > i)  # noqa: B023
    assert time.monotonic() - start < 2
    process.signal(signal.SIGKILL)
    pump.until_ended(process)
    assert not pump.of(_pty.FRAME)
