"""Marks that a process passes on to all it starts, for machines where no cgroup can be made.

Theory of operation. A daemon that forks twice and calls setsid(2) leaves its parent, its process
group and its session; what it keeps are its resource limits. RLIMIT_RTTIME bounds the CPU time, in
microseconds, that a real-time process may use without blocking (getrlimit(2)). Lowered from
unlimited to some 73,000 years it changes nothing for anybody, needs no privilege, passes through
fork, setsid and execve, and anybody may read it in /proc/PID/limits. So each process that the node
starts is given a limit of its own, its mark, and whoever has that limit descends from it.

A mark is a leading one, then random bits of the node, then a count of its processes. Two nodes do
not meet, and the marks of one node are a range, which is all that the guardian needs to know. With
bits 63 and 62 clear no tool takes it for a negative number.

    bit 61   60 ... 32         31 ... 0
    1        node, at random   process

The mark is both the soft and the hard limit: without CAP_SYS_RESOURCE nobody can raise it again. In
a node that itself runs under a mark, the hard limit is left alone, so that its processes stay the
outer node's too; only the soft limit carries its own mark, whose leading one is a bit lower
(a soft limit may not exceed the hard one), at the cost of one random bit.

What it cannot do. A process may lower its own limit, or raise it as root, and has then left; it is
still found while a parent that carries the mark lives, and lost once it is an orphan. A process of
another user cannot be killed without privilege. Only a cgroup is tight.
"""

import contextlib
import errno
import functools
import os
import resource
import secrets
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

__all__ = [
    "Lineage",
    "LineageUnavailable",
    "children",
    "kill_below",
    "kill_marked",
    "marked",
    "signal_marked",
]

PROCESS_BITS = 32
TOP_BIT = 61
LOWEST_BIT = 52  # 143 years; below that a limit might be meant
MAX_DEPTH = 64  # of a tree that is followed without marks
ROW = b"Max realtime timeout "

Wanted = Callable[[int], bool]
"""Whether a soft or hard limit is a mark that is looked for."""


class LineageUnavailable(Exception):
    """No marks can be given or read here; the text says why."""


@dataclass(slots=True)
class Lineage:
    """The marks of one node: the numbers from `low` to `high`."""

    low: int
    high: int
    hard: int | None = None  # the hard limit of this process, None: unlimited
    _count: int = field(default=0, repr=False)

    @property
    def in_use(self) -> bool:
        """Whether a mark was ever given."""
        return self._count > 0

    @classmethod
    def open(cls) -> Self:
        """A range of marks below the limits of this process.

        Raises LineageUnavailable.
        """
        try:
            limits = _limits(os.getpid())
        except OSError as error:
            raise LineageUnavailable(f"/proc/PID/limits: {error.strerror}") from None
        if limits is None:
            raise LineageUnavailable("/proc/PID/limits does not show RLIMIT_RTTIME")
        soft, hard = resource.getrlimit(resource.RLIMIT_RTTIME)
        room = min((limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY), default=0)
        bit = room.bit_length() - 2 if room else TOP_BIT
        if bit < LOWEST_BIT:
            raise LineageUnavailable(f"RLIMIT_RTTIME is in use: {room} microseconds")
        node = 1 << (bit - PROCESS_BITS) | secrets.randbits(bit - PROCESS_BITS)
        low = node << PROCESS_BITS
        return cls(
            low=low,
            high=low | ((1 << PROCESS_BITS) - 1),
            hard=None if hard == resource.RLIM_INFINITY else hard,
        )

    def new_mark(self) -> int:
        """A mark for one process, not given to another in the next four thousand million."""
        self._count += 1
        return self.low | (self._count & (self.high - self.low))

    def rlimit(self, mark: int) -> tuple[int, int]:
        """The soft and hard RLIMIT_RTTIME that the process is to be started with."""
        return mark, mark if self.hard is None else self.hard

    def __contains__(self, mark: int) -> bool:
        return self.low <= mark <= self.high


def marked(wanted: Wanted, among: Iterable[int] | None = None) -> list[int]:
    """The living processes with a mark that is wanted. Zombies do not count.

    among: the pids to look at, None: all but this process.
    """
    own = os.getpid()
    found = []
    for pid in _pids() if among is None else among:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if pid != own and _is_marked(pid, wanted) and not _is_zombie(pid):
                found.append(pid)
    return found


def kill_marked(wanted: Wanted, roots: Collection[int] = (), patience: float = 2.0) -> int:
    """Send SIGKILL to every process with a mark that is wanted, and to what descends from it.

    wanted: says of a soft or hard limit whether it is looked for.
    roots: pids of children of this process, not yet waited for, that are to be killed whether or
        not they still carry their mark.
    patience: seconds after which a tree that forks faster than it can be killed is left.

    How many were killed. They need not be dead on return, but none of them forks again: fork(2)
    fails while a signal is pending.
    """
    deadline = time.monotonic() + patience
    killed: set[int] = set()
    # All are stopped before any is killed: no parent acts on the death of its child.
    stopped = _stop_marked(wanted, deadline)
    for root in roots:
        kill_below(root, killed)
    for pid in stopped:
        _kill_tree(pid, functools.partial(_is_marked, pid, wanted), killed)
    return len(killed)


