"""The server, the wrapper or the shell is killed at every step of the protocol.

Nothing may hang, nothing may run that was not allowed, and no process may stay.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Self
from uuid import uuid4

import pytest

from tests.escalation.interception import PATIENCE

HERE = Path(__file__).parent
LIBC = ctypes.CDLL(None, use_errno=True)
PIDFD_GETFD = 438
WRAPPED = '"$EXEC_WRAPPER" /bin/sh sh -c'


@dataclass
class Table:
    """A server, a shell and what it started, all of which have the mark in their arguments."""

    folder: Path
    process: subprocess.Popen[str]
    shell: int = 0
    wrapper: int = 0
    words: list[list[str]] = field(default_factory=list)

    @classmethod
    def lay(cls, folder: Path, script: str, limit: int = 8) -> Self:
        script = f": {folder};{script}"
        process = subprocess.Popen(
            [sys.executable, HERE / "serving.py", str(limit), script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=HERE.parents[1],
        )
        table = cls(folder, process)
        table.shell = int(table.until("shell"))
        return table

    @property
    def stdout(self) -> IO[str]:
        assert self.process.stdout
        return self.process.stdout

    def until(self, word: str) -> str:
        """The last word of the first line that starts so, once it is said; lines may overtake."""
        for said in chain(self.words, map(str.split, self.stdout)):
            if said not in self.words:
                self.words.append(said)
            if said[:1] == [word]:
                return said[-1]
        raise AssertionError(f"it never said {word}, only {self.words}")

    def tell(self, answer: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(answer + "\n")
        self.process.stdin.flush()

    def pids(self) -> set[int]:
        return marked(self.folder)

    def kill(self, who: str) -> None:
        os.kill({"server": self.process.pid, "shell": self.shell, "wrapper": self.wrapper}[who], 9)


def marked(folder: Path) -> set[int]:
    """Every process that has this folder among its arguments."""
    pids = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    return {pid for pid in pids - {os.getpid()} if str(folder) in commands(pid)}


def end_of(pids: set[int]) -> None:
    """Wait until all of these have ended."""
    waited = select.poll()
    open_ones = {}
    for pid in pids:
        with suppress(ProcessLookupError):
            open_ones[os.pidfd_open(pid)] = pid
    for descriptor in open_ones:
        waited.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + PATIENCE
    while open_ones:
        ready = waited.poll(max(0.0, deadline - time.monotonic()) * 1000)
        assert ready, f"still there: {[commands(pid) for pid in open_ones.values()]}"
        for descriptor, _ in ready:
            waited.unregister(descriptor)
            del open_ones[descriptor]
            os.close(descriptor)


def commands(pid: int) -> str:
    try:
        return (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        )
    except OSError:
        return ""


def child_of(pid: int, but: int = 0) -> int:
    """The other child of a process, as soon as there is one that has executed something."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if int(child) != but and commands(int(child)) != commands(pid):
                return int(child)
        os.sched_yield()
    raise AssertionError(f"{commands(pid)} has no such child")


