"""One rule: a pattern of the words that a command begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from execnode.policy.rules.decision import Decision, Match, Words

__all__ = ["PrefixRule"]


@dataclass(frozen=True)
class PrefixRule:
    """A decision on every command that begins with certain words.

    pattern: for each word from the first on, the alternatives; neither is ever empty.
    """

    pattern: tuple[Words, ...]
    decision: Decision = Decision.ALLOW
    justification: str | None = None

    @property
    def programs(self) -> Words:
        """The alternatives for the first word."""
        return self.pattern[0]

    def match(self, argv: Sequence[str], resolved: str | None = None) -> Match | None:
        """Return what the rule says of a command, None when it does not speak of it.

        resolved: the path of the program, when argv has its base name in place of it.
        """
        prefix = tuple(argv[: len(self.pattern)])
        if len(prefix) < len(self.pattern):
            return None
        for word, alternatives in zip(prefix, self.pattern, strict=True):
            if word not in alternatives:
                return None
        return Match(prefix, self.decision, self.justification, resolved)
