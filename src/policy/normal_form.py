"""From many claims about paths to the few rules that say the same.

A claim is what one entry of a profile, or one protection, says about one path. Which claims hold
depends on what covers the path from above, so they are taken from the top down.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from execnode.policy.plan import MINIMAL_FOLDERS, Access, Rule, is_below

__all__ = ["Claim", "Scope", "rules_of"]


class Scope(Enum):
    """Where a claim holds."""

    EVERYWHERE = auto()
    WRITABLE = auto()  # only below what may be written: it takes away and never grants
    UNCOVERED = auto()  # only where nothing is visible: it grants and never takes away


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement about one path; `link` as in Rule."""

    path: bytes
    access: Access
    scope: Scope = Scope.EVERYWHERE
    link: bool = False

    def holds(self, cover: Access | None) -> bool:
        """Whether it holds below a cover, which is what would hold for the path without it."""
        match self.scope:
            case Scope.EVERYWHERE:
                return True
            case Scope.WRITABLE:
                return cover is Access.WRITE
            case Scope.UNCOVERED:
                return cover is None


def rules_of(claims: Iterable[Claim], *, minimal: bool) -> tuple[Rule, ...]:
    """Return the rules that hold, sorted by path, without those that change nothing.

    minimal: MINIMAL_FOLDERS may be read in any case, and need no rules for that.
    """
    by_path: dict[bytes, list[Claim]] = defaultdict(list)
    for claim in claims:
        by_path[claim.path].append(claim)
    if minimal:
        for folder in MINIMAL_FOLDERS:
            by_path[folder].append(Claim(folder, Access.READ))
    covers: list[tuple[bytes, Access | None]] = []
    rules: list[Rule] = []
    # Ordered by components, all that is below a folder follows it without interruption.
    for path in sorted(by_path, key=lambda path: path.split(b"/")):
        while covers and not is_below(path, covers[-1][0]):
            covers.pop()
        above = covers[-1][1] if covers else None
        decided = _decide(by_path[path], above)
        if decided is None:
            continue
        covers.append((path, None if decided.access is Access.DENY else decided.access))
        if not _is_given(decided, above, minimal=minimal):
            rules.append(decided)
    return tuple(sorted(rules, key=lambda rule: rule.path))


def _decide(claims: list[Claim], above: Access | None) -> Rule | None:
    holding = [claim for claim in claims if claim.holds(above)]
    if not holding:
        return None
    access = max(claim.access for claim in holding)
    return Rule(holding[0].path, access, all(claim.link for claim in holding))


def _is_given(rule: Rule, above: Access | None, *, minimal: bool) -> bool:
    """Whether the same holds without the rule."""
    if minimal and rule.path in MINIMAL_FOLDERS:
        above = Access.READ
    return rule.access is (above or Access.DENY)
