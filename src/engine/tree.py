"""Whole trees of processes: where each is put at its start, so that it can be ended as a whole.

Three ways, the best that can be had:

cgroup
    Each process starts in a cgroup of its own; nothing leads out of it (cgroup.py).
lineage
    Each process starts with a mark that its descendants inherit (lineage.py). A program that
    lowers its own RLIMIT_RTTIME and then orphans itself escapes.
group
    Neither can be had. What is left is the process group, and who descends from it by parentage.
"""

import errno
import os
import signal
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Final, Literal, Self, TypeVar

from execnode.engine import lineage
from execnode.engine.cgroup import Cgroup, CgroupPool, CgroupsUnavailable
from execnode.engine.controllers import Controllers, LimitName, oom_kills, set_limits
from execnode.engine.lineage import Lineage, LineageUnavailable

__all__ = ["Place", "Trees", "Way", "become_subreaper", "reap_adopted"]

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

Way = Literal["cgroup", "lineage", "group"]

T = TypeVar("T")

_NO_LIMITS: Final[Mapping[LimitName, float]] = MappingProxyType({})


@dataclass(slots=True, eq=False)
class Place:
    """Where one process is put: what the spawn has to be told.

    way: how it will be ended.
    lineage: the mark, 0 for none.
    rlimit_rttime: the soft and hard RLIMIT_RTTIME to start it with, None to leave it alone. A
        limit that the caller wants for the process may replace the soft one.
    memory_limited: all in it may have so much memory together and no more.
    """

    way: Way
    lineage: int = 0
    rlimit_rttime: tuple[int, int] | None = None
    memory_limited: bool = False
    _cgroup: Cgroup | None = field(default=None, repr=False)
    _killed: bool = field(default=False, repr=False)

    @property
    def cgroup_fd(self) -> int:
        """The folder of the cgroup for CLONE_INTO_CGROUP, -1 for none; stays the pool's."""
        return self._cgroup.fd if self._cgroup else -1

    @property
    def out_of_memory(self) -> bool:
        """Whether something in it was killed since it would have had too much memory."""
        return self.memory_limited and self._cgroup is not None and oom_kills(self._cgroup.fd) > 0


