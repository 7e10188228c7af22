"""Workers for sandboxes: made when they are needed, kept for a while, and never too many.

A sandbox shows what was at its plan's paths when it was made. Where something else is by now, by
its inode or by a mount, a request gets another one.
"""

from __future__ import annotations

import select
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import anyio
from anyio.abc import TaskGroup
from anyio.to_thread import run_sync

from execnode.environment.local.confined.breeder import Breeder
from execnode.environment.local.confined.link import Link
from execnode.policy import look
from execnode.policy.plan import NO_NETWORK, Plan
from execnode.protocol.errors import INTERNAL_ERROR, RpcError, invalid_request
from execnode.protocol.sandbox import SandboxReport

__all__ = ["SandboxSettings", "Sandboxes"]

_T = TypeVar("_T")
_Identities: TypeAlias = tuple[tuple[int, int], ...]
_Key: TypeAlias = tuple[Plan, _Identities, int]


@dataclass(frozen=True, slots=True)
class SandboxSettings:
    """What confined processes may take.

    workers: how many sandboxes there are at once; one that has nothing to do makes room.
    threads: that work at the same time in each.
    idle: seconds that a sandbox is kept with nothing to do. idle_missing: the same for one that
        keeps names from being made, since what does so is seen by others.
    accept_missing: protections whose loss is accepted (--accept-missing of execnode-linux-sandbox).
    """

    workers: int = 16
    threads: int = 16
    idle: float = 30.0
    idle_missing: float = 1.0
    accept_missing: tuple[str, ...] = ()


class _Place:
    """A sandbox, from the decision to make it."""

    def __init__(self, threads: int) -> None:
        self.limiter = anyio.CapacityLimiter(threads)
        self.made = anyio.Event()
        self.link: Link | None = None
        self.report: SandboxReport | None = None
        self.error: RpcError | None = None

    @property
    def gone(self) -> bool:
        return self.made.is_set() and (self.link is None or self.link.closed)

    @property
    def free(self) -> bool:
        return self.made.is_set() and (self.link is None or not self.link.busy)


class _Mounts:
    """How often this machine's mounts have changed (proc(5), mountinfo)."""

    def __init__(self) -> None:
        self._file = Path("/proc/self/mountinfo").open("rb", buffering=0)  # noqa: SIM115
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLPRI)
        self._changes = 0

    def changes(self) -> int:
        self._changes += bool(self._poll.poll(0))
        return self._changes

    def close(self) -> None:
        self._file.close()


def _identities(plan: Plan) -> _Identities:
    """What is at the plan's paths."""
    return tuple(look.identity(rule.path) for rule in plan.rules)


class Sandboxes:
    """All sandboxes of a node. Made by `Sandboxes.open`."""

    def __init__(self, settings: SandboxSettings, tasks: TaskGroup, breeder: Breeder) -> None:
        self._settings = settings
        self._tasks = tasks
        self._breeder = breeder
        # The one that was used last is the last.
        self._places: dict[_Key, _Place] = {}
        self._mounts = _Mounts()

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: SandboxSettings) -> AsyncIterator[Sandboxes]:
        """None yet. On leaving, all are gone, with what they kept from being made."""
        breeder = Breeder()
        try:
            async with anyio.create_task_group() as tasks:
                sandboxes = cls(settings, tasks, breeder)
                try:
                    yield sandboxes
                finally:
                    sandboxes._mounts.close()
                    tasks.cancel_scope.cancel()
        finally:
            breeder.close()

    def hands(self, plan: Plan) -> _Hands:
        """Hands that can do what the plan allows to files; the network is none of their matter."""
        return _Hands(self, replace(plan, network=NO_NETWORK, cwd=None))

    async def place(self, plan: Plan) -> _Place:
        """A sandbox that was made. Raises RpcError when it cannot be."""
        identities = await run_sync(_identities, plan)
        key = (plan, identities, self._mounts.changes())
        place = self._places.pop(key, None)
        if place is None or place.gone:
            self._make_room()
            place = _Place(self._settings.threads)
            self._tasks.start_soon(self._run, key, place)
        self._places[key] = place
        await place.made.wait()
        if place.error is not None:
            raise place.error
        return place

    def _make_room(self) -> None:
        for key in [key for key, place in self._places.items() if place.gone]:
            del self._places[key]
        if len(self._places) < self._settings.workers:
            return
        for key, place in self._places.items():
            if place.free:
                if place.link is not None:
                    place.link.close()
                del self._places[key]
                return
        raise invalid_request(
            f"all of the {self._settings.workers} sandboxes that there may be at once are in use"
        )

    async def _run(self, key: _Key, place: _Place) -> None:
        plan, settings = key[0], self._settings
        options = [*plan.helper_options(), b"--cwd", b"/"]
        for name in settings.accept_missing:
            options += [b"--accept-missing", name.encode()]
        try:
            try:
                socket, told = await self._breeder.breed(options)
                place.report = SandboxReport(told.way, list(told.lost))
                idle = settings.idle_missing if plan.missing else settings.idle
                place.link = Link(socket, idle)
            except RpcError as error:
                place.error = error
            except BaseException:
                place.error = RpcError(INTERNAL_ERROR, "the node is shutting down")
                raise
            finally:
                place.made.set()
            if place.link is not None:
                await place.link.run()
        finally:
            if self._places.get(key) is place:
                del self._places[key]


class _Hands:
    """Hands in the sandbox of a plan. See files/worker.py; what has begun is always ended there."""

    def __init__(self, sandboxes: Sandboxes, plan: Plan) -> None:
        self.report: SandboxReport | None = None
        self._sandboxes = sandboxes
        self._plan = plan

    async def change(self, work: Callable[..., _T], *args: object) -> _T:
        """See Hands."""
        while True:
            place = await self._sandboxes.place(self._plan)
            async with place.limiter:
                if not place.gone:
                    return await self._call(place, work, args)

    async def look(self, work: Callable[..., _T], *args: object) -> _T:
        """See Hands."""
        return await self.change(work, *args)

    async def keep(self, work: Callable[..., _T], *args: object) -> _T:
        """See Hands."""
        while True:
            place = await self._sandboxes.place(self._plan)
            if not place.gone:
                return await self._call(place, work, args)

    async def _call(self, place: _Place, work: Callable[..., _T], args: Any) -> _T:
        assert place.link is not None
        self.report = place.report
        result: _T = await place.link.call(work, *args)
        return result
