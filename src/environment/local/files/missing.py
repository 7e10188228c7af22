"""fs/watchMissing: tell once when what is missing appears; ways.py says how that is noticed."""

from __future__ import annotations

from collections.abc import Callable

from execnode.environment.local.files.inotify import Inotify
from execnode.environment.local.files.watching import IGNORED
from execnode.environment.local.files.ways import watch_ways
from execnode.environment.local.files.worker import Hands

__all__ = ["MissingWatch"]


class MissingWatch:
    """One watch: `arm` it, then `begin`; `alarm` is called once."""

    def __init__(
        self, source: Inotify, alarm: Callable[[MissingWatch], None], watch_id: int
    ) -> None:
        self.id = watch_id
        self._inotify = source
        self._alarm = alarm
        self._names: dict[int, set[bytes]] = {}
        self._masks: dict[int, int] = {}
        self._begun = False
        self._changed = False
        self._closed = False

    async def arm(self, hands: Hands, missing: list[bytes], present: bytes | None) -> bool:
        """Watch; False when that is not possible, or something is not as the client thinks."""
        with self._inotify.adding() as instance:
            added = await hands.change(watch_ways, instance, missing, present)
            for watch, mask, names in added.watches:
                self._masks[watch] = self._masks.get(watch, 0) | mask
                self._names.setdefault(watch, set()).update(names)
            for watch, mask in self._masks.items():
                self._inotify.listen(self, watch, mask)
        if self._closed:
            self.close()
        return added.armed

    def begin(self) -> bool:
        """Tell from now on. False when something has changed already."""
        self._begun = True
        return not (self._changed or self._closed)

    def event(self, watch: int, mask: int, name: bytes) -> None:
        """See inotify.Listener."""
        if not mask & (self._masks.get(watch, 0) | IGNORED):
            return
        if name and name not in self._names.get(watch, ()):
            return
        self.overflow()

    def overflow(self) -> None:
        """See inotify.Listener: a false alarm is harmless."""
        if self._begun and not self._closed:
            self._alarm(self)
        self._changed = True

    def close(self) -> None:
        """Watch no more."""
        self._closed = True
        for watch in list(self._masks):
            self._inotify.remove(self, watch)
