"""The exec service on this machine: starts processes, ends whole trees of them, keeps the finished.

What is alive and what is kept is known here; which client may see which process is not (server/).
"""

from __future__ import annotations

import secrets
import signal
import tempfile
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import anyio
from anyio.abc import TaskGroup

from execnode.engine import Engine
from execnode.engine.guardian import Guardian
from execnode.engine.placeholders import Placeholders
from execnode.engine.tree import Trees, Way
from execnode.environment.local.process import Audience, LocalProcess
from execnode.environment.local.pump import drive, pump
from execnode.environment.local.sandbox import Confinement, Sandboxes, confined
from execnode.environment.local.spawning import Spawner
from execnode.environment.local.start import ExecLimits, SpawnRequest, prepare
from execnode.environment.local.status import StatusPipe
from execnode.environment.local.trial import prove_cgroups
from execnode.protocol.errors import invalid_request
from execnode.protocol.processes import StartParams, TerminateResponse

__all__ = ["ExecSettings", "LocalExec"]

# Seconds between looks for what is left of finished processes: at most, and at least.
_HOUSEKEEPING: Final = 5.0
_SHORTEST: Final = 0.05
# Signals whose effect on a process it has no part in.
_UNSEEN: Final = frozenset({signal.SIGSTOP, signal.SIGCONT})
# Looks for what killed sandboxes have left, the last a second after the process has ended: others
# of those that were killed with it may still be on their way out.
_SWEEPS: Final = 10
# Seconds for killed processes and their output to come to their end, when the node ends.
_LAST_WORDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class ExecSettings:
    """How a node runs processes.

    memory, spill: bytes of output kept by all processes together, in memory and on disk.
    spill_dir: where output goes that memory does not hold (None: the temporary folder).
    cgroups: whether to use cgroups where they can be had.
    adopt: become the subreaper of all descendants; for a process that is nothing but a node.
    guard: start a guardian, so that nothing survives a SIGKILL of this process.
    keep: leave the processes alone when the node ends, however it ends.
    accept_missing: names of the protections that a sandbox may do without (sandbox.py).
    """

    limits: ExecLimits = field(default_factory=ExecLimits)
    memory: int = 1 << 30
    spill: int = 64 << 30
    spill_dir: str | None = None
    cgroups: bool = True
    adopt: bool = True
    guard: bool = True
    keep: bool = False
    accept_missing: tuple[str, ...] = ()