class Trees:
    """The trees of one node: makes places, ends what is in them.

    Not safe for use by several threads at once.
    """

    def __init__(
        self,
        pool: CgroupPool | None,
        marks: Lineage | None,
        reason: str,
        own_pids: Callable[[], Collection[int]] | None,
    ) -> None:
        self.reason = reason
        self._pool = pool
        self._cgroups = pool is not None  # for new places
        self._marks = marks
        self._own_pids = own_pids
        self._spared: set[int] = set()
        self._pid = os.getpid()
        self._reserve = _Reserve()

    @classmethod
    def open(
        cls, own_pids: Callable[[], Collection[int]] | None = None, *, cgroups: bool = True
    ) -> Self:
        """Find the best way that can be had here.

        own_pids: gives the pids of the children that somebody waits for. With it this process
            becomes the subreaper of its descendants: orphans come to it, `reap` buries them, and
            `release` can tell whether a process left any. Not for a process that has other
            children which nobody named.
        cgroups: False does without them.
        """
        if own_pids is not None:
            become_subreaper()
        pool, marks = None, None
        reasons = [] if cgroups else ["no cgroup: not wanted"]
        try:
            pool = CgroupPool.open() if cgroups else None
        except CgroupsUnavailable as error:
            reasons.append(f"no cgroup: {error}")
        try:
            marks = Lineage.open()
        except LineageUnavailable as error:
            reasons.append(f"no lineage: {error}")
        return cls(pool, marks, "; ".join(reasons), own_pids)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def way(self) -> Way:
        """How a process that is started now will be ended; `reason` says why not a better way."""
        if self._cgroups:
            return "cgroup"
        return "lineage" if self._marks else "group"

    def disable_cgroups(self, reason: str) -> None:
        """Do without cgroups from now on, because a start into one was refused.

        Places that were handed out before stay as they are.
        """
        self._cgroups = False
        self.reason = f"no cgroup: {reason}"

    def lacks(self, limits: Collection[LimitName]) -> dict[LimitName, str]:
        """Those limits on a whole tree that cannot be had, each with the reason."""
        if not limits:
            return {}
        if not self._cgroups or not self._pool:
            return dict.fromkeys(limits, self.reason or "it uses no cgroups")
        return Controllers(self._pool.path).lacks(limits)

    def place(self, limits: Mapping[LimitName, float] = _NO_LIMITS) -> Place:
        """A place for one process; `release` it whether or not the start succeeds.

        limits: of all in it together, as controllers.py has them; to be asked for with `lacks`
            before.

        Raises OSError: EMFILE, ENFILE when there is no descriptor left; with limits, any other.
        """
        if self._cgroups and self._pool:
            try:
                leaf = self._pool.acquire()
                place = Place("cgroup", memory_limited="memory" in limits, _cgroup=leaf)
                if limits:
                    self._limit(place, leaf, limits)
                return place
            except OSError as error:
                if limits or error.errno in (errno.EMFILE, errno.ENFILE):
                    raise
                # The number of cgroups is limited here: the next best will do for this process.
        if self._marks:
            mark = self._marks.new_mark()
            return Place("lineage", mark, self._marks.rlimit(mark))
        return Place("group")

    def _limit(self, place: Place, leaf: Cgroup, limits: Mapping[LimitName, float]) -> None:
        leaf.limited = True
        try:
            set_limits(leaf.fd, limits)
        except OSError:
            self.release(place)
            raise

    def kill(self, place: Place, root: int = 0) -> Way:
        """Send SIGKILL to the whole tree in a place, and say which way was used.

        root: pid of the process that was started there, if nobody has waited for it yet, else 0.
            It and what descends from it by parentage is killed too, marked or not.

        The processes need not be dead on return, but none of them forks again.
        """
        self.kill_all([place], [root] if root else [])
        return place.way

    def kill_all(self, places: Iterable[Place], roots: Collection[int] = ()) -> None:
        """As `kill`, for many places at the price of one look through /proc.

        roots: the pids of those processes in these places that nobody has waited for yet.
        """
        marks = set()
        for place in places:
            place._killed = True
            if place._cgroup:
                self._surely(partial(self._leaves.kill, place._cgroup))
            elif place.lineage:
                marks.add(place.lineage)
        if marks:
            self._surely(partial(lineage.kill_marked, marks.__contains__, roots))
            return
        for root in roots if self.way == "group" else ():
            self._surely(partial(lineage.kill_below, root))
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(root, signal.SIGKILL)

    def signal(self, place: Place, number: int) -> int:
        """Send a signal to all processes in a place, and say to how many.

        What is forked meanwhile may be missed. Without cgroup and lineage nobody is found.
        """
        if place._cgroup:
            return self._surely(partial(self._leaves.signal, place._cgroup, number))
        if place.lineage:
            return self._surely(partial(lineage.signal_marked, place.lineage.__eq__, number))
        return 0

    def pids(self, place: Place) -> list[int]:
        """The living processes in a place, those that left its group and session included."""
        if place._cgroup:
            return self._surely(partial(self._leaves.pids, place._cgroup))
        if place.lineage:
            return self._surely(partial(lineage.marked, place.lineage.__eq__))
        return []

    def alive(self, place: Place) -> bool:
        """Whether anything lives in a place. By lineage this looks through all of /proc."""
        if place._cgroup:
            return self._surely(partial(self._leaves.populated, place._cgroup))
        return bool(self.pids(place))

    def release(self, place: Place) -> bool:
        """Give a place back when its process has been waited for, or could not be started.

        True when that is done. False when the process left something running: the place stays the
        caller's, to be released again later or after a `kill`, when the answer is always True.

        By lineage, what a process left is an orphan that came to this process as its subreaper;
        only these are looked at. If it is no subreaper the answer is True, and what is left over
        ends with the node.
        """
        if place._cgroup:
            done = self._surely(partial(self._leaves.release, place._cgroup))
            place._cgroup = None if done else place._cgroup
            return done
        if place._killed or not place.lineage or self._own_pids is None:
            return True
        return not self._surely(lambda: lineage.marked(place.lineage.__eq__, among=self._adopted()))

    def reap(self) -> int:
        """Wait for the orphans that came here and ended; how many. See `reap_adopted`."""
        if self._own_pids is None:
            return 0
        return reap_adopted(self._own_pids(), spared=self._spared)

    def spare(self, pid: int) -> None:
        """Leave a child alone that is neither the node's work nor an orphan: the guardian."""
        self._spared.add(pid)

    def guardian_arguments(self) -> list[str]:
        """What the guardian has to know to end all this when the node is gone."""
        arguments = []
        if self._pool:
            arguments += ["--cgroup", str(self._pool.path)]
        if self._marks:
            arguments += ["--lineage", str(self._marks.low), str(self._marks.high)]
        return arguments

    def close(self, *, kill: bool = True) -> bool:
        """End everything in all places, and what was orphaned to this process; remove the cgroups.

        kill: False lets live what lives.

        True when nothing is left in the cgroups. Blocks, for two seconds at most for each way. In
        a fork of the process that opened it, this does nothing.
        """
        if os.getpid() != self._pid:
            return True
        if kill:
            self._surely(self._kill_everything)
        done = True
        if self._pool:
            done = self._surely(partial(self._pool.close, kill=kill))
        self._pool, self._cgroups = None, False
        self.reap()
        self._reserve.release()
        return done

    def _kill_everything(self) -> None:
        orphans = self._adopted()
        if self._marks and self._marks.in_use:
            lineage.kill_marked(self._marks.__contains__, orphans)
        else:
            for pid in orphans:
                lineage.kill_below(pid)

    def _adopted(self) -> set[int]:
        """The children that nobody waits for: orphans, if this process is the subreaper."""
        if self._own_pids is None:
            return set()
        return set(lineage.children(os.getpid())) - self._spared - set(self._own_pids())

    @property
    def _leaves(self) -> CgroupPool:
        if self._pool is None:
            raise ValueError("the trees are closed")
        return self._pool

    def _surely(self, act: Callable[[], T]) -> T:
        """Do what can be repeated; if the process is out of descriptors, with those put by."""
        try:
            return act()
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
        self._reserve.release()
        try:
            return act()
        finally:
            self._reserve.fill()


class _Reserve:
    """A few descriptors put by, so that a node which has used up its own can still end a tree."""

    SIZE = 4  # a pidfd, the parent's pidfd, a folder and a file in it

    def __init__(self) -> None:
        self._fds: list[int] = []
        self.fill()

    def fill(self) -> None:
        with suppress(OSError):  # another time, then
            while len(self._fds) < self.SIZE:
                self._fds.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))

    def release(self) -> None:
        while self._fds:
            os.close(self._fds.pop())


def become_subreaper() -> None:
    """Let orphaned descendants become children of this process, not of init; see prctl(2).

    Raises OSError.
    """
    import ctypes  # takes longer than the rest of this module, and only a server wants it

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def reap_adopted(own_pids: Collection[int], spared: Collection[int] = ()) -> int:
    """Wait for zombies that are children of this process and that nobody else waits for.

    own_pids, spared: the children to leave alone, dead or alive.

    How many were buried. Costs one system call when no child is a zombie.
    """
    with suppress(ChildProcessError):
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return 0
    count = 0
    for pid in lineage.children(os.getpid()):
        if pid in own_pids or pid in spared:
            continue
        with suppress(ChildProcessError):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG):
                count += 1
    return count
