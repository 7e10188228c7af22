"""The placeholders of a node's sandboxes: none stays behind, however a sandbox or the node ends.

A name that must not come into being in a sandbox is kept from it by a placeholder
(_seccomp/missing.h), which the sandbox's keeper removes at the end. But who ends a whole tree ends
the keeper too. So the node sweeps when a sandbox is gone, and the guardian when the node is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

from execnode.engine._pty import sweep_placeholder

if TYPE_CHECKING:
    from execnode.engine.guardian import Guardian

__all__ = ["Placeholders"]


class Placeholders:
    """The names that the living sandboxes of one node keep missing. Not for several threads."""

    def __init__(self) -> None:
        self._users: Counter[bytes] = Counter()
        self._unused: set[bytes] = set()  # to be removed
        self._guardian: Guardian | None = None

    def guarded_by(self, guardian: Guardian | None) -> None:
        """Tell a guardian, which may be a new one, of what there is and of what will come."""
        self._guardian = guardian
        if guardian:
            for path in {*self._users, *self._unused}:
                guardian.watch_placeholder(path)

    def hold(self, paths: Collection[bytes]) -> None:
        """Call it before a sandbox starts that keeps these absolute paths missing."""
        for path in paths:
            if self._guardian and path not in self._users and path not in self._unused:
                self._guardian.watch_placeholder(path)
            self._unused.discard(path)
            self._users[path] += 1

    def release(self, paths: Collection[bytes]) -> None:
        """Call it when that sandbox has ended; removes what no other one needs.

        What is still held is left to `sweep`: by processes that are just dying (the kernel may give
        up their locks some milliseconds later), or by a sandbox of somebody else.
        """
        for path in paths:
            self._users[path] -= 1
            if self._users[path] <= 0:
                del self._users[path]
                self._unused.add(path)
        self.sweep()

    def sweep(self) -> bool:
        """Try again to remove what could not be removed; True when nothing is left to do.

        Call it from time to time, and before the node ends.
        """
        for path in [path for path in self._unused if sweep_placeholder(path)]:
            self._unused.remove(path)
            if self._guardian:
                self._guardian.forget_placeholder(path)
        return not self._unused
