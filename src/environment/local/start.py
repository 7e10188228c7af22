"""From the parameters of a start to what the engine is told."""

import hashlib
import os
import resource
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from execnode.engine.controllers import LimitName
from execnode.engine.tree import Place
from execnode.policy.environment import child_environment
from execnode.protocol.errors import (
    RpcError,
    invalid_params,
    invalid_request,
    missing_program,
)
from execnode.protocol.processes import Limits, Retention, StartParams
from execnode.protocol.uri import parse_cwd_uri

__all__ = ["ExecLimits", "SpawnRequest", "prepare", "put_in_place"]

# setrlimit(2), by the names that ulimit's manual and systemd use: lower case, without RLIMIT_.
_RLIMITS: Final[dict[str, int]] = {
    name.removeprefix("RLIMIT_").lower(): number
    for name, number in vars(resource).items()
    if name.startswith("RLIMIT_")
}
# Most starts of a session are in the same folder.
_folder = lru_cache(maxsize=256)(parse_cwd_uri)
_DEFAULT_SIZE: Final = (24, 80)
# The streams' numbers in the engine.
_PIPES: Final = (0, 1)
_TERMINAL: Final = (2,)


@dataclass(frozen=True, slots=True)
class ExecLimits:
    """What the processes of a node may take.

    retention: bytes of output kept for a process that asks for nothing else.
    max_retention: the most that one may ask for.
    process_memory: bytes of one process's output kept in memory; what is above goes to disk.
    processes: of one session, that have not ended.
    kept: finished processes of the node that are kept at most; the oldest go first.
    keep_seconds: how long a finished process is kept.

    What a client has still to be told of is kept beyond these two: while its session is detached,
    and while its connection does not take it.
    """

    retention: int = 1 << 20
    max_retention: int = 4 << 30
    process_memory: int = 1 << 20
    processes: int = 1024
    kept: int = 4096
    keep_seconds: float = 80.0


@dataclass(slots=True)
class SpawnRequest:
    """Arguments for Engine.spawn; `program` and `variables` are what `paths` and `env` are from.

    tree_limits: of all in the place of its tree; those named in `optional_limits`, if they can be.
    """

    program: bytes
    variables: dict[bytes, bytes]
    paths: list[bytes]
    argv: list[bytes]
    env: list[bytes]
    cwd: bytes
    options: dict[str, Any] = field(default_factory=dict)
    tree_limits: dict[LimitName, float] = field(default_factory=dict)
    optional_limits: tuple[str, ...] = ()

    def subject(self, stage: str) -> str | None:
        """What a failing step is about, where that is a path, as text that every encoding has."""
        path = {"chdir": self.cwd, "execve": self.program}.get(stage)
        return None if path is None else path.decode(errors="backslashreplace")


def prepare(params: StartParams, limits: ExecLimits, shell: bytes) -> SpawnRequest:
    """Check the parameters and translate them. `shell`: the path of the user's shell.

    Raises RpcError for what cannot be started as asked. The sandbox is another matter (sandbox.py).
    """
    _refuse_unenforceable(params)
    cwd = _folder(params.cwd)
    env = child_environment(params.env_policy, params.env, os.environb, tty=params.tty, shell=shell)
    argv = list(params.argv)
    program = argv[0]
    if not program:
        raise missing_program()
    if params.arg0 is not None:
        argv[0] = params.arg0.value
    pairs = [name + b"=" + value for name, value in env.items()]
    if any(not name or b"=" in name for name in env):
        raise invalid_params("a variable's name must not be empty and must not contain `=`")
    request = SpawnRequest(program, env, _candidates(program, env), argv, pairs, cwd)
    if params.tty:
        size = params.size
        request.options["size"] = (size.rows, size.cols) if size else _DEFAULT_SIZE
    elif params.pipe_stdin:
        request.options["stdin"] = True
    if params.digest == "sha256":
        streams = _TERMINAL if params.tty else _PIPES
        request.options["hashers"] = {stream: hashlib.sha256() for stream in streams}
    _add_retention(request.options, params.retention, limits)
    if params.limits is not None:
        request.options["rlimits"] = _rlimits(params.limits)
        request.tree_limits = _tree_limits(params.limits)
        request.optional_limits = tuple(params.limits.optional)
    return request


def put_in_place(options: dict[str, Any], place: Place) -> None:
    """Add what the spawn must know of the place in which its tree will be ended."""
    options["cgroup_fd"] = place.cgroup_fd
    if place.rlimit_rttime is not None:
        rlimits = options.setdefault("rlimits", {})
        wanted = rlimits.get(resource.RLIMIT_RTTIME)
        mark_soft, mark_hard = place.rlimit_rttime
        soft = min(wanted[0], mark_soft) if wanted else mark_soft
        rlimits[resource.RLIMIT_RTTIME] = (soft, mark_hard)


def _refuse_unenforceable(params: StartParams) -> None:
    """Never run weaker than asked."""
    if params.enforce_managed_network or params.network_proxy is not None:
        raise RpcError(
            -32603, "this node has no managed network proxy, so it cannot enforce the use of one"
        )


def _candidates(program: bytes, env: dict[bytes, bytes]) -> list[bytes]:
    """Where execvp(3) would look, in the child's PATH, or the node's if the child has none."""
    if b"/" in program:
        return [program]
    path = env.get(b"PATH")
    if path is None:
        path = os.environb.get(b"PATH", os.defpath.encode())
    return [(folder or b".") + b"/" + program for folder in path.split(b":")]


def _add_retention(options: dict[str, Any], wanted: Retention | None, limits: ExecLimits) -> None:
    kept = limits.retention
    if wanted is not None:
        options["drop_oldest"] = wanted.mode == "drop-oldest"
        if wanted.max_bytes is not None:
            kept = wanted.max_bytes
    if kept > limits.max_retention:
        raise invalid_request(
            f"retention.maxBytes {kept} is over this node's limit of {limits.max_retention} bytes; "
            "ask for less, or start the node with a higher --max-retention"
        )
    options["retention"] = kept
    options["memory"] = limits.process_memory


def _tree_limits(limits: Limits) -> dict[LimitName, float]:
    wanted: dict[LimitName, float | None] = {
        "pids": limits.pids,
        "memory": limits.memory_bytes,
        "cpu": limits.cpu,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _rlimits(limits: Limits) -> dict[int, tuple[int, int]]:
    result = {}
    for name, value in limits.rlimits.items():
        number = _RLIMITS.get(name)
        if number is None:
            known = ", ".join(sorted(_RLIMITS))
            raise invalid_params(f"unknown resource limit `{name}`, expected one of {known}")
        soft, hard = (value, value) if isinstance(value, int) else value
        if soft > hard:
            raise invalid_params(f"limits.rlimits.{name}: the soft limit is above the hard one")
        result[number] = (soft, hard)
    return result