def stopped(pid: int) -> None:
    """Stop a process, and see it stopped."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline
        os.sched_yield()


# --- the steps: each leaves the table just there --------------------------------------------------


def queued(folder: Path) -> Table:
    """The wrapper has made its wish, and the server, busy with another, has not heard of it."""
    os.mkfifo(folder / "go")
    first = f'{WRAPPED} ": {folder}" & read go < {folder}/go'
    table = Table.lay(folder, f'{first}; {WRAPPED} "touch {folder}/ran"; echo ended $?; wait', 1)
    table.until("asked")
    busy = child_of(table.shell)
    (folder / "go").write_text("\n")
    table.wrapper = child_of(table.shell, but=busy)
    has_asked(table.wrapper)
    return table


def has_asked(pid: int) -> None:
    """Wait until a wrapper has said all that it has to say: it sleeps in a read of its socket."""
    deadline = time.monotonic() + PATIENCE
    # recvfrom(2) on x86-64 and on arm64
    while Path(f"/proc/{pid}/syscall").read_text().split()[0] not in ("45", "207"):
        assert time.monotonic() < deadline
        os.sched_yield()


def standing_in(step: str) -> Callable[[Path], Table]:
    def stand_in(folder: Path) -> Table:
        program = f"{sys.executable} -S -E {HERE}/standin.py {step} {folder}/ran"
        table = Table.lay(folder, f"{program}; echo ended $?")
        if step == "descriptors":
            table.until("asked")
            table.tell("escalate")
        table.wrapper = int(table.until("there"))
        return table

    return stand_in


def deciding(folder: Path) -> Table:
    """The policy has been asked and thinks."""
    table = Table.lay(folder, f'{WRAPPED} "touch {folder}/ran"; echo ended $?')
    table.until("asked")
    table.wrapper = child_of(table.shell)
    has_asked(table.wrapper)
    return table


def answered(answer: str) -> Callable[[Path], Table]:
    """The server has answered, and the wrapper has not heard it."""

    def answer_it(folder: Path) -> Table:
        table = deciding(folder)
        stopped(table.wrapper)
        table.tell(answer)
        told(table)
        return table

    return answer_it


def running(folder: Path) -> Table:
    """The command runs outside, and has a child."""
    (folder / "log").touch()
    table = Table.lay(
        folder, f'{WRAPPED} "tail -f {folder}/log & echo started; wait"; echo ended $?'
    )
    table.until("asked")
    table.wrapper = child_of(table.shell)
    table.tell("escalate")
    table.until("started")
    return table


def over(folder: Path) -> Table:
    """The command has ended outside, and the wrapper has not heard of it."""
    (folder / "log").touch()
    table = Table.lay(
        folder, f'{WRAPPED} "echo started \\$\\$; exec tail -f {folder}/log"; echo ended $?'
    )
    table.until("asked")
    table.wrapper = child_of(table.shell)
    table.tell("escalate")
    command = int(table.until("started"))
    stopped(table.wrapper)
    os.kill(command, signal.SIGKILL)
    told(table)
    return table


def told(table: Table) -> None:
    """Return when there is something to be heard on the stopped wrapper's own socket."""
    [number] = sockets(table.wrapper).keys() - sockets(table.shell).keys()
    descriptor = os.pidfd_open(table.wrapper)
    own = LIBC.syscall(PIDFD_GETFD, descriptor, int(number), 0)
    os.close(descriptor)
    assert own >= 0
    waited = select.poll()
    waited.register(own, select.POLLIN)
    assert waited.poll(PATIENCE * 1000)
    os.close(own)


def sockets(pid: int) -> dict[str, str]:
    links = {entry.name: str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    return {name: link for name, link in links.items() if link.startswith("socket:")}


# --- the table -----------------------------------------------------------------------------------


STEPS = {
    "queued": queued,
    "asking": standing_in("asking"),
    "deciding": deciding,
    "run, unheard": answered("run"),
    "deny, unheard": answered("deny"),
    "escalate, unheard": answered("escalate"),
    "descriptors": standing_in("descriptors"),
    "running": running,
    "over, unheard": over,
}
# The exit codes of a wrapper whose server was killed: where it has its answer, the server is no
# longer needed. Everything else fails closed.
HEARS = {"run, unheard": "0", "deny, unheard": "1", "over, unheard": "137"}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose name no other process has heard of; whoever still has it is killed."""
    path = tmp_path / uuid4().hex
    path.mkdir()
    yield path
    for pid in marked(path):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("who", ["server", "wrapper", "shell"])
@pytest.mark.parametrize("step", STEPS)
def test_nothing_hangs_runs_or_stays(folder: Path, step: str, who: str) -> None:
    table = STEPS[step](folder)
    with table.process:
        pids = table.pids()
        assert {table.process.pid, table.shell, table.wrapper} <= pids
        table.kill(who)
        if step == "queued" and who == "wrapper":
            table.tell("deny")  # or the other one would wait
        with suppress(ProcessLookupError):
            os.kill(table.wrapper, signal.SIGCONT)
        end_of(pids)
        assert table.pids() == set()
        table.words += [line.split() for line in table.stdout]
    if (step, who) != ("escalate, unheard", "shell"):  # it was allowed, and may just make it
        allowed = step == "run, unheard" and who != "wrapper"
        assert (folder / "ran").exists() == allowed
    expected = {"server": HEARS.get(step, "125"), "wrapper": "137"}
    if who in expected:
        assert ["ended", expected[who]] in table.words
    assert (["left", "-9"] in table.words) == (who == "shell")
