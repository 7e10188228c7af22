"""The sandbox of a start: what it has to enforce, and on which way that is done.

There are three ways, and a start takes the first that enforces its whole plan:

none
    There is nothing to enforce; the process is like any other.
landlock
    The child gives up its rights by itself, between fork and exec. That costs a tenth of a
    millisecond and says only what Landlock and a filter of system calls can say (Plan.flat).
namespaces
    The helper executable builds namespaces and starts the program in them. It says on a descriptor
    of its own whether the program runs.

What a plan needs and the kernel does not give is refused, unless whoever started the node has
accepted the loss of that protection by its name.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import anyio
import anyio.to_thread

from execnode.engine import Sandbox
from execnode.engine.programs import HELPER
from execnode.environment.local.files.work import Stop
from execnode.environment.local.start import SpawnRequest
from execnode.environment.local.status import Line, Report
from execnode.policy import look
from execnode.policy.plan import Network, Plan
from execnode.policy.profile import plan_for
from execnode.policy.sandbox import start_request
from execnode.protocol.errors import INTERNAL_ERROR, RpcError, os_error_message, spawn_failed
from execnode.protocol.sandbox import SandboxContext

__all__ = ["Confinement", "Sandboxes", "Way", "confined"]

Way: TypeAlias = Literal["none", "landlock", "namespaces"]

_HELPER: Final = os.fsencode(HELPER)
_HELPER_NAME: Final = b"execnode-linux-sandbox"
# Rulesets that are kept: they differ by the network that is allowed.
_KEPT: Final = 32
# Searches for patterns at the same time: one who has large trees searched holds up no other start.
_SEARCHES: Final = 4
# What is allowed beside the folders in the root (_seccomp/landlock.c).
_ALWAYS_THERE: Final = (
    *(b"/dev", b"/dev/pts", b"/dev/shm", b"/dev/ptmx", b"/dev/tty", b"/dev/null"),
    *(b"/dev/zero", b"/dev/full", b"/dev/random", b"/dev/urandom"),
)
_PROTECTION: Final = "protection"


@dataclass(frozen=True, slots=True)
class Confinement:
    """What a process is put into.

    isolate: it has to be namespaces. lost: protections that it does without, by their names.
    """

    plan: Plan
    way: Way
    isolate: bool = False
    landlock: Sandbox | None = None
    lost: tuple[str, ...] = ()


class Sandboxes:
    """Makes the confinements of a node's processes.

    accepted: names of the protections that may be missing.
    """

    def __init__(self, accepted: Iterable[str] = ()) -> None:
        self._accept = [word for name in accepted for word in (b"--accept-missing", name.encode())]
        self._rulesets: OrderedDict[object, Sandbox] = OrderedDict()
        self._lock = threading.Lock()  # of _rulesets
        self._searches = anyio.CapacityLimiter(_SEARCHES)

    async def confinement(
        self, sandbox: SandboxContext, request: SpawnRequest, *, own_world: bool = False
    ) -> Confinement:
        """Return what a process with this sandbox is to be put into.

        own_world: namespaces rather than Landlock alone, where they can be had.

        It looks at the machine, in a thread. Raises RpcError. Safe to cancel.
        """
        asked = start_request(sandbox, request.cwd, request.variables)
        stop = Stop()

        def make() -> Confinement:
            plan = plan_for(asked, request.cwd, stop.check)
            if plan.unrestricted:
                return Confinement(plan, "none")
            if plan.flat and not (sandbox.isolate or own_world):
                ruleset = self._ruleset(plan)
                if not ruleset.lacks:
                    return Confinement(plan, "landlock", landlock=ruleset)
            return Confinement(plan, "namespaces", sandbox.isolate)

        limiter = self._searches if asked.searches else None
        try:
            return await anyio.to_thread.run_sync(make, abandon_on_cancel=True, limiter=limiter)
        finally:
            stop.ask()

    def _ruleset(self, plan: Plan) -> Sandbox:
        """The ruleset and filter of a flat plan, from earlier if nothing has changed since.

        Landlock's rules are about what was there when they were made: each folder in the root has
        one, so that another folder in the root makes a ruleset an old one.
        """
        key = plan.network, _landmarks()
        with self._lock:
            ruleset = self._rulesets.get(key)
            if ruleset is None:
                ruleset = _build(plan)
                self._rulesets[key] = ruleset
                if len(self._rulesets) > _KEPT:
                    self._rulesets.popitem(last=False)
            else:
                self._rulesets.move_to_end(key)
            return ruleset

    def through_helper(
        self, request: SpawnRequest, wanted: Confinement, descriptors: int, status: int
    ) -> SpawnRequest:
        """Return the request by which the helper is started, to start the program inside.

        descriptors: how many the program inherits, from 3 on. status: the number under which the
        helper has the descriptor for its status.
        """
        argv = [_HELPER_NAME, b"--status-fd", b"%d" % status, *wanted.plan.helper_options()]
        argv += [*self._accept, *([b"--isolate"] if wanted.isolate else ())]
        for number in range(3, 3 + descriptors):
            argv += [b"--pass-fd", b"%d" % number]
        argv += [b"--arg0", request.argv[0], b"--", _program(request), *request.argv[1:]]
        return replace(request, paths=[_HELPER], argv=argv)


def _build(plan: Plan) -> Sandbox:
    rules: list[tuple[bytes, Literal["deny", "read", "write"]]] = [
        (rule.path, "read") for rule in plan.rules
    ]
    network = plan.network
    return Sandbox(
        rules,
        network=_network_name(network),
        connect=list(network.connect),
        bind=list(network.bind),
    )


def _network_name(network: Network) -> Literal["full", "ports", "none"]:
    if network.full:
        return "full"
    return "ports" if network.connect or network.bind else "none"


def _landmarks() -> tuple[object, ...]:
    """What tells apart the files that the rules of a ruleset would be about."""
    with os.scandir(b"/") as root:
        names = sorted(entry.path for entry in root)
    return tuple((name, *look.identity(name)) for name in (*names, *_ALWAYS_THERE))


def _program(request: SpawnRequest) -> bytes:
    """The program as the helper is told it: it looks names up inside, in the child's PATH.

    A child without one has the node's, which the helper does not know.
    """
    if b"/" in request.program or b"PATH" in request.variables:
        return request.program
    there = (path for path in request.paths if os.access(path, os.X_OK))
    return next(there, request.program)


# --- what came of it ------------------------------------------------------------------------------


def confined(told: Report, request: SpawnRequest, wanted: Confinement) -> Confinement:
    """Return what a program is confined by that the helper was to start. Raises RpcError.

    request: what was to be started; told: what the helper said of it.
    """
    if told.failures:
        raise _failure(told.failures, request)
    return replace(wanted, way=told.way, lost=told.lost)


def _failure(failures: Sequence[Line], request: SpawnRequest) -> RpcError:
    missing = [text for stage, _, text in failures if stage == _PROTECTION]
    if missing:
        sentences = "; ".join(missing)
        return RpcError(
            INTERNAL_ERROR,
            f"this sandbox cannot be enforced here: {sentences}",
            {"stage": _PROTECTION},
        )
    stage, number, text = failures[0]
    about = request.subject(stage)
    if about is not None:
        return spawn_failed(stage, number, about)
    error = spawn_failed(stage, number)
    cause = f"{text} ({os_error_message(number)})" if number else text
    return RpcError(error.code, f"the sandbox could not be made: {stage}: {cause}", error.data)
