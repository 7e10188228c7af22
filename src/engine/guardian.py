"""The guardian: a process of a few pages that ends what the node started when the node is gone.

A node that is killed by SIGKILL can do nothing any more. Its direct children have a parent-death
signal; what these started is ended by `execnode-guardian` (_seccomp/guardian.c), which waits for
end-of-file on a pipe whose other end only the node holds.
"""

import os
import select
import signal
from contextlib import suppress
from pathlib import Path
from typing import Self

from execnode.engine.programs import HELPER
from execnode.engine.tree import Trees

__all__ = ["Guardian"]

PATIENCE_MS = 250


class Guardian:
    """A running guardian, a child of this process; its `pid` is spared by the trees' reaping."""

    def __init__(self, pid: int, pidfd: int, pipe: int) -> None:
        self.pid = pid
        self._pidfd = pidfd
        self._pipe = pipe
        self._owner = os.getpid()

    @classmethod
    def start(cls, trees: Trees, helper: Path = HELPER) -> Self | None:
        """Start a guardian of these trees. None when neither cgroup nor lineage can be had.

        Raises OSError when the helper is missing or there is no process or descriptor left.
        """
        arguments = trees.guardian_arguments()
        if not arguments:
            return None
        ours, pipe = -1, -1
        try:
            ours, pipe = os.pipe()  # close-on-exec, so that nothing but this process keeps it open
            os.set_blocking(pipe, False)  # that end only
            pid = os.posix_spawn(
                helper,
                ["execnode-guardian", *arguments],
                {},
                file_actions=[(os.POSIX_SPAWN_DUP2, ours, 0)],
                # A Ctrl-C at the terminal must not end it before it has left the group.
                setsigmask=[signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP],
            )
        except BaseException:
            if pipe >= 0:
                os.close(pipe)
            raise
        finally:
            if ours >= 0:
                os.close(ours)
        trees.spare(pid)
        return cls(pid, os.pidfd_open(pid), pipe)

    def watch_placeholder(self, path: bytes) -> None:
        """Have a sandbox's placeholder removed when the node is gone; see placeholders.py."""
        self._tell(b"+" + path + b"\0")

    def forget_placeholder(self, path: bytes) -> None:
        """Leave it alone again."""
        self._tell(b"-" + path + b"\0")

    def _tell(self, word: bytes) -> None:
        """A guardian that is gone or does not listen, being stopped, is told nothing."""
        if self._pipe >= 0 and len(word) <= select.PIPE_BUF:  # whole, or not at all
            with suppress(BrokenPipeError, BlockingIOError):
                os.write(self._pipe, word)

    @property
    def alive(self) -> bool:
        """Whether the guardian still runs; if it does not, another one may be started."""
        return self._pidfd >= 0 and not _is_readable(self._pidfd, 0)

    def dismiss(self) -> None:
        """Send the guardian away without its doing anything, and wait for it.

        Call it last, when the trees are closed. In a fork of the process that started it, or a
        second time, it does nothing.
        """
        if os.getpid() != self._owner or self._pidfd < 0:
            return
        self._tell(b"q")
        os.close(self._pipe)
        if not _is_readable(self._pidfd, PATIENCE_MS):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)  # stopped, or starved: no matter
        with suppress(ChildProcessError):  # somebody waited for all children
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        os.close(self._pidfd)
        self._pidfd = self._pipe = -1


def _is_readable(fd: int, timeout_ms: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_ms))
