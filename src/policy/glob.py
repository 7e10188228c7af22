r"""Patterns of paths, as the profiles of the dialect have them.

`*` any run within a name, `?` one character, `[a-z]` and `[!a-z]` one of a set, `**` as a whole
name any number of folders, `{a,b}` one of several, `\` before a character that stands for itself.
Letter case counts, and a leading dot is like any other character. Nothing here looks at files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from execnode.policy.plan import join, parent

__all__ = ["Glob", "PatternError", "parse"]

_ALTERNATIVES_MAX: Final = 256

_Part = re.Pattern[str] | None  # None: any number of folders


class PatternError(ValueError):
    """A pattern that says nothing, or nothing that can be looked up."""


@dataclass(frozen=True)
class Glob:
    """What to look for below `base`: a pattern for each name on the way."""

    base: bytes
    parts: tuple[_Part, ...]

    @property
    def start(self) -> frozenset[int]:
        """Before the first name."""
        return self._skipping({0})

    def step(self, states: frozenset[int], name: bytes) -> tuple[frozenset[int], bool]:
        """Take one more name: what may come after it, and whether the path matches with it.

        A state is the number of parts that are behind. No states: nothing below can match.
        """
        text = _text(name)
        taken = {state for state in states if self.parts[state] is None}
        passed = {
            state + 1
            for state in states - taken
            if (part := self.parts[state]) is not None and part.fullmatch(text)
        }
        last = len(self.parts) - 1
        matched = last + 1 in passed or last in taken
        return self._skipping(taken | passed), matched

    def _skipping(self, states: set[int]) -> frozenset[int]:
        """Add what follows where any number of folders may be none."""
        found = set(states)
        for state in sorted(states):
            while state < len(self.parts) and self.parts[state] is None:
                state += 1
                found.add(state)
        return frozenset(found - {len(self.parts)})


def parse(pattern: bytes, cwd: bytes | None) -> list[Glob]:
    """Return what to look for: one Glob for each way to read the braces.

    cwd: where a relative pattern begins; it may be None for an absolute one.

    Raises PatternError.
    """
    return [_glob(each, cwd, pattern) for each in _alternatives(_text(pattern))]


def _glob(pattern: str, cwd: bytes | None, whole: bytes) -> Glob:
    if not pattern.startswith("/") and cwd is None:
        raise PatternError(f"the pattern `{_shown(whole)}` is relative, and there is no cwd")
    base = b"/" if pattern.startswith("/") or cwd is None else cwd
    names = [name for name in pattern.split("/") if name not in ("", ".")]
    while len(names) > 1 and (literal := _literal(names[0])) is not None:
        base = parent(base) if literal == ".." else join(base, _bytes(literal))
        del names[0]
    if not names or ".." in names:
        raise PatternError(f"the pattern `{_shown(whole)}` names no files")
    if base == b"/" and "**" in names:
        raise PatternError(
            f"the pattern `{_shown(whole)}` would search the whole machine; begin it with a folder"
        )
    parts = [None if name == "**" else re.compile(_regex(name), re.DOTALL) for name in names]
    return Glob(base, tuple(parts))


# --- reading a pattern ----------------------------------------------------------------------------


def _alternatives(pattern: str) -> list[str]:
    """Return the patterns without braces that a pattern stands for."""
    done: list[str] = []
    pending = [pattern]
    while pending:
        each = pending.pop(0)
        braces = _first_braces(each)
        if braces is None:
            done.append(each)
            continue
        before, choices, after = braces
        pending = [before + choice + after for choice in choices] + pending
        if len(done) + len(pending) > _ALTERNATIVES_MAX:
            raise PatternError(f"a pattern has more than {_ALTERNATIVES_MAX} alternatives")
    return done


def _first_braces(pattern: str) -> tuple[str, list[str], str] | None:
    """Return what is before, between and after the first braces."""
    opened = depth = 0
    cuts: list[int] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "{":
            depth += 1
            if depth == 1:
                opened, cuts = position, [position]
        elif character == "}":
            depth -= 1
            if depth < 0:
                break
            if depth == 0:
                cuts.append(position)
                choices = [pattern[start + 1 : end] for start, end in pairwise(cuts)]
                return pattern[:opened], choices, pattern[position + 1 :]
        elif character == "," and depth == 1:
            cuts.append(position)
        position = _after(pattern, position)
    if depth:
        raise PatternError(f"the pattern `{_shown(_bytes(pattern))}` has a brace without its other")
    return None


def _after(text: str, position: int) -> int:
    """The position after one character, one escaped character or one set."""
    if text[position] == "\\":
        return position + 2
    if text[position] == "[" and (end := _set_end(text, position)) is not None:
        return end
    return position + 1


def _set_end(text: str, start: int) -> int | None:
    """The position after a set in brackets; None when the bracket is not closed within the name."""
    first = start + 2 if text[start + 1 : start + 2] in ("!", "^") else start + 1
    end = text.find("]", first + 1)
    return None if end < 0 or "/" in text[start:end] else end + 1


def _literal(name: str) -> str | None:
    """The name that a pattern can only mean, None when it can mean several."""
    literal, position = "", 0
    while position < len(name):
        after = _after(name, position)
        character = name[position]
        if character in "*?" or (character == "[" and after > position + 1):
            return None
        literal += name[position + 1 : after] if character == "\\" else character
        position = after
    return literal


def _regex(name: str) -> str:
    """Return the regex of a whole name."""
    runs, position = [""], 0  # what stands between the stars
    while position < len(name):
        after = _after(name, position)
        match name[position]:
            case "*":
                runs.append("")
            case "?":
                runs[-1] += "."
            case "[" if after > position + 1:
                runs[-1] += _set(name[position + 1 : after - 1])
            case "\\":
                runs[-1] += re.escape(name[position + 1 : after])
            case character:
                runs[-1] += re.escape(character)
        position = after
    first, *rest = runs
    if not rest:
        return first
    *middle, last = rest
    # The first place where a run between two stars fits is as good as any other, so the groups are
    # atomic: the time stays proportional to the length of the name, whatever the pattern.
    return first + "".join(f"(?>.*?{run})" for run in middle if run) + f".*{last}"


def _set(inside: str) -> str:
    """Return the regex of a set; ranges that run backwards are empty."""
    negated = inside.startswith(("!", "^"))
    members = inside[1:] if negated else inside
    regex, position = "", 0
    while position < len(members):
        first = members[position]
        if members[position + 1 : position + 2] == "-" and position + 2 < len(members):
            last = members[position + 2]
            regex += f"{re.escape(first)}-{re.escape(last)}" if first <= last else ""
            position += 3
        else:
            regex += re.escape(first)
            position += 1
    if not regex:
        return "." if negated else "(?!)"
    return f"[{'^' if negated else ''}{regex}]"


def _text(name: bytes) -> str:
    """Return characters; a byte that is not part of any is one by itself (PEP 383)."""
    return name.decode(errors="surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _shown(pattern: bytes) -> str:
    return pattern.decode(errors="backslashreplace")