class LocalExec:
    """All processes of a node. Made by `LocalExec.open`.

    endings: how many processes have ended, by reason.
    """

    _tasks: TaskGroup

    def __init__(self, settings: ExecSettings, engine: Engine) -> None:
        self.settings = settings
        self.engine = engine
        self.accepting = True
        self.endings: Counter[str] = Counter()
        self._forgotten_output: Counter[str] = Counter()
        self._processes: dict[str, LocalProcess] = {}
        self._living: dict[int, LocalProcess] = {}
        self._ended: list[LocalProcess] = []
        self._leftovers: set[LocalProcess] = set()
        self._finished: deque[tuple[float, LocalProcess]] = deque()
        self._guardian: Guardian | None = None
        self._sandboxes = Sandboxes(settings.accept_missing)
        self._placeholders = Placeholders()
        self._trees = Trees.open(
            self._living.keys if settings.adopt else None, cgroups=settings.cgroups
        )
        self._spawner = Spawner(engine, self._trees, keep=settings.keep)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: ExecSettings) -> AsyncIterator[LocalExec]:
        """Run the service. On leaving, every process is ended and all of it is given back."""
        engine = Engine(
            memory_limit=settings.memory,
            spill_dir=settings.spill_dir or tempfile.gettempdir(),
            spill_limit=settings.spill,
        )
        try:
            service = cls(settings, engine)
            try:
                prove_cgroups(engine, service._trees)
                service._post_guardian()
                async with anyio.create_task_group() as service._tasks:
                    service._tasks.start_soon(partial(pump, engine, when_idle=service._bury))
                    service._tasks.start_soon(service._keep_house)
                    try:
                        yield service
                    finally:
                        service._tasks.cancel_scope.cancel()
            finally:
                service._close()
        finally:
            engine.close()

    # --- starting ---------------------------------------------------------------------------------

    def start(
        self, params: StartParams, shell: bytes, *, inherit: Sequence[int] = ()
    ) -> LocalProcess:
        """Start a process that asks for no sandbox. Raises RpcError; nothing is then left of it.

        inherit: descriptors, at most 64, that become 3, 4, ... in it; they stay the caller's.
        """
        if params.sandbox is not None:
            raise ValueError("a start with a sandbox is start_confined's")
        request = self._prepare(params, shell)
        return self._spawn(params, request, None, inherit)

    async def start_confined(
        self,
        params: StartParams,
        shell: bytes,
        *,
        inherit: Sequence[int] = (),
        own_world: bool = False,
    ) -> LocalProcess:
        """As `start`, with the sandbox that is asked for; None is none.

        own_world: in namespaces where they can be had, also if Landlock alone would do. So is what
            has a terminal: Landlock cannot tell a program's own ones from those of others.

        The log is protected from its beginning, until `release`. When it is cancelled, nothing is
        left of the process.
        """
        request = self._prepare(params, shell)
        confinement = None
        if params.sandbox is not None:
            confinement = await self._sandboxes.confinement(
                params.sandbox, request, own_world=own_world or params.tty
            )
            self._require_accepting()
            if confinement.way == "namespaces":
                return await self._start_by_helper(params, request, confinement, inherit)
            if confinement.way == "landlock" and confinement.plan.cwd is not None:
                request.cwd = confinement.plan.cwd
        process = self._spawn(params, request, confinement, inherit)
        process.hold(1)
        return process

    def _prepare(self, params: StartParams, shell: bytes) -> SpawnRequest:
        self._require_accepting()
        return prepare(params, self.settings.limits, shell)

    async def _start_by_helper(
        self,
        params: StartParams,
        request: SpawnRequest,
        confinement: Confinement,
        inherit: Sequence[int],
    ) -> LocalProcess:
        with StatusPipe() as status:
            number = 3 + len(inherit)
            helper = self._sandboxes.through_helper(request, confinement, len(inherit), number)
            missing = confinement.plan.missing
            self._placeholders.hold(missing)
            try:
                process = self._spawn(params, helper, confinement, [*inherit, status.writer])
            except BaseException:
                self._placeholders.release(missing)
                raise
            status.close_writer()
            process.starting = True
            process.hold(1)
            try:
                process.confinement = confined(await status.report(), request, confinement)
            except BaseException:
                self._drop(process)
                raise
            finally:
                process.starting = False
            return process

    def _spawn(
        self,
        params: StartParams,
        request: SpawnRequest,
        confinement: Confinement | None,
        inherit: Sequence[int],
    ) -> LocalProcess:
        if self._ended:
            self._bury()  # a place given back is one that need not be made
        spawned = self._spawner.spawn(request, confinement, inherit)
        ref = secrets.token_hex(4)
        while ref in self._processes:
            ref = secrets.token_hex(4)
        process = LocalProcess(ref, params, spawned, confinement)
        process.on_ended.append(self._ended.append)
        self._processes[ref] = process
        self._living[process.pid] = process
        if params.timeout_ms is not None:
            self._tasks.start_soon(self._time_out, process, params.timeout_ms)
        return process

    def _drop(self, process: LocalProcess) -> None:
        """End a process whose start has failed, or that nobody waits for; it never was."""
        process.unborn = process.abandoned = True
        process.release()
        if not process.closed:
            self._kill(process)

    def _require_accepting(self) -> None:
        if not self.accepting:
            raise invalid_request("the node is shutting down and starts nothing any more")

    def find(self, ref: str) -> LocalProcess | None:
        """The process with this node-wide name."""
        return self._processes.get(ref)

    def all(self) -> Iterable[LocalProcess]:
        """Every process, alive or kept, oldest first."""
        return self._processes.values()

    def output_bytes(self) -> Counter[str]:
        """Bytes of output of all processes there ever were, by stream."""
        total = Counter(self._forgotten_output)
        for process in self._processes.values():
            total.update(process.process.totals())
        return total

    # --- ending -----------------------------------------------------------------------------------

    def terminate(
        self, process: LocalProcess, grace_ms: int | None, *, leftovers: bool
    ) -> TerminateResponse:
        """End a process and all that descends from it: SIGKILL, after SIGTERM and a grace if asked.

        leftovers: also end what a process that has exited left behind.
        """
        if process.has_exited:
            if leftovers and self._trees.alive(process.place):
                return TerminateResponse(False, self._kill(process))
            return TerminateResponse(False)
        process.process.ended_by = "killed"
        if grace_ms is None:
            grace_ms = process.grace_ms
        if not grace_ms:
            return TerminateResponse(True, self._kill(process))
        self._tasks.start_soon(self._end_politely, process, grace_ms)
        return TerminateResponse(True, process.place.way)

    def signal(self, process: LocalProcess, number: int) -> None:
        """Signal a process group; nothing happens once its leader has exited.

        What stands for a program outside of its namespaces passes signals on, but for those that it
        cannot get: then all in the tree are stopped, and go on.
        """
        whole = number in _UNSEEN and process.in_namespaces and not process.has_exited
        if not (whole and self._trees.signal(process.place, number)):
            process.send_signal(number)

    def leftovers_of(self, starter: Audience) -> list[LocalProcess]:
        """Its finished processes, forgotten or not, that have left something running."""
        return [process for process in self._leftovers if process.started_by is starter]

    def abandon(self, processes: Iterable[LocalProcess]) -> None:
        """End processes that nobody may ask for any more, and forget them and what they left."""
        doomed = list(processes)
        living = [process for process in doomed if not process.has_exited]
        for process in living:
            process.process.ended_by = "killed"
        roots = [process.pid for process in living]
        self._bury()
        unreleased = [p.place for p in doomed if not p.closed or p in self._leftovers]
        if unreleased:
            self._trees.kill_all(unreleased, roots)
        for process in doomed:
            process.abandoned = True
            process.release()
            if process.closed and not process.wanted:
                self._forget(process)

    async def end_all(self, grace_ms: int) -> None:
        """End every process with all it started, until all have exited and said their last."""
        living = list(self._living.values())
        for process in living:
            if process.has_exited:  # what it left behind holds its output
                self._trees.signal(process.place, signal.SIGTERM)
            else:
                process.process.ended_by = "killed"
                process.polite_signal()
        with anyio.move_on_after(grace_ms / 1000):
            for process in living:
                await process.wait_closed()
        left = [process for process in living if not process.closed]
        roots = [process.pid for process in left if not process.has_exited]
        self._trees.kill_all([process.place for process in left], roots)
        for process in left:
            await process.wait()
        with anyio.move_on_after(_LAST_WORDS):  # some may be held up by a client that does not read
            for process in left:
                await process.wait_closed()

    def _kill(self, process: LocalProcess) -> Way:
        return self._trees.kill(process.place, 0 if process.has_exited else process.pid)

    async def _end_politely(self, process: LocalProcess, grace_ms: int) -> None:
        process.polite_signal()
        with anyio.move_on_after(grace_ms / 1000):
            await process.wait()
        # Also when it has exited: what it started may have ignored the signal, or not got it.
        if not process.has_exited or self._trees.alive(process.place):
            self._kill(process)

    async def _time_out(self, process: LocalProcess, timeout_ms: int) -> None:
        with anyio.move_on_after(timeout_ms / 1000):
            await process.wait_closed()
            return
        if not process.has_exited:  # else what it left behind still holds its output
            process.process.ended_by = "timeout"
        if process.grace_ms:
            await self._end_politely(process, process.grace_ms)
        else:
            self._kill(process)

    # --- for the node's own end -------------------------------------------------------------------

    def _post_guardian(self) -> None:
        """Have a guardian, if there is to be one: another when it was killed."""
        wanted = self.settings.guard and not self.settings.keep
        if wanted and (self._guardian is None or not self._guardian.alive):
            self._guardian = Guardian.start(self._trees)
            self._placeholders.guarded_by(self._guardian)

    def _close(self) -> None:
        """End everything, and wait for our children: nobody else in this process would."""
        kill = not self.settings.keep
        living = [each for each in self._living.values() if not each.process.exited]
        if kill and living:
            self._trees.kill_all([each.place for each in living], [each.pid for each in living])
        done = self._trees.close(kill=kill)
        if kill:
            drive(self.engine, lambda: all(each.process.exited for each in living), _LAST_WORDS)
            self._placeholders.release_all()
            done = self._placeholders.sweep_for(_LAST_WORDS) and done
        # What could not be ended here is left to the guardian, which has more patience.
        if self._guardian is not None and done:
            self._guardian.dismiss()

    # --- after the end ----------------------------------------------------------------------------

    def _bury(self) -> None:
        """Give back the places of processes that have ended, and let the time of these run."""
        limits = self.settings.limits
        ended = [process for process in self._ended if not process.starting]
        self._ended[:] = [process for process in self._ended if process.starting]
        for process in ended:
            if process.kept_missing and not self._placeholders.release(process.kept_missing):
                self._tasks.start_soon(self._sweep)
            process.forget_plan()
            if not process.unborn:
                self.endings[process.reason or "lost"] += 1
            if self._living.get(process.pid) is process:  # its pid may be another's by now
                del self._living[process.pid]
            if not self._trees.release(process.place):
                self._leftovers.add(process)
            if process.abandoned and not process.wanted:
                self._forget(process)
                continue
            self._finished.append((anyio.current_time() + limits.keep_seconds, process))
            if len(self._finished) > limits.kept:
                self._forget_oldest()

    async def _sweep(self) -> None:
        """Remove placeholders, while those that were killed with a process are on their way out."""
        for tries in range(_SWEEPS):
            await anyio.sleep(0.001 * 2**tries)
            if self._placeholders.sweep():
                return

    def _forget_oldest(self) -> None:
        """Forget the process that finished first, unless somebody has not heard all of it yet."""
        process = self._finished.popleft()[1]
        if process.wanted:
            due = anyio.current_time() + self.settings.limits.keep_seconds
            self._finished.append((due, process))
        else:
            self._forget(process)

    def _forget(self, process: LocalProcess) -> None:
        if self._processes.pop(process.ref, None) is None:
            return
        process.forgotten()
        self._forgotten_output.update(process.process.totals())
        process.process.close()

    async def _keep_house(self) -> None:
        """Forget the finished when their time is over, bury orphans, give back emptied places."""
        limits = self.settings.limits
        while True:
            now = anyio.current_time()
            for _ in range(len(self._finished)):
                if self._finished[0][0] > now and len(self._finished) <= limits.kept:
                    break
                self._forget_oldest()
            self._trees.reap()
            self._placeholders.sweep()
            emptied = [p for p in self._leftovers if self._trees.release(p.place)]
            self._leftovers.difference_update(emptied)
            if self._guardian is not None:
                self._post_guardian()
            await anyio.sleep(min(_HOUSEKEEPING, max(limits.keep_seconds, _SHORTEST)))