def kill_below(root: int, killed: set[int] | None = None) -> None:
    """Send SIGKILL to a child of this process and to all that descends from it by parentage.

    root: its pid; not yet waited for, so that the number cannot be another's.
    killed: takes the pids.
    """
    killed = set() if killed is None else killed
    _kill_tree(root, lambda: _parent(root) == os.getpid(), killed)


def signal_marked(wanted: Wanted, number: int) -> int:
    """Send a signal to every process with a mark that is wanted, parents first; to how many.

    What is forked meanwhile may be missed.
    """
    count = 0
    for pid in _pids():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            count += _send(pid, number, wanted)
    return count


def children(pid: int) -> list[int]:
    """The children of a process, zombies included; empty when it is gone."""
    if not _kernel_lists_children():
        return [child for child in _pids() if _parent(child) == pid]
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in _listing(f"/proc/{pid}/task"):
            found += map(int, _read(f"/proc/{pid}/task/{task}/children").split())
    return found


# ---- killing -------------------------------------------------------------------------------------


def _stop_marked(wanted: Wanted, deadline: float) -> list[int]:
    """Stop every process with a mark that is wanted; their pids.

    What forks and exits in a chain may be gone when its turn comes, but it has left a child, whose
    pid is new. So after the first look through /proc the newcomers are looked at, the newest first,
    until a look stops nobody and misses nobody.
    """
    seen = {os.getpid()}
    stopped: list[int] = []
    settled = False
    while not settled and time.monotonic() < deadline:
        newcomers = [pid for pid in _pids() if pid not in seen]
        seen.update(newcomers)
        settled = True
        for pid in reversed(newcomers):
            try:
                if not _send(pid, signal.SIGSTOP, wanted):
                    continue
                stopped.append(pid)
            except (FileNotFoundError, ProcessLookupError):
                pass
            settled = False
    return stopped


def _send(pid: int, number: int, wanted: Wanted) -> bool:
    """Send a signal if the process carries a mark that is wanted; whether it was sent.

    Raises FileNotFoundError or ProcessLookupError when it is gone, or a zombie with such a mark.
    """
    try:
        if not _is_marked(pid, wanted):
            return False
        with _pidfd(pid) as fd:
            # Asked again, for the pid may have been recycled before it was opened.
            if not _is_marked(pid, wanted):
                return False
            if _is_zombie(pid):
                raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
            signal.pidfd_send_signal(fd, number)
    except PermissionError:  # another user's, or hidden by /proc's hidepid=1
        return False
    return True


def _kill_tree(pid: int, belongs: Callable[[], bool], killed: set[int], depth: int = 0) -> None:
    """Stop `pid`, kill what is below it, then kill it too, if it `belongs`.

    That is asked after a pidfd was opened. If the pid was recycled before, the answer is about the
    process that will be hit; if after, the signal goes to one that is gone. So no stranger is hit.
    """
    with contextlib.suppress(ProcessLookupError, FileNotFoundError), _pidfd(pid) as fd:
        if not belongs():
            return
        with contextlib.suppress(PermissionError):
            signal.pidfd_send_signal(fd, signal.SIGSTOP)
        for child in children(pid) if depth < MAX_DEPTH else ():
            if child not in killed:
                is_child = functools.partial(_is_child, child, pid, fd)
                _kill_tree(child, is_child, killed, depth + 1)
        killed.add(pid)
        with contextlib.suppress(PermissionError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)


def _is_child(pid: int, parent: int, parent_fd: int) -> bool:
    """Whether a process is a child of another, whose pid is its own while its pidfd is good."""
    return _parent(pid) == parent and _exists(parent_fd)


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int]:
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        os.close(fd)


def _exists(pidfd: int) -> bool:
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


# ---- reading /proc -------------------------------------------------------------------------------


def _pids() -> list[int]:
    """All processes, by their pids in rising order."""
    return [int(name) for name in _listing("/proc") if name.isdecimal()]


def _listing(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def _is_marked(pid: int, wanted: Wanted) -> bool:
    limits = _limits(pid)
    return limits is not None and (wanted(limits[0]) or wanted(limits[1]))


def _limits(pid: int) -> tuple[int, int] | None:
    """The soft and hard RLIMIT_RTTIME of a process, -1 for unlimited; None when not shown."""
    text = _read(f"/proc/{pid}/limits")
    start = text.find(ROW)
    if start < 0:
        return None
    soft, hard, _ = text[start + len(ROW) :].split(None, 2)
    return _number(soft), _number(hard)


def _number(text: bytes) -> int:
    return -1 if text == b"unlimited" else int(text)


def _stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the state (number 3) on; empty when the process is gone."""
    try:
        return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else -1


def _is_zombie(pid: int) -> bool:
    """Whether nothing of the process runs; a leader may be gone while other threads go on."""
    fields = _stat(pid)
    return not fields or (fields[0] in (b"Z", b"X") and int(fields[17]) <= 1)


@functools.cache
def _kernel_lists_children() -> bool:
    """Whether the kernel was built with CONFIG_PROC_CHILDREN, as distributions do."""
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return b"".join(iter(lambda: os.read(fd, 16384), b""))
    finally:
        os.close(fd)
