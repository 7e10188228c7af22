"""From a request to a process in its place: the engine's spawn, with all that may go wrong."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from execnode.engine import Engine, Process, SpawnError
from execnode.engine.controllers import LimitName
from execnode.engine.tree import Place, Trees
from execnode.environment.local.sandbox import Confinement
from execnode.environment.local.start import SpawnRequest, put_in_place
from execnode.protocol.errors import (
    INTERNAL_ERROR,
    RpcError,
    invalid_request,
    nul_byte,
    spawn_failed,
)
from execnode.protocol.processes import TreeLimit

__all__ = ["Spawned", "Spawner"]

_logger = logging.getLogger(__name__)

# A clone3(2) that fails so was refused the cgroup, not the process.
_CGROUP_REFUSED: Final = frozenset(
    {
        errno.EBUSY,
        errno.EOPNOTSUPP,
        errno.ENODEV,
        errno.EACCES,
        errno.EPERM,
        errno.ENOSYS,
        errno.ENOENT,
    }
)
# What the helper is while the program runs: launcher, init and keeper (_seccomp/launch.h).
_HELPERS: Final = 3
_MEMBERS: Final[dict[LimitName, TreeLimit]] = {
    "pids": "pids",
    "memory": "memoryBytes",
    "cpu": "cpu",
}


class Spawned(NamedTuple):
    """A process, the place of its tree, and the optional limits that it does not have."""

    process: Process
    place: Place
    unlimited: tuple[TreeLimit, ...]


class Spawner:
    """Starts processes, each in a place of its own. keep: they outlive the node."""

    def __init__(self, engine: Engine, trees: Trees, *, keep: bool) -> None:
        self._engine = engine
        self._trees = trees
        self._keep = keep

    def spawn(
        self, request: SpawnRequest, confinement: Confinement | None, inherit: Sequence[int]
    ) -> Spawned:
        """Start a process. Raises RpcError; nothing is then left of it."""
        limits, unlimited = self._possible_limits(request)
        if "pids" in limits and confinement is not None and confinement.way == "namespaces":
            limits["pids"] += _HELPERS
        place = self._place(limits)
        put_in_place(request.options, place)
        try:
            process = self._engine.spawn(
                request.paths,
                request.argv,
                request.env,
                request.cwd,
                outlive=self._keep,
                inherit=list(inherit),
                sandbox=None if confinement is None else confinement.landlock,
                **request.options,
            )
        except SpawnError as error:
            self._trees.release(place)
            if error.stage == "clone" and place.cgroup_fd >= 0 and error.errno in _CGROUP_REFUSED:
                self._trees.disable_cgroups(str(error))
                _logger.warning(
                    "no more cgroups, since one was refused to a new process: %s", error
                )
                return self.spawn(request, confinement, inherit)
            raise _failure(error, request, confinement) from None
        except ValueError:
            self._trees.release(place)
            raise nul_byte() from None
        except BaseException:
            self._trees.release(place)
            raise
        return Spawned(process, place, unlimited)

    def _place(self, limits: Mapping[LimitName, float]) -> Place:
        try:
            return self._trees.place(limits)
        except OSError as error:
            if not limits:
                raise
            raise RpcError(
                INTERNAL_ERROR, f"the limits could not be set: {error.filename}: {error.strerror}"
            ) from None

    def _possible_limits(
        self, request: SpawnRequest
    ) -> tuple[dict[LimitName, float], tuple[TreeLimit, ...]]:
        """The limits on the whole tree that can be had, and those that cannot.

        Raises RpcError -32600 for one that has to be.
        """
        unlimited = []
        limits = dict(request.tree_limits)
        for name, reason in self._trees.lacks(limits).items():
            member = _MEMBERS[name]
            if member not in request.optional_limits:
                raise invalid_request(
                    f"limits.{member} cannot be had on this node: {reason}; or name it in "
                    "limits.optional, to do without"
                )
            unlimited.append(member)
            del limits[name]
        return limits, tuple(unlimited)


def _failure(error: SpawnError, request: SpawnRequest, confinement: Confinement | None) -> RpcError:
    failure = spawn_failed(error.stage, error.errno or 0, request.subject(error.stage))
    by_helper = confinement is not None and confinement.way == "namespaces"
    # Too many arguments for the helper are too many for the program.
    if not by_helper or error.stage != "execve" or error.errno == errno.E2BIG:
        return failure
    helper = os.fsdecode(request.paths[0])
    return RpcError(
        INTERNAL_ERROR,
        f"the sandbox needs the helper executable {helper}, which cannot be run: "
        f"{error.strerror}; install execnode where this user may reach it",
        {"stage": "sandbox", "name": errno.errorcode.get(error.errno or 0, "")},
    )
