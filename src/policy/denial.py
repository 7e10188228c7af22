"""Whether a sandbox has denied something, and what.

The kernel tells a program that it is refused, not us. So for the dialect's `sandboxDenied` there is
a guess from what the program wrote; and where we do know, a denial with the rule that would allow.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from execnode.policy.plan import Access, Plan, Rule, allows

__all__ = ["Denial", "denial_of", "sandbox_denied"]

_SIGNS: Final = (
    b"operation not permitted",
    b"permission denied",
    b"read-only file system",
    b"seccomp",
    b"sandbox",
    b"landlock",
    b"failed to write file",
)
_KILLED_BY_FILTER: Final = 128 + signal.SIGSYS


@dataclass(frozen=True, slots=True)
class Denial:
    """One thing that was refused.

    path: what was to be reached, None when it was a system call. right: read or write of the path.
    syscall: the name of the call that was refused. by: the rule that decided, None when nothing
    covers the path. allow: the rule that would allow it, None when no rule would.
    """

    right: Literal["read", "write"] | None = None
    path: bytes | None = None
    syscall: str | None = None
    by: Rule | None = None
    allow: Rule | None = None


def sandbox_denied(exit_code: int, outputs: Iterable[bytes]) -> bool:
    """Guess, as the dialect does, whether a sandboxed program failed because of its sandbox.

    outputs: what is kept of stdout and of stderr, or of the terminal.
    """
    if exit_code == _KILLED_BY_FILTER:
        return True
    if exit_code == 0:
        return False
    kept = [output.lower() for output in outputs]
    # Joined as well: a remark may have been begun on one stream and ended on the other.
    return any(sign in text for text in (*kept, b"".join(kept)) for sign in _SIGNS)


def denial_of(plan: Plan, path: bytes, right: Access) -> Denial | None:
    """Return why a path may not be read or written, None when it may.

    The path is absolute and resolved, `right` is READ or WRITE. No rule helps against a name that
    must not come into being: the profile has to name exactly that path with write.
    """
    if allows(plan, path, right):
        return None
    name: Literal["read", "write"] = "write" if right is Access.WRITE else "read"
    return Denial(name, path, by=plan.deciding(path), allow=Rule(path, right))
