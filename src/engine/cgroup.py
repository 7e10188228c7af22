"""Cgroups (version 2) for processes: one leaf each, so that one write kills a whole tree.

A process started into a leaf by clone3(2) with `CLONE_INTO_CGROUP` is in it from its first
instruction, and so is whatever it forks: neither setsid(2) nor a double fork leads out. Writing `1`
to the leaf's `cgroup.kill` then kills all of it, forks in progress included (cgroups(7) and the
kernel's Documentation/admin-guide/cgroup-v2.rst).

    OWN/                      the cgroup that this process is in
      execnode-PID-RANDOM/    made by `CgroupPool.open`, locked with flock(2) while the pool is open
        1/ 2/ 3/ ...          leaves, one for each process, used again when empty

No controller is switched on unless a limit is wanted (controllers.py), so the rule against
processes in inner cgroups does not apply.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import select
import signal
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

__all__ = ["Cgroup", "CgroupPool", "CgroupsUnavailable"]

PREFIX = "execnode-"
POPULATED, THAWED = b"populated 1", b"frozen 0"  # lines of cgroup.events
DENIED = (errno.EACCES, errno.EPERM)
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class CgroupsUnavailable(Exception):
    """No cgroup can be made here; the text says why."""


@dataclass(slots=True, eq=False)
class Cgroup:
    """A leaf that was handed out.

    `fd` is a close-on-exec descriptor of the folder, for `CLONE_INTO_CGROUP`; it belongs to the
    pool and is good until the leaf is released.
    """

    fd: int
    path: Path
    events_fd: int = field(default=-1, repr=False)  # its cgroup.events, kept open to be asked often
    killed: bool = field(default=False, repr=False)
    limited: bool = field(default=False, repr=False)


class CgroupPool:
    """Leaf cgroups below the cgroup of this process, made as needed and used again.

    Not safe for use by several threads at once.
    """

    def __init__(self, fd: int, path: Path, max_free: int) -> None:
        self.path = path
        self._fd = fd
        self._max_free = max_free
        self._count = 0
        self._leaves: set[Cgroup] = set()  # all that are open
        self._free: list[Cgroup] = []
        self._dying: deque[Cgroup] = deque()  # given back, some process still on its way out

    @classmethod
    def open(cls, max_free: int = 64) -> Self:
        """A pool whose leaves can be made, killed and started into, as far as can be tried here.

        max_free: how many empty leaves are kept for use again.

        Raises CgroupsUnavailable with the reason. A kernel or a filter that refuses
        `CLONE_INTO_CGROUP` itself shows only when a process is started.
        """
        try:
            mountinfo, membership = (
                Path("/proc/self", name).read_text(errors="surrogateescape")
                for name in ("mountinfo", "cgroup")
            )
        except OSError as error:
            raise CgroupsUnavailable(f"{error.filename}: {error.strerror}") from None
        reasons = []
        for own in own_folders(mountinfo, membership):
            try:
                return cls._open_in(own, max_free)
            except OSError as error:
                hint = " (a service needs Delegate=yes)" if error.errno in DENIED else ""
                reasons.append(f"{error.filename or own}: {error.strerror}{hint}")
        raise CgroupsUnavailable("; ".join(reasons) or "no cgroup v2 is mounted")

    @classmethod
    def _open_in(cls, own: Path, max_free: int) -> Self:
        # To start a process into a leaf, the kernel wants leave to write where both folders meet.
        os.close(os.open(own / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
        _remove_stale(own)
        pool = cls(*_make_locked(own), max_free)
        try:
            kind = (pool.path / "cgroup.type").read_text().strip()
            if kind != "domain":
                raise OSError(errno.EOPNOTSUPP, f"its cgroups are of type '{kind}'", str(own))
            pool.release(pool.acquire())
        except BaseException:
            pool.close()
            raise
        return pool

    def acquire(self) -> Cgroup:
        """An empty leaf.

        Raises OSError: EAGAIN at cgroup.max.descendants, EMFILE, ENOSPC and what mkdir(2) may say.
        """
        if not self._free:
            self._reclaim()
        if self._free:
            return self._free.pop()
        self._count += 1
        path = self.path / str(self._count)
        path.mkdir()
        fd = -1
        try:
            fd = os.open(path, FOLDER)
            events_fd = os.open("cgroup.events", os.O_RDONLY | os.O_CLOEXEC, dir_fd=fd)
        except OSError:
            if fd >= 0:
                os.close(fd)
            path.rmdir()
            raise
        leaf = Cgroup(fd, path, events_fd)
        self._leaves.add(leaf)
        return leaf

    def release(self, leaf: Cgroup) -> bool:
        """Give a leaf back. True when that is done, False when something still lives in it.

        After False the leaf stays the caller's: kill it or wait, and release it again. A leaf that
        was killed is always taken back, and removed once the last process in it is gone.
        """
        events = _events(leaf)
        if POPULATED not in events:
            self._recycle(leaf, events)
            return True
        # A process on its last steps may still count, but is no longer listed.
        if not leaf.killed and self.pids(leaf):
            return False
        self._dying.append(leaf)
        return True

    def kill(self, leaf: Cgroup) -> None:
        """Send SIGKILL to everything in the leaf and below it. It need not be dead on return."""
        leaf.killed = True
        try:
            _write(leaf.fd, "cgroup.kill", b"1")
        except FileNotFoundError:  # Linux before 5.14
            self._kill_one_by_one(leaf)
        except OSError as error:
            if error.errno != errno.ENODEV:  # the folder was removed, so it was empty
                raise

    def signal(self, leaf: Cgroup, number: int) -> int:
        """Send a signal to everything in the leaf and below it, parents first; to how many.

        What is forked meanwhile may be missed.
        """
        count = 0
        for pid in sorted(self.pids(leaf)):
            with contextlib.suppress(ProcessLookupError, FileNotFoundError, PermissionError):
                fd = os.pidfd_open(pid)
                try:
                    # Asked after the pidfd was opened: a recycled pid is never hit.
                    if self._holds(leaf, pid):
                        signal.pidfd_send_signal(fd, number)
                        count += 1
                finally:
                    os.close(fd)
        return count

    def populated(self, leaf: Cgroup) -> bool:
        """Whether anything lives in the leaf or below it; zombies do not count."""
        return POPULATED in _events(leaf)

    def pids(self, leaf: Cgroup) -> list[int]:
        """The processes in the leaf and below it, as far as this PID namespace can name them."""
        text = b""
        for _, _, _, fd in os.fwalk(".", dir_fd=leaf.fd):
            try:
                text += _read(fd, "cgroup.procs")
            except OSError as error:
                # Removed meanwhile, or part of a threaded cgroup and listed further up.
                if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                    raise
        return [pid for pid in map(int, text.split()) if pid > 0]

    def close(self, *, kill: bool = True, patience: float = 2.0) -> bool:
        """Kill everything in the pool's cgroups, wait for it, and remove the folders.

        kill: False leaves what lives, and its folders, alone.
        patience: seconds to wait at most for the killed to be gone.

        True when nothing is left. Blocks; the pool can only be closed again afterwards.
        """
        if self._fd < 0:
            return not self.path.exists()
        if kill:
            self._kill_all(time.monotonic() + patience)
        _remove_tree(self.path)
        for leaf in self._leaves:
            _close(leaf)
        self._leaves.clear()
        self._free.clear()
        self._dying.clear()
        os.close(self._fd)
        self._fd = -1
        return not self.path.exists()

    def _kill_all(self, deadline: float) -> None:
        whole = Cgroup(self._fd, self.path)
        events = os.open("cgroup.events", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._fd)
        try:
            poll = select.poll()
            poll.register(events, select.POLLPRI)  # cgroup.events changed since it was last read
            while POPULATED in os.pread(events, 256, 0):
                self.kill(whole)
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                poll.poll(left * 1000)
        finally:
            os.close(events)

    def _holds(self, leaf: Cgroup, pid: int) -> bool:
        """Whether a process is in a leaf or below it, by /proc/PID/cgroup."""
        line = Path(f"/proc/{pid}/cgroup").read_text().rpartition("0::")[2].strip()
        where = f"/{self.path.name}/{leaf.path.name}"
        return line.endswith(where) or f"{where}/" in line

    def _reclaim(self) -> None:
        """Look at a few leaves that were not yet empty when they were given back."""
        for _ in range(min(4, len(self._dying))):
            leaf = self._dying.popleft()
            events = _events(leaf)
            if POPULATED in events:
                self._dying.append(leaf)
            else:
                self._recycle(leaf, events)

    def _recycle(self, leaf: Cgroup, events: bytes) -> None:
        """Keep an empty leaf for use again, unless a program froze it or made cgroups in it.

        Nor one that has limits.

        Nor one that was killed: what is started into it later would be killed, too, by kernels that
        compare its count of kills with that of the cgroup of whoever starts it (Linux 6.18 does).
        """
        used_up = leaf.killed or leaf.limited
        as_new = not used_up and THAWED in events and os.fstat(leaf.fd).st_nlink == 2
        if as_new and len(self._free) < self._max_free:
            self._free.append(leaf)
            return
        self._leaves.discard(leaf)
        _close(leaf)
        _remove_tree(leaf.path)

    def _kill_one_by_one(self, leaf: Cgroup) -> None:
        """What cgroup.kill does, by hand: freeze, so that nothing forks, and kill what is listed.

        A frozen process still dies by SIGKILL. What the freezer cannot stop soon is met by another
        round; a process in an uninterruptible wait may be left to die later.
        """
        _write_if_there(leaf.fd, "cgroup.freeze", b"1")
        for _ in range(100):
            if not self.signal(leaf, signal.SIGKILL):
                break
            time.sleep(0.001)
        _write_if_there(leaf.fd, "cgroup.freeze", b"0")


def own_folders(mountinfo: str, membership: str) -> Iterator[Path]:
    """Where the cgroup of this process may be reached, from the texts of mountinfo and cgroup.

    Several mounts may show it (unified, hybrid, a container's). Both texts come from
    /proc/self; proc_pid_mountinfo(5) and cgroups(7) describe them.
    """
    own = re.search(r"^0::(/.*)$", membership, re.MULTILINE)
    if own is None:
        return
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        if rest.split(" ", 1)[0] != "cgroup2":
            continue
        root, mount_point = (_unescape(text) for text in fields.split(" ")[3:5])
        path = own[1].removesuffix(" (deleted)")
        inside = path.removeprefix(root.rstrip("/")) if _is_below(path, root) else None
        if inside is not None and ".." not in inside.split("/"):
            yield Path(mount_point + inside)


def _is_below(path: str, root: str) -> bool:
    return root == "/" or path == root or path.startswith(root + "/")


def _unescape(text: str) -> str:
    r"""Undo the kernel's escapes of space, tab, newline and backslash, as in `\040`."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _make_locked(own: Path) -> tuple[int, Path]:
    while True:
        path = own / f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        path.mkdir(mode=0o755)
        fd = os.open(path, FOLDER)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if path.exists():  # another node may have swept it away before it was locked
            return fd, path
        os.close(fd)


def _remove_stale(own: Path) -> None:
    """Remove the empty folders of nodes that are gone; whoever lives holds the lock on its own."""
    for path in own.glob(PREFIX + "*"):
        with contextlib.suppress(OSError):
            fd = os.open(path, FOLDER)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if POPULATED not in _read_events(fd):
                    _remove_tree(path)
            finally:
                os.close(fd)


def _remove_tree(path: Path) -> None:
    """Remove what is empty of a cgroup and those below it; the files in them are no obstacle."""
    for folder, _, _ in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def _close(leaf: Cgroup) -> None:
    os.close(leaf.fd)
    os.close(leaf.events_fd)


def _events(leaf: Cgroup) -> bytes:
    """cgroup.events of a leaf, empty when the cgroup was removed."""
    try:
        return os.pread(leaf.events_fd, 256, 0)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return b""
        raise


def _read_events(folder: int) -> bytes:
    """cgroup.events, empty when the cgroup was removed."""
    try:
        return _read(folder, "cgroup.events")
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return b""
        raise


def _read(folder: int, name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        return b"".join(iter(lambda: os.read(fd, 65536), b""))
    finally:
        os.close(fd)


def _write(folder: int, name: str, data: bytes) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def _write_if_there(folder: int, name: str, data: bytes) -> None:
    with contextlib.suppress(FileNotFoundError):
        _write(folder, name, data)
