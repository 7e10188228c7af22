"""Limits on whole trees of processes, by the controllers of cgroup v2.

A cgroup has a limit when its parent has the controller switched on for its children, in
`cgroup.subtree_control`; and a cgroup whose children have controllers may hold no processes of its
own (the kernel's Documentation/admin-guide/cgroup-v2.rst, "No Internal Process Constraint"). So
when a limit is first wanted, this process steps aside:

    OWN/                       the cgroup that this process was started in
      execnode-PID-node/       where it goes
      execnode-PID-RANDOM/     the pool's (cgroup.py), with the controllers switched on
        1/ 2/ 3/ ...           leaves, some with limits
"""

import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias

from execnode.engine import lineage

__all__ = ["Controllers", "LimitName", "oom_kills", "set_limits"]

LimitName: TypeAlias = Literal["pids", "memory", "cpu"]

_PERIOD: Final = 100_000  # microseconds, of cpu.max


class Controllers:
    """The controllers of the leaves in the pool at `pool`, whose parent is our own cgroup."""

    def __init__(self, pool: Path) -> None:
        self._pool = pool
        self._own = pool.parent

    def lacks(self, names: Iterable[LimitName]) -> dict[LimitName, str]:
        """Switch controllers on; those that cannot be had, each with the reason and what helps."""
        missing = {}
        for name in names:
            try:
                self._switch_on(name)
            except OSError as error:
                missing[name] = f"{error.filename or self._own}: {error.strerror}"
        return missing

    def _switch_on(self, name: LimitName) -> None:
        if name not in _words(self._own / "cgroup.controllers"):
            raise OSError(
                errno.ENOTSUP,
                f"cgroup v2 has no controller `{name}` here; give the node a cgroup that has it "
                "(a service: Delegate=yes; a container: a cgroup namespace that may be written)",
                str(self._own),
            )
        for folder in (self._own, self._pool):
            control = folder / "cgroup.subtree_control"
            if name in _words(control):
                continue
            try:
                _write(control, f"+{name}")
            except OSError as error:
                if error.errno != errno.EBUSY or folder is not self._own:
                    raise
                step_aside(self._own)
                _write(control, f"+{name}")


def step_aside(own: Path) -> Path:
    """Move this process and its children out of a cgroup, into one below it; return that.

    Raises OSError EBUSY when there are others, which are not ours to move.
    """
    ours = {os.getpid(), *lineage.children(os.getpid())}
    pids = set(map(int, _words(own / "cgroup.procs")))
    if not pids <= ours:
        raise OSError(
            errno.EBUSY, "there are other processes in the node's cgroup; give it its own", str(own)
        )
    aside = own / f"execnode-{os.getpid()}-node"
    aside.mkdir(exist_ok=True)
    for pid in pids:
        _write(aside / "cgroup.procs", str(pid))
    return aside


def set_limits(folder: int, limits: Mapping[LimitName, float]) -> None:
    """Limit the leaf that a descriptor is of: pids, memory in bytes, cpu in processors' time."""
    for name, value in limits.items():
        if name == "cpu":
            _put(folder, "cpu.max", f"{max(1000, round(value * _PERIOD))} {_PERIOD}")
            continue
        _put(folder, f"{name}.max", str(int(value)))
        if name == "memory":
            _put(folder, "memory.oom.group", "1")  # all or nothing: half a tree helps nobody
            _put(folder, "memory.swap.max", "0", needed=False)


def oom_kills(folder: int) -> int:
    """How often something in a leaf was killed since it had no memory left; 0 without a limit."""
    try:
        fd = os.open("memory.events", os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return 0
    try:
        lines = os.read(fd, 4096).decode().splitlines()
    finally:
        os.close(fd)
    events = dict(line.split(" ", 1) for line in lines)
    return int(events.get("oom_kill", 0))


def _words(file: Path) -> list[str]:
    return file.read_text().split()


def _write(file: Path, text: str) -> None:
    with file.open("w") as opened:
        opened.write(text)


def _put(folder: int, name: str, text: str, *, needed: bool = True) -> None:
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        if needed:
            raise
        return
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
