"""Real process trees for the tests of cgroups, lineage and guardian."""

import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from execnode.engine.programs import HELPER
from execnode.engine.tree import Place
from tests.locate import ROOT

DAEMON = "(setsid sleep 1000 >/dev/null 2>&1 & echo $!)"
"""A shell script: a daemon that left its parent, group and session; prints its pid."""


class Child:
    """A shell in a place, started as the spawn would, whose script has printed its first line."""

    def __init__(self, place: Place, script: str) -> None:
        self._popen = subprocess.Popen(
            ["sh", "-c", f"read go; {script}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self.pid = self._popen.pid
        if place.cgroup_fd >= 0:
            write_at(place.cgroup_fd, "cgroup.procs", str(self.pid))
        if place.rlimit_rttime is not None:
            resource.prlimit(self.pid, resource.RLIMIT_RTTIME, place.rlimit_rttime)
        self._popen.stdin.write("go\n")
        self._popen.stdin.close()
        self.line = self._popen.stdout.readline().strip()
        self._popen.stdout.close()

    def wait(self) -> int:
        return self._popen.wait(10)


def write_at(folder: int, name: str, text: str) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def eventually(condition: Callable[[], bool], within: float = 10.0) -> bool:
    """Whether a condition that nothing announces comes true: the end of a process not named."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


class Watch:
    """A pidfd on some process, closed at the end of the block."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def ends(self, within: float = 10.0) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(within * 1000))

    @property
    def alive(self) -> bool:
        return not self.ends(0)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def nothing_leaks() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert open_descriptors() == before


def build_helper(folder: Path) -> Path:
    """The helper executable where any user may run it: the installed one, or built for the test."""
    target = folder / "execnode-helper"
    if HELPER.exists():
        shutil.copy(HELPER, target)
    else:
        sources = sorted((ROOT / "src" / "engine" / "_seccomp").glob("*.c"))
        flags = ["-std=gnu11", "-O1", "-static", f"-I{ROOT / 'src'}"]
        subprocess.run(["cc", *flags, "-o", target, *sources], check=True)
    target.chmod(0o755)
    return target


class NodeProcess:
    """A node of its own (node.py), to be killed, or to be a subreaper, or another user."""

    def __init__(self, *options: str | Path) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.node", *options],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._popen.pid

    def __enter__(self) -> "NodeProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._popen.kill()
        self._popen.communicate()
        assert kind or self._popen.returncode in (0, -signal.SIGKILL)

    def ask(self, line: str) -> str:
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.write(line + "\n")
        self._popen.stdin.flush()
        return self._popen.stdout.readline().rstrip("\n")

    def start(self, script: str) -> tuple[int, int]:
        """The pid of a script's shell and the pid that it printed."""
        pid, line = self.ask(f"start {script}").split(" ")
        return int(pid), int(line)

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()
