"""A terminal in a sandbox: Ctrl-C, Ctrl-Z, job control, and signals that are passed on."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.sandbox.world import PYTHON, World

TIOCGPTN = 0x80045430  # ioctl_tty(2); Python has no name for it
OPTIONS = ["--profile", "workspace-write"]


class Terminal:
    """A sandbox on a terminal of its own, which is the controlling one of its session."""

    def __init__(self, world: World, *words: str, shell: bool = False) -> None:
        program = world.base / "execnode-linux-sandbox"
        if not program.exists():
            program.symlink_to(world.helper)
        command = [str(program), *OPTIONS, "--", *words]
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.chdir(world.workspace)
            if world.uid != os.geteuid():
                os.fchown(0, world.uid, -1)  # as login(1) does
                os.setgroups([])
                os.setresgid(world.uid, world.uid, world.uid)
                os.setresuid(world.uid, world.uid, world.uid)
            if shell:
                os.environ["SANDBOX"] = " ".join(command[: -len(words)])
                os.execv("/bin/bash", ["bash", "--norc", "--noprofile", "-i"])
            os.execv(command[0], command)
        self.seen = ""

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 20
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], deadline - time.monotonic())
            assert ready, self.seen
            try:
                self.seen += os.read(self.master, 4096).decode()
            except OSError:
                raise AssertionError(self.seen) from None
        self.seen = self.seen.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def end(self) -> int:
        """The exit code; what is written until then is read, for a shell waits for that."""
        with suppress(OSError):
            while os.read(self.master, 4096):
                pass
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)


@contextmanager
def terminal(world: World, *words: str, shell: bool = False) -> Iterator[Terminal]:
    terminal = Terminal(world, *words, shell=shell)
    try:
        yield terminal
    finally:
        if terminal.pid:
            os.kill(terminal.pid, signal.SIGKILL)
            terminal.end()
        os.close(terminal.master)


def test_ctrl_c_runs_a_handler_once_and_its_exit_code_comes_back(world: World) -> None:
    script = """trap 'echo caught; n=$((n+1))' INT; echo ready
        while [ -z $n ]; do sleep 0.1; done; sleep 0.3; exit 4$n"""
    with terminal(world, "bash", "-c", script) as tty:
        tty.wait_for("ready")
        tty.type("\x03")
        tty.wait_for("caught")
        assert tty.end() == 41


def test_ctrl_c_kills_what_has_no_handler(world: World) -> None:
    with terminal(world, "sh", "-c", "echo ready; exec sleep 1000") as tty:
        tty.wait_for("ready")
        tty.type("\x03")
        assert tty.end() == -signal.SIGINT


def test_a_shell_inside_has_job_control(world: World) -> None:
    # It says itself that it goes on: it has the terminal then, and Ctrl-C reaches it.
    job = """sh -c 'trap "echo g""oes on" CONT; echo u""p; while :; do read x; done'"""
    with terminal(world, "bash", "--norc", "--noprofile", "-i") as tty:
        tty.wait_for("bash-")  # the prompt: what is typed before may be lost
        tty.type(f"{job}\n")
        tty.wait_for("up\r\n")
        tty.type("\x1a")
        tty.wait_for("Stopped")
        tty.wait_for("bash-")
        tty.type("fg\n")
        tty.wait_for("goes on\r\n")
        tty.type("\x03")
        tty.wait_for("^C")
        tty.wait_for("bash-")
        tty.type("\necho $((40+2))\n")  # the first may be lost with what Ctrl-C flushes
        tty.wait_for("42")
        tty.type("exit 7\n")
        assert tty.end() == 7


def test_the_terminal_has_a_name(world: World) -> None:
    script = 'test -t 0; echo "$?:$(tty)"; echo here > "$(tty)"; exit 3'
    with terminal(world, "sh", "-c", script) as tty:
        tty.wait_for("0:/dev/console\r\n")
        tty.wait_for("here\r\n")
        assert tty.end() == 3


def test_the_mode_of_the_terminal_outside_stays(world: World) -> None:
    """Or others could write to it, and read what is typed."""
    script = "for fd in 0 1 2; do chmod 666 /proc/self/fd/$fd; done 2>/dev/null; echo done; read x"
    with terminal(world, "sh", "-c", script) as tty:
        tty.wait_for("done")
        number = struct.unpack("I", fcntl.ioctl(tty.master, TIOCGPTN, bytes(4)))[0]
        assert Path(f"/dev/pts/{number}").stat().st_mode & 0o006 == 0
        tty.type("\n")
        tty.end()


def test_a_shell_outside_stops_and_continues_the_sandbox(world: World) -> None:
    with terminal(world, "sh", shell=True) as tty:
        tty.type("PS1='> '; $SANDBOX sh -c 'echo up; read x; echo got:$x'\n")
        tty.wait_for("up\r\n")
        tty.type("\x1a")
        tty.wait_for("Stopped")
        tty.type("fg\n")
        tty.wait_for("sh -c")
        tty.type("word\n")
        tty.wait_for("got:word")
        tty.type("exit 5\n")
        assert tty.end() == 5


def test_the_terminal_cannot_be_stopped_for_good(world: World) -> None:
    """Alone in its session, as under a node, nobody would continue it."""
    with terminal(world, "sh", "-c", "echo ready; read x; exit $x") as tty:
        tty.wait_for("ready")
        tty.type("\x1a")
        tty.type("6\n")
        assert tty.end() == 6


def test_a_hang_up_ends_it(world: World) -> None:
    with terminal(world, "sh", "-c", "echo ready; exec sleep 1000") as tty:
        tty.wait_for("ready")
        os.close(tty.master)
        assert tty.end() == -signal.SIGHUP
        tty.master = os.open("/dev/null", os.O_RDONLY)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGRTMIN])
@pytest.mark.parametrize("group", [False, True])
def test_signals_are_passed_on_once(world: World, number: signal.Signals, group: bool) -> None:
    script = (
        "import signal, sys\n"
        f"signals = [{int(number)}]\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, signals)\n"
        "print('ready', flush=True)\n"
        "signal.sigwait(signals)\n"
        "sys.exit(12 if signal.sigtimedwait(signals, 0.3) else 11)\n"
    )
    with world.start(
        OPTIONS, [PYTHON, "-c", script], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        (os.killpg if group else os.kill)(process.pid, number)
        assert process.wait(10) == 11
