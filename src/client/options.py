"""The options of starting a program, once for all the calls that take them."""

import os
from collections.abc import Mapping
from typing import Literal, TypeAlias, TypedDict

from execnode.protocol.processes import EnvironmentPolicy, Limits, Retention
from execnode.protocol.sandbox import SandboxContext

__all__ = ["Argument", "Folder", "Options", "StartOptions"]

Argument: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Folder: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class Options(TypedDict, total=False):
    """What `Node.run` and `Node.start` share; `Node.start` says what each means."""

    cwd: Folder | None
    env: Mapping[str, str] | None
    extra_env: Mapping[str, str] | None
    env_policy: EnvironmentPolicy | None
    rlimits: Mapping[str, int | tuple[int, int]] | None
    limits: Limits | None
    sandbox: SandboxContext | None
    timeout: float | None
    grace: float | None


class StartOptions(Options, total=False):
    """What `Node.start` takes beside."""

    stdin: bool
    tty: bool
    size: tuple[int, int] | None
    arg0: str | bytes | None
    retention: Retention | None
    digest: Literal["crc32c", "sha256"] | None
