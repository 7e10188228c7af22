"""The environment of a child process.

Without a policy it is exactly what the client sent. With one, it begins with variables of the node
(never of the client's machine), which the policy filters and adds to, and the client's `env` comes
last. Names and values are bytes (environ(7)): a variable that is not UTF-8 passes through unharmed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from execnode.protocol.processes import EnvironmentPolicy

__all__ = ["PRIVATE_NAMES", "child_environment"]

# Settings of the server itself; they never reach a child, whoever set them.
PRIVATE_NAMES: Final = (
    b"CODEX_EXEC_SERVER_EXIT_ON_STDIN_CLOSE",
    b"CODEX_EXEC_SERVER_NOISE_AUTH_TOKEN",
)
# What `inherit: core` keeps, in any letter case.
_CORE_NAMES: Final = (
    b"PATH",
    b"SHELL",
    b"TMPDIR",
    b"TEMP",
    b"TMP",
    b"HOME",
    b"LANG",
    b"LC_ALL",
    b"LC_CTYPE",
    b"LOGNAME",
    b"USER",
)
_SECRETS: Final = (b"*KEY*", b"*SECRET*", b"*TOKEN*")


def child_environment(
    policy: EnvironmentPolicy | None,
    env: Mapping[bytes, bytes],
    base: Mapping[bytes, bytes],
    *,
    tty: bool,
    shell: bytes,
) -> dict[bytes, bytes]:
    """Return the environment for execve(2).

    `env` is the client's, `base` the node's own (os.environb). A child on a terminal gets SHELL =
    `shell`, the path of the user's shell, if it would have none.
    """
    result = dict(env) if policy is None else _base_environment(policy, base) | dict(env)
    if tty:
        result.setdefault(b"SHELL", shell)
    for name in PRIVATE_NAMES:
        result.pop(name, None)
    return result


def _base_environment(policy: EnvironmentPolicy, base: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Return what lies under the client's `env`. The order of the steps is part of the policy."""
    excludes = policy.exclude.items
    if not policy.ignore_default_excludes:
        excludes = (*_SECRETS, *excludes)
    excluded = _matcher(excludes)
    result = {name: value for name, value in _inherited(policy, base).items() if not excluded(name)}
    result |= policy.set.entries
    if not policy.include_only.items:
        return result
    included = _matcher(policy.include_only.items)
    return {name: value for name, value in result.items() if included(name)}


def _inherited(policy: EnvironmentPolicy, base: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    match policy.inherit:
        case "all":
            return base
        case "core":
            return {name: value for name, value in base.items() if name.upper() in _CORE_NAMES}
        case "none":
            return {}


@lru_cache(maxsize=64)
def _matcher(patterns: tuple[bytes, ...]) -> Callable[[bytes], bool]:
    """Return a test of a whole name against patterns of `*` (any run) and `?` (one character).

    Letter case is ignored. Every other character stands for itself, brackets and braces too.
    """
    if not patterns:
        return lambda name: False
    match = re.compile("|".join(map(_regex, patterns)), re.IGNORECASE | re.DOTALL).fullmatch
    return lambda name: match(_text(name)) is not None


def _regex(pattern: bytes) -> str:
    first, *rest = [
        re.escape(part).replace(r"\?", ".") for part in re.split(r"\*+", _text(pattern))
    ]
    if not rest:
        return first
    *middle, last = rest
    # The first place where a part between two stars fits is as good as any other, so the groups are
    # atomic: the time stays proportional to the length of the name, whatever the pattern.
    return first + "".join(f"(?>.*?{part})" for part in middle) + f".*{last}"


def _text(name: bytes) -> str:
    """Return characters; a byte that is not part of any is one by itself (PEP 383)."""
    return name.decode(errors="surrogateescape")
