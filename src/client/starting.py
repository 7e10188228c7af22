"""What a start asks of a node, from the terms of its user."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec.structs import replace

from execnode.protocol.processes import (
    EnvironmentPolicy,
    Limits,
    Retention,
    StartParams,
    TerminalSize,
)
from execnode.protocol.sandbox import SandboxContext
from execnode.protocol.text import OsMap, OsText, OsTexts
from execnode.protocol.uri import format_path_uri

from .options import Argument, Folder

__all__ = ["milliseconds", "needs", "start_params"]

# The node's own environment, whole: the caller chose what to add to it.
_NODE_ENVIRONMENT: Final = EnvironmentPolicy(
    inherit="all",
    ignore_default_excludes=True,
    exclude=OsTexts(),
    set=OsMap(),
    include_only=OsTexts(),
)

_NEEDS: Final[Mapping[str, str]] = {
    "retention": "processRetention",
    "limits": "processLimits",
    "timeout_ms": "processTimeout",
    "grace_ms": "processTimeout",
    "size": "processResize",
    "digest": "processDigest",
}


def needs(params: StartParams) -> Iterator[tuple[str, str]]:
    """The capabilities that a node must have, or it would ignore the member beside each."""
    for member, capability in _NEEDS.items():
        if getattr(params, member) is not None:
            yield capability, member
    limits = params.limits
    if limits and (limits.pids, limits.memory_bytes, limits.cpu) != (None, None, None):
        yield "processTreeLimits", "limits.pids, limits.memory_bytes, limits.cpu"


def start_params(
    process_id: str,
    argv: Sequence[Argument],
    folder: str,
    *,
    cwd: Folder | None = None,
    env: Mapping[str, str] | None = None,
    extra_env: Mapping[str, str] | None = None,
    env_policy: EnvironmentPolicy | None = None,
    rlimits: Mapping[str, int | tuple[int, int]] | None = None,
    limits: Limits | None = None,
    sandbox: SandboxContext | None = None,
    timeout: float | None = None,
    grace: float | None = None,
    stdin: bool = False,
    tty: bool = False,
    size: tuple[int, int] | None = None,
    arg0: str | bytes | None = None,
    retention: Retention | None = None,
    digest: Literal["crc32c", "sha256"] | None = None,
) -> StartParams:
    """The parameters of process/start; `folder` is where programs run unless told otherwise.

    Raises ValueError for a relative `cwd` and for two environments.
    """
    chosen = folder if cwd is None else os.fsdecode(cwd)
    if not chosen.startswith("/"):
        raise ValueError(f"cwd must be an absolute path on the node, not {chosen!r}")
    if env is not None and env_policy is not None:
        raise ValueError("env and env_policy are both given; a policy takes extra_env")
    return StartParams(
        process_id=process_id,
        argv=OsTexts([os.fsencode(argument) for argument in argv]),
        cwd=format_path_uri(os.fsencode(chosen)),
        env=OsMap(_environment(env) | _environment(extra_env)),
        tty=tty,
        pipe_stdin=stdin,
        arg0=None if arg0 is None else OsText(os.fsencode(arg0)),
        sandbox=sandbox,
        env_policy=env_policy or (_NODE_ENVIRONMENT if env is None else None),
        retention=retention,
        size=None if size is None else TerminalSize(*size),
        limits=limits if rlimits is None else _limits(rlimits, limits),
        timeout_ms=milliseconds(timeout),
        grace_ms=milliseconds(grace),
        digest=digest,
    )


def milliseconds(seconds: float | None) -> int | None:
    """Whole milliseconds."""
    return None if seconds is None else round(seconds * 1000)


def _limits(rlimits: Mapping[str, int | tuple[int, int]], limits: Limits | None) -> Limits:
    values: dict[str, Any] = {
        name: n if isinstance(n, int) else list(n) for name, n in rlimits.items()
    }
    return replace(limits or Limits(), rlimits=values)


def _environment(variables: Mapping[str, str] | None) -> dict[bytes, bytes]:
    return {os.fsencode(k): os.fsencode(v) for k, v in (variables or {}).items()}
