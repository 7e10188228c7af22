"""Whether a sandbox has denied something, and what.

The kernel tells a program that it is refused, not us. So for the dialect's `sandboxDenied` there is
a guess from what the program wrote; and where we do know, a denial with the rule that would allow.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from execnode.policy import look
from execnode.policy.plan import Access, Plan, Rule, allows, join

__all__ = ["Denial", "denial_in", "denial_of", "sandbox_denied"]

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
# What programs say of a file that they may not reach: perror(3) and its like.
_REFUSED: Final = re.compile(
    rb"operation not permitted|permission denied|read-only file system", re.IGNORECASE
)
# And of what they may read: then it was to be written.
_READ_ONLY: Final = re.compile(rb"read-only file system", re.IGNORECASE)
# Names of bash for the network: no files.
_NO_FILES: Final = (b"/dev/tcp/", b"/dev/udp/")
_QUOTED: Final = re.compile(
    rb"""['"`]([^'"`]{1,4096})['"]|\xe2\x80\x98((?:(?!\xe2\x80[\x98\x99]).){1,4096})\xe2\x80\x99"""
)
_ABSOLUTE: Final = re.compile(rb"(?:^|[\s=:])(/[^\s:'\"]{0,4095})")
# A word before the remark, which may be a name; the first is one, for so a shell says it.
_BARE: Final = re.compile(rb"""(?:cannot (?:create|open) ([^\s:'"]+)|(?:^|: )([^\s:'"]+)): $""")
# Remarks and names in them that are looked at; the first that tells anything is the cause. And the
# files and the bytes of their paths: what is written may be meant to take long.
_REMARKS_MAX: Final = 64
_NAMES_MAX: Final = 8
_LOOKS_MAX: Final = 1000
_PATH_MAX: Final = 1024


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


def denial_in(plan: Plan, cwd: bytes, outputs: Iterable[bytes]) -> Denial | None:
    """Return a denial that a program speaks of in its output, if the plan does deny it.

    That it was the cause is likely, that the plan denies it is certain. Looks where the paths lead,
    but not into what is invisible inside: the program is not to be told of that.
    """
    eyes = _Eyes(plan)
    for output in outputs:
        remarks = (line for line in output.splitlines() if _REFUSED.search(line))
        for _, remark in zip(range(_REMARKS_MAX), remarks, strict=False):
            rights = (Access.WRITE,) if _READ_ONLY.search(remark) else (Access.READ, Access.WRITE)
            for _, (name, sure) in zip(range(_NAMES_MAX), _names(remark), strict=False):
                place = look.resolve(name if name.startswith(b"/") else join(cwd, name), eyes)
                if eyes.tired:
                    return None
                if b".." in place.rest or not (sure or _is_known(plan, place)):
                    continue
                for right in rights:
                    denial = denial_of(plan, place.target, right)
                    if denial is not None:
                        return denial
    return None


def _is_known(plan: Plan, place: look.Place) -> bool:
    """Whether something visible is there, or the plan itself names what is not."""
    by = plan.deciding(place.target)
    return place.end is look.End.FOUND or (by is not None and by.path == place.target)


class _Eyes:
    """Says which files may be looked at: those that are visible inside, and not too many."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._left = _LOOKS_MAX

    @property
    def tired(self) -> bool:
        """Whether something was not looked at that is perhaps visible."""
        return self._left < 0

    def __call__(self, path: bytes) -> bool:
        self._left = self._left - 1 if len(path) <= _PATH_MAX else -1
        return not self.tired and self._plan.shows(path)


def _names(remark: bytes) -> Iterator[tuple[bytes, bool]]:
    """What may name a file in a remark, as in `cat: /etc/x: Permission denied`; and surely does."""
    speaker, _, said = remark.partition(b": ")
    text = speaker + b": " if _REFUSED.match(said) else said
    for match in _QUOTED.finditer(text):
        yield match[1] or match[2], True
    for match in _ABSOLUTE.finditer(text):
        if not match[1].startswith(_NO_FILES):
            yield match[1], True
    bare = _BARE.search(_REFUSED.split(text)[0])
    if bare is not None:
        name = bare[1] or bare[2]
        if not name.startswith(_NO_FILES):
            yield name, bare[1] is not None or b"/" in name
