"""What the rules say of a command."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Decision", "Match", "Verdict", "Words"]

Words = tuple[str, ...]
"""A command: its program and arguments, as execve(2) gets them."""


class Decision(IntEnum):
    """What to do with a command; the greater is the stricter."""

    ALLOW = 0
    PROMPT = 1
    FORBIDDEN = 2

    @property
    def word(self) -> str:
        """The decision as rule files and JSON have it."""
        return self.name.lower()


@dataclass(frozen=True)
class Match:
    """A rule that speaks of a command.

    prefix: the words of the command that its pattern covers; the program is its base name when
    the rule was found by that.
    resolved: the program's path when the rule was found by the base name.
    """

    prefix: Words
    decision: Decision
    justification: str | None = None
    resolved: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What all rules together say of a command, or of the commands of a shell's script.

    There is a match or something unmatched, or both.

    matches: every rule that speaks of any of it, in the order of the commands and of the rules.
    unmatched: the commands of which no rule speaks.
    commands: the simple commands of the script; empty for all else.
    opaque: why a script was taken as one command, None when it was split or there is none.
    """

    matches: tuple[Match, ...]
    unmatched: tuple[Words, ...] = ()
    commands: tuple[Words, ...] = ()
    opaque: str | None = None

    @property
    def decision(self) -> Decision | None:
        """The strictest of all matches; None when the rules do not settle it.

        They do not when no rule matches, or when they allow some commands of a script and do not
        speak of the others.
        """
        strictest = max((match.decision for match in self.matches), default=None)
        return None if strictest is Decision.ALLOW and self.unmatched else strictest

    def with_default(self, default: Decision) -> Decision:
        """Return what to do when `default` is for commands of which no rule speaks."""
        found = [match.decision for match in self.matches]
        return max([*found, default] if self.unmatched else found)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What the rules that decide give as their justification, each once."""
        deciding = (match for match in self.matches if match.decision is self.decision)
        return tuple(dict.fromkeys(each.justification for each in deciding if each.justification))
